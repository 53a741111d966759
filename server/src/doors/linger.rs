//! Reads the rest of a body that was refused early. Otherwise the connection would be closed while the client still sends,
//! and the answer that says why could be lost on its way (RFC 9112, section 9.6).

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt as _;

/// Whoever sends more than this, or for longer, is cut off.
const READ_BYTES_MAX: usize = 1024 * 1024;
const READ_FOR: Duration = Duration::from_secs(2);

/// Around everything that may leave a body unread.
pub(crate) async fn linger_layer(request: Request, next: Next) -> Response {
    next.run(request.map(lingering)).await
}

/// The body, which is read to its end even when nobody wants it any more.
pub(crate) fn lingering(body: Body) -> Body {
    Body::new(Lingering(Some(body)))
}

/// Reads what is left of a body that nobody wants.
pub(crate) fn read_rest(body: Body) {
    drop(Lingering(Some(body)));
}

/// A body that is read to its end even when nobody wants it any more.
struct Lingering(Option<Body>);

impl HttpBody for Lingering {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        match self.0.as_mut() {
            Some(body) => Pin::new(body).poll_frame(context),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map_or_else(|| SizeHint::with_exact(0), HttpBody::size_hint)
    }
}

impl Drop for Lingering {
    fn drop(&mut self) {
        let Some(mut body) = self.0.take().filter(|body| !body.is_end_stream()) else { return };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let rest = async move {
            let mut left = READ_BYTES_MAX;
            while let Some(Ok(frame)) = body.frame().await {
                match left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) {
                    Some(fewer) => left = fewer,
                    None => return,
                }
            }
        };
        runtime.spawn(tokio::time::timeout(READ_FOR, rest));
    }
}
