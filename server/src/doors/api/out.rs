//! What the API answers, field by field. A changed line here changes the contract; a test compares the description.

use serde::Serialize;
use serde_json::value::RawValue;
use tronch_core::{AuditEventView, KeyView, OwnerView, Page, ProjectView, RotationView, TokenView, format_timestamp};
use tronch_engine::Error;
use tronch_engine::keys::RevokedKeys;
use utoipa::ToSchema;

use super::confirm::ConfirmationOut;
use crate::doors::problem::Problem;

type Time = tronch_core::Timestamp;

fn time(time: Option<Time>) -> Option<String> {
    time.map(format_timestamp)
}

/// JSON text of the engine's, as it is.
pub(crate) fn raw(text: String) -> Result<Box<RawValue>, Problem> {
    RawValue::from_string(text).map_err(|error| Problem::from(Error::Internal(Box::new(error))))
}

/// One page of a list.
#[derive(Serialize, ToSchema)]
pub(crate) struct ListOut<T> {
    /// In the list's order.
    items: Vec<T>,
    /// What to send as `cursor` for the page after this; `null` is the end.
    next_cursor: Option<String>,
}

impl<T> ListOut<T> {
    pub(crate) fn of<V>(page: Page<V>, change: impl FnMut(V) -> Result<T, Problem>) -> Result<Self, Problem> {
        let items: Result<Vec<T>, Problem> = page.items.into_iter().map(change).collect();
        Ok(Self { items: items?, next_cursor: page.next_cursor })
    }
}

/// Whom a key was issued to.
#[derive(Serialize, ToSchema)]
pub(crate) struct OwnerOut {
    /// The tenant's own name for them.
    #[schema(example = "cus_42")]
    external_id: String,
}

impl OwnerOut {
    pub(crate) fn of(external_id: &tronch_core::ExternalId) -> Self {
        Self { external_id: external_id.to_string() }
    }
}

impl From<OwnerView> for OwnerOut {
    fn from(view: OwnerView) -> Self {
        Self::of(&view.external_id)
    }
}

/// A key's place in a rotation, during its grace and after.
#[derive(Serialize, ToSchema)]
#[serde(tag = "role", rename_all = "snake_case")]
pub(crate) enum RotationOut {
    /// It was replaced.
    Predecessor {
        /// When it ends; `null` is "when somebody finishes the rotation".
        grace_ends_at: Option<String>,
        /// The new key.
        successor_id: String,
    },
    /// It replaced another.
    Successor {
        /// The old key.
        predecessor_id: String,
    },
}

impl From<RotationView> for RotationOut {
    fn from(view: RotationView) -> Self {
        match view {
            RotationView::Predecessor { grace_ends_at, successor_id } => {
                Self::Predecessor { grace_ends_at: time(grace_ends_at), successor_id: successor_id.to_string() }
            }
            RotationView::Successor { predecessor_id } => {
                Self::Successor { predecessor_id: predecessor_id.to_string() }
            }
        }
    }
}

/// A key. Its secret is nowhere in it.
#[derive(Serialize, ToSchema)]
pub(crate) struct KeyOut {
    #[schema(example = "key_01h455vb4pex5vsknk084sn02q")]
    id: String,
    /// The public part, safe to show and to log.
    #[schema(example = "0Uz3kQ9aB12")]
    handle: String,
    /// The public part as people meet it.
    #[schema(example = "tronch_sk_live_0Uz3kQ9aB12…")]
    display_handle: String,
    name: String,
    tenant: String,
    project: String,
    /// `test` or `live`.
    environment: String,
    owner: Option<OwnerOut>,
    /// The tenant's own data.
    #[schema(value_type = Object)]
    metadata: Box<RawValue>,
    /// In the tenant's own words.
    permissions: Vec<String>,
    /// `active`, `disabled`, `revoked` or `expired`, as of this answer.
    state: String,
    created_at: String,
    updated_at: String,
    expires_at: Option<String>,
    disabled_at: Option<String>,
    revoked_at: Option<String>,
    revoke_reason: Option<String>,
    rotation: Option<RotationOut>,
    last_used_at: Option<String>,
    /// With `wait=all`: which nodes go by the change.
    #[serde(skip_serializing_if = "Option::is_none")]
    confirmation: Option<ConfirmationOut>,
}

