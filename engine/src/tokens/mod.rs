//! Service tokens: the credentials with which services and scripts call our API. Whether one may come in is decided in
//! `verify`.

mod bootstrap;
mod rotate;
pub(crate) mod rows;

use chrono::TimeDelta;
use diesel::prelude::*;
use tronch_core::{
    CredentialKind, Environment, Page, Permission, ProjectId, ProjectSlug, SecretOnce, ServiceTokenId, Timestamp,
    TokenName, TokenView,
    bounds::{EXPIRES_SOON_DAYS, PAGE_SIZE_MAX},
};
use uuid::Uuid;

use crate::audit::{self, Change};
use crate::clock;
use crate::cursor::Cursor;
use crate::error::Error;
use crate::once::ChangeTx;
use crate::projects;
use crate::schema::{projects as project_table, service_tokens};
use crate::secret::{self, Minted};
use crate::tenancy::{Tenant, TenantTx};
use rows::{NewTokenRow, TokenRow, audited};

pub use bootstrap::replace_bootstrap_token;
pub use rotate::{RotatedToken, rotate_token};

const NOT_FOUND: Error = Error::NotFound { noun: "service token" };

/// What cursors of this list begin with.
const LIST: &str = "tokens";

/// What a new service token is to be.
pub struct NewToken {
    /// What it is called.
    pub name: TokenName,
    /// What it may do; each must be held by whoever makes it.
    pub permissions: Vec<Permission>,
    /// Only for this project.
    pub project: Option<ProjectSlug>,
    /// Only for this environment.
    pub environment: Option<Environment>,
    /// When the clock ends it.
    pub expires_at: Option<Timestamp>,
}

/// What making a token made.
pub struct MadeToken {
    /// The token.
    pub token: TokenView,
    /// Its secret, never to be had again: nothing when the same write made the token before.
    pub secret: Option<SecretOnce>,
}

/// Makes a service token and returns its secret, which is never to be had again.
///
/// # Errors
/// `Forbidden` without `tokens.write` or when a permission is not held; `OutsideToken` outside a token's limits; `NotFound` for a project that is not there;
/// `Invalid` for no permission at all or an expiry that is past; `Unavailable`.
pub async fn create_token(tenant: &Tenant, new_token: NewToken) -> Result<MadeToken, Error> {
    tenant.require(Permission::TokensWrite)?;
    if let Some(token) = made_before(tenant).await? {
        return Ok(MadeToken { token, secret: None });
    }
    for permission in &new_token.permissions {
        tenant.require(*permission)?;
    }
    if let Some(refusal) = refusals(&new_token.permissions, new_token.expires_at).into_iter().next() {
        return Err(refusal);
    }
    // What is refused anyway is refused before anything is hashed, and hashing waits outside of a transaction.
    let mut transaction = tenant.begin().await?;
    let project = match &new_token.project {
        Some(slug) => Some(projects::find_open_project(&mut transaction, slug).await?),
        None => None,
    };
    transaction.commit().await?;
    // Nobody grants what he does not hold: a limited token makes tokens of its own limits.
    tenant.scope.require(project.as_ref().map(|project| project.id), new_token.environment)?;
    let minted = secret::mint(&tenant.engine, CredentialKind::ServiceToken, tenant.id).await?;
    let mut transaction = tenant.begin_change().await?;
    let token =
        insert(&mut transaction, &new_token, &minted, project.as_ref().map(|project| project.id), false).await?;
    record(tenant, &mut transaction, "create_token", None, &token).await?;
    transaction.commit(token.id).await?;
    let project_slug = project.map(|project| project.slug.as_str().to_owned());
    Ok(MadeToken { token: token.view(project_slug.as_deref())?, secret: Some(minted.secret) })
}

