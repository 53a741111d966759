//! A month of believable calls about a demo's keys: hours and weekdays, growth, one incident. Purely; the three tables
//! agree because each is the sum of the finer one.

use std::collections::BTreeMap;

use chrono::{Datelike as _, TimeDelta, Timelike as _, Weekday};
use tronch_core::{Environment, KeyState, Timestamp, VerdictCode, state};
use uuid::Uuid;

use super::dice::Dice;
use super::history::LivedKey;
use super::script::{KeyPart, Script};
use crate::usage;

/// Whole days before today.
const DAYS: i64 = 30;

/// Whole hours before the running one that are told by the minute.
const HOURS_BY_THE_MINUTE: i64 = 3;

/// From here on somebody calls in a rush, at a busy hour, and his limit refuses some.
const RUSH: f64 = 1.1;
const RUSH_SHAPE: f64 = 0.6;
const REFUSED_IN_A_RUSH: f64 = 0.03;

/// Stands for "all keys of the tenant" and for "no project", as in `usage`.
pub(super) const NIL: Uuid = Uuid::nil();

/// What is counted apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Cell {
    pub(super) key_id: Uuid,
    pub(super) at: Timestamp,
    pub(super) project_id: Uuid,
    pub(super) environment: &'static str,
    pub(super) code: &'static str,
}

pub(super) type Counts = BTreeMap<Cell, u64>;

/// Counts by minute for the last hours, by hour and day for the month; and when each key was last found valid.
pub(super) struct Calls {
    pub(super) minutes: Counts,
    pub(super) hours: Counts,
    pub(super) days: Counts,
    pub(super) last_used: Vec<Option<Timestamp>>,
}

