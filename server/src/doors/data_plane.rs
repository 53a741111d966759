//! A call of the data plane: what validation and the checking of limits have in common. No layer stands around them, so what the
//! layers of other addresses do for everybody is done here, in a row.

use std::any::Any;
use std::borrow::Cow;
use std::future::{Future as _, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware;
use axum::response::Response;
use serde::Deserialize;
use tronch_core::bounds::{BODY_BYTES_MAX, NAMED_LIMITS_MAX};
use tronch_core::{Cost, ErrorCode, Handle, IdText, LimitName, PresentedToken, RequestId};
use tronch_engine::verify::{Costs, ServiceToken, Verifier};
use tronch_engine::{Error, Moment};
use utoipa::ToSchema;

use super::api::json;
use super::api::query::Query;
use super::check;
use super::headers::{add_headers, add_headers_of_verdict};
use super::linger;
use super::origin::REQUEST_ID;
use super::problem::{CALL_BUDGET, Problem, problem_layer};
use super::quick_json::{Quick, QuickJson};
use super::request_log::known_method;
use super::told_limits::{LimitHeaders, RATE_LIMIT, RATE_LIMIT_POLICY};
use super::verify;
use crate::config::Config;
use crate::logging::{RequestLine, write_request};

/// Whose body takes longer is let in once more: the token may have been revoked meanwhile.
const BODY_AT_ONCE: Duration = Duration::from_millis(100);

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Room for an answer about a key with little metadata.
const ANSWER_BYTES: usize = 768;

/// What the doors of the data plane need. Cloning is cheap.
#[derive(Clone)]
pub(crate) struct DataPlane(Arc<Inside>);

struct Inside {
    verifier: Verifier,
    is_https: bool,
    /// Those of every verdict.
    headers: Form<1>,
    headers_with_limits: Form<3>,
}

/// Headers of which the first ones are each answer's own and all others the same.
struct Form<const OWN: usize>(HeaderMap);

impl<const OWN: usize> Form<OWN> {
    fn new(own: [&HeaderName; OWN], is_https: bool) -> Self {
        let mut headers = HeaderMap::new();
        for name in own {
            headers.insert(name, HeaderValue::from_static(""));
        }
        headers.insert(header::CONTENT_TYPE, JSON);
        add_headers_of_verdict(&mut headers, is_https);
        Self(headers)
    }

    /// A copy goes through its values in the order in which names came in: `http` promises no order, and a test looks. Found by name
    /// each would be hashed, and one that is not there yet makes a copy grow, which has no room to spare.
    fn filled(&self, own: [HeaderValue; OWN]) -> HeaderMap {
        let mut headers = self.0.clone();
        headers.values_mut().zip(own).for_each(|(place, value)| *place = value);
        headers
    }
}

impl DataPlane {
    pub(crate) fn new(config: &Config, verifier: &Verifier) -> Self {
        let is_https = config.public_url.is_https();
        let headers = Form::new([&REQUEST_ID], is_https);
        let headers_with_limits = Form::new([&REQUEST_ID, &RATE_LIMIT_POLICY, &RATE_LIMIT], is_https);
        Self(Arc::new(Inside { verifier: verifier.clone(), is_https, headers, headers_with_limits }))
    }

    pub(super) fn verifier(&self) -> &Verifier {
        &self.0.verifier
    }

    /// Who calls, and the whole body. It is read to its end even where the call is refused before.
    pub(super) async fn receive(&self, call: &mut Call, request: Request) -> Result<(ServiceToken, Bytes), Problem> {
        let (parts, body) = request.into_parts();
        let body = Unread(Some(body));
        Query::read(&parts.uri, &[])?;
        let mut token = self.authenticate(call, &parts.headers).await?;
        let (bytes, was_here) = read_whole(&parts.headers, body).await?;
        if !was_here && Moment::now().since(call.began) > BODY_AT_ONCE {
            token = self.authenticate(call, &parts.headers).await?;
        }
        Ok((token, bytes))
    }

    async fn authenticate(&self, call: &mut Call, headers: &HeaderMap) -> Result<ServiceToken, Problem> {
        let bearer = bearer_text(headers).ok_or(Error::Unauthenticated)?;
        let presented = PresentedToken::parse(bearer).map_err(|_| Error::Unauthenticated)?;
        call.token = Some(presented.handle());
        let token = self.0.verifier.authenticate(&presented).await.map_err(|error| call.problem(error))?;
        call.tenant = Some(token.clone());
        Ok(token)
    }
}

/// The addresses.
pub(crate) fn routes(door: &DataPlane) -> Router {
    let tables = verify::table().into_iter().chain(check::table()).collect();
    super::routes(tables).method_not_allowed_fallback(not_allowed).with_state(door.clone())
}

async fn not_allowed(State(door): State<DataPlane>, request: Request) -> Response {
    let route = if request.uri().path() == check::ROUTE { check::ROUTE } else { verify::ROUTE };
    let mut call = Call::begin(known_method(request.method()), route);
    let detail = "the header Allow says which methods this address takes";
    let mut response = call.refused(Problem::new(ErrorCode::MethodNotAllowed, detail), &door);
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
    call.end(response)
}

/// What a process answers that opens no other doors than these.
pub(crate) fn elsewhere() -> Router {
    Router::new().fallback(nowhere).layer(middleware::from_fn(problem_layer))
}

async fn nowhere() -> Problem {
    let detail = "this process validates keys and checks limits: POST /api/v1/keys/verify, POST /api/v1/limits/check";
    Problem::new(ErrorCode::NotFound, detail)
}

/// The body of an answer, and what limits add to its head.
pub(super) type Answered = (Vec<u8>, Option<LimitHeaders>);

/// What a call takes of a limit that it names.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NamedCostIn<'a> {
    /// The limit's name.
    #[serde(borrow)]
    #[schema(value_type = String, example = "exports")]
    name: Cow<'a, str>,
    /// 0–1 000 000.
    #[schema(example = 1)]
    cost: u32,
}

