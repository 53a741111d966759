//! Making projects, changing their settings, putting them away and taking them out again. Reading them is in `mod.rs`.

use diesel::prelude::*;
use tronch_core::bounds::GRACE_SECONDS_MAX;
use tronch_core::{ErrorCode, Permission, ProjectId, ProjectName, ProjectSlug, ProjectView, Timestamp};

use super::rows::{ProjectRow, audited};
use super::{NOT_FOUND, PROJECTS_MAX, count_working, visible};
use crate::audit::{self, Change};
use crate::clock;
use crate::error::{Error, on_constraint};
use crate::once::ChangeTx;
use crate::schema::projects;
use crate::tenancy::Tenant;

/// What a new project is to be. Its rotation settings begin as they do for `default`.
pub struct NewProject {
    /// Its word in addresses and requests, for ever.
    pub slug: ProjectSlug,
    /// What people call it.
    pub name: ProjectName,
}

/// What of a project is to change; `None` leaves a part as it is. Graces are in seconds.
#[derive(Default)]
pub struct ProjectChange {
    /// A new name.
    pub name: Option<ProjectName>,
    /// The grace of a rotation that asks for none.
    pub default_grace_seconds: Option<u32>,
    /// The longest grace.
    pub max_grace_seconds: Option<u32>,
    /// Whether the end of a grace ends the old key.
    pub auto_revoke: Option<bool>,
    /// `updated_at` of the project that the caller looked at: a change made since is not overwritten.
    pub unless_changed_since: Option<Timestamp>,
}

/// Makes a project.
///
/// # Errors
/// `Forbidden` without `projects.write`; `OutsideToken` for a limited service token; `Conflict` when the slug is taken or
/// there are too many projects; `Unavailable`.
pub async fn create_project(tenant: &Tenant, new_project: NewProject) -> Result<ProjectView, Error> {
    tenant.require(Permission::ProjectsWrite)?;
    tenant.scope.require(None, None)?;
    if let Some(project) = made_before(tenant).await? {
        return Ok(project);
    }
    let now = clock::now();
    let project_id = ProjectId::generate(now, crate::random::bytes()?);
    let mut transaction = tenant.begin_change().await?;
    transaction.lock_tenant().await?;
    let count: i64 = transaction.of(projects::table).count().get_result(&mut transaction).await?;
    if count >= PROJECTS_MAX {
        return Err(conflict(format!("an organisation has at most {PROJECTS_MAX} projects")));
    }
    let project_row: ProjectRow = transaction
        .insert(
            projects::table,
            (
                projects::id.eq(project_id.uuid()),
                projects::slug.eq(new_project.slug.as_str()),
                projects::name.eq(new_project.name.as_str()),
                projects::created_at.eq(now),
                projects::updated_at.eq(now),
            ),
        )
        .returning(ProjectRow::as_returning())
        .get_result(&mut transaction)
        .await?;
    record(tenant, &mut transaction, "create_project", None, &project_row).await?;
    transaction.commit(project_row.id).await?;
    project_row.view()
}

/// Changes a project's name and its rules of rotation. Rotations that run already keep the grace they were given.
///
/// # Errors
/// `Forbidden` without `projects.write`; `OutsideToken`; `NotFound`; `Invalid` for a grace out of bounds; `Conflict` when
/// it is archived or was changed since `unless_changed_since`; `Unavailable`.
pub async fn update_project(tenant: &Tenant, slug: &ProjectSlug, change: ProjectChange) -> Result<ProjectView, Error> {
    edit(tenant, slug, "update_project", async |_, project| {
        if let Some(refusal) = refusals(project, &change).into_iter().next() {
            return Err(refusal);
        }
        if let Some(name) = change.name {
            project.name = name.as_str().to_owned();
        }
        if let Some(max) = change.max_grace_seconds {
            project.grace_max_seconds = seconds("max_grace_seconds", max)?;
        }
        if let Some(default) = change.default_grace_seconds {
            project.grace_default_seconds = seconds("default_grace_seconds", default)?;
        }
        project.auto_revoke = change.auto_revoke.unwrap_or(project.auto_revoke);
        Ok(())
    })
    .await
}

