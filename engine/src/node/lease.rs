//! How long a process may answer from memory. Pure: it is told what happened and when.
//!
//! A renewal is a question to Postgres that was answered, with every change up to then taken in. For [`LEASE`] from when it
//! was *sent* the process knows of whatever was committed before that; then it knows nothing, until the next renewal or
//! until it is plain that Postgres is out of reach, when each tenant's `offline_lease` says how long answers go on.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::Moment;

/// How long a renewal counts.
pub(crate) const LEASE: Duration = Duration::from_millis(800);

/// How often one is sent.
pub(crate) const RENEWAL_INTERVAL: Duration = Duration::from_millis(200);

/// After so long without an answer a renewal speaks for an outage; it is given up after [`LEASE`].
pub(crate) const UNANSWERED: Duration = Duration::from_millis(400);

/// So many renewals, one after the other, tell an outage from a hiccup.
const FAILURES_FOR_OUTAGE: u32 = 2;

/// Whoever looks every [`RENEWAL_INTERVAL`] and has not for so long was stopped, and knows nothing of the meantime.
const STOPPED: Duration = Duration::from_millis(1_000);

/// What a call may rest on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Memory is as new as Postgres was so long ago.
    Live { age: Duration },
    /// Postgres is out of reach; what is remembered is so old.
    Offline { age: Duration },
    /// Neither is known: wait for a renewal.
    Unknown,
}

/// Written by the thread that renews, read by every call.
pub(crate) struct Lease {
    /// When the last renewal that was answered was sent; 0 before the first.
    sent: AtomicU64,
    /// When the thread last looked about.
    looked: AtomicU64,
    offline: AtomicBool,
}

impl Lease {
    pub(crate) const fn new() -> Self {
        Self { sent: AtomicU64::new(0), looked: AtomicU64::new(0), offline: AtomicBool::new(false) }
    }

    pub(crate) fn standing(&self, now: Moment) -> Standing {
        let sent = self.sent.load(Ordering::Acquire);
        if sent == 0 {
            return Standing::Unknown;
        }
        let age = now.since(Moment::from_nanos(sent));
        if age < LEASE {
            return Standing::Live { age };
        }
        // An outage that was noticed before the process was stopped says nothing about now.
        let awake = now.since(Moment::from_nanos(self.looked.load(Ordering::Acquire))) < STOPPED;
        if awake && self.offline.load(Ordering::Acquire) { Standing::Offline { age } } else { Standing::Unknown }
    }
}

/// The thread's side of a [`Lease`].
pub(crate) struct Keeper {
    failures: u32,
    woke: Moment,
    looked: Moment,
}

impl Keeper {
    pub(crate) fn new(now: Moment) -> Self {
        Self { failures: 0, woke: now, looked: now }
    }

    /// To be called at least every [`RENEWAL_INTERVAL`]: who was not, was stopped.
    pub(crate) fn look(&mut self, lease: &Lease, now: Moment) {
        if now.since(self.looked) >= STOPPED {
            self.woke = now;
            self.failures = 0;
            lease.offline.store(false, Ordering::Release);
        }
        self.looked = now;
        lease.looked.store(now.as_nanos(), Ordering::Release);
    }

    /// A renewal of `sent` was answered, and all that it told was taken in.
    pub(crate) fn renewed(&mut self, lease: &Lease, sent: Moment) {
        self.failures = 0;
        lease.offline.store(false, Ordering::Release);
        lease.sent.fetch_max(sent.as_nanos(), Ordering::AcqRel);
    }

    /// A renewal of `sent` failed, or has had no answer for [`UNANSWERED`]. To be told once for each.
    pub(crate) fn failed(&mut self, lease: &Lease, sent: Moment) {
        if sent < self.woke {
            return;
        }
        self.failures += 1;
        if self.failures >= FAILURES_FOR_OUTAGE {
            lease.offline.store(true, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Moment {
        Moment::from_nanos(ms * 1_000_000)
    }

    fn kept() -> (Lease, Keeper) {
        let (lease, mut keeper) = (Lease::new(), Keeper::new(at(1_000)));
        keeper.look(&lease, at(1_000));
        (lease, keeper)
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_renewal_counts_from_when_it_was_sent_and_its_end_is_exclusive() {
        let (lease, mut keeper) = kept();
        assert_eq!(lease.standing(at(1_000)), Standing::Unknown);
        keeper.renewed(&lease, at(1_000));
        assert_eq!(lease.standing(at(1_000)), Standing::Live { age: ms(0) });
        assert_eq!(lease.standing(at(1_799)), Standing::Live { age: ms(799) });
        assert_eq!(lease.standing(at(1_800)), Standing::Unknown);
    }

    #[test]
    fn an_older_answer_that_comes_late_takes_nothing_back() {
        let (lease, mut keeper) = kept();
        keeper.renewed(&lease, at(1_400));
        keeper.renewed(&lease, at(1_200));
        assert_eq!(lease.standing(at(1_500)), Standing::Live { age: ms(100) });
    }

    #[test]
    fn two_failures_in_a_row_are_an_outage_and_one_answer_ends_it() {
        let (lease, mut keeper) = kept();
        keeper.renewed(&lease, at(1_000));
        keeper.failed(&lease, at(1_200));
        keeper.look(&lease, at(1_800));
        assert_eq!(lease.standing(at(1_900)), Standing::Unknown);
        keeper.failed(&lease, at(1_400));
        // Before the lease is over it makes no difference.
        assert_eq!(lease.standing(at(1_700)), Standing::Live { age: ms(700) });
        assert_eq!(lease.standing(at(1_900)), Standing::Offline { age: ms(900) });
        keeper.renewed(&lease, at(2_000));
        assert_eq!(lease.standing(at(2_100)), Standing::Live { age: ms(100) });
        keeper.look(&lease, at(2_700));
        assert_eq!(lease.standing(at(2_900)), Standing::Unknown);
    }

    #[test]
    fn who_was_stopped_knows_nothing_until_it_has_asked_again() {
        let (lease, mut keeper) = kept();
        keeper.renewed(&lease, at(1_000));
        keeper.failed(&lease, at(1_200));
        keeper.failed(&lease, at(1_400));
        keeper.look(&lease, at(1_900));
        assert_eq!(lease.standing(at(2_100)), Standing::Offline { age: ms(1_100) });
        // Stopped, and resumed: a call may come before the thread has looked about.
        assert_eq!(lease.standing(at(7_000)), Standing::Unknown);
        keeper.look(&lease, at(7_001));
        assert_eq!(lease.standing(at(7_002)), Standing::Unknown);
        // What was sent before speaks of then.
        keeper.failed(&lease, at(2_000));
        keeper.failed(&lease, at(7_001));
        assert_eq!(lease.standing(at(7_003)), Standing::Unknown);
        keeper.failed(&lease, at(7_201));
        keeper.look(&lease, at(7_201));
        assert_eq!(lease.standing(at(7_202)), Standing::Offline { age: ms(6_202) });
    }
}
