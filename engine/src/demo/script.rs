//! What is to happen in a demo: which keys and tokens there are, what is done to them and when. Purely: ids, secrets and
//! rows are not here.

use chrono::{Datelike as _, TimeDelta, Timelike as _, Weekday};
use serde_json::{Value, json};
use tronch_core::{Environment, Permission, Timestamp};

use super::cast::{CUSTOMERS, PROJECTS};
use super::dice::Dice;

/// When the tenant was founded, in days ago.
const FOUNDED_DAYS: i64 = 210;

/// When a key leaked and was revoked, which its holder noticed late.
const INCIDENT_DAYS: i64 = 9;
const INCIDENT_CLOCK: (u32, u32) = (13, 7);

/// How a key fares. What is known of each is a time, so that every state a key can be in is there whenever one looks.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fate {
    /// In use, and nothing special.
    Active,
    NeverUsed,
    /// Switched off, days ago.
    Disabled(i64),
    /// Revoked, days ago, and why.
    Revoked(i64, &'static str),
    /// Ended by its own expiry, days ago.
    Expired(i64),
    /// Will end by its own expiry, in hours.
    Ending(i64),
    /// Rotated.
    Rotated(Rotation),
    /// Good, but often used for what it does not hold.
    Misused,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Rotation {
    hours_ago: i64,
    grace_hours: i64,
    /// Whether somebody ended the grace before its time.
    finished_hours_ago: Option<i64>,
}

const fn rotated(hours_ago: i64, grace_hours: i64, finished_hours_ago: Option<i64>) -> Fate {
    Fate::Rotated(Rotation { hours_ago, grace_hours, finished_hours_ago })
}

/// How many keys have each fate. The first that was revoked is the incident's; a rotated one brings its successor.
const FATES: [(Fate, usize); 22] = [
    (Fate::Active, 26),
    (Fate::NeverUsed, 4),
    (Fate::Disabled(2), 1),
    (Fate::Disabled(6), 1),
    (Fate::Disabled(11), 2),
    (Fate::Revoked(INCIDENT_DAYS, "Leaked in a public repository"), 1),
    (Fate::Revoked(3, "The customer has left"), 1),
    (Fate::Revoked(15, "Found in a support ticket"), 1),
    (Fate::Revoked(22, "Lost laptop"), 2),
    (Fate::Revoked(48, "Issued by mistake"), 2),
    (Fate::Expired(1), 1),
    (Fate::Expired(8), 2),
    (Fate::Expired(25), 1),
    (Fate::Ending(20), 1),
    (Fate::Ending(75), 1),
    (Fate::Ending(150), 1),
    (rotated(10, 24, None), 1),
    (rotated(30, 7 * 24, None), 1),
    (rotated(72, 14 * 24, None), 1),
    (rotated(20 * 24, 7 * 24, None), 2),
    (rotated(6 * 24, 7 * 24, Some(4 * 24)), 1),
    (Fate::Misused, 2),
];

/// Who does something: somebody of [`super::cast::PEOPLE`], or the first service token.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Actor {
    Person(usize),
    Provisioning,
}

const OWNER: Actor = Actor::Person(0);
const ADMIN: Actor = Actor::Person(1);
const DEVELOPER: Actor = Actor::Person(2);

/// What is done to a key after it was made.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Deed {
    Permit(&'static [&'static str]),
    Disable,
    Enable,
    Revoke(&'static str),
    /// With the successor's place in the script.
    Rotate {
        successor: usize,
        grace: TimeDelta,
    },
    FinishRotation,
}

/// How a key's calls move to its successor, from a time on and over a time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Change {
    pub(super) from: Timestamp,
    pub(super) over: TimeDelta,
    /// Whether this key is the old one.
    pub(super) leaving: bool,
}

