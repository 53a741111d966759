//! Rotation: a successor is issued, the old key keeps working until its grace ends. When it ends is `core`'s rule.

use tronch_core::{
    CredentialKind, ErrorCode, Grace, KeyId, KeyView, Permission, ProjectId, RotatingKey, RotationRefusal, SecretOnce,
    duration_words, rotation_plan,
};

use super::change::{has_ended, write};
use super::rows::{KeyRow, NewKeyRow};
use super::{cut_off, find_key, made_before, record, sql};
use crate::clock;
use crate::error::Error;
use crate::limits;
use crate::projects::{self, find_project, rotation_settings};
use crate::secret;
use crate::tenancy::Tenant;

/// Both ends of a rotation, and the successor's secret.
pub struct Rotated {
    /// The new key.
    pub successor: KeyView,
    /// The old key, with the end of its grace.
    pub predecessor: KeyView,
    /// The new key's secret, never to be had again: nothing when the same write rotated the key before.
    pub secret: Option<SecretOnce>,
}

/// Issues a successor with the old key's name, owner, settings, environment and expiry.
///
/// # Errors
/// `Forbidden` without `keys.rotate`; `NotFound`; `AlreadyRotated` with the successor; `Conflict` when the key is revoked
/// or expired; `Invalid` for a grace that the project does not allow; `Unavailable`.
pub async fn rotate_key(tenant: &Tenant, key_id: KeyId, grace: Grace) -> Result<Rotated, Error> {
    tenant.require(Permission::KeysRotate)?;
    if let Some(successor) = made_before(tenant).await? {
        return Ok(Rotated { successor, predecessor: find_key(tenant, key_id).await?, secret: None });
    }
    // Hashing may wait for its turn, so it comes before the lock; a refusal wastes it, which costs nobody anything.
    let kind = preview(tenant, key_id, grace).await?;
    let minted = secret::mint(&tenant.engine, kind, tenant.id).await?;
    let mut transaction = tenant.begin_change().await?;
    cut_off::hold_off(&mut transaction).await?;
    let (old, project_slug) = sql::lock(&mut transaction, key_id).await?;
    let project = projects::require_open(&mut transaction, ProjectId::from_uuid(old.project_id)).await?;
    let now = clock::now();
    let plan = rotation_plan(&rotating(&old), grace, &rotation_settings(&project), now).map_err(refusal)?;
    let row = NewKeyRow {
        id: KeyId::generate(minted.created_at, crate::random::bytes()?).uuid(),
        project_id: old.project_id,
        environment: &old.environment,
        handle: minted.handle.as_str(),
        name: &old.name,
        owner_external_id: old.owner_external_id.as_deref(),
        metadata: &old.metadata,
        permissions: old.permissions.iter().map(String::as_str).collect(),
        kdf_phc: &minted.kdf_phc,
        tag: minted.tag.as_bytes(),
        tag_key: minted.tag_key.as_bytes(),
        created_at: minted.created_at,
        updated_at: minted.created_at,
        expires_at: old.expires_at,
        disabled_at: plan.successor_disabled.then_some(now),
        predecessor_id: Some(old.id),
        lineage_id: Some(old.lineage_id.or(old.predecessor_id).unwrap_or(old.id)),
    };
    let successor = sql::insert(&mut transaction, &row).await?;
    if successor.revoked_at.is_some() {
        return Err(cut_off::cut_off_at_birth());
    }
    limits::carry_over(tenant, &mut transaction, old.key_id(), successor.key_id(), now).await?;
    let mut ended = old.clone();
    ended.successor_id = Some(successor.id);
    // No other process may take it for valid because its clock is behind.
    ended.grace_ends_at = plan.grace_ends_at.map(|ends| if ends <= now { clock::just_past(now) } else { ends });
    ended.updated_at = now;
    write(tenant, &mut transaction, "rotate_key", &old, &ended, None).await?;
    record(tenant, &mut transaction, "create_key", None, &successor, Some("successor of a rotated key")).await?;
    transaction.commit(successor.id).await?;
    Ok(Rotated {
        successor: successor.view(tenant.slug(), &project_slug)?,
        predecessor: ended.view(tenant.slug(), &project_slug)?,
        secret: Some(minted.secret),
    })
}

/// Ends the old key of a running rotation now. Once it has ended, by its grace or otherwise, this changes nothing.
///
/// # Errors
/// `Forbidden` without `keys.rotate`; `NotFound`; `Conflict` when the key was never rotated; `Unavailable`.
pub async fn finish_rotation(tenant: &Tenant, key_id: KeyId) -> Result<KeyView, Error> {
    tenant.require(Permission::KeysRotate)?;
    if let Some(key) = made_before(tenant).await? {
        return Ok(key);
    }
    let mut transaction = tenant.begin_change().await?;
    let (before, project) = sql::lock(&mut transaction, key_id).await?;
    if before.successor_id.is_none() {
        return Err(Error::Conflict {
            code: ErrorCode::Conflict,
            message: "this key is not being rotated".to_owned(),
            field: None,
        });
    }
    let now = clock::now();
    let mut after = before.clone();
    // An ended key stays as it ended: nothing may seem to have lived longer than it did.
    if before.revoked_at.is_none() && !has_ended(&before) {
        after.grace_ends_at = Some(clock::just_past(now));
        after.updated_at = now;
        write(tenant, &mut transaction, "finish_rotation", &before, &after, None).await?;
    }
    transaction.commit(after.id).await?;
    after.view(tenant.slug(), &project)
}

/// Refuses what is refused anyway before anything is hashed.
async fn preview(tenant: &Tenant, key_id: KeyId, grace: Grace) -> Result<CredentialKind, Error> {
    let mut transaction = tenant.begin().await?;
    let (key, project_slug) = sql::find(&mut transaction, key_id).await?;
    let slug = tronch_core::ProjectSlug::parse(&project_slug).map_err(Error::internal)?;
    let project = find_project(&mut transaction, &slug).await?;
    transaction.commit().await?;
    match rotation_plan(&rotating(&key), grace, &rotation_settings(&project), clock::now()) {
        // The same write may have done it since the tenant was entered; `begin_change` knows.
        Err(RotationRefusal::AlreadyRotated { .. }) if tenant.once_of().is_some() => {}
        plan => drop(plan.map_err(refusal)?),
    }
    Ok(CredentialKind::Key(key.snapshot()?.environment))
}

fn rotating(key: &KeyRow) -> RotatingKey {
    RotatingKey {
        revoked_at: key.revoked_at,
        expires_at: key.expires_at,
        successor_id: key.successor_id.map(KeyId::from_uuid),
        disabled: key.disabled_at.is_some(),
    }
}

fn refusal(refusal: RotationRefusal) -> Error {
    let ended =
        |message: &str| Error::Conflict { code: ErrorCode::KeyNotActive, message: message.to_owned(), field: None };
    match refusal {
        RotationRefusal::AlreadyRotated { successor_id } => Error::AlreadyRotated { successor_id },
        RotationRefusal::Revoked => ended("this key is revoked; create a new one instead"),
        RotationRefusal::Expired => ended("this key has expired; create a new one instead"),
        RotationRefusal::GraceTooLong { max_seconds } => {
            Error::invalid("grace", format!("this project allows a grace of at most {}", duration_words(max_seconds)))
        }
        RotationRefusal::GraceInPast => Error::invalid("grace", "the end of the grace is past already"),
    }
}
