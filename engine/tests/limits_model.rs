//! Calls that charge limits at once, in every order that the memory model allows (loom): what passes is what some order of the
//! calls, one after the other, would have let pass. The rule that makes it so is also taken out, and then the model must find
//! what it was there for.

use std::panic::{AssertUnwindSafe, catch_unwind};

use loom::sync::Arc;
use loom::thread;
use tronch_core::{Bucket, BucketState, Cost, LimitRule, LimitTime, Timestamp, Window, WindowKind, WindowState};

mod atomics {
    use std::cell::Cell;

    pub(crate) use loom::sync::atomic::Ordering;

    thread_local! {
        /// Whether nobody waits for a change of others that is going on.
        pub(crate) static IMPATIENT: Cell<bool> = const { Cell::new(false) };
    }

    /// Loom's, but for the highest bit: where nobody waits, it is not seen.
    pub(crate) struct AtomicU64(loom::sync::atomic::AtomicU64);

    impl AtomicU64 {
        pub(crate) fn new(value: u64) -> Self {
            Self(loom::sync::atomic::AtomicU64::new(value))
        }

        fn seen(value: u64) -> u64 {
            if IMPATIENT.get() { value & !(1 << 63) } else { value }
        }

        pub(crate) fn load(&self, order: Ordering) -> u64 {
            Self::seen(self.0.load(order))
        }

        pub(crate) fn store(&self, value: u64, order: Ordering) {
            self.0.store(value, order);
        }

        pub(crate) fn compare_exchange_weak(
            &self,
            old: u64,
            new: u64,
            ok: Ordering,
            not: Ordering,
        ) -> Result<u64, u64> {
            if IMPATIENT.get() {
                let new = Self::seen(new);
                return self.0.compare_exchange(old, new, ok, not).map_err(Self::seen);
            }
            self.0.compare_exchange(old, new, ok, not)
        }
    }

    impl std::fmt::Debug for AtomicU64 {
        fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            formatter.write_str("AtomicU64")
        }
    }

    pub(crate) fn wait_a_moment(_times: u32) {
        loom::thread::yield_now();
    }
}

#[path = "../src/limits/cell.rs"]
#[expect(dead_code, reason = "the model needs a part of it")]
mod cell;
#[path = "../src/limits/charge.rs"]
#[expect(dead_code, reason = "the model needs a part of it")]
mod charge;
#[path = "../src/limits/rate.rs"]
#[expect(dead_code, reason = "the model needs a part of it")]
mod rate;
#[path = "../src/limits/share.rs"]
#[expect(dead_code, reason = "the model needs a part of it")]
mod share;

use cell::Cell;
use charge::{Beyond, Charge, Charged, Way, Ways, charge};

/// One process, as long as it is alone.
const ALONE: Ways = Ways { rate: Way::Local, total: Way::Fast };

/// A limit, and what was taken of it.
type Counted = (LimitRule, Cell);

fn bucket(capacity: u64) -> Counted {
    let rule = LimitRule::new(Some(Bucket::new(capacity, 1, 1).expect("a bucket")), None).expect("a rule");
    (rule, Cell::new(&rule, BucketState::default()))
}

/// One of which so much is held.
fn total(held: u64) -> Counted {
    let window = Window::new(9, WindowKind::Sliding { seconds: 60 }).expect("a window");
    let rule = LimitRule::new(None, Some(window)).expect("a rule");
    let counted = (rule, Cell::new(&rule, BucketState::default()));
    grant(&counted, held);
    counted
}

fn time(rule: &LimitRule) -> LimitTime {
    let now = Timestamp::from_timestamp(1_800_000_000, 0).expect("a time");
    LimitTime { passed_ms: 5_000, now_ms: now.timestamp_millis(), span: rule.span(now) }
}

/// All of the total is taken, and so much of it granted.
fn grant((rule, cell): &Counted, units: u64) {
    let (time, window) = (time(rule), rule.window().expect("a window"));
    let start_seconds = time.span.start_seconds;
    let state = WindowState { start_seconds, used: window.total(), ..WindowState::default() };
    cell.change_total(|share| share.granted(window, state, units, time));
}

