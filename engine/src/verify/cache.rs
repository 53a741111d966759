//! What was read from Postgres, by handle. Bounded; whether an entry still counts is decided by `node/marks.rs`.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use tronch_core::Handle;

use crate::clock::Moment;
use crate::node::marks::{Dependencies, Position};

/// Entries looked at to find one that has not been asked for in a while.
const SAMPLES: usize = 8;

/// Parts with a lock each, so that who takes an entry in holds up few of those that look for one.
const PARTS: usize = 256;

/// Bits of a hash that choose the part: neither the lowest nor the highest, by which a part finds its entries.
const PART_SHIFT: u32 = 40;

const NANOS_OF_SECOND: u64 = 1_000_000_000;

/// Something that was read, and when.
#[derive(Debug)]
pub(crate) struct Remembered<F> {
    handle: Handle,
    /// Where this process was in the change log before it asked.
    read_at: Position,
    dependencies: Dependencies,
    /// The second of its last use.
    used: AtomicU32,
    /// What was read.
    pub(crate) facts: F,
}

impl<F> Remembered<F> {
    pub(super) fn new(
        handle: Handle,
        (read_at, dependencies): (Position, Dependencies),
        facts: F,
        now: Moment,
    ) -> Self {
        Self { handle, read_at, dependencies, used: AtomicU32::new(seconds(now)), facts }
    }

