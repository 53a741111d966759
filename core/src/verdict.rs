//! Which key may pass: the whole policy as one pure function. Limits are charged, and gates and tags compared, elsewhere.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::environment::Environment;
use crate::ids::{KeyId, ProjectId, TenantId};
use crate::permission_query::{KeyPermission, PermissionQuery};
use crate::time::Timestamp;

/// The answer of validation. Codes are added, never renamed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum VerdictCode {
    /// The text is no key at all.
    Malformed,
    /// No such key, or another tenant's or project's: never told apart.
    NotFound,
    /// Revoked, itself or with all keys made before a certain time.
    Revoked,
    /// Switched off for now.
    Disabled,
    /// Its own end or the end of its grace has come.
    Expired,
    /// A test key where a live one is expected, or the reverse.
    EnvironmentMismatch,
    /// The client's address is not on the key's list.
    IpNotAllowed,
    /// The key works only with signed requests and this one is not.
    SignatureRequired,
    /// The signature does not fit the request.
    SignatureInvalid,
    /// The key does not hold what the query asks for.
    InsufficientPermissions,
    /// Over a rate limit.
    RateLimited,
    /// Over a quota.
    QuotaExceeded,
    /// May pass.
    Valid,
}

impl VerdictCode {
    /// Each, in the order of the checks: the first that fails is the answer.
    pub const ALL: [Self; 13] = [
        Self::Malformed,
        Self::NotFound,
        Self::Revoked,
        Self::Disabled,
        Self::Expired,
        Self::EnvironmentMismatch,
        Self::IpNotAllowed,
        Self::SignatureRequired,
        Self::SignatureInvalid,
        Self::InsufficientPermissions,
        Self::RateLimited,
        Self::QuotaExceeded,
        Self::Valid,
    ];

    /// Whether the key may pass.
    pub fn is_valid(self) -> bool {
        self == Self::Valid
    }

    /// The wire form.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "MALFORMED",
            Self::NotFound => "NOT_FOUND",
            Self::Revoked => "REVOKED",
            Self::Disabled => "DISABLED",
            Self::Expired => "EXPIRED",
            Self::EnvironmentMismatch => "ENVIRONMENT_MISMATCH",
            Self::IpNotAllowed => "IP_NOT_ALLOWED",
            Self::SignatureRequired => "SIGNATURE_REQUIRED",
            Self::SignatureInvalid => "SIGNATURE_INVALID",
            Self::InsufficientPermissions => "INSUFFICIENT_PERMISSIONS",
            Self::RateLimited => "RATE_LIMITED",
            Self::QuotaExceeded => "QUOTA_EXCEEDED",
            Self::Valid => "VALID",
        }
    }

    /// For people.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::Malformed => "This is no key.",
            Self::NotFound => "There is no such key here.",
            Self::Revoked => "This key was revoked.",
            Self::Disabled => "This key is disabled.",
            Self::Expired => "This key has expired.",
            Self::EnvironmentMismatch => "This key belongs to the other environment.",
            Self::IpNotAllowed => "This key may not be used from this address.",
            Self::SignatureRequired => "This key needs a signed request.",
            Self::SignatureInvalid => "The request's signature does not fit.",
            Self::InsufficientPermissions => "This key does not hold the permissions that are asked for.",
            Self::RateLimited => "This key is over its rate limit.",
            Self::QuotaExceeded => "This key has used up its quota.",
            Self::Valid => "This key may pass.",
        }
    }
}

impl fmt::Display for VerdictCode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

/// The text is on no list of verdict codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is no verdict code, such as VALID or REVOKED")]
pub struct ParseVerdictCodeError;

impl FromStr for VerdictCode {
    type Err = ParseVerdictCodeError;

    fn from_str(text: &str) -> Result<Self, ParseVerdictCodeError> {
        Self::ALL.into_iter().find(|code| code.as_str() == text).ok_or(ParseVerdictCodeError)
    }
}

/// What a list shows of a key, and what [`decide`] begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyState {
    /// May pass, as far as it alone is concerned.
    Active,
    /// Switched off; can be switched on again.
    Disabled,
    /// Ended by somebody, for ever.
    Revoked,
    /// Ended by the clock.
    Expired,
}

impl KeyState {
    /// Each.
    pub const ALL: [Self; 4] = [Self::Active, Self::Disabled, Self::Revoked, Self::Expired];

