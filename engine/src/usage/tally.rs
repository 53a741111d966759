//! Counting a key's passes where the key is remembered, so that one that is asked about often costs its counter and
//! nothing else. Only what is counted for the first time since the collector looked is noted for it.

use std::sync::atomic::{AtomicU64, Ordering};

use tronch_core::{Environment, KeyId, LimitId, ProjectId, TenantId, Timestamp};

/// How often a key was found valid, or a limit was charged, in one minute, and not taken yet: the minute above, then whether
/// nothing was taken of it before, the count below. A count of nothing leaves the minute of which something was taken last.
#[derive(Debug, Default)]
pub(crate) struct Tally(AtomicU64);

/// Where the minute begins in a [`Tally`].
const MINUTE_SHIFT: u32 = 32;
const BEGINS: u64 = 1 << (MINUTE_SHIFT - 1);
const COUNT_MASK: u64 = BEGINS - 1;

/// What was taken out of a [`Tally`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Taken {
    pub(super) minute: u32,
    pub(super) count: u64,
    /// Nothing was taken of this minute before.
    pub(super) begins: bool,
}

/// What became of one pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Counted {
    /// It is counted, and nobody has been told that there is something to take.
    First,
    /// It is counted.
    Again,
    /// It is not: another minute's passes have not been taken yet.
    NotHere,
}

impl Tally {
    pub(super) fn add(&self, minute: u32) -> Counted {
        let mut held = self.0.load(Ordering::Relaxed);
        loop {
            let is_same_minute = held >> MINUTE_SHIFT == u64::from(minute);
            let (next, counted) = match held & COUNT_MASK {
                0 if is_same_minute => (held + 1, Counted::First),
                0 => ((u64::from(minute) << MINUTE_SHIFT) | BEGINS | 1, Counted::First),
                1..COUNT_MASK if is_same_minute => (held + 1, Counted::Again),
                _ => return Counted::NotHere,
            };
            match self.0.compare_exchange_weak(held, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return counted,
                Err(other) => held = other,
            }
        }
    }

    /// Takes what was counted.
    pub(super) fn take(&self) -> Taken {
        let held = self.0.fetch_and(!(BEGINS | COUNT_MASK), Ordering::Relaxed);
        Taken {
            minute: u32::try_from(held >> MINUTE_SHIFT).unwrap_or(0),
            count: held & COUNT_MASK,
            begins: held & BEGINS != 0,
        }
    }
}

/// A key or a limit that is remembered somewhere, with its tally.
pub(crate) trait Tallied: Send + Sync {
    fn tally(&self) -> &Tally;
    fn subject(&self) -> Subject;
}

/// What is counted.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Subject {
    /// Validations of a key, for itself and among those of its tenant.
    Key {
        tenant_id: TenantId,
        key_id: KeyId,
        project_id: ProjectId,
        environment: Environment,
        /// When it was last asked about.
        last_used: Timestamp,
    },
    /// Calls that a limit was charged with, by whichever keys.
    Limit { tenant_id: TenantId, limit_id: LimitId },
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn one_minute_is_counted_and_another_waits_until_that_is_taken() {
        let tally = Tally::default();
        assert_eq!(
            [7, 7, 8, 6, 7].map(|minute| tally.add(minute)),
            [Counted::First, Counted::Again, Counted::NotHere, Counted::NotHere, Counted::Again]
        );
        assert_eq!(tally.take(), Taken { minute: 7, count: 3, begins: true });
        assert_eq!(tally.take().count, 0);
        assert_eq!([7, 7].map(|minute| tally.add(minute)), [Counted::First, Counted::Again]);
        assert_eq!(tally.take(), Taken { minute: 7, count: 2, begins: false }, "some of that minute were taken before");
        assert_eq!((tally.add(8), tally.take()), (Counted::First, Taken { minute: 8, count: 1, begins: true }));
    }

    /// Nothing is lost or counted twice, and each time something waits exactly one was told so.
    #[test]
    fn counting_and_taking_at_once_agree() {
        let tally = Arc::new(Tally::default());
        let counting: Vec<_> = (0..4)
            .map(|_| {
                let tally = Arc::clone(&tally);
                std::thread::spawn(move || (0..50_000).filter(|_| tally.add(9) == Counted::First).count())
            })
            .collect();
        let (mut taken, mut times) = (0, 0);
        while counting.iter().any(|thread| !thread.is_finished()) {
            let count = tally.take().count;
            taken += count;
            times += usize::from(count > 0);
        }
        let told: usize = counting.into_iter().map(|thread| thread.join().expect("no panic")).sum();
        let rest = tally.take().count;
        assert_eq!((taken + rest, times + usize::from(rest > 0)), (200_000, told));
    }
}
