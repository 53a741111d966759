//! How many unknown handles are looked up: a text that passes the gate and is no key costs a question to Postgres, and
//! nobody may ask so many that others wait. Whether a handle is unknown shows only afterwards, so what is left is reserved
//! before, by whoever asks Postgres, and given back for one that was there.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{Mutex, Notify};
use tokio::time::{Instant, timeout_at};

use tronch_core::{Bucket, BucketState};

use crate::clock::Moment;

/// A bucket of one second's worth.
pub(super) struct Budget {
    bucket: Bucket,
    /// Its state, in its ticks.
    full_at: AtomicU64,
    /// Looked up right now.
    reserved: AtomicU64,
    given_back: Notify,
    /// Held by whoever waits for the next one. Without it, whoever comes just as one is given back takes it, and the one
    /// that was woken goes to the end of the queue, again and again.
    head_of_queue: Mutex<()>,
}

/// The right to look one up. Dropped, it is given back.
pub(super) struct Reserved(Arc<Budget>);

/// Why there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoneLeft {
    /// Too many were unknown.
    Spent,
    /// All that are left were in use until time was over.
    Late,
}

impl Budget {
    pub(super) fn new(per_second: u32) -> Arc<Self> {
        let bucket = Bucket::new(per_second.into(), per_second, 1).expect("a budget is a number of this source");
        let (full_at, reserved) = (AtomicU64::new(0), AtomicU64::new(0));
        Arc::new(Self { bucket, full_at, reserved, given_back: Notify::new(), head_of_queue: Mutex::default() })
    }

    /// Waits while others are looking up as many as are left; first come, first served.
    pub(super) async fn reserve(self: &Arc<Self>, deadline: Instant) -> Result<Reserved, NoneLeft> {
        timeout_at(deadline, self.reserve_in_turn()).await.unwrap_or(Err(NoneLeft::Late))
    }

    async fn reserve_in_turn(self: &Arc<Self>) -> Result<Reserved, NoneLeft> {
        let _head = self.head_of_queue.lock().await;
        loop {
            match self.try_reserve(Moment::now()) {
                Ok(reserved) => return Ok(reserved),
                Err(0) => return Err(NoneLeft::Spent),
                // One that was given back since is remembered, for one who waits.
                Err(_) => self.given_back.notified().await,
            }
        }
    }

    /// Takes one for a look that costs no question. Whether there was one.
    pub(super) fn take(self: &Arc<Self>, now: Moment) -> bool {
        self.try_reserve(now).map(|reserved| reserved.charge(now)).is_ok()
    }

    /// Or how many are left, all of them reserved.
    fn try_reserve(self: &Arc<Self>, now: Moment) -> Result<Reserved, u64> {
        let left = self.left(now);
        let one_more = |reserved| (reserved < left).then_some(reserved + 1);
        let Ok(before) = self.reserved.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more) else {
            return Err(left);
        };
        let reserved = Reserved(Arc::clone(self));
        // One that was charged between the two is in neither of them.
        let left = self.left(now);
        if before < left { Ok(reserved) } else { Err(left) }
    }

    fn left(&self, now: Moment) -> u64 {
        let state = BucketState::from_ticks(self.full_at.load(Ordering::Acquire));
        self.bucket.capacity().saturating_sub(self.bucket.missing(state, now.passed_ms()))
    }
}

impl Reserved {
    /// Nothing was there.
    pub(super) fn charge(self, now: Moment) {
        let bucket = self.0.bucket;
        let charged = |full_at| Some(bucket.make_up(BucketState::from_ticks(full_at), now.passed_ms(), 1).ticks());
        if self.0.full_at.fetch_update(Ordering::AcqRel, Ordering::Acquire, charged).is_err() {
            unreachable!("it always gives a value");
        }
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.0.reserved.fetch_sub(1, Ordering::AcqRel);
        self.0.given_back.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(ms: u64) -> Moment {
        Moment::from_nanos(1_000_000_000 + ms * 1_000_000)
    }

    #[test]
    fn a_second_s_worth_at_once_and_then_as_many_a_second() {
        let budget = Budget::new(20);
        let looked_up = |from: u64, until: u64| (from..until).filter(|ms| budget.take(at(*ms))).count();
        assert_eq!(looked_up(0, 20), 20);
        assert_eq!(looked_up(20, 40), 0);
        assert_eq!(looked_up(40, 1_040), 20);
        assert_eq!(looked_up(10_000, 10_020), 20);
    }

    /// Whoever has waited longest is next, not whoever comes just as one is given back.
    #[tokio::test]
    async fn nobody_who_waits_is_overtaken() {
        let budget = Budget::new(1);
        let held = budget.reserve(Instant::now()).await.expect("the only one");
        let waiting = tokio::spawn({
            let budget = Arc::clone(&budget);
            async move { budget.reserve(Instant::now() + Duration::from_secs(5)).await.map(|_| Instant::now()) }
        });
        tokio::task::yield_now().await;
        drop(held);
        let late = budget.reserve(Instant::now() + Duration::from_secs(5)).await.map(|_| Instant::now());
        let first = waiting.await.expect("no panic").expect("a turn");
        assert!(first < late.expect("a turn, after the other"));
    }

    /// However many ask at once, no more are under way than are left; and those that were there cost nothing.
    #[tokio::test]
    async fn no_more_are_looked_up_at_once_than_are_left() {
        let budget = Budget::new(20);
        let soon = || Instant::now() + Duration::from_millis(20);
        let mut held = Vec::new();
        for _ in 0..20 {
            held.push(budget.reserve(soon()).await.expect("one of twenty"));
        }
        assert_eq!(budget.reserve(soon()).await.err(), Some(NoneLeft::Late), "one more than there are");
        drop(held.pop());
        let again = budget.reserve(soon()).await.expect("one that was given back");
        // Several wait for what is not coming, and all of them hear so.
        let waiting: Vec<_> = (0..5)
            .map(|_| {
                let budget = Arc::clone(&budget);
                tokio::spawn(async move { budget.reserve(Instant::now() + Duration::from_secs(5)).await.err() })
            })
            .collect();
        tokio::task::yield_now().await;
        let (asked, now) = (Instant::now(), Moment::now());
        again.charge(now);
        held.into_iter().for_each(|reserved| reserved.charge(now));
        for waiting in waiting {
            assert_eq!(waiting.await.expect("no panic"), Some(NoneLeft::Spent));
        }
        assert!(asked.elapsed() < Duration::from_secs(1), "whoever finds nothing left does not wait");
    }
}
