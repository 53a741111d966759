//! The token that `tronch bootstrap` prints: one a tenant, with every permission, replaced each time.

use diesel::prelude::*;
use tronch_core::{CredentialKind, Permission, SecretOnce, TokenName, TokenView};
use uuid::Uuid;

use super::rows::TokenRow;
use super::{NewToken, insert, record};
use crate::clock;
use crate::error::Error;
use crate::once::ChangeTx;
use crate::schema::service_tokens;
use crate::secret;
use crate::tenancy::Tenant;

/// Makes the tenant's bootstrap token and ends the one before it, all or nothing.
///
/// # Errors
/// `Forbidden` for anybody but the operator; `Unavailable`.
pub async fn replace_bootstrap_token(tenant: &Tenant) -> Result<(TokenView, SecretOnce), Error> {
    tenant.caller.require_operator()?;
    let minted = secret::mint(&tenant.engine, CredentialKind::ServiceToken, tenant.id).await?;
    let mut transaction = tenant.begin_change().await?;
    // Two at once come one after the other: the second ends the token of the first.
    transaction.lock_tenant().await?;
    let before: Option<TokenRow> = transaction
        .of(service_tokens::table)
        .filter(service_tokens::bootstrap)
        .filter(service_tokens::revoked_at.is_null())
        .select(TokenRow::as_select())
        .first(&mut transaction)
        .await
        .optional()?;
    if let Some(before) = before {
        let after: TokenRow = transaction
            .of(service_tokens::table)
            .filter(service_tokens::id.eq(before.id))
            .set(service_tokens::revoked_at.eq(clock::now()))
            .returning(TokenRow::as_returning())
            .get_result(&mut transaction)
            .await?;
        record(tenant, &mut transaction, "revoke_token", Some(&before), &after).await?;
        revoke_rotated(tenant, &mut transaction, before.id).await?;
    }
    let new_token = NewToken {
        name: TokenName::parse("bootstrap").map_err(Error::internal)?,
        permissions: Permission::ALL.to_vec(),
        project: None,
        environment: None,
        expires_at: None,
    };
    let token = insert(&mut transaction, &new_token, &minted, None, true).await?;
    record(tenant, &mut transaction, "create_token", None, &token).await?;
    transaction.commit(token.id).await?;
    Ok((token.view(None)?, minted.secret))
}

/// Ends those whose place a token took and whose grace still runs.
async fn revoke_rotated(tenant: &Tenant, transaction: &mut ChangeTx, successor: Uuid) -> Result<(), Error> {
    let mut successor = Some(successor);
    while let Some(id) = successor.take() {
        let before: Option<TokenRow> = transaction
            .of(service_tokens::table)
            .filter(service_tokens::successor_id.eq(id))
            .select(TokenRow::as_select())
            .first(transaction)
            .await
            .optional()?;
        let Some(before) = before else { return Ok(()) };
        successor = Some(before.id);
        if before.revoked_at.is_some() {
            continue;
        }
        let after: TokenRow = transaction
            .of(service_tokens::table)
            .filter(service_tokens::id.eq(before.id))
            .set(service_tokens::revoked_at.eq(clock::now()))
            .returning(TokenRow::as_returning())
            .get_result(transaction)
            .await?;
        record(tenant, transaction, "revoke_token", Some(&before), &after).await?;
    }
    Ok(())
}
