//! Asking people in: a link that takes one person into one tenant, once, within a day. Whoever holds the link is who is meant, as far as
//! anybody can know; an account that exists has to be signed in to, with the address that was invited.

use std::net::IpAddr;

use chrono::TimeDelta;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use serde_json::json;
use tronch_core::{
    EmailAddress, ErrorCode, InvitationId, InvitationView, PeopleRight, PersonName, Role, TenantId, TenantName,
    TenantSlug, Timestamp, UserId,
};
use uuid::Uuid;

use super::list::InvitationRow;
use super::roles::{begin, is_member, require_giving};
use super::{LinkToken, Password, sql};
use crate::Engine;
use crate::audit::{self, Change};
use crate::caller::{Caller, Identity, Origin, Scope};
use crate::clock;
use crate::error::Error;
use crate::schema::{invitations, memberships, tenants, users};
use crate::tenancy::{Tenant, TenantTx};

/// How long an invitation can be used.
const OPEN_HOURS: i64 = 24;

/// Invitations that may be open in one tenant at a time.
const OPEN_MAX: i64 = 500;

/// What its links are for.
const KIND: &str = "invitation";

const NOT_FOUND: Error = Error::NotFound { noun: "invitation" };

/// An invitation, with the only copy of its link's token where nobody is mailed.
pub struct Invited {
    /// What was made.
    pub invitation: InvitationView,
    /// For the link; none where it goes by mail.
    pub token: Option<LinkToken>,
}

/// An invitation as its holder sees it.
pub struct ShownInvitation {
    /// The tenant it leads to.
    pub tenant: (TenantSlug, TenantName),
    /// What it says.
    pub invitation: InvitationView,
    /// Whether somebody has an account with that address, and has to sign in with it.
    pub has_account: bool,
}

/// Invites somebody, or invites them anew: an earlier link of theirs counts no more. To invite an owner it asks whether the
/// caller's password was confirmed.
///
/// # Errors
/// `Forbidden` unless the caller manages members and holds the role; `Invalid` on `password`; `Conflict` for a member; `Unavailable`.
pub async fn invite(tenant: &Tenant, email: &EmailAddress, role: Role) -> Result<Invited, Error> {
    let (mut transaction, acting) = begin(tenant, PeopleRight::ManageMembers).await?;
    require_giving(acting, role)?;
    if role == Role::Owner {
        tenant.require_confirmed()?;
    }
    let normalized = email.normalized();
    if is_member(&mut transaction, &normalized).await? {
        let message = "this person is a member already; change their role instead".to_owned();
        return Err(Error::Conflict { code: ErrorCode::NameTaken, message, field: Some("email") });
    }
    let now = clock::now();
    let by_mail = tenant.engine.sends_mail();
    let token = if by_mail { None } else { Some(LinkToken::generate()?) };
    let changed = (
        invitations::email.eq(email.as_str().to_owned()),
        invitations::role.eq(role.as_str()),
        invitations::token_hash.eq(token.as_ref().map(|token| token.hash(&tenant.engine, KIND))),
        invitations::invited_by.eq(tenant.caller.display_name().to_owned()),
        invitations::created_at.eq(now),
        invitations::expires_at.eq(now + TimeDelta::hours(OPEN_HOURS)),
        invitations::mail_due_at.eq(by_mail.then_some(now)),
        invitations::mail_attempts.eq(0),
        invitations::mail_error.eq(None::<String>),
        invitations::mail_sent_at.eq(None::<Timestamp>),
    );
    let open: Option<(Uuid, String)> = transaction
        .of(invitations::table)
        .filter(invitations::email_normalized.eq(normalized.clone()))
        .filter(invitations::accepted_at.is_null())
        .filter(invitations::revoked_at.is_null())
        .select((invitations::id, invitations::role))
        .first(&mut transaction)
        .await
        .optional()?;
    let id = match open {
        Some((id, earlier)) => {
            // What he could not take back he does not replace.
            require_giving(acting, earlier.parse().map_err(Error::internal)?)?;
            transaction
                .of(invitations::table)
                .filter(invitations::id.eq(id))
                .set(changed)
                .execute(&mut transaction)
                .await?;
            id
        }
        None => {
            require_room(&mut transaction).await?;
            let id = InvitationId::generate(now, crate::random::bytes()?).uuid();
            let new = (invitations::id.eq(id), invitations::email_normalized.eq(normalized), changed);
            transaction.insert(invitations::table, new).execute(&mut transaction).await?;
            id
        }
    };
    let invitation = find(&mut transaction, id).await?;
    record(&mut transaction, &tenant.caller, "invite_member", &invitation).await?;
    transaction.commit().await?;
    Ok(Invited { invitation: invitation.view()?, token })
}

