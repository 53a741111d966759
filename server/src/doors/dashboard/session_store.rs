//! tower-sessions' store over the engine's `sessions`. It keeps nothing itself; ids are hashed before they are stored.

use async_trait::async_trait;
use tower_sessions::SessionStore;
use tower_sessions::cookie::time::OffsetDateTime;
use tower_sessions::session::{Id, Record};
use tower_sessions::session_store::{Error, Result};
use tronch_core::{Timestamp, UserId};
use tronch_engine::Engine;
use tronch_engine::sessions::{self, SessionOrigin, SessionRow};

/// The session value that says who signed in.
pub(crate) const USER_ID: &str = "user_id";

/// Those that say where.
pub(crate) const USER_AGENT: &str = "user_agent";
pub(crate) const ADDRESS: &str = "address";

/// Attempts at a free id; 128 random bits make a second one unheard of.
const CREATE_ATTEMPTS: usize = 3;

#[derive(Clone)]
pub(crate) struct EngineStore(pub(crate) Engine);

impl std::fmt::Debug for EngineStore {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("EngineStore")
    }
}

/// The bytes the engine knows a session by.
pub(crate) fn session_bytes(id: Id) -> [u8; 16] {
    id.0.to_le_bytes()
}

fn backend(error: impl std::fmt::Display) -> Error {
    Error::Backend(error.to_string())
}

fn user_id(record: &Record) -> Result<Option<UserId>> {
    let Some(value) = record.data.get(USER_ID) else { return Ok(None) };
    serde_json::from_value(value.clone()).map(Some).map_err(|error| Error::Decode(error.to_string()))
}

fn origin(record: &Record) -> SessionOrigin {
    let text = |name| record.data.get(name).and_then(|value| value.as_str()).map(ToOwned::to_owned);
    SessionOrigin { user_agent: text(USER_AGENT), address: text(ADDRESS) }
}

fn row(record: &Record) -> Result<SessionRow> {
    let data = serde_json::to_string(&record.data).map_err(|error| Error::Encode(error.to_string()))?;
    let expires_at = Timestamp::from_timestamp(record.expiry_date.unix_timestamp(), record.expiry_date.nanosecond())
        .ok_or_else(|| Error::Encode("the session's end is out of range".to_owned()))?;
    Ok(SessionRow { data, expires_at })
}

#[async_trait]
impl SessionStore for EngineStore {
    async fn create(&self, record: &mut Record) -> Result<()> {
        for _ in 0..CREATE_ATTEMPTS {
            let id = session_bytes(record.id);
            if sessions::create_session(&self.0, &id, user_id(record)?, &row(record)?, &origin(record))
                .await
                .map_err(backend)?
            {
                return Ok(());
            }
            record.id = Id::default();
        }
        Err(Error::Backend("no free session id was found".to_owned()))
    }

    async fn save(&self, record: &Record) -> Result<()> {
        let id = session_bytes(record.id);
        sessions::save_session(&self.0, &id, user_id(record)?, &row(record)?).await.map_err(backend)
    }

    async fn load(&self, session_id: &Id) -> Result<Option<Record>> {
        let Some(row) = sessions::load_session(&self.0, &session_bytes(*session_id)).await.map_err(backend)? else {
            return Ok(None);
        };
        let data = serde_json::from_str(&row.data).map_err(|error| Error::Decode(error.to_string()))?;
        let expiry_date = OffsetDateTime::from_unix_timestamp(row.expires_at.timestamp())
            .map_err(|error| Error::Decode(error.to_string()))?;
        Ok(Some(Record { id: *session_id, data, expiry_date }))
    }

    async fn delete(&self, session_id: &Id) -> Result<()> {
        sessions::end_session(&self.0, &session_bytes(*session_id)).await.map_err(backend)
    }
}
