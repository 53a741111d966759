//! Browser sessions and who stands behind them. Cookies and their rules belong to the doors.

mod list;

use chrono::TimeDelta;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use tronch_core::{SessionId, Timestamp, UserId};
use uuid::Uuid;

use crate::Engine;
use crate::caller::{Caller, Identity, Origin};
use crate::clock;
use crate::error::Error;
use crate::schema::{sessions, users};
use crate::system;

pub use list::{end_my_other_sessions, end_my_session, my_sessions};

/// A stored session: the door's data as JSON text, and when it ends.
pub struct SessionRow {
    /// What the door keeps between requests.
    pub data: String,
    /// Exclusive end.
    pub expires_at: Timestamp,
}

/// Where a session was begun, for the list of them.
#[derive(Debug, Clone, Default)]
pub struct SessionOrigin {
    /// The browser's own words about itself.
    pub user_agent: Option<String>,
    /// The client's address.
    pub address: Option<String>,
}

/// A session that nobody used for so long has ended.
const IDLE_HOURS: i64 = 24;

/// How far the time of last use may lag behind.
const LAST_USED_STEP: TimeDelta = TimeDelta::minutes(1);

fn id_hash(engine: &Engine, session_id: &[u8; 16]) -> Vec<u8> {
    engine.keyring().fingerprint("session", session_id).to_vec()
}

/// Inserts a new session; `false` when the id is taken already.
///
/// # Errors
/// `Unavailable` when Postgres is.
pub async fn create_session(
    engine: &Engine,
    session_id: &[u8; 16],
    user_id: Option<UserId>,
    row: &SessionRow,
    origin: &SessionOrigin,
) -> Result<bool, Error> {
    let mut connection = engine.db().system().await?;
    let inserted = diesel::insert_into(sessions::table)
        .values((
            sessions::id_hash.eq(id_hash(engine, session_id)),
            sessions::user_id.eq(user_id.map(|id| id.uuid())),
            sessions::data.eq(&row.data),
            sessions::expires_at.eq(row.expires_at),
            sessions::user_agent.eq(&origin.user_agent),
            sessions::address.eq(&origin.address),
            sessions::last_used_at.eq(clock::now()),
        ))
        .on_conflict_do_nothing()
        .execute(&mut connection)
        .await?;
    Ok(inserted == 1)
}

/// Updates a session that exists; one that was ended meanwhile stays ended.
///
/// # Errors
/// `Unavailable` when Postgres is.
pub async fn save_session(
    engine: &Engine,
    session_id: &[u8; 16],
    user_id: Option<UserId>,
    row: &SessionRow,
) -> Result<(), Error> {
    let mut connection = engine.db().system().await?;
    diesel::update(sessions::table.find(id_hash(engine, session_id)))
        .set((
            sessions::user_id.eq(user_id.map(|id| id.uuid())),
            sessions::data.eq(&row.data),
            sessions::expires_at.eq(row.expires_at),
        ))
        .execute(&mut connection)
        .await?;
    Ok(())
}

/// Gives a session another id, and another end. `false` where there is none of that id: it was ended, or has another already. Whoever ends
/// sessions in that moment ends it under either.
///
/// # Errors
/// `Unavailable` when Postgres is.
pub async fn renew_session(
    engine: &Engine,
    session_id: &[u8; 16],
    next_id: &[u8; 16],
    expires_at: Timestamp,
) -> Result<bool, Error> {
    let mut connection = engine.db().system().await?;
    let renewed = diesel::update(sessions::table.find(id_hash(engine, session_id)))
        .set((sessions::id_hash.eq(id_hash(engine, next_id)), sessions::expires_at.eq(expires_at)))
        .execute(&mut connection)
        .await?;
    Ok(renewed == 1)
}

/// The session, unless it has ended.
///
/// # Errors
/// `Unavailable` when Postgres is.
pub async fn load_session(engine: &Engine, session_id: &[u8; 16]) -> Result<Option<SessionRow>, Error> {
    let mut connection = engine.db().system().await?;
    let row: Option<(String, Timestamp)> = sessions::table
        .find(id_hash(engine, session_id))
        .filter(sessions::expires_at.gt(clock::now()))
        .filter(sessions::last_used_at.gt(clock::now() - TimeDelta::hours(IDLE_HOURS)))
        .select((sessions::data, sessions::expires_at))
        .first(&mut connection)
        .await
        .optional()?;
    Ok(row.map(|(data, expires_at)| SessionRow { data, expires_at }))
}

/// Ends a session; ending one twice is fine.
///
/// # Errors
/// `Unavailable` when Postgres is.
pub async fn end_session(engine: &Engine, session_id: &[u8; 16]) -> Result<(), Error> {
    let mut connection = engine.db().system().await?;
    diesel::delete(sessions::table.find(id_hash(engine, session_id))).execute(&mut connection).await?;
    Ok(())
}

/// Removes rows whose end is past. Returns how many.
///
/// # Errors
/// `Unavailable` when Postgres is.
pub async fn delete_expired_sessions(engine: &Engine) -> Result<usize, Error> {
    let mut connection = engine.db().system().await?;
    system::delete_in_portions(
        &mut connection,
        "sessions",
        "expires_at <= now() OR last_used_at <= now() - interval '24 hours'",
    )
    .await
}

/// The member behind a session, or `Unauthenticated`.
///
/// # Errors
/// `Unauthenticated` when the session is unknown, has ended, or nobody signed in with it; `Unavailable` when Postgres is.
pub async fn session_caller(engine: &Engine, session_id: &[u8; 16], origin: Origin) -> Result<Caller, Error> {
    let mut connection = engine.db().system().await?;
    let (hash, now) = (id_hash(engine, session_id), clock::now());
    let row: Option<(Uuid, String, String, Uuid, Timestamp)> = sessions::table
        .inner_join(users::table.on(sessions::user_id.eq(users::id.nullable())))
        .filter(sessions::id_hash.eq(&hash))
        .filter(sessions::expires_at.gt(now))
        .filter(sessions::last_used_at.gt(now - TimeDelta::hours(IDLE_HOURS)))
        .select((users::id, users::name, users::email, sessions::id, sessions::last_used_at))
        .first(&mut connection)
        .await
        .optional()?;
    let (user_id, name, email, session, last_used_at) = row.ok_or(Error::Unauthenticated)?;
    if now - last_used_at >= LAST_USED_STEP {
        let used = diesel::update(sessions::table.find(&hash)).set(sessions::last_used_at.eq(now));
        used.execute(&mut connection).await?;
    }
    let session = Some(SessionId::from_uuid(session));
    Ok(Caller { identity: Identity::Member { user_id: UserId::from_uuid(user_id), name, email, session }, origin })
}
