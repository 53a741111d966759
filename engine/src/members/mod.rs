//! People: signing in, inviting them to a tenant, what they are there, resetting their password. Their sessions are in `sessions`.

mod account;
mod invitations;
mod known;
mod link;
mod list;
mod password;
mod reset;
mod roles;
mod sql;

use std::time::Duration;

use tronch_core::{EmailAddress, PersonName, Role, TenantName, TenantSlug, Timestamp, UserId};
use zeroize::Zeroizing;

use crate::Engine;
use crate::audit::{self, Change};
use crate::caller::{Caller, Identity, Origin};
use crate::error::Error;
use crate::system;
use crate::tenancy::Tenant;

pub(crate) use account::tell_ended_sessions;
pub use account::{FailedSignIns, change_password};
pub use invitations::{
    Invited, ShownInvitation, accept_invitation, invite, join_invited, look_at_invitation, revoke_invitation,
};
pub use known::remember_browser;
pub use link::LinkToken;
pub use list::{list_invitations, list_members};
pub use password::Password;
pub use reset::{ask_for_reset, forget_old_resets, look_at_reset, reset_by_link};
pub(crate) use roles::begin_change_of_people;
pub use roles::{change_role, leave, remove_member, transfer_ownership};

/// How long after a try what it leads to is done, and up to twice that.
const FOLLOWED_AFTER: Duration = Duration::from_millis(50);

/// A person who has just shown the right password.
pub struct SignedIn {
    /// Who.
    pub user_id: UserId,
    /// What the browser is to keep, where it keeps nothing for this account yet.
    pub keep: Option<String>,
    /// What they showed.
    pub password: ShownPassword,
}

/// A password that was right when it was looked at: whose, and since when it is theirs.
#[derive(Debug, Clone, Copy)]
pub struct ShownPassword {
    user_id: UserId,
    changed_at: Timestamp,
}

/// Checks e-mail and password, and tells the person's tenants. Unknown people cost the same time as known ones. `kept` is what the browser
/// kept of an earlier sign-in.
///
/// # Errors
/// `SignInFailed` for a wrong e-mail and a wrong password alike; `TooMany` after too many of them, of one account or from one address;
/// `Unavailable` when Postgres or the hashing queue is.
pub async fn sign_in(
    engine: &Engine,
    email: &str,
    password: Zeroizing<String>,
    kept: Option<&str>,
    origin: Origin,
) -> Result<SignedIn, Error> {
    let normalized = EmailAddress::parse(email).map(|email| email.normalized()).ok();
    let known = kept.zip(normalized.as_ref()).and_then(|(kept, email)| known::tries_of(engine, kept, email));
    // Whether there is such an account makes no difference.
    let account = normalized.as_ref().map(|email| format!("account {email}"));
    let tries = known.clone().or(account);
    let checked = check_password(engine, normalized.as_deref(), password, tries.as_deref(), &origin).await?;
    let keep = if known.is_none() { Some(remember_browser(engine, email)?) } else { None };
    Ok(SignedIn { user_id: checked.user_id, keep, password: checked })
}

/// Tells of a sign-in, once its session is stored, and looks again whether the password is still the one that was shown. Hashing takes a
/// while; whoever chooses another one meanwhile ends the sessions that there are, and must not miss this one. Gives the wrong ones before it.
///
/// # Errors
/// `SignInFailed` where it is another by now; `Unavailable`.
pub async fn note_sign_in(engine: &Engine, shown: &ShownPassword, origin: Origin) -> Result<FailedSignIns, Error> {
    account::note_sign_in(engine, shown, origin).await
}

async fn check_password(
    engine: &Engine,
    email: Option<&str>,
    password: Zeroizing<String>,
    tries: Option<&str>,
    origin: &Origin,
) -> Result<ShownPassword, Error> {
    let tries = engine.own_limits().begin_try(tries, origin.address)?;
    match try_password(engine, email, password, origin).await {
        Ok(Some(checked)) => {
            tries.give_back();
            Ok(checked)
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
    origin: &Origin,
) -> Result<Option<ShownPassword>, Error> {
    let known = match email {
        Some(email) => sql::find_by_email(engine, email).await?,
        None => None,
    };
    let (checked, phc) = match known {
        Some((user_id, phc, changed_at)) => (Some(ShownPassword { user_id, changed_at }), phc),
        None => (None, engine.dummy_phc().to_owned()),
    };
    let right = engine.passwords().verify(password.clone(), &phc).await?;
    let Some(checked) = checked else { return Ok(None) };
    let user_id = checked.user_id;
    // What follows is done for those who exist alone, so nobody waits for it: its time would tell who does. Nor does it begin before
    // the answer has gone, which it would make late.
    let (engine, origin) = (engine.clone(), origin.clone());
    let after = FOLLOWED_AFTER.mul_f64(1.0 + f64::from(crate::random::bytes::<1>()?[0]) / 256.0);
    tokio::spawn(async move {
        tokio::time::sleep(after).await;
        let followed = if right {
            raise_cost(&engine, user_id, &phc, password).await
        } else {
            account::note_failure(&engine, user_id, origin).await
        };
        if let Err(error) = followed {
            error.log_if_ours();
        }
    });
    Ok(right.then_some(checked))
}

/// Hashes a right password again if it was cheaper to hash than it is by now.
async fn raise_cost(engine: &Engine, user_id: UserId, phc: &str, password: Zeroizing<String>) -> Result<(), Error> {
    if !engine.passwords().is_cheap(phc) {
        return Ok(());
    }
    let dearer = engine.passwords().hash(password).await?;
    sql::replace_phc(engine, user_id, phc, &dearer).await
}

/// The same tenant, once the person who calls has given their password again: what is dangerous asks for that.
///
/// # Errors
/// `Invalid` on `password`; `Unauthenticated` for anybody but a member; `TooMany`; `Unavailable`.
pub async fn confirm(tenant: Tenant, password: Zeroizing<String>) -> Result<Tenant, Error> {
    // Nothing is no try: the field may have been left out.
    if !password.is_empty() {
        confirm_password(&tenant.engine, &tenant.caller, password).await?;
        return Ok(tenant.into_confirmed());
    }
    tenant.require_confirmed()?;
    Ok(tenant)
}

/// Asks for the password of whoever is signed in once more.
async fn confirm_password(engine: &Engine, caller: &Caller, password: Zeroizing<String>) -> Result<(), Error> {
    let (Some(email), Some(user_id)) = (caller.email(), caller.user_id()) else { return Err(Error::Unauthenticated) };
    let email = EmailAddress::parse(email).map_err(Error::internal)?.normalized();
    // Tries of each session's own: whoever is signed in is not kept from what is urgent by others who fail to.
    let tries = match &caller.identity {
        Identity::Member { session: Some(session), .. } => format!("session {session}"),
        _ => format!("signed in {user_id}"),
    };
    match check_password(engine, Some(&email), password, Some(&tries), &caller.origin).await {
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
