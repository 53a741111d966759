//! `/api/v1/projects`: each handler reads its request, calls one verb and writes the answer.

use axum::Json;
use axum::extract::Path;
use axum::http::{StatusCode, Uri};
use serde::Deserialize;
use tronch_core::{ProjectName, ProjectSlug};
use tronch_engine::Error;
use tronch_engine::projects::{self, NewProject, ProjectChange};
use utoipa::ToSchema;

use super::Inside;
use super::json::{Body, Nothing, OptionalBody, given};
use super::openapi::Refused;
use super::out::{ListOut, ProjectOut};
use super::query::Query;
use crate::doors::problem::Problem;

/// What a new project is to be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateProjectIn {
    /// Its word in addresses and requests, for ever: 2–39 small letters, digits and hyphens.
    #[schema(value_type = String, example = "payments")]
    slug: ProjectSlug,
    /// 1–100 characters; the slug when left out.
    #[schema(value_type = Option<String>, max_length = 100)]
    name: Option<ProjectName>,
}

/// What of a project is to change; what is left out stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct UpdateProjectIn {
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, max_length = 100)]
    name: Option<ProjectName>,
    /// The grace of a rotation that asks for none, at most `max_grace_seconds`.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<u32>, example = 86400)]
    default_grace_seconds: Option<u32>,
    /// The longest grace, at most 2 592 000 seconds (30 days).
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<u32>, example = 2592000)]
    max_grace_seconds: Option<u32>,
    /// Whether the end of a grace ends the old key; without it somebody finishes the rotation.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<bool>)]
    auto_revoke: Option<bool>,
}

/// List the projects the token may see, by slug, archived ones among them.
#[utoipa::path(
    get, path = "/api/v1/projects", tag = "projects", operation_id = "list_projects",
    security(("service_token" = ["projects.read"])),
    params(
        ("limit" = Option<u32>, Query, description = "rows of a page, 1–100; 25 when left out"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
    ),
    responses((status = 200, description = "One page", body = ListOut<ProjectOut>), (status = "default", response = Refused))
)]
pub(crate) async fn list_projects(inside: Inside, uri: Uri) -> Result<Json<ListOut<ProjectOut>>, Problem> {
    let query = Query::read(&uri, &["limit", "cursor"])?;
    let page = projects::list_projects(&inside.tenant, query.text("cursor"), query.limit()?).await?;
    Ok(Json(ListOut::of(page, |project| Ok(project.into()))?))
}

/// Create a project.
#[utoipa::path(
    post, path = "/api/v1/projects", tag = "projects", operation_id = "create_project",
    security(("service_token" = ["projects.write"])), params(super::idempotency::KeyParameter), request_body = CreateProjectIn,
    responses((status = 201, description = "The project", body = ProjectOut), (status = "default", response = Refused))
)]
pub(crate) async fn create_project(
    inside: Inside,
    Body(asked): Body<CreateProjectIn>,
) -> Result<(StatusCode, Json<ProjectOut>), Problem> {
    let name = match asked.name {
        Some(name) => name,
        None => {
            ProjectName::parse(asked.slug.as_str()).map_err(|error| Problem::from(Error::Internal(Box::new(error))))?
        }
    };
    let project = projects::create_project(&inside.tenant, NewProject { slug: asked.slug, name }).await?;
    Ok((StatusCode::CREATED, Json(project.into())))
}

/// Look at a project.
#[utoipa::path(
    get, path = "/api/v1/projects/{project}", tag = "projects", operation_id = "get_project",
    security(("service_token" = ["projects.read"])), params(("project" = String, Path, description = "its slug")),
    responses((status = 200, description = "The project", body = ProjectOut), (status = "default", response = Refused))
)]
pub(crate) async fn get_project(
    inside: Inside,
    Path(slug): Path<String>,
    uri: Uri,
) -> Result<Json<ProjectOut>, Problem> {
    Query::read(&uri, &[])?;
    Ok(Json(projects::get_project(&inside.tenant, &slug_of(&slug)?).await?.into()))
}

/// Change a project's name and its rules of rotation.
#[utoipa::path(
    patch, path = "/api/v1/projects/{project}", tag = "projects", operation_id = "update_project",
    security(("service_token" = ["projects.write"])),
    params(("project" = String, Path, description = "its slug"), super::idempotency::KeyParameter), request_body = UpdateProjectIn,
    responses((status = 200, description = "The project as it is now", body = ProjectOut), (status = "default", response = Refused))
)]
pub(crate) async fn update_project(
    inside: Inside,
    Path(slug): Path<String>,
    Body(asked): Body<UpdateProjectIn>,
) -> Result<Json<ProjectOut>, Problem> {
    let change = ProjectChange {
        name: asked.name,
        default_grace_seconds: asked.default_grace_seconds,
        max_grace_seconds: asked.max_grace_seconds,
        auto_revoke: asked.auto_revoke,
        unless_changed_since: None,
    };
    Ok(Json(projects::update_project(&inside.tenant, &slug_of(&slug)?, change).await?.into()))
}

/// Put a project away. Refused while one of its keys works or could be enabled again.
#[utoipa::path(
    post, path = "/api/v1/projects/{project}/archive", tag = "projects", operation_id = "archive_project",
    security(("service_token" = ["projects.write"])),
    params(("project" = String, Path, description = "its slug"), super::idempotency::KeyParameter),
    responses((status = 200, description = "The project, archived", body = ProjectOut), (status = "default", response = Refused))
)]
pub(crate) async fn archive_project(
    inside: Inside,
    Path(slug): Path<String>,
    OptionalBody(Nothing {}): OptionalBody<Nothing>,
) -> Result<Json<ProjectOut>, Problem> {
    Ok(Json(projects::archive_project(&inside.tenant, &slug_of(&slug)?).await?.into()))
}

/// Take an archived project out again.
#[utoipa::path(
    post, path = "/api/v1/projects/{project}/restore", tag = "projects", operation_id = "restore_project",
    security(("service_token" = ["projects.write"])),
    params(("project" = String, Path, description = "its slug"), super::idempotency::KeyParameter),
    responses((status = 200, description = "The project, open again", body = ProjectOut), (status = "default", response = Refused))
)]
pub(crate) async fn restore_project(
    inside: Inside,
    Path(slug): Path<String>,
    OptionalBody(Nothing {}): OptionalBody<Nothing>,
) -> Result<Json<ProjectOut>, Problem> {
    Ok(Json(projects::restore_project(&inside.tenant, &slug_of(&slug)?).await?.into()))
}

/// The slug in an address; what is no slug is not there.
fn slug_of(text: &str) -> Result<ProjectSlug, Problem> {
    ProjectSlug::parse(text).map_err(|_| Problem::from(Error::NotFound { noun: "project" }))
}
