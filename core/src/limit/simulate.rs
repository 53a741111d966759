//! What a limit would have refused of calls that are known by the minute. How they lay inside their minutes nobody knows, so the
//! answer is a range: from calls that came as evenly as they could to calls that came all at once at the minute's begin.

use chrono::TimeDelta;

use super::window::weighed;
use super::{LimitRule, Span, WindowKind};
use crate::time::Timestamp;

const SECONDS_OF_MINUTE: u64 = 60;
const MILLIS_OF_SECOND: u128 = 1_000;

/// How many calls there were, and how many of them would have been refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Simulated {
    /// All of them.
    pub calls: u64,
    /// Refused if they came evenly.
    pub least: u64,
    /// Refused if those of a minute came at once.
    pub most: u64,
}

/// Calls of cost 1 in whole minutes, each with its first moment, in their order. The limit begins unused.
pub fn simulate(rule: &LimitRule, minutes: &[(Timestamp, u64)]) -> Simulated {
    let [even, at_once] = [Spread::Even, Spread::AtOnce].map(|spread| refused(rule, minutes, spread));
    // Who passes earlier may find less left later.
    let (least, most) = (even.min(at_once), even.max(at_once));
    Simulated { calls: minutes.iter().map(|(_, calls)| calls).sum(), least, most }
}

/// How calls lie in their minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spread {
    Even,
    AtOnce,
}

/// Calls of a stretch of time, so short that it lies in one stretch of the window.
struct Slot {
    start: Timestamp,
    calls: u64,
}

fn refused(rule: &LimitRule, minutes: &[(Timestamp, u64)], spread: Spread) -> u64 {
    let seconds = slot_seconds(rule);
    let slots = SECONDS_OF_MINUTE / seconds;
    let mut state =
        State { rule, slot_seconds: seconds, spread, level: full(rule), before: None, stretch: Stretch::default() };
    let mut refused = 0;
    for (start, calls) in minutes {
        if spread == Spread::AtOnce {
            refused += state.refuse(&Slot { start: *start, calls: *calls });
            continue;
        }
        for slot in 0..slots {
            // As evenly as whole calls go.
            let until = |slot: u64| {
                u64::try_from(u128::from(*calls) * u128::from(slot) / u128::from(slots)).unwrap_or(u64::MAX)
            };
            let calls = until(slot + 1) - until(slot);
            let start = *start + TimeDelta::seconds(i64::try_from(slot * seconds).unwrap_or(0));
            refused += state.refuse(&Slot { start, calls });
        }
    }
    refused
}

/// A minute, where stretches of the window begin with minutes; else a second.
fn slot_seconds(rule: &LimitRule) -> u64 {
    match rule.window().map(super::Window::kind) {
        Some(WindowKind::Fixed { seconds } | WindowKind::Sliding { seconds })
            if !u64::from(seconds).is_multiple_of(SECONDS_OF_MINUTE) =>
        {
            1
        }
        _ => SECONDS_OF_MINUTE,
    }
}

/// The limit, as far as it was used.
struct State<'a> {
    rule: &'a LimitRule,
    slot_seconds: u64,
    spread: Spread,
    /// What is in the bucket, in parts of a token.
    level: u128,
    /// The start of the slot before.
    before: Option<Timestamp>,
    stretch: Stretch,
}

impl State<'_> {
    /// How many calls of the slot are refused.
    fn refuse(&mut self, slot: &Slot) -> u64 {
        let rule = self.rule;
        let slot_millis = u128::from(self.slot_seconds) * MILLIS_OF_SECOND;
        let gain = slot_millis * gain_of_milli(rule);
        if let Some(before) = self.before {
            let idle = (slot.start - before).num_milliseconds().max(0).unsigned_abs();
            // What came back during the slot before is there already.
            let idle = u128::from(idle).saturating_sub(slot_millis);
            self.level = full(rule).min(self.level + idle * gain_of_milli(rule));
        }
        let in_burst = if rule.bucket().is_some() {
            let there = if self.spread == Spread::Even { self.level + gain } else { self.level };
            u64::try_from(there / unit(rule)).unwrap_or(u64::MAX)
        } else {
            u64::MAX
        };
        let covered = if self.spread == Spread::Even { self.slot_seconds } else { 0 };
        let passed = slot.calls.min(in_burst).min(self.stretch.left(rule, slot.start, covered));
        self.stretch.used += passed;
        self.level = full(rule).min((self.level + gain).saturating_sub(u128::from(passed) * unit(rule)));
        self.before = Some(slot.start);
        slot.calls - passed
    }
}

/// Parts of a token of which a whole number comes back in a millisecond.
fn unit(rule: &LimitRule) -> u128 {
    rule.bucket().map_or(1, |bucket| u128::from(bucket.period_seconds()) * 1_000)
}

fn gain_of_milli(rule: &LimitRule) -> u128 {
    rule.bucket().map_or(0, |bucket| bucket.refill().into())
}

fn full(rule: &LimitRule) -> u128 {
    rule.bucket().map_or(0, |bucket| u128::from(bucket.capacity()) * unit(rule))
}

