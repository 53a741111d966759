//! `/api/v1/service-tokens`.

use axum::Json;
use axum::extract::Path;
use axum::http::{StatusCode, Uri};
use serde::Deserialize;
use tronch_core::{
    Environment, Grace, Permission, ProjectSlug, SecretOnce, Timestamp, TokenName, serde_timestamp_option,
};
use tronch_engine::tokens::{self, NewToken};
use utoipa::ToSchema;

use super::confirm::{WaitParameter, confirmation};
use super::idempotency::KeyParameter;
use super::json::{Body, OptionalBody};
use super::openapi::Refused;
use super::out::{ListOut, NewTokenOut, TokenOut};
use super::query::Query;
use super::{Inside, id_of};
use crate::doors::problem::Problem;

/// What a new service token is to be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateTokenIn {
    /// 1–100 characters.
    #[schema(value_type = String, max_length = 100)]
    name: TokenName,
    /// At least one of the product's permissions, each held by the token that asks.
    #[schema(value_type = Vec<String>, example = json!(["keys.verify"]))]
    permissions: Vec<Permission>,
    /// Only for this project; the asking token's own when it has one.
    #[schema(value_type = Option<String>)]
    project: Option<ProjectSlug>,
    /// Only for this environment; the asking token's own when it has one.
    #[schema(value_type = Option<String>)]
    environment: Option<Environment>,
    /// RFC 3339, in the future.
    #[serde(default, with = "serde_timestamp_option")]
    #[schema(value_type = Option<String>)]
    expires_at: Option<Timestamp>,
}

/// List service tokens, the newest first.
#[utoipa::path(
    get, path = "/api/v1/service-tokens", tag = "service tokens", operation_id = "list_tokens",
    security(("service_token" = ["tokens.read"])),
    params(
        ("limit" = Option<u32>, Query, description = "rows of a page, 1–100; 25 when left out"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
    ),
    responses((status = 200, description = "One page", body = ListOut<TokenOut>), (status = "default", response = Refused))
)]
pub(crate) async fn list_tokens(inside: Inside, uri: Uri) -> Result<Json<ListOut<TokenOut>>, Problem> {
    let query = Query::read(&uri, &["limit", "cursor"])?;
    let page = tokens::list_tokens(&inside.tenant, query.text("cursor"), query.limit()?).await?;
    Ok(Json(ListOut::of(page, |token| Ok(token.into()))?))
}

/// Create a service token. Its secret is in this answer and never to be had again.
#[utoipa::path(
    post, path = "/api/v1/service-tokens", tag = "service tokens", operation_id = "create_token",
    security(("service_token" = ["tokens.write"])), params(KeyParameter), request_body = CreateTokenIn,
    responses((status = 201, description = "The token and its secret", body = NewTokenOut), (status = "default", response = Refused))
)]
pub(crate) async fn create_token(
    inside: Inside,
    Body(asked): Body<CreateTokenIn>,
) -> Result<(StatusCode, Json<NewTokenOut>), Problem> {
    let new_token = NewToken {
        name: asked.name,
        permissions: asked.permissions,
        project: asked.project.or_else(|| inside.project.clone()),
        environment: asked.environment.or(inside.environment),
        expires_at: asked.expires_at,
    };
    let made = tokens::create_token(&inside.tenant, new_token).await?;
    let secret = made.secret.map(SecretOnce::expose_once);
    Ok((StatusCode::CREATED, Json(NewTokenOut { service_token: made.token.into(), secret })))
}

/// How long the old token keeps working, and when the new one expires.
#[derive(Deserialize, Default, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RotateTokenIn {
    /// Seconds from now, at most 30 days; 0 ends the old token at once. A day when left out.
    #[schema(example = 3600)]
    grace_seconds: Option<u32>,
    /// RFC 3339, in the future. When left out, the new token lives as long as the old one was made for.
    #[serde(default, with = "serde_timestamp_option")]
    #[schema(value_type = Option<String>)]
    expires_at: Option<Timestamp>,
}

/// Issue a successor with the same permissions and limits; the old token keeps working until its grace ends.
#[utoipa::path(
    post, path = "/api/v1/service-tokens/{token_id}/rotate", tag = "service tokens", operation_id = "rotate_token",
    security(("service_token" = ["tokens.write"])),
    params(("token_id" = String, Path, description = "`stk_…` of the old token"), KeyParameter), request_body = Option<RotateTokenIn>,
    responses((status = 201, description = "The new token and its secret", body = NewTokenOut), (status = "default", response = Refused))
)]
pub(crate) async fn rotate_token(
    inside: Inside,
    Path(id): Path<String>,
    OptionalBody(asked): OptionalBody<RotateTokenIn>,
) -> Result<(StatusCode, Json<NewTokenOut>), Problem> {
    let grace = asked.grace_seconds.map_or(Grace::ProjectDefault, Grace::Seconds);
    let rotated = tokens::rotate_token(&inside.tenant, id_of(&id, "service token")?, grace, asked.expires_at)
        .await
        .map_err(|error| Problem::from(error).renamed("grace", "grace_seconds"))?;
    let secret = rotated.secret.map(SecretOnce::expose_once);
    Ok((StatusCode::CREATED, Json(NewTokenOut { service_token: rotated.successor.into(), secret })))
}

/// Revoke a service token, for ever. Revoking twice is fine.
#[utoipa::path(
    delete, path = "/api/v1/service-tokens/{token_id}", tag = "service tokens", operation_id = "revoke_token",
    security(("service_token" = ["tokens.write"])), params(("token_id" = String, Path, description = "`stk_…`"), KeyParameter, WaitParameter),
    responses((status = 200, description = "The token, revoked", body = TokenOut), (status = "default", response = Refused))
)]
pub(crate) async fn revoke_token(inside: Inside, Path(id): Path<String>, uri: Uri) -> Result<Json<TokenOut>, Problem> {
    let token = tokens::revoke_token(&inside.tenant, id_of(&id, "service token")?).await?;
    Ok(Json(TokenOut::from(token).with(confirmation(&inside.tenant, &uri).await?)))
}
