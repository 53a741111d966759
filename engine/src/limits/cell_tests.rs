//! The words of a limit against the plain rule, and threads that take from one at once. Every order of a few is tried by
//! `engine/tests/limits_model.rs`.

use std::sync::Mutex;

use chrono::TimeDelta;
use proptest::prelude::*;
use tronch_core::{
    Bucket, BucketState, CalendarUnit, Cost, LimitRule, LimitState, LimitTime, Refill, Timestamp, TokenWish, Window,
    WindowKind, WindowState, Wish, parse_timestamp,
};

use super::cell::Cell;
use super::charge::{Beyond, Charge, Charged, Outcome, Way, Ways, charge};
use super::rate::RateShare;

/// One process, as long as it is alone.
const ALONE: Ways = Ways { rate: Way::Local, total: Way::Fast };

const KINDS: u64 = 8;

fn rule(kind: u64) -> LimitRule {
    let zone = "Europe/Berlin".parse().expect("a zone");
    let bucket = |capacity, refill| Some(Bucket::new(capacity, refill, 1).expect("a bucket"));
    let window = |total, kind| Some(Window::new(total, kind).expect("a window"));
    let (bucket, window) = match kind % KINDS {
        0 => (bucket(20, 7), None),
        1 => (None, window(50, WindowKind::Fixed { seconds: 1 })),
        2 => (None, window(50, WindowKind::Sliding { seconds: 7 })),
        3 => (None, window(90, WindowKind::Calendar { unit: CalendarUnit::Day, zone })),
        4 => (bucket(20, 7), window(50, WindowKind::Fixed { seconds: 60 })),
        5 => (bucket(9, 3), window(1_000_000_000_000, WindowKind::Sliding { seconds: 1 })),
        6 => (bucket(20, 7), window(60, WindowKind::Credits { refill: None })),
        _ => (None, window(60, WindowKind::Credits { refill: Some(Refill { unit: CalendarUnit::Day, zone }) })),
    };
    LimitRule::new(bucket, window).expect("a rule")
}

fn time(rule: &LimitRule, millis: u64) -> LimitTime {
    let begin: Timestamp = parse_timestamp("2026-10-24T21:59:30Z").expect("a time");
    let now = begin + TimeDelta::milliseconds(millis.try_into().expect("small"));
    // Not the machine's first moment: that stands for never.
    LimitTime { passed_ms: millis + 60_000, now_ms: now.timestamp_millis(), span: rule.span(now) }
}

fn cost(units: u32) -> Cost {
    Cost::new(units).expect("a cost")
}

/// A limit with its total, which a call that has run out asks for more of.
struct Supplied {
    rule: LimitRule,
    cell: Cell,
    total: Mutex<WindowState>,
}

impl Supplied {
    fn of(kind: u64) -> Self {
        let rule = rule(kind);
        Self { rule, cell: Cell::new(&rule, BucketState::default()), total: Mutex::default() }
    }

    fn ask(&self, need: u64, time: LimitTime) {
        let window = self.rule.window().expect("only a total lacks anything");
        let mut total = self.total.lock().expect("no panic");
        let (past, most) = self.cell.change_total(|share| (share.take_past(time.span), share.room(window).max(need)));
        if let Some(past) = past {
            *total = window.give_back(*total, past.start_seconds, past.units);
        }
        let (state, granted) = window.reserve(*total, time.span, time.now_ms, Wish { need, most, sharers: 1 });
        *total = state;
        let rest = self.cell.change_total(|share| share.granted(window, state, granted, time));
        if let Some(rest) = rest {
            *total = window.give_back(*total, rest.start_seconds, rest.units);
        }
    }
}

/// Charges all of them or none; what is lacking is asked for.
fn take(limits: &[&Supplied], millis: u64, costs: &[Cost]) -> (bool, Vec<Outcome>) {
    loop {
        let one = |(limit, cost): (&&Supplied, &Cost)| {
            let limit: &Supplied = limit;
            (limit.rule, *cost, time(&limit.rule, millis))
        };
        let all: Vec<_> = limits.iter().zip(costs).map(one).collect();
        let mut charges: Vec<_> = all
            .iter()
            .zip(limits)
            .map(|((rule, cost, time), limit)| Charge::new(rule, &limit.cell, ALONE, *time, *cost))
            .collect();
        let charged = charge(&mut charges, Beyond::MayBe);
        if charged != Charged::Short {
            let outcomes = charges.iter().map(|charge| *charge.outcome().expect("an outcome")).collect();
            return (charged == Charged::Passed, outcomes);
        }
        let lacking: Vec<Option<u64>> = charges.iter().map(|charge| charge.lacks().total).collect();
        for ((limit, lacks), (_, _, time)) in limits.iter().zip(lacking).zip(&all) {
            if let Some(need) = lacks {
                limit.ask(need, *time);
            }
        }
    }
}

