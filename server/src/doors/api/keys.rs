//! `/api/v1/keys`: each handler reads its request, calls one verb and writes the answer.

use axum::Json;
use axum::extract::Path;
use axum::http::{StatusCode, Uri};
use serde::{Deserialize, Deserializer};
use tronch_core::{
    Environment, ErrorCode, ExternalId, Grace, KeyId, KeyName, KeyPermission, KeyState, ProjectSlug, RevokeReason,
    SecretOnce, Timestamp, serde_timestamp_option,
};
use tronch_engine::keys::{self, KeyChange, KeyFilter, KeyOrder, KeysOf, Metadata, NewKey};
use utoipa::ToSchema;

use super::confirm::{WaitParameter, confirmation};
use super::idempotency::KeyParameter;
use super::json::{Body, Nothing, OptionalBody, given};
use super::openapi::Refused;
use super::out::{KeyOut, ListOut, NewKeyOut, RevokedKeysOut};
use super::query::Query;
use super::{Inside, id_of};
use crate::doors::problem::Problem;

/// Whom a key is issued to.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct OwnerIn {
    /// Your own name for them, 1–255 characters.
    #[schema(value_type = String, max_length = 255, example = "cus_42")]
    pub(super) external_id: ExternalId,
}

/// What a new key is to be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateKeyIn {
    /// 1–100 characters, not necessarily unique.
    #[schema(value_type = String, max_length = 100)]
    name: KeyName,
    /// `test` when left out.
    #[schema(value_type = Option<String>, example = "live")]
    environment: Option<Environment>,
    /// `default` when left out.
    #[schema(value_type = Option<String>, example = "default")]
    project: Option<ProjectSlug>,
    owner: Option<OwnerIn>,
    /// A JSON object of at most 8 KiB.
    #[schema(value_type = Option<Object>)]
    metadata: Option<serde_json::Value>,
    /// At most 100, in your own words; a trailing `*` stands for whatever follows.
    #[schema(value_type = Option<Vec<String>>, max_items = 100)]
    permissions: Option<Vec<KeyPermission>>,
    /// RFC 3339, in the future.
    #[serde(default, with = "serde_timestamp_option")]
    #[schema(value_type = Option<String>)]
    expires_at: Option<Timestamp>,
}

/// What of a key is to change; what is left out stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct UpdateKeyIn {
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, max_length = 100)]
    name: Option<KeyName>,
    /// `null` takes it away.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<OwnerIn>)]
    owner: Option<Option<OwnerIn>>,
    /// Replaces the whole object.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<Object>)]
    metadata: Option<serde_json::Value>,
    /// Replaces the whole list.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<Vec<String>>, max_items = 100)]
    permissions: Option<Vec<KeyPermission>>,
    /// `null` takes it away.
    #[serde(default, deserialize_with = "given_time")]
    #[schema(value_type = Option<String>)]
    expires_at: Option<Option<Timestamp>>,
}

/// How long the old key keeps working: one of the two, or the project's default.
#[derive(Deserialize, Default, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RotateKeyIn {
    /// Seconds from now; 0 ends the old key at once.
    #[schema(example = 3600)]
    grace_seconds: Option<u32>,
    /// RFC 3339.
    #[serde(default, with = "serde_timestamp_option")]
    #[schema(value_type = Option<String>)]
    grace_until: Option<Timestamp>,
}

/// Why a key is revoked.
#[derive(Deserialize, Default, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RevokeKeyIn {
    /// 1–500 characters, for the audit log.
    #[schema(value_type = Option<String>, max_length = 500)]
    reason: Option<RevokeReason>,
}

/// Which keys are revoked: those that meet all that is said.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RevokeKeysIn {
    /// Those that were issued to this owner.
    owner: Option<OwnerIn>,
    /// Those of this project.
    #[schema(value_type = Option<String>, example = "default")]
    project: Option<ProjectSlug>,
    /// Those of this environment.
    #[schema(value_type = Option<String>, example = "live")]
    environment: Option<Environment>,
    /// `true` where none of the three is said: every key that the token reaches.
    #[serde(default)]
    all: bool,
    /// Those that were made before. RFC 3339, not in the future; now when left out.
    #[serde(default, with = "serde_timestamp_option")]
    #[schema(value_type = Option<String>)]
    made_before: Option<Timestamp>,
    /// 1–500 characters, for the audit log.
    #[schema(value_type = Option<String>, max_length = 500)]
    reason: Option<RevokeReason>,
}

