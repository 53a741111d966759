//! Mails that wait. A link is made in the moment in which its mail is: none lies in the database, and a mail that is sent again brings
//! another.

use chrono::TimeDelta;
use diesel::prelude::*;
use diesel_async::{AsyncConnection as _, RunQueryDsl};
use tronch_core::Timestamp;
use uuid::Uuid;

use super::{Letter, Mailer};
use crate::Engine;
use crate::clock;
use crate::error::Error;
use crate::members::LinkToken;
use crate::schema::{invitations, password_resets, tenants, users};

/// For how long whoever sends has a mail to himself.
const CLAIMED: TimeDelta = TimeDelta::minutes(2);

/// Mails that are sent in one go.
const AT_ONCE: usize = 20;

/// Of what a server said, so much is kept.
const ERROR_CHARACTERS: usize = 200;

/// Sends what is due. Gives how many were sent.
///
/// # Errors
/// `Unavailable` when Postgres is. What the mail server does not take is tried again.
pub async fn send_due_mails(engine: &Engine) -> Result<usize, Error> {
    let Some(mailer) = engine.mailer() else { return Ok(0) };
    let mut sent = 0;
    for _ in 0..AT_ONCE {
        let was_sent = match send_invitation(engine, mailer).await? {
            None => send_reset(engine, mailer).await?,
            some => some,
        };
        match was_sent {
            None => break,
            Some(was_sent) => sent += usize::from(was_sent),
        }
    }
    Ok(sent)
}

/// When a mail that was refused so often is tried again.
fn again_after(attempts: i32) -> TimeDelta {
    match attempts {
        ..=1 => TimeDelta::seconds(10),
        2 => TimeDelta::minutes(1),
        3 => TimeDelta::minutes(5),
        _ => TimeDelta::minutes(30),
    }
}

fn cut(error: &str) -> String {
    error.chars().filter(|one| !one.is_control()).take(ERROR_CHARACTERS).collect()
}

/// Nothing where none is due, else whether it was sent.
///
/// This crosses tenants because mail of all of them waits in one row.
async fn send_invitation(engine: &Engine, mailer: &Mailer) -> Result<Option<bool>, Error> {
    let (now, token) = (clock::now(), LinkToken::generate()?);
    let hash = token.hash(engine, "invitation");
    let mut connection = engine.db().system().await?;
    let claimed = connection
        .transaction::<_, Error, _>(async |connection| {
            let id: Option<Uuid> = invitations::table
                .filter(invitations::mail_due_at.le(now))
                .filter(invitations::accepted_at.is_null())
                .filter(invitations::revoked_at.is_null())
                .filter(invitations::expires_at.gt(now))
                .filter(
                    invitations::tenant_id
                        .eq_any(tenants::table.filter(tenants::deleted_at.is_null()).select(tenants::id)),
                )
                .order(invitations::mail_due_at)
                .select(invitations::id)
                .for_update()
                .skip_locked()
                .first(connection)
                .await
                .optional()?;
            let Some(id) = id else { return Ok(None) };
            let claim = (
                invitations::token_hash.eq(&hash),
                invitations::mail_due_at.eq(now + CLAIMED),
                invitations::mail_attempts.eq(invitations::mail_attempts + 1),
            );
            let row: (String, String, String, Uuid, i32) = diesel::update(invitations::table.find(id))
                .set(claim)
                .returning((
                    invitations::email,
                    invitations::role,
                    invitations::invited_by,
                    invitations::tenant_id,
                    invitations::mail_attempts,
                ))
                .get_result(connection)
                .await?;
            let tenant: String = tenants::table.find(row.3).select(tenants::name).first(connection).await?;
            Ok(Some((id, row, tenant)))
        })
        .await?;
    drop(connection);
    let Some((id, (email, role, invited_by, _, attempts), tenant)) = claimed else { return Ok(None) };
    let link = mailer.link(&format!("/invitations/{}", token.expose()));
    let letter = Letter {
        to: email,
        subject: format!("{invited_by} invites you to {tenant}"),
        text: format!(
            "{invited_by} invites you to {tenant} as {role}.\n\nJoin within a day:\n{link}\n\n\
             The link takes one person in, once. If you do not know what this is about, do nothing.\n"
        ),
    };
    let outcome = mailer.send(letter).await;
    let mut connection = engine.db().system().await?;
    // Unless it was invited anew meanwhile.
    let this = diesel::update(invitations::table.find(id).filter(invitations::token_hash.eq(&hash)));
    let (due_at, sent_at, error) = told_of("invitation", attempts, &outcome);
    let told = (
        invitations::mail_due_at.eq(due_at),
        sent_at.map(|at| invitations::mail_sent_at.eq(at)),
        invitations::mail_error.eq(error),
    );
    this.set(told).execute(&mut connection).await?;
    Ok(Some(outcome.is_ok()))
}

