//! Each rule against a model that is too simple to be wrong: fractions instead of ticks, and a list of all that passed instead of
//! counts.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use proptest::prelude::*;

use super::*;
use crate::time::{Timestamp, parse_timestamp};

/// The same numbers on every machine (Marsaglia's xorshift64).
struct Lots(u64);

impl Lots {
    fn draw(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }

    fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[usize::try_from(self.draw(choices.len() as u64)).expect("small")]
    }
}

pub(super) fn at(text: &str) -> Timestamp {
    parse_timestamp(text).expect("a time")
}

fn cost(units: u32) -> Cost {
    Cost::new(units).expect("a cost")
}

pub(super) fn zone(name: &str) -> TimeZone {
    name.parse().expect("a zone")
}

/// A bucket whose level is counted in fractions of a token of which `per` make one: in each millisecond `refill` come back.
struct Fractions {
    level: i128,
    capacity: i128,
    refill: i128,
    per: i128,
    seen: u64,
}

impl Fractions {
    fn of(bucket: &Bucket) -> Self {
        let per = i128::from(bucket.period_seconds()) * 1_000;
        let capacity = i128::from(bucket.capacity()) * per;
        Self { level: capacity, capacity, refill: bucket.refill().into(), per, seen: 0 }
    }

    fn has(&mut self, now: u64, cost: u32) -> bool {
        self.level = self.capacity.min(self.level + i128::from(now - self.seen) * self.refill);
        self.seen = now;
        self.level >= i128::from(cost) * self.per
    }

    fn take(&mut self, cost: u32) {
        self.level -= i128::from(cost) * self.per;
    }

    fn remaining(&self) -> u64 {
        u64::try_from(self.level / self.per).expect("never below nothing")
    }
}

/// A window that remembers how much passed in each stretch.
struct Sums {
    total: i128,
    seconds: i128,
    slides: bool,
    passed: BTreeMap<i128, i128>,
    /// The latest moment it has seen: a stretch that has begun is not left when the clock goes back.
    begun: i128,
}

impl Sums {
    fn of(window: &Window) -> Self {
        let (seconds, slides) = match window.kind() {
            WindowKind::Fixed { seconds } => (seconds, false),
            WindowKind::Sliding { seconds } => (seconds, true),
            WindowKind::Calendar { unit: CalendarUnit::Day, .. } => (86_400, false),
            WindowKind::Calendar { .. } | WindowKind::Credits { .. } => unreachable!("these are not drawn"),
        };
        Self { total: window.total().into(), seconds: seconds.into(), slides, passed: BTreeMap::new(), begun: 0 }
    }

    /// The stretch that counts, and how many milliseconds of it are over.
    fn place(&mut self, now: Timestamp, takes: bool) -> (i128, i128) {
        let (millis, length) = (i128::from(now.timestamp_millis()), self.seconds * 1_000);
        let number = millis.div_euclid(length).max(self.begun);
        if takes {
            self.begun = number;
        }
        (number, (millis - number * length).max(0))
    }

    fn has(&mut self, now: Timestamp, cost: u32) -> bool {
        let (number, elapsed) = self.place(now, false);
        let length = self.seconds * 1_000;
        let taken = |number| self.passed.get(&number).copied().unwrap_or(0);
        let before = if self.slides { taken(number - 1) * (length - elapsed) } else { 0 };
        (taken(number) + i128::from(cost)) * length + before <= self.total * length
    }

    /// In whole units, what is left; what the stretch before still counts for is rounded up.
    fn remaining(&mut self, now: Timestamp) -> u64 {
        let (number, elapsed) = self.place(now, false);
        let length = self.seconds * 1_000;
        let taken = |number| self.passed.get(&number).copied().unwrap_or(0);
        let before = if self.slides { taken(number - 1) * (length - elapsed) } else { 0 };
        let left = (self.total - taken(number)) * length - before;
        u64::try_from(left.div_euclid(length).max(0)).expect("no more than the total")
    }

    fn take(&mut self, now: Timestamp, cost: u32) {
        let (number, _) = self.place(now, true);
        *self.passed.entry(number).or_default() += i128::from(cost);
    }
}

