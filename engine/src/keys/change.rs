//! Changing a key that exists: its settings, disabling, enabling, revoking. Each is one locked row, one audit event.

use tronch_core::{
    ErrorCode, ExternalId, KeyId, KeyName, KeyPermission, KeyView, Permission, RevokeReason, Timestamp, ended_by_clock,
};

use super::cut_off::hold_off;
use super::many::ManyChange;
use super::rows::KeyRow;
use super::{Metadata, made_before, record, refusals_of_settings, sql};
use crate::clock;
use crate::error::Error;
use crate::once::ChangeTx;
use crate::tenancy::Tenant;

/// What of a key is to change; `None` leaves a part as it is.
#[derive(Default)]
pub struct KeyChange {
    /// A new name.
    pub name: Option<KeyName>,
    /// A new owner, or none.
    pub owner: Option<Option<ExternalId>>,
    /// New metadata, whole.
    pub metadata: Option<Metadata>,
    /// New permissions, whole.
    pub permissions: Option<Vec<KeyPermission>>,
    /// A new end, or none.
    pub expires_at: Option<Option<Timestamp>>,
    /// `updated_at` of the key that the caller looked at: a change made since is not overwritten.
    pub unless_changed_since: Option<Timestamp>,
}

/// Changes a key's settings. Environment and project never change.
///
/// # Errors
/// `Forbidden` without `keys.update`; `NotFound`; `Conflict` when the key is revoked or expired, or was changed by
/// somebody else since `unless_changed_since`; `Invalid`; `Unavailable`.
pub async fn change_key(tenant: &Tenant, key_id: KeyId, change: KeyChange) -> Result<KeyView, Error> {
    tenant.require(Permission::KeysUpdate)?;
    edit(tenant, key_id, "update_key", None, |key| {
        // In here, because a repeated write is answered before: its end may have passed meanwhile.
        if let Some(refusal) = refusals(key, &change).into_iter().next() {
            return Err(refusal);
        }
        if let Some(name) = change.name {
            key.name = name.as_str().to_owned();
        }
        if let Some(owner) = change.owner {
            key.owner_external_id = owner.map(|owner| owner.as_str().to_owned());
        }
        if let Some(metadata) = change.metadata {
            key.metadata = metadata.into_value();
        }
        if let Some(permissions) = change.permissions {
            key.permissions = permissions.iter().map(|permission| permission.as_str().to_owned()).collect();
        }
        if let Some(expires_at) = change.expires_at {
            key.expires_at = expires_at;
            // Grace never outlives the key itself.
            key.grace_ends_at = match (key.grace_ends_at, expires_at) {
                (Some(grace), Some(end)) => Some(grace.min(end)),
                (grace, _) => grace,
            };
        }
        Ok(())
    })
    .await
}

/// All that [`change_key`] would refuse of what is known so far, for a form that shows every error at once.
///
/// # Errors
/// `Forbidden` without `keys.update`; `NotFound`; `Unavailable`.
pub async fn refusals_of_change(tenant: &Tenant, key_id: KeyId, change: &KeyChange) -> Result<Vec<Error>, Error> {
    tenant.require(Permission::KeysUpdate)?;
    let mut transaction = tenant.begin().await?;
    let (key, _) = sql::find(&mut transaction, key_id).await?;
    transaction.commit().await?;
    Ok(refusals(&key, change))
}

fn refusals(key: &KeyRow, change: &KeyChange) -> Vec<Error> {
    let permissions = change.permissions.as_deref().unwrap_or_default();
    let stale = Error::refuse_stale("key", change.unless_changed_since, key.updated_at);
    let of_key = require_not_ended(key).and(stale).err();
    refusals_of_settings(permissions, change.expires_at.flatten()).into_iter().chain(of_key).collect()
}

