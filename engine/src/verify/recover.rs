//! Keys whose tag nobody here can compute, because the master secret it was made with is lost: Argon2id proves them, once,
//! and they get a tag of the current one. Nothing else of a key is ever written by a validation.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use tronch_core::{Handle, TenantId};
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::Engine;
use crate::clock::Moment;
use crate::error::Error;
use crate::keyring::{Tag, TagKeyId, TagLabel};
use crate::schema::{keys, service_tokens};

/// Proofs of one tenant under way.
const PER_TENANT: usize = 2;

/// How long a secret that proved to be wrong is remembered, and how many are.
const WRONG_LASTS: Duration = Duration::from_secs(600);
const WRONG_MAX: usize = 10_000;

/// A credential whose tag is unknown here.
pub(super) struct Unproven<'a> {
    pub(super) label: TagLabel,
    pub(super) id: Uuid,
    pub(super) handle: Handle,
    pub(super) tenant_id: TenantId,
    pub(super) tag_key: TagKeyId,
    pub(super) text: &'a str,
}

/// What came of a proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Proof {
    /// It is the secret.
    Right,
    /// It is, and has a tag now: look again, for it took time.
    Proven,
    /// It is not.
    Wrong,
    /// Others are at it, or were a moment ago: look again.
    Busy,
}

/// Proofs under way, and what they showed.
#[derive(Default)]
pub(super) struct Recovery {
    under_way: Mutex<UnderWay>,
    wrong: Mutex<HashMap<[u8; 32], Moment>>,
}

#[derive(Default)]
struct UnderWay {
    handles: HashSet<Handle>,
    tenants: HashMap<TenantId, usize>,
}

/// A place among those that may prove something. It is given back with this value.
struct Turn {
    recovery: Arc<Recovery>,
    handle: Handle,
    tenant_id: TenantId,
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut under_way = self.recovery.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        under_way.handles.remove(&self.handle);
        if let Some(count) = under_way.tenants.get_mut(&self.tenant_id) {
            *count -= 1;
            if *count == 0 {
                under_way.tenants.remove(&self.tenant_id);
            }
        }
    }
}

impl Recovery {
    /// Proves a live credential of the caller's tenant, whose gate has passed.
    ///
    /// # Errors
    /// `Unavailable` when Postgres or the hashing queue is.
    pub(super) async fn prove(self: &Arc<Self>, engine: &Engine, unproven: Unproven<'_>) -> Result<Proof, Error> {
        let digest = engine.keyring().fingerprint("wrong secret", unproven.text.as_bytes());
        if self.is_known_as_wrong(&digest) {
            return Ok(Proof::Wrong);
        }
        let Some(turn) = self.turn(unproven.handle, unproven.tenant_id) else { return Ok(Proof::Busy) };
        // Whoever had the turn before may have proved it.
        let Some(phc) = stored_hash(engine, &unproven).await? else { return Ok(Proof::Busy) };
        let text = Zeroizing::new(unproven.text.to_owned());
        if !engine.credentials().verify(text, &phc).await? {
            self.note_wrong(digest);
            return Ok(Proof::Wrong);
        }
        let (tag_key, tag) = engine.keyring().tag(unproven.label, unproven.tenant_id, unproven.text)?;
        store_tag(engine, &unproven, tag_key, &tag).await?;
        metrics::counter!("tronch_keys_recovered_total").increment(1);
        // The change is logged like any other; until it is taken in, the old tag would be looked at again.
        engine.catch_up().await;
        drop(turn);
        Ok(Proof::Proven)
    }

    fn turn(self: &Arc<Self>, handle: Handle, tenant_id: TenantId) -> Option<Turn> {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        let of_tenant = under_way.tenants.get(&tenant_id).copied().unwrap_or_default();
        if of_tenant >= PER_TENANT || !under_way.handles.insert(handle) {
            return None;
        }
        under_way.tenants.insert(tenant_id, of_tenant + 1);
        Some(Turn { recovery: Arc::clone(self), handle, tenant_id })
    }

