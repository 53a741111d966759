//! Limits: how much a key, the keys of an owner, each key of a project, or an identifier of a namespace may use. What the rules mean is said in
//! `core/src/limit.rs`; the verbs here set them. What this process may let pass lies in memory (`cells.rs`),
//! where calls on all threads take from it at once (`charge.rs`); what outlives it or is shared with others, with whoever keeps that
//! (`reserve.rs`).

mod atomics;
pub(crate) mod cell;
#[cfg(test)]
mod cell_tests;
pub(crate) mod cells;
pub(crate) mod charge;
pub(crate) mod effective;
mod keeper;
mod limit;
pub(crate) mod namespaces;
pub(crate) mod own;
mod place;
mod rate;
pub(crate) mod redis;
pub(crate) mod reserve;
mod rows;
mod share;
mod simulate;
mod store;
pub(crate) mod totals;
mod uses;

use diesel::prelude::*;
use tronch_core::bounds::PAGE_SIZE_MAX;
use tronch_core::{
    Bucket, Environment, ExternalId, KeyId, LimitId, LimitName, LimitOn, LimitRule, LimitView, Namespace, Page,
    Permission, ProjectId, ProjectSlug, Timestamp, Window,
};
use uuid::Uuid;

use crate::audit::{self, Change};
use crate::clock;
use crate::cursor::Cursor;
use crate::error::Error;
use crate::once::ChangeTx;
use crate::schema::{keys, limits, projects as project_table};
use crate::tenancy::{Tenant, TenantTx};
use crate::{Engine, system};
use crate::{keys as key_verbs, projects};
pub use effective::limits_of_key;
pub(crate) use limit::Limit;
pub(crate) use place::Place;
use place::{place, refuse_shadow, require_names, require_room};
pub(crate) use rows::audited;
use rows::{LimitRow, NewLimitRow, RuleRow};
pub use simulate::{SimulatedKey, Simulation, simulate_limit};
pub use uses::{LimitUse, Whom, add_credits, left_to_key, uses_of_limit};

const NOT_FOUND: Error = Error::NotFound { noun: "limit" };

/// What cursors of this list begin with.
const LIST: &str = "limits";

/// What a new limit is to be.
pub struct NewLimit {
    /// Whose calls it counts.
    pub on: LimitOn,
    /// What it is called; one name once on each.
    pub name: LimitName,
    /// Whether each call is charged to it, or only one that names it.
    pub is_automatic: bool,
    /// Whether several processes agree on it call by call; else each holds a little of it.
    pub is_exact: bool,
    /// How much may be used.
    pub rule: LimitRule,
}

/// What is to be different about a limit.
#[derive(Default)]
pub struct LimitChange {
    /// Another name.
    pub name: Option<LimitName>,
    /// Whether each call is charged to it.
    pub is_automatic: Option<bool>,
    /// Whether several processes agree on it call by call.
    pub is_exact: Option<bool>,
    /// Another burst, or none. What was taken of the old one is forgotten.
    pub bucket: Option<Option<Bucket>>,
    /// Another window, or none. Where time is cut as before, the count goes on.
    pub window: Option<Option<Window>>,
    /// When whoever changes it saw it last: one that somebody changed since then is not changed.
    pub unless_changed_since: Option<Timestamp>,
}

/// Whose limits are listed.
#[derive(Default)]
pub struct LimitFilter {
    /// Those of a key.
    pub key_id: Option<KeyId>,
    /// Those of an owner.
    pub owner: Option<ExternalId>,
    /// Those of a project.
    pub project: Option<ProjectSlug>,
    /// Those of a namespace.
    pub namespace: Option<Namespace>,
}

/// Sets a limit.
///
/// # Errors
/// `Forbidden` without `limits.write`; `OutsideToken` outside a token's own limits; `NotFound` for a key or project that is not there;
/// `Conflict` for a name that is taken there, a key that has ended, an archived project, or one limit too many; `Unavailable`.
pub async fn create_limit(tenant: &Tenant, new_limit: NewLimit) -> Result<LimitView, Error> {
    tenant.require(Permission::LimitsWrite)?;
    if let Some(limit) = made_before(tenant).await? {
        return Ok(limit);
    }
    let now = clock::now();
    let mut transaction = tenant.begin_change().await?;
    // Limits of a tenant are set one after the other, so that no two take the last room.
    transaction.lock_tenant().await?;
    let place = place(tenant, &mut transaction, &new_limit.on).await?;
    refuse_shadow(tenant, &mut transaction, &place, &new_limit.name).await?;
    require_room(&mut transaction, &place, &new_limit.name).await?;
    let limit = insert(&mut transaction, &place, &new_limit, now).await?;
    record(tenant, &mut transaction, "create_limit", None, Some(&limit)).await?;
    transaction.commit(limit.id.uuid()).await?;
    Ok(limit)
}

