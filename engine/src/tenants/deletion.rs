//! Deleting a tenant: from that moment on nobody and no service comes in; for a week an owner may undo it; then it is removed with all of
//! its rows, its log among them.

use std::time::Duration;

use chrono::TimeDelta;
use diesel::dsl::exists;
use diesel::prelude::*;
use diesel_async::{AsyncConnection as _, AsyncPgConnection, RunQueryDsl};
use tronch_core::{PeopleRight, Role, TenantId, TenantName, TenantSlug, Timestamp};
use uuid::Uuid;

use super::removal::{IN_PORTIONS, close_doors, remove_rest};
use crate::Engine;
use crate::audit::{self, Change};
use crate::caller::{Caller, Identity, Scope};
use crate::clock;
use crate::error::Error;
use crate::members::begin_change_of_people;
use crate::schema::{memberships, tenants};
use crate::system;
use crate::tenancy::{Tenant, TenantTx};

/// How long it may be undone; the schema has the same.
const UNDONE_WITHIN: TimeDelta = TimeDelta::days(7);

/// How long a running server may still store the calls of a token that has gone.
const LAST_CALLS: Duration = Duration::from_secs(2);

/// A tenant that was deleted, and can be had back.
pub struct DeletedTenant {
    /// Its part of addresses.
    pub slug: TenantSlug,
    /// Its name for people.
    pub name: TenantName,
    /// When it is removed for ever.
    pub removed_at: Timestamp,
}

/// Deletes the tenant. The caller, whose password was confirmed, types its slug.
///
/// # Errors
/// `Forbidden` unless the caller is an owner; `Invalid` on `confirmation` or `password`; `Unavailable`.
pub async fn delete_tenant(tenant: &Tenant, typed: &str) -> Result<(), Error> {
    tenant.require_right(PeopleRight::ManageOrganisation)?;
    if typed.trim() != tenant.slug().as_str() {
        return Err(Error::invalid("confirmation", format!("type {} to delete it", tenant.slug())));
    }
    tenant.require_confirmed()?;
    let mut transaction = begin_change_of_people(tenant, PeopleRight::ManageOrganisation).await?;
    set_deleted(&mut transaction, Some(clock::now())).await?;
    record(&mut transaction, &tenant.caller, "delete_tenant", tenant.name()).await?;
    transaction.commit().await?;
    tenant.engine.catch_up().await;
    Ok(())
}

/// The tenants that the caller owns and that were deleted less than a week ago; all of those for the operator.
///
/// This crosses tenants because a person may own several.
///
/// # Errors
/// `Unauthenticated` for anybody but a member; `Unavailable`.
pub async fn my_deleted_tenants(engine: &Engine, caller: &Caller) -> Result<Vec<DeletedTenant>, Error> {
    let rows = owned_deleted(engine, caller).await?;
    let deleted = |(_, slug, name, deleted_at): (Uuid, String, String, Timestamp)| {
        Ok(DeletedTenant {
            slug: TenantSlug::parse(&slug).map_err(Error::internal)?,
            name: TenantName::parse(&name).map_err(Error::internal)?,
            removed_at: deleted_at + UNDONE_WITHIN,
        })
    };
    rows.into_iter().map(deleted).collect()
}

/// Undoes a deletion: one of its owners, or the operator.
///
/// # Errors
/// `Unauthenticated` for anybody else; `NotFound` for a tenant that is not the caller's, or not there any more; `Unavailable`.
pub async fn restore_tenant(engine: &Engine, caller: &Caller, slug: &TenantSlug) -> Result<(), Error> {
    let owned = owned_deleted(engine, caller).await?;
    let found = owned.into_iter().find(|(_, one, ..)| one == slug.as_str());
    let (id, _, name, _) = found.ok_or(Error::NotFound { noun: "deleted organisation" })?;
    let name = TenantName::parse(&name).map_err(Error::internal)?;
    let connection = engine.db().tenant().await?;
    let mut transaction = TenantTx::begin(connection, TenantId::from_uuid(id), Scope::default()).await?;
    transaction.lock_tenant().await?;
    // The week may have ended, or somebody else been there, while the row was waited for.
    if !owned_deleted(engine, caller).await?.iter().any(|(one, ..)| *one == id) {
        return Err(Error::NotFound { noun: "deleted organisation" });
    }
    set_deleted(&mut transaction, None).await?;
    record(&mut transaction, caller, "restore_tenant", &name).await?;
    transaction.commit().await?;
    engine.catch_up().await;
    Ok(())
}