impl KeyOut {
    pub(crate) fn with(self, confirmation: Option<ConfirmationOut>) -> Self {
        Self { confirmation, ..self }
    }
}

impl TryFrom<KeyView> for KeyOut {
    type Error = Problem;

    fn try_from(view: KeyView) -> Result<Self, Problem> {
        Ok(Self {
            id: view.id.to_string(),
            handle: view.handle.to_string(),
            display_handle: view.display_handle,
            name: view.name.to_string(),
            tenant: view.tenant.to_string(),
            project: view.project.to_string(),
            environment: view.environment.to_string(),
            owner: view.owner.map(OwnerOut::from),
            metadata: raw(view.metadata_json)?,
            permissions: view.permissions.iter().map(|permission| permission.as_str().to_owned()).collect(),
            state: view.state.to_string(),
            created_at: format_timestamp(view.created_at),
            updated_at: format_timestamp(view.updated_at),
            expires_at: time(view.expires_at),
            disabled_at: time(view.disabled_at),
            revoked_at: time(view.revoked_at),
            revoke_reason: view.revoke_reason.map(|reason| reason.to_string()),
            rotation: view.rotation.map(RotationOut::from),
            last_used_at: time(view.last_used_at),
            confirmation: None,
        })
    }
}

/// A key that was just made, and its secret.
#[derive(Serialize, ToSchema)]
pub(crate) struct NewKeyOut {
    pub(crate) key: KeyOut,
    /// The whole key, in this answer and never again; `null` in the answer to a repeat.
    #[schema(example = "tronch_sk_live_…")]
    pub(crate) secret: Option<String>,
    /// With `wait=all`: which nodes go by the change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) confirmation: Option<ConfirmationOut>,
}

/// Many keys that were revoked at once.
#[derive(Serialize, ToSchema)]
pub(crate) struct RevokedKeysOut {
    /// Whose, or `null` for anybody's.
    owner: Option<OwnerOut>,
    /// Of which project, or `null` for any.
    project: Option<String>,
    /// Of which environment, or `null` for both.
    environment: Option<String>,
    /// Every one of them that was made before is revoked.
    made_before: String,
    /// How many were not before.
    #[schema(example = 12)]
    revoked: u64,
    /// With `wait=all`: which nodes go by the change.
    #[serde(skip_serializing_if = "Option::is_none")]
    confirmation: Option<ConfirmationOut>,
}

impl RevokedKeysOut {
    pub(crate) fn new(what: RevokedKeys, confirmation: Option<ConfirmationOut>) -> Self {
        Self {
            owner: what.of.owner.as_ref().map(OwnerOut::of),
            project: what.of.project.map(|project| project.to_string()),
            environment: what.of.environment.map(|environment| environment.to_string()),
            made_before: format_timestamp(what.made_before),
            revoked: what.revoked,
            confirmation,
        }
    }
}

/// A service token. Its secret is nowhere in it.
#[derive(Serialize, ToSchema)]
pub(crate) struct TokenOut {
    #[schema(example = "stk_01h455vb4pex5vsknk084sn02q")]
    id: String,
    handle: String,
    name: String,
    permissions: Vec<String>,
    /// The one project it is for, or `null`.
    project: Option<String>,
    /// The one environment it is for, or `null`.
    environment: Option<String>,
    created_at: String,
    expires_at: Option<String>,
    revoked_at: Option<String>,
    last_used_at: Option<String>,
    /// The token that takes its place: until `expires_at` both work. `null` when it was not rotated.
    successor_id: Option<String>,
    /// With `wait=all`: which nodes go by the change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) confirmation: Option<ConfirmationOut>,
}

