//! What pages and the API show. No view holds a hash, a tag or a secret; the one secret that is ever shown has its own type.

use std::fmt;

use serde::Serialize;

use crate::environment::Environment;
use crate::handle::Handle;
use crate::identifier::IdentifierPattern;
use crate::ids::{AuditEventId, InvitationId, KeyId, LimitId, ProjectId, RequestId, ServiceTokenId, SessionId, UserId};
use crate::limit::LimitRule;
use crate::names::{
    ExternalId, KeyName, LimitName, Namespace, ProjectName, ProjectSlug, RevokeReason, TenantSlug, TokenName,
};
use crate::permission::{Permission, Role};
use crate::permission_query::KeyPermission;
use crate::rotation::RotationView;
use crate::time::{Timestamp, serde_timestamp, serde_timestamp_option};
use crate::verdict::{KeyState, VerdictCode, ended_by_clock};

/// A key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeyView {
    /// Which key.
    pub id: KeyId,
    /// Its public part.
    pub handle: Handle,
    /// Its public part as people meet it: `tronch_sk_live_0…`.
    pub display_handle: String,
    /// What it is called; not unique.
    pub name: KeyName,
    /// Whose it is.
    pub tenant: TenantSlug,
    /// For which API.
    pub project: ProjectSlug,
    /// Test or live.
    pub environment: Environment,
    /// Whom it was issued to.
    pub owner: Option<OwnerView>,
    /// The tenant's JSON object as text. The doors put it into their answers as `metadata`.
    #[serde(skip)]
    pub metadata_json: String,
    /// What it holds.
    pub permissions: Vec<KeyPermission>,
    /// What it was when this view was made.
    pub state: KeyState,
    /// When it was made.
    #[serde(with = "serde_timestamp")]
    pub created_at: Timestamp,
    /// When it was last changed.
    #[serde(with = "serde_timestamp")]
    pub updated_at: Timestamp,
    /// When the clock ends it.
    #[serde(with = "serde_timestamp_option")]
    pub expires_at: Option<Timestamp>,
    /// When it was switched off.
    #[serde(with = "serde_timestamp_option")]
    pub disabled_at: Option<Timestamp>,
    /// When somebody ended it.
    #[serde(with = "serde_timestamp_option")]
    pub revoked_at: Option<Timestamp>,
    /// Why.
    pub revoke_reason: Option<RevokeReason>,
    /// Its place in a rotation.
    pub rotation: Option<RotationView>,
    /// When the clock ends it because it was rotated.
    #[serde(with = "serde_timestamp_option")]
    pub grace_ends_at: Option<Timestamp>,
    /// When it was last found valid.
    #[serde(with = "serde_timestamp_option")]
    pub last_used_at: Option<Timestamp>,
}

impl KeyView {
    /// Whether it is over for good at `now`: revoked, or ended by the clock, disabled or not.
    pub fn has_ended(&self, now: Timestamp) -> bool {
        self.state == KeyState::Revoked || ended_by_clock(self.expires_at, self.grace_ends_at, now)
    }
}

/// Whom a key was issued to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OwnerView {
    /// In the tenant's own words.
    pub external_id: ExternalId,
}

/// A secret on its way to the one answer that shows it. It neither prints nor serializes nor copies.
pub struct SecretOnce(String);

impl SecretOnce {
    /// Wraps a secret that was just made.
    pub fn new(secret: String) -> Self {
        Self(secret)
    }

    /// The text, for the answer; the wrapper is gone after it.
    pub fn expose_once(self) -> String {
        self.0
    }
}

impl fmt::Debug for SecretOnce {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SecretOnce(…)")
    }
}

/// A service token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TokenView {
    /// Which token.
    pub id: ServiceTokenId,
    /// Its public part.
    pub handle: Handle,
    /// What it is called.
    pub name: TokenName,
    /// What it may do.
    pub permissions: Vec<Permission>,
    /// The one project it is for, if only one.
    pub project: Option<ProjectSlug>,
    /// The one environment it is for, if only one.
    pub environment: Option<Environment>,
    /// When it was made.
    #[serde(with = "serde_timestamp")]
    pub created_at: Timestamp,
    /// When the clock ends it.
    #[serde(with = "serde_timestamp_option")]
    pub expires_at: Option<Timestamp>,
    /// When somebody ended it.
    #[serde(with = "serde_timestamp_option")]
    pub revoked_at: Option<Timestamp>,
    /// When it was last let in.
    #[serde(with = "serde_timestamp_option")]
    pub last_used_at: Option<Timestamp>,
    /// The token that takes its place: until it expires both work.
    pub successor_id: Option<ServiceTokenId>,
}

