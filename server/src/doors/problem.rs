//! How the API refuses: RFC 9457 problems, always with a stable `code` and the request's id. Why is the engine's business.

use std::time::Duration;

use axum::Json;
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tronch_core::{ErrorCode, KeyId, RequestId};
use tronch_engine::Error;
use utoipa::ToSchema;

use super::request_log::Notes;
use super::told_limits::whole_seconds;

/// How long a call may take as a whole.
pub(crate) const CALL_BUDGET: Duration = Duration::from_secs(20);

/// When to come back after a 503, in seconds.
const RETRY_AFTER_SECONDS: u16 = 1;

/// Names of fields that are repeated.
const FIELD_CHARACTERS_MAX: usize = 64;

/// A refusal on its way out; [`problem_layer`] writes it.
#[derive(Debug, Clone)]
pub(crate) struct Problem {
    code: ErrorCode,
    detail: String,
    field: Option<String>,
    successor_id: Option<KeyId>,
    /// The caller's own limit that was exceeded, and after how many seconds the same passes.
    exceeded: Option<(String, u64)>,
}

/// The type of a problem about the caller's own limit, as draft-ietf-httpapi-ratelimit-headers registers it.
const QUOTA_EXCEEDED: &str = "https://iana.org/assignments/http-problem-types#quota-exceeded";

/// RFC 9457 problem details.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ProblemOut {
    /// `urn:tronch:error:` and the code; of the caller's own limit the registered type `quota-exceeded`.
    #[serde(rename = "type")]
    #[schema(example = "urn:tronch:error:invalid_field")]
    kind: String,
    /// The same for every occurrence of the code.
    title: &'static str,
    /// The HTTP status again.
    status: u16,
    /// The stable word to match on.
    #[schema(value_type = String, example = "invalid_field")]
    code: ErrorCode,
    /// What is wrong here, as a sentence.
    detail: String,
    /// The field it is about, as a path such as `owner.external_id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
    /// With `already_rotated`: the key that replaced it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    successor_id: Option<KeyId>,
    /// With `too_many_requests`: which limits.
    #[serde(rename = "violated-policies", skip_serializing_if = "Option::is_none")]
    violated_policies: Option<[String; 1]>,
    /// What to quote when asking for help.
    #[schema(value_type = String)]
    request_id: Option<RequestId>,
}

impl Problem {
    pub(crate) fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), field: None, successor_id: None, exceeded: None }
    }

    pub(crate) fn at(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }

    /// At a name that the caller chose. What does not look like a field's name is not repeated: somebody may have put a
    /// key there.
    pub(crate) fn at_unknown(self, field: &str) -> Self {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-.[]".contains(&byte);
        if field.len() <= FIELD_CHARACTERS_MAX && field.bytes().all(plain) { self.at(field) } else { self }
    }

    /// The same refusal about the field that the caller really sent.
    pub(crate) fn renamed(mut self, from: &str, to: &str) -> Self {
        if self.field.as_deref() == Some(from) {
            self.field = Some(to.to_owned());
        }
        self
    }

    pub(crate) fn code(&self) -> ErrorCode {
        self.code
    }

    /// The answer, where no layer writes it.
    pub(crate) fn written(self, request_id: Option<RequestId>) -> Response {
        let status = StatusCode::from_u16(self.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        with_body(status.into_response(), self.out(request_id))
    }

    /// Whether something of ours is down.
    pub(crate) fn is_unavailable(&self) -> bool {
        self.code == ErrorCode::Unavailable
    }

    /// Code, field and detail, for tests.
    #[cfg(test)]
    pub(crate) fn line(&self) -> String {
        format!("{} [{}] {}", self.code, self.field.as_deref().unwrap_or_default(), self.detail)
    }

    fn out(self, request_id: Option<RequestId>) -> ProblemOut {
        ProblemOut {
            kind: match &self.exceeded {
                Some(_) => QUOTA_EXCEEDED.to_owned(),
                None => format!("urn:tronch:error:{}", self.code),
            },
            title: self.code.title(),
            status: self.code.status(),
            code: self.code,
            detail: self.detail,
            field: self.field,
            successor_id: self.successor_id,
            violated_policies: self.exceeded.map(|(policy, _)| [policy]),
            request_id,
        }
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        error.log_if_ours();
        let detail = match &error {
            Error::Invalid { message, .. } => message.clone(),
            other => other.to_string(),
        };
        let successor_id = match &error {
            Error::AlreadyRotated { successor_id } => Some(*successor_id),
            _ => None,
        };
        let exceeded = match &error {
            Error::TooMany { policy, retry_after } => Some((policy.clone(), whole_seconds(*retry_after).max(1))),
            _ => None,
        };
        Self { code: error.code(), detail, field: error.field().map(ToOwned::to_owned), successor_id, exceeded }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = status.into_response();
        if let Some((_, seconds)) = &self.exceeded {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(*seconds));
        }
        response.extensions_mut().insert(self);
        response
    }
}

/// Writes problems as JSON with the request's id; turns what the framework refused into problems; bounds the time.
pub(crate) async fn problem_layer(request: Request, next: Next) -> Response {
    let request_id = request.extensions().get::<RequestId>().copied();
    let notes = Notes::of(request.extensions());
    let mut response = match tokio::time::timeout(CALL_BUDGET, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::new(ErrorCode::Unavailable, "this took too long").into_response(),
    };
    let problem = response.extensions_mut().remove::<Problem>().or_else(|| of_the_framework(&response));
    if let Some(problem) = problem {
        notes.refusal(problem.code);
        response = with_body(response, problem.out(request_id));
    }
    response.headers_mut().entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// A panic, for `CatchPanicLayer`: it was logged where it happened.
pub(crate) fn of_a_panic(_panic: Box<dyn std::any::Any + Send>) -> Response {
    Problem::new(ErrorCode::Internal, "something went wrong on our side").into_response()
}

fn of_the_framework(response: &Response) -> Option<Problem> {
    match response.status() {
        StatusCode::METHOD_NOT_ALLOWED => {
            let detail = "the header Allow says which methods this address takes";
            Some(Problem::new(ErrorCode::MethodNotAllowed, detail))
        }
        StatusCode::BAD_REQUEST => Some(Problem::new(ErrorCode::InvalidRequest, "this address cannot be read")),
        _ => None,
    }
}

fn with_body(bare: Response, out: ProblemOut) -> Response {
    let (mut parts, _) = bare.into_parts();
    let (status, code) = (out.status, out.code);
    let written = Json(out).into_response();
    parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    parts.headers.remove(header::CONTENT_LENGTH);
    if status == 503 {
        parts.headers.insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS));
    }
    if code == ErrorCode::Unauthenticated {
        let challenge = HeaderValue::from_static("Bearer realm=\"tronch\"");
        parts.headers.insert(header::WWW_AUTHENTICATE, challenge);
    }
    Response::from_parts(parts, written.into_body())
}