impl TokenOut {
    pub(crate) fn with(self, confirmation: Option<ConfirmationOut>) -> Self {
        Self { confirmation, ..self }
    }
}

impl From<TokenView> for TokenOut {
    fn from(view: TokenView) -> Self {
        Self {
            id: view.id.to_string(),
            handle: view.handle.to_string(),
            name: view.name.to_string(),
            permissions: view.permissions.iter().map(|permission| permission.as_str().to_owned()).collect(),
            project: view.project.map(|project| project.to_string()),
            environment: view.environment.map(|environment| environment.to_string()),
            created_at: format_timestamp(view.created_at),
            expires_at: time(view.expires_at),
            revoked_at: time(view.revoked_at),
            last_used_at: time(view.last_used_at),
            successor_id: view.successor_id.map(|id| id.to_string()),
            confirmation: None,
        }
    }
}

/// A service token that was just made, and its secret.
#[derive(Serialize, ToSchema)]
pub(crate) struct NewTokenOut {
    pub(crate) service_token: TokenOut,
    /// The whole token, in this answer and never again; `null` in the answer to a repeat.
    #[schema(example = "tronch_st_…")]
    pub(crate) secret: Option<String>,
}

/// A project.
#[derive(Serialize, ToSchema)]
pub(crate) struct ProjectOut {
    id: String,
    slug: String,
    name: String,
    /// The grace of a rotation that asks for none.
    default_grace_seconds: u32,
    /// The longest grace a rotation may ask for.
    max_grace_seconds: u32,
    /// Whether the end of a grace ends the old key; without it somebody finishes the rotation.
    auto_revoke: bool,
    created_at: String,
    updated_at: String,
    /// Archived projects take no keys.
    archived_at: Option<String>,
}

impl From<ProjectView> for ProjectOut {
    fn from(view: ProjectView) -> Self {
        Self {
            id: view.id.to_string(),
            slug: view.slug.to_string(),
            name: view.name.to_string(),
            default_grace_seconds: view.default_grace_seconds,
            max_grace_seconds: view.max_grace_seconds,
            auto_revoke: view.auto_revoke,
            created_at: format_timestamp(view.created_at),
            updated_at: format_timestamp(view.updated_at),
            archived_at: time(view.archived_at),
        }
    }
}

/// Who or what an audit event is about, as it was then.
#[derive(Serialize, ToSchema)]
pub(crate) struct PartyOut {
    /// An actor is a `member`, a `service_token` or the `operator`; a target any noun of the product.
    kind: String,
    id: String,
    name: String,
}

/// Who changed what.
#[derive(Serialize, ToSchema)]
pub(crate) struct AuditEventOut {
    id: String,
    occurred_at: String,
    actor: PartyOut,
    /// verb_noun.
    #[schema(example = "rotate_key")]
    action: String,
    target: PartyOut,
    /// The target before, without secrets.
    #[schema(value_type = Option<Object>)]
    before: Option<Box<RawValue>>,
    /// The target after, without secrets.
    #[schema(value_type = Option<Object>)]
    after: Option<Box<RawValue>>,
    reason: Option<String>,
    address: Option<String>,
    user_agent: Option<String>,
    request_id: Option<String>,
}

impl TryFrom<AuditEventView> for AuditEventOut {
    type Error = Problem;

    fn try_from(view: AuditEventView) -> Result<Self, Problem> {
        Ok(Self {
            id: view.id.to_string(),
            occurred_at: format_timestamp(view.occurred_at),
            actor: PartyOut { kind: view.actor_kind, id: view.actor_id, name: view.actor_name },
            action: view.action,
            target: PartyOut { kind: view.target_kind, id: view.target_id, name: view.target_name },
            before: view.before_json.map(raw).transpose()?,
            after: view.after_json.map(raw).transpose()?,
            reason: view.reason,
            address: view.address,
            user_agent: view.user_agent,
            request_id: view.request_id.map(|id| id.to_string()),
        })
    }
}
