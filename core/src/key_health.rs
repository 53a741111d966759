//! How a key is doing, in one word: what a person should look at. Whether it may pass is decided in `verdict.rs`.

use chrono::TimeDelta;

use crate::bounds::{
    EXPIRES_SOON_DAYS, REFUSED_CALLS_MIN, REFUSED_PERCENT_MIN, UNUSED_DAYS, UNUSED_FROM_THE_START_DAYS,
};
use crate::time::Timestamp;
use crate::verdict::KeyState;
use crate::views::KeyView;
use crate::{RotationView, UsagePoint, VerdictCode};

/// The most pressing of what is to be said about a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyHealth {
    /// Ended by somebody, for ever.
    Revoked,
    /// Switched off.
    Disabled,
    /// Ended by the clock.
    Expired,
    /// Its own end is near; the end of a grace is `Rotating`.
    ExpiresSoon,
    /// Replaced, and still working.
    Rotating,
    /// Many of the last day's calls were refused, most of them by a limit.
    Limited,
    /// Many of the last day's calls were refused.
    ElevatedRefusals,
    /// Nobody has used it for long.
    Unused,
    /// It passes, and there is nothing else to be said.
    Active,
}

impl KeyHealth {
    /// For people.
    pub fn label(self) -> &'static str {
        match self {
            Self::Revoked => "Revoked",
            Self::Disabled => "Disabled",
            Self::Expired => "Expired",
            Self::ExpiresSoon => "Expires soon",
            Self::Rotating => "Rotating",
            Self::Limited => "Rate limited",
            Self::ElevatedRefusals => "Elevated refusals",
            Self::Unused => "Unused",
            Self::Active => "Active",
        }
    }
}

/// How the calls about a key ended in the last 24 hours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CallsOfTheDay {
    /// All of them.
    pub all: u64,
    /// Those that were not VALID.
    pub refused: u64,
    /// Those of them that a limit refused.
    pub limited: u64,
}

impl CallsOfTheDay {
    /// Adds up the points of a day.
    pub fn of(points: &[UsagePoint]) -> Self {
        let counts = points.iter().flat_map(|point| &point.counts);
        counts.fold(Self::default(), |calls, (code, count)| {
            let is_limit = matches!(code, VerdictCode::RateLimited | VerdictCode::QuotaExceeded);
            Self {
                all: calls.all + count,
                refused: calls.refused + if *code == VerdictCode::Valid { 0 } else { *count },
                limited: calls.limited + if is_limit { *count } else { 0 },
            }
        })
    }

    fn are_elevated(self) -> bool {
        self.refused >= REFUSED_CALLS_MIN
            && u128::from(self.refused) * 100 >= u128::from(self.all) * u128::from(REFUSED_PERCENT_MIN)
    }
}