/// What the call takes.
pub(super) fn costs(automatic: Option<u32>, named: Option<Vec<NamedCostIn<'_>>>) -> Result<Costs, Problem> {
    let refused = |field: String, detail: String| Problem::new(ErrorCode::InvalidField, detail).at(field);
    let automatic = Cost::new(automatic.unwrap_or(1)).map_err(|error| refused("cost".to_owned(), error.to_string()))?;
    let named = named.unwrap_or_default();
    if named.len() > NAMED_LIMITS_MAX {
        return Err(refused("limits".to_owned(), format!("one call names at most {NAMED_LIMITS_MAX} limits")));
    }
    let mut costs = Costs { automatic, named: Vec::with_capacity(named.len()) };
    for (place, asked) in named.iter().enumerate() {
        let name = LimitName::parse(&asked.name)
            .map_err(|error| refused(format!("limits[{place}].name"), error.to_string()))?;
        let cost =
            Cost::new(asked.cost).map_err(|error| refused(format!("limits[{place}].cost"), error.to_string()))?;
        if costs.named.iter().any(|(earlier, _)| *earlier == name) {
            return Err(refused(format!("limits[{place}].name"), "this limit is named twice".to_owned()));
        }
        costs.named.push((name, cost));
    }
    Ok(costs)
}

/// A body that is read to its end even where it was refused before.
struct Unread(Option<Body>);

impl Drop for Unread {
    fn drop(&mut self) {
        if let Some(body) = self.0.take() {
            linger::read_rest(body);
        }
    }
}

/// The whole body of JSON, for as long as a call may take, and whether it was here at once.
async fn read_whole(headers: &HeaderMap, mut body: Unread) -> Result<(Bytes, bool), Problem> {
    let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    let body = match (length, body.0.take()) {
        (Some(..=BODY_BYTES_MAX), Some(whole)) => whole,
        // Too long, or nobody knows how long: the rest is read after the refusal.
        (_, rest) => linger::lingering(rest.unwrap_or_default()),
    };
    let mut reading = pin!(json::read(body));
    // Most bodies came with the head, and need no timer.
    let at_once = poll_fn(|context| Poll::Ready(reading.as_mut().poll(context))).await;
    let (bytes, was_here) = match at_once {
        Poll::Ready(bytes) => (bytes?, true),
        Poll::Pending => {
            let late = |_| Problem::new(ErrorCode::Unavailable, "this took too long");
            (tokio::time::timeout(CALL_BUDGET, reading).await.map_err(late)??, false)
        }
    };
    json::require_json(headers)?;
    Ok((bytes, was_here))
}

/// What is in order is read without noting where in it the reader is.
pub(super) fn parse_quickly<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Problem> {
    if bytes.first() == Some(&b'{')
        && let Ok(asked) = serde_json::from_slice(bytes)
    {
        return Ok(asked);
    }
    json::parse(bytes)
}