/// Switches a key off until somebody enables it. Disabling twice is fine.
///
/// # Errors
/// `Forbidden` without `keys.update`; `NotFound`; `Conflict` when the key is revoked or expired; `Unavailable`.
pub async fn disable_key(tenant: &Tenant, key_id: KeyId) -> Result<KeyView, Error> {
    tenant.require(Permission::KeysUpdate)?;
    edit(tenant, key_id, "disable_key", None, |key| {
        require_not_ended(key)?;
        ManyChange::Disable.apply(key);
        Ok(())
    })
    .await
}

/// Switches a key on again. Enabling twice is fine.
///
/// # Errors
/// As [`disable_key`].
pub async fn enable_key(tenant: &Tenant, key_id: KeyId) -> Result<KeyView, Error> {
    tenant.require(Permission::KeysUpdate)?;
    edit(tenant, key_id, "enable_key", None, |key| {
        require_not_ended(key)?;
        ManyChange::Enable.apply(key);
        Ok(())
    })
    .await
}

/// Ends a key for ever. Revoking twice keeps the first time and reason.
///
/// # Errors
/// `Forbidden` without `keys.revoke`; `NotFound`; `Unavailable`.
pub async fn revoke_key(tenant: &Tenant, key_id: KeyId, reason: Option<RevokeReason>) -> Result<KeyView, Error> {
    tenant.require(Permission::KeysRevoke)?;
    let change = ManyChange::Revoke(reason);
    edit(tenant, key_id, "revoke_key", change.reason(), |key| {
        change.apply(key);
        Ok(())
    })
    .await
}

/// Locks, changes, writes and records; a change that changes nothing leaves no trace.
async fn edit(
    tenant: &Tenant,
    key_id: KeyId,
    action: &'static str,
    reason: Option<&str>,
    change: impl FnOnce(&mut KeyRow) -> Result<(), Error>,
) -> Result<KeyView, Error> {
    if let Some(key) = made_before(tenant).await? {
        return Ok(key);
    }
    let mut transaction = tenant.begin_change().await?;
    hold_off(&mut transaction).await?;
    let (before, project) = sql::lock(&mut transaction, key_id).await?;
    let mut after = before.clone();
    change(&mut after)?;
    if super::rows::audited(&before) != super::rows::audited(&after) {
        after.updated_at = clock::now();
        write(tenant, &mut transaction, action, &before, &after, reason).await?;
        if before.owner_external_id != after.owner_external_id {
            require_not_cut_off(&mut transaction, key_id).await?;
        }
    }
    transaction.commit(after.id).await?;
    after.view(tenant.slug(), &project)
}

/// An owner all of whose keys were revoked takes none that was made before.
async fn require_not_cut_off(transaction: &mut ChangeTx, key_id: KeyId) -> Result<(), Error> {
    let (key, _) = sql::find(transaction, key_id).await?;
    match key.revoked_at {
        None => Ok(()),
        Some(_) => Err(Error::invalid("owner", "all keys of this owner that are as old as this one are revoked")),
    }
}

pub(super) async fn write(
    tenant: &Tenant,
    transaction: &mut ChangeTx,
    action: &'static str,
    before: &KeyRow,
    after: &KeyRow,
    reason: Option<&str>,
) -> Result<(), Error> {
    sql::update(transaction, after).await?;
    record(tenant, transaction, action, Some(before), after, reason).await
}

fn conflict(message: &str) -> Error {
    Error::Conflict { code: ErrorCode::KeyNotActive, message: message.to_owned(), field: None }
}

/// What has ended stays as it ended, disabled or not: moving its end would bring it back.
pub(super) fn require_not_ended(key: &KeyRow) -> Result<(), Error> {
    if key.revoked_at.is_some() {
        return Err(conflict("this key is revoked, which is final"));
    }
    if has_ended(key) { Err(conflict("this key has expired, which is final; create another")) } else { Ok(()) }
}

/// Whether the clock has ended the key, by its own end or by that of its grace.
pub(super) fn has_ended(key: &KeyRow) -> bool {
    ended_by_clock(key.expires_at, key.grace_ends_at, clock::now())
}
