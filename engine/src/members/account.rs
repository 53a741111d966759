//! A person's own account: another password, further tenants, and what their tenants' logs are told of them.

use diesel::prelude::*;
use diesel_async::{AsyncConnection as _, AsyncPgConnection, RunQueryDsl};
use serde_json::{Value, json};
use tronch_core::{Timestamp, UserId};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::{Password, ShownPassword};
use crate::Engine;
use crate::audit::{self, Change};
use crate::caller::{Actor, Caller, Identity, Origin};
use crate::clock;
use crate::error::Error;
use crate::schema::{memberships, password_resets, sessions, users};

/// Gives the caller another password, for the one they have, and ends all their other sessions. Gives how many.
///
/// # Errors
/// `Unauthenticated` for anybody but a member; `Invalid` on `password` or `new_password`; `TooMany`; `Unavailable`.
pub async fn change_password(
    engine: &Engine,
    caller: &Caller,
    current: Zeroizing<String>,
    new: Password,
) -> Result<usize, Error> {
    let Identity::Member { user_id, session, .. } = &caller.identity else { return Err(Error::Unauthenticated) };
    let changed_at: Timestamp = {
        let mut connection = engine.db().system().await?;
        users::table.find(user_id.uuid()).select(users::password_changed_at).first(&mut connection).await?
    };
    super::confirm_password(engine, caller, current).await?;
    let phc = engine.passwords().hash(new.into_inner()).await?;
    let this = session.map(tronch_core::SessionId::uuid).unwrap_or_default();
    let mut connection = engine.db().system().await?;
    let ended = connection
        .transaction::<usize, Error, _>(async |connection| {
            // Whoever chose another meanwhile, by a link, has ended what began with the one that was confirmed.
            let as_confirmed = users::table.find(user_id.uuid()).filter(users::password_changed_at.eq(changed_at));
            let email: Option<String> = diesel::update(as_confirmed)
                .set((users::password_phc.eq(phc), users::password_changed_at.eq(clock::now())))
                .returning(users::email_normalized)
                .get_result(connection)
                .await
                .optional()?;
            let email = email.ok_or(Error::Unauthenticated)?;
            end_links(connection, &email).await?;
            let others = sessions::table.filter(sessions::user_id.eq(user_id.uuid())).filter(sessions::id.ne(this));
            let ended = diesel::delete(others).execute(connection).await?;
            tell(connection, caller, "change_password", None).await?;
            Ok(ended)
        })
        .await?;
    Ok(ended)
}

/// Ends every open link to another password of an account.
pub(super) async fn end_links(connection: &mut AsyncPgConnection, email_normalized: &str) -> Result<(), Error> {
    let open = password_resets::table
        .filter(password_resets::email_normalized.eq(email_normalized))
        .filter(password_resets::used_at.is_null());
    diesel::update(open)
        .set((password_resets::used_at.eq(clock::now()), password_resets::mail_due_at.eq(None::<Timestamp>)))
        .execute(connection)
        .await?;
    Ok(())
}

/// Tells the log of each of the caller's tenants that they ended so many of their own sessions.
pub(crate) async fn tell_ended_sessions(
    connection: &mut AsyncPgConnection,
    caller: &Caller,
    count: usize,
) -> Result<(), Error> {
    tell(connection, caller, "end_session", Some(json!({ "sessions": count }))).await
}

/// This crosses tenants because a person is the same in all of theirs.
pub(super) async fn tell(
    connection: &mut AsyncPgConnection,
    caller: &Caller,
    action: &'static str,
    after: Option<Value>,
) -> Result<(), Error> {
    tell_of(connection, caller, caller.actor(), action, after).await
}

