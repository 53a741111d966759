//! Keys: making, showing, changing, disabling, revoking and rotating them. Whether one may pass is `verify`'s business.

mod change;
mod cut_off;
mod list;
mod many;
mod rotate;
pub(crate) mod rows;
mod search;
mod sql;

use tronch_core::bounds::{METADATA_BYTES_MAX, PERMISSIONS_PER_KEY_MAX};
use tronch_core::{
    CredentialKind, Environment, ExternalId, KeyId, KeyName, KeyPermission, KeyView, Permission, ProjectSlug,
    SecretOnce, Timestamp,
};
use uuid::Uuid;

use crate::audit::{self, Change};
use crate::error::Error;
use crate::once::ChangeTx;
use crate::projects;
use crate::secret::{self, Minted};
use crate::tenancy::{Tenant, TenantTx};
use rows::{KeyRow, NewKeyRow, audited};

pub use change::{KeyChange, change_key, disable_key, enable_key, refusals_of_change, revoke_key};
pub use cut_off::{KeysOf, RevokedKeys, count_keys_of, mark_revoked_keys, revoke_keys_of};
pub use list::{Condition, KeyFilter, KeyOrder, list_keys};
pub use many::{ManyChange, change_keys, get_keys};
pub use rotate::{Rotated, finish_rotation, rotate_key};

/// What a new key is to be. All but the name has a default.
pub struct NewKey {
    /// What it is called.
    pub name: KeyName,
    /// For which API.
    pub project: ProjectSlug,
    /// Test or live, for ever.
    pub environment: Environment,
    /// Whom it is issued to.
    pub owner: Option<ExternalId>,
    /// The tenant's own data.
    pub metadata: Metadata,
    /// What it holds, in the tenant's own words.
    pub permissions: Vec<KeyPermission>,
    /// When the clock ends it.
    pub expires_at: Option<Timestamp>,
}

/// A JSON object of at most 8 KiB.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Metadata(serde_json::Map<String, serde_json::Value>);

impl Metadata {
    /// Reads JSON text; nothing but spaces is an empty object.
    ///
    /// # Errors
    /// `Invalid` on the field `metadata`.
    pub fn parse(text: &str) -> Result<Self, Error> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let value = serde_json::from_str(text)
            .map_err(|error| Error::invalid("metadata", format!("this is no JSON: {error}")))?;
        Self::from_value(value)
    }

    /// Takes a JSON value.
    ///
    /// # Errors
    /// `Invalid` on the field `metadata` when it is no object or too large.
    pub fn from_value(value: serde_json::Value) -> Result<Self, Error> {
        let serde_json::Value::Object(object) = value else {
            return Err(Error::invalid("metadata", "metadata is a JSON object, such as {\"plan\":\"pro\"}"));
        };
        let text = serde_json::to_string(&object).map_err(Error::internal)?;
        if text.len() > METADATA_BYTES_MAX {
            let message = format!("metadata has at most {METADATA_BYTES_MAX} bytes as JSON");
            return Err(Error::invalid("metadata", message));
        }
        // Postgres keeps no NUL in text, and says so only at the insert.
        if object.iter().any(|(name, value)| name.contains('\0') || holds_nul(value)) {
            return Err(Error::invalid("metadata", "metadata cannot contain the character U+0000"));
        }
        Ok(Self(object))
    }

    fn into_value(self) -> serde_json::Value {
        serde_json::Value::Object(self.0)
    }
}

fn holds_nul(value: &serde_json::Value) -> bool {
    match value {
        serde_json::Value::String(text) => text.contains('\0'),
        serde_json::Value::Array(values) => values.iter().any(holds_nul),
        serde_json::Value::Object(object) => object.iter().any(|(name, value)| name.contains('\0') || holds_nul(value)),
        _ => false,
    }
}

/// What a verb made that makes keys.
pub struct MadeKey {
    /// The key.
    pub key: KeyView,
    /// Its secret, never to be had again: nothing when the same write made the key before.
    pub secret: Option<SecretOnce>,
}

/// Makes a key and returns its secret, which is never to be had again.
///
/// # Errors
/// `Forbidden` without `keys.create`; `OutsideToken` outside a token's limits; `NotFound` for a project that is not there; `Invalid` for an expiry that is past or
/// too many permissions; `Unavailable`.
pub async fn create_key(tenant: &Tenant, new_key: NewKey) -> Result<MadeKey, Error> {
    tenant.require(Permission::KeysCreate)?;
    if let Some(key) = made_before(tenant).await? {
        return Ok(MadeKey { key, secret: None });
    }
    if let Some(refusal) = refusals_of_settings(&new_key.permissions, new_key.expires_at).into_iter().next() {
        return Err(refusal);
    }
    // What is refused anyway is refused before anything is hashed, and hashing waits outside of a transaction.
    let mut transaction = tenant.begin().await?;
    let project = projects::find_open_project(&mut transaction, &new_key.project).await?;
    transaction.commit().await?;
    tenant.scope.require(Some(project.id), Some(new_key.environment))?;
    let kind = CredentialKind::Key(new_key.environment);
    let minted = secret::mint(&tenant.engine, kind, tenant.id).await?;
    let mut transaction = tenant.begin_change().await?;
    cut_off::hold_off(&mut transaction).await?;
    projects::require_open(&mut transaction, project.id).await?;
    let metadata = new_key.metadata.into_value();
    let row = NewKeyRow {
        id: KeyId::generate(minted.created_at, crate::random::bytes()?).uuid(),
        project_id: project.id.uuid(),
        environment: new_key.environment.as_str(),
        handle: minted.handle.as_str(),
        name: new_key.name.as_str(),
        owner_external_id: new_key.owner.as_ref().map(ExternalId::as_str),
        metadata: &metadata,
        permissions: new_key.permissions.iter().map(KeyPermission::as_str).collect(),
        kdf_phc: &minted.kdf_phc,
        tag: minted.tag.as_bytes(),
        tag_key: minted.tag_key.as_bytes(),
        created_at: minted.created_at,
        updated_at: minted.created_at,
        expires_at: new_key.expires_at,
        disabled_at: None,
        predecessor_id: None,
        lineage_id: None,
    };
    let key = sql::insert(&mut transaction, &row).await?;
    if key.revoked_at.is_some() {
        return Err(cut_off::cut_off_at_birth());
    }
    record(tenant, &mut transaction, "create_key", None, &key, None).await?;
    transaction.commit(key.id).await?;
    let Minted { secret, .. } = minted;
    Ok(MadeKey { key: key.view(tenant.slug(), project.slug.as_str())?, secret: Some(secret) })
}

