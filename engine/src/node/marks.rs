//! What has changed, and up to where this process knows it. The rule that keeps a revoked key from coming back: **what was
//! read counts only if it was read at a position no earlier than the last change of anything it depends on.** What the
//! changes are is the change log's business; what was read is the cache's.
//!
//! Nothing here is ever wrong in the dangerous direction: two handles that share a mark only cost a needless read.

use super::atomics::{AtomicU64, HANDLE_BITS, Ordering, SHARED_BITS};

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

    /// Whether nothing was forgotten between the two.
    pub(crate) fn is_of_round(self, other: Self) -> bool {
        self.0 >> NUMBER_BITS == other.0 >> NUMBER_BITS
    }

    /// The same number as if nothing had been forgotten.
    #[cfg(test)]
    pub(crate) fn in_round_of(self, other: Self) -> Self {
        Self((other.0 & !NUMBER_MASK) | self.number())
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
    u16::try_from(hash >> (64 - HANDLE_BITS)).expect("at most 16 bits")
}

fn shared_mark(hash: u64) -> u16 {
    u16::try_from(hash >> (64 - SHARED_BITS)).expect("at most 16 bits")
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
        let zeros = |bits: u32| (0..1_usize << bits).map(|_| AtomicU64::new(0)).collect();
        let start = number & NUMBER_MASK;
        Self {
            position: AtomicU64::new(start),
            floor: AtomicU64::new(start),
            handles: zeros(HANDLE_BITS),
            shared: zeros(SHARED_BITS),
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