/// All that [`update_project`] would refuse of what is known so far, for a form that shows every error at once.
///
/// # Errors
/// `Forbidden` without `projects.write`; `NotFound`; `Unavailable`.
pub async fn refusals_of_change(
    tenant: &Tenant,
    slug: &ProjectSlug,
    change: &ProjectChange,
) -> Result<Vec<Error>, Error> {
    tenant.require(Permission::ProjectsWrite)?;
    Ok(refusals(&super::find_row(tenant, slug).await?, change))
}

fn refusals(project: &ProjectRow, change: &ProjectChange) -> Vec<Error> {
    let archived = project.archived_at.is_some().then(super::archived);
    let stale = Error::refuse_stale("project", change.unless_changed_since, project.updated_at).err();
    let grace = |field, asked: Option<u32>, now| asked.map_or(Ok(now), |asked| seconds(field, asked));
    let default = grace("default_grace_seconds", change.default_grace_seconds, project.grace_default_seconds);
    let max = grace("max_grace_seconds", change.max_grace_seconds, project.grace_max_seconds);
    let too_long = match (&default, &max) {
        (Ok(default), Ok(max)) if default > max => {
            Some(Error::invalid("default_grace_seconds", "this cannot be longer than the longest grace"))
        }
        _ => None,
    };
    archived.or(stale).into_iter().chain(max.err()).chain(default.err()).chain(too_long).collect()
}

