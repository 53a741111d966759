//! Another password for somebody who forgot theirs: by a link that is mailed to the account's address, once, within an hour. Asking says
//! nothing about whether there is such an account, and takes as long.

use std::net::IpAddr;

use chrono::TimeDelta;
use diesel::prelude::*;
use diesel_async::{AsyncConnection as _, RunQueryDsl};
use tronch_core::{EmailAddress, Timestamp, UserId};
use uuid::Uuid;

use super::account::{end_links, tell};
use super::known::remember_browser;
use super::{LinkToken, Password};
use crate::Engine;
use crate::caller::{Caller, Identity, Origin};
use crate::clock;
use crate::error::Error;
use crate::schema::{password_resets, sessions, users};
use crate::system;

/// How long a link can be used.
const OPEN_HOURS: i64 = 1;

const OVER: Error = Error::ResetOver;

/// Asks for a link.
///
/// # Errors
/// `TooMany` after too many for one account or from one address; `Unavailable`, where nobody can be mailed as well.
pub async fn ask_for_reset(engine: &Engine, email: &EmailAddress, address: Option<IpAddr>) -> Result<(), Error> {
    if !engine.sends_mail() {
        return Err(Error::Unavailable { what: "a mail server", source: None });
    }
    engine.own_limits().charge_mail(&email.normalized(), address)?;
    let now = clock::now();
    let mut connection = engine.db().system().await?;
    diesel::insert_into(password_resets::table)
        .values((
            password_resets::id.eq(Uuid::from_bytes(crate::random::bytes()?)),
            password_resets::email_normalized.eq(email.normalized()),
            password_resets::created_at.eq(now),
            password_resets::expires_at.eq(now + TimeDelta::hours(OPEN_HOURS)),
            password_resets::mail_due_at.eq(now),
        ))
        .execute(&mut connection)
        .await?;
    Ok(())
}

/// Whether a link can be used.
///
/// # Errors
/// `ResetOver` for one that cannot, whyever; `TooMany` after too many wrong ones from one address; `Unavailable`.
pub async fn look_at_reset(engine: &Engine, token: &str, address: Option<IpAddr>) -> Result<(), Error> {
    look(engine, token, address).await.map(drop)
}

/// Whose it is: their address.
async fn look(engine: &Engine, token: &str, address: Option<IpAddr>) -> Result<String, Error> {
    let tries = engine.own_limits().begin_try(None, address)?;
    let found = find(engine, token).await?;
    if found.is_some() {
        tries.give_back();
    }
    found.ok_or(OVER)
}

/// Uses a link: sets the password, ends all sessions and every other link of the account. Whoever does so signs in then. Gives what the
/// browser is to keep: somebody who reads the account's mail is not kept out by others who try its passwords.
///
/// # Errors
/// `ResetOver`; `TooMany`; `Unavailable`.
pub async fn reset_by_link(engine: &Engine, token: &str, password: Password, origin: Origin) -> Result<String, Error> {
    let address = look(engine, token, origin.address).await?;
    let phc = engine.passwords().hash(password.avoiding(&[&address])?.into_inner()).await?;
    let hash = LinkToken::hash_of(engine, "password reset", token);
    let mut connection = engine.db().system().await?;
    connection
        .transaction::<(), Error, _>(async |connection| {
            // Of two who use one link, the second finds it used.
            let open = password_resets::table
                .filter(password_resets::token_hash.eq(&hash))
                .filter(password_resets::used_at.is_null())
                .filter(password_resets::expires_at.gt(clock::now()));
            let address: Option<String> = diesel::update(open)
                .set(password_resets::used_at.eq(clock::now()))
                .returning(password_resets::email_normalized)
                .get_result(connection)
                .await
                .optional()?;
            let address = address.ok_or(OVER)?;
            let person: Option<(Uuid, String, String)> = users::table
                .filter(users::email_normalized.eq(&address))
                .select((users::id, users::name, users::email))
                .for_update()
                .first(connection)
                .await
                .optional()?;
            let (id, name, email) = person.ok_or(OVER)?;
            let changed = (
                users::password_phc.eq(phc),
                users::password_changed_at.eq(clock::now()),
                users::failed_sign_ins.eq(0),
                users::last_failed_at.eq(None::<Timestamp>),
            );
            diesel::update(users::table.find(id)).set(changed).execute(connection).await?;
            diesel::delete(sessions::table.filter(sessions::user_id.eq(id))).execute(connection).await?;
            end_links(connection, &address).await?;
            let identity = Identity::Member { user_id: UserId::from_uuid(id), name, email, session: None };
            tell(connection, &Caller { identity, origin }, "reset_password", None).await
        })
        .await?;
    remember_browser(engine, &address)
}

/// Removes links that nobody can use any more. Returns how many.
///
/// # Errors
/// `Unavailable` when Postgres is.
pub async fn forget_old_resets(engine: &Engine) -> Result<usize, Error> {
    let mut connection = engine.db().system().await?;
    system::delete_in_portions(&mut connection, "password_resets", "expires_at <= now() - interval '1 day'").await
}

async fn find(engine: &Engine, token: &str) -> Result<Option<String>, Error> {
    let mut connection = engine.db().system().await?;
    let address = password_resets::table
        .filter(password_resets::token_hash.eq(LinkToken::hash_of(engine, "password reset", token)))
        .filter(password_resets::used_at.is_null())
        .filter(password_resets::expires_at.gt(clock::now()))
        .select(password_resets::email_normalized)
        .first(&mut connection)
        .await;
    Ok(address.optional()?)
}