/// All that [`create_token`] would refuse of what is known so far, for a form that shows every error at once.
///
/// # Errors
/// `Forbidden` without `tokens.write`; `Unavailable`.
pub async fn refusals_of_new_token(
    tenant: &Tenant,
    project: Option<&ProjectSlug>,
    permissions: &[Permission],
    expires_at: Option<Timestamp>,
) -> Result<Vec<Error>, Error> {
    tenant.require(Permission::TokensWrite)?;
    let mut refusals = refusals(permissions, expires_at);
    refusals.extend(projects::refusal_of_place(tenant, project).await?);
    Ok(refusals)
}

fn refusals(permissions: &[Permission], expires_at: Option<Timestamp>) -> Vec<Error> {
    let none = permissions.is_empty().then(|| Error::invalid("permissions", "choose at least one permission"));
    none.into_iter().chain(Error::of_past_end(expires_at)).collect()
}

/// The token that the same write made or changed before, as it is now.
async fn made_before(tenant: &Tenant) -> Result<Option<TokenView>, Error> {
    let Some(earlier) = tenant.earlier() else { return Ok(None) };
    let mut transaction = tenant.begin().await?;
    let (token, project) = lock(&mut transaction, earlier).await?;
    transaction.commit().await?;
    token.view(project.as_deref()).map(Some)
}

async fn insert(
    transaction: &mut ChangeTx,
    new_token: &NewToken,
    minted: &Minted,
    project_id: Option<ProjectId>,
    bootstrap: bool,
) -> Result<TokenRow, Error> {
    let mut permissions: Vec<&str> = new_token.permissions.iter().map(|permission| permission.as_str()).collect();
    permissions.sort_unstable();
    permissions.dedup();
    let row = NewTokenRow {
        id: ServiceTokenId::generate(minted.created_at, crate::random::bytes()?).uuid(),
        project_id: project_id.map(ProjectId::uuid),
        environment: new_token.environment.map(Environment::as_str),
        handle: minted.handle.as_str(),
        name: new_token.name.as_str(),
        permissions,
        kdf_phc: &minted.kdf_phc,
        tag: minted.tag.as_bytes(),
        tag_key: minted.tag_key.as_bytes(),
        created_at: minted.created_at,
        expires_at: new_token.expires_at,
        bootstrap,
    };
    Ok(transaction
        .insert(service_tokens::table, &row)
        .returning(TokenRow::as_returning())
        .get_result(transaction)
        .await?)
}

/// One page of the tenant's service tokens, the newest first.
///
/// # Errors
/// `Forbidden` without `tokens.read`; `Invalid` for a limit or cursor that cannot be taken; `Unavailable`.
pub async fn list_tokens(tenant: &Tenant, cursor: Option<&str>, limit: u32) -> Result<Page<TokenView>, Error> {
    tenant.require(Permission::TokensRead)?;
    if !(1..=PAGE_SIZE_MAX).contains(&limit) {
        return Err(Error::invalid("limit", format!("a page has 1 to {PAGE_SIZE_MAX} rows")));
    }
    let mut transaction = tenant.begin().await?;
    let mut query = transaction
        .of(service_tokens::table)
        .left_join(project_table::table.on(service_tokens::project_id.eq(project_table::id.nullable())))
        .into_boxed();
    if let Some(project) = tenant.scope.project {
        query = query.filter(service_tokens::project_id.eq(project.uuid()));
    }
    if let Some(environment) = tenant.scope.environment {
        query = query.filter(service_tokens::environment.eq(environment.as_str()));
    }
    if let Some(cursor) = cursor {
        let (at, id) = Cursor::parse(LIST, cursor)?.time_and_id()?;
        let at = at.ok_or(Error::InvalidCursor)?;
        query = query
            .filter(service_tokens::created_at.le(at))
            .filter(service_tokens::created_at.lt(at).or(service_tokens::id.lt(id)));
    }
    let rows: Vec<(TokenRow, Option<String>)> = query
        .order((service_tokens::created_at.desc(), service_tokens::id.desc()))
        .limit(i64::from(limit) + 1)
        .select((TokenRow::as_select(), project_table::slug.nullable()))
        .load(&mut transaction)
        .await?;
    transaction.commit().await?;
    let size = limit as usize;
    let next_cursor = (rows.len() > size)
        .then(|| Cursor::of_time(LIST, Some(rows[size - 1].0.created_at), rows[size - 1].0.id).to_string());
    let items: Result<Vec<TokenView>, Error> =
        rows.into_iter().take(size).map(|(row, project)| row.view(project.as_deref())).collect();
    Ok(Page { items: items?, next_cursor })
}