/// Inserts a limit as one of that time.
pub(crate) async fn insert(
    transaction: &mut TenantTx,
    place: &Place,
    new_limit: &NewLimit,
    at: Timestamp,
) -> Result<LimitView, Error> {
    let row = NewLimitRow {
        id: LimitId::generate(at, crate::random::bytes()?).uuid(),
        key_id: place.key_id,
        owner_external_id: place.owner.as_deref(),
        project_id: place.project_id,
        environment: place.environment.map(Environment::as_str),
        namespace: place.namespace.as_ref().map(|(namespace, _)| namespace.as_str()),
        identifiers: place.namespace.as_ref().map(|(_, identifiers)| identifiers.as_str()),
        name: new_limit.name.as_str(),
        counts_as: None,
        is_automatic: new_limit.is_automatic,
        is_exact: new_limit.is_exact,
        rule: RuleRow::of(&new_limit.rule),
        created_at: at,
        updated_at: at,
    };
    let row: LimitRow =
        transaction.insert(limits::table, &row).returning(LimitRow::as_returning()).get_result(transaction).await?;
    row.view(place.called.as_deref())
}

/// Changes a limit; what is left out stays as it is.
///
/// # Errors
/// `Forbidden` without `limits.write`; `NotFound`; `Invalid` where neither burst nor window would be left; `Conflict` for a name that is
/// taken there, or one that was changed since `unless_changed_since`; `Unavailable`.
pub async fn update_limit(tenant: &Tenant, limit_id: LimitId, change: LimitChange) -> Result<LimitView, Error> {
    tenant.require(Permission::LimitsWrite)?;
    if let Some(limit) = made_before(tenant).await? {
        return Ok(limit);
    }
    let mut transaction = tenant.begin_change().await?;
    let (row, project) = lock(&mut transaction, limit_id).await?;
    let namespace = row.namespace.clone().zip(row.identifiers.clone());
    let row_place = Place { key_id: row.key_id, project_id: row.project_id, namespace, ..Place::default() };
    let before = row.view(project.as_deref())?;
    Error::refuse_stale("limit", change.unless_changed_since, before.updated_at)?;
    let mut after = before.clone();
    after.name = change.name.unwrap_or(after.name);
    after.is_automatic = change.is_automatic.unwrap_or(after.is_automatic);
    after.is_exact = change.is_exact.unwrap_or(after.is_exact);
    let bucket = change.bucket.unwrap_or(before.rule.bucket().copied());
    let window = change.window.unwrap_or(before.rule.window().copied());
    after.rule = LimitRule::new(bucket, window).map_err(|error| Error::invalid("burst", error))?;
    if after != before {
        refuse_shadow(tenant, &mut transaction, &row_place, &after.name).await?;
        if after.name != before.name {
            require_names(&mut transaction, &row_place, &after.name).await?;
        }
        after.updated_at = clock::now();
        transaction
            .of(limits::table)
            .filter(limits::id.eq(limit_id.uuid()))
            .set((
                limits::name.eq(after.name.as_str()),
                limits::is_automatic.eq(after.is_automatic),
                limits::is_exact.eq(after.is_exact),
                RuleRow::of(&after.rule),
                limits::updated_at.eq(after.updated_at),
            ))
            .execute(&mut transaction)
            .await?;
        record(tenant, &mut transaction, "update_limit", Some(&before), Some(&after)).await?;
    }
    transaction.commit(limit_id.uuid()).await?;
    Ok(after)
}

/// Takes a limit away.
///
/// # Errors
/// `Forbidden` without `limits.write`; `NotFound`; `Unavailable`.
pub async fn remove_limit(tenant: &Tenant, limit_id: LimitId) -> Result<LimitView, Error> {
    tenant.require(Permission::LimitsWrite)?;
    if let Some(limit) = made_before(tenant).await? {
        return Ok(limit);
    }
    let mut transaction = tenant.begin_change().await?;
    let (row, project) = lock(&mut transaction, limit_id).await?;
    let limit = row.view(project.as_deref())?;
    transaction
        .of(limits::table)
        .filter(limits::id.eq(limit_id.uuid()))
        .set(limits::removed_at.eq(clock::now()))
        .execute(&mut transaction)
        .await?;
    record(tenant, &mut transaction, "remove_limit", Some(&limit), None).await?;
    transaction.commit(limit_id.uuid()).await?;
    Ok(limit)
}