/// A key as it is to be.
pub(super) struct KeyPart {
    pub(super) name: String,
    pub(super) owner: &'static str,
    pub(super) metadata: Value,
    /// Its place in [`PROJECTS`].
    pub(super) project: usize,
    pub(super) environment: Environment,
    pub(super) permissions: &'static [&'static str],
    pub(super) created_at: Timestamp,
    pub(super) created_by: Actor,
    pub(super) expires_at: Option<Timestamp>,
    pub(super) predecessor: Option<usize>,
    /// In the order of time.
    pub(super) deeds: Vec<(Timestamp, Actor, Deed)>,
    /// In the middle of a working day, today.
    pub(super) calls_per_hour: f64,
    /// The part of its calls that ask for what it does not hold.
    pub(super) misused: f64,
    pub(super) change: Option<Change>,
}

/// A service token as it is to be.
pub(super) struct TokenPart {
    pub(super) name: &'static str,
    pub(super) permissions: &'static [Permission],
    pub(super) project: Option<usize>,
    pub(super) environment: Option<Environment>,
    pub(super) created_at: Timestamp,
    pub(super) expires_at: Option<Timestamp>,
    pub(super) revoked_at: Option<Timestamp>,
    pub(super) last_used_at: Option<Timestamp>,
}

/// All that is to happen.
pub(super) struct Script {
    pub(super) now: Timestamp,
    pub(super) founded_at: Timestamp,
    pub(super) incident_at: Timestamp,
    pub(super) keys: Vec<KeyPart>,
    pub(super) tokens: Vec<TokenPart>,
}

/// The key whose secret is told, so that people have one to try.
pub(super) const SHOWN_KEY: usize = 0;
/// The token whose secret is told: it may do everything.
pub(super) const SHOWN_TOKEN: usize = 5;

/// Writes the script of a demo that is looked at `now`.
pub(super) fn write(now: Timestamp, dice: &mut Dice) -> Script {
    let founded_at = clock(now, FOUNDED_DAYS, 8, 30);
    let incident_at = clock(now, INCIDENT_DAYS, INCIDENT_CLOCK.0, INCIDENT_CLOCK.1);
    let mut keys = Vec::new();
    let fates = FATES.iter().flat_map(|(fate, count)| std::iter::repeat_n(*fate, *count));
    for (number, fate) in fates.enumerate() {
        add_key(&mut keys, now, number, fate, dice);
    }
    Script { now, founded_at, incident_at, keys, tokens: tokens(now, founded_at) }
}

/// A time of day, days ago.
fn clock(now: Timestamp, days_ago: i64, hour: u32, minute: u32) -> Timestamp {
    let midnight = now - TimeDelta::seconds(i64::from(now.num_seconds_from_midnight()));
    let whole = midnight - TimeDelta::nanoseconds(i64::from(now.nanosecond()));
    whole - TimeDelta::days(days_ago) + TimeDelta::minutes(i64::from(hour * 60 + minute))
}

/// Some time in office hours, days ago or on the Friday before.
fn office(now: Timestamp, days_ago: i64, dice: &mut Dice) -> Timestamp {
    let weekend = match (now - TimeDelta::days(days_ago)).weekday() {
        Weekday::Sat => 1,
        Weekday::Sun => 2,
        _ => 0,
    };
    let second = TimeDelta::milliseconds(dice.below(60_000));
    clock(now, days_ago + weekend, 8 + dice.below(9) as u32, dice.below(60) as u32) + second
}