/// The tenant's service tokens that the clock ends within seven days and that nobody has rotated, the next to end first, at most a page.
///
/// # Errors
/// `Forbidden` without `tokens.read`; `Unavailable`.
pub async fn expiring_tokens(tenant: &Tenant) -> Result<Vec<TokenView>, Error> {
    tenant.require(Permission::TokensRead)?;
    let now = clock::now();
    let mut transaction = tenant.begin().await?;
    let rows: Vec<(TokenRow, Option<String>)> = transaction
        .of(service_tokens::table)
        .left_join(project_table::table.on(service_tokens::project_id.eq(project_table::id.nullable())))
        .filter(service_tokens::revoked_at.is_null())
        .filter(service_tokens::successor_id.is_null())
        .filter(service_tokens::expires_at.gt(now))
        .filter(service_tokens::expires_at.le(now + TimeDelta::days(EXPIRES_SOON_DAYS)))
        .order(service_tokens::expires_at)
        .limit(i64::from(PAGE_SIZE_MAX))
        .select((TokenRow::as_select(), project_table::slug.nullable()))
        .load(&mut transaction)
        .await?;
    transaction.commit().await?;
    rows.into_iter().map(|(row, project)| row.view(project.as_deref())).collect()
}

/// Ends a service token for ever. Revoking twice keeps the first time.
///
/// # Errors
/// `Forbidden` without `tokens.write`; `NotFound`; `Unavailable`.
pub async fn revoke_token(tenant: &Tenant, token_id: ServiceTokenId) -> Result<TokenView, Error> {
    tenant.require(Permission::TokensWrite)?;
    if let Some(token) = made_before(tenant).await? {
        return Ok(token);
    }
    let mut transaction = tenant.begin_change().await?;
    let (before, project) = lock(&mut transaction, token_id.uuid()).await?;
    let environment = before.environment.as_deref().map(str::parse).transpose().map_err(Error::internal)?;
    if tenant.scope.require(before.project_id.map(ProjectId::from_uuid), environment).is_err() {
        return Err(NOT_FOUND);
    }
    let mut after = before.clone();
    if before.revoked_at.is_none() {
        after.revoked_at = Some(clock::now());
        transaction
            .of(service_tokens::table)
            .filter(service_tokens::id.eq(before.id))
            .set(service_tokens::revoked_at.eq(after.revoked_at))
            .execute(&mut transaction)
            .await?;
        record(tenant, &mut transaction, "revoke_token", Some(&before), &after).await?;
    }
    transaction.commit(after.id).await?;
    after.view(project.as_deref())
}

async fn lock(transaction: &mut TenantTx, id: Uuid) -> Result<(TokenRow, Option<String>), Error> {
    let row: Option<TokenRow> = transaction
        .of(service_tokens::table)
        .filter(service_tokens::id.eq(id))
        .select(TokenRow::as_select())
        .for_update()
        .first(transaction)
        .await
        .optional()?;
    let row = row.ok_or(NOT_FOUND)?;
    let project = match row.project_id {
        None => None,
        Some(project_id) => Some(projects::slug_of(transaction, project_id).await?),
    };
    Ok((row, project))
}

async fn record(
    tenant: &Tenant,
    transaction: &mut ChangeTx,
    action: &'static str,
    before: Option<&TokenRow>,
    after: &TokenRow,
) -> Result<(), Error> {
    let change = Change {
        action,
        target_kind: "service_token",
        target_id: ServiceTokenId::from_uuid(after.id).to_string(),
        target_name: &after.name,
        before: before.map(audited),
        after: Some(audited(after)),
        reason: None,
    };
    audit::record(transaction, &tenant.caller, change).await
}