/// A project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProjectView {
    /// Which project.
    pub id: ProjectId,
    /// Its word in addresses and requests.
    pub slug: ProjectSlug,
    /// What people call it.
    pub name: ProjectName,
    /// The grace of a rotation that asks for none.
    pub default_grace_seconds: u32,
    /// The longest grace.
    pub max_grace_seconds: u32,
    /// Whether the end of a grace ends the old key.
    pub auto_revoke: bool,
    /// When it was made.
    #[serde(with = "serde_timestamp")]
    pub created_at: Timestamp,
    /// When it was last changed.
    #[serde(with = "serde_timestamp")]
    pub updated_at: Timestamp,
    /// When it was put away; its keys have all ended.
    #[serde(with = "serde_timestamp_option")]
    pub archived_at: Option<Timestamp>,
}

/// Whose calls a limit counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LimitOn {
    /// Those of one key.
    Key(KeyId),
    /// Those of all keys of one owner together.
    Owner(ExternalId),
    /// Those of each key of a project by itself, as long as neither key nor owner has a limit of the same name.
    Project {
        /// Which project.
        project: ProjectSlug,
        /// Of keys of this environment alone, before one that is of both.
        environment: Option<Environment>,
    },
    /// Those of each identifier that a service asks about, as long as no limit of the same name is nearer to it.
    Namespace {
        /// Of what kind they are.
        namespace: Namespace,
        /// Which of them.
        identifiers: IdentifierPattern,
    },
}

/// A limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitView {
    /// Which limit.
    pub id: LimitId,
    /// Whose calls it counts.
    pub on: LimitOn,
    /// What that key is called, if it is one key.
    pub key_name: Option<KeyName>,
    /// What it is called.
    pub name: LimitName,
    /// Whether each call is charged to it, or only one that names it.
    pub is_automatic: bool,
    /// Whether several nodes agree on it call by call; else each holds a little of it.
    pub is_exact: bool,
    /// How much may be used.
    pub rule: LimitRule,
    /// When it was set.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// Somebody in a tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberView {
    /// Who.
    pub id: UserId,
    /// What they are called.
    pub name: String,
    /// How they sign in.
    pub email: String,
    /// What they are here.
    pub role: Role,
    /// Since when.
    pub joined_at: Timestamp,
}

/// Where somebody is signed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionView {
    /// Which session.
    pub id: SessionId,
    /// The browser's own words about itself.
    pub user_agent: Option<String>,
    /// Where it was begun.
    pub address: Option<String>,
    /// When they signed in.
    pub began_at: Timestamp,
    /// To the minute.
    pub last_used_at: Timestamp,
    /// Whether it is the one that asks.
    pub is_this: bool,
}

/// Somebody who is asked into a tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvitationView {
    /// Which invitation.
    pub id: InvitationId,
    /// Whose address it is for.
    pub email: String,
    /// What they will be.
    pub role: Role,
    /// What whoever asked is called.
    pub invited_by: String,
    /// When they were asked last.
    pub created_at: Timestamp,
    /// Exclusive end.
    pub expires_at: Timestamp,
    /// What has become of the mail, where one was to be sent.
    pub mail: Option<MailState>,
}

/// What has become of a mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MailState {
    /// The server took it then.
    Sent(Timestamp),
    /// It waits; the server has not taken it so often, last because of that.
    Waits {
        /// Tries so far.
        attempts: u32,
        /// The server's words.
        error: Option<String>,
    },
}

/// Who changed what. Texts are as they were then: names change, history does not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AuditEventView {
    /// Which event.
    pub id: AuditEventId,
    /// When.
    #[serde(with = "serde_timestamp")]
    pub occurred_at: Timestamp,
    /// `member`, `service_token` or `operator`.
    pub actor_kind: String,
    /// The actor's id as text.
    pub actor_id: String,
    /// What the actor was called.
    pub actor_name: String,
    /// verb_noun: `rotate_key`.
    pub action: String,
    /// The noun of the target: `key`.
    pub target_kind: String,
    /// The target's id as text.
    pub target_id: String,
    /// What the target was called.
    pub target_name: String,
    /// The target before, as JSON text. The doors put it into their answers as `before`.
    #[serde(skip)]
    pub before_json: Option<String>,
    /// The target after, as JSON text. The doors put it into their answers as `after`.
    #[serde(skip)]
    pub after_json: Option<String>,
    /// The client's address.
    pub address: Option<String>,
    /// The client's own words about itself.
    pub user_agent: Option<String>,
    /// The request it happened in.
    pub request_id: Option<RequestId>,
    /// Why, where somebody said so.
    pub reason: Option<String>,
}

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Page<T> {
    /// In the list's order.
    pub items: Vec<T>,
    /// What to send for the page after this; `None` is the end.
    pub next_cursor: Option<String>,
}

impl<T> Page<T> {
    /// The same page of something else.
    pub fn map<U>(self, change: impl FnMut(T) -> U) -> Page<U> {
        Page { items: self.items.into_iter().map(change).collect(), next_cursor: self.next_cursor }
    }
}

/// How many validations ended how, in one stretch of time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UsagePoint {
    /// Where the stretch begins.
    #[serde(with = "serde_timestamp")]
    pub at: Timestamp,
    /// By verdict; those that did not occur may be left out.
    pub counts: Vec<(VerdictCode, u64)>,
}

#[cfg(test)]
pub(crate) mod tests;
