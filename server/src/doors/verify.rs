//! `POST /api/v1/keys/verify`: a service asks whether a key may pass. Its state is the data plane and nothing else, and no
//! layer stands around it.

use std::borrow::Cow;
use std::panic::AssertUnwindSafe;

use axum::extract::{FromRequestParts, Request, State};
use axum::http::Method;
use axum::http::request::Parts;
use axum::response::Response;
use futures_util::FutureExt as _;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tronch_core::{
    Environment, ErrorCode, Handle, IdText, KeyId, KeyPermission, MalformedReason, Permission, PermissionQuery,
    PresentedKey, PresentedToken, ProjectSlug, TenantSlug, VerdictCode, format_timestamp,
};
use tronch_engine::verify::{KeyFacts, ServiceToken, Verdict, Verifier, VerifyRequest};
use tronch_engine::{Error, Origin};
use utoipa::ToSchema;

use super::api::out::{OwnerOut, RotationOut};
use super::data_plane::{Answered, Call, DataPlane, NamedCostIn, bearer_text, costs, parse_quickly};
use super::entry::{Access, Entry, post};
use super::problem::Problem;
use super::quick_json::{Quick, QuickJson};
use super::request_log::Notes;
use super::told_limits::{LimitHeaders, LimitToldOut, LimitsToldOut};

/// The address.
pub(super) const ROUTE: &str = "/api/v1/keys/verify";

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
    #[schema(value_type = Option<String>)]
    request_id: Option<&'a IdText>,
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
    request_id: Option<&'a IdText>,
    #[schema(value_type = String)]
    key_id: KeyId,
    #[schema(value_type = String)]
    handle: Handle,
    name: &'a str,
    #[schema(value_type = String)]
    tenant: &'a TenantSlug,
    #[schema(value_type = String)]
    project: &'a ProjectSlug,
    environment: &'static str,
    #[schema(value_type = Option<OwnerOut>)]
    owner: Option<OwnerRef<'a>>,
    #[schema(value_type = Object)]
    metadata: Metadata<'a>,
    #[schema(value_type = Vec<String>)]
    permissions: &'a [KeyPermission],
    expires_at: Option<String>,
    /// The limits that were charged, or of which one was exceeded; a key without limits has none.
    #[schema(value_type = Vec<LimitToldOut<'static>>)]
    limits: LimitsToldOut<'a>,
    rotation: Option<RotationOut>,
    /// How old the knowledge behind the verdict is: 0 when it was read for this call.
    data_age_ms: u32,
}

impl Quick for VerdictOut<'_> {
    fn put(&self, json: &mut QuickJson) -> serde_json::Result<()> {
        let Self { valid, code, request_id, key_id, handle, name, tenant, project, environment, .. } = self;
        json.raw("{\"valid\":").truth(*valid).raw(",\"code\":").word(&code.as_str());
        json.raw(",\"request_id\":").word_or_null(*request_id);
        json.raw(",\"key_id\":").word(&key_id.text());
        json.raw(",\"handle\":").word(handle);
        json.raw(",\"name\":").text(name)?;
        json.raw(",\"tenant\":").word(*tenant).raw(",\"project\":").word(*project);
        json.raw(",\"environment\":").word(environment);
        match &self.owner {
            Some(owner) => json.raw(",\"owner\":{\"external_id\":").text(owner.external_id)?.raw("}"),
            None => json.raw(",\"owner\":null"),
        };
        json.raw(",\"metadata\":").raw(match self.metadata {
            Metadata::Some(metadata) => metadata.get(),
            Metadata::Empty {} => "{}",
        });
        json.raw(",\"permissions\":").list(self.permissions, |json, permission| {
            json.word(permission);
            Ok(())
        })?;
        match &self.expires_at {
            Some(at) => json.raw(",\"expires_at\":").text(at)?,
            None => json.raw(",\"expires_at\":null"),
        };
        json.raw(",\"limits\":");
        self.limits.put(json)?;
        match &self.rotation {
            Some(rotation) => json.raw(",\"rotation\":").other(rotation)?,
            None => json.raw(",\"rotation\":null"),
        };
        json.raw(",\"data_age_ms\":").number(self.data_age_ms.into()).raw("}");
        Ok(())
    }
}

impl Quick for VerifyOut<'_> {
    fn put(&self, json: &mut QuickJson) -> serde_json::Result<()> {
        match self {
            Self::Known(known) => known.put(json),
            Self::Bare(bare) => json.other(bare).map(drop),
        }
    }
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

/// The door's table.
pub(crate) fn table() -> Vec<Entry<DataPlane>> {
    vec![post(ROUTE, Access::Token(Permission::KeysVerify), verify_key)]
}