/// Removes tenants that were deleted a week ago. Gives how many. Broken off half way, the next call goes on.
///
/// This crosses tenants because time passes for all of them.
///
/// # Errors
/// `Unavailable` when Postgres is.
pub async fn remove_deleted_tenants(engine: &Engine) -> Result<usize, Error> {
    let mut connection = engine.db().system().await?;
    let due: Vec<Uuid> = tenants::table
        .filter(tenants::deleted_at.le(clock::now() - UNDONE_WITHIN))
        .select(tenants::id)
        .order(tenants::id)
        .load(&mut connection)
        .await?;
    let mut removed = 0;
    for tenant_id in due {
        // One that cannot be removed now keeps nobody else's waiting.
        match remove(&mut connection, tenant_id).await {
            Ok(()) => {
                removed += 1;
                tracing::info!(tenant.id = %TenantId::from_uuid(tenant_id), "a tenant that was deleted a week ago is removed");
            }
            Err(error) => {
                tracing::warn!(tenant.id = %TenantId::from_uuid(tenant_id), %error, "a deleted tenant is not removed yet");
            }
        }
    }
    Ok(removed)
}

/// This crosses tenants because [`remove_deleted_tenants`] does.
async fn remove(connection: &mut AsyncPgConnection, tenant_id: Uuid) -> Result<(), Error> {
    connection
        .transaction::<_, Error, _>(async |connection| {
            hold(connection, tenant_id).await?;
            close_doors(connection, tenant_id).await
        })
        .await?;
    tokio::time::sleep(LAST_CALLS).await;
    for table in IN_PORTIONS {
        system::delete_in_portions(connection, table, &format!("tenant_id = '{tenant_id}'")).await?;
    }
    connection
        .transaction::<_, Error, _>(async |connection| {
            lock(connection, tenant_id).await?;
            remove_rest(connection, tenant_id).await
        })
        .await?;
    Ok(())
}

/// Less than [`lock`]: whoever signs in holds their own row and writes to the tenant's log, which must not wait for this.
///
/// This crosses tenants because [`remove_deleted_tenants`] does.
async fn hold(connection: &mut AsyncPgConnection, tenant_id: Uuid) -> Result<(), Error> {
    let held: Option<Uuid> = tenants::table
        .find(tenant_id)
        .filter(tenants::deleted_at.le(clock::now() - UNDONE_WITHIN))
        .select(tenants::id)
        .for_no_key_update()
        .first(connection)
        .await
        .optional()?;
    held.map(drop).ok_or(Error::NotFound { noun: "tenant" })
}

/// This crosses tenants because [`remove_deleted_tenants`] does.
async fn lock(connection: &mut AsyncPgConnection, tenant_id: Uuid) -> Result<(), Error> {
    let locked: Option<Uuid> = tenants::table
        .find(tenant_id)
        .filter(tenants::deleted_at.le(clock::now() - UNDONE_WITHIN))
        .select(tenants::id)
        .for_update()
        .first(connection)
        .await
        .optional()?;
    locked.map(drop).ok_or(Error::NotFound { noun: "tenant" })
}

/// This crosses tenants because a person may own several.
async fn owned_deleted(engine: &Engine, caller: &Caller) -> Result<Vec<(Uuid, String, String, Timestamp)>, Error> {
    let deleted = tenants::table
        .filter(tenants::deleted_at.gt(clock::now() - UNDONE_WITHIN))
        .select((tenants::id, tenants::slug, tenants::name, tenants::deleted_at.assume_not_null()))
        .order(tenants::slug);
    let mut connection = engine.db().system().await?;
    Ok(match &caller.identity {
        Identity::Operator => deleted.load(&mut connection).await?,
        Identity::Member { user_id, .. } => {
            let owned = memberships::table
                .filter(memberships::tenant_id.eq(tenants::id))
                .filter(memberships::user_id.eq(user_id.uuid()))
                .filter(memberships::role.eq(Role::Owner.as_str()));
            deleted.filter(exists(owned)).load(&mut connection).await?
        }
        Identity::ServiceToken { .. } => return Err(Error::Unauthenticated),
    })
}

/// This leaves `Scoped` because a tenant's own row is found by its id.
async fn set_deleted(transaction: &mut TenantTx, at: Option<Timestamp>) -> Result<(), Error> {
    let id = transaction.tenant_id();
    diesel::update(tenants::table.find(id)).set(tenants::deleted_at.eq(at)).execute(transaction.unscoped()).await?;
    Ok(())
}

async fn record(
    transaction: &mut TenantTx,
    caller: &Caller,
    action: &'static str,
    name: &TenantName,
) -> Result<(), Error> {
    let change = Change {
        action,
        target_kind: "tenant",
        target_id: TenantId::from_uuid(transaction.tenant_id()).to_string(),
        target_name: name.as_str(),
        before: None,
        after: None,
        reason: None,
    };
    audit::record(transaction, caller, change).await
}
