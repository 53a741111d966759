//! `/api/v1/usage`: how often which verdict was given, over time.

use std::collections::BTreeMap;

use axum::Json;
use axum::http::Uri;
use serde::Serialize;
use tronch_core::{ErrorCode, UsagePoint, format_timestamp};
use tronch_engine::usage::{Span, usage_of_key, usage_of_limit, usage_of_tenant};
use utoipa::ToSchema;

use super::openapi::Refused;
use super::query::Query;
use super::{Inside, id_of};
use crate::doors::problem::Problem;

/// Counts of validations over a span of time.
#[derive(Serialize, ToSchema)]
pub(crate) struct UsageOut {
    /// `1h`, `24h`, `7d` or `30d`.
    span: String,
    /// How long one point is.
    step_seconds: i64,
    /// The oldest first, without gaps; the last one is still running.
    points: Vec<UsagePointOut>,
}

/// Counts of validations in one step.
#[derive(Serialize, ToSchema)]
pub(crate) struct UsagePointOut {
    /// Where the step begins.
    at: String,
    /// By verdict code; what did not occur is left out.
    #[schema(example = json!({ "VALID": 1204, "REVOKED": 3 }))]
    counts: BTreeMap<&'static str, u64>,
}

impl From<UsagePoint> for UsagePointOut {
    fn from(point: UsagePoint) -> Self {
        let counts = point.counts.into_iter().map(|(code, count)| (code.as_str(), count)).collect();
        Self { at: format_timestamp(point.at), counts }
    }
}

/// Count validations by verdict: of the whole tenant, or of one key; or what one limit said.
///
/// A validation is counted a second or two after it was answered. Of a limit, `VALID` counts the calls that were charged to it, and
/// `RATE_LIMITED` and `QUOTA_EXCEEDED` those that it refused; a call that something else refused is not counted for it.
#[utoipa::path(
    get, path = "/api/v1/usage", tag = "usage", operation_id = "get_usage",
    security(("service_token" = ["usage.read"])),
    params(
        ("span" = Option<String>, Query, description = "`1h` by minutes, `24h` by hours, `7d` by six hours or `30d` by days; `24h` when left out"),
        ("key_id" = Option<String>, Query, description = "only of this key"),
        ("limit_id" = Option<String>, Query, description = "instead, what this limit said"),
    ),
    responses((status = 200, description = "The counts", body = UsageOut), (status = "default", response = Refused))
)]
pub(crate) async fn get_usage(inside: Inside, uri: Uri) -> Result<Json<UsageOut>, Problem> {
    let query = Query::read(&uri, &["span", "key_id", "limit_id"])?;
    let span = query.field("span", |text| text.parse::<Span>())?.unwrap_or_default();
    let points = match (query.text("key_id"), query.text("limit_id")) {
        (Some(_), Some(_)) => {
            let detail = "ask about a key or about a limit, not about both";
            return Err(Problem::new(ErrorCode::InvalidField, detail).at("limit_id"));
        }
        (Some(key_id), None) => usage_of_key(&inside.tenant, id_of(key_id, "key")?, span).await?,
        (None, Some(limit_id)) => usage_of_limit(&inside.tenant, id_of(limit_id, "limit")?, span).await?,
        (None, None) => usage_of_tenant(&inside.tenant, span).await?,
    };
    let points = points.into_iter().map(UsagePointOut::from).collect();
    Ok(Json(UsageOut { span: span.to_string(), step_seconds: span.step().num_seconds(), points }))
}