/// All that [`create_key`] would refuse of what is known so far, for a form that shows every error at once.
///
/// # Errors
/// `Forbidden` without `keys.create`; `Unavailable`.
pub async fn refusals_of_new_key(
    tenant: &Tenant,
    project: Option<&ProjectSlug>,
    permissions: &[KeyPermission],
    expires_at: Option<Timestamp>,
) -> Result<Vec<Error>, Error> {
    tenant.require(Permission::KeysCreate)?;
    let mut refusals = refusals_of_settings(permissions, expires_at);
    refusals.extend(projects::refusal_of_place(tenant, project).await?);
    Ok(refusals)
}

/// The key that the same write made or changed before, as it is now.
async fn made_before(tenant: &Tenant) -> Result<Option<KeyView>, Error> {
    let Some(earlier) = tenant.earlier() else { return Ok(None) };
    find_key(tenant, KeyId::from_uuid(earlier)).await.map(Some)
}

/// One key.
///
/// # Errors
/// `Forbidden` without `keys.read`; `NotFound`; `Unavailable`.
pub async fn get_key(tenant: &Tenant, key_id: KeyId) -> Result<KeyView, Error> {
    tenant.require(Permission::KeysRead)?;
    find_key(tenant, key_id).await
}

async fn find_key(tenant: &Tenant, key_id: KeyId) -> Result<KeyView, Error> {
    let mut transaction = tenant.begin().await?;
    let (key, project) = sql::find(&mut transaction, key_id).await?;
    transaction.commit().await?;
    key.view(tenant.slug(), &project)
}

/// Whether the caller may see the key at all, inside a running transaction.
pub(crate) async fn require_visible(transaction: &mut TenantTx, key_id: KeyId) -> Result<(), Error> {
    sql::find(transaction, key_id).await.map(|_| ())
}

/// The same, and what it is called.
pub(crate) async fn visible_name(transaction: &mut TenantTx, key_id: KeyId) -> Result<String, Error> {
    sql::find(transaction, key_id).await.map(|(key, _)| key.name)
}

/// Where a key that the caller's scope reaches counts: the first key of its rotations, its project and its environment.
pub(crate) async fn line_of(transaction: &mut TenantTx, key_id: KeyId) -> Result<(Uuid, Uuid, String), Error> {
    sql::find_line(transaction, key_id).await
}

/// The same, locked; refuses one that is over for ever.
pub(crate) async fn require_working(transaction: &mut ChangeTx, key_id: KeyId) -> Result<String, Error> {
    let (key, _) = sql::lock(transaction, key_id).await?;
    change::require_not_ended(&key)?;
    Ok(key.name)
}

/// Everything about a key's settings that no verb takes.
fn refusals_of_settings(permissions: &[KeyPermission], expires_at: Option<Timestamp>) -> Vec<Error> {
    let too_many = (permissions.len() > PERMISSIONS_PER_KEY_MAX)
        .then(|| Error::invalid("permissions", format!("a key holds at most {PERMISSIONS_PER_KEY_MAX} permissions")));
    too_many.into_iter().chain(Error::of_past_end(expires_at)).collect()
}

/// Appends the audit event of a change to a key.
async fn record(
    tenant: &Tenant,
    transaction: &mut ChangeTx,
    action: &'static str,
    before: Option<&KeyRow>,
    after: &KeyRow,
    reason: Option<&str>,
) -> Result<(), Error> {
    let change = Change {
        action,
        target_kind: "key",
        target_id: after.key_id().to_string(),
        target_name: &after.name,
        before: before.map(audited),
        after: Some(audited(after)),
        reason,
    };
    audit::record(transaction, &tenant.caller, change).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_an_object_without_the_one_character_that_cannot_be_kept() {
        for good in ["", "  ", "{}", r#"{"a":"\\u0000"}"#, r#"{"é":[1,{"b":null}]}"#] {
            assert!(Metadata::parse(good).is_ok(), "{good}");
        }
        for bad in ["[]", "1", "{", r#"{"a":"\u0000"}"#, r#"{"a":[{"b\u0000":1}]}"#, r#"{"\u0000":1}"#] {
            assert!(Metadata::parse(bad).is_err(), "{bad}");
        }
    }
}