/// Charges one to those limits; whether it passed.
fn take(limits: &[&Counted]) -> bool {
    let mut charges: Vec<_> =
        limits.iter().map(|(rule, cell)| Charge::new(rule, cell, ALONE, time(rule), Cost::ONE)).collect();
    charge(&mut charges, Beyond::MayBe) == Charged::Passed
}

fn left((rule, cell): &Counted) -> u64 {
    let mut charges = [Charge::new(rule, cell, ALONE, time(rule), Cost::NOTHING)];
    assert_eq!(charge(&mut charges, Beyond::MayBe), Charged::Passed);
    charges[0].outcome().expect("an outcome").expect("reading is never refused").remaining
}

#[test]
fn a_single_limit_lets_pass_what_is_there() {
    loom::model(|| {
        let limit = Arc::new(bucket(2));
        let calls: Vec<_> = (0..2)
            .map(|_| {
                let limit = Arc::clone(&limit);
                thread::spawn(move || take(&[&limit]))
            })
            .collect();
        let own = take(&[&limit]);
        let passed = calls.into_iter().map(|call| call.join().expect("no panic")).filter(|passed| *passed).count();
        assert_eq!(passed + usize::from(own), 2);
        assert_eq!(left(&limit), 0);
    });
}

/// What is granted beside a call is there afterwards, and what the call took is not.
fn grant_beside_a_call(impatient: bool) {
    loom::model(move || {
        atomics::IMPATIENT.set(impatient);
        let limit = Arc::new(total(1));
        let granting = {
            let limit = Arc::clone(&limit);
            thread::spawn(move || {
                atomics::IMPATIENT.set(impatient);
                grant(&limit, 1);
            })
        };
        assert!(take(&[&limit]));
        granting.join().expect("no panic");
        assert_eq!(left(&limit), 1);
        assert!(take(&[&limit]) && !take(&[&limit]));
    });
}

#[test]
fn granting_more_beside_a_call_loses_nothing() {
    grant_beside_a_call(false);
}

/// What is given back beside a call was not spent by it.
#[test]
fn what_is_given_back_beside_a_call_is_not_spent() {
    loom::model(|| {
        let limit = Arc::new(total(2));
        let giving = {
            let limit = Arc::clone(&limit);
            thread::spawn(move || limit.1.change_total(share::Share::take_unspent).map_or(0, |rest| rest.units))
        };
        let passed = u64::from(take(&[&limit])) + u64::from(take(&[&limit]));
        assert_eq!(passed + giving.join().expect("no panic"), 2);
    });
}

/// One of each is left. Of a call to both and one to either, some order decides.
fn two_calls_share_two_limits(make: fn(u64) -> Counted, impatient: bool) {
    loom::model(move || {
        atomics::IMPATIENT.set(impatient);
        let limits = Arc::new([make(1), make(2)]);
        let other = {
            let limits = Arc::clone(&limits);
            thread::spawn(move || {
                atomics::IMPATIENT.set(impatient);
                take(&[&limits[0], &limits[1]])
            })
        };
        let own = [take(&[&limits[1]]), take(&[&limits[0]])];
        let both = other.join().expect("no panic");
        // The second call of this thread and the other's want the last of the first limit.
        assert!(both != own[1], "one of them gets it: {both} {own:?}");
        assert!(own[0], "there are two");
        assert_eq!(left(&limits[0]), 0);
        assert_eq!(left(&limits[1]), 1 - u64::from(both));
    });
}

#[test]
fn of_two_limits_that_calls_share_both_are_charged_or_none() {
    two_calls_share_two_limits(bucket, false);
    two_calls_share_two_limits(total, false);
}

/// Without waiting for a change that is going on, calls overwrite what others took.
#[test]
fn without_the_bit_the_model_finds_what_is_lost() {
    for make in [bucket, total] {
        let run = || two_calls_share_two_limits(make, true);
        assert!(catch_unwind(AssertUnwindSafe(run)).is_err(), "the model is too weak");
    }
    let run = || grant_beside_a_call(true);
    assert!(catch_unwind(AssertUnwindSafe(run)).is_err(), "the model is too weak");
}
