//! Rotation: when the old key ends, whether it may be rotated at all, and how the pair is shown. Making the successor is
//! the engine's business.

use chrono::TimeDelta;
use serde::Serialize;

use crate::bounds::GRACE_SECONDS_MAX;
use crate::ids::KeyId;
use crate::time::{Timestamp, serde_timestamp_option};

/// How long the old key keeps working.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grace {
    /// Nothing was asked for: what the project says.
    ProjectDefault,
    /// Not at all.
    Now,
    /// For this long; 0 is the same as [`Grace::Now`].
    Seconds(u32),
    /// Until then.
    Until(Timestamp),
}

/// What a project says about rotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RotationSettings {
    /// The grace when nothing is asked for.
    pub default_grace_seconds: u32,
    /// The longest grace that may be asked for.
    pub max_grace_seconds: u32,
    /// Whether the end of the grace ends the old key. If not, it stays until somebody finishes the rotation.
    pub auto_revoke: bool,
}

/// All of the old key that its rotation depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RotatingKey {
    /// When somebody ended it. With all others of its owner, project or tenant counts as well: else its
    /// successor would undo that.
    pub revoked_at: Option<Timestamp>,
    /// When the clock ends it.
    pub expires_at: Option<Timestamp>,
    /// The key that replaced it, if one did.
    pub successor_id: Option<KeyId>,
    /// Switched off.
    pub disabled: bool,
}

/// What to write: the rest of the successor is a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RotationPlan {
    /// When the old key ends; `None` is "when somebody finishes the rotation".
    pub grace_ends_at: Option<Timestamp>,
    /// Whether the successor begins switched off, as the old key is.
    pub successor_disabled: bool,
}

/// Why a key is not rotated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RotationRefusal {
    /// A key rotates once.
    #[error("this key was rotated already; its successor is {successor_id}")]
    AlreadyRotated {
        /// The key that replaced it.
        successor_id: KeyId,
    },
    /// It was ended by somebody.
    #[error("this key is revoked; create a new one instead")]
    Revoked,
    /// It was ended by the clock.
    #[error("this key has expired; create a new one instead")]
    Expired,
    /// More than the project allows.
    #[error("the grace is at most {max_seconds} seconds in this project")]
    GraceTooLong {
        /// The longest grace, in seconds.
        max_seconds: u32,
    },
    /// An end that has been.
    #[error("the grace cannot end in the past")]
    GraceInPast,
}

/// Plans the rotation of a key at product time `now`. Its successor is named before anything else is refused, so that a
/// caller who lost the first answer finds it, even when the old key has ended meanwhile.
///
/// # Errors
/// Why the key or the grace cannot be taken.
pub fn rotation_plan(
    key: &RotatingKey,
    grace: Grace,
    settings: &RotationSettings,
    now: Timestamp,
) -> Result<RotationPlan, RotationRefusal> {
    if let Some(successor_id) = key.successor_id {
        return Err(RotationRefusal::AlreadyRotated { successor_id });
    }
    if key.revoked_at.is_some() {
        return Err(RotationRefusal::Revoked);
    }
    if key.expires_at.is_some_and(|end| now >= end) {
        return Err(RotationRefusal::Expired);
    }
    let asked_end = grace_end(grace, settings, now)?;
    // Without auto_revoke only somebody's explicit "now" ends the old key here: that is finishing the rotation at once,
    // and to let a leaked key live on against it would be the worse mistake.
    let ends_here = settings.auto_revoke || (grace != Grace::ProjectDefault && asked_end == now);
    let grace_ends_at = ends_here.then(|| key.expires_at.map_or(asked_end, |expiry| expiry.min(asked_end)));
    Ok(RotationPlan { grace_ends_at, successor_disabled: key.disabled })
}

fn grace_end(grace: Grace, settings: &RotationSettings, now: Timestamp) -> Result<Timestamp, RotationRefusal> {
    let max_seconds = settings.max_grace_seconds.min(GRACE_SECONDS_MAX);
    let too_long = RotationRefusal::GraceTooLong { max_seconds };
    let after = |seconds: u32| now.checked_add_signed(TimeDelta::seconds(i64::from(seconds))).ok_or(too_long);
    match grace {
        // A maximum that was lowered below the default is no reason to refuse who asked for nothing.
        Grace::ProjectDefault => after(settings.default_grace_seconds.min(max_seconds)),
        Grace::Now => Ok(now),
        Grace::Seconds(seconds) if seconds > max_seconds => Err(too_long),
        Grace::Seconds(seconds) => after(seconds),
        Grace::Until(end) if end < now => Err(RotationRefusal::GraceInPast),
        Grace::Until(end) if end - now > TimeDelta::seconds(i64::from(max_seconds)) => Err(too_long),
        Grace::Until(end) => Ok(end),
    }
}

