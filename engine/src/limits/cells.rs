//! Where what was taken lies: a cell for each limit and whose calls it counts, for as long as somebody may ask for it or any of it
//! counts.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tronch_core::{LimitId, LimitName, LimitRule, LimitTime, Span, Timestamp, Window, WindowKind};
use uuid::Uuid;

use super::cell::Cell;
use crate::clock::{self, Moment};

/// Parts that are locked by themselves: a power of two.
const PARTS: usize = 64;

/// A limit as calls are charged to it.
#[derive(Debug)]
pub(crate) struct Limit {
    pub(crate) id: LimitId,
    pub(crate) name: LimitName,
    pub(crate) is_automatic: bool,
    pub(crate) rule: LimitRule,
    /// The stretch of the calendar that was found last: its first minute since 1970, and the first of the next. To find one takes
    /// longer than all else that a charge does.
    stretch: AtomicU64,
}

impl Limit {
    pub(crate) fn new(id: LimitId, name: LimitName, is_automatic: bool, rule: LimitRule) -> Self {
        Self { id, name, is_automatic, rule, stretch: AtomicU64::new(0) }
    }

    fn is_like(&self, other: &Self) -> bool {
        (self.id, &self.name, self.is_automatic, self.rule) == (other.id, &other.name, other.is_automatic, other.rule)
    }

    /// What time it is for it.
    pub(crate) fn time(&self, now: Moment) -> LimitTime {
        let date = clock::at(now);
        LimitTime { passed: Duration::from_nanos(now.as_nanos()), now: date, span: self.span(date) }
    }

    fn span(&self, at: Timestamp) -> Span {
        if !matches!(self.rule.window().map(Window::kind), Some(WindowKind::Calendar { .. })) {
            return self.rule.span(at);
        }
        let held = self.stretch.load(Ordering::Relaxed);
        let minutes = |minutes: u64| Timestamp::from_timestamp(i64::try_from(minutes).unwrap_or(0) * 60, 0);
        if let (Some(start), Some(end)) = (minutes(held >> 32), minutes(held & u64::from(u32::MAX)))
            && start <= at
            && at < end
        {
            return Span { start, end };
        }
        let span = self.rule.span(at);
        // In zones of today stretches begin at whole minutes; one that does not is found anew each time.
        let whole = |at: Timestamp| {
            let is_whole = at.timestamp() % 60 == 0 && at.timestamp_subsec_nanos() == 0;
            is_whole.then(|| u32::try_from(at.timestamp() / 60).ok()).flatten()
        };
        if let (Some(start), Some(end)) = (whole(span.start), whole(span.end)) {
            self.stretch.store((u64::from(start) << 32) | u64::from(end), Ordering::Relaxed);
        }
        span
    }
}

/// A limit of a key, with what was taken of it.
#[derive(Debug, Clone)]
pub(crate) struct KeyLimit {
    pub(crate) limit: Arc<Limit>,
    pub(crate) cell: Arc<Cell>,
}

/// Whose calls a cell counts, of which limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Counted {
    limit_id: LimitId,
    /// The key, or the limit itself where it counts the calls of several together.
    whose: Uuid,
}

type Part = Mutex<HashMap<Counted, KeyLimit, ahash::RandomState>>;

/// All of a process.
pub(crate) struct Cells {
    parts: Box<[Part]>,
    hasher: ahash::RandomState,
}

impl Default for Cells {
    fn default() -> Self {
        Self { parts: (0..PARTS).map(|_| Part::default()).collect(), hasher: ahash::RandomState::new() }
    }
}

impl Cells {
    /// The cell of a limit for whoever's calls it counts. Under another rule than before it begins anew: what was taken by the
    /// old one means nothing by the new.
    pub(crate) fn of(&self, limit: &Arc<Limit>, whose: Uuid) -> KeyLimit {
        let counted = Counted { limit_id: limit.id, whose };
        let mut part = self.part(&counted).lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = || KeyLimit { limit: Arc::clone(limit), cell: Arc::new(Cell::new()) };
        match part.entry(counted) {
            Entry::Vacant(vacant) => vacant.insert(fresh()).clone(),
            Entry::Occupied(mut occupied) => {
                let held = occupied.get_mut();
                if held.limit.rule != limit.rule {
                    *held = fresh();
                } else if !held.limit.is_like(limit) {
                    held.limit = Arc::clone(limit);
                }
                held.clone()
            }
        }
    }

    fn part(&self, counted: &Counted) -> &Part {
        let hash = self.hasher.hash_one(counted);
        &self.parts[usize::try_from(hash % PARTS as u64).unwrap_or(0)]
    }

    /// Forgets what does not count any more. Returns how many cells are left.
    pub(crate) fn forget_idle(&self, now: Moment) -> usize {
        let mut left = 0;
        for part in &self.parts {
            let mut part = part.lock().unwrap_or_else(PoisonError::into_inner);
            part.retain(|_, held| {
                let is_idle = held.cell.forget_idle(&held.limit.rule, held.limit.time(now));
                // Whoever remembers the key charges this very cell.
                !is_idle || Arc::strong_count(&held.cell) > 1
            });
            left += part.len();
        }
        left
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::TimeDelta;

    /// The stretch that is kept is the one that would be found, over a year in which the clocks go forward and back.
    #[test]
    fn a_stretch_that_is_kept_is_the_right_one() {
        for zone in ["Europe/Berlin", "Asia/Kathmandu", "America/St_Johns"] {
            let kind =
                WindowKind::Calendar { unit: tronch_core::CalendarUnit::Day, zone: zone.parse().expect("a zone") };
            let rule = LimitRule::new(None, Some(Window::new(1, kind).expect("a window"))).expect("a rule");
            let id = LimitId::from_uuid(Uuid::from_u128(1));
            let limit = Limit::new(id, LimitName::parse("daily").expect("a name"), true, rule);
            let mut at = tronch_core::parse_timestamp("2026-01-01T00:00:00Z").expect("a time");
            for step in 0..20_000 {
                assert_eq!(limit.span(at), rule.span(at), "{zone} {at}");
                at += TimeDelta::minutes(if step % 7 == 0 { -20 } else { 31 });
            }
        }
    }
}