/// Why no project can have this slug, for a form that shows every error at once. Whether it gets it is decided when it
/// is made.
///
/// # Errors
/// `Forbidden` without `projects.write`; `Unavailable`.
pub async fn refusal_of_slug(tenant: &Tenant, slug: &ProjectSlug) -> Result<Option<Error>, Error> {
    tenant.require(Permission::ProjectsWrite)?;
    let mut transaction = tenant.begin().await?;
    let found = super::find_project(&mut transaction, slug).await;
    transaction.commit().await?;
    match found {
        Ok(_) => Ok(on_constraint("projects_slug_unique")),
        Err(Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Puts a project away: it is offered nowhere and takes no keys. Its history stays. Archiving twice is fine.
///
/// # Errors
/// `Forbidden` without `projects.write`; `OutsideToken`; `NotFound`; `Conflict` while one of its keys works or is only
/// disabled, or when it is the last open one; `Unavailable`.
pub async fn archive_project(tenant: &Tenant, slug: &ProjectSlug) -> Result<ProjectView, Error> {
    edit(tenant, slug, "archive_project", async |transaction, project| {
        if project.archived_at.is_some() {
            return Ok(());
        }
        let working: i64 = count_working(transaction, vec![project.id]).await?.iter().map(|(_, count)| count).sum();
        if working > 0 {
            let keys = if working == 1 {
                "one key of this project works".to_owned()
            } else {
                format!("{working} keys of this project work")
            };
            return Err(conflict(format!("{keys} or could be enabled again; revoke first, then archive")));
        }
        transaction.lock_tenant().await?;
        let open: i64 = transaction
            .of(projects::table)
            .filter(projects::archived_at.is_null())
            .count()
            .get_result(transaction)
            .await?;
        if open <= 1 {
            return Err(conflict("this is the only open project; make another first".to_owned()));
        }
        project.archived_at = Some(clock::now());
        Ok(())
    })
    .await
}

/// Takes an archived project out again. Restoring twice is fine.
///
/// # Errors
/// `Forbidden` without `projects.write`; `OutsideToken`; `NotFound`; `Unavailable`.
pub async fn restore_project(tenant: &Tenant, slug: &ProjectSlug) -> Result<ProjectView, Error> {
    edit(tenant, slug, "restore_project", async |_, project| {
        project.archived_at = None;
        Ok(())
    })
    .await
}

/// Locks, changes, writes and records; a change that changes nothing leaves no trace.
async fn edit(
    tenant: &Tenant,
    slug: &ProjectSlug,
    action: &'static str,
    change: impl AsyncFnOnce(&mut ChangeTx, &mut ProjectRow) -> Result<(), Error>,
) -> Result<ProjectView, Error> {
    tenant.require(Permission::ProjectsWrite)?;
    if let Some(project) = made_before(tenant).await? {
        return Ok(project);
    }
    let mut transaction = tenant.begin_change().await?;
    let before = lock(tenant, &mut transaction, slug).await?;
    let mut after = before.clone();
    change(&mut transaction, &mut after).await?;
    if audited(&before) != audited(&after) {
        after.updated_at = clock::now();
        transaction
            .of(projects::table)
            .filter(projects::id.eq(after.id))
            .set((
                projects::name.eq(&after.name),
                projects::grace_default_seconds.eq(after.grace_default_seconds),
                projects::grace_max_seconds.eq(after.grace_max_seconds),
                projects::auto_revoke.eq(after.auto_revoke),
                projects::archived_at.eq(after.archived_at),
                projects::updated_at.eq(after.updated_at),
            ))
            .execute(&mut transaction)
            .await?;
        record(tenant, &mut transaction, action, Some(&before), &after).await?;
    }
    transaction.commit(after.id).await?;
    after.view()
}

/// The project, locked against every other change and against keys that are just being made in it. A token that is
/// limited to an environment cannot change what belongs to both.
async fn lock(tenant: &Tenant, transaction: &mut ChangeTx, slug: &ProjectSlug) -> Result<ProjectRow, Error> {
    let found: Option<ProjectRow> = transaction
        .of(projects::table)
        .filter(projects::slug.eq(slug.as_str()))
        .select(ProjectRow::as_select())
        .for_update()
        .first(transaction)
        .await
        .optional()?;
    let seen = |id| tenant.scope.project.is_none_or(|project| project.uuid() == id);
    let project_row = found.filter(|project_row| seen(project_row.id)).ok_or(NOT_FOUND)?;
    tenant.scope.require(Some(ProjectId::from_uuid(project_row.id)), None)?;
    Ok(project_row)
}

/// The project that the same write made or changed before, as it is now.
async fn made_before(tenant: &Tenant) -> Result<Option<ProjectView>, Error> {
    let Some(earlier) = tenant.earlier() else { return Ok(None) };
    let mut transaction = tenant.begin().await?;
    let project_row: Option<ProjectRow> = visible(&transaction)
        .filter(projects::id.eq(earlier))
        .select(ProjectRow::as_select())
        .first(&mut transaction)
        .await
        .optional()?;
    transaction.commit().await?;
    project_row.ok_or(NOT_FOUND)?.view().map(Some)
}

fn seconds(field: &'static str, seconds: u32) -> Result<i32, Error> {
    match i32::try_from(seconds) {
        Ok(taken) if seconds <= GRACE_SECONDS_MAX => Ok(taken),
        _ => Err(Error::invalid(field, format!("a grace has 0 to {GRACE_SECONDS_MAX} seconds, which is 30 days"))),
    }
}

fn conflict(message: String) -> Error {
    Error::Conflict { code: ErrorCode::Conflict, message, field: None }
}

async fn record(
    tenant: &Tenant,
    transaction: &mut ChangeTx,
    action: &'static str,
    before: Option<&ProjectRow>,
    after: &ProjectRow,
) -> Result<(), Error> {
    let change = Change {
        action,
        target_kind: "project",
        target_id: ProjectId::from_uuid(after.id).to_string(),
        target_name: &after.name,
        before: before.map(audited),
        after: Some(audited(after)),
        reason: None,
    };
    audit::record(transaction, &tenant.caller, change).await
}
