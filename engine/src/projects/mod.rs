//! Projects: groups of keys for one API of the tenant. Each tenant begins with `default`.

use diesel::prelude::*;
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use tronch_core::{Permission, ProjectId, ProjectName, ProjectSlug, ProjectView, RotationSettings};
use uuid::Uuid;

use crate::error::Error;
use crate::schema::projects;
use crate::tenancy::Tenant;

/// Projects one tenant may have.
const PROJECTS_MAX: i64 = 500;

#[derive(Queryable, Selectable)]
#[diesel(table_name = projects)]
struct ProjectRow {
    id: Uuid,
    slug: String,
    name: String,
    grace_default_seconds: i32,
    grace_max_seconds: i32,
    auto_revoke: bool,
}

impl ProjectRow {
    fn view(self) -> Result<ProjectView, Error> {
        Ok(ProjectView {
            id: ProjectId::from_uuid(self.id),
            slug: ProjectSlug::parse(&self.slug).map_err(Error::internal)?,
            name: ProjectName::parse(&self.name).map_err(Error::internal)?,
            default_grace_seconds: u32::try_from(self.grace_default_seconds).map_err(Error::internal)?,
            max_grace_seconds: u32::try_from(self.grace_max_seconds).map_err(Error::internal)?,
            auto_revoke: self.auto_revoke,
        })
    }
}

/// The tenant's projects that the caller may see, by slug.
///
/// # Errors
/// `Forbidden` without `projects.read`; `Unavailable`.
pub async fn list_projects(tenant: &Tenant) -> Result<Vec<ProjectView>, Error> {
    tenant.require(Permission::ProjectsRead)?;
    let mut transaction = tenant.begin().await?;
    let mut query = projects::table.filter(projects::tenant_id.eq(transaction.tenant_id())).into_boxed();
    if let Some(project) = tenant.scope.project {
        query = query.filter(projects::id.eq(project.uuid()));
    }
    let rows: Vec<ProjectRow> = query
        .order(projects::slug)
        .limit(PROJECTS_MAX)
        .select(ProjectRow::as_select())
        .load(transaction.connection())
        .await?;
    transaction.commit().await?;
    rows.into_iter().map(ProjectRow::view).collect()
}

/// The project of a slug, inside a running transaction.
pub(crate) async fn find_project(
    connection: &mut AsyncPgConnection,
    tenant_id: Uuid,
    slug: &ProjectSlug,
) -> Result<ProjectView, Error> {
    let row: Option<ProjectRow> = projects::table
        .filter(projects::tenant_id.eq(tenant_id))
        .filter(projects::slug.eq(slug.as_str()))
        .select(ProjectRow::as_select())
        .first(connection)
        .await
        .optional()?;
    row.ok_or(Error::NotFound { noun: "project" })?.view()
}

/// What a project says about rotation.
pub(crate) fn rotation_settings(project: &ProjectView) -> RotationSettings {
    RotationSettings {
        default_grace_seconds: project.default_grace_seconds,
        max_grace_seconds: project.max_grace_seconds,
        auto_revoke: project.auto_revoke,
    }
}
