//! What a list says of a service token.

use chrono::TimeDelta;

use crate::bounds::EXPIRES_SOON_DAYS;
use crate::time::Timestamp;
use crate::views::TokenView;

/// How a service token is; what ended it comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenState {
    /// Somebody ended it.
    Revoked,
    /// The clock ended it, or its grace.
    Expired,
    /// Another takes its place; until it expires both work.
    Rotating,
    /// The clock ends it within seven days, and nothing is there to take its place.
    ExpiresSoon,
    /// Nothing is to be said.
    Active,
}

impl TokenState {
    /// For people.
    pub fn label(self) -> &'static str {
        match self {
            Self::Revoked => "Revoked",
            Self::Expired => "Expired",
            Self::Rotating => "Rotating",
            Self::ExpiresSoon => "Expires soon",
            Self::Active => "Active",
        }
    }

    /// Whether it can still be rotated.
    pub fn is_rotatable(self) -> bool {
        matches!(self, Self::Active | Self::ExpiresSoon)
    }
}

/// How a token is at product time `now`.
pub fn token_state(token: &TokenView, now: Timestamp) -> TokenState {
    let ends_by = |end: Timestamp| token.expires_at.is_some_and(|expiry| expiry <= end);
    if token.revoked_at.is_some() {
        TokenState::Revoked
    } else if ends_by(now) {
        TokenState::Expired
    } else if token.successor_id.is_some() {
        TokenState::Rotating
    } else if ends_by(now + TimeDelta::days(EXPIRES_SOON_DAYS)) {
        TokenState::ExpiresSoon
    } else {
        TokenState::Active
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ServiceTokenId, TokenName};

    #[test]
    fn what_ended_it_comes_first() {
        use TokenState as S;
        let now = crate::parse_timestamp("2026-11-27T12:00:00Z").expect("a time");
        let in_hours = |hours| Some(now + TimeDelta::hours(hours));
        let id = ServiceTokenId::from_uuid(uuid::Uuid::nil());
        for (expires_at, successor_id, revoked_at, state) in [
            (None, None, None, S::Active),
            (in_hours(7 * 24 + 1), None, None, S::Active),
            (in_hours(7 * 24), None, None, S::ExpiresSoon),
            (in_hours(1), Some(id), None, S::Rotating),
            (in_hours(0), None, None, S::Expired),
            (in_hours(-1), Some(id), None, S::Expired),
            (in_hours(-1), Some(id), in_hours(-2), S::Revoked),
        ] {
            let token = TokenView {
                id,
                handle: "0Uz3kQ9aB12".parse().expect("a handle"),
                name: TokenName::parse("a token").expect("a name"),
                permissions: Vec::new(),
                project: None,
                environment: None,
                created_at: now,
                expires_at,
                revoked_at,
                last_used_at: None,
                successor_id,
            };
            assert_eq!(token_state(&token, now), state, "{token:?}");
        }
    }
}
