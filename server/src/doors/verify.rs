//! `POST /api/v1/keys/verify`: a service asks whether a key may pass. Its state is the data plane and nothing else, and no
//! layer stands around it.

use std::borrow::Cow;
use std::future::{Future as _, poll_fn};
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware;
use axum::response::Response;
use futures_util::FutureExt as _;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tronch_core::bounds::{BODY_BYTES_MAX, NAMED_LIMITS_MAX};
use tronch_core::{
    Cost, Environment, ErrorCode, Handle, IdText, KeyId, KeyPermission, LimitName, MalformedReason, Permission,
    PermissionQuery, PresentedKey, PresentedToken, ProjectSlug, RequestId, VerdictCode, format_timestamp,
};
use tronch_engine::verify::{Costs, KeyFacts, ServiceToken, Verdict, Verifier, VerifyRequest};
use tronch_engine::{Error, Origin};
use utoipa::ToSchema;

use super::api::json;
use super::api::out::{OwnerOut, RotationOut};
use super::api::query::Query;
use super::entry::{Access, Entry, post};
use super::headers::add_headers;
use super::linger;
use super::origin::REQUEST_ID;
use super::problem::{CALL_BUDGET, Problem, problem_layer};
use super::request_log::{Notes, known_method};
use super::told_limits::{LimitHeaders, LimitToldOut};
use crate::config::Config;
use crate::logging::{RequestLine, write_request};

/// The address.
const ROUTE: &str = "/api/v1/keys/verify";

/// Whose body takes longer is let in once more: the token may have been revoked meanwhile.
const BODY_AT_ONCE: Duration = Duration::from_millis(100);

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Room for an answer about a key with little metadata.
const ANSWER_BYTES: usize = 768;

/// What is asked about a key.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct VerifyIn<'a> {
    /// The key as its holder presented it: any string.
    #[serde(borrow)]
    #[schema(value_type = String, example = "tronch_sk_live_…")]
    key: Cow<'a, str>,
    /// The project the key must belong to; required when the tenant has several and the token is for none.
    #[schema(value_type = Option<String>, example = "default")]
    project: Option<ProjectSlug>,
    /// The environment the key must belong to: `test`, or `live` when nothing is said.
    #[schema(value_type = Option<String>, example = "live")]
    environment: Option<Environment>,
    /// What the key must hold, such as `invoices.read AND (invoices.write OR admin)`.
    #[serde(borrow)]
    #[schema(value_type = Option<String>)]
    permissions: Option<Cow<'a, str>>,
    /// What the call takes of each automatic limit, 0–1 000 000; 1 when left out. 0 reads what is left.
    cost: Option<u32>,
    /// Further limits to charge, and automatic ones at another cost: all of them, or none. A name that the key has no limit of
    /// costs nothing.
    #[serde(borrow)]
    limits: Option<Vec<NamedCostIn<'a>>>,
}

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

/// The verdict on a text that is no key of the caller's tenant.
#[derive(Serialize, ToSchema)]
pub(crate) struct BareVerdictOut<'a> {
    valid: bool,
    /// `MALFORMED` or `NOT_FOUND`.
    #[schema(value_type = String)]
    code: VerdictCode,
    /// With `MALFORMED`: `length`, `prefix`, `alphabet`, `timestamp`, `random` or `gate`.
    #[schema(value_type = Option<String>)]
    reason: Option<MalformedReason>,
    request_id: Option<&'a str>,
}

/// The verdict on a key of the caller's tenant.
#[derive(Serialize, ToSchema)]
pub(crate) struct VerdictOut<'a> {
    /// Whether the key may pass.
    valid: bool,
    /// `VALID`, or the first check that failed.
    #[schema(value_type = String, example = "VALID")]
    code: VerdictCode,
    request_id: Option<&'a str>,
    #[schema(value_type = String)]
    key_id: KeyId,
    #[schema(value_type = String)]
    handle: Handle,
    name: &'a str,
    tenant: &'a str,
    project: &'a str,
    environment: &'a str,
    #[schema(value_type = Option<OwnerOut>)]
    owner: Option<OwnerRef<'a>>,
    #[schema(value_type = Object)]
    metadata: Metadata<'a>,
    #[schema(value_type = Vec<String>)]
    permissions: &'a [KeyPermission],
    expires_at: Option<String>,
    /// The limits that were charged, or of which one was exceeded; a key without limits has none.
    limits: Vec<LimitToldOut<'a>>,
    rotation: Option<RotationOut>,
    /// How old the knowledge behind the verdict is: 0 when it was read for this call.
    data_age_ms: u32,
}

/// As [`OwnerOut`], without a copy.
#[derive(Serialize)]
struct OwnerRef<'a> {
    external_id: &'a str,
}

/// The tenant's own data.
#[derive(Serialize)]
#[serde(untagged)]
enum Metadata<'a> {
    Some(&'a RawValue),
    Empty {},
}

