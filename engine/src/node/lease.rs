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

/// After so long without an answer a renewal speaks for an outage. Two of them tell it from a hiccup, and are noticed when
/// the lease ends, so that nobody waits in between.
pub(crate) const UNANSWERED: Duration = Duration::from_millis(400);

/// How long an answer is waited for. One after [`LEASE`] makes nothing live, but tells what has changed and how old memory is.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// Whoever was not heard of for so long may have been left out by those who waited for everybody, and knows nothing before the
/// renewal after next: what the next one read may be from before they looked.
pub(crate) const AWAY: Duration = Duration::from_secs(2);

/// So many renewals wait for an answer, and no more: a Postgres that has little time must not be asked faster than it answers.
const UNDER_WAY_MAX: usize = 5;

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
    /// When the latest renewal that was answered was sent.
    answered: Moment,
    /// The latest that failed, and the one before it.
    failed: [Moment; 2],
    /// When one was due that was not sent, and is not counted yet.
    unsent: Vec<Moment>,
    woke: Moment,
    looked: Moment,
}

/// Before anything was sent.
const NEVER: Moment = Moment::from_nanos(0);

impl Keeper {
    pub(crate) fn new(now: Moment) -> Self {
        Self { answered: NEVER, failed: [NEVER; 2], unsent: Vec::new(), woke: now, looked: now }
    }

    /// To be called at least every [`RENEWAL_INTERVAL`]: who was not, was stopped.
    /// Gives whether more speaks for an outage than before.
    pub(crate) fn look(&mut self, lease: &Lease, now: Moment) -> bool {
        if now.since(self.looked) >= STOPPED {
            self.woke = now;
            self.failed = [NEVER; 2];
            self.unsent.clear();
            self.weigh(lease);
        }
        // Nobody looks exactly when it is time: the second look counts it, and not the third.
        let soon = UNANSWERED - RENEWAL_INTERVAL / 2;
        let overdue: Vec<Moment> = self.unsent.extract_if(.., |due| now.since(*due) >= soon).collect();
        overdue.iter().for_each(|due| self.failed(lease, *due));
        self.looked = now;
        lease.looked.store(now.as_nanos(), Ordering::Release);
        !overdue.is_empty()
    }

    /// Whether a renewal that is due is to be sent, when these have no answer yet. One that waits behind so many would not be answered
    /// in time either, and speaks for an outage like one that was sent.
    pub(crate) fn may_send(&mut self, now: Moment, under_way: impl Iterator<Item = Moment>) -> bool {
        let is_open = |sent: &Moment| *sent > self.answered && *sent >= self.woke;
        let may = under_way.filter(is_open).count() < UNDER_WAY_MAX;
        if !may {
            self.unsent.push(now);
        }
        may
    }

    /// A renewal of `sent` was answered, and all that it told was taken in. It says nothing of those that were sent after it: where
    /// each answer comes late, there is always one, and always some that are missing.
    pub(crate) fn renewed(&mut self, lease: &Lease, sent: Moment) {
        self.answered = self.answered.max(sent);
        lease.sent.fetch_max(sent.as_nanos(), Ordering::AcqRel);
        self.weigh(lease);
    }

    /// A renewal of `sent` failed, or has had no answer for [`UNANSWERED`]. To be told once for each.
    pub(crate) fn failed(&mut self, lease: &Lease, sent: Moment) {
        if sent < self.woke {
            return;
        }
        let [latest, before] = self.failed;
        self.failed = if sent >= latest { [sent, latest] } else { [latest, before.max(sent)] };
        self.weigh(lease);
    }

    /// An outage is two renewals without an answer, sent after the last that has one.
    fn weigh(&self, lease: &Lease) {
        lease.offline.store(self.failed[1] > self.answered, Ordering::Release);
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

    fn ms_of(duration: Duration) -> u64 {
        u64::try_from(duration.as_millis()).expect("short")
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
    fn what_failed_before_the_last_that_was_answered_is_of_no_account() {
        let (lease, mut keeper) = kept();
        for (sent, answered) in [(1_000, true), (1_200, false), (1_600, true), (1_400, false), (1_800, false)] {
            if answered { keeper.renewed(&lease, at(sent)) } else { keeper.failed(&lease, at(sent)) }
        }
        keeper.look(&lease, at(1_900));
        keeper.look(&lease, at(2_400));
        assert_eq!(lease.standing(at(2_400)), Standing::Unknown);
        keeper.failed(&lease, at(2_000));
        assert_eq!(lease.standing(at(2_400)), Standing::Offline { age: ms(800) });
        // An old question that is answered now does not tell that Postgres is there now.
        keeper.renewed(&lease, at(1_700));
        assert_eq!(lease.standing(at(2_500)), Standing::Offline { age: ms(800) });
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

    /// A Postgres that works on one renewal after the other, for `work` each, and whose answers arrive `latency` later.
    struct Slow {
        work: u64,
        latency: u64,
    }

    impl Slow {
        /// Ten milliseconds at a time, as the thread goes about it. Gives what every call rested on, and the longest that an
        /// answer took.
        fn follow(&self, mut see: impl FnMut(u64, Standing)) -> u64 {
            let (lease, mut keeper) = kept();
            let (mut free, mut longest) = (0, 0);
            let mut asked: Vec<(u64, u64, bool)> = Vec::new();
            for now in (1_000..60_000).step_by(10) {
                keeper.look(&lease, at(now));
                for (sent, _, is_counted) in &mut asked {
                    if !*is_counted && now >= *sent + ms_of(UNANSWERED) {
                        *is_counted = true;
                        keeper.failed(&lease, at(*sent));
                    }
                }
                asked.retain(|(sent, answered, _)| {
                    if now >= *answered {
                        longest = longest.max(now - sent);
                        keeper.renewed(&lease, at(*sent));
                    }
                    now < *answered
                });
                if now.is_multiple_of(200) && keeper.may_send(at(now), asked.iter().map(|(sent, ..)| at(*sent))) {
                    free = now.max(free) + self.work;
                    asked.push((now, free + self.latency, false));
                }
                see(now, lease.standing(at(now)));
            }
            longest
        }
    }

    #[test]
    fn answers_that_all_come_late_leave_no_gap() {
        for latency in (0..4_000).step_by(10) {
            Slow { work: 0, latency }.follow(|now, standing| {
                match standing {
                    Standing::Unknown => assert!(now <= 1_000 + latency, "{latency} ms late, at {now}"),
                    Standing::Live { age } => assert!(age < LEASE),
                    Standing::Offline { age } => {
                        assert!(age <= ms(2 * latency), "{latency} ms late: {age:?}")
                    }
                }
                assert!(latency > 600 || !matches!(standing, Standing::Offline { .. }), "{latency} ms late, at {now}");
            });
        }
    }

    #[test]
    fn a_postgres_that_has_little_time_is_not_asked_faster_than_it_answers() {
        for work in (0..=950).step_by(10) {
            let longest = Slow { work, latency: 0 }.follow(|now, standing| {
                assert!(standing != Standing::Unknown || now <= 1_000 + work, "{work} ms each, at {now}");
            });
            assert!(longest <= 5 * work + 10, "{work} ms each, and {longest} ms at the longest");
        }
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