proptest! {
    /// However it is packed into words, and in whatever blocks a total comes, it is what the plain rule says; of several limits all
    /// are charged or none.
    #[test]
    fn the_words_hold_what_the_rules_say(
        kinds in proptest::collection::vec(0..KINDS, 1..4),
        calls in proptest::collection::vec((0_u64..3_000, proptest::collection::vec(0_u32..9, 3)), 1..120),
    ) {
        let limits: Vec<_> = kinds.into_iter().map(Supplied::of).collect();
        let limits: Vec<&Supplied> = limits.iter().collect();
        let mut states = vec![LimitState::default(); limits.len()];
        let mut millis = 0;
        for (pause, costs) in calls {
            millis += pause;
            let costs: Vec<Cost> = costs.into_iter().map(cost).collect();
            let (passed, outcomes) = take(&limits, millis, &costs[..limits.len()]);
            let steps: Vec<_> = limits.iter().zip(&states).zip(&costs).map(|((limit, state), cost)| {
                limit.rule.take(*state, time(&limit.rule, millis), *cost)
            }).collect();
            prop_assert_eq!(passed, steps.iter().all(Result::is_ok));
            for ((outcome, step), (limit, state)) in outcomes.iter().zip(&steps).zip(limits.iter().zip(&states)) {
                // Where others refused, what is left without the call.
                let left = limit.rule.take(*state, time(&limit.rule, millis), Cost::NOTHING).map(|(_, reading)| reading);
                let told = if passed || step.is_err() { step.map(|(_, reading)| reading) } else { left };
                prop_assert_eq!(*outcome, told, "{}", limit.rule);
            }
            if passed {
                for ((state, step), cost) in states.iter_mut().zip(steps).zip(&costs) {
                    if *cost != Cost::NOTHING {
                        *state = step.expect("all passed").0;
                    }
                }
            }
        }
    }

    /// What is forgotten because it is idle changes no later answer.
    #[test]
    fn only_what_is_idle_is_forgotten(
        kind in 0..KINDS, calls in 1_u32..30, wait in 0_u64..100_000_000, units in 0_u32..30, spent in any::<bool>(),
    ) {
        let (kept, mut swept) = (Supplied::of(kind), Supplied::of(kind));
        for limit in [&kept, &swept] {
            for call in 0..calls {
                take(&[limit], call.into(), &[cost(3)]);
            }
            if spent && let Some(window) = limit.rule.window()
                && let Some(rest) = limit.cell.change_total(super::share::Share::take_unspent)
            {
                let mut total = limit.total.lock().expect("no panic");
                *total = window.give_back(*total, rest.start_seconds, rest.units);
            }
        }
        if swept.cell.is_idle(&swept.rule, time(&swept.rule, wait + 100)) {
            swept.cell = Cell::new(&swept.rule, BucketState::default());
        }
        prop_assert_eq!(take(&[&kept], wait + 100, &[cost(units)]), take(&[&swept], wait + 100, &[cost(units)]));
    }
}

/// A pause of any length, such as of a machine that was put to sleep, is never taken for a stretch that has yet to come.
#[test]
fn after_a_pause_of_any_length_it_begins_anew() {
    for kind in [1, 2, 3, 4, 7] {
        for days in 0..120 {
            let limit = Supplied::of(kind);
            let passes = |millis: u64| take(&[&limit], millis, &[cost(9)]).0;
            while passes(0) {}
            // Longer than any of them, and then some days.
            assert!(passes((days + 2) * 24 * 3_600_000 + 500), "{} after {days} days", limit.rule);
        }
    }
}

/// As many as may, on 64 threads, whichever way it lies in the words.
#[test]
fn however_many_threads_take_at_once_none_takes_what_is_not_there() {
    for kind in 0..KINDS {
        let limit = Supplied::of(kind);
        let take = || (0..100).filter(|_: &u32| take(&[&limit], 12, &[Cost::ONE]).0).count();
        let passed: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..64).map(|_| scope.spawn(take)).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
        });
        let now = time(&limit.rule, 12);
        let (_, all) = limit.rule.take(LimitState::default(), now, Cost::NOTHING).expect("reading is never refused");
        assert_eq!(passed as u64, all.remaining, "{}", limit.rule);
    }
}

