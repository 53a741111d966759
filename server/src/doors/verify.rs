//! `POST /api/v1/keys/verify`: a service asks whether a key may pass. Its state is the data plane and nothing else.

use axum::Extension;
use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tronch_core::{
    Environment, Handle, KeyId, KeyPermission, MalformedReason, Permission, PermissionQuery, PresentedKey,
    PresentedToken, ProjectSlug, RequestId, VerdictCode, format_timestamp,
};
use tronch_engine::verify::{KeyFacts, ServiceToken, Verdict, Verifier, VerifyRequest};
use tronch_engine::{Error, Origin};
use utoipa::ToSchema;

use super::api::json::Body;
use super::api::out::{OwnerOut, RotationOut};
use super::api::query::Query;
use super::entry::{Access, Entry, post};
use super::problem::Problem;
use super::request_log::Notes;

/// Room for an answer about a key with little metadata.
const ANSWER_BYTES: usize = 768;

/// What is asked about a key.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct VerifyIn {
    /// The key as its holder presented it: any string.
    #[schema(example = "tronch_sk_live_…")]
    key: String,
    /// The project the key must belong to; required when the tenant has several and the token is for none.
    #[schema(value_type = Option<String>, example = "default")]
    project: Option<ProjectSlug>,
    /// The environment the key must belong to: `test`, or `live` when nothing is said.
    #[schema(value_type = Option<String>, example = "live")]
    environment: Option<Environment>,
    /// What the key must hold, such as `invoices.read AND (invoices.write OR admin)`.
    permissions: Option<String>,
}

/// The verdict on a text that is no key of the caller's tenant.
#[derive(Serialize, ToSchema)]
pub(crate) struct BareVerdictOut {
    valid: bool,
    /// `MALFORMED` or `NOT_FOUND`.
    #[schema(value_type = String)]
    code: VerdictCode,
    /// With `MALFORMED`: `length`, `prefix`, `alphabet`, `timestamp`, `random` or `gate`.
    #[schema(value_type = Option<String>)]
    reason: Option<MalformedReason>,
    #[schema(value_type = Option<String>)]
    request_id: Option<RequestId>,
}

/// The verdict on a key of the caller's tenant.
#[derive(Serialize, ToSchema)]
pub(crate) struct VerdictOut<'a> {
    /// Whether the key may pass.
    valid: bool,
    /// `VALID`, or the first check that failed.
    #[schema(value_type = String, example = "VALID")]
    code: VerdictCode,
    #[schema(value_type = Option<String>)]
    request_id: Option<RequestId>,
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
    /// The limits that were charged; a key without limits has none.
    #[schema(value_type = Vec<Object>)]
    limits: [(); 0],
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
pub(crate) enum VerifyOut<'a> {
    /// A key of the caller's tenant.
    Known(VerdictOut<'a>),
    /// `MALFORMED` and `NOT_FOUND`.
    Bare(BareVerdictOut),
}

/// The door's table.
pub(crate) fn table() -> Vec<Entry<Verifier>> {
    vec![post("/api/v1/keys/verify", Access::Token(Permission::KeysVerify), verify_key)]
}

/// Answer whether a key may pass.
///
/// Every verdict is a 200; whatever else goes wrong is a problem. Never a verdict because something of ours is down.
#[utoipa::path(
    post, path = "/api/v1/keys/verify", tag = "validation", operation_id = "verify_key",
    security(("service_token" = ["keys.verify"])),
    request_body = VerifyIn,
    responses((status = 200, description = "The verdict", body = VerifyOut<'static>), (status = "default", response = crate::doors::api::openapi::Refused))
)]
pub(crate) async fn verify_key(
    State(verifier): State<Verifier>,
    Extension(request_id): Extension<RequestId>,
    notes: Notes,
    Bearer(token): Bearer,
    uri: Uri,
    Body(asked): Body<VerifyIn>,
) -> Result<Response, Problem> {
    Query::read(&uri, &[])?;
    let permissions = match asked.permissions.as_deref().map(PermissionQuery::parse) {
        None => None,
        Some(Ok(query)) => Some(query),
        Some(Err(error)) => {
            return Err(Problem::new(tronch_core::ErrorCode::InvalidField, error.to_string()).at("permissions"));
        }
    };
    let key = PresentedKey::parse(&asked.key);
    // Whatever comes of it: who was refused as NOT_FOUND is what an operator looks for.
    if let Ok(presented) = &key {
        notes.key(presented.handle());
    }
    let request = VerifyRequest { key, project: asked.project, environment: asked.environment, permissions };
    let verdict = verifier.verify(&token, request).await?;
    notes.verdict(verdict.code);
    let (code, request_id) = (verdict.code, Some(request_id));
    let out = match verdict.facts() {
        Some(facts) => VerifyOut::Known(known(&verdict, request_id, facts)),
        None => VerifyOut::Bare(BareVerdictOut { valid: false, code, reason: verdict.reason, request_id }),
    };
    let mut body = Vec::with_capacity(ANSWER_BYTES);
    serde_json::to_writer(&mut body, &out).map_err(|error| Problem::from(Error::Internal(Box::new(error))))?;
    Ok(([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], body).into_response())
}

fn known<'a>(verdict: &Verdict, request_id: Option<RequestId>, facts: &'a KeyFacts) -> VerdictOut<'a> {
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
        limits: [],
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
