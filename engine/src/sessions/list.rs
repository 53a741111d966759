//! A person's own sessions: where they are signed in, and ending them.

use chrono::TimeDelta;
use diesel::prelude::*;
use diesel_async::{AsyncConnection as _, RunQueryDsl};
use tronch_core::{SessionId, SessionView, Timestamp};
use uuid::Uuid;

use super::IDLE_HOURS;
use crate::Engine;
use crate::caller::{Caller, Identity};
use crate::clock;
use crate::error::Error;
use crate::members;
use crate::schema::sessions;

/// As many as a page can show.
const SHOWN_MAX: i64 = 200;

type Row = (Uuid, Option<String>, Option<String>, Timestamp, Timestamp);

/// Where the caller is signed in, the session used last first.
///
/// # Errors
/// `Unauthenticated` for anybody but a member; `Unavailable`.
pub async fn my_sessions(engine: &Engine, caller: &Caller) -> Result<Vec<SessionView>, Error> {
    let Identity::Member { user_id, session, .. } = &caller.identity else { return Err(Error::Unauthenticated) };
    let mut connection = engine.db().system().await?;
    let rows: Vec<Row> = sessions::table
        .filter(sessions::user_id.eq(user_id.uuid()))
        .filter(sessions::expires_at.gt(clock::now()))
        .filter(sessions::last_used_at.gt(clock::now() - TimeDelta::hours(IDLE_HOURS)))
        .order((sessions::last_used_at.desc(), sessions::id))
        .limit(SHOWN_MAX)
        .select((sessions::id, sessions::user_agent, sessions::address, sessions::created_at, sessions::last_used_at))
        .load(&mut connection)
        .await?;
    let view = |(id, user_agent, address, began_at, last_used_at): Row| {
        let id = SessionId::from_uuid(id);
        SessionView { id, user_agent, address, began_at, last_used_at, is_this: *session == Some(id) }
    };
    Ok(rows.into_iter().map(view).collect())
}

/// Ends one of the caller's sessions, on every node: each asks for the session with each request.
///
/// # Errors
/// `Unauthenticated` for anybody but a member; `NotFound` for one that is not the caller's; `Unavailable`.
pub async fn end_my_session(engine: &Engine, caller: &Caller, id: SessionId) -> Result<(), Error> {
    let Identity::Member { user_id, .. } = &caller.identity else { return Err(Error::Unauthenticated) };
    let mut connection = engine.db().system().await?;
    connection
        .transaction::<(), Error, _>(async |connection| {
            let own = sessions::table.filter(sessions::user_id.eq(user_id.uuid())).filter(sessions::id.eq(id.uuid()));
            match diesel::delete(own).execute(connection).await? {
                0 => Err(Error::NotFound { noun: "session" }),
                ended => members::tell_ended_sessions(connection, caller, ended).await,
            }
        })
        .await
}

/// Ends all of the caller's sessions but this one. Gives how many.
///
/// # Errors
/// `Unauthenticated` for anybody but a member; `Unavailable`.
pub async fn end_my_other_sessions(engine: &Engine, caller: &Caller) -> Result<usize, Error> {
    let Identity::Member { user_id, session, .. } = &caller.identity else { return Err(Error::Unauthenticated) };
    let mut connection = engine.db().system().await?;
    let this = session.map(SessionId::uuid).unwrap_or_default();
    connection
        .transaction::<usize, Error, _>(async |connection| {
            let others = sessions::table.filter(sessions::user_id.eq(user_id.uuid())).filter(sessions::id.ne(this));
            let ended = diesel::delete(others).execute(connection).await?;
            if ended > 0 {
                members::tell_ended_sessions(connection, caller, ended).await?;
            }
            Ok(ended)
        })
        .await
}
