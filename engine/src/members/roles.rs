//! What members are to each other: changing roles, removing, leaving, handing over. The last owner cannot go. Whoever acts is looked up
//! in the transaction itself, so that somebody who just lost his role does nothing more with it.

use diesel::prelude::*;
use serde_json::json;
use tronch_core::{ErrorCode, PeopleRight, Role, UserId, may_give};
use uuid::Uuid;

use super::sql;
use crate::audit::{self, Change};
use crate::caller::Identity;
use crate::error::Error;
use crate::schema::{memberships, users};
use crate::tenancy::{Tenant, TenantTx};

const NOT_FOUND: Error = Error::NotFound { noun: "member" };

/// Gives a member another role. To make somebody an owner it asks whether the caller's password was confirmed.
///
/// # Errors
/// `Forbidden` unless the caller manages members and holds both roles; `Invalid` on `password`; `NotFound`; `Conflict` for the last owner;
/// `Unavailable`.
pub async fn change_role(tenant: &Tenant, user_id: UserId, role: Role) -> Result<(), Error> {
    let (mut transaction, acting) = begin(tenant, PeopleRight::ManageMembers).await?;
    let member = find(&mut transaction, user_id).await?;
    require_giving(acting, member.role)?;
    require_giving(acting, role)?;
    if member.role == role {
        return transaction.commit().await;
    }
    if role == Role::Owner {
        tenant.require_confirmed()?;
    }
    require_owner_left(&mut transaction, &member).await?;
    set_role(&mut transaction, user_id, role).await?;
    record(tenant, &mut transaction, "change_role", &member, Some(role)).await?;
    transaction.commit().await
}

/// Removes a member. If that was their only tenant, their sessions end.
///
/// # Errors
/// `Forbidden` unless the caller manages members and holds the member's role; `NotFound`; `Conflict` for the last owner; `Unavailable`.
pub async fn remove_member(tenant: &Tenant, user_id: UserId) -> Result<(), Error> {
    let (mut transaction, acting) = begin(tenant, PeopleRight::ManageMembers).await?;
    let member = find(&mut transaction, user_id).await?;
    require_giving(acting, member.role)?;
    require_owner_left(&mut transaction, &member).await?;
    sql::take_out(&mut transaction, user_id).await?;
    record(tenant, &mut transaction, "remove_member", &member, None).await?;
    transaction.commit().await?;
    sql::end_sessions_of_nobody(&tenant.engine, user_id).await
}

/// The caller leaves.
///
/// # Errors
/// `Conflict` for the last owner; `Unauthenticated` for anybody but a member; `Unavailable`.
pub async fn leave(tenant: &Tenant) -> Result<(), Error> {
    let Identity::Member { user_id, .. } = tenant.caller.identity else { return Err(Error::Unauthenticated) };
    let (mut transaction, _) = begin(tenant, PeopleRight::SeeMembers).await?;
    let member = find(&mut transaction, user_id).await?;
    require_owner_left(&mut transaction, &member).await?;
    sql::take_out(&mut transaction, user_id).await?;
    record(tenant, &mut transaction, "leave_tenant", &member, None).await?;
    transaction.commit().await?;
    sql::end_sessions_of_nobody(&tenant.engine, user_id).await
}

/// Makes another member an owner and the caller, whose password was confirmed, an admin.
///
/// # Errors
/// `Forbidden` unless the caller is an owner; `Invalid` on `password`; `NotFound`; `Conflict` where it is the caller himself;
/// `Unavailable`.
pub async fn transfer_ownership(tenant: &Tenant, to: UserId) -> Result<(), Error> {
    tenant.require_right(PeopleRight::ManageOrganisation)?;
    let Identity::Member { user_id, .. } = tenant.caller.identity else { return Err(Error::Unauthenticated) };
    tenant.require_confirmed()?;
    let (mut transaction, _) = begin(tenant, PeopleRight::ManageOrganisation).await?;
    if to == user_id {
        return Err(conflict("you own it already; choose somebody else"));
    }
    let (heir, owner) = (find(&mut transaction, to).await?, find(&mut transaction, user_id).await?);
    set_role(&mut transaction, to, Role::Owner).await?;
    set_role(&mut transaction, user_id, Role::Admin).await?;
    record(tenant, &mut transaction, "transfer_ownership", &heir, Some(Role::Owner)).await?;
    record(tenant, &mut transaction, "change_role", &owner, Some(Role::Admin)).await?;
    transaction.commit().await
}