    fn is_known_as_wrong(&self, digest: &[u8; 32]) -> bool {
        let wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        wrong.get(digest).is_some_and(|noted| Moment::now().since(*noted) < WRONG_LASTS)
    }

    fn note_wrong(&self, digest: [u8; 32]) {
        let now = Moment::now();
        let mut wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        if wrong.len() >= WRONG_MAX {
            wrong.retain(|_, noted| now.since(*noted) < WRONG_LASTS);
        }
        // Full of fresh ones, it forgets: each costs a turn again, and turns are few.
        if wrong.len() >= WRONG_MAX {
            wrong.clear();
        }
        wrong.insert(digest, now);
    }
}

/// The hash, where the tag is still the lost one's.
///
/// This crosses tenants because the data plane has no tenant's transaction; the caller has compared the tenant.
async fn stored_hash(engine: &Engine, unproven: &Unproven<'_>) -> Result<Option<String>, Error> {
    let mut connection = engine.db().data_plane().await?;
    let old = unproven.tag_key.as_bytes();
    let phc = match unproven.label {
        TagLabel::Key => {
            let stored = keys::table.find(unproven.id).filter(keys::tag_key.eq(old));
            stored.select(keys::kdf_phc).first(&mut connection).await
        }
        TagLabel::Token => {
            let stored = service_tokens::table.find(unproven.id).filter(service_tokens::tag_key.eq(old));
            stored.select(service_tokens::kdf_phc).first(&mut connection).await
        }
    };
    Ok(phc.optional()?)
}

/// Stores the tag where the lost one's still is, and touches nothing else: what was revoked meanwhile stays revoked.
///
/// This crosses tenants because the data plane has no tenant's transaction; the caller has compared the tenant.
async fn store_tag(engine: &Engine, unproven: &Unproven<'_>, new: TagKeyId, tag: &Tag) -> Result<(), Error> {
    let mut connection = engine.db().system().await?;
    let old = unproven.tag_key.as_bytes();
    match unproven.label {
        TagLabel::Key => {
            diesel::update(keys::table.find(unproven.id))
                .filter(keys::tag_key.eq(old))
                .set((keys::tag.eq(tag.as_bytes()), keys::tag_key.eq(new.as_bytes())))
                .execute(&mut connection)
                .await?
        }
        TagLabel::Token => {
            diesel::update(service_tokens::table.find(unproven.id))
                .filter(service_tokens::tag_key.eq(old))
                .set((service_tokens::tag.eq(tag.as_bytes()), service_tokens::tag_key.eq(new.as_bytes())))
                .execute(&mut connection)
                .await?
        }
    };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_for_a_handle_and_few_for_a_tenant() {
        let recovery = Arc::new(Recovery::default());
        let tenant = |number| TenantId::from_uuid(Uuid::from_u128(number));
        let handle = |last: char| format!("0Uz3kQ9aB1{last}").parse::<Handle>().expect("a handle");
        let first = recovery.turn(handle('1'), tenant(1)).expect("a turn");
        assert!(recovery.turn(handle('1'), tenant(1)).is_none());
        let second = recovery.turn(handle('2'), tenant(1)).expect("a turn");
        assert!(recovery.turn(handle('3'), tenant(1)).is_none());
        assert!(recovery.turn(handle('4'), tenant(2)).is_some());
        drop(first);
        assert!(recovery.turn(handle('1'), tenant(1)).is_some());
        drop(second);
        assert!(recovery.under_way.lock().expect("no panic").tenants.is_empty());
    }

    #[test]
    fn a_wrong_secret_is_remembered_within_a_bound() {
        let recovery = Recovery::default();
        for number in 0..=WRONG_MAX {
            let mut digest = [0; 32];
            digest[..8].copy_from_slice(&number.to_be_bytes());
            recovery.note_wrong(digest);
            assert!(recovery.is_known_as_wrong(&digest));
        }
        assert!(recovery.wrong.lock().expect("no panic").len() <= WRONG_MAX);
    }
}