    pub(super) fn handle(&self) -> Handle {
        self.handle
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
    parts: Box<[RwLock<Part<F>>]>,
    hasher: ahash::RandomState,
    /// Every handle in the map, so that one can be drawn by lot.
    handles: Mutex<Vec<Handle>>,
    lots: ahash::RandomState,
    capacity: usize,
}

/// Entries, found by the hash of their handle.
type Part<F> = HashTable<Arc<Remembered<F>>>;

impl<F> Cache<F> {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            parts: (0..PARTS).map(|_| RwLock::default()).collect(),
            hasher: ahash::RandomState::new(),
            handles: Mutex::default(),
            lots: ahash::RandomState::new(),
            capacity,
        }
    }

    pub(super) fn get(&self, handle: Handle, now: Moment) -> Option<Arc<Remembered<F>>> {
        let entry = self.find(handle)?;
        entry.touch(now);
        Some(entry)
    }

    fn find(&self, handle: Handle) -> Option<Arc<Remembered<F>>> {
        let (part, hash) = self.place_of(handle);
        let part = part.read().unwrap_or_else(PoisonError::into_inner);
        part.find(hash, |held| held.handle == handle).map(Arc::clone)
    }

    fn place_of(&self, handle: Handle) -> (&RwLock<Part<F>>, u64) {
        let hash = self.hasher.hash_one(handle);
        (&self.parts[(hash >> PART_SHIFT) as usize % PARTS], hash)
    }

    /// Takes an entry in, unless a later one is there already: of two reads the slower may be the older.
    pub(super) fn insert(&self, entry: Arc<Remembered<F>>) {
        let handle = entry.handle;
        if self.put(handle, entry) {
            let mut handles = self.handles.lock().unwrap_or_else(PoisonError::into_inner);
            handles.push(handle);
            if handles.len() > self.capacity {
                let place = self.least_used(&handles, handle);
                self.remove(handles.swap_remove(place));
            }
        }
    }

    /// Whether there was none.
    fn put(&self, handle: Handle, entry: Arc<Remembered<F>>) -> bool {
        let (part, hash) = self.place_of(handle);
        let mut part = part.write().unwrap_or_else(PoisonError::into_inner);
        let hash_of = |held: &Arc<Remembered<F>>| self.hasher.hash_one(held.handle);
        match part.entry(hash, |held| held.handle == handle, hash_of) {
            Entry::Occupied(mut held) => {
                if held.get().read_at <= entry.read_at {
                    *held.get_mut() = entry;
                }
                false
            }
            Entry::Vacant(place) => {
                place.insert(entry);
                true
            }
        }
    }

    fn remove(&self, handle: Handle) {
        let (part, hash) = self.place_of(handle);
        let mut part = part.write().unwrap_or_else(PoisonError::into_inner);
        if let Ok(held) = part.find_entry(hash, |held| held.handle == handle) {
            held.remove();
        }
    }

    /// The place of the one that was used longest ago, among a few. The lot is drawn from a handle, whose last characters
    /// are random.
    fn least_used(&self, handles: &[Handle], seed: Handle) -> usize {
        let drawn = (0..SAMPLES).map(|sample| {
            let lot = self.lots.hash_one((seed, sample));
            usize::try_from(lot % handles.len() as u64).unwrap_or(0)
        });
        let used = |place: &usize| self.find(handles[*place]).map_or(0, |entry| entry.used.load(Ordering::Relaxed));
        drawn.min_by_key(used).unwrap_or(0)
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.parts.iter().map(|part| part.read().expect("no panic").len()).sum()
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
        read(marks, number, 0, second)
    }

    fn read(marks: &Marks, number: usize, what: usize, second: u64) -> Arc<Remembered<usize>> {
        let now = Moment::from_nanos(second * 1_000_000_000);
        Arc::new(Remembered::new(handle(number), (marks.position(), Dependencies::new(0, [0; 3])), what, now))
    }

    #[test]
    fn it_never_grows_beyond_its_capacity_and_gives_up_what_was_not_used() {
        let (marks, cache) = (Marks::new(0), Cache::new(1_000));
        for number in 0..1_000 {
            cache.insert(entry(&marks, number, 1));
        }
        // A tenth is asked for all the time.
        for number in 0..100 {
            assert!(cache.get(handle(number), Moment::from_nanos(50_000_000_000)).is_some());
        }
        for number in 1_000..2_000 {
            cache.insert(entry(&marks, number, 2));
            assert!(cache.len() <= 1_000);
        }
        let kept = (0..100).filter(|number| cache.get(handle(*number), Moment::now()).is_some()).count();
        assert!(kept > 95, "{kept} of 100");
    }

    #[test]
    fn the_later_of_two_reads_stays() {
        let (marks, cache) = (Marks::new(0), Cache::new(10));
        let older = read(&marks, 7, 1, 1);
        marks.advance(5, []);
        cache.insert(read(&marks, 7, 2, 1));
        cache.insert(older);
        assert_eq!(cache.get(handle(7), Moment::now()).map(|entry| entry.facts), Some(2));
        assert_eq!(cache.len(), 1);
    }

    /// Four threads take in what they read, older and later, and look it up: who has seen a later read never sees an older one, and
    /// every entry can be drawn by lot once.
    #[test]
    fn nobody_goes_back_to_an_older_read() {
        const NUMBERS: usize = 64;
        let (marks, cache) = (Marks::new(0), Cache::new(NUMBERS));
        let positions: Vec<_> = (1..=200)
            .map(|number| {
                marks.advance(number, []);
                marks.position()
            })
            .collect();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (cache, positions) = (&cache, &positions);
                scope.spawn(move || {
                    let mut seen = [None; NUMBERS];
                    for round in 0..positions.len() * NUMBERS {
                        let (number, place) = (round % NUMBERS, (round * 7 + thread * 53) % positions.len());
                        let read = (positions[place], Dependencies::new(0, [0; 3]));
                        cache.insert(Arc::new(Remembered::new(handle(number), read, place, Moment::now())));
                        let found = cache.get(handle(number), Moment::now()).expect("nothing is pushed out").read_at();
                        assert!(found >= positions[place] && Some(found) >= seen[number], "{number}");
                        seen[number] = Some(found);
                    }
                });
            }
        });
        let mut handles = cache.handles.lock().expect("no panic").clone();
        handles.sort_unstable();
        handles.dedup();
        assert_eq!((handles.len(), cache.len()), (NUMBERS, NUMBERS));
    }
}