/// One limit.
///
/// # Errors
/// `Forbidden` without `limits.read`; `NotFound`; `Unavailable`.
pub async fn get_limit(tenant: &Tenant, limit_id: LimitId) -> Result<LimitView, Error> {
    tenant.require(Permission::LimitsRead)?;
    let mut transaction = tenant.begin().await?;
    let (row, project) = find(&mut transaction, limit_id.uuid(), false).await?;
    transaction.commit().await?;
    row.view(project.as_deref())
}

/// One page of the limits that the caller may see, the newest first.
///
/// # Errors
/// `Forbidden` without `limits.read`; `Invalid` for a limit, `InvalidCursor` for a cursor that cannot be taken; `NotFound` for a
/// project that is not there; `Unavailable`.
pub async fn list_limits(
    tenant: &Tenant,
    filter: &LimitFilter,
    cursor: Option<&str>,
    limit: u32,
) -> Result<Page<LimitView>, Error> {
    tenant.require(Permission::LimitsRead)?;
    if !(1..=PAGE_SIZE_MAX).contains(&limit) {
        return Err(Error::invalid("limit", format!("a page has 1 to {PAGE_SIZE_MAX} rows")));
    }
    let mut transaction = tenant.begin().await?;
    let mut query = transaction
        .of(limits::table)
        .left_join(project_table::table.on(limits::project_id.eq(project_table::id.nullable())))
        .left_join(keys::table.on(limits::key_id.eq(keys::id.nullable())))
        .into_boxed()
        .filter(limits::removed_at.is_null());
    // Of what a limited token may not ask about it hears nothing: neither of other projects, nor of what counts the calls of
    // several.
    let scope = transaction.scope();
    if let Some(project) = scope.project {
        let of_its_key = keys::project_id.nullable().eq(project.uuid());
        query = query.filter(limits::project_id.eq(project.uuid()).or(of_its_key));
    }
    if let Some(environment) = scope.environment {
        let of_its_key = keys::environment.nullable().eq(environment.as_str());
        query = query.filter(limits::environment.eq(environment.as_str()).or(of_its_key));
    }
    if let Some(key_id) = filter.key_id {
        query = query.filter(limits::key_id.eq(key_id.uuid()));
    }
    if let Some(owner) = &filter.owner {
        Error::refuse_nul("owner", Some(owner.as_str()))?;
        query = query.filter(limits::owner_external_id.eq(owner.as_str().to_owned()));
    }
    if let Some(slug) = &filter.project {
        let project = projects::find_project(&mut transaction, slug).await?;
        query = query.filter(limits::project_id.eq(project.id.uuid()));
    }
    if let Some(namespace) = &filter.namespace {
        query = query.filter(limits::namespace.eq(namespace.as_str().to_owned()));
    }
    if let Some(cursor) = cursor {
        let (at, id) = Cursor::parse(LIST, cursor)?.time_and_id()?;
        let at = at.ok_or(Error::InvalidCursor)?;
        query = query.filter(limits::created_at.le(at)).filter(limits::created_at.lt(at).or(limits::id.lt(id)));
    }
    let rows: Vec<(LimitRow, Option<String>, Option<String>)> = query
        .order((limits::created_at.desc(), limits::id.desc()))
        .limit(i64::from(limit) + 1)
        .select((LimitRow::as_select(), project_table::slug.nullable(), keys::name.nullable()))
        .load(&mut transaction)
        .await?;
    transaction.commit().await?;
    let size = limit as usize;
    let next_cursor = (rows.len() > size)
        .then(|| Cursor::of_time(LIST, Some(rows[size - 1].0.created_at), rows[size - 1].0.id).to_string());
    let items: Result<Vec<LimitView>, Error> =
        rows.into_iter().take(size).map(|(row, project, key)| row.view(project.or(key).as_deref())).collect();
    Ok(Page { items: items?, next_cursor })
}

/// Sets the limits of a key on its successor as well, where they go on with what was used of them.
pub(crate) async fn carry_over(
    tenant: &Tenant,
    transaction: &mut ChangeTx,
    from: KeyId,
    to: KeyId,
    now: Timestamp,
) -> Result<(), Error> {
    // Locked, so that none is changed between being copied and being seen as a copy.
    let rows: Vec<LimitRow> = transaction
        .of(limits::table)
        .filter(limits::key_id.eq(from.uuid()))
        .filter(limits::removed_at.is_null())
        .order(limits::id)
        .select(LimitRow::as_select())
        .for_share()
        .load(transaction)
        .await?;
    for row in rows {
        let copy = NewLimitRow {
            id: LimitId::generate(now, crate::random::bytes()?).uuid(),
            key_id: Some(to.uuid()),
            owner_external_id: None,
            project_id: None,
            environment: None,
            namespace: None,
            identifiers: None,
            name: &row.name,
            counts_as: Some(row.counts_as.unwrap_or(row.id)),
            is_automatic: row.is_automatic,
            is_exact: row.is_exact,
            rule: row.rule.clone(),
            created_at: now,
            updated_at: now,
        };
        let inserted = transaction.insert(limits::table, &copy).returning(LimitRow::as_returning());
        let copy: LimitRow = inserted.get_result(transaction).await?;
        let name = key_verbs::visible_name(transaction, to).await?;
        record(tenant, transaction, "create_limit", None, Some(&copy.view(Some(&name))?)).await?;
    }
    Ok(())
}

