//! One log line for each request but a validation, which writes its own alike (`verify.rs`): what was asked, what came of it, how long it took. It never holds an address as it was
//! sent, a query, a header or a body; handlers note what they learn, and whose business it is stays theirs.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use axum::body::Body;
use axum::extract::{FromRequestParts, MatchedPath, RawPathParams, Request, State};
use axum::http::request::Parts;
use axum::http::{Extensions, Method, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use tracing::Level;
use tronch_core::{ErrorCode, Handle, KeyId, ServiceTokenId, TenantSlug};

/// What `TRONCH_LOG` calls these lines.
pub(crate) const TARGET: &str = "tronch::request";

/// What handlers learn about a request, for its line. Clones are one and the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Notes(Arc<Mutex<Noted>>);

#[derive(Debug, Default)]
struct Noted {
    refusal: Option<ErrorCode>,
    tenant: Option<TenantSlug>,
    token_handle: Option<Handle>,
}

impl Notes {
    /// Those of a request; outside of the doors, some that nobody reads.
    pub(crate) fn of(extensions: &Extensions) -> Self {
        extensions.get::<Self>().cloned().unwrap_or_default()
    }

    /// Why the request was refused.
    pub(crate) fn refusal(&self, code: ErrorCode) {
        self.change(|noted| noted.refusal = Some(code));
    }

    /// The tenant that the caller was let into.
    pub(crate) fn tenant(&self, slug: &TenantSlug) {
        self.change(|noted| noted.tenant = Some(slug.clone()));
    }

    /// The public part of the service token that was sent, whether it counts or not.
    pub(crate) fn token(&self, handle: Handle) {
        self.change(|noted| noted.token_handle = Some(handle));
    }

    fn change(&self, change: impl FnOnce(&mut Noted)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn take(&self) -> Noted {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Notes {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        Ok(Self::of(&parts.extensions))
    }
}

/// Writes the line. `quiet` are the routes whose lines are for whoever is looking for something: probes and assets.
pub(crate) async fn log_request(State(quiet): State<Arc<[&'static str]>>, request: Request, next: Next) -> Response {
    let (mut line, request) = Line::begin(request, &quiet).await;
    let response = next.run(request).await;
    line.status = Some(response.status());
    response
}

/// A line that is written when it is dropped: also when a request panics, or when its client goes away and the work on it
/// is given up.
struct Line {
    began: Instant,
    quiet: bool,
    method: &'static str,
    route: Option<MatchedPath>,
    key_id: Option<KeyId>,
    token_id: Option<ServiceTokenId>,
    notes: Notes,
    status: Option<StatusCode>,
}

impl Line {
    async fn begin(request: Request, quiet: &[&'static str]) -> (Self, Request<Body>) {
        let began = Instant::now();
        let (mut parts, body) = request.into_parts();
        let route = parts.extensions.get::<MatchedPath>().cloned();
        let (key_id, token_id) = ids(&mut parts, route.as_ref()).await;
        let notes = Notes::default();
        parts.extensions.insert(notes.clone());
        let line = Self {
            began,
            quiet: route.as_ref().is_some_and(|route| quiet.contains(&route.as_str())),
            method: known_method(&parts.method),
            route,
            key_id,
            token_id,
            notes,
            status: None,
        };
        (line, Request::from_parts(parts, body))
    }
}

/// The ids in the address: what has an id's form opens nothing. Anything else in its place is not repeated.
async fn ids(parts: &mut Parts, route: Option<&MatchedPath>) -> (Option<KeyId>, Option<ServiceTokenId>) {
    if !route.is_some_and(|route| route.as_str().contains('{')) {
        return (None, None);
    }
    let Ok(params) = RawPathParams::from_request_parts(parts, &()).await else { return (None, None) };
    let find = |names: [&str; 2]| params.iter().find(|(name, _)| names.contains(name)).map(|(_, value)| value);
    let key_id = find(["key_id", "key"]).and_then(|text| text.parse().ok());
    let token_id = find(["token_id", "token"]).and_then(|text| text.parse().ok());
    (key_id, token_id)
}

/// A method is whatever a client writes there, so only those of RFC 9110 and RFC 5789 are repeated.
pub(crate) fn known_method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        Method::CONNECT => "CONNECT",
        Method::TRACE => "TRACE",
        _ => "other",
    }
}

/// The word for how it ended: a verdict's code in capitals, an error code, or one of `ok`, `refused`, `panicked`,
/// `cut_off`.
fn word(noted: Option<ErrorCode>, status: Option<StatusCode>) -> &'static str {
    let Some(status) = status else {
        return if std::thread::panicking() { "panicked" } else { "cut_off" };
    };
    match noted {
        // A layer further out may have answered something else after all.
        Some(code) if status.as_u16() == code.status() || status.is_redirection() => code.slug(),
        _ => word_of(status),
    }
}

/// For what no handler of ours refused: the framework, a layer.
fn word_of(status: StatusCode) -> &'static str {
    let code = match status {
        StatusCode::BAD_REQUEST => ErrorCode::InvalidRequest,
        StatusCode::UNAUTHORIZED => ErrorCode::Unauthenticated,
        StatusCode::FORBIDDEN => ErrorCode::Forbidden,
        StatusCode::NOT_FOUND => ErrorCode::NotFound,
        StatusCode::METHOD_NOT_ALLOWED => ErrorCode::MethodNotAllowed,
        StatusCode::CONFLICT => ErrorCode::Conflict,
        StatusCode::PAYLOAD_TOO_LARGE => ErrorCode::BodyTooLarge,
        StatusCode::UNSUPPORTED_MEDIA_TYPE => ErrorCode::UnsupportedMediaType,
        StatusCode::UNPROCESSABLE_ENTITY => ErrorCode::InvalidField,
        StatusCode::TOO_MANY_REQUESTS => ErrorCode::TooManyRequests,
        StatusCode::INTERNAL_SERVER_ERROR => ErrorCode::Internal,
        StatusCode::SERVICE_UNAVAILABLE => ErrorCode::Unavailable,
        status if status.is_client_error() || status.is_server_error() => return "refused",
        _ => return "ok",
    };
    code.slug()
}

/// A level is part of a line's place in the program, so each level is a place of its own.
macro_rules! write_line {
    ($level:expr, $line:expr, $noted:expr) => {
        tracing::event!(
            target: TARGET,
            $level,
            request.method = $line.method,
            request.route = $line.route.as_ref().map(MatchedPath::as_str),
            response.status = $line.status.map(|status| status.as_u16()),
            outcome = word($noted.refusal, $line.status),
            latency_us = u64::try_from($line.began.elapsed().as_micros()).unwrap_or(u64::MAX),
            tenant.slug = $noted.tenant.as_ref().map(TenantSlug::as_str),
            key.id = $line.key_id.map(|id| id.to_string()),
            token.handle = $noted.token_handle.as_ref().map(Handle::as_str),
            token.id = $line.token_id.map(|id| id.to_string()),
            "request"
        )
    };
}

impl Drop for Line {
    fn drop(&mut self) {
        let noted = self.notes.take();
        if self.quiet {
            write_line!(Level::DEBUG, self, noted);
        } else {
            write_line!(Level::INFO, self, noted);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::middleware;
    use serde_json::Value;
    use tower::ServiceExt as _;
    use tower_http::catch_panic::CatchPanicLayer;
    use tower_http::timeout::TimeoutLayer;

    use super::*;
    use crate::doors::entry::{Access, get, routes};

    /// Everything that was logged, one line each.
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("no panic in here").extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl Lines {
        /// Level and fields of each, without how long it took.
        fn read(&self) -> Vec<(String, Value)> {
            let text = String::from_utf8(self.0.lock().expect("no panic in here").clone()).expect("text");
            let line = |line: &str| {
                let mut line: Value = serde_json::from_str(line).expect("JSON");
                let fields = line["fields"].as_object_mut().expect("fields");
                assert!(fields.remove("latency_us").is_some_and(|latency| latency.is_u64()), "{fields:?}");
                (line["level"].to_string(), line["fields"].clone())
            };
            // What layers of others write down is theirs.
            let ours = |line: &&str| line.contains(&format!("\"target\":{TARGET:?}"));
            text.lines().filter(ours).map(line).collect()
        }
    }

    async fn no_answer() -> &'static str {
        std::future::pending().await
    }

    async fn panics() -> &'static str {
        panic!("as it was told")
    }

    fn ask(path: &str) -> Request {
        Request::builder().uri(path).body(Body::empty()).expect("a request")
    }

    fn listen() -> (Lines, tracing::subscriber::DefaultGuard) {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber =
            tracing_subscriber::fmt().json().with_max_level(Level::DEBUG).with_writer(move || writer.clone()).finish();
        (lines, tracing::subscriber::set_default(subscriber))
    }

    fn expected(route: &str, status: Option<u16>, outcome: &str) -> Value {
        let mut fields = serde_json::json!({
            "message": "request", "request.method": "GET", "request.route": route, "outcome": outcome,
        });
        if let Some(status) = status {
            fields["response.status"] = status.into();
        }
        fields
    }

    #[tokio::test]
    async fn a_request_that_panics_or_takes_too_long_or_is_given_up_has_its_line() {
        let (lines, _listening) = listen();
        let quiet: Arc<[&'static str]> = Arc::new(["/probe"]);
        let table = || vec![get("/waits", Access::Anyone, no_answer), get("/panics/{key}", Access::Anyone, panics)];
        let guarded = routes::<()>(table())
            .merge(routes(vec![get("/probe", Access::Anyone, async || "ok")]))
            .layer(TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, Duration::from_millis(5)))
            .layer(CatchPanicLayer::new())
            .layer(middleware::from_fn_with_state(Arc::clone(&quiet), log_request));
        for path in ["/probe", "/panics/tronch_sk_live_secret", "/waits"] {
            guarded.clone().oneshot(ask(path)).await.expect("an answer");
        }
        let bare = routes::<()>(table()).layer(middleware::from_fn_with_state(quiet, log_request));
        let given_up = tokio::time::timeout(Duration::from_millis(5), bare.clone().oneshot(ask("/waits"))).await;
        assert!(given_up.is_err());
        let panicked = tokio::task::LocalSet::new()
            .run_until(async { tokio::task::spawn_local(bare.oneshot(ask("/panics/x"))).await })
            .await;
        assert!(panicked.is_err_and(|error| error.is_panic()));
        let info = |fields| ("\"INFO\"".to_owned(), fields);
        assert_eq!(
            lines.read(),
            [
                ("\"DEBUG\"".to_owned(), expected("/probe", Some(200), "ok")),
                info(expected("/panics/{key}", Some(500), "internal")),
                info(expected("/waits", Some(503), "unavailable")),
                info(expected("/waits", None, "cut_off")),
                info(expected("/panics/{key}", None, "panicked")),
            ]
        );
    }

    #[test]
    fn what_a_layer_answered_goes_before_what_a_handler_noted() {
        let table = [
            (None, 200, "ok"),
            (None, 303, "ok"),
            (None, 413, "body_too_large"),
            (None, 418, "refused"),
            (None, 504, "refused"),
            (Some(ErrorCode::SignInFailed), 422, "sign_in_failed"),
            (Some(ErrorCode::InvalidRequest), 413, "body_too_large"),
            (Some(ErrorCode::Unauthenticated), 303, "unauthenticated"),
            (Some(ErrorCode::NotFound), 200, "ok"),
        ];
        for (noted, status, expected) in table {
            assert_eq!(word(noted, StatusCode::from_u16(status).ok()), expected, "{noted:?} {status}");
        }
    }
}