    /// The wire form.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Disabled => "disabled",
            Self::Revoked => "revoked",
            Self::Expired => "expired",
        }
    }
}

impl fmt::Display for KeyState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

/// The text names no state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a key's state is active, disabled, revoked or expired")]
pub struct ParseKeyStateError;

impl FromStr for KeyState {
    type Err = ParseKeyStateError;

    fn from_str(text: &str) -> Result<Self, ParseKeyStateError> {
        Self::ALL.into_iter().find(|state| state.as_str() == text).ok_or(ParseKeyStateError)
    }
}

/// All of a key that a verdict depends on, its limits apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySnapshot<'a> {
    /// The key.
    pub key_id: KeyId,
    /// Whose it is.
    pub tenant_id: TenantId,
    /// For which API.
    pub project_id: ProjectId,
    /// Test or live.
    pub environment: Environment,
    /// Switched off.
    pub disabled: bool,
    /// When somebody ended it, alone or with others.
    pub revoked_at: Option<Timestamp>,
    /// When the clock ends it.
    pub expires_at: Option<Timestamp>,
    /// When the clock ends it because it was rotated.
    pub grace_ends_at: Option<Timestamp>,
    /// What it holds.
    pub permissions: Cow<'a, [KeyPermission]>,
}

/// What the caller wants to know of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ask<'a> {
    /// The caller's tenant.
    pub tenant_id: TenantId,
    /// The project it expects.
    pub project_id: ProjectId,
    /// The environment it expects.
    pub environment: Environment,
    /// What the key must hold.
    pub permissions: Option<&'a PermissionQuery>,
}

/// Whether a key may pass at product time `now`, in the order of [`VerdictCode::ALL`]. Limits are charged after `Valid`.
pub fn decide(key: &KeySnapshot<'_>, ask: &Ask<'_>, now: Timestamp) -> VerdictCode {
    // Tenants are told apart here rather than in the look-up, so that asking for a stranger's handle changes no cache.
    if key.tenant_id != ask.tenant_id || key.project_id != ask.project_id {
        return VerdictCode::NotFound;
    }
    match state(key, now) {
        KeyState::Revoked => return VerdictCode::Revoked,
        KeyState::Disabled => return VerdictCode::Disabled,
        KeyState::Expired => return VerdictCode::Expired,
        KeyState::Active => {}
    }
    if key.environment != ask.environment {
        return VerdictCode::EnvironmentMismatch;
    }
    match ask.permissions {
        Some(query) if !query.allows(&key.permissions) => VerdictCode::InsufficientPermissions,
        _ => VerdictCode::Valid,
    }
}

/// Whether the clock has ended a key at product time `now`, by its own end or by that of its grace. Both are exclusive.
pub fn ended_by_clock(expires_at: Option<Timestamp>, grace_ends_at: Option<Timestamp>, now: Timestamp) -> bool {
    [expires_at, grace_ends_at].into_iter().flatten().any(|end| now >= end)
}

