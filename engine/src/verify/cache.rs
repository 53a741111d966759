//! What was read from Postgres, by handle. Bounded; whether an entry still counts is decided by `node/marks.rs`.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tronch_core::Handle;

use crate::clock::Moment;
use crate::node::marks::{Dependencies, Position};

/// Entries looked at to find one that has not been asked for in a while.
const SAMPLES: usize = 8;

const NANOS_OF_SECOND: u64 = 1_000_000_000;

/// Something that was read, and when.
#[derive(Debug)]
pub(crate) struct Remembered<F> {
    /// Where this process was in the change log before it asked.
    read_at: Position,
    dependencies: Dependencies,
    /// The second of its last use.
    used: AtomicU32,
    /// What was read.
    pub(crate) facts: F,
}

impl<F> Remembered<F> {
    pub(super) fn new(read_at: Position, dependencies: Dependencies, facts: F, now: Moment) -> Self {
        Self { read_at, dependencies, used: AtomicU32::new(seconds(now)), facts }
    }

    pub(super) fn read_at(&self) -> Position {
        self.read_at
    }

    pub(super) fn dependencies(&self) -> &Dependencies {
        &self.dependencies
    }

    /// When it was last asked for, to the second.
    pub(super) fn last_used(&self) -> Moment {
        Moment::from_nanos(u64::from(self.used.load(Ordering::Relaxed)) * NANOS_OF_SECOND)
    }

    fn touch(&self, now: Moment) {
        let now = seconds(now);
        // Most calls find the second noted already, and leave the line to other cores.
        if self.used.load(Ordering::Relaxed) != now {
            self.used.store(now, Ordering::Relaxed);
        }
    }
}

fn seconds(moment: Moment) -> u32 {
    u32::try_from(moment.as_nanos() / NANOS_OF_SECOND).unwrap_or(u32::MAX)
}

/// A map of at most `capacity` entries.
pub(super) struct Cache<F> {
    entries: papaya::HashMap<Handle, Arc<Remembered<F>>, ahash::RandomState>,
    /// Every handle in the map, so that one can be drawn by lot.
    handles: Mutex<Vec<Handle>>,
    lots: ahash::RandomState,
    capacity: usize,
}

impl<F: Send + Sync + 'static> Cache<F> {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            entries: papaya::HashMap::builder().hasher(ahash::RandomState::new()).build(),
            handles: Mutex::default(),
            lots: ahash::RandomState::new(),
            capacity,
        }
    }

    pub(super) fn get(&self, handle: Handle, now: Moment) -> Option<Arc<Remembered<F>>> {
        let entries = self.entries.pin();
        let entry = entries.get(&handle)?;
        entry.touch(now);
        Some(Arc::clone(entry))
    }

    /// Takes an entry in, unless a later one is there already: of two reads the slower may be the older.
    pub(super) fn insert(&self, handle: Handle, entry: Arc<Remembered<F>>) {
        let entries = self.entries.pin();
        let mut is_new = false;
        entries.compute(handle, |held| match held {
            Some((_, held)) if held.read_at > entry.read_at => {
                is_new = false;
                papaya::Operation::Abort(())
            }
            held => {
                is_new = held.is_none();
                papaya::Operation::Insert(Arc::clone(&entry))
            }
        });
        if is_new {
            let mut handles = self.handles.lock().unwrap_or_else(PoisonError::into_inner);
            handles.push(handle);
            if handles.len() > self.capacity {
                let place = self.least_used(&handles, handle);
                entries.remove(&handles.swap_remove(place));
            }
        }
    }

    /// The place of the one that was used longest ago, among a few. The lot is drawn from a handle, whose last characters
    /// are random.
    fn least_used(&self, handles: &[Handle], seed: Handle) -> usize {
        let entries = self.entries.pin();
        let drawn = (0..SAMPLES).map(|sample| {
            let lot = self.lots.hash_one((seed, sample));
            usize::try_from(lot % handles.len() as u64).unwrap_or(0)
        });
        let used = |place: &usize| entries.get(&handles[*place]).map_or(0, |entry| entry.used.load(Ordering::Relaxed));
        drawn.min_by_key(used).unwrap_or(0)
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::marks::Marks;

    fn handle(number: usize) -> Handle {
        format!("{number:011}").parse().expect("digits")
    }

    fn entry(marks: &Marks, number: usize, second: u64) -> Arc<Remembered<usize>> {
        let now = Moment::from_nanos(second * 1_000_000_000);
        Arc::new(Remembered::new(marks.position(), Dependencies::new(0, [0; 3]), number, now))
    }

    #[test]
    fn it_never_grows_beyond_its_capacity_and_gives_up_what_was_not_used() {
        let (marks, cache) = (Marks::new(0), Cache::new(1_000));
        for number in 0..1_000 {
            cache.insert(handle(number), entry(&marks, number, 1));
        }
        // A tenth is asked for all the time.
        for number in 0..100 {
            assert!(cache.get(handle(number), Moment::from_nanos(50_000_000_000)).is_some());
        }
        for number in 1_000..2_000 {
            cache.insert(handle(number), entry(&marks, number, 2));
            assert!(cache.len() <= 1_000);
        }
        let kept = (0..100).filter(|number| cache.get(handle(*number), Moment::now()).is_some()).count();
        assert!(kept > 95, "{kept} of 100");
    }

    #[test]
    fn the_later_of_two_reads_stays() {
        let (marks, cache) = (Marks::new(0), Cache::new(10));
        let older = entry(&marks, 1, 1);
        marks.advance(5, []);
        cache.insert(handle(7), entry(&marks, 2, 1));
        cache.insert(handle(7), older);
        assert_eq!(cache.get(handle(7), Moment::now()).map(|entry| entry.facts), Some(2));
        assert_eq!(cache.len(), 1);
    }
}