/// Deletes limits that were removed so long ago that nobody sends the removal again, and totals that count no more. Returns how many.
///
/// # Errors
/// `Unavailable` when Postgres is.
pub async fn forget_removed_limits(engine: &Engine) -> Result<usize, Error> {
    let mut connection = engine.db().system().await?;
    let limits =
        system::delete_in_portions(&mut connection, "limits", "removed_at <= now() - interval '25 hours'").await?;
    let over = system::delete_in_portions(&mut connection, "limit_totals", "over_at <= now()").await?;
    let is_left =
        "SELECT FROM limits WHERE limits.id = limit_totals.limit_id OR limits.counts_as = limit_totals.limit_id";
    let of_nobody = format!("stretches = 'credits' AND ((used = 0 AND added = 0) OR NOT EXISTS ({is_left}))");
    Ok(limits + over + system::delete_in_portions(&mut connection, "limit_totals", &of_nobody).await?)
}

/// The limit that the same write made, changed or removed before, as it is now.
async fn made_before(tenant: &Tenant) -> Result<Option<LimitView>, Error> {
    let Some(earlier) = tenant.earlier() else { return Ok(None) };
    let mut transaction = tenant.begin().await?;
    let (row, project) = find(&mut transaction, earlier, true).await?;
    transaction.commit().await?;
    row.view(project.as_deref()).map(Some)
}

async fn lock(transaction: &mut ChangeTx, limit_id: LimitId) -> Result<(LimitRow, Option<String>), Error> {
    let locked: Option<Uuid> = transaction
        .of(limits::table)
        .filter(limits::id.eq(limit_id.uuid()))
        .select(limits::id)
        .for_update()
        .first(transaction)
        .await
        .optional()?;
    locked.ok_or(NOT_FOUND)?;
    find(transaction, limit_id.uuid(), false).await
}

/// A limit that the caller's scope reaches, and what its key or project is called.
async fn find(transaction: &mut TenantTx, id: Uuid, also_removed: bool) -> Result<(LimitRow, Option<String>), Error> {
    let row: Option<LimitRow> = transaction
        .of(limits::table)
        .filter(limits::id.eq(id))
        .select(LimitRow::as_select())
        .first(transaction)
        .await
        .optional()?;
    let row = row.filter(|row| also_removed || row.removed_at.is_none()).ok_or(NOT_FOUND)?;
    if let Some(key_id) = row.key_id {
        let name = key_verbs::visible_name(transaction, KeyId::from_uuid(key_id)).await.map_err(unseen)?;
        return Ok((row, Some(name)));
    }
    let environment = row.environment.as_deref().map(str::parse).transpose().map_err(Error::internal)?;
    transaction.scope().require(row.project_id.map(ProjectId::from_uuid), environment).map_err(unseen)?;
    let project = match row.project_id {
        None => None,
        Some(project_id) => Some(projects::slug_of(transaction, project_id).await?),
    };
    Ok((row, project))
}

/// The limit that a limit's calls are counted under, if the caller may see it.
pub(crate) async fn require_visible(transaction: &mut TenantTx, limit_id: LimitId) -> Result<LimitId, Error> {
    let (row, _) = find(transaction, limit_id.uuid(), false).await?;
    Ok(LimitId::from_uuid(row.counts_as.unwrap_or(row.id)))
}

/// What a caller may not see is not there.
fn unseen(error: Error) -> Error {
    match error {
        Error::NotFound { .. } | Error::OutsideToken { .. } => NOT_FOUND,
        other => other,
    }
}

async fn record(
    tenant: &Tenant,
    transaction: &mut ChangeTx,
    action: &'static str,
    before: Option<&LimitView>,
    after: Option<&LimitView>,
) -> Result<(), Error> {
    let Some(limit) = after.or(before) else { return Ok(()) };
    let change = Change {
        action,
        target_kind: "limit",
        target_id: limit.id.to_string(),
        target_name: limit.name.as_str(),
        before: before.map(audited),
        after: after.map(audited),
        reason: None,
    };
    audit::record(transaction, &tenant.caller, change).await
}
