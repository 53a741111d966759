//! People: signing in, inviting them to a tenant, what they are there, resetting their password. Their sessions are in `sessions`.

mod invitations;
mod list;
mod password;
mod roles;
mod sql;

use std::net::IpAddr;

use tronch_core::{EmailAddress, PersonName, Role, TenantName, TenantSlug, UserId};
use zeroize::Zeroizing;

use crate::Engine;
use crate::audit::{self, Change};
use crate::caller::{Caller, Identity};
use crate::error::Error;
use crate::system;
use crate::tenancy::Tenant;

pub use invitations::{
    InvitationToken, Invited, ShownInvitation, accept_invitation, invite, join_invited, look_at_invitation,
    revoke_invitation,
};
pub use list::{list_invitations, list_members};
pub use password::Password;
pub use roles::{change_role, leave, remove_member, transfer_ownership};

/// A person who has just shown the right password.
pub struct SignedIn {
    /// Who.
    pub user_id: UserId,
    /// The tenants to choose from, by slug.
    pub tenants: Vec<(TenantSlug, TenantName)>,
}

/// Checks e-mail and password. Unknown people cost the same time as known ones.
///
/// # Errors
/// `SignInFailed` for a wrong e-mail and a wrong password alike; `TooMany` after too many of them, of one account or from one address;
/// `Unavailable` when Postgres or the hashing queue is.
pub async fn sign_in(
    engine: &Engine,
    email: &str,
    password: Zeroizing<String>,
    address: Option<IpAddr>,
) -> Result<SignedIn, Error> {
    let normalized = EmailAddress::parse(email).map(|email| email.normalized()).ok();
    // Whether there is such an account makes no difference.
    let tries = engine.own_limits().begin_try(normalized.as_deref(), address)?;
    match try_password(engine, normalized.as_deref(), password).await {
        Ok(Some(user_id)) => {
            tries.give_back();
            Ok(SignedIn { user_id, tenants: system::tenants_of(engine, user_id).await? })
        }
        Ok(None) => Err(Error::SignInFailed),
        Err(error) => {
            // Nobody knows whether it was right.
            tries.give_back();
            Err(error)
        }
    }
}

async fn try_password(
    engine: &Engine,
    email: Option<&str>,
    password: Zeroizing<String>,
) -> Result<Option<UserId>, Error> {
    let known = match email {
        Some(email) => sql::find_by_email(engine, email).await?,
        None => None,
    };
    let (user_id, phc) = match known {
        Some((user_id, phc)) => (Some(user_id), phc),
        None => (None, engine.dummy_phc().to_owned()),
    };
    let right = engine.passwords().verify(password, &phc).await?;
    Ok(user_id.filter(|_| right))
}

/// Asks for the password of whoever is signed in once more, before what cannot be undone.
pub(crate) async fn confirm_password(
    engine: &Engine,
    caller: &Caller,
    password: Zeroizing<String>,
) -> Result<(), Error> {
    let email = caller.email().ok_or(Error::Unauthenticated)?;
    match sign_in(engine, email, password, caller.origin.address).await {
        Ok(_) => Ok(()),
        Err(Error::SignInFailed) => Err(Error::invalid("password", "this is not your password")),
        Err(error) => Err(error),
    }
}

/// The tenants the caller is a member of, by slug.
///
/// # Errors
/// `Unauthenticated` for anybody but a member.
pub async fn my_tenants(engine: &Engine, caller: &Caller) -> Result<Vec<(TenantSlug, TenantName)>, Error> {
    match &caller.identity {
        Identity::Member { user_id, .. } => system::tenants_of(engine, *user_id).await,
        _ => Err(Error::Unauthenticated),
    }
}

/// What `add_member` did.
#[derive(Debug, PartialEq, Eq)]
pub enum AddedMember {
    /// The person is new here, and the password given is theirs.
    NewUser,
    /// The person existed; their password is as it was.
    ExistingUser,
}

/// Adds a person to a tenant with a role; a person who exists keeps name and password, a member gets the new role.
///
/// # Errors
/// `Forbidden` for anybody but the operator, until members may invite.
pub async fn add_member(
    tenant: &Tenant,
    email: &EmailAddress,
    name: &PersonName,
    role: Role,
    password: Password,
) -> Result<AddedMember, Error> {
    tenant.caller.require_operator()?;
    let phc = tenant.engine.passwords().hash(password.into_inner()).await?;
    let mut transaction = tenant.begin().await?;
    // This leaves `Scoped` because people belong to no tenant.
    let people = transaction.unscoped();
    let (user_id, outcome) = match sql::insert_user(people, email, name, &phc).await? {
        Some(user_id) => (user_id, AddedMember::NewUser),
        None => (sql::user_id(people, email).await?, AddedMember::ExistingUser),
    };
    let before = sql::role_of(&mut transaction, user_id).await?;
    sql::upsert_membership(transaction.unscoped(), tenant.id, user_id, role).await?;
    let change = Change {
        action: "add_member",
        target_kind: "member",
        target_id: user_id.to_string(),
        target_name: email.as_str(),
        before: before.map(|role| serde_json::json!({ "role": role })),
        after: Some(serde_json::json!({ "role": role.as_str() })),
        reason: None,
    };
    audit::record(&mut transaction, &tenant.caller, change).await?;
    transaction.commit().await?;
    Ok(outcome)
}

/// Sets a person's password and ends all their sessions. Returns how many ended.
///
/// # Errors
/// `Forbidden` for anybody but the operator; `NotFound` when nobody has this address.
pub async fn reset_password(
    engine: &Engine,
    caller: &Caller,
    email: &EmailAddress,
    password: Password,
) -> Result<usize, Error> {
    caller.require_operator()?;
    let phc = engine.passwords().hash(password.into_inner()).await?;
    sql::set_password(engine, caller, email, &phc).await
}

pub(crate) use sql::{insert_user, upsert_membership};
