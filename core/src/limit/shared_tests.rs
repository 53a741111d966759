//! Totals that several spend from, and credits: nobody spends what is not there, and nothing is lost but what somebody took along
//! when he vanished.

use chrono::TimeDelta;
use proptest::prelude::*;

use super::tests::{at, zone};
use super::*;

fn kinds() -> Vec<WindowKind> {
    let refill = Refill { unit: CalendarUnit::Day, zone: zone("Europe/Berlin") };
    vec![
        WindowKind::Fixed { seconds: 3_600 },
        WindowKind::Sliding { seconds: 3_600 },
        WindowKind::Calendar { unit: CalendarUnit::Day, zone: zone("America/New_York") },
        WindowKind::Credits { refill: None },
        WindowKind::Credits { refill: Some(refill) },
    ]
}

fn cost(units: u64) -> Cost {
    Cost::new(u32::try_from(units).expect("small")).expect("a cost")
}

/// What one of those who share a total holds of it.
#[derive(Clone, Copy, Default)]
struct Held {
    start_seconds: i64,
    units: u64,
}

proptest! {
    /// Whoever takes what he spends just before he spends it is told what the plain rule says.
    #[test]
    fn reserving_one_by_one_is_taking(
        kind in 0_usize..5, total in 1_u64..40, steps in proptest::collection::vec((0_i64..4_000, 1_u64..9), 1..80),
    ) {
        let window = Window::new(total, kinds()[kind]).expect("a window");
        let (mut reserved, mut taken) = (WindowState::default(), WindowState::default());
        let mut now = at("2026-11-26T20:00:00Z");
        for (pause, units) in steps {
            now += TimeDelta::seconds(pause);
            let span = window.span(now);
            let wish = Wish { need: units, most: units, sharers: 1 };
            let (state, granted) = window.reserve(reserved, span, now.timestamp_millis(), wish);
            reserved = state;
            match window.take(taken, span, now.timestamp_millis(), cost(units)) {
                Ok((state, _)) => {
                    prop_assert_eq!(granted, units);
                    taken = state;
                }
                Err(_) => prop_assert_eq!(granted, 0),
            }
        }
    }

    /// However three take, spend, give back and vanish: what is spent in a stretch is never more than its total, of credits never more
    /// than there ever were.
    #[test]
    fn those_who_share_never_spend_more_than_there_is(
        kind in 0_usize..5, total in 1_u64..60,
        steps in proptest::collection::vec((0_i64..2_000, 0_usize..3, 0_u8..8, 1_u64..12), 1..150),
    ) {
        let window = Window::new(total, kinds()[kind]).expect("a window");
        let is_credits = matches!(window.kind(), WindowKind::Credits { .. });
        let mut state = WindowState::default();
        let mut held = [Held::default(); 3];
        let (mut spent, mut stretch, mut ever) = (0, 0, total);
        let mut now = at("2026-11-26T20:00:00Z");
        for (pause, who, what, units) in steps {
            now += TimeDelta::seconds(pause);
            let span = window.span(now);
            let start = span.start_seconds;
            if start != stretch {
                stretch = start;
                if is_credits { ever += total } else { spent = 0 }
            }
            let one = &mut held[who];
            match what {
                // What was reserved is of one stretch.
                0..=3 => {
                    if one.start_seconds != start {
                        state = window.give_back(state, one.start_seconds, one.units);
                        *one = Held { start_seconds: start, units: 0 };
                    }
                    let wish = Wish { need: 1, most: units, sharers: 3 };
                    let (after, granted) = window.reserve(state, span, now.timestamp_millis(), wish);
                    state = after;
                    one.units += granted;
                }
                4 | 5 => {
                    if one.start_seconds == start {
                        let units = units.min(one.units);
                        one.units -= units;
                        spent += units;
                    }
                }
                6 => {
                    state = window.give_back(state, one.start_seconds, one.units);
                    one.units = 0;
                }
                _ if is_credits => {
                    state = window.top_up(state, span, units);
                    ever += units;
                }
                _ => *one = Held::default(),
            }
            prop_assert!(spent <= if is_credits { ever } else { total }, "{spent} of {total}, {ever} ever");
        }
    }
}

#[test]
fn the_last_of_a_total_is_handed_out_in_small_portions_and_all_of_it() {
    let window = Window::new(1_000, WindowKind::Fixed { seconds: 3_600 }).expect("a window");
    let now = at("2026-11-26T20:00:00Z");
    let (mut state, mut portions) = (WindowState::default(), Vec::new());
    loop {
        let wish = Wish { need: 1, most: 100, sharers: 3 };
        let (after, granted) = window.reserve(state, window.span(now), now.timestamp_millis(), wish);
        if granted == 0 {
            break;
        }
        state = after;
        portions.push(granted);
    }
    assert_eq!(portions.iter().sum::<u64>(), 1_000);
    assert_eq!((portions[0], portions.last()), (100, Some(&1)));
    assert!(portions.is_sorted_by(|earlier, later| earlier >= later), "{portions:?}");
}

