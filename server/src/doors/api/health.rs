//! `/api/v1/health`: whether the product works. Whoever asks hears yes or no; a service token with `health.read` hears of
//! each part.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tronch_core::{Permission, format_timestamp};
use tronch_engine::health::{Health, HealthState, check};
use utoipa::ToSchema;

use super::Api;
use super::openapi::Refused;
use super::query::Query;
use crate::doors::problem::Problem;
use crate::doors::verify::Bearer;

/// How long the answer waits for Postgres.
const HEALTH_BUDGET: Duration = Duration::from_secs(1);

/// How the product is, as health+json (draft-inadarei-api-health-check).
#[derive(Serialize, ToSchema)]
pub(crate) struct HealthOut {
    /// `pass` and `warn` come with 200, `fail` with 503.
    #[schema(example = "pass")]
    status: &'static str,
    /// The version that answers; for a service token with `health.read`.
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'static str>,
    /// Each part, by component and measurement; for a service token with `health.read`.
    #[serde(skip_serializing_if = "Option::is_none")]
    checks: Option<BTreeMap<&'static str, Vec<CheckOut>>>,
}

/// One measurement of one part.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CheckOut {
    component_type: &'static str,
    status: &'static str,
    observed_value: u64,
    observed_unit: &'static str,
    /// When it was measured.
    time: String,
}

/// Ask whether the product works.
#[utoipa::path(
    get, path = "/api/v1/health", tag = "health", operation_id = "get_health",
    responses(
        (status = 200, description = "It does", body = HealthOut, content_type = "application/health+json"),
        (status = 503, description = "It does not", body = HealthOut, content_type = "application/health+json"),
        (status = "default", response = Refused)
    )
)]
pub(crate) async fn health(State(api): State<Api>, parts: Parts) -> Result<Response, Problem> {
    Query::read(&parts.uri, &[])?;
    let detailed = may_see_detail(&api, parts).await?;
    let health = check(&api.engine, HEALTH_BUDGET).await;
    let status = if health.state() == HealthState::Fail { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    let out = HealthOut {
        status: health.state().as_str(),
        version: detailed.then_some(env!("CARGO_PKG_VERSION")),
        checks: detailed.then(|| checks(&health)),
    };
    Ok((status, [(header::CONTENT_TYPE, "application/health+json")], Json(out)).into_response())
}

/// Without a token there is no detail; with one that may not see it there is a refusal.
async fn may_see_detail(api: &Api, mut parts: Parts) -> Result<bool, Problem> {
    use axum::extract::FromRequestParts as _;
    if !parts.headers.contains_key(header::AUTHORIZATION) {
        return Ok(false);
    }
    let Bearer(token) = match Bearer::from_request_parts(&mut parts, &api.verifier).await {
        Ok(bearer) => bearer,
        // Whoever asks how we are when Postgres is down is told that, not that they cannot be known.
        Err(problem) if problem.is_unavailable() => return Ok(false),
        Err(problem) => return Err(problem),
    };
    token.require(Permission::HealthRead)?;
    Ok(true)
}

fn checks(health: &Health) -> BTreeMap<&'static str, Vec<CheckOut>> {
    let check = |component_type, state: HealthState, observed_value, observed_unit| {
        let time = format_timestamp(health.checked_at);
        vec![CheckOut { component_type, status: state.as_str(), observed_value, observed_unit, time }]
    };
    let wait_ms = u64::try_from(health.database_wait.as_millis()).unwrap_or(u64::MAX);
    let data_age_ms = health.data_age.map_or(0, |age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
    let waiting = u64::try_from(health.usage_waiting).unwrap_or(u64::MAX);
    BTreeMap::from([
        ("postgres:responseTime", check("datastore", health.database, wait_ms, "ms")),
        ("validation:dataAge", check("component", health.validation, data_age_ms, "ms")),
        ("usage:waiting", check("component", health.usage, waiting, "events")),
        ("limits:shared", check("datastore", health.limits, u64::from(health.limits == HealthState::Pass), "answered")),
    ])
}