/// Two limits in common, charged by many at once: both have lost the same, and no more than there was.
#[test]
fn calls_that_share_limits_are_charged_to_all_of_them_or_to_none() {
    let limits = [Supplied::of(0), Supplied::of(1), Supplied::of(2)];
    let run = |first: usize| {
        let mine: Vec<&Supplied> = (0..3).filter(|place| *place != first).map(|place| &limits[place]).collect();
        (0..500).filter(|_| take(&mine, 0, &[Cost::ONE; 2]).0).count()
    };
    let passed: Vec<usize> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..3).map(|first| scope.spawn(move || run(first))).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    let mut used_up = 0;
    for (place, limit) in limits.iter().enumerate() {
        let (_, outcomes) = take(&[limit], 0, &[Cost::NOTHING]);
        let reading = outcomes[0].expect("reading is never refused");
        let taken: usize = (0..3).filter(|first| *first != place).map(|first| passed[first]).sum();
        assert_eq!(reading.limit - reading.remaining, taken as u64, "{}", limit.rule);
        used_up += usize::from(reading.remaining == 0);
    }
    // Of any two one is, or calls to both would have gone on passing.
    assert!(used_up >= 2, "{passed:?}");
}

/// Nobody answers: each of three has a third of what it saw left, once in a stretch, and says so; of credits nothing.
#[test]
fn where_nobody_answers_each_process_goes_by_its_part() {
    let limit = Supplied::of(3);
    for _ in 0..30 {
        assert!(take(&[&limit], 0, &[Cost::ONE]).0);
    }
    let window = limit.rule.window().expect("a window");
    let (now, tomorrow) = (time(&limit.rule, 0), time(&limit.rule, 86_400_000));
    let passed = |now: LimitTime| {
        let passes = |_: &u32| {
            let mut charges = [Charge::new(&limit.rule, &limit.cell, ALONE, now, Cost::ONE)];
            assert!(limit.cell.change_total(|share| share.stand_in(window, now, 3)));
            charge(&mut charges, Beyond::Nothing) == Charged::Passed
        };
        (0..100).filter(passes).count()
    };
    assert_eq!(passed(now), 20);
    assert_eq!(passed(tomorrow), 30);
    let owed = limit.cell.change_total(super::share::Share::take_owed).expect("it let itself have them");
    assert_eq!((owed.units, owed.start_seconds), (30, tomorrow.span.start_seconds));
    let credits = Supplied::of(6);
    let window = credits.rule.window().expect("credits");
    assert!(!credits.cell.change_total(|share| share.stand_in(window, time(&credits.rule, 0), 3)));
}

/// A bucket that three processes share, each with words of its own.
struct SharedBucket {
    rule: LimitRule,
    cells: [Cell; 3],
    state: Mutex<(BucketState, [u64; 3])>,
}

impl SharedBucket {
    fn of(capacity: u64) -> Self {
        let bucket = Bucket::new(capacity, 1, 1).expect("a bucket");
        let rule = LimitRule::new(Some(bucket), None).expect("a rule");
        let cells = [(); 3].map(|()| Cell::new(&rule, BucketState::default()));
        Self { rule, cells, state: Mutex::default() }
    }

    /// Whether a call at one of them passes; what is lacking is asked for.
    fn take(&self, place: usize, way: Way, units: u32, millis: u64) -> bool {
        let (cell, bucket) = (&self.cells[place], self.rule.bucket().expect("a bucket"));
        loop {
            let now = time(&self.rule, millis);
            let mut charges = [Charge::new(&self.rule, cell, Ways { rate: way, total: Way::Fast }, now, cost(units))];
            match charge(&mut charges, Beyond::MayBe) {
                Charged::Passed => return true,
                Charged::Refused => return false,
                Charged::Short => {}
            }
            let need = charges[0].lacks().rate.expect("only tokens are lacking");
            let mut state = self.state.lock().expect("no panic");
            let (held, more) = cell
                .change_rate(|rate, _| (rate.unspent(now), if way == Way::Fast { rate.room(bucket, now) } else { 0 }));
            state.1[place] = held;
            let wish = TokenWish { need, at_once: need, more, outstanding: state.1.iter().sum() };
            let (after, granted) = bucket.reserve(state.0, now.passed_ms, wish);
            state.0 = after;
            state.1[place] = held + granted.saturating_sub(need);
            let debt = bucket.debt_ticks(after, now.passed_ms);
            cell.change_rate(|rate, _| {
                rate.granted(bucket, (debt, granted), RateShare::held_for(bucket, way == Way::Exact), (now, now))
            });
        }
    }
}

