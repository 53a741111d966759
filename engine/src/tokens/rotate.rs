//! Rotation of a service token: a successor takes over what it may do, and the old one keeps working until its grace ends. What the two have
//! in common with the rotation of a key is `core`'s rule.

use chrono::Datelike as _;
use diesel::prelude::*;
use tronch_core::{
    CredentialKind, Environment, ErrorCode, Grace, Permission, ProjectId, RotatingKey, RotationRefusal,
    RotationSettings, SecretOnce, ServiceTokenId, Timestamp, TokenView, bounds::GRACE_SECONDS_MAX, duration_words,
    rotation_plan,
};
use uuid::Uuid;

use super::rows::{NewTokenRow, TokenRow};
use super::{NOT_FOUND, lock, made_before, record};
use crate::clock;
use crate::error::Error;
use crate::schema::service_tokens;
use crate::secret;
use crate::tenancy::Tenant;

/// The grace when nothing is asked for: a day, in seconds.
const GRACE_SECONDS: u32 = 24 * 3600;

const SETTINGS: RotationSettings =
    RotationSettings { default_grace_seconds: GRACE_SECONDS, max_grace_seconds: GRACE_SECONDS_MAX, auto_revoke: true };

/// Both ends of a rotation, and the successor's secret.
pub struct RotatedToken {
    /// The new token.
    pub successor: TokenView,
    /// The old one, which expires with its grace.
    pub predecessor: TokenView,
    /// The new token's secret, never to be had again: nothing when the same write rotated the token before.
    pub secret: Option<SecretOnce>,
}

/// Issues a successor with the old token's name, permissions and limits. It expires when it is asked to, else it lives as long as the old
/// one was made for.
///
/// # Errors
/// `Forbidden` without `tokens.write` or where the token may do what the caller may not; `NotFound`; `Conflict` when it was rotated, has
/// expired or is revoked; `Invalid` for a grace of more than 30 days or an expiry that is past; `Unavailable`.
pub async fn rotate_token(
    tenant: &Tenant,
    token_id: ServiceTokenId,
    grace: Grace,
    expires_at: Option<Timestamp>,
) -> Result<RotatedToken, Error> {
    tenant.require(Permission::TokensWrite)?;
    if let Some(successor) = made_before(tenant).await? {
        let mut transaction = tenant.begin().await?;
        let (old, project) = lock(&mut transaction, token_id.uuid()).await?;
        transaction.commit().await?;
        return Ok(RotatedToken { successor, predecessor: old.view(project.as_deref())?, secret: None });
    }
    if let Some(refusal) = Error::of_past_end(expires_at) {
        return Err(refusal);
    }
    // What is refused anyway is refused before anything is hashed, and hashing waits outside of a transaction.
    let mut transaction = tenant.begin().await?;
    let (old, _) = lock(&mut transaction, token_id.uuid()).await?;
    transaction.commit().await?;
    let is_bootstrap = old.bootstrap;
    if tenant.once_of().is_none() || old.successor_id.is_none() {
        end_of(tenant, &old, grace, clock::now())?;
    }
    let minted = secret::mint(&tenant.engine, CredentialKind::ServiceToken, tenant.id).await?;
    let mut transaction = tenant.begin_change().await?;
    // As whoever replaces the bootstrap token does, and before its row.
    if is_bootstrap {
        transaction.lock_tenant().await?;
    }
    let (old, project) = lock(&mut transaction, token_id.uuid()).await?;
    let now = clock::now();
    let end = end_of(tenant, &old, grace, now)?;
    let successor_id = ServiceTokenId::generate(minted.created_at, crate::random::bytes()?).uuid();
    // There is one bootstrap token: the old one passes that on before the new one is there.
    let ended: TokenRow = transaction
        .of(service_tokens::table)
        .filter(service_tokens::id.eq(old.id))
        .set((
            service_tokens::successor_id.eq(successor_id),
            service_tokens::expires_at.eq(end),
            service_tokens::bootstrap.eq(false),
        ))
        .returning(TokenRow::as_returning())
        .get_result(&mut transaction)
        .await?;
    let row = NewTokenRow {
        id: successor_id,
        project_id: old.project_id,
        environment: old.environment.as_deref(),
        handle: minted.handle.as_str(),
        name: &old.name,
        permissions: old.permissions.iter().map(String::as_str).collect(),
        kdf_phc: &minted.kdf_phc,
        tag: minted.tag.as_bytes(),
        tag_key: minted.tag_key.as_bytes(),
        created_at: minted.created_at,
        expires_at: expires_at.or_else(|| old.expires_at.map(|end| end_of_as_long(&old, end, minted.created_at))),
        bootstrap: old.bootstrap,
    };
    let successor: TokenRow = transaction
        .insert(service_tokens::table, &row)
        .returning(TokenRow::as_returning())
        .get_result(&mut transaction)
        .await?;
    record(tenant, &mut transaction, "rotate_token", Some(&old), &ended).await?;
    record(tenant, &mut transaction, "create_token", None, &successor).await?;
    transaction.commit(successor.id).await?;
    Ok(RotatedToken {
        successor: successor.view(project.as_deref())?,
        predecessor: ended.view(project.as_deref())?,
        secret: Some(minted.secret),
    })
}

/// When the old token ends, if the caller may rotate it, and it can be.
fn end_of(tenant: &Tenant, old: &TokenRow, grace: Grace, now: Timestamp) -> Result<Option<Timestamp>, Error> {
    let environment: Option<Environment> =
        old.environment.as_deref().map(str::parse).transpose().map_err(Error::internal)?;
    tenant.scope.require(old.project_id.map(ProjectId::from_uuid), environment).map_err(|_| NOT_FOUND)?;
    // Whoever rotates it holds its successor.
    for permission in &old.permissions {
        tenant.require(permission.parse().map_err(Error::internal)?)?;
    }
    if let Some(successor) = old.successor_id {
        return Err(already_rotated(successor));
    }
    let rotating =
        RotatingKey { revoked_at: old.revoked_at, expires_at: old.expires_at, successor_id: None, disabled: false };
    let plan = rotation_plan(&rotating, grace, &SETTINGS, now).map_err(refusal)?;
    Ok(plan.grace_ends_at.map(|end| if end <= now { clock::just_past(now) } else { end }))
}

/// As long after `from` as the old token was made for; times end with the year 9999.
fn end_of_as_long(old: &TokenRow, end: Timestamp, from: Timestamp) -> Timestamp {
    from.checked_add_signed(end - old.created_at).filter(|later| later.year() < 10_000).unwrap_or(end)
}

fn already_rotated(successor: Uuid) -> Error {
    let successor = ServiceTokenId::from_uuid(successor);
    Error::Conflict {
        code: ErrorCode::AlreadyRotated,
        message: format!("this token was rotated already; its successor is {successor}"),
        field: None,
    }
}

fn refusal(refusal: RotationRefusal) -> Error {
    let ended = |message: &str| Error::Conflict { code: ErrorCode::Conflict, message: message.to_owned(), field: None };
    match refusal {
        RotationRefusal::Revoked => ended("this token is revoked; create a new one instead"),
        RotationRefusal::Expired => ended("this token has expired; create a new one instead"),
        RotationRefusal::GraceTooLong { max_seconds } => {
            Error::invalid("grace", format!("a token's grace is at most {}", duration_words(max_seconds)))
        }
        RotationRefusal::GraceInPast => Error::invalid("grace", "the end of the grace is past already"),
        RotationRefusal::AlreadyRotated { .. } => ended("this token was rotated already"),
    }
}
