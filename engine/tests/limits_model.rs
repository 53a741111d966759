//! Calls that charge limits at once, in every order that the memory model allows (loom): what passes is what some order of the
//! calls, one after the other, would have let pass. The rule that makes it so is also taken out, and then the model must find
//! what it was there for.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use loom::sync::Arc;
use loom::thread;
use tronch_core::{Bucket, Cost, LimitRule, LimitTime, Timestamp, Window, WindowKind};

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

use cell::{Cell, Charge, charge};

fn bucket(capacity: u64) -> LimitRule {
    LimitRule::new(Some(Bucket::new(capacity, 1, 1).expect("a bucket")), None).expect("a rule")
}

fn sliding(total: u64) -> LimitRule {
    let window = Window::new(total, WindowKind::Sliding { seconds: 60 }).expect("a window");
    LimitRule::new(None, Some(window)).expect("a rule")
}

/// Charges one to those limits; whether it passed.
fn take(limits: &[&(LimitRule, Cell)]) -> bool {
    let now = Timestamp::from_timestamp(1_800_000_000, 0).expect("a time");
    let mut charges: Vec<_> = limits
        .iter()
        .map(|(rule, cell)| {
            let time = LimitTime { passed: Duration::from_secs(5), now, span: rule.span(now) };
            Charge::new(rule, cell, time, Cost::ONE)
        })
        .collect();
    charge(&mut charges)
}

fn left((rule, cell): &(LimitRule, Cell)) -> u64 {
    let now = Timestamp::from_timestamp(1_800_000_000, 0).expect("a time");
    let time = LimitTime { passed: Duration::from_secs(5), now, span: rule.span(now) };
    let mut charges = [Charge::new(rule, cell, time, Cost::NOTHING)];
    assert!(charge(&mut charges));
    charges[0].outcome().expect("an outcome").expect("reading is never refused").remaining
}

#[test]
fn a_single_limit_lets_pass_what_is_there() {
    loom::model(|| {
        let limit = Arc::new((bucket(2), Cell::new()));
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

/// What is forgotten because it counts no more takes nothing away from a call beside it.
fn forget_beside_a_call(impatient: bool) {
    loom::model(move || {
        atomics::IMPATIENT.set(impatient);
        let limit = Arc::new((sliding(1), Cell::new()));
        let forgets = {
            let limit = Arc::clone(&limit);
            thread::spawn(move || {
                atomics::IMPATIENT.set(impatient);
                let (rule, cell) = &*limit;
                let now = Timestamp::from_timestamp(1_800_000_000, 0).expect("a time");
                cell.forget_idle(rule, LimitTime { passed: Duration::from_secs(5), now, span: rule.span(now) });
            })
        };
        assert!(take(&[&limit]));
        forgets.join().expect("no panic");
        assert!(!take(&[&limit]), "there was one");
    });
}

#[test]
fn forgetting_what_is_idle_beside_a_call_loses_nothing() {
    forget_beside_a_call(false);
}

/// One of each is left. Of a call to both and one to either, some order decides.
fn two_calls_share_two_limits(make: fn(u64) -> LimitRule, impatient: bool) {
    loom::model(move || {
        atomics::IMPATIENT.set(impatient);
        let limits = Arc::new([(make(1), Cell::new()), (make(2), Cell::new())]);
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
    two_calls_share_two_limits(sliding, false);
}

/// Without waiting for a change that is going on, calls overwrite what others took.
#[test]
fn without_the_bit_the_model_finds_what_is_lost() {
    for make in [bucket, sliding] {
        let run = || two_calls_share_two_limits(make, true);
        assert!(catch_unwind(AssertUnwindSafe(run)).is_err(), "the model is too weak");
    }
    let run = || forget_beside_a_call(true);
    assert!(catch_unwind(AssertUnwindSafe(run)).is_err(), "the model is too weak");
}
