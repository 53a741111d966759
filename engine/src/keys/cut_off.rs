//! Revoking many keys at once: all of an owner, a project, an environment or a tenant, however many they are. One row says
//! so, and validation goes by it from the commit on; the keys' own rows follow in portions.

use chrono::TimeDelta;
use diesel::dsl::{exists, not};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use serde_json::json;
use tronch_core::{
    Environment, ErrorCode, ExternalId, Permission, ProjectId, ProjectSlug, RevokeReason, TenantId, Timestamp,
    format_timestamp,
};
use uuid::Uuid;

use super::sql;
use crate::Engine;
use crate::audit::{self, Change};
use crate::caller::Scope;
use crate::clock;
use crate::error::Error;
use crate::once::ChangeTx;
use crate::projects::find_project;
use crate::schema::{key_cutoffs, keys};
use crate::tenancy::{Tenant, TenantTx};

/// How many keys' own rows one transaction marks: fewer than would make processes forget everything.
const MARKED_AT_ONCE: i64 = 500;

diesel::define_sql_function! {
    /// Of the schema: until the transaction ends, no key is made or changed beside a cut-off.
    fn tronch_hold_key_cutoffs(tenant_id: diesel::sql_types::Uuid, alone: diesel::sql_types::Bool);
}

diesel::define_sql_function! {
    /// Postgres's own.
    fn clock_timestamp() -> diesel::sql_types::Timestamptz;
}

/// Which keys: those that meet all that is said. Nothing said is every key of the tenant.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KeysOf {
    /// Of this project.
    pub project: Option<ProjectSlug>,
    /// Of this environment.
    pub environment: Option<Environment>,
    /// Issued to this owner.
    pub owner: Option<ExternalId>,
}

/// What was revoked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevokedKeys {
    /// Which keys.
    pub of: KeysOf,
    /// Every one of them that was made before is revoked.
    pub made_before: Timestamp,
    /// How many were not before.
    pub revoked: u64,
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = key_cutoffs)]
struct CutoffRow {
    id: Uuid,
    project_id: Option<Uuid>,
    environment: Option<String>,
    owner_external_id: Option<String>,
    valid_after: Timestamp,
    set_at: Timestamp,
    reason: Option<String>,
    revoked_keys: i64,
}

/// Which keys, as the rows say it.
struct Cut {
    project_id: Option<Uuid>,
    environment: Option<String>,
    owner: Option<String>,
}

impl Cut {
    async fn of(transaction: &mut TenantTx, of: &KeysOf) -> Result<Self, Error> {
        let project_id = match &of.project {
            Some(slug) => Some(find_project(transaction, slug).await?.id),
            None => None,
        };
        transaction.scope().require(project_id, of.environment)?;
        Ok(Self {
            project_id: project_id.map(|id: ProjectId| id.uuid()),
            environment: of.environment.map(|environment| environment.as_str().to_owned()),
            owner: of.owner.as_ref().map(|owner| owner.as_str().to_owned()),
        })
    }
}

/// The keys that are meant and not revoked by their own rows, those made before a time alone.
macro_rules! unmarked {
    ($transaction:expr, $cut:expr, $before:expr) => {{
        let mut query = $transaction.of(keys::table).filter(keys::revoked_at.is_null()).into_boxed();
        if let Some(project_id) = $cut.project_id {
            query = query.filter(keys::project_id.eq(project_id));
        }
        if let Some(environment) = &$cut.environment {
            query = query.filter(keys::environment.eq(environment));
        }
        if let Some(owner) = &$cut.owner {
            query = query.filter(keys::owner_external_id.eq(owner));
        }
        if let Some(before) = $before {
            query = query.filter(keys::created_at.lt(before));
        }
        query
    }};
}

