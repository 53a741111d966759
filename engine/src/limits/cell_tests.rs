//! The words of a limit against the plain rule, and threads that take from one at once. Every order of a few is tried by
//! `engine/tests/limits_model.rs`.

use std::time::Duration;

use chrono::TimeDelta;
use proptest::prelude::*;
use tronch_core::{
    Bucket, CalendarUnit, Cost, LimitRule, LimitState, LimitTime, Timestamp, Window, WindowKind, parse_timestamp,
};

use super::cell::{Cell, Charge, charge};

fn rule(kind: u64) -> LimitRule {
    let berlin = "Europe/Berlin".parse().expect("a zone");
    let bucket = |capacity, refill| Some(Bucket::new(capacity, refill, 1).expect("a bucket"));
    let window = |total, kind| Some(Window::new(total, kind).expect("a window"));
    let (bucket, window) = match kind % 6 {
        0 => (bucket(20, 7), None),
        1 => (None, window(50, WindowKind::Fixed { seconds: 1 })),
        2 => (None, window(50, WindowKind::Sliding { seconds: 7 })),
        3 => (None, window(90, WindowKind::Calendar { unit: CalendarUnit::Day, zone: berlin })),
        4 => (bucket(20, 7), window(50, WindowKind::Fixed { seconds: 60 })),
        _ => (bucket(9, 3), window(1_000_000_000_000, WindowKind::Sliding { seconds: 1 })),
    };
    LimitRule::new(bucket, window).expect("a rule")
}

fn time(rule: &LimitRule, millis: u64) -> LimitTime {
    let begin: Timestamp = parse_timestamp("2026-10-24T21:59:30Z").expect("a time");
    let now = begin + TimeDelta::milliseconds(millis.try_into().expect("small"));
    LimitTime { passed: Duration::from_millis(millis), now, span: rule.span(now) }
}

fn cost(units: u32) -> Cost {
    Cost::new(units).expect("a cost")
}

proptest! {
    /// However often it is packed into words, it is what the plain rule says; of several limits all are charged or none.
    #[test]
    fn the_words_hold_what_the_rules_say(
        kinds in proptest::collection::vec(0_u64..6, 1..4),
        calls in proptest::collection::vec((0_u64..3_000, proptest::collection::vec(0_u32..9, 3)), 1..120),
    ) {
        let rules: Vec<_> = kinds.into_iter().map(rule).collect();
        let cells: Vec<_> = rules.iter().map(|_| Cell::new()).collect();
        let mut states = vec![LimitState::default(); rules.len()];
        let mut millis = 0;
        for (pause, costs) in calls {
            millis += pause;
            let mut charges: Vec<_> = rules.iter().zip(&cells).zip(&costs).map(|((rule, cell), units)| Charge::new(rule, cell, time(rule, millis), cost(*units))).collect();
            let passed = charge(&mut charges);
            let steps: Vec<_> = rules.iter().zip(&states).zip(&costs).map(|((rule, state), units)| {
                rule.take(*state, time(rule, millis), cost(*units))
            }).collect();
            prop_assert_eq!(passed, steps.iter().all(Result::is_ok));
            for ((charge, step), (rule, state)) in charges.iter().zip(&steps).zip(rules.iter().zip(&states)) {
                // Where others refused, what is left without the call.
                let left = rule.take(*state, time(rule, millis), Cost::NOTHING).map(|(_, reading)| reading);
                let told = if passed || step.is_err() { step.map(|(_, reading)| reading) } else { left };
                prop_assert_eq!(charge.outcome(), Some(told));
            }
            if passed {
                for ((state, step), units) in states.iter_mut().zip(steps).zip(&costs) {
                    if *units > 0 {
                        *state = step.expect("all passed").0;
                    }
                }
            }
        }
    }

    /// What is forgotten because it is idle changes no later answer.
    #[test]
    fn only_what_is_idle_is_forgotten(kind in 0_u64..6, calls in 1_u32..30, wait in 0_u64..100_000_000, units in 0_u32..30) {
        let rule = rule(kind);
        let [kept, swept] = [Cell::new(), Cell::new()];
        let ask = |cell, millis, units| {
            let mut charges = [Charge::new(&rule, cell, time(&rule, millis), cost(units))];
            charge(&mut charges);
            charges[0].outcome()
        };
        for cell in [&kept, &swept] {
            for call in 0..calls {
                ask(cell, call.into(), 3);
            }
        }
        swept.forget_idle(&rule, time(&rule, wait + 100));
        prop_assert_eq!(ask(&kept, wait + 100, units), ask(&swept, wait + 100, units));
    }
}

/// A pause of any length, such as of a machine that was put to sleep, is never taken for a stretch that has yet to come.
#[test]
fn after_a_pause_of_any_length_it_begins_anew() {
    for kind in [1, 2, 3, 4] {
        let rule = rule(kind);
        for days in 0..120 {
            let cell = Cell::new();
            let take = |millis: u64| {
                let mut charges = [Charge::new(&rule, &cell, time(&rule, millis), cost(9))];
                charge(&mut charges)
            };
            while take(0) {}
            // Longer than any of them, and then some days.
            assert!(take((days + 2) * 24 * 3_600_000 + 500), "{rule} after {days} days");
        }
    }
}

/// As many as may, on 64 threads, whichever way it lies in the words.
#[test]
fn however_many_threads_take_at_once_none_takes_what_is_not_there() {
    for kind in 0..6 {
        let (rule, cell) = (rule(kind), Cell::new());
        let now = time(&rule, 12);
        let take = || {
            let passes = |_: &u32| {
                let mut charges = [Charge::new(&rule, &cell, now, Cost::ONE)];
                charge(&mut charges)
            };
            (0..100).filter(passes).count()
        };
        let passed: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..64).map(|_| scope.spawn(take)).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
        });
        let (_, all) = rule.take(LimitState::default(), now, Cost::NOTHING).expect("reading is never refused");
        assert_eq!(passed as u64, all.remaining, "{rule}");
    }
}

/// Two limits in common, charged by many at once: both have lost the same, and no more than there was.
#[test]
fn calls_that_share_limits_are_charged_to_all_of_them_or_to_none() {
    let rules = [rule(0), rule(1), rule(2)];
    let cells = [Cell::new(), Cell::new(), Cell::new()];
    let take = |first: usize| {
        (0..500)
            .filter(|_| {
                let mut charges: Vec<_> = (0..3)
                    .filter(|place| *place != first)
                    .map(|place| Charge::new(&rules[place], &cells[place], time(&rules[place], 0), Cost::ONE))
                    .collect();
                charge(&mut charges)
            })
            .count()
    };
    let passed: Vec<usize> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..3).map(|first| scope.spawn(move || take(first))).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    let mut used_up = 0;
    for place in 0..3 {
        let rule = &rules[place];
        let mut read = [Charge::new(rule, &cells[place], time(rule, 0), Cost::NOTHING)];
        assert!(charge(&mut read));
        let reading = read[0].outcome().expect("an outcome").expect("reading is never refused");
        let taken: usize = (0..3).filter(|first| *first != place).map(|first| passed[first]).sum();
        assert_eq!(reading.limit - reading.remaining, taken as u64, "{rule}");
        used_up += usize::from(reading.remaining == 0);
    }
    // Of any two one is, or calls to both would have gone on passing.
    assert!(used_up >= 2, "{passed:?}");
}
