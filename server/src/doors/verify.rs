//! `POST /api/v1/keys/verify`: a service asks whether a key may pass. Its state is the data plane and nothing else.

use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tronch_core::{
    Environment, MalformedReason, Permission, PermissionQuery, PresentedKey, PresentedToken, ProjectSlug, RequestId,
    VerdictCode, format_timestamp,
};
use tronch_engine::verify::{KeyFacts, ServiceToken, Verifier, VerifyRequest};
use tronch_engine::{Error, Origin};
use utoipa::ToSchema;

use super::api::json::Body;
use super::api::out::{OwnerOut, RotationOut, raw};
use super::api::query::Query;
use super::entry::{Access, Entry, post};
use super::problem::Problem;
use super::request_log::Notes;

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
pub(crate) struct VerdictOut {
    /// Whether the key may pass.
    valid: bool,
    /// `VALID`, or the first check that failed.
    #[schema(value_type = String, example = "VALID")]
    code: VerdictCode,
    #[schema(value_type = Option<String>)]
    request_id: Option<RequestId>,
    key_id: String,
    handle: String,
    name: String,
    tenant: String,
    project: String,
    environment: String,
    owner: Option<OwnerOut>,
    #[schema(value_type = Object)]
    metadata: Box<RawValue>,
    permissions: Vec<String>,
    expires_at: Option<String>,
    /// The limits that were charged; a key without limits has none.
    #[schema(value_type = Vec<Object>)]
    limits: [(); 0],
    rotation: Option<RotationOut>,
    /// How old the knowledge behind the verdict is: 0 when it was read for this call.
    data_age_ms: u32,
}

/// What `POST /api/v1/keys/verify` answers with 200.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum VerifyOut {
    /// A key of the caller's tenant.
    Known(Box<VerdictOut>),
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
    responses((status = 200, description = "The verdict", body = VerifyOut), (status = "default", response = crate::doors::api::openapi::Refused))
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
    // Whatever comes of it: who was refused as NOT_FOUND is what an operator looks for.
    if let Ok(presented) = PresentedKey::parse(&asked.key) {
        notes.key(presented.handle());
    }
    let request = VerifyRequest { key: asked.key, project: asked.project, environment: asked.environment, permissions };
    let verdict = verifier.verify(&token, request).await?;
    notes.verdict(verdict.code);
    let out = match verdict.facts {
        Some(facts) => VerifyOut::Known(Box::new(known(verdict.code, request_id, *facts)?)),
        None => VerifyOut::Bare(BareVerdictOut {
            valid: false,
            code: verdict.code,
            reason: verdict.reason,
            request_id: Some(request_id),
        }),
    };
    Ok(Json(out).into_response())
}

fn known(code: VerdictCode, request_id: RequestId, facts: KeyFacts) -> Result<VerdictOut, Problem> {
    Ok(VerdictOut {
        valid: code == VerdictCode::Valid,
        code,
        request_id: Some(request_id),
        key_id: facts.key_id.to_string(),
        handle: facts.handle.to_string(),
        name: facts.name.to_string(),
        tenant: facts.tenant.to_string(),
        project: facts.project.to_string(),
        environment: facts.environment.to_string(),
        owner: facts.owner.as_ref().map(OwnerOut::of),
        metadata: raw(facts.metadata_json)?,
        permissions: facts.permissions.iter().map(|permission| permission.as_str().to_owned()).collect(),
        expires_at: facts.expires_at.map(format_timestamp),
        limits: [],
        rotation: facts.rotation.map(RotationOut::from),
        data_age_ms: 0,
    })
}

/// The service token of a request, let in.
pub(crate) struct Bearer(pub(crate) ServiceToken);

impl FromRequestParts<Verifier> for Bearer {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, verifier: &Verifier) -> Result<Self, Problem> {
        let notes = Notes::of(&parts.extensions);
        let bearer = bearer_text(&parts.headers).ok_or(Error::Unauthenticated)?;
        if let Ok(presented) = PresentedToken::parse(bearer) {
            notes.token(presented.handle());
        }
        let token = verifier.authenticate(bearer).await?;
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