/// How many keys [`revoke_keys_of`] would revoke now.
///
/// # Errors
/// `Forbidden` without `keys.revoke`; `OutsideToken`; `NotFound` for a project that is not there; `Unavailable`.
pub async fn count_keys_of(tenant: &Tenant, of: &KeysOf, made_before: Option<Timestamp>) -> Result<u64, Error> {
    tenant.require(Permission::KeysRevoke)?;
    let mut transaction = tenant.begin().await?;
    let cut = Cut::of(&mut transaction, of).await?;
    let count = count(&mut transaction, &cut, made_before).await?;
    transaction.commit().await?;
    Ok(u64::try_from(count).unwrap_or(0))
}

/// This leaves `Scoped` because what is asked beside a tenant's keys is asked of their tenant.
async fn count(transaction: &mut TenantTx, cut: &Cut, before: Option<Timestamp>) -> Result<i64, Error> {
    // Those that are being marked are revoked already.
    let earlier = key_cutoffs::table
        .filter(key_cutoffs::is_marked.eq(false))
        .filter(key_cutoffs::tenant_id.eq(keys::tenant_id))
        .filter(key_cutoffs::valid_after.gt(keys::created_at))
        .filter(key_cutoffs::owner_external_id.is_null().or(key_cutoffs::owner_external_id.eq(keys::owner_external_id)))
        .filter(key_cutoffs::project_id.is_null().or(key_cutoffs::project_id.eq(keys::project_id.nullable())))
        .filter(key_cutoffs::environment.is_null().or(key_cutoffs::environment.eq(keys::environment.nullable())));
    let unmarked = unmarked!(transaction, cut, before);
    Ok(unmarked.filter(not(exists(earlier))).count().get_result(transaction).await?)
}

/// Ends for ever all keys of an owner, a project, an environment or a tenant that were made before `made_before`, or until
/// now. Whoever moves it back changes nothing: what is revoked stays so. Of a person the password must have been confirmed.
///
/// # Errors
/// `Forbidden` without `keys.revoke`; `OutsideToken`; `NotFound` for a project that is not there; `Invalid` for a time that
/// is still to come, and on `password`; `Unavailable`.
pub async fn revoke_keys_of(
    tenant: &Tenant,
    of: KeysOf,
    made_before: Option<Timestamp>,
    reason: Option<RevokeReason>,
) -> Result<RevokedKeys, Error> {
    tenant.require(Permission::KeysRevoke)?;
    tenant.require_confirmed()?;
    let mut transaction = if let Some(earlier) = tenant.earlier() {
        let mut transaction = tenant.begin().await?;
        let row = find(&mut transaction, earlier).await?;
        transaction.commit().await?;
        return revoked(of, &row);
    } else {
        tenant.begin_change().await?
    };
    if made_before.is_some_and(|before| before > clock::now()) {
        return Err(Error::invalid("made_before", "this is still to come: keys that do not exist cannot be revoked"));
    }
    let cut = Cut::of(&mut transaction, &of).await?;
    transaction.call(tronch_hold_key_cutoffs(tenant.id.uuid(), true)).execute(&mut transaction).await?;
    let before = match made_before {
        Some(before) => before,
        None => end_of_all(&mut transaction, &cut).await?,
    };
    let held = held(&mut transaction, &cut).await?;
    let counted = count(&mut transaction, &cut, Some(before)).await?;
    let is_said = |row: &&CutoffRow| before <= row.valid_after || (made_before.is_none() && counted == 0);
    if let Some(row) = held.as_ref().filter(is_said) {
        let unchanged = RevokedKeys { of, made_before: row.valid_after, revoked: 0 };
        transaction.commit(row.id).await?;
        return Ok(unchanged);
    }
    let set = (
        key_cutoffs::valid_after.eq(before),
        key_cutoffs::set_at.eq(clock::now()),
        key_cutoffs::reason.eq(reason.as_ref().map(RevokeReason::as_str)),
        key_cutoffs::revoked_keys.eq(counted),
        key_cutoffs::is_marked.eq(false),
    );
    let id = match &held {
        Some(row) => {
            let moved = transaction.of(key_cutoffs::table).filter(key_cutoffs::id.eq(row.id)).set(set);
            moved.execute(&mut transaction).await?;
            row.id
        }
        None => {
            let id = Uuid::from_bytes(crate::random::bytes()?);
            let which = (
                key_cutoffs::id.eq(id),
                key_cutoffs::project_id.eq(cut.project_id),
                key_cutoffs::environment.eq(cut.environment.as_deref()),
                key_cutoffs::owner_external_id.eq(cut.owner.as_deref()),
            );
            transaction.insert(key_cutoffs::table, (which, set)).execute(&mut transaction).await?;
            id
        }
    };
    // Of few keys the rows say so at once.
    mark_some(&mut transaction, id).await?;
    let what = RevokedKeys { of, made_before: before, revoked: u64::try_from(counted).unwrap_or(0) };
    record(tenant, &mut transaction, &cut, &what, held.as_ref(), reason.as_ref()).await?;
    transaction.commit(id).await?;
    Ok(what)
}

