//! The SQL about people. Users belong to no tenant; memberships do.

use diesel::prelude::*;
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use tronch_core::{EmailAddress, PersonName, Role, TenantId, Timestamp, UserId};
use uuid::Uuid;

use crate::Engine;
use crate::audit::{self, Change};
use crate::caller::Caller;
use crate::clock;
use crate::error::Error;
use crate::schema::{memberships, sessions, users};
use crate::tenancy::TenantTx;

/// Of whoever has this address: id, password hash, and since when that is their password.
pub(super) async fn find_by_email(
    engine: &Engine,
    normalized: &str,
) -> Result<Option<(UserId, String, Timestamp)>, Error> {
    let mut connection = engine.db().system().await?;
    let row: Option<(Uuid, String, Timestamp)> = users::table
        .filter(users::email_normalized.eq(normalized))
        .select((users::id, users::password_phc, users::password_changed_at))
        .first(&mut connection)
        .await
        .optional()?;
    Ok(row.map(|(id, phc, changed_at)| (UserId::from_uuid(id), phc, changed_at)))
}

/// Puts a dearer hash of the same password in the place of one, unless that was changed meanwhile.
pub(super) async fn replace_phc(engine: &Engine, user_id: UserId, phc: &str, dearer: &str) -> Result<(), Error> {
    let mut connection = engine.db().system().await?;
    diesel::update(users::table.find(user_id.uuid()).filter(users::password_phc.eq(phc)))
        .set(users::password_phc.eq(dearer))
        .execute(&mut connection)
        .await?;
    Ok(())
}

/// Inserts a person, or nothing when the address is known.
pub(crate) async fn insert_user(
    connection: &mut AsyncPgConnection,
    email: &EmailAddress,
    name: &PersonName,
    phc: &str,
) -> Result<Option<UserId>, Error> {
    let id: Option<Uuid> = diesel::insert_into(users::table)
        .values((
            users::id.eq(UserId::generate(clock::now(), crate::random::bytes()?).uuid()),
            users::email.eq(email.as_str()),
            users::email_normalized.eq(email.normalized()),
            users::name.eq(name.as_str()),
            users::password_phc.eq(phc),
        ))
        .on_conflict(users::email_normalized)
        .do_nothing()
        .returning(users::id)
        .get_result(connection)
        .await
        .optional()?;
    Ok(id.map(UserId::from_uuid))
}

pub(super) async fn user_id(connection: &mut AsyncPgConnection, email: &EmailAddress) -> Result<UserId, Error> {
    let id: Option<Uuid> = users::table
        .filter(users::email_normalized.eq(email.normalized()))
        .select(users::id)
        .first(connection)
        .await
        .optional()?;
    id.map(UserId::from_uuid).ok_or(Error::NotFound { noun: "member" })
}

pub(super) async fn role_of(transaction: &mut TenantTx, user_id: UserId) -> Result<Option<String>, Error> {
    Ok(transaction
        .of(memberships::table)
        .filter(memberships::user_id.eq(user_id.uuid()))
        .select(memberships::role)
        .first(transaction)
        .await
        .optional()?)
}

/// Gives a person a role in a tenant, in place of the one they may have had.
///
/// This leaves `Scoped` because it has no word for ON CONFLICT.
pub(crate) async fn upsert_membership(
    connection: &mut AsyncPgConnection,
    tenant_id: TenantId,
    user_id: UserId,
    role: Role,
) -> Result<(), Error> {
    diesel::insert_into(memberships::table)
        .values((
            memberships::tenant_id.eq(tenant_id.uuid()),
            memberships::user_id.eq(user_id.uuid()),
            memberships::role.eq(role.as_str()),
        ))
        .on_conflict((memberships::tenant_id, memberships::user_id))
        .do_update()
        .set(memberships::role.eq(role.as_str()))
        .execute(connection)
        .await?;
    Ok(())
}

/// This leaves `Scoped` because it has no word for DELETE.
pub(super) async fn take_out(transaction: &mut TenantTx, user_id: UserId) -> Result<(), Error> {
    let of_tenant = memberships::tenant_id.eq(transaction.tenant_id());
    diesel::delete(memberships::table.filter(of_tenant).filter(memberships::user_id.eq(user_id.uuid())))
        .execute(transaction.unscoped())
        .await?;
    Ok(())
}

/// Whoever is in no tenant any more has nothing to be signed in for.
///
/// This crosses tenants because a person may be in several.
pub(super) async fn end_sessions_of_nobody(engine: &Engine, user_id: UserId) -> Result<(), Error> {
    let mut connection = engine.db().system().await?;
    let left: i64 =
        memberships::table.filter(memberships::user_id.eq(user_id.uuid())).count().get_result(&mut connection).await?;
    if left == 0 {
        diesel::delete(sessions::table.filter(sessions::user_id.eq(user_id.uuid()))).execute(&mut connection).await?;
    }
    Ok(())
}

/// Sets the hash, ends the sessions and tells the audit log of each tenant the person is in, in one transaction.
///
/// This crosses tenants because a person's password is the same in all of them.
pub(super) async fn set_password(
    engine: &Engine,
    caller: &Caller,
    email: &EmailAddress,
    phc: &str,
) -> Result<usize, Error> {
    use diesel_async::{AnsiTransactionManager, TransactionManager as _};
    let mut connection = engine.db().system().await?;
    AnsiTransactionManager::begin_transaction(&mut *connection).await?;
    let user_id = user_id(&mut connection, email).await?;
    diesel::update(users::table.find(user_id.uuid()))
        .set((users::password_phc.eq(phc), users::password_changed_at.eq(clock::now())))
        .execute(&mut connection)
        .await?;
    let ended =
        diesel::delete(sessions::table.filter(sessions::user_id.eq(user_id.uuid()))).execute(&mut connection).await?;
    super::account::end_links(&mut connection, &email.normalized()).await?;
    let tenant_ids: Vec<Uuid> = memberships::table
        .filter(memberships::user_id.eq(user_id.uuid()))
        .select(memberships::tenant_id)
        .load(&mut connection)
        .await?;
    for tenant_id in tenant_ids {
        let change = Change {
            action: "reset_password",
            target_kind: "member",
            target_id: user_id.to_string(),
            target_name: email.as_str(),
            before: None,
            after: None,
            reason: None,
        };
        audit::record_in(tenant_id, &mut connection, caller, change).await?;
    }
    AnsiTransactionManager::commit_transaction(&mut *connection).await?;
    Ok(ended)
}
