//! Making credentials: the only place where a whole key or token comes to be. It leaves as `SecretOnce`, and nothing here
//! keeps it.

use chrono::SubsecRound as _;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use tronch_core::{CredentialKind, Handle, KeyDraft, SecretOnce, TenantId, Timestamp};
use zeroize::Zeroizing;

use crate::Engine;
use crate::clock;
use crate::error::Error;
use crate::keyring::{Tag, TagKeyId, TagLabel};
use crate::schema::{key_handles, service_token_handles};

/// Tries at a free handle. One millisecond has 238 328 of them.
const RESERVE_ATTEMPTS: usize = 8;

/// A new credential and everything that is stored of it.
pub(crate) struct Minted {
    pub(crate) handle: Handle,
    /// T of the text, which is when it was made.
    pub(crate) created_at: Timestamp,
    pub(crate) kdf_phc: String,
    pub(crate) tag: Tag,
    pub(crate) tag_key: TagKeyId,
    pub(crate) secret: SecretOnce,
}

/// Makes a credential: the handle is reserved first, only then is anything computed.
///
/// # Errors
/// `Unavailable` when Postgres, the hashing queue or the clock cannot be used.
pub(crate) async fn mint(engine: &Engine, kind: CredentialKind, tenant_id: TenantId) -> Result<Minted, Error> {
    mint_of(engine, kind, tenant_id, clock::now()).await
}

/// The same of a time that has been, which stands in its text: for keys that only look old.
///
/// # Errors
/// As [`mint`].
pub(crate) async fn mint_of(
    engine: &Engine,
    kind: CredentialKind,
    tenant_id: TenantId,
    created_at: Timestamp,
) -> Result<Minted, Error> {
    let (draft, created_at) = reserve(engine, kind, created_at).await?;
    let handle = draft.handle();
    let gate_value = engine.keyring().gate_value(draft.gate_input());
    let text = Zeroizing::new(draft.finish(gate_value));
    let label = match kind {
        CredentialKind::Key(_) => TagLabel::Key,
        CredentialKind::ServiceToken => TagLabel::Token,
    };
    let (tag_key, tag) = engine.keyring().tag(label, tenant_id, &text)?;
    let kdf_phc = engine.credentials().hash(text.clone()).await?;
    Ok(Minted { handle, created_at, kdf_phc, tag, tag_key, secret: SecretOnce::new(text.to_string()) })
}

/// A credential of random digits, not yet reserved, and its time to the millisecond, as the text has it.
pub(crate) fn draft(kind: CredentialKind, created_at: Timestamp) -> Result<(KeyDraft, Timestamp), Error> {
    let wrong_clock = || Error::Unavailable { what: "a clock set to the present", source: None };
    let created_at = created_at.trunc_subsecs(3);
    let created_ms = u64::try_from(created_at.timestamp_millis()).map_err(|_| wrong_clock())?;
    let draft = KeyDraft::new(kind, created_ms, crate::random::base62_digits()?, crate::random::base62_digits()?)
        .map_err(|_| wrong_clock())?;
    Ok((draft, created_at))
}

async fn reserve(engine: &Engine, kind: CredentialKind, created_at: Timestamp) -> Result<(KeyDraft, Timestamp), Error> {
    let mut connection = engine.db().system().await?;
    for _ in 0..RESERVE_ATTEMPTS {
        let (draft, created_at) = draft(kind, created_at)?;
        let handle = draft.handle();
        let reserved = match kind {
            CredentialKind::Key(_) => {
                diesel::insert_into(key_handles::table)
                    .values(key_handles::handle.eq(handle.as_str()))
                    .on_conflict_do_nothing()
                    .execute(&mut connection)
                    .await?
            }
            CredentialKind::ServiceToken => {
                diesel::insert_into(service_token_handles::table)
                    .values(service_token_handles::handle.eq(handle.as_str()))
                    .on_conflict_do_nothing()
                    .execute(&mut connection)
                    .await?
            }
        };
        if reserved == 1 {
            return Ok((draft, created_at));
        }
    }
    Err(Error::Unavailable { what: "a free handle", source: None })
}