/// Now, or just after the youngest of the keys: the clock that it was made by may have been ahead.
async fn end_of_all(transaction: &mut TenantTx, cut: &Cut) -> Result<Timestamp, Error> {
    let database_now: Timestamp = transaction.call(clock_timestamp()).get_result(transaction).await?;
    let unmarked = unmarked!(transaction, cut, None::<Timestamp>);
    let youngest: Option<Timestamp> =
        unmarked.select(diesel::dsl::max(keys::created_at)).get_result(transaction).await?;
    let after_youngest = youngest.map(|at| at + TimeDelta::milliseconds(1));
    Ok(after_youngest.into_iter().fold(clock::now().max(database_now), Timestamp::max))
}

/// The row that says the same of the same keys.
async fn held(transaction: &mut TenantTx, cut: &Cut) -> Result<Option<CutoffRow>, Error> {
    Ok(transaction
        .of(key_cutoffs::table)
        .filter(key_cutoffs::project_id.is_not_distinct_from(cut.project_id))
        .filter(key_cutoffs::environment.is_not_distinct_from(cut.environment.as_deref()))
        .filter(key_cutoffs::owner_external_id.is_not_distinct_from(cut.owner.as_deref()))
        .select(CutoffRow::as_select())
        .first(transaction)
        .await
        .optional()?)
}

async fn find(transaction: &mut TenantTx, id: Uuid) -> Result<CutoffRow, Error> {
    Ok(transaction
        .of(key_cutoffs::table)
        .filter(key_cutoffs::id.eq(id))
        .select(CutoffRow::as_select())
        .get_result(transaction)
        .await?)
}

fn revoked(of: KeysOf, row: &CutoffRow) -> Result<RevokedKeys, Error> {
    let revoked = u64::try_from(row.revoked_keys).map_err(Error::internal)?;
    Ok(RevokedKeys { of, made_before: row.valid_after, revoked })
}

async fn record(
    tenant: &Tenant,
    transaction: &mut ChangeTx,
    cut: &Cut,
    what: &RevokedKeys,
    held: Option<&CutoffRow>,
    reason: Option<&RevokeReason>,
) -> Result<(), Error> {
    let (target_kind, target_id, target_name) = match (&what.of.owner, &what.of.project, cut.project_id) {
        (Some(owner), _, _) => ("owner", owner.to_string(), owner.as_str()),
        (None, Some(slug), Some(id)) => ("project", ProjectId::from_uuid(id).to_string(), slug.as_str()),
        _ => ("tenant", tenant.id.to_string(), tenant.slug().as_str()),
    };
    let change = Change {
        action: "revoke_keys",
        target_kind,
        target_id,
        target_name,
        before: held.map(|row| json!({ "made_before": format_timestamp(row.valid_after) })),
        after: Some(json!({
            "owner": cut.owner,
            "project": what.of.project,
            "environment": cut.environment,
            "made_before": format_timestamp(what.made_before),
            "revoked": what.revoked,
        })),
        reason: reason.map(RevokeReason::as_str),
    };
    audit::record(transaction, &tenant.caller, change).await
}

