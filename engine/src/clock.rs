//! Two clocks. A [`Moment`] is counted by the machine since it was started, suspended or not, and never jumps: leases and
//! budgets go by it. [`now`] is the product's time, which is the database's, so that every process agrees on when a key
//! ends: a `Moment` plus how far the database was ahead when it was last asked. It never goes back within a process.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};
use rustix::time::{ClockId, clock_gettime};
use tronch_core::Timestamp;

/// A difference up to here is the network's; following it would only make time unsteady.
const UNSTEADY_MS: i64 = 20;

/// A change of more than this is somebody setting a clock.
const JUMP_MS: i64 = 2_000;

/// An answer that took longer is only believed as far as it leaves no other way.
const PRECISE: Duration = Duration::from_millis(400);

/// How long such a change must last before it is believed.
const JUMP_LASTS: Duration = Duration::from_secs(60);

/// Rust's own `Instant` stands still while the machine is suspended, and a lease must not.
#[cfg(target_os = "linux")]
const BOOT_CLOCK: ClockId = ClockId::Boottime;
/// Counts through suspension here.
#[cfg(not(target_os = "linux"))]
const BOOT_CLOCK: ClockId = ClockId::Monotonic;

/// Nanoseconds since this machine was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(u64);

impl Moment {
    /// This one.
    pub fn now() -> Self {
        let time = clock_gettime(BOOT_CLOCK);
        let part = |number: i64| u64::try_from(number).unwrap_or(0);
        Self(part(time.tv_sec) * 1_000_000_000 + part(time.tv_nsec))
    }

    pub(crate) const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    pub(crate) fn as_nanos(self) -> u64 {
        self.0
    }

    /// How long ago `earlier` was. Nothing for one that is still to come.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    pub(crate) fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// In whole milliseconds.
    pub(crate) fn passed_ms(self) -> u64 {
        self.0 / 1_000_000
    }

    fn as_millis(self) -> i64 {
        self.passed_ms().cast_signed()
    }
}

/// The product's time. Until a database was asked it is this machine's own.
pub(crate) fn now() -> Timestamp {
    CLOCK.at(Moment::now())
}

/// A moment ago, for an end that is at once: for each process it is past by then, whose clock may be a little behind this one's.
pub(crate) fn just_past(now: Timestamp) -> Timestamp {
    now - chrono::TimeDelta::milliseconds(2 * UNSTEADY_MS + 10)
}

/// The same at a moment that was read already.
pub(crate) fn at(moment: Moment) -> Timestamp {
    CLOCK.at(moment)
}

/// The same, in milliseconds since 1970: a date takes a while to find out.
pub(crate) fn millis_at(moment: Moment) -> i64 {
    CLOCK.millis_at(moment)
}

/// Takes in what the database's clock said, in Unix milliseconds, to a question of `sent` that was answered at `received`.
pub(crate) fn adopt(sent: Moment, received: Moment, database_ms: i64) {
    if let Some(jump_ms) = CLOCK.adopt(sent, received, database_ms, Moment::now()) {
        tracing::warn!(
            clock.jump_ms = jump_ms,
            "the database's clock and this machine's moved apart; the product's time stays as it was until that has lasted a minute"
        );
        metrics::counter!("tronch_clock_jumps_total").increment(1);
    }
}

static CLOCK: ProductClock = ProductClock::new();

/// Stands for "never asked".
const UNSET: i64 = i64::MIN;

struct ProductClock {
    /// Unix milliseconds at the moment zero.
    offset_ms: AtomicI64,
    /// What was the time when the offset last went down: it is not told again.
    floor_ms: AtomicI64,
    /// Since when the database says something else, in nanoseconds of a moment; 0 while it does not.
    apart_since: AtomicU64,
}

impl ProductClock {
    const fn new() -> Self {
        Self { offset_ms: AtomicI64::new(UNSET), floor_ms: AtomicI64::new(0), apart_since: AtomicU64::new(0) }
    }

    fn at(&self, moment: Moment) -> Timestamp {
        DateTime::from_timestamp_millis(self.millis_at(moment)).unwrap_or(DateTime::UNIX_EPOCH)
    }

    fn millis_at(&self, moment: Moment) -> i64 {
        let offset_ms = match self.offset_ms.load(Ordering::Acquire) {
            UNSET => self.set_by_machine(moment),
            offset_ms => offset_ms,
        };
        moment.as_millis().saturating_add(offset_ms).max(self.floor_ms.load(Ordering::Acquire))
    }

    fn set_by_machine(&self, moment: Moment) -> i64 {
        let offset_ms = Utc::now().timestamp_millis() - moment.as_millis();
        match self.offset_ms.compare_exchange(UNSET, offset_ms, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => offset_ms,
            Err(theirs) => theirs,
        }
    }