/// The same for others than those about people.
pub(crate) async fn begin_change_of_people(tenant: &Tenant, right: PeopleRight) -> Result<TenantTx, Error> {
    begin(tenant, right).await.map(|(transaction, _)| transaction)
}

/// Begins a change of people, one at a time in a tenant, and gives what the caller is now.
pub(super) async fn begin(tenant: &Tenant, right: PeopleRight) -> Result<(TenantTx, Role), Error> {
    tenant.require_right(right)?;
    let mut transaction = tenant.begin().await?;
    transaction.lock_tenant().await?;
    let acting = match tenant.caller.identity {
        Identity::Member { user_id, .. } => {
            let role = sql::role_of(&mut transaction, user_id).await?;
            let role = role.ok_or(Error::Forbidden { permission: right.as_str() })?;
            role.parse().map_err(Error::internal)?
        }
        Identity::Operator => Role::Owner,
        Identity::ServiceToken { .. } => return Err(Error::Forbidden { permission: right.as_str() }),
    };
    if tronch_core::has_right(acting, right) {
        Ok((transaction, acting))
    } else {
        Err(Error::Forbidden { permission: right.as_str() })
    }
}

/// Nobody gives or takes what he does not hold.
pub(super) fn require_giving(acting: Role, given: Role) -> Result<(), Error> {
    if may_give(acting, given) { Ok(()) } else { Err(Error::Forbidden { permission: "members.write" }) }
}

/// A member, to be changed.
struct Member {
    id: UserId,
    email: String,
    role: Role,
}

async fn find(transaction: &mut TenantTx, user_id: UserId) -> Result<Member, Error> {
    let row: Option<(String, String)> = transaction
        .of(memberships::table)
        .inner_join(users::table.on(memberships::user_id.eq(users::id)))
        .filter(memberships::user_id.eq(user_id.uuid()))
        .select((users::email, memberships::role))
        .first(transaction)
        .await
        .optional()?;
    let (email, role) = row.ok_or(NOT_FOUND)?;
    Ok(Member { id: user_id, email, role: role.parse().map_err(Error::internal)? })
}

/// Refuses to leave the tenant without an owner.
async fn require_owner_left(transaction: &mut TenantTx, going: &Member) -> Result<(), Error> {
    if going.role != Role::Owner {
        return Ok(());
    }
    let others: i64 = transaction
        .of(memberships::table)
        .filter(memberships::role.eq(Role::Owner.as_str()))
        .filter(memberships::user_id.ne(going.id.uuid()))
        .count()
        .get_result(transaction)
        .await?;
    if others > 0 {
        return Ok(());
    }
    Err(conflict("this is the last owner; make somebody else an owner first"))
}

fn conflict(message: &str) -> Error {
    Error::Conflict { code: ErrorCode::Conflict, message: message.to_owned(), field: None }
}

async fn set_role(transaction: &mut TenantTx, user_id: UserId, role: Role) -> Result<(), Error> {
    transaction
        .of(memberships::table)
        .filter(memberships::user_id.eq(user_id.uuid()))
        .set(memberships::role.eq(role.as_str()))
        .execute(transaction)
        .await?;
    Ok(())
}

async fn record(
    tenant: &Tenant,
    transaction: &mut TenantTx,
    action: &'static str,
    member: &Member,
    role: Option<Role>,
) -> Result<(), Error> {
    let change = Change {
        action,
        target_kind: "member",
        target_id: member.id.to_string(),
        target_name: &member.email,
        before: Some(json!({ "role": member.role.as_str() })),
        after: role.map(|role| json!({ "role": role.as_str() })),
        reason: None,
    };
    audit::record(transaction, &tenant.caller, change).await
}

/// Whether somebody with this address is a member.
pub(super) async fn is_member(transaction: &mut TenantTx, email_normalized: &str) -> Result<bool, Error> {
    let found: Option<Uuid> = transaction
        .of(memberships::table)
        .inner_join(users::table.on(memberships::user_id.eq(users::id)))
        .filter(users::email_normalized.eq(email_normalized.to_owned()))
        .select(users::id)
        .first(transaction)
        .await
        .optional()?;
    Ok(found.is_some())
}