fn given_time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<Timestamp>>, D::Error> {
    serde_timestamp_option::deserialize(deserializer).map(Some)
}

type KeyPath = Path<String>;

/// List keys, the newest first unless asked otherwise.
#[utoipa::path(
    get, path = "/api/v1/keys", tag = "keys", operation_id = "list_keys", security(("service_token" = ["keys.read"])),
    params(
        ("project" = Option<String>, Query, description = "only of this project"),
        ("environment" = Option<String>, Query, description = "only `test` or `live`"),
        ("state" = Option<String>, Query, description = "only `active`, `disabled`, `revoked` or `expired`"),
        ("owner" = Option<String>, Query, description = "only issued to this `external_id`"),
        ("search" = Option<String>, Query, description = "part of a name, a whole owner or handle"),
        ("sort" = Option<String>, Query, description = "`created`, `name`, `last_used` or `ends`; `-` before it turns the order round. `-created` when left out"),
        ("limit" = Option<u32>, Query, description = "rows of a page, 1–100; 25 when left out"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
    ),
    responses((status = 200, description = "One page", body = ListOut<KeyOut>), (status = "default", response = Refused))
)]
pub(crate) async fn list_keys(inside: Inside, uri: Uri) -> Result<Json<ListOut<KeyOut>>, Problem> {
    let known = ["project", "environment", "state", "owner", "search", "sort", "limit", "cursor"];
    let query = Query::read(&uri, &known)?;
    let (order, descending) = query.field("sort", parse_sort)?.unwrap_or((KeyOrder::Created, true));
    let filter = KeyFilter {
        project: query.field("project", ProjectSlug::parse)?,
        environment: query.field("environment", str::parse::<Environment>)?,
        state: query.field("state", str::parse::<KeyState>)?,
        condition: None,
        owner: query.field("owner", ExternalId::parse)?,
        search: query.text("search").map(ToOwned::to_owned),
        order,
        descending,
        cursor: query.cursor(),
        limit: query.limit()?,
    };
    let page = keys::list_keys(&inside.tenant, &filter).await?;
    Ok(Json(ListOut::of(page, KeyOut::try_from)?))
}

fn parse_sort(text: &str) -> Result<(KeyOrder, bool), &'static str> {
    let (name, descending) = text.strip_prefix('-').map_or((text, false), |name| (name, true));
    let order = match name {
        "created" => KeyOrder::Created,
        "name" => KeyOrder::Name,
        "last_used" => KeyOrder::LastUsed,
        "ends" => KeyOrder::Ending,
        _ => return Err("sort by created, name, last_used or ends, with - before it for the other way round"),
    };
    Ok((order, descending))
}

/// Create a key. Its secret is in this answer and never to be had again.
#[utoipa::path(
    post, path = "/api/v1/keys", tag = "keys", operation_id = "create_key",
    security(("service_token" = ["keys.create"])), params(KeyParameter), request_body = CreateKeyIn,
    responses((status = 201, description = "The key and its secret", body = NewKeyOut), (status = "default", response = Refused))
)]
pub(crate) async fn create_key(
    inside: Inside,
    Body(asked): Body<CreateKeyIn>,
) -> Result<(StatusCode, Json<NewKeyOut>), Problem> {
    let new_key = NewKey {
        name: asked.name,
        project: inside.project_or_default(asked.project)?,
        environment: inside.environment_or_default(asked.environment),
        owner: asked.owner.map(|owner| owner.external_id),
        metadata: asked.metadata.map(Metadata::from_value).transpose()?.unwrap_or_default(),
        permissions: asked.permissions.unwrap_or_default(),
        expires_at: asked.expires_at,
    };
    let made = keys::create_key(&inside.tenant, new_key).await?;
    let secret = made.secret.map(SecretOnce::expose_once);
    Ok((StatusCode::CREATED, Json(NewKeyOut { key: made.key.try_into()?, secret, confirmation: None })))
}