    /// Gives the milliseconds of a jump when one is seen for the first time.
    fn adopt(&self, sent: Moment, received: Moment, database_ms: i64, now: Moment) -> Option<i64> {
        // The answer was given somewhere between; nobody can know where.
        let off_by = (received.as_millis() - sent.as_millis()) / 2;
        let measured = database_ms - (sent.as_millis() + off_by);
        let current = self.offset_ms.load(Ordering::Acquire);
        if current == UNSET {
            self.follow(now, measured);
            return None;
        }
        let is_precise = received.since(sent) <= PRECISE;
        let unproven = if is_precise { 0 } else { off_by };
        let apart = measured - current;
        let apart = apart.signum() * (apart.abs() - unproven).max(0);
        if apart.abs() <= JUMP_MS {
            if is_precise {
                self.apart_since.store(0, Ordering::Relaxed);
            }
            if apart.abs() > UNSTEADY_MS {
                self.follow(now, current + apart);
            }
            return None;
        }
        match self.apart_since.load(Ordering::Relaxed) {
            0 => {
                self.apart_since.store(received.as_nanos().max(1), Ordering::Relaxed);
                Some(apart)
            }
            since if received.since(Moment(since)) >= JUMP_LASTS => {
                self.apart_since.store(0, Ordering::Relaxed);
                self.follow(now, current + apart);
                None
            }
            _ => None,
        }
    }

    fn follow(&self, moment: Moment, offset_ms: i64) {
        let current = self.offset_ms.load(Ordering::Acquire);
        if current != UNSET && offset_ms < current {
            // Before the offset, so that whoever sees that sees this as well.
            self.floor_ms.fetch_max(moment.as_millis() + current, Ordering::AcqRel);
        }
        self.offset_ms.store(offset_ms, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(ms: u64) -> Moment {
        Moment(ms * 1_000_000)
    }

    fn at(clock: &ProductClock, ms: u64) -> i64 {
        clock.at(moment(ms)).timestamp_millis()
    }

    /// A database whose clock is `ahead` milliseconds ahead of the moment, asked at `ms`.
    fn ask(clock: &ProductClock, ms: u64, ahead: i64) -> Option<i64> {
        let answered = moment(ms + 4);
        clock.adopt(moment(ms), answered, i64::try_from(ms).unwrap() + 2 + ahead, answered)
    }

    #[test]
    fn the_first_answer_counts_and_later_ones_when_they_differ_by_more_than_the_network() {
        let clock = ProductClock::new();
        assert_eq!(ask(&clock, 1_000, 50_000), None);
        assert_eq!(at(&clock, 1_000), 51_000);
        assert_eq!(ask(&clock, 2_000, 50_010), None);
        assert_eq!(at(&clock, 2_000), 52_000);
        assert_eq!(ask(&clock, 3_000, 50_500), None);
        assert_eq!(at(&clock, 3_000), 53_500);
    }

    #[test]
    fn a_late_answer_moves_no_more_than_it_proves() {
        let clock = ProductClock::new();
        ask(&clock, 1_000, 50_000);
        // Asked, answered at once, and heard late, by a clock that is as far ahead as it was.
        let heard = |at: u64, late: u64, ahead: i64| {
            let said = i64::try_from(at).unwrap() + ahead;
            clock.adopt(moment(at), moment(at + late), said, moment(at + late))
        };
        assert_eq!(heard(2_000, 700, 50_000), None);
        assert_eq!(heard(3_000, 5_000, 50_000), None);
        assert_eq!(at(&clock, 8_000), 58_000);
        // It was given at 9 000 or later, so the clock is at most 49 600 ahead.
        assert_eq!(heard(9_000, 700, 49_600), None);
        assert_eq!(at(&clock, 11_000), 60_600);
    }

    #[test]
    fn time_never_goes_back() {
        let clock = ProductClock::new();
        ask(&clock, 1_000, 50_000);
        let before = at(&clock, 2_004);
        ask(&clock, 2_000, 49_000);
        assert_eq!(at(&clock, 2_004), before);
        assert_eq!(at(&clock, 2_900), before);
        assert_eq!(at(&clock, 3_100), 52_100);
    }

    #[test]
    fn a_jump_is_believed_when_it_has_lasted_a_minute_and_told_once() {
        let clock = ProductClock::new();
        ask(&clock, 1_000, 50_000);
        assert_eq!(ask(&clock, 2_000, 60_000), Some(10_000));
        assert_eq!(ask(&clock, 30_000, 60_000), None);
        assert_eq!(at(&clock, 40_000), 90_000);
        assert_eq!(ask(&clock, 62_100, 60_000), None);
        assert_eq!(at(&clock, 62_200), 122_200);
        // One that ends before is forgotten.
        assert_eq!(ask(&clock, 70_000, 90_000), Some(30_000));
        assert_eq!(ask(&clock, 71_000, 60_000), None);
        assert_eq!(ask(&clock, 140_000, 90_000), Some(30_000));
    }

    #[test]
    fn moments_go_on() {
        let first = Moment::now();
        let second = Moment::now();
        assert!(second >= first);
        assert_eq!(first.since(second.plus(Duration::from_secs(1))), Duration::ZERO);
        assert_eq!(first.plus(Duration::from_millis(5)).since(first), Duration::from_millis(5));
    }
}