proptest! {
    /// Exact is what the plain rule says, whichever process is asked.
    #[test]
    fn an_exact_bucket_is_one_bucket_however_many_share_it(
        capacity in 1_u64..60, calls in proptest::collection::vec((0_u64..1_500, 0_usize..3, 0_u32..9), 1..100),
    ) {
        let shared = SharedBucket::of(capacity);
        let (mut state, mut millis) = (LimitState::default(), 0);
        for (pause, place, units) in calls {
            millis += pause;
            let expected = shared.rule.take(state, time(&shared.rule, millis), cost(units));
            prop_assert_eq!(shared.take(place, Way::Exact, units, millis), expected.is_ok());
            if let Ok((after, _)) = expected && units > 0 {
                state = after;
            }
        }
    }

    /// Fast lets pass no more than a twentieth beside, at once; and no less than all but that.
    #[test]
    fn a_fast_bucket_lets_pass_a_twentieth_more_at_most(
        capacity in 1_u64..400, places in proptest::collection::vec(0_usize..3, 1_000),
    ) {
        let shared = SharedBucket::of(capacity);
        let passed: u64 = places.into_iter().map(|place| u64::from(shared.take(place, Way::Fast, 1, 0))).sum();
        prop_assert!(passed <= capacity && passed + capacity / 20 >= capacity, "{passed} of {capacity}");
    }
}

/// A process that is alone no more hands over what it took, and one that is alone again goes on from what all took.
#[test]
fn a_bucket_goes_on_when_others_come_and_go() {
    let bucket = Bucket::new(40, 1, 3_600).expect("a bucket");
    let rule = LimitRule::new(Some(bucket), None).expect("a rule");
    let (cell, now) = (Cell::new(&rule, BucketState::default()), time(&rule, 500));
    let take = |way, beyond| {
        let mut charges = [Charge::new(&rule, &cell, Ways { rate: way, total: Way::Fast }, now, Cost::ONE)];
        charge(&mut charges, beyond)
    };
    for _ in 0..15 {
        assert_eq!(take(Way::Local, Beyond::MayBe), Charged::Passed);
    }
    assert_eq!(take(Way::Fast, Beyond::MayBe), Charged::Short);
    let handed = cell.change_rate(|rate, first| rate.hand_over(first, &bucket, now));
    assert_eq!(handed, Some(15));
    // The store knows of those and of five that others took.
    let (state, granted) = (bucket.lacking(22, now.passed_ms), 2);
    let debt = bucket.debt_ticks(state, now.passed_ms);
    cell.change_rate(|rate, _| rate.granted(&bucket, (debt, granted), RateShare::held_for(&bucket, false), (now, now)));
    assert_eq!(take(Way::Fast, Beyond::MayBe), Charged::Passed);
    let left = (0..60).filter(|_| take(Way::Local, Beyond::MayBe) == Charged::Passed).count();
    assert_eq!(left, 40 - 22 + 1);
    // Nobody answers: of what is left each of three has a third.
    cell.change_rate(|rate, _| rate.granted(&bucket, (debt, 0), RateShare::held_for(&bucket, false), (now, now)));
    cell.change_rate(|rate, first| *first = rate.stand_in(&bucket, now, 3).expect("it begins"));
    let own = (0..60).filter(|_| take(Way::Exact, Beyond::MayBe) == Charged::Passed).count();
    assert_eq!(own, 18_usize.div_ceil(3));
    assert_eq!(cell.change_rate(|rate, _| rate.take_owed()), 6);
}

/// What a process let itself have while nobody answered was never handed out: it is not given back, but owed no more.
#[test]
fn what_nobody_handed_out_is_not_given_back() {
    let limit = Supplied::of(3);
    assert!(take(&[&limit], 0, &[cost(9)]).0);
    let (window, now) = (limit.rule.window().expect("a window"), time(&limit.rule, 10));
    let taken = limit.total.lock().expect("no panic").used;
    assert!(limit.cell.change_total(|share| share.stand_in(window, now, 3)));
    let spend = || {
        let mut charges = [Charge::new(&limit.rule, &limit.cell, ALONE, now, Cost::ONE)];
        charge(&mut charges, Beyond::Nothing) == Charged::Passed
    };
    assert!((0..4).all(|_| spend()));
    assert_eq!(limit.cell.change_total(|share| share.take_unused(window, time(&limit.rule, 60_000), 3)), None);
    let held = limit.cell.change_total(|share| share.unspent());
    let (rest, owed) = limit.cell.change_total(|share| (share.take_unspent(), share.take_owed()));
    let (rest, owed) = (rest.map_or(0, |rest| rest.units), owed.map_or(0, |owed| owed.units));
    // Whatever stands in the row afterwards is what was spent.
    assert_eq!(taken - rest + owed, 9 + 4, "{held} held");
}