/// What passed in the stretch of the window that a minute lies in, and in the one before.
#[derive(Default)]
struct Stretch {
    span: Option<Span>,
    used: u64,
    used_before: u64,
}

impl Stretch {
    /// What is left at a moment, or `later` seconds after it.
    fn left(&mut self, rule: &LimitRule, at: Timestamp, later: u64) -> u64 {
        let Some(window) = rule.window() else { return u64::MAX };
        if !self.span.is_some_and(|span| span.holds(at.timestamp_millis())) {
            let span = window.span(at);
            let is_next = self.span.is_some_and(|before| before.end_seconds == span.start_seconds);
            let slides = matches!(window.kind(), WindowKind::Sliding { .. });
            self.used_before = if slides && is_next { self.used } else { 0 };
            self.used = 0;
            self.span = Some(span);
        }
        let Some(span) = self.span else { return u64::MAX };
        let length = span.seconds().max(1);
        let elapsed = (at.timestamp() - span.start_seconds).max(0).unsigned_abs() + later;
        let covered = length.saturating_sub(elapsed);
        window.total().saturating_sub(self.used).saturating_sub(weighed(self.used_before, covered, length))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::limit::{Bucket, CalendarUnit, Cost, LimitState, LimitTime, TimeZone, Window};
    use crate::time::parse_timestamp;

    fn rules() -> Vec<LimitRule> {
        let bucket = |capacity, refill, seconds| Some(Bucket::new(capacity, refill, seconds).expect("a bucket"));
        let window = |total, kind| Some(Window::new(total, kind).expect("a window"));
        let daily = WindowKind::Calendar { unit: CalendarUnit::Day, zone: TimeZone::UTC };
        [
            (bucket(20, 1, 3), None),
            (bucket(3, 7, 60), None),
            (None, window(50, WindowKind::Fixed { seconds: 300 })),
            (None, window(30, WindowKind::Sliding { seconds: 600 })),
            (None, window(400, daily)),
            (None, window(20, WindowKind::Fixed { seconds: 45 })),
            (None, window(30, WindowKind::Sliding { seconds: 90 })),
            (bucket(20, 1, 3), window(60, WindowKind::Fixed { seconds: 600 })),
        ]
        .into_iter()
        .map(|(bucket, window)| LimitRule::new(bucket, window).expect("a rule"))
        .collect()
    }

    /// One call after the other, each by the rule itself; those of a minute at these seconds of it.
    fn replayed(rule: &LimitRule, minutes: &[(Timestamp, u64)], second_of: impl Fn(u64, u64) -> f64) -> u64 {
        let (mut state, mut refused, begin) = (LimitState::default(), 0, minutes[0].0);
        for (start, calls) in minutes {
            for call in 0..*calls {
                let now = *start + TimeDelta::milliseconds((second_of(call, *calls) * 1_000.0) as i64);
                let passed_ms = (now - begin).num_milliseconds().unsigned_abs();
                let time = LimitTime { passed_ms, now_ms: now.timestamp_millis(), span: rule.span(now) };
                match rule.take(state, time, Cost::ONE) {
                    Ok((after, _)) => state = after,
                    Err(_) => refused += 1,
                }
            }
        }
        refused
    }

    proptest! {
        #[test]
        fn it_is_what_calls_one_after_the_other_would_have_met(
            number in 0_usize..8, pauses in proptest::collection::vec((1_i64..4, 0_u64..40), 1..60),
        ) {
            let rule = rules()[number];
            let mut at = parse_timestamp("2026-11-26T23:40:00Z").expect("a time");
            let mut minutes = Vec::new();
            for (pause, calls) in pauses {
                at += TimeDelta::minutes(pause);
                minutes.push((at, calls));
            }
            let at_once = replayed(&rule, &minutes, |_, _| 0.0);
            prop_assert_eq!(refused(&rule, &minutes, Spread::AtOnce), at_once, "{}", rule);
            // Evenly: to the call that falls on the edge of a minute.
            let even = replayed(&rule, &minutes, |call, calls| 60.0 * (call as f64 + 0.5) / calls as f64);
            let told = refused(&rule, &minutes, Spread::Even);
            prop_assert!(told.abs_diff(even) <= minutes.len() as u64, "{}: {told} and {even}", rule);
            let both = simulate(&rule, &minutes);
            prop_assert!(both.least <= both.most && both.most <= both.calls);
        }
    }

    #[test]
    fn a_burst_inside_a_minute_makes_the_range() {
        let rule = rules()[0];
        let at = parse_timestamp("2026-11-26T12:00:00Z").expect("a time");
        // 20 at once and 20 more in the minute.
        assert_eq!(simulate(&rule, &[(at, 40)]), Simulated { calls: 40, least: 0, most: 20 });
        assert_eq!(simulate(&rule, &[(at, 50)]), Simulated { calls: 50, least: 10, most: 30 });
        assert_eq!(simulate(&rule, &[]), Simulated::default());
    }
}
