//! Nouns and rules: what a key is, and which key may pass. Pure: no I/O, no clock, no randomness, no async.
//!
//! Read it from the words everything else is made of, over the form of keys, to the rules; what the outside sees is last.

mod environment;
mod idempotency_key;
mod identifier;
mod ids;
mod names;
pub mod time;
mod token_state;

mod base62;
mod handle;
mod key;
mod malformed;

mod limit;
mod people;
mod permission;
mod permission_query;
mod rotation;
mod verdict;

pub mod bounds;
mod error_code;
mod key_health;
mod views;

pub use base62::random_digit;
pub use environment::{Environment, ParseEnvironmentError};
pub use error_code::{ErrorCode, ParseErrorCodeError};
pub use handle::{HANDLE_CHARACTERS, Handle, ParseHandleError, searchable};
pub use idempotency_key::{IdempotencyKey, ParseIdempotencyKeyError};
pub use identifier::{IdentifierPattern, PatternError, PatternNearness};
pub use ids::{
    AuditEventId, IdText, InvitationId, KeyId, LimitId, ParseIdError, ProjectId, RequestId, ServiceTokenId, SessionId,
    TenantId, UserId,
};
pub use key::{CREATED_MS_END, CREATED_MS_MIN, CredentialKind, GATE_VALUES, KeyDraft, PresentedKey, PresentedToken};
pub use key_health::{CallsOfTheDay, KeyHealth, key_health};
pub use limit::{
    Bucket, BucketState, CalendarUnit, Cost, InvalidLimit, LimitHalf, LimitRule, LimitState, LimitTime,
    ParseCalendarUnitError, ParseTimeZoneError, Reading, Refill, Refusal, Simulated, Span, TimeZone, TokenWish, Window,
    WindowKind, WindowState, Wish, simulate,
};
pub use malformed::MalformedReason;
pub use names::{
    EmailAddress, ExternalId, Identifier, KeyName, LimitName, NameError, Namespace, PersonName, ProjectName,
    ProjectSlug, RevokeReason, TenantName, TenantSlug, TokenName,
};
pub use people::{PeopleRight, has_right, may_give};
pub use permission::{ParsePermissionError, ParseRoleError, Permission, Role, grants};
pub use permission_query::{KeyPermission, KeyPermissionError, PermissionQuery, QueryError};
pub use rotation::{
    Grace, RotatingKey, RotationPlan, RotationRefusal, RotationRole, RotationSettings, RotationView, rotation_plan,
};
pub use time::{ParseTimestampError, Timestamp, duration_words, format_timestamp, parse_timestamp};
pub use time::{serde_timestamp, serde_timestamp_option};
pub use token_state::{TokenState, token_state};
pub use verdict::{
    Ask, KeySnapshot, KeyState, ParseKeyStateError, ParseVerdictCodeError, VerdictCode, decide, ended_by_clock, state,
};
pub use views::{
    AuditEventView, InvitationView, KeyView, LimitOn, LimitView, MailState, MemberView, OwnerView, Page, ProjectView,
    SecretOnce, SessionView, TokenView, UsagePoint,
};