fn drawn_bucket(lots: &mut Lots) -> Bucket {
    loop {
        let capacity = lots.one_of(&[1, 2, 7, 100, 4_096, 1_000_000]);
        let refill = lots.one_of(&[1, 3, 7, 10, 1_000, 999_983]);
        if let Ok(bucket) = Bucket::new(capacity, refill, lots.one_of(&[1, 3, 60, 3_600, 86_400])) {
            return bucket;
        }
    }
}

fn drawn_window(lots: &mut Lots) -> Window {
    let seconds = lots.one_of(&[1, 7, 60, 3_600, 100_000]);
    let kind = match lots.draw(3) {
        0 => WindowKind::Fixed { seconds },
        1 => WindowKind::Sliding { seconds },
        _ => WindowKind::Calendar { unit: CalendarUnit::Day, zone: TimeZone::UTC },
    };
    Window::new(lots.one_of(&[1, 5, 100, 1_003, 50_000]), kind).expect("a window")
}

/// One that has either half or both, and its models.
struct Drawn {
    rule: LimitRule,
    state: LimitState,
    fractions: Option<Fractions>,
    sums: Option<Sums>,
}

impl Drawn {
    fn by(lots: &mut Lots) -> Self {
        let halves = lots.draw(3);
        let bucket = (halves != 1).then(|| drawn_bucket(lots));
        let window = (halves != 0).then(|| drawn_window(lots));
        let (fractions, sums) = (bucket.as_ref().map(Fractions::of), window.as_ref().map(Sums::of));
        Self { rule: LimitRule::new(bucket, window).expect("a rule"), state: LimitState::default(), fractions, sums }
    }
}

/// Several limits that a call is charged to, all or none, over a hundred thousand calls each; the date jumps in both directions.
#[test]
fn a_million_calls_are_judged_as_the_models_judge_them() {
    let mut lots = Lots(0x9E37_79B9_7F4A_7C15);
    let (mut passed, mut refused) = (0, 0);
    for _ in 0..1_000 {
        let count = 1 + lots.draw(3);
        let mut limits: Vec<Drawn> = (0..count).map(|_| Drawn::by(&mut lots)).collect();
        let (mut millis, mut now) = (0, at("2026-03-28T22:00:00Z"));
        for _ in 0..1_000 {
            let pause = lots.one_of(&[0, 1, 33, 1_000, 70_000]);
            let pause = lots.draw(pause + 1);
            millis += pause;
            now += TimeDelta::milliseconds(pause.try_into().expect("small"));
            if lots.draw(500) == 0 {
                now += TimeDelta::seconds(lots.one_of(&[-7_200, -1, 30, 90_000]));
            }
            let costs: Vec<u32> = limits.iter().map(|_| lots.one_of(&[0, 1, 1, 1, 2, 5, 100, 2_000])).collect();
            let mut expected = true;
            for (limit, cost) in limits.iter_mut().zip(&costs) {
                let rate = limit.fractions.as_mut().is_none_or(|model| model.has(millis, *cost));
                let total = limit.sums.as_mut().is_none_or(|model| model.has(now, *cost));
                expected &= *cost == 0 || (rate && total);
            }
            let step = |(limit, units): (&Drawn, &u32)| {
                let time = time_of(&limit.rule, millis, now);
                limit.rule.take(limit.state, time, cost(*units))
            };
            let steps: Vec<_> = limits.iter().zip(&costs).map(step).collect();
            assert_eq!(steps.iter().all(Result::is_ok), expected, "{costs:?} at {now}, {millis}");
            if !expected {
                refused += 1;
                continue;
            }
            passed += 1;
            for ((limit, units), step) in limits.iter_mut().zip(&costs).zip(steps) {
                let (state, reading) = step.expect("all passed");
                limit.state = state;
                if *units == 0 {
                    continue;
                }
                if let Some(model) = &mut limit.fractions {
                    model.take(*units);
                    assert!(reading.remaining <= model.remaining());
                    if limit.sums.is_none() {
                        assert_eq!(reading.remaining, model.remaining());
                    }
                }
                if let Some(model) = &mut limit.sums {
                    model.take(now, *units);
                    assert!(reading.remaining <= model.remaining(now));
                    if limit.fractions.is_none() {
                        assert_eq!(reading.remaining, model.remaining(now), "{}", limit.rule);
                    }
                }
            }
        }
    }
    assert!(passed > 100_000 && refused > 100_000, "{passed} passed, {refused} refused");
}

