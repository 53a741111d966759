//! How many unknown handles are looked up: a text that passes the gate and is no key costs a question to Postgres, and
//! nobody may ask so many that others wait.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::clock::Moment;

const SECOND_NANOS: u64 = 1_000_000_000;

/// A bucket of one second's worth, as the time at which it will be full again (the generic cell rate algorithm).
pub(super) struct Budget {
    full_at: AtomicU64,
    per_second: u64,
}

impl Budget {
    pub(super) const fn new(per_second: u64) -> Self {
        Self { full_at: AtomicU64::new(0), per_second }
    }

    /// Whether one more may be looked up.
    pub(super) fn has_some(&self, now: Moment) -> bool {
        self.full_at.load(Ordering::Relaxed) + self.cost() <= now.as_nanos() + SECOND_NANOS
    }

    fn cost(&self) -> u64 {
        SECOND_NANOS / self.per_second
    }

    /// One was looked up, and nothing was there. Those under way when it ran out are charged all the same.
    pub(super) fn charge(&self, now: Moment) {
        let cost = self.cost();
        // Never further in debt than a second, or a burst would shut the door for long.
        let latest = now.as_nanos() + 2 * SECOND_NANOS;
        let charged = |full_at: u64| Some((full_at.max(now.as_nanos()) + cost).min(latest));
        if self.full_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, charged).is_err() {
            unreachable!("it always gives a value");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_s_worth_at_once_and_then_as_many_a_second() {
        let budget = Budget::new(20);
        let at = |ms: u64| Moment::from_nanos(1_000_000_000 + ms * 1_000_000);
        let looked_up = |from: u64, until: u64| {
            (from..until).filter(|ms| {
                let may = budget.has_some(at(*ms));
                if may {
                    budget.charge(at(*ms));
                }
                may
            })
        };
        assert_eq!(looked_up(0, 20).count(), 20);
        assert_eq!(looked_up(20, 40).count(), 0);
        assert_eq!(looked_up(40, 1_040).count(), 20);
        assert_eq!(looked_up(10_000, 10_020).count(), 20);
    }
}
