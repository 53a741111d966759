//! Projects: groups of keys for one API of the tenant. Each tenant begins with `default`.

mod change;
mod rows;

use diesel::prelude::*;
use tronch_core::{
    ErrorCode, Page, Permission, ProjectId, ProjectSlug, ProjectView, RotationSettings, bounds::PAGE_SIZE_MAX,
};
use uuid::Uuid;

use crate::clock;
use crate::cursor::Cursor;
use crate::error::Error;
use crate::once::ChangeTx;
use crate::schema::{keys, projects};
use crate::tenancy::{Scoped, Tenant, TenantTx};
use rows::ProjectRow;

pub use change::{
    NewProject, ProjectChange, archive_project, create_project, refusal_of_slug, refusals_of_change, restore_project,
    update_project,
};

/// Projects one tenant may have, archived ones among them.
pub const PROJECTS_MAX: i64 = 500;

const NOT_FOUND: Error = Error::NotFound { noun: "project" };

/// What cursors of this list begin with.
const LIST: &str = "projects";

type ProjectQuery<'a> = Scoped<diesel::dsl::IntoBoxed<'a, projects::table, diesel::pg::Pg>>;

/// The tenant's projects, as far as the caller's scope reaches.
fn visible<'a>(transaction: &TenantTx) -> ProjectQuery<'a> {
    let query = transaction.of(projects::table).into_boxed();
    match transaction.scope().project {
        Some(project) => query.filter(projects::id.eq(project.uuid())),
        None => query,
    }
}

/// The projects that keys can be made in, by slug, all at once: what a form offers to choose from.
///
/// # Errors
/// `Forbidden` without `projects.read`; `Unavailable`.
pub async fn list_open_projects(tenant: &Tenant) -> Result<Vec<ProjectView>, Error> {
    tenant.require(Permission::ProjectsRead)?;
    let mut transaction = tenant.begin().await?;
    let rows: Vec<ProjectRow> = visible(&transaction)
        .filter(projects::archived_at.is_null())
        .order(projects::slug)
        .limit(PROJECTS_MAX)
        .select(ProjectRow::as_select())
        .load(&mut transaction)
        .await?;
    transaction.commit().await?;
    rows.into_iter().map(ProjectRow::view).collect()
}

/// One page of the tenant's projects that the caller may see, by slug, archived ones among them.
///
/// # Errors
/// `Forbidden` without `projects.read`; `Invalid` for a limit, `InvalidCursor` for a cursor that cannot be taken;
/// `Unavailable`.
pub async fn list_projects(tenant: &Tenant, cursor: Option<&str>, limit: u32) -> Result<Page<ProjectView>, Error> {
    tenant.require(Permission::ProjectsRead)?;
    if !(1..=PAGE_SIZE_MAX).contains(&limit) {
        return Err(Error::invalid("limit", format!("a page has 1 to {PAGE_SIZE_MAX} rows")));
    }
    let mut transaction = tenant.begin().await?;
    let mut query = visible(&transaction);
    if let Some(cursor) = cursor {
        let (slug, _) = Cursor::parse(LIST, cursor)?.text_and_id()?;
        query = query.filter(projects::slug.gt(slug));
    }
    let rows: Vec<ProjectRow> = query
        .order(projects::slug)
        .limit(i64::from(limit) + 1)
        .select(ProjectRow::as_select())
        .load(&mut transaction)
        .await?;
    transaction.commit().await?;
    let size = limit as usize;
    let next_cursor =
        (rows.len() > size).then(|| Cursor::of_text(LIST, &rows[size - 1].slug, rows[size - 1].id).to_string());
    let items: Result<Vec<ProjectView>, Error> = rows.into_iter().take(size).map(ProjectRow::view).collect();
    Ok(Page { items: items?, next_cursor })
}

/// One project.
///
/// # Errors
/// `Forbidden` without `projects.read`; `NotFound`; `Unavailable`.
pub async fn get_project(tenant: &Tenant, slug: &ProjectSlug) -> Result<ProjectView, Error> {
    tenant.require(Permission::ProjectsRead)?;
    find_row(tenant, slug).await?.view()
}

/// A project that the caller's scope reaches, in a transaction of its own.
async fn find_row(tenant: &Tenant, slug: &ProjectSlug) -> Result<ProjectRow, Error> {
    let mut transaction = tenant.begin().await?;
    let row: Option<ProjectRow> = visible(&transaction)
        .filter(projects::slug.eq(slug.as_str()))
        .select(ProjectRow::as_select())
        .first(&mut transaction)
        .await
        .optional()?;
    transaction.commit().await?;
    row.ok_or(NOT_FOUND)
}