/// Takes an invitation back.
///
/// # Errors
/// `Forbidden` unless the caller manages members and holds the role; `NotFound`; `InvitationOver`; `Unavailable`.
pub async fn revoke_invitation(tenant: &Tenant, id: InvitationId) -> Result<(), Error> {
    let (mut transaction, acting) = begin(tenant, PeopleRight::ManageMembers).await?;
    let invitation = find(&mut transaction, id.uuid()).await?;
    require_giving(acting, invitation.role()?)?;
    invitation.require_open()?;
    transaction
        .of(invitations::table)
        .filter(invitations::id.eq(id.uuid()))
        .set(invitations::revoked_at.eq(clock::now()))
        .execute(&mut transaction)
        .await?;
    record(&mut transaction, &tenant.caller, "revoke_invitation", &invitation).await?;
    transaction.commit().await
}

/// What a link leads to.
///
/// # Errors
/// `NotFound` for no link of ours; `InvitationOver`; `TooMany` after too many wrong ones from one address; `Unavailable`.
pub async fn look_at_invitation(
    engine: &Engine,
    token: &str,
    address: Option<IpAddr>,
) -> Result<ShownInvitation, Error> {
    let tries = engine.own_limits().begin_try(None, address)?;
    let found = by_token(engine, token).await;
    if !matches!(found, Err(Error::NotFound { .. })) {
        tries.give_back();
    }
    let (invitation, tenant) = found?;
    invitation.require_open()?;
    let has_account = account(engine, &invitation.email_normalized).await?.is_some();
    Ok(ShownInvitation { tenant, invitation: invitation.view()?, has_account })
}

/// The caller joins the tenant that a link leads to.
///
/// # Errors
/// As of [`look_at_invitation`]; `Conflict` where another address was invited.
pub async fn accept_invitation(engine: &Engine, caller: &Caller, token: &str) -> Result<TenantSlug, Error> {
    let Identity::Member { user_id, email, .. } = &caller.identity else { return Err(Error::Unauthenticated) };
    let (invitation, (slug, _)) = by_token(engine, token).await?;
    let own = EmailAddress::parse(email).map_err(Error::internal)?.normalized();
    if own != invitation.email_normalized {
        let message = format!("this invitation is for {}, and you are signed in as {email}", invitation.email);
        return Err(Error::Conflict { code: ErrorCode::Conflict, message, field: None });
    }
    let mut transaction = begin_joining(engine, &invitation).await?;
    join(&mut transaction, invitation.id, *user_id, caller).await?;
    transaction.commit().await?;
    Ok(slug)
}

/// Somebody who has no account yet makes one and joins.
///
/// # Errors
/// As of [`look_at_invitation`]; `Conflict` where there is an account with the address.
pub async fn join_invited(
    engine: &Engine,
    token: &str,
    name: &PersonName,
    password: Password,
    origin: Origin,
) -> Result<(UserId, TenantSlug), Error> {
    let tries = engine.own_limits().begin_try(None, origin.address)?;
    let (invitation, (slug, _)) = by_token(engine, token).await?;
    tries.give_back();
    invitation.require_open()?;
    let email = EmailAddress::parse(&invitation.email).map_err(Error::internal)?;
    let password = password.avoiding(&[email.as_str(), name.as_str()])?;
    let phc = engine.passwords().hash(password.into_inner()).await?;
    let mut transaction = begin_joining(engine, &invitation).await?;
    // This leaves `Scoped` because people belong to no tenant.
    let user_id = sql::insert_user(transaction.unscoped(), &email, name, &phc).await?.ok_or_else(|| {
        let message = "there is an account with this address; sign in with it to join".to_owned();
        Error::Conflict { code: ErrorCode::NameTaken, message, field: None }
    })?;
    let identity =
        Identity::Member { user_id, name: name.as_str().to_owned(), email: invitation.email.clone(), session: None };
    join(&mut transaction, invitation.id, user_id, &Caller { identity, origin }).await?;
    transaction.commit().await?;
    Ok((user_id, slug))
}