fn add_key(keys: &mut Vec<KeyPart>, now: Timestamp, number: usize, fate: Fate, dice: &mut Dice) {
    let age_days = match fate {
        Fate::NeverUsed => 2 + dice.below(20),
        // Some are younger than the month that is shown.
        Fate::Active if number % 6 == 5 => 8 + dice.below(18),
        _ => 55 + dice.below(140),
    };
    let ago = |hours: i64| now - TimeDelta::hours(hours);
    let project = usize::from(number % 5 < 2);
    let environment = if number % 3 == 2 && number > 4 { Environment::Test } else { Environment::Live };
    let customer = &CUSTOMERS[number % CUSTOMERS.len()];
    let purpose = dice.below(PROJECTS[project].purposes.len() as i64) as usize;
    let suffix = if environment == Environment::Test { ", test" } else { "" };
    let mut key = KeyPart {
        name: format!("{} {}{suffix}", customer.name, PROJECTS[project].purposes[purpose]),
        owner: customer.external_id,
        metadata: json!({ "plan": customer.plan, "region": customer.region }),
        project,
        environment,
        permissions: PROJECTS[project].permissions[purpose],
        created_at: office(now, age_days, dice),
        created_by: *dice.pick(&[DEVELOPER, DEVELOPER, ADMIN, Actor::Provisioning, Actor::Provisioning]),
        expires_at: None,
        predecessor: None,
        deeds: Vec::new(),
        calls_per_hour: calls_per_hour(number, environment, dice),
        misused: 0.0,
        change: None,
    };
    let who = *dice.pick(&[DEVELOPER, ADMIN, ADMIN, OWNER]);
    match fate {
        Fate::Active => ordinary_deeds(&mut key, now, number, age_days, dice),
        Fate::NeverUsed => key.calls_per_hour = 0.0,
        Fate::Disabled(days) => key.deeds.push((office(now, days, dice), who, Deed::Disable)),
        Fate::Revoked(INCIDENT_DAYS, why) => {
            key.calls_per_hour = 240.0;
            let at = clock(now, INCIDENT_DAYS, INCIDENT_CLOCK.0, INCIDENT_CLOCK.1);
            key.deeds.push((at, ADMIN, Deed::Revoke(why)));
        }
        Fate::Revoked(days, why) => key.deeds.push((office(now, days, dice), who, Deed::Revoke(why))),
        Fate::Expired(days) => key.expires_at = Some(clock(now, days, 0, 0)),
        Fate::Ending(hours) => key.expires_at = Some(now + TimeDelta::hours(hours)),
        Fate::Misused => key.misused = 0.35,
        Fate::Rotated(rotation) => {
            rotate(&mut key, rotation, who, keys.len() + 1, ago);
            let successor = successor_of(&key, rotation, who, keys.len(), ago);
            keys.push(key);
            keys.push(successor);
            return;
        }
    }
    keys.push(key);
}

fn calls_per_hour(number: usize, environment: Environment, dice: &mut Dice) -> f64 {
    match (number, environment) {
        (0, _) => 520.0,
        (1, _) => 310.0,
        (_, Environment::Live) => dice.between(0.5, 4.6).exp(),
        (_, Environment::Test) => dice.between(0.5, 9.0),
    }
}

/// What happens to any key now and then.
fn ordinary_deeds(key: &mut KeyPart, now: Timestamp, number: usize, age_days: i64, dice: &mut Dice) {
    if number % 5 == 3 {
        let permissions = *dice.pick(PROJECTS[key.project].permissions);
        if permissions != key.permissions {
            key.deeds.push((office(now, age_days / 2, dice), DEVELOPER, Deed::Permit(permissions)));
        }
    }
    if number % 9 == 4 {
        let off = office(now, 1 + age_days / 3, dice);
        key.deeds.push((off, DEVELOPER, Deed::Disable));
        key.deeds.push((off + TimeDelta::minutes(25 + dice.below(90)), ADMIN, Deed::Enable));
    }
    key.deeds.sort_by_key(|(at, _, _)| *at);
}

/// How long it takes until all calls come with the new key.
fn moving(rotation: Rotation) -> TimeDelta {
    TimeDelta::minutes(rotation.grace_hours * 42)
}

fn rotate(key: &mut KeyPart, rotation: Rotation, who: Actor, successor: usize, ago: impl Fn(i64) -> Timestamp) {
    let from = ago(rotation.hours_ago);
    let grace = TimeDelta::hours(rotation.grace_hours);
    key.deeds.push((from, who, Deed::Rotate { successor, grace }));
    if let Some(hours) = rotation.finished_hours_ago {
        key.deeds.push((ago(hours), who, Deed::FinishRotation));
    }
    key.change = Some(Change { from, over: moving(rotation), leaving: true });
}