/// What is most worth saying about a key, at `now`.
pub fn key_health(key: &KeyView, calls: CallsOfTheDay, now: Timestamp) -> KeyHealth {
    match key.state {
        KeyState::Revoked => return KeyHealth::Revoked,
        KeyState::Disabled => return KeyHealth::Disabled,
        KeyState::Expired => return KeyHealth::Expired,
        KeyState::Active => {}
    }
    if key.expires_at.is_some_and(|end| end <= now + TimeDelta::days(EXPIRES_SOON_DAYS)) {
        return KeyHealth::ExpiresSoon;
    }
    if matches!(key.rotation, Some(RotationView::Predecessor { .. })) {
        return KeyHealth::Rotating;
    }
    if calls.are_elevated() {
        let mostly_limits = calls.limited > calls.refused / 2;
        return if mostly_limits { KeyHealth::Limited } else { KeyHealth::ElevatedRefusals };
    }
    let (since, days) = match key.last_used_at {
        Some(used) => (used, UNUSED_DAYS),
        None => (key.created_at, UNUSED_FROM_THE_START_DAYS),
    };
    if since <= now - TimeDelta::days(days) { KeyHealth::Unused } else { KeyHealth::Active }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::views::tests::a_key;
    use crate::{KeyId, parse_timestamp};

    const NOW: &str = "2027-03-01T12:00:00Z";

    fn at(text: &str) -> Timestamp {
        parse_timestamp(text).expect("a time")
    }

    fn key(change: impl FnOnce(&mut KeyView)) -> KeyView {
        let mut key = a_key();
        key.created_at = at("2027-02-28T12:00:00Z");
        key.last_used_at = None;
        key.expires_at = None;
        key.rotation = None;
        key.state = KeyState::Active;
        change(&mut key);
        key
    }

    fn rotated(key: &mut KeyView) {
        key.rotation = Some(RotationView::Predecessor {
            grace_ends_at: Some(at("2027-03-02T12:00:00Z")),
            successor_id: KeyId::from_uuid(uuid::Uuid::from_u128(2)),
        });
    }

    #[test]
    fn the_most_pressing_word_wins() {
        let quiet = CallsOfTheDay::default();
        let bad = CallsOfTheDay { all: 40, refused: 12, limited: 6 };
        let limited = CallsOfTheDay { limited: 7, ..bad };
        let old = |key: &mut KeyView| key.created_at = at("2027-01-01T00:00:00Z");
        let table: Vec<(KeyHealth, KeyView, CallsOfTheDay)> = vec![
            (KeyHealth::Active, key(|_| {}), quiet),
            (
                KeyHealth::Active,
                key(|key| {
                    old(key);
                    key.last_used_at = Some(at("2027-02-01T00:00:00Z"))
                }),
                quiet,
            ),
            (
                KeyHealth::Unused,
                key(|key| {
                    old(key);
                    key.last_used_at = Some(at("2027-01-30T12:00:00Z"))
                }),
                quiet,
            ),
            (KeyHealth::Unused, key(old), quiet),
            (KeyHealth::Active, key(|key| key.created_at = at("2027-02-22T12:00:01Z")), quiet),
            (KeyHealth::Unused, key(|key| key.created_at = at("2027-02-22T12:00:00Z")), quiet),
            (KeyHealth::ElevatedRefusals, key(|_| {}), bad),
            (KeyHealth::ElevatedRefusals, key(old), bad),
            (KeyHealth::Limited, key(old), limited),
            (KeyHealth::Rotating, key(rotated), limited),
            (KeyHealth::Rotating, key(rotated), bad),
            (
                KeyHealth::ExpiresSoon,
                key(|key| {
                    rotated(key);
                    key.expires_at = Some(at("2027-03-08T12:00:00Z"))
                }),
                bad,
            ),
            (
                KeyHealth::Rotating,
                key(|key| {
                    rotated(key);
                    key.expires_at = Some(at("2027-03-08T12:00:01Z"))
                }),
                bad,
            ),
            (
                KeyHealth::Disabled,
                key(|key| {
                    rotated(key);
                    key.state = KeyState::Disabled
                }),
                bad,
            ),
            (
                KeyHealth::Expired,
                key(|key| {
                    rotated(key);
                    key.state = KeyState::Expired
                }),
                bad,
            ),
            (
                KeyHealth::Revoked,
                key(|key| {
                    rotated(key);
                    key.state = KeyState::Revoked
                }),
                bad,
            ),
        ];
        for (expected, key, calls) in table {
            assert_eq!(key_health(&key, calls, at(NOW)), expected, "{key:?} {calls:?}");
        }
    }

    #[test]
    fn refusals_are_elevated_when_they_are_many_and_a_fifth() {
        let table =
            [(0, 0, false), (10, 10, true), (9, 9, false), (50, 10, true), (51, 10, false), (u64::MAX, u64::MAX, true)];
        for (all, refused, elevated) in table {
            assert_eq!(CallsOfTheDay { all, refused, limited: 0 }.are_elevated(), elevated, "{refused} of {all}");
        }
        let point = |counts: &[(VerdictCode, u64)]| UsagePoint { at: at(NOW), counts: counts.to_vec() };
        let points = [
            point(&[(VerdictCode::Valid, 3), (VerdictCode::RateLimited, 1)]),
            point(&[(VerdictCode::QuotaExceeded, 2), (VerdictCode::Expired, 1)]),
        ];
        assert_eq!(CallsOfTheDay::of(&points), CallsOfTheDay { all: 7, refused: 4, limited: 3 });
    }
}