fn any_rule() -> impl Strategy<Value = LimitRule> {
    any::<u64>().prop_map(|seed| Drawn::by(&mut Lots(seed | 1)).rule)
}

fn time_of(rule: &LimitRule, passed_ms: u64, now: Timestamp) -> LimitTime {
    LimitTime { passed_ms, now_ms: now.timestamp_millis(), span: rule.span(now) }
}

/// The time so many milliseconds after some calls began.
fn time(rule: &LimitRule, passed_ms: u64) -> LimitTime {
    let now = at("2026-10-24T21:59:30Z") + TimeDelta::milliseconds(passed_ms.try_into().expect("small"));
    time_of(rule, passed_ms, now)
}

/// A rule after some calls, and the time it is then.
fn used(rule: &LimitRule, pauses: &[(u64, u32)]) -> (LimitState, LimitTime) {
    let (mut state, mut passed_ms) = (LimitState::default(), 0);
    for (pause, units) in pauses {
        passed_ms += pause;
        if let Ok((after, _)) = rule.take(state, time(rule, passed_ms), cost(*units)) {
            state = after;
        }
    }
    (state, time(rule, passed_ms))
}

fn later(rule: &LimitRule, time: LimitTime, by_ms: u64) -> LimitTime {
    self::time(rule, time.passed_ms + by_ms)
}

fn calls() -> impl Strategy<Value = Vec<(u64, u32)>> {
    // Small costs in quick succession, so that even small limits are used up in part, and often wholly.
    let costs = proptest::sample::select(vec![0, 1, 1, 2, 5, 60]);
    proptest::collection::vec((0..400_u64, costs), 0..40)
}

proptest! {
    /// Whoever waits as told, and is alone, passes; whoever was told never, never does.
    #[test]
    fn waiting_as_told_is_enough(rule in any_rule(), calls in calls(), units in 1..120_u32) {
        let (state, time) = used(&rule, &calls);
        let Err(refusal) = rule.take(state, time, cost(units)) else { return Ok(()) };
        match refusal.retry_after_ms {
            Some(wait) => {
                prop_assert!(rule.take(state, later(&rule, time, wait), cost(units)).is_ok(), "{wait:?}");
                let soon = later(&rule, time, wait - 1);
                // And not longer than needed.
                prop_assert!(rule.take(state, soon, cost(units)).is_err(), "{wait:?}");
            }
            None => {
                let much_later = later(&rule, time, 40 * 24 * 3_600_000);
                prop_assert!(rule.take(state, much_later, cost(units)).is_err());
            }
        }
    }

    /// After the time that is told all of it is there again.
    #[test]
    fn after_its_reset_it_is_as_new(rule in any_rule(), calls in calls()) {
        let (state, time) = used(&rule, &calls);
        let (_, reading) = rule.take(state, time, Cost::NOTHING).expect("reading is never refused");
        let is_whole = reading.remaining == reading.limit;
        prop_assert!(reading.remaining <= reading.limit);
        prop_assert!(!rule.is_idle(state, time) || is_whole);
        if rule.bucket().is_none() || rule.window().is_none() {
            let then = later(&rule, time, reading.reset_after_ms.expect("its clock goes on"));
            let (_, reading) = rule.take(state, then, Cost::NOTHING).expect("reading is never refused");
            prop_assert_eq!(reading.remaining, reading.limit);
            prop_assert!(rule.is_idle(state, then));
        }
    }

    /// Forgetting what is idle changes no answer, now or later.
    #[test]
    fn what_is_idle_may_be_forgotten(rule in any_rule(), calls in calls(), wait in 0..200_000_u64, units in 0..300_u32) {
        let (state, time) = used(&rule, &calls);
        let then = later(&rule, time, wait * 1_000);
        if rule.is_idle(state, then) {
            let told = |state| rule.take(state, then, cost(units)).map(|(_, reading)| reading);
            prop_assert_eq!(told(state), told(LimitState::default()));
        }
    }
}

