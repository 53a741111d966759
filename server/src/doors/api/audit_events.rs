//! `/api/v1/audit-events`.

use axum::Json;
use axum::http::Uri;
use tronch_core::parse_timestamp;
use tronch_engine::audit::{self, AuditFilter};

use super::Inside;
use super::openapi::Refused;
use super::out::{AuditEventOut, ListOut};
use super::query::Query;
use crate::doors::problem::Problem;

/// Read the audit log, the newest first.
#[utoipa::path(
    get, path = "/api/v1/audit-events", tag = "audit log", operation_id = "list_audit_events",
    security(("service_token" = ["audit.read"])),
    params(
        ("action" = Option<String>, Query, description = "only this action, such as `rotate_key`"),
        ("actor_id" = Option<String>, Query, description = "only by this actor"),
        ("target_id" = Option<String>, Query, description = "only about this target"),
        ("from" = Option<String>, Query, description = "RFC 3339: only from then on"),
        ("until" = Option<String>, Query, description = "RFC 3339: only before then"),
        ("limit" = Option<u32>, Query, description = "rows of a page, 1–100; 25 when left out"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
    ),
    responses((status = 200, description = "One page", body = ListOut<AuditEventOut>), (status = "default", response = Refused))
)]
pub(crate) async fn list_audit_events(inside: Inside, uri: Uri) -> Result<Json<ListOut<AuditEventOut>>, Problem> {
    let query = Query::read(&uri, &["action", "actor_id", "target_id", "from", "until", "limit", "cursor"])?;
    let text = |name: &str| query.text(name).map(ToOwned::to_owned);
    let filter = AuditFilter {
        action: text("action"),
        actor_id: text("actor_id"),
        target_id: text("target_id"),
        from: query.field("from", parse_timestamp)?,
        until: query.field("until", parse_timestamp)?,
        cursor: query.cursor(),
        limit: query.limit()?,
        ..AuditFilter::default()
    };
    let page = audit::list_audit_events(&inside.tenant, &filter).await?;
    Ok(Json(ListOut::of(page, AuditEventOut::try_from)?))
}