/// It belongs to a stretch that is over, and takes nothing from the one that has begun.
#[test]
fn an_answer_that_is_late_for_its_stretch_changes_nothing() {
    let limit = Supplied::of(3);
    let (window, today, tomorrow) =
        (limit.rule.window().expect("a window"), time(&limit.rule, 0), time(&limit.rule, 86_400_000));
    assert!(limit.cell.change_total(|share| share.stand_in(window, tomorrow, 3)));
    let late = WindowState { start_seconds: today.span.start_seconds, used: 50, ..WindowState::default() };
    let rest = limit.cell.change_total(|share| share.granted(window, late, 7, tomorrow)).expect("it is given back");
    assert_eq!((rest.units, rest.start_seconds), (7, late.start_seconds));
    assert_eq!(
        limit.cell.change_total(|share| (share.unspent(), share.take_owed().map(|owed| owed.units))),
        (30, Some(30))
    );
}

/// Of 60 in seven seconds 30 count still and 10 were taken: each of three has a third of what that leaves.
#[test]
fn the_part_of_a_window_that_slides_is_of_what_is_left() {
    let window = Window::new(100, WindowKind::Sliding { seconds: 60 }).expect("a window");
    let rule = LimitRule::new(None, Some(window)).expect("a rule");
    let cell = Cell::new(&rule, BucketState::default());
    let now = time(&rule, 0);
    assert_eq!(now.now_ms - now.span.start_seconds * 1_000, 30_000);
    let state = WindowState { start_seconds: now.span.start_seconds, used: 10, used_before: 60, added: 0 };
    cell.change_total(|share| share.granted(&window, state, 0, now));
    assert!(cell.change_total(|share| share.stand_in(&window, now, 3)));
    let passes = |_: &u32| {
        let mut charges = [Charge::new(&rule, &cell, ALONE, now, Cost::ONE)];
        charge(&mut charges, Beyond::Nothing) == Charged::Passed
    };
    assert_eq!((0..90).filter(passes).count(), 20);
}

/// Reading a bucket that was shared a moment ago does not fill it.
#[test]
fn a_read_fills_no_bucket_that_was_shared() {
    let bucket = Bucket::new(10, 1, 3_600).expect("a bucket");
    let rule = LimitRule::new(Some(bucket), None).expect("a rule");
    let (cell, now) = (Cell::new(&rule, BucketState::default()), time(&rule, 0));
    let debt = bucket.debt_ticks(bucket.lacking(8, now.passed_ms), now.passed_ms);
    cell.change_rate(|rate, _| rate.granted(&bucket, (debt, 0), RateShare::held_for(&bucket, true), (now, now)));
    let take = |units| {
        let mut charges = [Charge::new(&rule, &cell, ALONE, now, cost(units))];
        charge(&mut charges, Beyond::MayBe)
    };
    assert_eq!(take(0), Charged::Passed);
    assert_eq!((0..10).filter(|_| take(1) == Charged::Passed).count(), 2);
}

/// Somebody answers again: even one who is refused by his part finds out.
#[test]
fn whoever_is_refused_by_a_part_looks_whether_there_is_more_again() {
    let bucket = Bucket::new(30, 1, 3_600).expect("a bucket");
    let rule = LimitRule::new(Some(bucket), None).expect("a rule");
    let cell = Cell::new(&rule, BucketState::default());
    let ask = |millis| {
        let exact = Ways { rate: Way::Exact, total: Way::Exact };
        let mut charges = [Charge::new(&rule, &cell, exact, time(&rule, millis), Cost::ONE)];
        charge(&mut charges, Beyond::MayBe)
    };
    cell.change_rate(|rate, first| *first = rate.stand_in(&bucket, time(&rule, 0), 3).expect("it begins"));
    assert_eq!((0..11).map(|_| ask(10)).filter(|charged| *charged == Charged::Passed).count(), 10);
    assert_eq!((ask(400), ask(600)), (Charged::Refused, Charged::Short));
}
