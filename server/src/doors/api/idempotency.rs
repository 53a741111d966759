//! `Idempotency-Key` at the API: reads the body of a write that carries one, so that the same write is known again, and
//! marks the answer of a repeat. That is before anybody has asked who is calling, so no more is read than any body may have. What is remembered is the engine's business.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use tronch_core::{ErrorCode, IdempotencyKey};
use tronch_engine::{SentWrite, Tenant};

use super::json;
use crate::doors::problem::Problem;

pub(super) const REQUEST_HEADER: HeaderName = HeaderName::from_static("idempotency-key");
pub(super) const RESPONSE_HEADER: HeaderName = HeaderName::from_static("idempotency-replayed");

/// The header, as the description of every write tells of it.
#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "it stands for the description alone")]
pub(crate) struct KeyParameter {
    /// 1–255 visible ASCII characters of your choice, such as a random UUID. The same request with the same key is done
    /// once; for 24 hours a repeat is answered with what it made as that is now, `Idempotency-Replayed: true`, and no
    /// secret. With another body it is 422, while the first still runs 409.
    #[param(rename = "Idempotency-Key", max_length = 255, required = false)]
    idempotency_key: Option<String>,
}

/// A write that carries an idempotency key, on its way to its handler.
#[derive(Clone)]
struct Keyed {
    key: IdempotencyKey,
    body: Bytes,
    repeated: Arc<AtomicBool>,
}

/// Around every operation; reads are left as they are.
pub(crate) async fn idempotency_layer(request: Request, next: Next) -> Response {
    if matches!(*request.method(), Method::GET | Method::HEAD) {
        return next.run(request).await;
    }
    let key = match key_of(request.headers()) {
        Ok(Some(key)) => key,
        Ok(None) => return next.run(request).await,
        Err(problem) => return problem.into_response(),
    };
    let (mut parts, body) = request.into_parts();
    let body = match json::read(body).await {
        Ok(body) => body,
        Err(problem) => return problem.into_response(),
    };
    let repeated = Arc::new(AtomicBool::new(false));
    parts.extensions.insert(Keyed { key, body: body.clone(), repeated: Arc::clone(&repeated) });
    let mut response = next.run(Request::from_parts(parts, Body::from(body))).await;
    if repeated.load(Ordering::Relaxed) && response.status().is_success() {
        response.headers_mut().insert(RESPONSE_HEADER, HeaderValue::from_static("true"));
    }
    response
}

/// The one header there may be.
fn key_of(headers: &HeaderMap) -> Result<Option<IdempotencyKey>, Problem> {
    let mut values = headers.get_all(REQUEST_HEADER).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let refused = |detail: String| Problem::new(ErrorCode::InvalidField, detail).at("Idempotency-Key");
    if values.next().is_some() {
        return Err(refused("this header stands here twice".to_owned()));
    }
    let text = value.to_str().unwrap_or_default();
    IdempotencyKey::parse(text).map(Some).map_err(|error| refused(error.to_string()))
}

/// The tenant of a request, in which its write happens once where it asks for that.
pub(crate) async fn once(tenant: Tenant, parts: &Parts) -> Result<Tenant, Problem> {
    let Some(keyed) = parts.extensions.get::<Keyed>() else { return Ok(tenant) };
    let route = format!("{} {}", parts.method, parts.uri);
    let sent = SentWrite { door: "api", route: &route, key: &keyed.key, body: &keyed.body };
    let tenant = tenant.once(&sent).await?;
    keyed.repeated.store(tenant.repeats(), Ordering::Relaxed);
    Ok(tenant)
}