/// What `POST /api/v1/keys/verify` answers with 200.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[expect(clippy::large_enum_variant, reason = "it lives for as long as it is written, and a box costs more")]
pub(crate) enum VerifyOut<'a> {
    /// A key of the caller's tenant.
    Known(VerdictOut<'a>),
    /// `MALFORMED` and `NOT_FOUND`.
    Bare(BareVerdictOut<'a>),
}

/// What the door needs. Cloning is cheap.
#[derive(Clone)]
pub(crate) struct VerifyDoor(Arc<Inside>);

struct Inside {
    verifier: Verifier,
    is_https: bool,
    /// Those of every verdict, but for the request's id.
    headers: HeaderMap,
}

impl VerifyDoor {
    pub(crate) fn new(config: &Config, verifier: &Verifier) -> Self {
        let is_https = config.public_url.is_https();
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, JSON);
        // A place for it, so that none has to be made for each answer.
        headers.insert(&REQUEST_ID, HeaderValue::from_static(""));
        add_headers(&mut headers, is_https);
        Self(Arc::new(Inside { verifier: verifier.clone(), is_https, headers }))
    }
}

/// The door's table.
pub(crate) fn table() -> Vec<Entry<VerifyDoor>> {
    vec![post(ROUTE, Access::Token(Permission::KeysVerify), verify_key)]
}

/// The one address. Nothing stands around it: services wait for it on each request they serve, so what the layers of other
/// addresses do for everybody is done here, in a row.
pub(crate) fn routes(door: &VerifyDoor) -> Router {
    super::routes(table()).method_not_allowed_fallback(not_allowed).with_state(door.clone())
}

/// Whether a request is for [`verify_key`].
pub(super) fn is_verify(request: &Request) -> bool {
    request.uri().path() == ROUTE && request.method() == Method::POST
}

/// What a process answers that opens no other door than this one.
pub(crate) fn elsewhere() -> Router {
    Router::new().fallback(nowhere).layer(middleware::from_fn(problem_layer))
}

async fn nowhere() -> Problem {
    Problem::new(ErrorCode::NotFound, "this process validates keys and does nothing else: POST /api/v1/keys/verify")
}

/// Answer whether a key may pass.
///
/// Every verdict is a 200; whatever else goes wrong is a problem. Never a verdict because something of ours is down.
#[utoipa::path(
    post, path = "/api/v1/keys/verify", tag = "validation", operation_id = "verify_key",
    security(("service_token" = ["keys.verify"])),
    request_body = VerifyIn<'static>,
    responses((status = 200, description = "The verdict", body = VerifyOut<'static>), (status = "default", response = crate::doors::api::openapi::Refused))
)]
pub(crate) async fn verify_key(State(door): State<VerifyDoor>, request: Request) -> Response {
    let mut call = Call::begin("POST");
    let answered = AssertUnwindSafe(door.answer(&mut call, request)).catch_unwind().await;
    let response = match answered {
        Ok(Ok((body, limits))) => {
            let mut response = Response::new(Body::from(body));
            *response.headers_mut() = door.0.headers.clone();
            if let Some(limits) = limits {
                limits.add_to(response.headers_mut());
            }
            response
        }
        Ok(Err(problem)) => call.refused(problem, door.0.is_https),
        // It was logged where it happened.
        Err(_panic) => {
            let problem = Problem::new(ErrorCode::Internal, "something went wrong on our side");
            call.refused(problem, door.0.is_https)
        }
    };
    call.end(response)
}

async fn not_allowed(State(door): State<VerifyDoor>, request: Request) -> Response {
    let mut call = Call::begin(known_method(request.method()));
    let detail = "the header Allow says which methods this address takes";
    let mut response = call.refused(Problem::new(ErrorCode::MethodNotAllowed, detail), door.0.is_https);
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
    call.end(response)
}

