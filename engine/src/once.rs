//! Idempotency: a write that is sent twice happens once. What was made is remembered by its id for a day, in the
//! transaction that made it; which status and shape the repeated answer has is the doors' business.

use std::ops::{Deref, DerefMut};

use chrono::TimeDelta;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use subtle::ConstantTimeEq as _;
use tronch_core::{ErrorCode, IdempotencyKey};
use uuid::Uuid;

use crate::Engine;
use crate::clock;
use crate::error::Error;
use crate::schema::idempotency_keys;
use crate::system;
use crate::tenancy::{Tenant, TenantTx};

/// How long a repeat is answered like the first.
const REMEMBERED_HOURS: i64 = 24;

/// A write as it was sent.
pub struct SentWrite<'a> {
    /// `api` or `dashboard`: the same word means two things at two doors.
    pub door: &'static str,
    /// Method and address.
    pub route: &'a str,
    /// The caller's word for it.
    pub key: &'a IdempotencyKey,
    /// The body, byte for byte.
    pub body: &'a [u8],
}

/// What a [`Tenant`] knows of the write it was entered for.
#[derive(Clone)]
pub(crate) struct Once {
    key_mac: [u8; 32],
    body_mac: [u8; 32],
    /// What the same write made before.
    earlier: Option<Uuid>,
}

impl Tenant {
    /// The same tenant, in which the write that follows happens once however often it is sent.
    ///
    /// # Errors
    /// `Conflict` with `idempotency_key_reused` when the word stands for another body; `Unavailable`.
    pub async fn once(self, sent: &SentWrite<'_>) -> Result<Self, Error> {
        let actor = self.caller.actor();
        let tenant_id = self.id.uuid();
        let parts = [
            sent.door.as_bytes(),
            actor.kind.as_bytes(),
            actor.id.as_bytes(),
            tenant_id.as_bytes(),
            sent.route.as_bytes(),
            sent.key.as_str().as_bytes(),
        ];
        let mut key = Vec::new();
        for part in parts {
            // With their lengths, so that no two lists of parts are the same bytes.
            key.extend_from_slice(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            key.extend_from_slice(part);
        }
        let keyring = self.engine.keyring();
        let key_mac = keyring.fingerprint("idempotency key", &key);
        let body_mac = keyring.fingerprint("idempotent body", sent.body);
        let mut transaction = self.begin().await?;
        let found = find(&mut transaction, &key_mac).await?;
        transaction.commit().await?;
        let earlier = match found {
            None => None,
            Some((before, result_id)) if bool::from(before.as_slice().ct_eq(&body_mac)) => Some(result_id),
            Some(_) => {
                return Err(Error::Conflict {
                    code: ErrorCode::IdempotencyKeyReused,
                    message: "this idempotency key was sent with another body before; use a fresh one".to_owned(),
                    field: Some("Idempotency-Key"),
                });
            }
        };
        Ok(self.with_once(Once { key_mac, body_mac, earlier }))
    }

    /// Whether the write was done before, so that verbs answer with what it made.
    pub fn repeats(&self) -> bool {
        self.earlier().is_some()
    }

    /// What the same write made before.
    pub(crate) fn earlier(&self) -> Option<Uuid> {
        self.once_of().and_then(|once| once.earlier)
    }

    /// Begins the transaction of a change.
    pub(crate) async fn begin_change(&self) -> Result<ChangeTx, Error> {
        let mut transaction = self.begin().await?;
        let once = self.once_of().cloned();
        if let Some(once) = &once {
            once.claim(&mut transaction).await?;
        }
        Ok(ChangeTx { transaction, once, engine: self.engine.clone() })
    }
}

/// A transaction that changes something. It is committed with the id of what came of it.
pub(crate) struct ChangeTx {
    transaction: TenantTx,
    once: Option<Once>,
    engine: Engine,
}

impl ChangeTx {
    pub(crate) async fn commit(mut self, result_id: Uuid) -> Result<(), Error> {
        if let Some(once) = &self.once {
            once.remember(&mut self.transaction, result_id).await?;
        }
        self.transaction.commit().await?;
        // Whoever is told that it was done may ask this process about it right away.
        self.engine.catch_up().await;
        Ok(())
    }
}

impl Deref for ChangeTx {
    type Target = TenantTx;

    fn deref(&self) -> &TenantTx {
        &self.transaction
    }
}

impl DerefMut for ChangeTx {
    fn deref_mut(&mut self) -> &mut TenantTx {
        &mut self.transaction
    }
}

diesel::define_sql_function! {
    /// Postgres's own: whether the lock was free. It ends with the transaction, and with the process that holds it.
    fn pg_try_advisory_xact_lock(key: diesel::sql_types::BigInt) -> diesel::sql_types::Bool;
}

impl Once {
    /// Holds the word until the transaction ends. Whoever comes second waits for nothing and is told to ask again.
    async fn claim(&self, transaction: &mut TenantTx) -> Result<(), Error> {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&self.key_mac[..8]);
        let free: bool =
            transaction.call(pg_try_advisory_xact_lock(i64::from_be_bytes(bytes))).get_result(transaction).await?;
        // The first may have committed since the tenant was entered.
        if free && find(transaction, &self.key_mac).await?.is_none() {
            return Ok(());
        }
        Err(Error::Conflict {
            code: ErrorCode::IdempotencyInProgress,
            message: "the same request is being done right now; send it again in a moment to get its answer".to_owned(),
            field: None,
        })
    }

    /// This leaves `Scoped` because it has no word for ON CONFLICT.
    async fn remember(&self, transaction: &mut TenantTx, result_id: Uuid) -> Result<(), Error> {
        let until = clock::now() + TimeDelta::hours(REMEMBERED_HOURS);
        let values = (
            idempotency_keys::body_mac.eq(self.body_mac.as_slice()),
            idempotency_keys::result_id.eq(result_id),
            idempotency_keys::expires_at.eq(until),
        );
        // What is in the way is past its time: `claim` has looked.
        diesel::insert_into(idempotency_keys::table)
            .values((
                idempotency_keys::tenant_id.eq(transaction.tenant_id()),
                idempotency_keys::key_mac.eq(self.key_mac.as_slice()),
                values,
            ))
            .on_conflict((idempotency_keys::tenant_id, idempotency_keys::key_mac))
            .do_update()
            .set(values)
            .execute(transaction.unscoped())
            .await?;
        Ok(())
    }
}

async fn find(transaction: &mut TenantTx, key_mac: &[u8; 32]) -> Result<Option<(Vec<u8>, Uuid)>, Error> {
    Ok(transaction
        .of(idempotency_keys::table)
        .filter(idempotency_keys::key_mac.eq(key_mac.as_slice()))
        .filter(idempotency_keys::expires_at.gt(clock::now()))
        .select((idempotency_keys::body_mac, idempotency_keys::result_id))
        .first(transaction)
        .await
        .optional()?)
}

/// Forgets the writes whose day is over. Returns how many.
///
/// This crosses tenants because time ends them all alike.
///
/// # Errors
/// `Unavailable` when Postgres is.
pub async fn forget_old_writes(engine: &Engine) -> Result<usize, Error> {
    let mut connection = engine.db().system().await?;
    system::delete_in_portions(&mut connection, "idempotency_keys", "expires_at <= now()").await
}