/// Marks the next rows of a cut-off's keys, and notes when there are no more. Gives how many it marked.
async fn mark_some(transaction: &mut TenantTx, id: Uuid) -> Result<usize, Error> {
    let row = find(transaction, id).await?;
    let cut = Cut { project_id: row.project_id, environment: row.environment, owner: row.owner_external_id };
    let limit = MARKED_AT_ONCE;
    let some: Vec<Uuid> = unmarked!(transaction, cut, Some(row.valid_after))
        .select(keys::id)
        .order(keys::id)
        .limit(limit)
        .load(transaction)
        .await?;
    // In the order in which whoever changes several keys locks them.
    sql::lock_ids(transaction, &some).await?;
    let marked = transaction
        .of(keys::table)
        .filter(keys::id.eq_any(&some))
        .filter(keys::revoked_at.is_null())
        .set((keys::revoked_at.eq(row.set_at), keys::revoke_reason.eq(row.reason), keys::updated_at.eq(clock::now())))
        .execute(transaction)
        .await?;
    if i64::try_from(some.len()).unwrap_or(i64::MAX) < limit {
        let done =
            transaction.of(key_cutoffs::table).filter(key_cutoffs::id.eq(id)).set(key_cutoffs::is_marked.eq(true));
        done.execute(transaction).await?;
    }
    Ok(marked)
}

/// Has every key's own row say what a cut-off says of it, so that lists find it as revoked. Gives how many it marked.
///
/// This crosses tenants because which of them has revoked many is not known before it is read.
///
/// # Errors
/// `Unavailable` when Postgres is.
pub async fn mark_revoked_keys(engine: &Engine) -> Result<usize, Error> {
    let mut connection = engine.db().system().await?;
    let unmarked: Vec<(Uuid, Uuid)> = key_cutoffs::table
        .filter(key_cutoffs::is_marked.eq(false))
        .order(key_cutoffs::set_at)
        .select((key_cutoffs::tenant_id, key_cutoffs::id))
        .load(&mut connection)
        .await?;
    drop(connection);
    let mut marked = 0;
    for (tenant_id, id) in unmarked {
        match mark_all(engine, TenantId::from_uuid(tenant_id), id).await {
            Ok(some) => marked += some,
            // Others are not to wait for one that fails.
            Err(error) => {
                let causes = error.causes();
                tracing::warn!(error.causes = ?causes, "some revoked keys could not be marked; trying again: {error}");
            }
        }
    }
    Ok(marked)
}

async fn mark_all(engine: &Engine, tenant_id: TenantId, id: Uuid) -> Result<usize, Error> {
    let mut marked = 0;
    loop {
        let connection = engine.db().tenant().await?;
        let mut transaction = TenantTx::begin(connection, tenant_id, Scope::default()).await?;
        let some = mark_some(&mut transaction, id).await?;
        transaction.commit().await?;
        if some == 0 {
            return Ok(marked);
        }
        marked += some;
    }
}

/// Keeps cut-offs away until the transaction ends. Whoever makes a key or changes its settings asks here before it reads
/// or writes any: then a cut-off sees all that is older than it, and neither a successor nor a key that moves to another
/// owner escapes.
pub(super) async fn hold_off(transaction: &mut ChangeTx) -> Result<(), Error> {
    let tenant_id = transaction.tenant_id();
    transaction.call(tronch_hold_key_cutoffs(tenant_id, false)).execute(transaction).await?;
    Ok(())
}

/// A key whose time of making lies before a cut-off that was set in the same moment would be dead from the start.
pub(super) fn cut_off_at_birth() -> Error {
    Error::Conflict {
        code: ErrorCode::Conflict,
        message: "all keys like this one were revoked in this very moment; send it again to make one".to_owned(),
        field: None,
    }
}