impl Calls {
    /// By table.
    pub(super) fn tables(&self) -> [(&'static str, &Counts); 3] {
        [(usage::MINUTES, &self.minutes), (usage::HOURS, &self.hours), (usage::DAYS, &self.days)]
    }
}

/// A span that is told as one number.
#[derive(Debug, Clone, Copy)]
struct Slot {
    at: Timestamp,
    length: TimeDelta,
}

/// Counts what was asked until now.
pub(super) fn count(script: &Script, keys: &[LivedKey], dice: &mut Dice) -> Calls {
    let now = floor(script.now, TimeDelta::minutes(1));
    let first = floor(now, TimeDelta::days(1)) - TimeDelta::days(DAYS);
    let by_the_minute = floor(now, TimeDelta::hours(1)) - TimeDelta::hours(HOURS_BY_THE_MINUTE);
    let coarse: Vec<Slot> = slots(first, by_the_minute, TimeDelta::hours(1)).collect();
    let fine: Vec<Slot> = slots(by_the_minute, now, TimeDelta::minutes(1)).collect();
    let (mut hours, mut minutes) = (Counts::new(), Counts::new());
    let mut last_used = Vec::with_capacity(keys.len());
    for (part, key) in script.keys.iter().zip(keys) {
        let mut last = None;
        for (slots, counts) in [(&coarse, &mut hours), (&fine, &mut minutes)] {
            for slot in slots {
                last = ask(script, part, key, *slot, counts, dice).or(last);
            }
        }
        last_used.push(last);
    }
    for (slots, counts) in [(&coarse, &mut hours), (&fine, &mut minutes)] {
        slots.iter().for_each(|slot| strangers(script, *slot, counts, dice));
    }
    add_up(&mut hours, &minutes, TimeDelta::hours(1));
    let mut days = Counts::new();
    add_up(&mut days, &hours, TimeDelta::days(1));
    Calls { minutes, hours, days, last_used }
}

fn floor(at: Timestamp, unit: TimeDelta) -> Timestamp {
    let into = TimeDelta::milliseconds(at.timestamp_millis().rem_euclid(unit.num_milliseconds()));
    at - into - TimeDelta::nanoseconds(i64::from(at.nanosecond() % 1_000_000))
}

fn slots(from: Timestamp, until: Timestamp, length: TimeDelta) -> impl Iterator<Item = Slot> {
    let first = Slot { at: from, length };
    std::iter::successors(Some(first), move |slot| Some(Slot { at: slot.at + length, length }))
        .take_while(move |slot| slot.at < until)
}

fn add_up(sums: &mut Counts, finer: &Counts, unit: TimeDelta) {
    for (cell, count) in finer {
        *sums.entry(Cell { at: floor(cell.at, unit), ..*cell }).or_default() += count;
    }
}

/// The calls about one key in one slot. Returns when it was last found valid in it.
fn ask(
    script: &Script,
    part: &KeyPart,
    key: &LivedKey,
    slot: Slot,
    counts: &mut Counts,
    dice: &mut Dice,
) -> Option<Timestamp> {
    let (_, snapshot) = key.life.iter().rev().find(|(from, _)| *from <= slot.at)?;
    let code = match state(snapshot, slot.at) {
        KeyState::Active => VerdictCode::Valid,
        KeyState::Disabled => VerdictCode::Disabled,
        KeyState::Revoked => VerdictCode::Revoked,
        KeyState::Expired => VerdictCode::Expired,
    };
    let row = &key.row;
    let ends = || [row.revoked_at, row.expires_at, row.grace_ends_at, row.disabled_at].into_iter().flatten();
    let refused_since = ends().filter(|end| *end <= slot.at).min();
    let expected = part.calls_per_hour
        * (slot.length.num_seconds() as f64 / 3600.0)
        * shape(slot.at + slot.length / 2, part.environment)
        * growth(script.now, slot.at)
        * moved(part, slot.at)
        * leaked(script, key, slot.at)
        * patience(code, refused_since, slot.at);
    let noise = dice.between(0.82, 1.18);
    let all = dice.whole(expected * noise);
    let misused = dice.whole(all as f64 * part.misused).min(all);
    let is_rush = code == VerdictCode::Valid && noise > RUSH && shape(slot.at, part.environment) > RUSH_SHAPE;
    let too_fast = if is_rush { dice.whole(all as f64 * REFUSED_IN_A_RUSH).min(all - misused) } else { 0 };
    let refusal = if slot.at.hour().is_multiple_of(7) {
        VerdictCode::EnvironmentMismatch
    } else {
        VerdictCode::InsufficientPermissions
    };
    let valid = code == VerdictCode::Valid;
    let refused = [(refusal, misused), (VerdictCode::RateLimited, too_fast)];
    let refused = refused.map(|(refusal, count)| (refusal, if valid { count } else { 0 }));
    let other = refused.iter().map(|(_, count)| count).sum::<u64>();
    let asked = refused.into_iter().chain([(code, all - other)]);
    for (code, count) in asked.filter(|(_, count)| *count > 0) {
        let cell = Cell {
            key_id: key.row.id,
            at: slot.at,
            project_id: key.row.project_id,
            environment: part.environment.as_str(),
            code: code.as_str(),
        };
        *counts.entry(cell).or_default() += count;
        *counts.entry(Cell { key_id: NIL, ..cell }).or_default() += count;
    }
    // Not in its last second, so that nothing was valid after its end, and nothing is known of the time to come.
    let end = ends().filter(|end| *end > slot.at).fold(slot.at + slot.length, Timestamp::min).min(script.now);
    let second = TimeDelta::milliseconds(300 + dice.below(2400));
    (valid && all > other).then(|| (end - second).max(slot.at))
}

/// How busy it is, 1 in the middle of a working day.
fn shape(at: Timestamp, environment: Environment) -> f64 {
    let hour = f64::from(at.num_seconds_from_midnight()) / 3600.0;
    let weekend = matches!(at.weekday(), Weekday::Sat | Weekday::Sun);
    let hill = |middle: f64, width: f64| (-((hour - middle) / width).powi(2)).exp();
    match environment {
        Environment::Live => (0.22 + 0.78 * hill(13.5, 5.2)) * if weekend { 0.55 } else { 1.0 },
        Environment::Test => hill(12.5, 3.4) * if weekend { 0.04 } else { 1.0 },
    }
}

/// Half of today's calls a month ago.
fn growth(now: Timestamp, at: Timestamp) -> f64 {
    let days = (now - at).num_minutes() as f64 / 1440.0;
    1.0 - days / DAYS as f64 / 2.0
}

/// The part of the calls that comes with this key of a rotated pair.
fn moved(part: &KeyPart, at: Timestamp) -> f64 {
    let Some(change) = part.change else { return 1.0 };
    let over = change.over.num_minutes().max(1) as f64;
    let moved = ((at - change.from).num_minutes() as f64 / over).clamp(0.0, 1.0);
    // A few never change over.
    let moved = moved * 0.97;
    if change.leaving { 1.0 - moved } else { moved }
}

/// The hours before the incident, when somebody else had the key as well.
fn leaked(script: &Script, key: &LivedKey, at: Timestamp) -> f64 {
    let before = script.incident_at - at;
    let is_it = key.row.revoked_at == Some(script.incident_at);
    if is_it && before > TimeDelta::zero() && before < TimeDelta::hours(5) { 7.0 } else { 1.0 }
}

/// Holders of a key that is refused go on for a while, then most give up.
fn patience(code: VerdictCode, since: Option<Timestamp>, at: Timestamp) -> f64 {
    let Some(since) = since.filter(|_| code != VerdictCode::Valid) else { return 1.0 };
    let hours = (at - since).num_minutes() as f64 / 60.0;
    let (strength, lasting_hours) = if code == VerdictCode::Revoked { (5.0, 6.0) } else { (0.8, 16.0) };
    strength * (-hours / lasting_hours).exp() + 0.004
}

/// Calls about texts that are no key of the tenant's: mostly typing errors and old settings, and guessing in the incident.
fn strangers(script: &Script, slot: Slot, counts: &mut Counts, dice: &mut Dice) {
    let after = slot.at - script.incident_at;
    let guessed = if after > TimeDelta::zero() && after < TimeDelta::hours(4) { 380.0 } else { 0.0 };
    let busy = shape(slot.at + slot.length / 2, Environment::Live) * growth(script.now, slot.at);
    let hours = slot.length.num_seconds() as f64 / 3600.0;
    let environment = Environment::Live.as_str();
    for (code, per_hour) in [(VerdictCode::Malformed, 9.0 * busy + guessed), (VerdictCode::NotFound, 3.5 * busy)] {
        let count = dice.whole(per_hour * hours);
        if count > 0 {
            let cell = Cell { key_id: NIL, at: slot.at, project_id: NIL, environment, code: code.as_str() };
            *counts.entry(cell).or_default() += count;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_begins_where_the_one_before_ends() {
        let at = |text: &str| tronch_core::parse_timestamp(text).expect("a time");
        let (from, until) = (at("2027-01-31T23:00:00Z"), at("2027-02-01T00:03:00Z"));
        let starts: Vec<Timestamp> = slots(from, until, TimeDelta::hours(1)).map(|slot| slot.at).collect();
        assert_eq!(starts, [from, at("2027-02-01T00:00:00Z")]);
        assert_eq!(floor(at("2027-01-31T23:59:59.999Z"), TimeDelta::days(1)), at("2027-01-31T00:00:00Z"));
        assert_eq!(slots(until, until, TimeDelta::minutes(1)).count(), 0);
    }

    #[test]
    fn work_days_are_busier_than_nights_and_weekends() {
        let at = |text: &str| shape(tronch_core::parse_timestamp(text).expect("a time"), Environment::Live);
        let (noon, night) = (at("2027-01-29T13:00:00Z"), at("2027-01-29T03:00:00Z"));
        let saturday = at("2027-01-30T13:00:00Z");
        assert!(noon > saturday && saturday > night, "{noon} {saturday} {night}");
    }
}