/// Which end of a rotation a key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RotationRole {
    /// The old key.
    Predecessor,
    /// The new key.
    Successor,
}

/// `rotation` in answers, during grace and after.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "role", rename_all = "snake_case")]
pub enum RotationView {
    /// The old key.
    Predecessor {
        /// When it ends; `None` is "when somebody finishes the rotation".
        #[serde(with = "serde_timestamp_option")]
        grace_ends_at: Option<Timestamp>,
        /// The key that replaces it.
        successor_id: KeyId,
    },
    /// The new key.
    Successor {
        /// The key that it replaces.
        predecessor_id: KeyId,
    },
}

impl RotationView {
    /// How a key with these links is shown. One in the middle of a chain is shown as the old one of its later rotation:
    /// that is the one whose end its holder must know.
    pub fn of(
        predecessor_id: Option<KeyId>,
        successor_id: Option<KeyId>,
        grace_ends_at: Option<Timestamp>,
    ) -> Option<Self> {
        match (predecessor_id, successor_id) {
            (_, Some(successor_id)) => Some(Self::Predecessor { grace_ends_at, successor_id }),
            (Some(predecessor_id), None) => Some(Self::Successor { predecessor_id }),
            (None, None) => None,
        }
    }

    /// Which end it is.
    pub fn role(&self) -> RotationRole {
        match self {
            Self::Predecessor { .. } => RotationRole::Predecessor,
            Self::Successor { .. } => RotationRole::Successor,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    const KEY: RotatingKey = RotatingKey { revoked_at: None, expires_at: None, successor_id: None, disabled: false };
    const AUTO: RotationSettings =
        RotationSettings { default_grace_seconds: 60, max_grace_seconds: 3_600, auto_revoke: true };
    const BY_HAND: RotationSettings = RotationSettings { auto_revoke: false, ..AUTO };

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_timestamp(1_800_000_000 + seconds, 0).expect("in range")
    }

    fn id(value: u128) -> KeyId {
        KeyId::from_uuid(Uuid::from_u128(value))
    }

    fn grace_end_of(key: &RotatingKey, grace: Grace, settings: &RotationSettings) -> Option<Timestamp> {
        rotation_plan(key, grace, settings, at(0)).expect("it rotates").grace_ends_at
    }

    #[test]
    fn grace_ends_when_asked_and_at_the_old_keys_expiry_at_the_latest() {
        let expiring = RotatingKey { expires_at: Some(at(30)), ..KEY };
        let table = [
            (Grace::ProjectDefault, at(60), at(30)),
            (Grace::Now, at(0), at(0)),
            (Grace::Seconds(0), at(0), at(0)),
            (Grace::Seconds(29), at(29), at(29)),
            (Grace::Seconds(31), at(31), at(30)),
            (Grace::Seconds(3_600), at(3_600), at(30)),
            (Grace::Until(at(0)), at(0), at(0)),
            (Grace::Until(at(3_600)), at(3_600), at(30)),
        ];
        for (grace, end, end_if_expiring) in table {
            assert_eq!(grace_end_of(&KEY, grace, &AUTO), Some(end), "{grace:?}");
            assert_eq!(grace_end_of(&expiring, grace, &AUTO), Some(end_if_expiring), "{grace:?}");
        }
    }

    #[test]
    fn without_auto_revoke_the_old_key_stays_unless_it_is_to_end_now() {
        for grace in [Grace::ProjectDefault, Grace::Seconds(1), Grace::Seconds(3_600), Grace::Until(at(9))] {
            assert_eq!(grace_end_of(&KEY, grace, &BY_HAND), None, "{grace:?}");
        }
        for grace in [Grace::Now, Grace::Seconds(0), Grace::Until(at(0))] {
            assert_eq!(grace_end_of(&KEY, grace, &BY_HAND), Some(at(0)), "{grace:?}");
        }
        let no_default = RotationSettings { default_grace_seconds: 0, ..BY_HAND };
        assert_eq!(grace_end_of(&KEY, Grace::ProjectDefault, &no_default), None);
    }

    #[test]
    fn an_impossible_grace_is_refused() {
        let too_long = RotationRefusal::GraceTooLong { max_seconds: 3_600 };
        for settings in [AUTO, BY_HAND] {
            let table = [
                (Grace::Seconds(3_601), too_long),
                (Grace::Seconds(u32::MAX), too_long),
                (Grace::Until(at(3_601)), too_long),
                (Grace::Until(Timestamp::MAX_UTC), too_long),
                (Grace::Until(at(-1)), RotationRefusal::GraceInPast),
                (Grace::Until(Timestamp::MIN_UTC), RotationRefusal::GraceInPast),
            ];
            for (grace, refusal) in table {
                assert_eq!(rotation_plan(&KEY, grace, &settings, at(0)), Err(refusal), "{grace:?}");
            }
        }
        let boundless = RotationSettings { max_grace_seconds: u32::MAX, ..AUTO };
        let refusal = RotationRefusal::GraceTooLong { max_seconds: GRACE_SECONDS_MAX };
        assert_eq!(rotation_plan(&KEY, Grace::Seconds(GRACE_SECONDS_MAX + 1), &boundless, at(0)), Err(refusal));
    }

    #[test]
    fn a_default_above_the_maximum_is_cut_to_it() {
        let settings = RotationSettings { max_grace_seconds: 10, ..AUTO };
        assert_eq!(grace_end_of(&KEY, Grace::ProjectDefault, &settings), Some(at(10)));
    }

    #[test]
    fn a_key_that_has_ended_or_was_rotated_is_refused_and_a_successor_is_always_named() {
        let rotated = RotatingKey { successor_id: Some(id(7)), ..KEY };
        let already = RotationRefusal::AlreadyRotated { successor_id: id(7) };
        let table = [
            (rotated, already),
            (RotatingKey { revoked_at: Some(at(-5)), expires_at: Some(at(-5)), ..rotated }, already),
            (RotatingKey { revoked_at: Some(at(-5)), ..KEY }, RotationRefusal::Revoked),
            (RotatingKey { revoked_at: Some(at(5)), expires_at: Some(at(-5)), ..KEY }, RotationRefusal::Revoked),
            (RotatingKey { expires_at: Some(at(0)), ..KEY }, RotationRefusal::Expired),
        ];
        for (key, refusal) in table {
            // The grace is bad too, to show that the key is looked at first.
            assert_eq!(rotation_plan(&key, Grace::Until(at(-1)), &AUTO, at(0)), Err(refusal), "{key:?}");
        }
    }

    #[test]
    fn a_disabled_keys_successor_is_disabled() {
        for disabled in [false, true] {
            let plan = rotation_plan(&RotatingKey { disabled, ..KEY }, Grace::Now, &AUTO, at(0));
            assert_eq!(plan.map(|plan| plan.successor_disabled), Ok(disabled));
        }
    }

    #[test]
    fn links_become_the_role_whose_end_matters() {
        let predecessor = RotationView::Predecessor { grace_ends_at: Some(at(1)), successor_id: id(3) };
        assert_eq!(RotationView::of(None, None, None), None);
        assert_eq!(RotationView::of(None, Some(id(3)), Some(at(1))), Some(predecessor));
        assert_eq!(RotationView::of(Some(id(1)), Some(id(3)), Some(at(1))), Some(predecessor));
        let successor = RotationView::of(Some(id(1)), None, None).expect("a successor");
        assert_eq!((successor.role(), predecessor.role()), (RotationRole::Successor, RotationRole::Predecessor));
        insta::assert_json_snapshot!([predecessor, successor], @r#"
        [
          {
            "role": "predecessor",
            "grace_ends_at": "2027-01-15T08:00:01.000Z",
            "successor_id": "key_00000000000000000000000003"
          },
          {
            "role": "successor",
            "predecessor_id": "key_00000000000000000000000001"
          }
        ]
        "#);
    }

    proptest! {
        #[test]
        fn grace_never_ends_before_now_nor_after_maximum_or_expiry(
            seconds in prop::option::of(0_u32..10_000), until in -100_i64..10_000,
            expiry in prop::option::of(1_i64..10_000), default in 0_u32..10_000, max in 0_u32..10_000, auto_revoke: bool,
        ) {
            let grace = seconds.map_or(Grace::Until(at(until)), Grace::Seconds);
            let settings = RotationSettings { default_grace_seconds: default, max_grace_seconds: max, auto_revoke };
            let key = RotatingKey { expires_at: expiry.map(at), ..KEY };
            for grace in [grace, Grace::ProjectDefault] {
                let plan = rotation_plan(&key, grace, &settings, at(0));
                prop_assert!(grace != Grace::ProjectDefault || plan.is_ok());
                if let Ok(RotationPlan { grace_ends_at: Some(end), .. }) = plan {
                    prop_assert!(end >= at(0) && end <= at(i64::from(max)));
                    prop_assert!(key.expires_at.is_none_or(|expiry| end <= expiry));
                }
            }
        }
    }
}
