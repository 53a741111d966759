//! `/api/v1/health`: whether the product works, for whoever asks, without detail.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use tronch_core::ErrorCode;
use utoipa::ToSchema;

use super::Api;
use super::openapi::Refused;
use crate::doors::problem::Problem;

/// How long the answer waits for Postgres.
const HEALTH_BUDGET: Duration = Duration::from_secs(1);

/// That the product works.
#[derive(Serialize, ToSchema)]
pub(crate) struct HealthOut {
    /// `ok`; anything else is a 503.
    status: &'static str,
}

/// Ask whether the product works.
#[utoipa::path(
    get, path = "/api/v1/health", tag = "health", operation_id = "get_health",
    responses((status = 200, description = "It does", body = HealthOut), (status = "default", response = Refused))
)]
pub(crate) async fn health(State(api): State<Api>) -> Result<Json<HealthOut>, Problem> {
    match tokio::time::timeout(HEALTH_BUDGET, api.engine.ping()).await {
        Ok(Ok(())) => Ok(Json(HealthOut { status: "ok" })),
        _ => Err(Problem::new(ErrorCode::Unavailable, "the database cannot be reached right now")),
    }
}