fn successor_of(
    old: &KeyPart,
    rotation: Rotation,
    who: Actor,
    predecessor: usize,
    ago: impl Fn(i64) -> Timestamp,
) -> KeyPart {
    let from = ago(rotation.hours_ago);
    KeyPart {
        name: old.name.clone(),
        metadata: old.metadata.clone(),
        created_at: from,
        created_by: who,
        predecessor: Some(predecessor),
        deeds: Vec::new(),
        change: Some(Change { from, over: moving(rotation), leaving: false }),
        ..*old
    }
}

fn tokens(now: Timestamp, founded_at: Timestamp) -> Vec<TokenPart> {
    use Permission::{KeysCreate, KeysRead, KeysRotate, KeysUpdate, KeysVerify, UsageRead};
    let token = |name, permissions, days_ago| TokenPart {
        name,
        permissions,
        project: None,
        environment: None,
        created_at: clock(now, days_ago, 9, 15),
        expires_at: None,
        revoked_at: None,
        last_used_at: None,
    };
    let recently = |minutes| Some(now - TimeDelta::minutes(minutes));
    let tokens: [TokenPart; SHOWN_TOKEN + 1] = [
        TokenPart {
            created_at: founded_at + TimeDelta::hours(3),
            last_used_at: recently(60 * 50),
            ..token("Provisioning", &[KeysRead, KeysCreate, KeysUpdate, KeysRotate], 0)
        },
        TokenPart {
            environment: Some(Environment::Live),
            last_used_at: recently(1),
            ..token("API gateway", &[KeysVerify], 205)
        },
        TokenPart {
            project: Some(1),
            last_used_at: recently(4),
            ..token("Billing worker", &[KeysVerify, KeysRead, UsageRead], 160)
        },
        TokenPart {
            environment: Some(Environment::Test),
            revoked_at: Some(clock(now, 70, 16, 40)),
            last_used_at: Some(clock(now, 74, 11, 2)),
            ..token("Load test", &[KeysVerify], 120)
        },
        TokenPart {
            expires_at: Some(clock(now, 12, 0, 0)),
            last_used_at: Some(clock(now, 15, 14, 20)),
            ..token("Contractor", &[KeysRead], 60)
        },
        TokenPart { created_at: now, ..token("Demo: may do everything", &Permission::ALL, 0) },
    ];
    tokens.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        tronch_core::parse_timestamp("2027-01-31T12:34:56.789Z").expect("a time")
    }

    #[test]
    fn nothing_happens_before_its_key_or_after_now() {
        // Each hour of a week: weekends move what falls on them.
        for hours in 0..7 * 24 {
            let now = now() + TimeDelta::hours(hours);
            let script = write(now, &mut Dice::seeded(1));
            for key in &script.keys {
                assert!(script.founded_at + TimeDelta::days(3) < key.created_at, "{}", key.name);
                let mut last = key.created_at;
                for (at, _, deed) in &key.deeds {
                    assert!(last < *at && *at < now, "{} {deed:?} {last} {at}", key.name);
                    last = *at;
                }
                assert!(key.expires_at.is_none_or(|end| end > last), "{}", key.name);
            }
            assert!(script.incident_at < now);
        }
    }

    #[test]
    fn the_same_seed_writes_the_same_script() {
        let names = |seed| -> Vec<(String, Timestamp)> {
            let script = write(now(), &mut Dice::seeded(seed));
            script.keys.into_iter().map(|key| (key.name, key.created_at)).collect()
        };
        assert_eq!(names(1), names(1));
        assert_ne!(names(1), names(2));
        assert_eq!(names(1).len(), 62);
    }

    #[test]
    fn the_key_that_is_shown_is_a_live_one_of_payments_that_stays() {
        let script = write(now(), &mut Dice::seeded(1));
        let key = &script.keys[SHOWN_KEY];
        assert_eq!((key.project, key.environment, key.expires_at, key.deeds.len()), (1, Environment::Live, None, 0));
        assert_eq!(script.tokens[SHOWN_TOKEN].permissions, Permission::ALL);
    }
}
