//! Changing several keys in one go: all of them, or none. Changing one is in `change.rs`.

use chrono::Utc;
use tronch_core::bounds::KEYS_AT_ONCE_MAX;
use tronch_core::{KeyId, KeyView, Permission, RevokeReason};

use super::change::{has_ended, write};
use super::rows::{KeyRow, audited};
use super::sql;
use crate::error::Error;
use crate::tenancy::Tenant;

/// What is done to each of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ManyChange {
    /// Switch them off.
    Disable,
    /// Switch them on again.
    Enable,
    /// End them for ever.
    Revoke(Option<RevokeReason>),
}

impl ManyChange {
    /// What it takes.
    pub fn permission(&self) -> Permission {
        match self {
            Self::Disable | Self::Enable => Permission::KeysUpdate,
            Self::Revoke(_) => Permission::KeysRevoke,
        }
    }

    /// The word of the audit log, the same as for one key.
    fn action(&self) -> &'static str {
        match self {
            Self::Disable => "disable_key",
            Self::Enable => "enable_key",
            Self::Revoke(_) => "revoke_key",
        }
    }

    fn reason(&self) -> Option<&str> {
        match self {
            Self::Revoke(reason) => reason.as_ref().map(RevokeReason::as_str),
            Self::Disable | Self::Enable => None,
        }
    }

    /// A revoked key stays as it is, whatever is wished; one that the clock has ended can only be revoked.
    fn apply(&self, key: &mut KeyRow) {
        if key.revoked_at.is_some() || (has_ended(key) && !matches!(self, Self::Revoke(_))) {
            return;
        }
        match self {
            Self::Disable => key.disabled_at = key.disabled_at.or(Some(Utc::now())),
            Self::Enable => key.disabled_at = None,
            Self::Revoke(reason) => {
                key.revoked_at = Some(Utc::now());
                key.revoke_reason = reason.as_ref().map(|reason| reason.as_str().to_owned());
            }
        }
    }
}

/// How many keys a change of several has changed; the others were so already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ManyChanged {
    /// Those it changed, each with its audit event.
    pub changed: usize,
    /// Those that stay as they were.
    pub unchanged: usize,
}

/// Several keys, in the order asked for.
///
/// # Errors
/// `Forbidden` without `keys.read`; `NotFound` when one of them is not there; `Invalid` for none or too many;
/// `Unavailable`.
pub async fn get_keys(tenant: &Tenant, key_ids: &[KeyId]) -> Result<Vec<KeyView>, Error> {
    tenant.require(Permission::KeysRead)?;
    check_number(key_ids)?;
    let mut transaction = tenant.begin().await?;
    let mut keys = Vec::new();
    for key_id in key_ids {
        let (key, project) = sql::find(&mut transaction, *key_id).await?;
        keys.push(key.view(tenant.slug(), &project)?);
    }
    transaction.commit().await?;
    Ok(keys)
}

/// Does the same to several keys, in one transaction.
///
/// # Errors
/// `Forbidden` without `keys.update` or `keys.revoke`; `NotFound` when one of them is not there; `Invalid` for none or too
/// many; `Unavailable`.
pub async fn change_keys(tenant: &Tenant, key_ids: &[KeyId], change: &ManyChange) -> Result<ManyChanged, Error> {
    tenant.require(change.permission())?;
    check_number(key_ids)?;
    // In one order for everybody, so that no two changes wait for each other.
    let mut key_ids = key_ids.to_vec();
    key_ids.sort_unstable();
    key_ids.dedup();
    let mut transaction = tenant.begin_change().await?;
    let mut changed = 0;
    for key_id in &key_ids {
        let (before, _) = sql::lock(&mut transaction, *key_id).await?;
        let mut after = before.clone();
        change.apply(&mut after);
        if audited(&before) == audited(&after) {
            continue;
        }
        after.updated_at = Utc::now();
        write(tenant, &mut transaction, change.action(), &before, &after, change.reason()).await?;
        changed += 1;
    }
    let unchanged = key_ids.len() - changed;
    transaction.commit(tenant.id.uuid()).await?;
    Ok(ManyChanged { changed, unchanged })
}

fn check_number(key_ids: &[KeyId]) -> Result<(), Error> {
    if (1..=KEYS_AT_ONCE_MAX).contains(&key_ids.len()) {
        return Ok(());
    }
    Err(Error::invalid("key", format!("choose 1 to {KEYS_AT_ONCE_MAX} keys")))
}