/// Whether a request is for [`verify_key`].
pub(super) fn is_verify(request: &Request) -> bool {
    request.uri().path() == ROUTE && request.method() == Method::POST
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
pub(crate) async fn verify_key(State(door): State<DataPlane>, request: Request) -> Response {
    let mut call = Call::begin("POST", ROUTE);
    let answered = AssertUnwindSafe(answer(&door, &mut call, request)).catch_unwind().await;
    call.answer(&door, answered)
}

async fn answer(door: &DataPlane, call: &mut Call, request: Request) -> Result<Answered, Problem> {
    let (token, bytes) = door.receive(call, request).await?;
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
    let verdict = door.verifier().verify(&token, asked).await.map_err(|error| call.problem(error))?;
    call.outcome = verdict.code.as_str();
    let (code, request_id) = (verdict.code, Some(&call.request_id_text));
    let out = match verdict.handle().zip(verdict.facts()) {
        Some((handle, facts)) => VerifyOut::Known(known(&verdict, request_id, handle, facts)),
        None => VerifyOut::Bare(BareVerdictOut { valid: false, code, reason: verdict.reason, request_id }),
    };
    Ok((call.written(&out)?, LimitHeaders::of(verdict.limits())))
}

fn known<'a>(
    verdict: &'a Verdict,
    request_id: Option<&'a IdText>,
    handle: Handle,
    facts: &'a KeyFacts,
) -> VerdictOut<'a> {
    VerdictOut {
        valid: verdict.code == VerdictCode::Valid,
        code: verdict.code,
        request_id,
        key_id: facts.key_id(),
        handle,
        name: facts.name(),
        tenant: facts.tenant(),
        project: facts.project(),
        environment: facts.environment().as_str(),
        owner: facts.owner().map(|external_id| OwnerRef { external_id }),
        metadata: facts.metadata().map_or(Metadata::Empty {}, Metadata::Some),
        permissions: facts.permissions(),
        expires_at: facts.expires_at().map(format_timestamp),
        limits: LimitsToldOut(verdict.limits()),
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

/// Where a call came from, for the audit log.
pub(crate) fn origin_of(parts: &Parts) -> Origin {
    parts.extensions.get::<Origin>().cloned().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use tronch_core::RequestId;
    use tronch_engine::verify::LimitsTold;

    use super::super::quick_json::tests::{ODD_TEXTS, assert_written_alike};
    use super::*;

    /// Room for it is made, moved and cleared for each call, so what few calls hold stands apart from it.
    #[test]
    fn a_call_under_way_is_small() {
        fn size<State, Call, F: Fn(State, Request) -> Call>(_: F) -> usize {
            std::mem::size_of::<Call>()
        }
        let bytes = size(verify_key);
        assert!(bytes <= 2_048, "{bytes}");
    }

    /// Verdicts that differ in what may be there or not, and in texts that people choose.
    #[test]
    fn a_verdict_is_written_as_it_is_described() {
        let metadata = RawValue::from_string("{\"a\":[1,\"\\\"\",null]}".to_owned()).expect("JSON");
        let permissions: Vec<KeyPermission> =
            ["a", "b.c:*", "d/e"].iter().map(|text| KeyPermission::parse(text).expect("a permission")).collect();
        let handle: Handle = "0Uz3kQ9aB12".parse().expect("a handle");
        let key_id = KeyId::from_uuid(uuid::Uuid::from_u128(7));
        let request_id = RequestId::from_uuid(uuid::Uuid::from_u128(8)).text();
        let (tenant, project) = (TenantSlug::parse("acme"), ProjectSlug::parse("default"));
        let (tenant, project) = (tenant.expect("a slug"), project.expect("a slug"));
        let rotation = |number: usize| match number % 4 {
            0 => None,
            1 => Some(RotationOut::Successor { predecessor_id: key_id.to_string() }),
            2 => Some(RotationOut::Predecessor { grace_ends_at: None, successor_id: key_id.to_string() }),
            _ => Some(RotationOut::Predecessor {
                grace_ends_at: Some("2026-11-27T00:00:00.000Z".to_owned()),
                successor_id: key_id.to_string(),
            }),
        };
        for (number, text) in ODD_TEXTS.into_iter().cycle().take(120).enumerate() {
            let code = VerdictCode::ALL[number % VerdictCode::ALL.len()];
            assert_written_alike(&VerifyOut::Known(VerdictOut {
                valid: code == VerdictCode::Valid,
                code,
                request_id: (number % 5 > 0).then_some(&request_id),
                key_id,
                handle,
                name: text,
                tenant: &tenant,
                project: &project,
                environment: if number % 2 == 0 { "live" } else { "test" },
                owner: (number % 3 > 0).then_some(OwnerRef { external_id: text }),
                metadata: if number % 7 == 0 { Metadata::Some(&metadata) } else { Metadata::Empty {} },
                permissions: &permissions[..number % 4],
                expires_at: (number % 11 > 5).then(|| "2026-11-27T00:00:00.000Z".to_owned()),
                limits: LimitsToldOut(LimitsTold::default()),
                rotation: rotation(number),
                data_age_ms: u32::try_from(number).expect("few") * 1_000,
            }));
        }
        for reason in [None, Some(MalformedReason::Gate)] {
            let code = VerdictCode::Malformed;
            let bare = BareVerdictOut { valid: false, code, reason, request_id: Some(&request_id) };
            assert_written_alike(&VerifyOut::Bare(bare));
        }
    }
}