/// How many keys of each project work, or would if they were enabled.
pub struct WorkingKeys(Vec<(Uuid, i64)>);

impl WorkingKeys {
    /// Of one project.
    pub fn of(&self, project_id: ProjectId) -> u64 {
        let found = self.0.iter().find(|(id, _)| *id == project_id.uuid());
        found.map_or(0, |(_, count)| u64::try_from(*count).unwrap_or(0))
    }
}

/// Counts what would keep projects from being archived.
///
/// # Errors
/// `Forbidden` without `projects.read`; `Unavailable`.
pub async fn count_working_keys(tenant: &Tenant, of: &[ProjectView]) -> Result<WorkingKeys, Error> {
    tenant.require(Permission::ProjectsRead)?;
    let ids: Vec<Uuid> = of.iter().map(|project| project.id.uuid()).collect();
    let mut transaction = tenant.begin().await?;
    let counts = count_working(&mut transaction, ids).await?;
    transaction.commit().await?;
    Ok(WorkingKeys(counts))
}

/// How many keys of each project work, or would if they were enabled; projects without any are left out.
async fn count_working(transaction: &mut TenantTx, project_ids: Vec<Uuid>) -> Result<Vec<(Uuid, i64)>, Error> {
    Ok(transaction
        .of(keys::table)
        .filter(keys::project_id.eq_any(project_ids))
        .filter(keys::revoked_at.is_null())
        .filter(keys::ends_at.gt(clock::now()))
        .group_by(keys::project_id)
        .select((keys::project_id, diesel::dsl::count_star()))
        .load(transaction)
        .await?)
}

/// The slug of a project that a row of ours names.
pub(crate) async fn slug_of(transaction: &mut TenantTx, project_id: Uuid) -> Result<String, Error> {
    Ok(transaction
        .of(projects::table)
        .filter(projects::id.eq(project_id))
        .select(projects::slug)
        .first(transaction)
        .await?)
}

/// The project of a slug, inside a running transaction.
pub(crate) async fn find_project(transaction: &mut TenantTx, slug: &ProjectSlug) -> Result<ProjectView, Error> {
    let row: Option<ProjectRow> = transaction
        .of(projects::table)
        .filter(projects::slug.eq(slug.as_str()))
        .select(ProjectRow::as_select())
        .first(transaction)
        .await
        .optional()?;
    row.ok_or(NOT_FOUND)?.view()
}

/// The same, unless it is archived.
pub(crate) async fn find_open_project(transaction: &mut TenantTx, slug: &ProjectSlug) -> Result<ProjectView, Error> {
    let project = find_project(transaction, slug).await?;
    if project.archived_at.is_some() { Err(archived()) } else { Ok(project) }
}

/// Why nothing can be made in the project that a form names, beside the field it names it in.
pub(crate) async fn refusal_of_place(tenant: &Tenant, slug: Option<&ProjectSlug>) -> Result<Option<Error>, Error> {
    let Some(slug) = slug else { return Ok(None) };
    let mut transaction = tenant.begin().await?;
    let found = find_open_project(&mut transaction, slug).await;
    transaction.commit().await?;
    match found {
        Ok(_) => Ok(None),
        Err(error @ Error::NotFound { .. }) => Ok(Some(Error::invalid("project", error))),
        Err(error @ Error::Conflict { .. }) => Ok(Some(error)),
        Err(error) => Err(error),
    }
}

/// Refuses when the project is archived, and keeps it from being archived until the transaction ends: whatever makes a
/// key work asks here.
pub(crate) async fn require_open(transaction: &mut ChangeTx, project_id: ProjectId) -> Result<ProjectView, Error> {
    let row: ProjectRow = transaction
        .of(projects::table)
        .filter(projects::id.eq(project_id.uuid()))
        .select(ProjectRow::as_select())
        .for_share()
        .first(transaction)
        .await?;
    if row.archived_at.is_some() { Err(archived()) } else { row.view() }
}

fn archived() -> Error {
    Error::Conflict {
        code: ErrorCode::ProjectArchived,
        message: "this project is archived; restore it, or choose another".to_owned(),
        field: Some("project"),
    }
}

/// What a project says about rotation.
pub(crate) fn rotation_settings(project: &ProjectView) -> RotationSettings {
    RotationSettings {
        default_grace_seconds: project.default_grace_seconds,
        max_grace_seconds: project.max_grace_seconds,
        auto_revoke: project.auto_revoke,
    }
}