/// This crosses tenants because a person is the same in all of theirs.
async fn tell_of(
    connection: &mut AsyncPgConnection,
    caller: &Caller,
    actor: Actor,
    action: &'static str,
    after: Option<Value>,
) -> Result<(), Error> {
    let Identity::Member { user_id, email, .. } = &caller.identity else { return Ok(()) };
    let tenants: Vec<Uuid> = memberships::table
        .filter(memberships::user_id.eq(user_id.uuid()))
        .select(memberships::tenant_id)
        .order(memberships::tenant_id)
        .load(connection)
        .await?;
    for tenant_id in tenants {
        let change = Change {
            action,
            target_kind: "member",
            target_id: user_id.to_string(),
            target_name: email,
            before: None,
            after: after.clone(),
            reason: None,
        };
        audit::record_by(tenant_id, connection, (actor.clone(), &caller.origin), change).await?;
    }
    Ok(())
}

/// What is known of wrong passwords when the right one comes.
pub struct FailedSignIns {
    /// How many since the last right one.
    pub count: u64,
    /// When the last was.
    pub last_at: Option<Timestamp>,
}

/// Tells the tenants of somebody who signed in, and forgets the wrong tries before.
pub(super) async fn note_sign_in(
    engine: &Engine,
    shown: &ShownPassword,
    origin: Origin,
) -> Result<FailedSignIns, Error> {
    let user_id = shown.user_id;
    let mut connection = engine.db().system().await?;
    let noted = connection.transaction::<FailedSignIns, Error, _>(async |connection| {
        let caller = caller_of(connection, user_id, origin).await?;
        let found: Option<(i64, Option<Timestamp>)> = users::table
            .find(user_id.uuid())
            .filter(users::password_changed_at.eq(shown.changed_at))
            .select((users::failed_sign_ins, users::last_failed_at))
            .for_update()
            .first(connection)
            .await
            .optional()?;
        let (failed, last_at) = found.ok_or(Error::SignInFailed)?;
        if failed > 0 {
            let none = (users::failed_sign_ins.eq(0), users::last_failed_at.eq(None::<Timestamp>));
            diesel::update(users::table.find(user_id.uuid())).set(none).execute(connection).await?;
        }
        tell(connection, &caller, "sign_in", Some(json!({ "failed_before": failed }))).await?;
        Ok(FailedSignIns { count: failed.unsigned_abs(), last_at })
    });
    noted.await
}

/// Counts a wrong password. The log is told of the first, the tenth, the hundredth: whoever tries does not fill it.
pub(super) async fn note_failure(engine: &Engine, user_id: UserId, origin: Origin) -> Result<(), Error> {
    let mut connection = engine.db().system().await?;
    let noted = connection.transaction::<(), Error, _>(async |connection| {
        let more = (users::failed_sign_ins.eq(users::failed_sign_ins + 1), users::last_failed_at.eq(clock::now()));
        let failed: i64 = diesel::update(users::table.find(user_id.uuid()))
            .set(more)
            .returning(users::failed_sign_ins)
            .get_result(connection)
            .await?;
        if is_power_of_ten(failed) {
            let (caller, after) = (caller_of(connection, user_id, origin).await?, Some(json!({ "failed": failed })));
            // Whoever has not the password is nobody that is known.
            let nobody = Actor { kind: "member", id: "unknown".to_owned(), name: "Somebody".to_owned() };
            tell_of(connection, &caller, nobody, "sign_in_failed", after).await?;
        }
        Ok(())
    });
    noted.await
}

fn is_power_of_ten(count: i64) -> bool {
    let mut power = 1;
    while power < count {
        power *= 10;
    }
    power == count
}

/// Whoever it is, as their tenants' logs know them.
async fn caller_of(connection: &mut AsyncPgConnection, user_id: UserId, origin: Origin) -> Result<Caller, Error> {
    let (name, email): (String, String) =
        users::table.find(user_id.uuid()).select((users::name, users::email)).first(connection).await?;
    Ok(Caller { identity: Identity::Member { user_id, name, email, session: None }, origin })
}

#[cfg(test)]
mod tests {
    use super::is_power_of_ten;

    #[test]
    fn the_log_is_told_of_ever_fewer() {
        let told: Vec<i64> = (1..=1_000).filter(|count| is_power_of_ten(*count)).collect();
        assert_eq!(told, [1, 10, 100, 1_000]);
    }
}
