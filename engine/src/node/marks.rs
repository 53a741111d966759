//! What has changed, and up to where this process knows it. The rule that keeps a revoked key from coming back: **what was
//! read counts only if it was read at a position no earlier than the last change of anything it depends on.** What the
//! changes are is the change log's business; what was read is the cache's.
//!
//! Nothing here is ever wrong in the dangerous direction: two handles that share a mark only cost a needless read.

use super::atomics::{AtomicU64, Ordering};

/// Marks of single handles, and of what many entries share.
const HANDLE_MARKS: usize = 1 << 16;
const SHARED_MARKS: usize = 1 << 14;

/// For what depends on fewer shared things than there is room for. Whoever happens to share its mark costs a needless read.
pub(crate) const SHARED_BY_NONE: u64 = 0;

/// Bits of a position that hold the number; those above count how often everything was forgotten.
const NUMBER_BITS: u32 = 48;
const NUMBER_MASK: u64 = (1 << NUMBER_BITS) - 1;

/// How far in the change log a process is. Later is greater, also after everything was forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position(u64);

impl Position {
    /// The number in the change log.
    pub(crate) fn number(self) -> u64 {
        self.0 & NUMBER_MASK
    }
}

/// Where the marks of one entry stand: computed once, when it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Dependencies {
    handle: u16,
    shared: [u16; 3],
}

impl Dependencies {
    /// Of an entry with the hash of its handle, and those of what it shares with others. One that shares less repeats
    /// itself.
    pub(crate) fn new(handle: u64, shared: [u64; 3]) -> Self {
        Self { handle: handle_mark(handle), shared: shared.map(shared_mark) }
    }

    /// Of an entry that depends on its handle alone.
    pub(crate) fn of_handle(handle: u64) -> Self {
        Self::new(handle, [SHARED_BY_NONE; 3])
    }
}

/// What a change touches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Touched {
    /// One handle, by its hash.
    Handle(u64),
    /// All that depend on something shared, by its hash.
    Shared(u64),
}

fn handle_mark(hash: u64) -> u16 {
    // The upper bits: maps use the lower ones.
    u16::try_from(hash >> 48).expect("16 bits")
}

fn shared_mark(hash: u64) -> u16 {
    u16::try_from(hash >> 50).expect("14 bits")
}

/// Written by the one thread that follows the change log, read by every call.
pub(crate) struct Marks {
    position: AtomicU64,
    /// What was read before this does not count, whatever it depends on.
    floor: AtomicU64,
    handles: Box<[AtomicU64]>,
    shared: Box<[AtomicU64]>,
}

impl Marks {
    /// At the start of a process, which has read nothing yet.
    pub(crate) fn new(number: u64) -> Self {
        let zeros = |count| (0..count).map(|_| AtomicU64::new(0)).collect();
        let start = number & NUMBER_MASK;
        Self {
            position: AtomicU64::new(start),
            floor: AtomicU64::new(start),
            handles: zeros(HANDLE_MARKS),
            shared: zeros(SHARED_MARKS),
        }
    }

    /// Where the process is. What is read from Postgres stores the position from before it asked.
    pub(crate) fn position(&self) -> Position {
        Position(self.position.load(Ordering::Acquire))
    }

    /// Whether what was read at `read_at` is still what Postgres would say, as far as this process knows.
    pub(crate) fn counts(&self, read_at: Position, dependencies: &Dependencies) -> bool {
        // First the position, so that all marks up to it are seen.
        let _known = self.position.load(Ordering::Acquire);
        let not_later = |mark: &AtomicU64| mark.load(Ordering::Relaxed) <= read_at.0;
        not_later(&self.floor)
            && not_later(&self.handles[usize::from(dependencies.handle)])
            && dependencies.shared.iter().all(|mark| not_later(&self.shared[usize::from(*mark)]))
    }

    /// Notes changes that are in the log up to `number`, and only then moves there.
    pub(crate) fn advance(&self, number: u64, touched: impl IntoIterator<Item = Touched>) {
        let position = (self.position.load(Ordering::Relaxed) & !NUMBER_MASK) | (number & NUMBER_MASK);
        for touched in touched {
            let mark = match touched {
                Touched::Handle(hash) => &self.handles[usize::from(handle_mark(hash))],
                Touched::Shared(hash) => &self.shared[usize::from(shared_mark(hash))],
            };
            mark.store(position, Ordering::Relaxed);
        }
        self.position.store(position, Ordering::Release);
    }

    /// Nothing that was read so far counts any more; the log goes on from `number`, which may be lower than before.
    pub(crate) fn forget_everything(&self, number: u64) {
        let round = (self.position.load(Ordering::Relaxed) >> NUMBER_BITS) + 1;
        let position = (round << NUMBER_BITS) | (number & NUMBER_MASK);
        self.floor.store(position, Ordering::Relaxed);
        self.position.store(position, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_was_read_before_a_change_of_it_does_not_count() {
        let marks = Marks::new(7);
        let (mine, other) =
            (Dependencies::new(1 << 48, [1 << 50, 2 << 50, 3 << 50]), Dependencies::new(9 << 48, [0; 3]));
        for touched in [Touched::Handle(1 << 48), Touched::Shared(2 << 50), Touched::Shared(3 << 50)] {
            let read_at = marks.position();
            assert!(marks.counts(read_at, &mine) && marks.counts(read_at, &other));
            marks.advance(read_at.number() + 1, [touched]);
            assert!(!marks.counts(read_at, &mine), "{touched:?}");
            assert!(marks.counts(read_at, &other), "{touched:?}");
            assert!(marks.counts(marks.position(), &mine), "{touched:?}");
        }
    }

    #[test]
    fn after_everything_was_forgotten_only_what_is_read_anew_counts() {
        let marks = Marks::new(100);
        let dependencies = Dependencies::new(0, [0; 3]);
        let read_at = marks.position();
        // As after a failover that lost the last changes.
        marks.forget_everything(90);
        assert_eq!(marks.position().number(), 90);
        assert!(!marks.counts(read_at, &dependencies));
        let again = marks.position();
        marks.advance(101, []);
        assert!(!marks.counts(read_at, &dependencies));
        assert!(marks.counts(again, &dependencies));
    }

    proptest! {
        /// Against the plain rule over a list of all changes: never more than it allows.
        #[test]
        fn never_counts_what_the_plain_rule_refuses(
            changes in prop::collection::vec((0_u64..4, any::<bool>()), 1..40), read in 0_usize..40,
            handle in 0_u64..4, shared in prop::array::uniform3(0_u64..4),
        ) {
            let marks = Marks::new(0);
            let dependencies = Dependencies::new(handle << 48, shared.map(|hash| hash << 50));
            let mut read_at = None;
            let mut changed_since = false;
            for (index, (hash, of_handle)) in changes.iter().enumerate() {
                if index == read {
                    read_at = Some(marks.position());
                }
                let touched = if *of_handle { Touched::Handle(hash << 48) } else { Touched::Shared(hash << 50) };
                let mine = if *of_handle { *hash == handle } else { shared.contains(hash) };
                changed_since |= read_at.is_some() && mine;
                marks.advance(index as u64 + 1, [touched]);
            }
            if let Some(read_at) = read_at {
                prop_assert_eq!(marks.counts(read_at, &dependencies), !changed_since);
            }
        }
    }
}