#[test]
fn credits_go_on_from_day_to_day_and_are_filled_up_once() {
    let refill = Some(Refill { unit: CalendarUnit::Day, zone: zone("Europe/Berlin") });
    let window = Window::new(100, WindowKind::Credits { refill }).expect("a window");
    let take = |state, now: Timestamp, units| {
        let now_ms = now.timestamp_millis();
        window.take(state, window.span(now), now_ms, cost(units))
    };
    let evening = at("2026-11-26T22:59:59Z");
    let (state, left) = take(WindowState::default(), evening, 70).expect("there are 100");
    assert_eq!((left.remaining, left.limit), (30, 100));
    assert_eq!(left.reset_after_ms, Some(1_000));
    let refused = take(state, evening, 31).expect_err("there are 30");
    assert_eq!(refused.retry_after_ms, Some(1_000));
    let night = at("2026-11-26T23:00:00Z");
    let (state, left) = take(state, night, 10).expect("filled up");
    assert_eq!(left.remaining, 90);
    // What was added stays, and more than the total is not filled up.
    let state = window.top_up(state, window.span(night), 500);
    let day = at("2026-11-28T12:00:00Z");
    let (state, left) = take(state, day, 1).expect("there are 590");
    assert_eq!((left.remaining, left.limit), (589, 589));
    assert_eq!(take(state, day, 590).expect_err("there are 589").retry_after_ms, None);
}

#[test]
fn credits_that_nobody_fills_up_end() {
    let window = Window::new(10, WindowKind::Credits { refill: None }).expect("a window");
    let now = at("2026-11-26T20:00:00Z");
    let span = window.span(now);
    let now_ms = now.timestamp_millis();
    let (state, left) = window.take(WindowState::default(), span, now_ms, cost(10)).expect("there are 10");
    assert_eq!((left.remaining, left.reset_after_ms), (0, None));
    let years_later = at("2036-11-26T20:00:00Z").timestamp_millis();
    let refused = window.take(state, span, years_later, cost(1)).expect_err("none is left");
    assert_eq!(refused.retry_after_ms, None);
    let rule = LimitRule::new(None, Some(window)).expect("a rule");
    assert_eq!(
        (
            rule.window_seconds(LimitHalf::Total, span),
            rule.is_idle(
                LimitState { window: state, ..LimitState::default() },
                LimitTime { passed_ms: 0, now_ms, span }
            )
        ),
        (None, false)
    );
    assert_eq!(rule.to_string(), "10 credits, then no more until some are added");
}

proptest! {
    /// However three take tokens, spend, give back and vanish: what is spent in any time is never more than the bucket lets pass in it,
    /// and a twentieth.
    #[test]
    fn those_who_share_a_bucket_never_spend_more_than_it_and_what_they_may_hold(
        capacity in 1_u64..300, refill in 1_u32..50, period in 1_u32..20,
        steps in proptest::collection::vec((0_u64..900, 0_usize..3, 0_u8..8, 1_u64..20), 1..200),
    ) {
        let bucket = Bucket::new(capacity, refill, period).expect("a bucket");
        let (mut state, mut held, mut now) = (BucketState::default(), [0_u64; 3], 0);
        let mut spent: Vec<(u64, u64)> = Vec::new();
        for (pause, who, what, units) in steps {
            now += pause;
            match what {
                0..=3 => {
                    let wish = TokenWish { need: 1, at_once: 1, more: units, outstanding: held.iter().sum() };
                    let (after, granted) = bucket.reserve(state, now, wish);
                    state = after;
                    if granted > 0 {
                        // What was needed is spent at once.
                        spent.push((now, 1));
                        held[who] += granted - 1;
                    }
                    prop_assert!(held.iter().sum::<u64>() <= capacity / 20);
                }
                4 | 5 => {
                    let units = units.min(held[who]);
                    held[who] -= units;
                    spent.push((now, units));
                }
                6 => {
                    state = bucket.give_back(state, held[who]);
                    held[who] = 0;
                }
                _ => held[who] = 0,
            }
        }
        for (place, (from, _)) in spent.iter().enumerate() {
            let mut sum = 0;
            for (at, units) in &spent[place..] {
                sum += units;
                let filled = (at - from) * u64::from(refill) / (u64::from(period) * 1_000);
                prop_assert!(sum <= capacity + filled + 1 + capacity / 20, "{sum} from {from} to {at}");
            }
        }
    }

    /// Several who do not hear of each other let pass no more than one, but for rounding up.
    #[test]
    fn the_parts_of_a_bucket_are_no_more_than_it(
        capacity in 1_u64..300, refill in 1_u32..50, period in 1_u32..20, among in 1_u32..9, millis in 0_u64..600_000,
    ) {
        let whole = Bucket::new(capacity, refill, period).expect("a bucket");
        let part = whole.divided(among);
        prop_assert_eq!(part.capacity(), capacity.div_ceil(among.into()));
        let there = |bucket: &Bucket| {
            let taken = bucket.take(bucket.empty(0), millis, Cost::NOTHING);
            taken.expect("reading is never refused").1.remaining
        };
        prop_assert!(there(&part) * u64::from(among) <= there(&whole) + u64::from(among));
    }
}

#[test]
fn what_was_spent_unasked_is_made_up_for_and_no_more_than_all() {
    let bucket = Bucket::new(10, 1, 1).expect("a bucket");
    let now = 50_000;
    let (state, granted) =
        bucket.reserve(BucketState::default(), now, TokenWish { need: 3, at_once: 3, more: 0, outstanding: 0 });
    assert_eq!((granted, bucket.missing(state, now)), (3, 3));
    let state = bucket.make_up(state, now, 4);
    assert_eq!(bucket.missing(state, now), 7);
    assert_eq!(bucket.missing(bucket.make_up(state, now, 99), now), 10);
    assert_eq!(bucket.missing(bucket.give_back(state, 2), now), 5);
    assert_eq!(bucket.missing(bucket.lacking(99, now), now), 10);
    let elsewhere = bucket.in_debt(bucket.debt_ticks(state, now), 0);
    assert_eq!(bucket.missing(elsewhere, 0), 7);
    assert_eq!(bucket.fill_time(), std::time::Duration::from_secs(10));
}