impl VerifyDoor {
    async fn answer(&self, call: &mut Call, request: Request) -> Result<(Vec<u8>, Option<LimitHeaders>), Problem> {
        let (parts, body) = request.into_parts();
        let body = Unread(Some(body));
        Query::read(&parts.uri, &[])?;
        let mut token = self.authenticate(call, &parts.headers).await?;
        let (bytes, was_here) = read_whole(&parts.headers, body).await?;
        if !was_here && call.began.elapsed() > BODY_AT_ONCE {
            token = self.authenticate(call, &parts.headers).await?;
        }
        let asked: VerifyIn<'_> = parse_quickly(&bytes)?;
        let permissions = match asked.permissions.as_deref().map(PermissionQuery::parse) {
            None => None,
            Some(Ok(query)) => Some(query),
            Some(Err(error)) => return Err(Problem::new(ErrorCode::InvalidField, error.to_string()).at("permissions")),
        };
        let key = PresentedKey::parse(&asked.key);
        // Whatever comes of it: who was refused as NOT_FOUND is what an operator looks for.
        call.key = key.as_ref().ok().map(PresentedKey::handle);
        let costs = costs(asked.cost, asked.limits)?;
        let asked = VerifyRequest { key, project: asked.project, environment: asked.environment, permissions, costs };
        let verdict = self.0.verifier.verify(&token, asked).await.map_err(|error| call.problem(error))?;
        call.outcome = verdict.code.as_str();
        let (code, request_id) = (verdict.code, Some(call.request_id_text.as_str()));
        let out = match verdict.facts() {
            Some(facts) => VerifyOut::Known(known(&verdict, request_id, facts)),
            None => VerifyOut::Bare(BareVerdictOut { valid: false, code, reason: verdict.reason, request_id }),
        };
        let mut body = Vec::with_capacity(ANSWER_BYTES);
        serde_json::to_writer(&mut body, &out).map_err(|error| call.problem(Error::Internal(Box::new(error))))?;
        let limits = LimitHeaders::of(verdict.limits());
        Ok((body, limits))
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

/// What the call takes.
fn costs(automatic: Option<u32>, named: Option<Vec<NamedCostIn<'_>>>) -> Result<Costs, Problem> {
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
fn parse_quickly(bytes: &[u8]) -> Result<VerifyIn<'_>, Problem> {
    if bytes.first() == Some(&b'{')
        && let Ok(asked) = serde_json::from_slice(bytes)
    {
        return Ok(asked);
    }
    json::parse(bytes)
}

/// A call under way, and its line in the log when it is over: also when its client goes away before.
struct Call {
    began: Instant,
    request_id: RequestId,
    /// The same as text, which is needed more than once.
    request_id_text: IdText,
    method: &'static str,
    outcome: &'static str,
    status: Option<StatusCode>,
    tenant: Option<ServiceToken>,
    key: Option<Handle>,
    token: Option<Handle>,
}

impl Call {
    fn begin(method: &'static str) -> Self {
        let request_id = tronch_engine::new_request_id();
        Self {
            began: Instant::now(),
            request_id,
            request_id_text: request_id.text(),
            method,
            outcome: "cut_off",
            status: None,
            tenant: None,
            key: None,
            token: None,
        }
    }

    /// An error of ours is logged on the way, with the call's id.
    fn problem(&self, error: Error) -> Problem {
        tracing::error_span!("request", request.id = %self.request_id).in_scope(|| Problem::from(error))
    }

    fn refused(&mut self, problem: Problem, is_https: bool) -> Response {
        self.outcome = problem.code().slug();
        let mut response = problem.written(Some(self.request_id));
        add_headers(response.headers_mut(), is_https);
        response
    }

    fn end(mut self, mut response: Response) -> Response {
        self.status = Some(response.status());
        if let Ok(value) = HeaderValue::from_str(self.request_id_text.as_str()) {
            match response.headers_mut().get_mut(&REQUEST_ID) {
                Some(place) => *place = value,
                None => drop(response.headers_mut().insert(&REQUEST_ID, value)),
            }
        }
        response
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        write_request(&RequestLine {
            request_id: self.request_id_text.as_str(),
            method: self.method,
            route: ROUTE,
            status: self.status.map(|status| status.as_u16()),
            outcome: self.outcome,
            took: self.began.elapsed(),
            tenant: self.tenant.as_ref().map(ServiceToken::tenant),
            key: self.key,
            token: self.token,
        });
    }
}

fn known<'a>(verdict: &'a Verdict, request_id: Option<&'a str>, facts: &'a KeyFacts) -> VerdictOut<'a> {
    VerdictOut {
        valid: verdict.code == VerdictCode::Valid,
        code: verdict.code,
        request_id,
        key_id: facts.key_id(),
        handle: facts.handle(),
        name: facts.name(),
        tenant: facts.tenant().as_str(),
        project: facts.project().as_str(),
        environment: facts.environment().as_str(),
        owner: facts.owner().map(|external_id| OwnerRef { external_id }),
        metadata: facts.metadata().map_or(Metadata::Empty {}, Metadata::Some),
        permissions: facts.permissions(),
        expires_at: facts.expires_at().map(format_timestamp),
        limits: verdict.limits().map(LimitToldOut::from).collect(),
        rotation: facts.rotation().cloned().map(RotationOut::from),
        data_age_ms: u32::try_from(verdict.data_age.as_millis()).unwrap_or(u32::MAX),
    }
}

/// The service token of a request, let in.
pub(crate) struct Bearer(pub(crate) ServiceToken);

impl FromRequestParts<Verifier> for Bearer {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, verifier: &Verifier) -> Result<Self, Problem> {
        let notes = Notes::of(&parts.extensions);
        let bearer = bearer_text(&parts.headers).ok_or(Error::Unauthenticated)?;
        let presented = PresentedToken::parse(bearer).map_err(|_| Error::Unauthenticated)?;
        notes.token(presented.handle());
        let token = verifier.authenticate(&presented).await?;
        notes.tenant(token.tenant());
        Ok(Self(token))
    }
}

/// RFC 6750: exactly one `Authorization: Bearer …`.
fn bearer_text(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (value, None) = (values.next()?, values.next()) else { return None };
    let (scheme, text) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| text.trim())
}

/// Where a call came from, for the audit log.
pub(crate) fn origin_of(parts: &Parts) -> Origin {
    parts.extensions.get::<Origin>().cloned().unwrap_or_default()
}
