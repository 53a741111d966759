//! Handles that were looked up and are nobody's, for a moment: the same forged text again and again is one question. A
//! table of fixed size, apart from what is remembered of keys, which it can never push out.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tronch_core::{Handle, Timestamp};

use crate::clock::Moment;
use crate::node::marks::{Dependencies, Marks, Position};

const PLACES: usize = 4096;

/// How long one is taken to be absent.
const LASTS: Duration = Duration::from_secs(1);

/// A handle this close to now may be a key that is being made, and is never taken to be absent.
const TOO_FRESH_MS: u64 = 10 * 60 * 1000;

#[derive(Clone, Copy)]
struct Absence {
    handle: Handle,
    read_at: Position,
    dependencies: Dependencies,
    until: Moment,
}

/// What was found to be absent.
pub(super) struct Absent {
    places: Box<[Mutex<Option<Absence>>]>,
}

impl Absent {
    pub(super) fn new() -> Self {
        Self { places: (0..PLACES).map(|_| Mutex::new(None)).collect() }
    }

    fn place(&self, hash: u64) -> std::sync::MutexGuard<'_, Option<Absence>> {
        let place = usize::try_from(hash % PLACES as u64).unwrap_or(0);
        self.places[place].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether nothing was there a moment ago, and nothing has come since.
    pub(super) fn holds(&self, hash: u64, handle: Handle, marks: &Marks, now: Moment) -> bool {
        self.place(hash).is_some_and(|absence| {
            absence.handle == handle && now < absence.until && marks.counts(absence.read_at, &absence.dependencies)
        })
    }

    /// Notes that nothing was there. `created_ms` is when the handle says that it was made.
    pub(super) fn insert(
        &self,
        hash: u64,
        handle: Handle,
        created_ms: u64,
        read_at: Position,
        now: (Moment, Timestamp),
    ) {
        let now_ms = u64::try_from(now.1.timestamp_millis()).unwrap_or(0);
        if created_ms.abs_diff(now_ms) < TOO_FRESH_MS {
            return;
        }
        let dependencies = Dependencies::of_handle(hash);
        *self.place(hash) = Some(Absence { handle, read_at, dependencies, until: now.0.plus(LASTS) });
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;
    use crate::node::marks::Touched;

    #[test]
    fn an_absence_ends_with_its_second_and_with_a_change() {
        let (marks, absent) = (Marks::new(3), Absent::new());
        let handle: Handle = "0Uz3kQ9aB12".parse().expect("a handle");
        let at = |ms: u64| Moment::from_nanos(ms * 1_000_000);
        let time = DateTime::from_timestamp_millis(1_795_000_000_000).expect("a time");
        let minutes = |minutes: u64| 1_795_000_000_000 - minutes * 60_000;
        absent.insert(7 << 48, handle, minutes(9), marks.position(), (at(1_000), time));
        assert!(!absent.holds(7 << 48, handle, &marks, at(1_001)), "a fresh handle");
        absent.insert(7 << 48, handle, minutes(11), marks.position(), (at(1_000), time));
        assert!(absent.holds(7 << 48, handle, &marks, at(1_999)));
        assert!(!absent.holds(7 << 48, handle, &marks, at(2_000)));
        assert!(!absent.holds(7 << 48, "0Uz3kQ9aB13".parse().expect("a handle"), &marks, at(1_500)));
        marks.advance(4, [Touched::Handle(7 << 48)]);
        assert!(!absent.holds(7 << 48, handle, &marks, at(1_500)));
    }
}