/// This crosses tenants because a link names none: its token is found in the tenant that it leads to.
async fn by_token(engine: &Engine, token: &str) -> Result<(InvitationRow, (TenantSlug, TenantName)), Error> {
    let mut connection = engine.db().system().await?;
    let row: Option<(InvitationRow, String, String)> = invitations::table
        .inner_join(tenants::table)
        .filter(invitations::token_hash.eq(LinkToken::hash_of(engine, KIND, token)))
        .filter(tenants::deleted_at.is_null())
        .select((InvitationRow::as_select(), tenants::slug, tenants::name))
        .first(&mut connection)
        .await
        .optional()?;
    let (invitation, slug, name) = row.ok_or(NOT_FOUND)?;
    let slug = TenantSlug::parse(&slug).map_err(Error::internal)?;
    Ok((invitation, (slug, TenantName::parse(&name).map_err(Error::internal)?)))
}

async fn account(engine: &Engine, email_normalized: &str) -> Result<Option<Uuid>, Error> {
    let mut connection = engine.db().system().await?;
    let found = users::table.filter(users::email_normalized.eq(email_normalized)).select(users::id);
    Ok(found.first(&mut connection).await.optional()?)
}

async fn begin_joining(engine: &Engine, invitation: &InvitationRow) -> Result<TenantTx, Error> {
    let tenant_id = TenantId::from_uuid(invitation.tenant_id);
    let mut transaction = TenantTx::begin(engine.db().tenant().await?, tenant_id, Scope::default()).await?;
    transaction.lock_tenant().await?;
    Ok(transaction)
}

/// Of two who use one link, the second finds it used.
async fn join(transaction: &mut TenantTx, id: Uuid, user_id: UserId, caller: &Caller) -> Result<(), Error> {
    let invitation = find(transaction, id).await?;
    invitation.require_open()?;
    transaction
        .of(invitations::table)
        .filter(invitations::id.eq(id))
        .set(invitations::accepted_at.eq(clock::now()))
        .execute(transaction)
        .await?;
    let membership = (memberships::user_id.eq(user_id.uuid()), memberships::role.eq(invitation.role.clone()));
    if is_member(transaction, &invitation.email_normalized).await? {
        let message = "you are a member already".to_owned();
        return Err(Error::Conflict { code: ErrorCode::Conflict, message, field: None });
    }
    transaction.insert(memberships::table, membership).execute(transaction).await?;
    record(transaction, caller, "accept_invitation", &invitation).await
}

async fn find(transaction: &mut TenantTx, id: Uuid) -> Result<InvitationRow, Error> {
    let row = transaction
        .of(invitations::table)
        .filter(invitations::id.eq(id))
        .select(InvitationRow::as_select())
        .first(transaction)
        .await
        .optional()?;
    row.ok_or(NOT_FOUND)
}

async fn require_room(transaction: &mut TenantTx) -> Result<(), Error> {
    let open: i64 = transaction
        .of(invitations::table)
        .filter(invitations::accepted_at.is_null())
        .filter(invitations::revoked_at.is_null())
        .filter(invitations::expires_at.gt(clock::now()))
        .count()
        .get_result(transaction)
        .await?;
    if open < OPEN_MAX {
        return Ok(());
    }
    let message = format!("{OPEN_MAX} invitations are open; take some back first");
    Err(Error::Conflict { code: ErrorCode::Conflict, message, field: None })
}

async fn record(
    transaction: &mut TenantTx,
    caller: &Caller,
    action: &'static str,
    invitation: &InvitationRow,
) -> Result<(), Error> {
    let change = Change {
        action,
        target_kind: "invitation",
        target_id: InvitationId::from_uuid(invitation.id).to_string(),
        target_name: &invitation.email,
        before: None,
        after: Some(json!({ "role": invitation.role })),
        reason: None,
    };
    audit::record(transaction, caller, change).await
}