/// Look at a key.
#[utoipa::path(
    get, path = "/api/v1/keys/{key_id}", tag = "keys", operation_id = "get_key",
    security(("service_token" = ["keys.read"])), params(("key_id" = String, Path, description = "`key_…`")),
    responses((status = 200, description = "The key", body = KeyOut), (status = "default", response = Refused))
)]
pub(crate) async fn get_key(inside: Inside, Path(id): KeyPath, uri: Uri) -> Result<Json<KeyOut>, Problem> {
    Query::read(&uri, &[])?;
    let key = keys::get_key(&inside.tenant, key_id(&id)?).await?;
    Ok(Json(key.try_into()?))
}

/// Change a key's name, owner, metadata, permissions or expiry.
#[utoipa::path(
    patch, path = "/api/v1/keys/{key_id}", tag = "keys", operation_id = "update_key",
    security(("service_token" = ["keys.update"])), params(("key_id" = String, Path, description = "`key_…`"), KeyParameter, WaitParameter),
    request_body = UpdateKeyIn,
    responses((status = 200, description = "The key as it is now", body = KeyOut), (status = "default", response = Refused))
)]
pub(crate) async fn update_key(
    inside: Inside,
    Path(id): KeyPath,
    uri: Uri,
    Body(asked): Body<UpdateKeyIn>,
) -> Result<Json<KeyOut>, Problem> {
    let change = KeyChange {
        name: asked.name,
        owner: asked.owner.map(|owner| owner.map(|owner| owner.external_id)),
        metadata: asked.metadata.map(Metadata::from_value).transpose()?,
        permissions: asked.permissions,
        expires_at: asked.expires_at,
        unless_changed_since: None,
    };
    let key = keys::change_key(&inside.tenant, key_id(&id)?, change).await?;
    Ok(Json(KeyOut::try_from(key)?.with(confirmation(&inside.tenant, &uri).await?)))
}

/// Revoke a key, for ever. Revoking twice is fine.
#[utoipa::path(
    delete, path = "/api/v1/keys/{key_id}", tag = "keys", operation_id = "revoke_key",
    security(("service_token" = ["keys.revoke"])), params(("key_id" = String, Path, description = "`key_…`"), KeyParameter, WaitParameter),
    request_body = Option<RevokeKeyIn>,
    responses((status = 200, description = "The key, revoked", body = KeyOut), (status = "default", response = Refused))
)]
pub(crate) async fn revoke_key(
    inside: Inside,
    Path(id): KeyPath,
    uri: Uri,
    OptionalBody(asked): OptionalBody<RevokeKeyIn>,
) -> Result<Json<KeyOut>, Problem> {
    let key = keys::revoke_key(&inside.tenant, key_id(&id)?, asked.reason).await?;
    Ok(Json(KeyOut::try_from(key)?.with(confirmation(&inside.tenant, &uri).await?)))
}

/// Revoke all keys of an owner, a project or an environment, for ever, however many they are.
///
/// Validation refuses them from this answer on, as with one. Keys that are made later work. Lists show a large number of
/// them as revoked some seconds later.
#[utoipa::path(
    post, path = "/api/v1/keys/revoke", tag = "keys", operation_id = "revoke_keys",
    security(("service_token" = ["keys.revoke"])), params(KeyParameter, WaitParameter), request_body = RevokeKeysIn,
    responses((status = 200, description = "What was revoked", body = RevokedKeysOut), (status = "default", response = Refused))
)]
pub(crate) async fn revoke_keys(
    inside: Inside,
    uri: Uri,
    Body(asked): Body<RevokeKeysIn>,
) -> Result<Json<RevokedKeysOut>, Problem> {
    let is_narrow = asked.owner.is_some() || asked.project.is_some() || asked.environment.is_some();
    if is_narrow == asked.all {
        let detail = "say which keys: owner, project or environment, or \"all\": true without any of them";
        return Err(Problem::new(ErrorCode::InvalidField, detail).at("all"));
    }
    let of = KeysOf {
        owner: asked.owner.map(|owner| owner.external_id),
        project: inside.project_or_all(asked.project),
        environment: inside.environment_or_all(asked.environment),
    };
    let what = keys::revoke_keys_of(&inside.tenant, of, asked.made_before, asked.reason).await?;
    Ok(Json(RevokedKeysOut::new(what, confirmation(&inside.tenant, &uri).await?)))
}

