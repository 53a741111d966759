//! `POST /api/v1/limits/check`: a service limits something that is no key.

use std::borrow::Cow;
use std::panic::AssertUnwindSafe;

use axum::extract::{Request, State};
use axum::response::Response;
use futures_util::FutureExt as _;
use serde::{Deserialize, Serialize};
use tronch_core::{ErrorCode, IdText, Identifier, Namespace, Permission, VerdictCode};
use tronch_engine::verify::CheckRequest;
use utoipa::ToSchema;

use super::data_plane::{Answered, Call, DataPlane, NamedCostIn, costs, parse_quickly};
use super::entry::{Access, Entry, post};
use super::problem::Problem;
use super::quick_json::{Quick, QuickJson};
use super::told_limits::{LimitHeaders, LimitToldOut, LimitsToldOut};

/// The address.
pub(super) const ROUTE: &str = "/api/v1/limits/check";

/// Who calls, and what it takes.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CheckIn<'a> {
    /// The namespace, of which limits are set with `POST /api/v1/limits`.
    #[serde(borrow)]
    #[schema(value_type = String, example = "sign-ups")]
    namespace: Cow<'a, str>,
    /// Whose calls are counted: 1–255 characters, none of them invisible; spaces at its ends are no part of it.
    #[serde(borrow)]
    #[schema(value_type = String, example = "198.51.100.7")]
    identifier: Cow<'a, str>,
    /// What the call takes of each automatic limit, 0–1 000 000; 1 when left out. 0 reads what is left.
    cost: Option<u32>,
    /// Further limits to charge, and automatic ones at another cost: all of them, or none. A name that the identifier has no limit
    /// of costs nothing.
    #[serde(borrow)]
    limits: Option<Vec<NamedCostIn<'a>>>,
}

/// Whether the call fits.
#[derive(Serialize, ToSchema)]
pub(crate) struct LimitCheckOut<'a> {
    /// Whether it may pass. It was charged to all limits then, else to none.
    passed: bool,
    /// `PASSED`, `RATE_LIMITED` or `QUOTA_EXCEEDED`.
    #[schema(example = "PASSED")]
    code: &'static str,
    #[schema(value_type = String)]
    request_id: &'a IdText,
    /// The limits that were charged, or of which one was exceeded. Without any the call passed.
    #[schema(value_type = Vec<LimitToldOut<'static>>)]
    limits: LimitsToldOut<'a>,
    /// How old the knowledge of the limits is: 0 when it was read for this call.
    data_age_ms: u32,
}

impl Quick for LimitCheckOut<'_> {
    fn put(&self, json: &mut QuickJson) -> serde_json::Result<()> {
        json.raw("{\"passed\":").truth(self.passed).raw(",\"code\":").word(&self.code);
        json.raw(",\"request_id\":").word(self.request_id);
        json.raw(",\"limits\":");
        self.limits.put(json)?;
        json.raw(",\"data_age_ms\":").number(self.data_age_ms.into()).raw("}");
        Ok(())
    }
}

/// The door's table.
pub(crate) fn table() -> Vec<Entry<DataPlane>> {
    vec![post(ROUTE, Access::Token(Permission::KeysVerify), check_limits)]
}

/// Charge the limits of an identifier.
///
/// For whatever a service limits that is no key: the addresses that sign up, the recipients of mail. It answers 200 whether or not the
/// call fits, with the same headers as a validation; 404 where the namespace has no limits.
#[utoipa::path(
    post, path = "/api/v1/limits/check", tag = "validation", operation_id = "check_limits",
    security(("service_token" = ["keys.verify"])),
    request_body = CheckIn<'static>,
    responses((status = 200, description = "Whether it fits", body = LimitCheckOut<'static>), (status = "default", response = crate::doors::api::openapi::Refused))
)]
pub(crate) async fn check_limits(State(door): State<DataPlane>, request: Request) -> Response {
    let mut call = Call::begin("POST", ROUTE);
    let answered = AssertUnwindSafe(answer(&door, &mut call, request)).catch_unwind().await;
    call.answer(&door, answered)
}

async fn answer(door: &DataPlane, call: &mut Call, request: Request) -> Result<Answered, Problem> {
    let (token, bytes) = door.receive(call, request).await?;
    let asked: CheckIn<'_> = parse_quickly(&bytes)?;
    let invalid = |field: &str, detail: String| Problem::new(ErrorCode::InvalidField, detail).at(field);
    let namespace = Namespace::parse(&asked.namespace).map_err(|error| invalid("namespace", error.to_string()))?;
    let identifier = Identifier::parse(&asked.identifier).map_err(|error| invalid("identifier", error.to_string()))?;
    let costs = costs(asked.cost, asked.limits)?;
    let asked = CheckRequest { namespace, identifier, costs };
    let checked = door.verifier().check_limits(&token, asked).await.map_err(|error| call.problem(error))?;
    let passed = checked.code == VerdictCode::Valid;
    call.outcome = if passed { "PASSED" } else { checked.code.as_str() };
    let out = LimitCheckOut {
        passed,
        code: call.outcome,
        request_id: &call.request_id_text,
        limits: LimitsToldOut(checked.limits()),
        data_age_ms: u32::try_from(checked.data_age.as_millis()).unwrap_or(u32::MAX),
    };
    Ok((call.written(&out)?, LimitHeaders::of(checked.limits())))
}

#[cfg(test)]
mod tests {
    use tronch_core::RequestId;
    use tronch_engine::verify::LimitsTold;

    use super::super::quick_json::tests::assert_written_alike;
    use super::*;

    #[test]
    fn an_answer_is_written_as_it_is_described() {
        let request_id = RequestId::from_uuid(uuid::Uuid::from_u128(8)).text();
        for (passed, code) in [(true, "PASSED"), (false, "RATE_LIMITED"), (false, "QUOTA_EXCEEDED")] {
            for data_age_ms in [0, 7, u32::MAX] {
                let limits = LimitsToldOut(LimitsTold::default());
                assert_written_alike(&LimitCheckOut { passed, code, request_id: &request_id, limits, data_age_ms });
            }
        }
    }
}
