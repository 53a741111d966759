//! Changing several keys in one go: all of them, or none. Changing one is in `change.rs`.

use tronch_core::bounds::KEYS_AT_ONCE_MAX;
use tronch_core::{KeyId, KeyView, Permission, RevokeReason};

use super::change::{has_ended, write};
use super::rows::{KeyRow, audited};
use super::sql;
use crate::clock;
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

    pub(super) fn reason(&self) -> Option<&str> {
        match self {
            Self::Revoke(reason) => reason.as_ref().map(RevokeReason::as_str),
            Self::Disable | Self::Enable => None,
        }
    }

    /// A revoked key stays as it is, whatever is wished; one that the clock has ended can only be revoked.
    pub(super) fn apply(&self, key: &mut KeyRow) {
        if key.revoked_at.is_some() || (has_ended(key) && !matches!(self, Self::Revoke(_))) {
            return;
        }
        match self {
            Self::Disable => key.disabled_at = key.disabled_at.or(Some(clock::now())),
            Self::Enable => key.disabled_at = None,
            Self::Revoke(reason) => {
                key.revoked_at = Some(clock::now());
                key.revoke_reason = reason.as_ref().map(|reason| reason.as_str().to_owned());
            }
        }
    }
}

/// Several keys, each named once, in the order asked for.
///
/// # Errors
/// `Forbidden` without `keys.read`; `NotFound` when one of them is not there; `Invalid` for none or too many;
/// `Unavailable`.
pub async fn get_keys(tenant: &Tenant, key_ids: &[KeyId]) -> Result<Vec<KeyView>, Error> {
    tenant.require(Permission::KeysRead)?;
    check_number(key_ids)?;
    let mut transaction = tenant.begin().await?;
    let mut found = sql::find_many(&mut transaction, key_ids).await?;
    transaction.commit().await?;
    let take = |key_id: &KeyId| {
        let at = found.iter().position(|(key, _)| key.id == key_id.uuid()).ok_or(sql::NOT_FOUND)?;
        let (key, project) = found.swap_remove(at);
        key.view(tenant.slug(), &project)
    };
    key_ids.iter().map(take).collect()
}

/// Does the same to several keys, in one transaction. Returns how many it changed; the others were so already, or have
/// ended. Of a person who revokes them the password must have been confirmed.
///
/// # Errors
/// `Forbidden` without `keys.update` or `keys.revoke`; `NotFound` when one of them is not there; `Invalid` for none or too
/// many, and on `password`; `Unavailable`.
pub async fn change_keys(tenant: &Tenant, key_ids: &[KeyId], change: &ManyChange) -> Result<usize, Error> {
    tenant.require(change.permission())?;
    if matches!(change, ManyChange::Revoke(_)) {
        tenant.require_confirmed()?;
    }
    check_number(key_ids)?;
    let mut transaction = tenant.begin_change().await?;
    let mut changed = 0;
    for (before, _) in sql::lock_many(&mut transaction, key_ids).await? {
        let mut after = before.clone();
        change.apply(&mut after);
        if audited(&before) == audited(&after) {
            continue;
        }
        after.updated_at = clock::now();
        write(tenant, &mut transaction, change.action(), &before, &after, change.reason()).await?;
        changed += 1;
    }
    transaction.commit(tenant.id.uuid()).await?;
    Ok(changed)
}

fn check_number(key_ids: &[KeyId]) -> Result<(), Error> {
    if (1..=KEYS_AT_ONCE_MAX).contains(&key_ids.len()) {
        return Ok(());
    }
    Err(Error::invalid("key", format!("choose 1 to {KEYS_AT_ONCE_MAX} keys")))
}
