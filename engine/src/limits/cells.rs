//! Where what was taken lies: a cell for each limit and whose calls it counts, for as long as somebody may ask for it or any of it
//! counts.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tronch_core::{LimitId, LimitName, LimitRule, LimitTime};
use uuid::Uuid;

use super::cell::Cell;
use crate::clock::{self, Moment};

/// Parts that are locked by themselves: a power of two.
const PARTS: usize = 64;

/// A limit as calls are charged to it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Limit {
    pub(crate) id: LimitId,
    pub(crate) name: LimitName,
    pub(crate) is_automatic: bool,
    pub(crate) rule: LimitRule,
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
                } else if held.limit != *limit {
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
                let is_idle = held.cell.forget_idle(&held.limit.rule, time(&held.limit.rule, now));
                // Whoever remembers the key charges this very cell.
                !is_idle || Arc::strong_count(&held.cell) > 1
            });
            left += part.len();
        }
        left
    }
}

/// What time it is for a limit.
pub(crate) fn time(rule: &LimitRule, now: Moment) -> LimitTime {
    let date = clock::at(now);
    LimitTime { passed: Duration::from_nanos(now.as_nanos()), now: date, span: rule.span(date) }
}