#[test]
fn what_makes_no_limit_is_refused_by_name() {
    let fixed = |total, seconds| Window::new(total, WindowKind::Fixed { seconds }).err();
    assert_eq!(Bucket::new(0, 1, 1).err(), Some(InvalidLimit::Capacity));
    assert_eq!(Bucket::new(1_000_000_001, 1, 1).err(), Some(InvalidLimit::Capacity));
    assert_eq!(Bucket::new(1, 0, 1).err(), Some(InvalidLimit::Refill));
    assert_eq!(Bucket::new(1, 1_000_001, 1).err(), Some(InvalidLimit::Refill));
    assert_eq!(Bucket::new(1, 1, 0).err(), Some(InvalidLimit::RefillPeriod));
    assert_eq!(Bucket::new(1, 1, 86_401).err(), Some(InvalidLimit::RefillPeriod));
    assert_eq!(Bucket::new(32, 1, 86_400).err(), Some(InvalidLimit::TooSlow));
    assert!(Bucket::new(31, 1, 86_400).is_ok());
    assert_eq!(fixed(0, 1), Some(InvalidLimit::Total));
    assert_eq!(fixed(1_000_000_000_001, 1), Some(InvalidLimit::Total));
    assert_eq!(fixed(1, 0), Some(InvalidLimit::WindowLength));
    assert_eq!(Window::new(1, WindowKind::Sliding { seconds: 2_678_401 }).err(), Some(InvalidLimit::WindowLength));
    assert_eq!(LimitRule::new(None, None).err(), Some(InvalidLimit::Empty));
    assert_eq!(Cost::new(1_000_001).err(), Some(InvalidLimit::Cost));
    assert!("Europe/Atlantis".parse::<TimeZone>().is_err());
}

/// The largest of everything: no number overflows, and the state leaves a bit free.
#[test]
fn the_largest_fit() {
    let bucket = Bucket::new(1_000_000_000, 999_983, 1).expect("a bucket");
    let now = 100 * 365 * 24 * 3_600_000;
    let state = bucket.empty(now);
    assert!(state.ticks() < 1 << 62);
    let slow = Bucket::new(31, 1, 86_400).expect("a bucket");
    assert!(slow.empty(now).ticks() < 1 << 62);
    let refusal = bucket.take(state, now, cost(1_000_000)).expect_err("it is empty");
    assert!(refusal.retry_after_ms.is_some_and(|wait| wait > 1_000));
    let window = Window::new(1_000_000_000_000, WindowKind::Sliding { seconds: 2_678_400 }).expect("a window");
    let now = at("2026-11-26T12:00:00Z");
    let full = WindowState {
        start_seconds: window.span(now).start_seconds,
        used: 1_000_000_000_000,
        used_before: 1_000_000_000_000,
        added: 0,
    };
    assert!(window.take(full, window.span(now), now.timestamp_millis(), Cost::ONE).is_err());
}

#[test]
fn a_limit_is_said_in_a_sentence() {
    let bucket = |capacity, refill, seconds| Some(Bucket::new(capacity, refill, seconds).expect("a bucket"));
    let window = |total, kind| Some(Window::new(total, kind).expect("a window"));
    let berlin = WindowKind::Calendar { unit: CalendarUnit::Day, zone: zone("Europe/Berlin") };
    for (bucket, window, sentence) in [
        (
            bucket(100, 10, 1),
            window(50_000, berlin),
            "100 calls at once, then 10 a second; at most 50\u{a0}000 a day, Europe/Berlin",
        ),
        (bucket(1, 1, 60), None, "1 call at once, then 1 a minute"),
        (bucket(20, 5, 90), None, "20 calls at once, then 5 every 90 seconds"),
        (None, window(1_000, WindowKind::Fixed { seconds: 3_600 }), "At most 1\u{a0}000 an hour"),
        (None, window(7, WindowKind::Fixed { seconds: 86_400 }), "At most 7 a day"),
        (None, window(1_234_567, WindowKind::Sliding { seconds: 7_200 }), "At most 1\u{a0}234\u{a0}567 in any 2 hours"),
        (None, window(5, WindowKind::Sliding { seconds: 60 }), "At most 5 in any minute"),
    ] {
        assert_eq!(LimitRule::new(bucket, window).expect("a rule").to_string(), sentence);
    }
}