/// A call under way, and its line in the log when it is over: also when its client goes away before.
pub(super) struct Call {
    began: Moment,
    request_id: RequestId,
    /// The same as text, which is needed more than once.
    pub(super) request_id_text: IdText,
    method: &'static str,
    route: &'static str,
    /// What became of it, as the log says it.
    pub(super) outcome: &'static str,
    status: Option<StatusCode>,
    tenant: Option<ServiceToken>,
    /// Of which key, if it was one.
    pub(super) key: Option<Handle>,
    token: Option<Handle>,
}

impl Call {
    pub(super) fn begin(method: &'static str, route: &'static str) -> Self {
        let began = Moment::now();
        let request_id = tronch_engine::new_request_id(began);
        Self {
            began,
            request_id,
            request_id_text: request_id.text(),
            method,
            route,
            outcome: "cut_off",
            status: None,
            tenant: None,
            key: None,
            token: None,
        }
    }

    /// An error of ours is logged on the way, with the call's id.
    pub(super) fn problem(&self, error: Error) -> Problem {
        tracing::error_span!("request", request.id = %self.request_id).in_scope(|| Problem::from(error))
    }

    pub(super) fn refused(&mut self, problem: Problem, door: &DataPlane) -> Response {
        self.outcome = problem.code().slug();
        let mut response = problem.written(Some(self.request_id));
        add_headers(response.headers_mut(), door.0.is_https);
        response
    }

    /// An answer in JSON.
    pub(super) fn written(&self, out: &impl Quick) -> Result<Vec<u8>, Problem> {
        let mut json = QuickJson::with_capacity(ANSWER_BYTES);
        out.put(&mut json).map_err(|error| self.problem(Error::Internal(Box::new(error))))?;
        Ok(json.into_bytes())
    }

    /// Whatever came of it, panics too.
    pub(super) fn answer(
        mut self,
        door: &DataPlane,
        answered: Result<Result<Answered, Problem>, Box<dyn Any + Send>>,
    ) -> Response {
        let response = match answered {
            Ok(Ok((body, limits))) => {
                let mut response = Response::new(Body::from(body));
                let id = self.id_value();
                *response.headers_mut() = match limits {
                    None => door.0.headers.filled([id]),
                    Some(LimitHeaders { policies, states, retry_after }) => {
                        let mut headers = door.0.headers_with_limits.filled([id, policies, states]);
                        if let Some(seconds) = retry_after {
                            headers.insert(header::RETRY_AFTER, seconds.into());
                        }
                        headers
                    }
                };
                self.status = Some(response.status());
                return response;
            }
            Ok(Err(problem)) => self.refused(problem, door),
            // It was logged where it happened.
            Err(_panic) => {
                let problem = Problem::new(ErrorCode::Internal, "something went wrong on our side");
                self.refused(problem, door)
            }
        };
        self.end(response)
    }

    pub(super) fn end(mut self, mut response: Response) -> Response {
        self.status = Some(response.status());
        response.headers_mut().insert(&REQUEST_ID, self.id_value());
        response
    }

    fn id_value(&self) -> HeaderValue {
        HeaderValue::from_bytes(self.request_id_text.as_bytes()).unwrap_or(HeaderValue::from_static(""))
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        write_request(&RequestLine {
            request_id: &self.request_id_text,
            method: self.method,
            route: self.route,
            status: self.status.map(|status| status.as_u16()),
            outcome: self.outcome,
            took: Moment::now().since(self.began),
            tenant: self.tenant.as_ref().map(ServiceToken::tenant),
            key: self.key,
            token: self.token,
        });
    }
}

/// RFC 6750: exactly one `Authorization: Bearer …`.
pub(super) fn bearer_text(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (value, None) = (values.next()?, values.next()) else { return None };
    let (scheme, text) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| text.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_answers_own_headers_stand_by_their_names() {
        for is_https in [false, true] {
            let own = [&REQUEST_ID, &RATE_LIMIT_POLICY, &RATE_LIMIT];
            let form = Form::new(own, is_https);
            let filled = form.filled(["1", "2", "3"].map(HeaderValue::from_static));
            assert_eq!(own.map(|name| filled[name].as_bytes()), [b"1", b"2", b"3"]);
            assert_eq!((filled.len(), filled.keys_len()), (form.0.len(), form.0.keys_len()));
            for (name, value) in form.0.iter().filter(|(name, _)| !own.contains(name)) {
                assert_eq!(filled[name], value);
            }
        }
    }
}