/// What a key is at product time `now`. A revocation counts whatever the clock says: one that jumps back revives nothing.
pub fn state(key: &KeySnapshot<'_>, now: Timestamp) -> KeyState {
    if key.revoked_at.is_some() {
        KeyState::Revoked
    } else if key.disabled {
        KeyState::Disabled
    } else if ended_by_clock(key.expires_at, key.grace_ends_at, now) {
        KeyState::Expired
    } else {
        KeyState::Active
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_timestamp_millis(1_800_000_000_000 + ms).expect("in range")
    }

    fn key() -> KeySnapshot<'static> {
        KeySnapshot {
            key_id: KeyId::from_uuid(Uuid::from_u128(1)),
            tenant_id: TenantId::from_uuid(Uuid::from_u128(2)),
            project_id: ProjectId::from_uuid(Uuid::from_u128(3)),
            environment: Environment::Live,
            disabled: false,
            revoked_at: None,
            expires_at: None,
            grace_ends_at: None,
            permissions: vec![KeyPermission::parse("invoices.*").expect("a permission")].into(),
        }
    }

    fn ask() -> Ask<'static> {
        let key = key();
        let (tenant_id, project_id, environment) = (key.tenant_id, key.project_id, key.environment);
        Ask { tenant_id, project_id, environment, permissions: None }
    }

    fn query(text: &str) -> PermissionQuery {
        PermissionQuery::parse(text).expect("a query")
    }

    #[test]
    fn codes_survive_their_wire_form() {
        for code in VerdictCode::ALL {
            assert_eq!(code.as_str().parse(), Ok(code));
            assert!(code.sentence().ends_with('.'));
        }
        assert_eq!("valid".parse::<VerdictCode>(), Err(ParseVerdictCodeError));
        assert!(VerdictCode::ALL.is_sorted());
    }

    #[test]
    fn states_survive_their_wire_form() {
        for state in KeyState::ALL {
            assert_eq!(state.as_str().parse(), Ok(state));
        }
        assert_eq!("Active".parse::<KeyState>(), Err(ParseKeyStateError));
    }

    #[test]
    fn ends_are_exclusive() {
        let ended_at = |ms| Some(at(ms));
        for snapshot in [
            KeySnapshot { expires_at: ended_at(10), ..key() },
            KeySnapshot { grace_ends_at: ended_at(10), ..key() },
            KeySnapshot { expires_at: ended_at(10), grace_ends_at: ended_at(99), ..key() },
            KeySnapshot { expires_at: ended_at(99), grace_ends_at: ended_at(10), ..key() },
        ] {
            assert_eq!(decide(&snapshot, &ask(), at(9)), VerdictCode::Valid);
            assert_eq!(decide(&snapshot, &ask(), at(10)), VerdictCode::Expired);
            assert_eq!(decide(&snapshot, &ask(), at(11)), VerdictCode::Expired);
        }
    }

    #[test]
    fn a_revocation_counts_before_its_time() {
        let snapshot = KeySnapshot { revoked_at: Some(at(1_000)), ..key() };
        assert_eq!(decide(&snapshot, &ask(), at(0)), VerdictCode::Revoked);
    }

    #[test]
    fn the_query_is_asked_of_what_the_key_holds() {
        for (text, expected) in [
            ("invoices.read AND invoices.write", VerdictCode::Valid),
            ("invoices.read AND admin", VerdictCode::InsufficientPermissions),
        ] {
            assert_eq!(decide(&key(), &Ask { permissions: Some(&query(text)), ..ask() }, at(5)), expected, "{text}");
        }
    }

    proptest! {
        /// Whatever else is wrong, the answer is the first code in the order of the product.
        #[test]
        fn the_first_failing_check_is_the_answer(
            other_tenant: bool, other_project: bool, revoked: bool, disabled: bool, expired: bool,
            grace_ended: bool, other_environment: bool, unpermitted: bool,
        ) {
            let other = Uuid::from_u128(9);
            let now = at(100);
            let mut ask = ask();
            if other_tenant { ask.tenant_id = TenantId::from_uuid(other); }
            if other_project { ask.project_id = ProjectId::from_uuid(other); }
            if other_environment { ask.environment = Environment::Test; }
            let query = query(if unpermitted { "admin" } else { "invoices.read" });
            ask.permissions = Some(&query);
            let snapshot = KeySnapshot {
                disabled,
                revoked_at: revoked.then_some(at(50)),
                expires_at: Some(at(if expired { 50 } else { 150 })),
                grace_ends_at: Some(at(if grace_ended { 50 } else { 150 })),
                ..key()
            };
            let failed = [
                (other_tenant || other_project, VerdictCode::NotFound),
                (revoked, VerdictCode::Revoked),
                (disabled, VerdictCode::Disabled),
                (expired || grace_ended, VerdictCode::Expired),
                (other_environment, VerdictCode::EnvironmentMismatch),
                (unpermitted, VerdictCode::InsufficientPermissions),
            ];
            let expected = failed.iter().filter(|(failed, _)| *failed).map(|(_, code)| *code).min();
            prop_assert_eq!(decide(&snapshot, &ask, now), expected.unwrap_or(VerdictCode::Valid));
        }

        /// Time alone only ever ends a key.
        #[test]
        fn what_has_ended_stays_ended(end in -100_i64..100, now in -100_i64..100, later in 0_i64..100) {
            let snapshot = KeySnapshot { expires_at: Some(at(end)), ..key() };
            let ended = state(&snapshot, at(now)) == KeyState::Expired;
            prop_assert!(!ended || state(&snapshot, at(now + later)) == KeyState::Expired);
        }
    }
}