/// Nothing where none is due, else whether it was sent. To an address that is no account's nothing is.
async fn send_reset(engine: &Engine, mailer: &Mailer) -> Result<Option<bool>, Error> {
    let (now, token) = (clock::now(), LinkToken::generate()?);
    let hash = token.hash(engine, "password reset");
    let mut connection = engine.db().system().await?;
    let claimed = connection
        .transaction::<_, Error, _>(async |connection| {
            let id: Option<Uuid> = password_resets::table
                .filter(password_resets::mail_due_at.le(now))
                .filter(password_resets::used_at.is_null())
                .filter(password_resets::expires_at.gt(now))
                .order(password_resets::mail_due_at)
                .select(password_resets::id)
                .for_update()
                .skip_locked()
                .first(connection)
                .await
                .optional()?;
            let Some(id) = id else { return Ok(None) };
            let claim = (
                password_resets::token_hash.eq(&hash),
                password_resets::mail_due_at.eq(now + CLAIMED),
                password_resets::mail_attempts.eq(password_resets::mail_attempts + 1),
            );
            let (address, attempts): (String, i32) = diesel::update(password_resets::table.find(id))
                .set(claim)
                .returning((password_resets::email_normalized, password_resets::mail_attempts))
                .get_result(connection)
                .await?;
            let email: Option<String> = users::table
                .filter(users::email_normalized.eq(address))
                .select(users::email)
                .first(connection)
                .await
                .optional()?;
            if email.is_none() {
                diesel::delete(password_resets::table.find(id)).execute(connection).await?;
            }
            Ok(Some((id, email, attempts)))
        })
        .await?;
    drop(connection);
    let Some((id, email, attempts)) = claimed else { return Ok(None) };
    let Some(email) = email else { return Ok(Some(false)) };
    let link = mailer.link(&format!("/reset/{}", token.expose()));
    let letter = Letter {
        to: email,
        subject: "Another password for TRONCH".to_owned(),
        text: format!(
            "Somebody, hopefully you, asked for another password for your account.\n\nChoose one within an hour:\n{link}\n\n\
             The link works once. If it was not you, do nothing: your password is as it was.\n"
        ),
    };
    let outcome = mailer.send(letter).await;
    let mut connection = engine.db().system().await?;
    // Unless another process has sent a later link meanwhile.
    let this = diesel::update(password_resets::table.find(id).filter(password_resets::token_hash.eq(&hash)));
    let (due_at, sent_at, error) = told_of("password_reset", attempts, &outcome);
    let told = (
        password_resets::mail_due_at.eq(due_at),
        sent_at.map(|at| password_resets::mail_sent_at.eq(at)),
        password_resets::mail_error.eq(error),
    );
    this.set(told).execute(&mut connection).await?;
    Ok(Some(outcome.is_ok()))
}

/// What a mail's row is told of an attempt: when it is due again, when it was sent, what went wrong. Counts it, and logs what failed.
fn told_of(
    kind: &'static str,
    attempts: i32,
    outcome: &Result<(), String>,
) -> (Option<Timestamp>, Option<Timestamp>, Option<String>) {
    let now = clock::now();
    let (word, told) = match outcome {
        Ok(()) => ("sent", (None, Some(now), None)),
        Err(error) => {
            tracing::warn!(mail.kind = kind, mail.attempts = attempts, "a mail was not sent: {error}");
            ("failed", (Some(now + again_after(attempts)), None, Some(cut(error))))
        }
    };
    metrics::counter!("tronch_mails_total", "kind" => kind, "outcome" => word).increment(1);
    told
}
