//! What a request is aimed at. We are no proxy, so it is a path; a word or a host alone (RFC 9112, section 3.2.3) is nothing that
//! can be looked up.

use axum::extract::Request;
use axum::http::{HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;
use tronch_core::{ErrorCode, RequestId};

use super::problem::Problem;

/// Refuses what is no path. The router looks it up as if it were one, and pages take it apart as one.
pub(crate) async fn target_layer(request: Request, next: Next) -> Response {
    if request.uri().path_and_query().is_some() {
        return next.run(request).await;
    }
    let request_id = request.extensions().get::<RequestId>().copied();
    let problem = Problem::new(ErrorCode::InvalidRequest, "a request's target must be a path, such as /api/v1/keys");
    let mut response = problem.written(request_id);
    // Whoever speaks like that speaks to somebody else.
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}
