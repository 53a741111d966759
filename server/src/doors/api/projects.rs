//! `/api/v1/projects`.

use axum::Json;
use axum::http::Uri;
use tronch_core::Page;
use tronch_engine::projects;

use super::Inside;
use super::openapi::Refused;
use super::out::{ListOut, ProjectOut};
use super::query::Query;
use crate::doors::problem::Problem;

/// List the projects the token may see, by slug, all at once.
#[utoipa::path(
    get, path = "/api/v1/projects", tag = "projects", operation_id = "list_projects",
    security(("service_token" = ["projects.read"])),
    responses((status = 200, description = "All of them", body = ListOut<ProjectOut>), (status = "default", response = Refused))
)]
pub(crate) async fn list_projects(inside: Inside, uri: Uri) -> Result<Json<ListOut<ProjectOut>>, Problem> {
    Query::read(&uri, &[])?;
    let items = projects::list_projects(&inside.tenant).await?;
    Ok(Json(ListOut::of(Page { items, next_cursor: None }, |project| Ok(project.into()))?))
}