/// Issue a successor; the old key keeps working until its grace ends.
#[utoipa::path(
    post, path = "/api/v1/keys/{key_id}/rotate", tag = "keys", operation_id = "rotate_key",
    security(("service_token" = ["keys.rotate"])),
    params(("key_id" = String, Path, description = "`key_…` of the old key"), KeyParameter, WaitParameter), request_body = Option<RotateKeyIn>,
    responses((status = 201, description = "The new key and its secret", body = NewKeyOut), (status = "default", response = Refused))
)]
pub(crate) async fn rotate_key(
    inside: Inside,
    Path(id): KeyPath,
    uri: Uri,
    OptionalBody(asked): OptionalBody<RotateKeyIn>,
) -> Result<(StatusCode, Json<NewKeyOut>), Problem> {
    let (grace, field) = match (asked.grace_seconds, asked.grace_until) {
        (None, None) => (Grace::ProjectDefault, "grace_seconds"),
        (Some(seconds), None) => (Grace::Seconds(seconds), "grace_seconds"),
        (None, Some(end)) => (Grace::Until(end), "grace_until"),
        (Some(_), Some(_)) => {
            let detail = "send grace_seconds or grace_until, not both";
            return Err(Problem::new(ErrorCode::InvalidField, detail).at("grace_until"));
        }
    };
    let rotated = keys::rotate_key(&inside.tenant, key_id(&id)?, grace)
        .await
        .map_err(|error| Problem::from(error).renamed("grace", field))?;
    let secret = rotated.secret.map(SecretOnce::expose_once);
    let confirmation = confirmation(&inside.tenant, &uri).await?;
    Ok((StatusCode::CREATED, Json(NewKeyOut { key: rotated.successor.try_into()?, secret, confirmation })))
}

/// End the old key of a rotation before its grace does.
#[utoipa::path(
    post, path = "/api/v1/keys/{key_id}/finish-rotation", tag = "keys", operation_id = "finish_rotation",
    security(("service_token" = ["keys.rotate"])),
    params(("key_id" = String, Path, description = "`key_…` of the old key"), KeyParameter, WaitParameter),
    responses((status = 200, description = "The old key, ended", body = KeyOut), (status = "default", response = Refused))
)]
pub(crate) async fn finish_rotation(
    inside: Inside,
    Path(id): KeyPath,
    uri: Uri,
    OptionalBody(Nothing {}): OptionalBody<Nothing>,
) -> Result<Json<KeyOut>, Problem> {
    let key = keys::finish_rotation(&inside.tenant, key_id(&id)?).await?;
    Ok(Json(KeyOut::try_from(key)?.with(confirmation(&inside.tenant, &uri).await?)))
}

/// Switch a key off. Disabling twice is fine.
#[utoipa::path(
    post, path = "/api/v1/keys/{key_id}/disable", tag = "keys", operation_id = "disable_key",
    security(("service_token" = ["keys.update"])), params(("key_id" = String, Path, description = "`key_…`"), KeyParameter, WaitParameter),
    responses((status = 200, description = "The key as it is now", body = KeyOut), (status = "default", response = Refused))
)]
pub(crate) async fn disable_key(
    inside: Inside,
    Path(id): KeyPath,
    uri: Uri,
    OptionalBody(Nothing {}): OptionalBody<Nothing>,
) -> Result<Json<KeyOut>, Problem> {
    let key = keys::disable_key(&inside.tenant, key_id(&id)?).await?;
    Ok(Json(KeyOut::try_from(key)?.with(confirmation(&inside.tenant, &uri).await?)))
}

/// Switch a key on again. Enabling twice is fine.
#[utoipa::path(
    post, path = "/api/v1/keys/{key_id}/enable", tag = "keys", operation_id = "enable_key",
    security(("service_token" = ["keys.update"])), params(("key_id" = String, Path, description = "`key_…`"), KeyParameter),
    responses((status = 200, description = "The key as it is now", body = KeyOut), (status = "default", response = Refused))
)]
pub(crate) async fn enable_key(
    inside: Inside,
    Path(id): KeyPath,
    OptionalBody(Nothing {}): OptionalBody<Nothing>,
) -> Result<Json<KeyOut>, Problem> {
    let key = keys::enable_key(&inside.tenant, key_id(&id)?).await?;
    Ok(Json(key.try_into()?))
}

fn key_id(text: &str) -> Result<KeyId, Problem> {
    id_of(text, "key")
}
