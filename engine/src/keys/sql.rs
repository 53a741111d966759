//! The SQL on keys. Every query begins with the tenant; row security is the second wall.

use diesel::pg::Pg;
use diesel::prelude::*;
use tronch_core::KeyId;
use uuid::Uuid;

use super::rows::{KeyRow, NewKeyRow};
use crate::error::Error;
use crate::once::ChangeTx;
use crate::schema::{keys, projects};
use crate::tenancy::{Scoped, TenantTx};

pub(super) const NOT_FOUND: Error = Error::NotFound { noun: "key" };

pub(super) async fn insert(transaction: &mut ChangeTx, row: &NewKeyRow<'_>) -> Result<KeyRow, Error> {
    Ok(transaction.insert(keys::table, row).returning(KeyRow::as_returning()).get_result(transaction).await?)
}

pub(super) type KeyQuery<'a> =
    Scoped<diesel::dsl::IntoBoxed<'a, diesel::dsl::InnerJoin<keys::table, projects::table>, Pg>>;

/// The tenant's keys, with their projects, as far as the caller's scope reaches.
pub(super) fn visible<'a>(transaction: &TenantTx) -> KeyQuery<'a> {
    let scope = transaction.scope();
    let mut query = transaction.of(keys::table).inner_join(projects::table).into_boxed();
    if let Some(project) = scope.project {
        query = query.filter(keys::project_id.eq(project.uuid()));
    }
    if let Some(environment) = scope.environment {
        query = query.filter(keys::environment.eq(environment.as_str()));
    }
    query
}

/// A key and its project's slug.
pub(super) async fn find(transaction: &mut TenantTx, id: KeyId) -> Result<(KeyRow, String), Error> {
    let row: Option<(KeyRow, String)> = visible(transaction)
        .filter(keys::id.eq(id.uuid()))
        .select((KeyRow::as_select(), projects::slug))
        .first(transaction)
        .await
        .optional()?;
    row.ok_or(NOT_FOUND)
}

/// Where a key counts: the first key of its rotations, its project and its environment.
pub(super) async fn find_line(transaction: &mut TenantTx, id: KeyId) -> Result<(Uuid, Uuid, String), Error> {
    type Line = (Uuid, Option<Uuid>, Option<Uuid>, Uuid, String);
    let row: Option<Line> = visible(transaction)
        .filter(keys::id.eq(id.uuid()))
        .select((keys::id, keys::lineage_id, keys::predecessor_id, keys::project_id, keys::environment))
        .first(transaction)
        .await
        .optional()?;
    let (id, lineage, predecessor, project_id, environment) = row.ok_or(NOT_FOUND)?;
    // One that was made before lines were noted goes on with its predecessor.
    Ok((lineage.or(predecessor).unwrap_or(id), project_id, environment))
}

/// The same, locked until the transaction ends: of two changes at once the second sees what the first did.
pub(super) async fn lock(transaction: &mut ChangeTx, id: KeyId) -> Result<(KeyRow, String), Error> {
    let locked: Option<Uuid> = transaction
        .of(keys::table)
        .filter(keys::id.eq(id.uuid()))
        .select(keys::id)
        .for_update()
        .first(transaction)
        .await
        .optional()?;
    locked.ok_or(NOT_FOUND)?;
    find(transaction, id).await
}

/// Those of several that are there.
pub(super) async fn find_many(transaction: &mut TenantTx, ids: &[KeyId]) -> Result<Vec<(KeyRow, String)>, Error> {
    let ids: Vec<Uuid> = ids.iter().map(|id| id.uuid()).collect();
    Ok(visible(transaction)
        .filter(keys::id.eq_any(ids))
        .select((KeyRow::as_select(), projects::slug))
        .load(transaction)
        .await?)
}

/// Several, locked until the transaction ends: in one order for everybody, so that no two changes wait for each other.
pub(super) async fn lock_many(transaction: &mut ChangeTx, ids: &[KeyId]) -> Result<Vec<(KeyRow, String)>, Error> {
    let wanted: std::collections::BTreeSet<Uuid> = ids.iter().map(|id| id.uuid()).collect();
    lock_ids(transaction, &wanted.iter().copied().collect::<Vec<_>>()).await?;
    let found = find_many(transaction, ids).await?;
    if found.len() == wanted.len() { Ok(found) } else { Err(NOT_FOUND) }
}

pub(super) async fn lock_ids(transaction: &mut TenantTx, ids: &[Uuid]) -> Result<(), Error> {
    let _locked: Vec<Uuid> = transaction
        .of(keys::table)
        .filter(keys::id.eq_any(ids))
        .order(keys::id)
        .select(keys::id)
        .for_update()
        .load(transaction)
        .await?;
    Ok(())
}

/// Writes what a verb may change; everything else of a key never changes.
pub(super) async fn update(transaction: &mut ChangeTx, row: &KeyRow) -> Result<(), Error> {
    let changed = transaction
        .of(keys::table)
        .filter(keys::id.eq(row.id))
        .set((
            keys::name.eq(&row.name),
            keys::owner_external_id.eq(&row.owner_external_id),
            keys::metadata.eq(&row.metadata),
            keys::permissions.eq(&row.permissions),
            keys::updated_at.eq(row.updated_at),
            keys::expires_at.eq(row.expires_at),
            keys::disabled_at.eq(row.disabled_at),
            keys::revoked_at.eq(row.revoked_at),
            keys::revoke_reason.eq(&row.revoke_reason),
            keys::grace_ends_at.eq(row.grace_ends_at),
            keys::successor_id.eq(row.successor_id),
        ))
        .execute(transaction)
        .await?;
    if changed == 1 { Ok(()) } else { Err(NOT_FOUND) }
}

/// The key of a handle, for a pasted key in the search box.
pub(super) async fn find_by_handle(
    transaction: &mut TenantTx,
    handle: &str,
) -> Result<Option<(KeyRow, String)>, Error> {
    Ok(visible(transaction)
        .filter(keys::handle.eq(handle))
        .select((KeyRow::as_select(), projects::slug))
        .first(transaction)
        .await
        .optional()?)
}
