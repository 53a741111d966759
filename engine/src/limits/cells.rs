//! Where what was taken lies: a cell for each limit and whose calls it counts, for as long as somebody may ask for it or any of it
//! counts.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hashbrown::HashTable;
use tronch_core::{
    BucketState, LimitId, LimitName, LimitRule, LimitTime, Refill, Span, TenantId, Timestamp, Window, WindowKind,
};
use uuid::Uuid;

use super::cell::Cell;
use crate::clock::{self, Moment};

/// Parts that are locked by themselves: a power of two.
const PARTS: usize = 64;

/// A limit as calls are charged to it.
#[derive(Debug)]
pub(crate) struct Limit {
    pub(crate) tenant_id: TenantId,
    pub(crate) name: LimitName,
    pub(crate) is_automatic: bool,
    /// Whether each call asks the store that several processes share.
    pub(crate) is_exact: bool,
    pub(crate) rule: LimitRule,
    /// The limit whose count this one goes on with; itself, unless its key is a successor.
    counts_as: LimitId,
    /// The stretch of the calendar that was found last: its first minute since 1970, and the first of the next. To find one takes
    /// longer than all else that a charge does.
    stretch: AtomicU64,
}

impl Limit {
    pub(crate) fn new(
        tenant_id: TenantId,
        counts_as: LimitId,
        name: LimitName,
        (is_automatic, is_exact): (bool, bool),
        rule: LimitRule,
    ) -> Self {
        Self { tenant_id, name, is_automatic, is_exact, rule, counts_as, stretch: AtomicU64::new(0) }
    }

    /// The limit whose count this one goes on with; itself, unless its key is a successor.
    pub(crate) fn counts_as(&self) -> LimitId {
        self.counts_as
    }

    /// What time it is for it.
    pub(crate) fn time(&self, now: Moment) -> LimitTime {
        let date = clock::at(now);
        LimitTime { passed: Duration::from_nanos(now.as_nanos()), now: date, span: self.span(date) }
    }

    fn span(&self, at: Timestamp) -> Span {
        let of_calendar = matches!(
            self.rule.window().map(Window::kind),
            Some(WindowKind::Calendar { .. } | WindowKind::Credits { refill: Some(Refill { .. }) })
        );
        if !of_calendar {
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
    pub(crate) count: Arc<Count>,
}

/// What was taken of a limit by those whose calls are counted together.
#[derive(Debug)]
pub(crate) struct Count {
    /// The first key of the key's rotations, or the limit itself where it counts the calls of several together.
    pub(crate) whose: Uuid,
    /// As it was when this began: of its name another may be told by now.
    pub(crate) limit: Arc<Limit>,
    pub(crate) cell: Cell,
}

impl KeyLimit {
    /// What it counts, the same for a key and those that it replaced: the order in which cells are held.
    pub(crate) fn counts_as(&self) -> LimitId {
        self.limit.counts_as
    }
}

impl Count {
    /// What it is found by. A late read of a rule that was changed finds the old rule's cell, and does no harm to the new one's.
    fn place(&self) -> (LimitId, Uuid, bool, &LimitRule) {
        (self.limit.counts_as, self.whose, self.limit.is_exact, &self.limit.rule)
    }
}

/// Some of them, each once.
type Part = Mutex<HashTable<Arc<Count>>>;

/// All of a process.
pub(crate) struct Cells {
    parts: Box<[Part]>,
    hasher: ahash::RandomState,
    /// Since when buckets have filled that nobody here has taken from, in nanoseconds of a moment: nobody knows what was taken
    /// before. 0 if they are full.
    empty_at: AtomicU64,
}

impl Default for Cells {
    fn default() -> Self {
        let parts = (0..PARTS).map(|_| Part::default()).collect();
        Self { parts, hasher: ahash::RandomState::new(), empty_at: AtomicU64::new(0) }
    }
}

impl Cells {
    /// The cell of a limit for whoever's calls it counts. Under another rule it begins anew: what was taken by the old one means
    /// nothing by the new.
    pub(crate) fn of(&self, limit: &Arc<Limit>, whose: Uuid) -> KeyLimit {
        let place = (limit.counts_as, whose, limit.is_exact, &limit.rule);
        let hash = self.hasher.hash_one(place);
        let mut part = self.part(hash).lock().unwrap_or_else(PoisonError::into_inner);
        let entry = part.entry(hash, |held| held.place() == place, |held| self.hasher.hash_one(held.place()));
        let count = entry.or_insert_with(|| {
            let cell = Cell::new(&limit.rule, self.first_state(&limit.rule));
            Arc::new(Count { whose, limit: Arc::clone(limit), cell })
        });
        KeyLimit { limit: Arc::clone(limit), count: Arc::clone(count.get()) }
    }

    /// Buckets that are made from now on are empty at that moment, and fill as always.
    pub(crate) fn begin_empty(&self, at: Moment) {
        self.empty_at.store(at.as_nanos(), Ordering::Relaxed);
    }

    fn first_state(&self, rule: &LimitRule) -> BucketState {
        let empty_at = self.empty_at.load(Ordering::Relaxed);
        let empty = rule.bucket().filter(|_| empty_at > 0).map(|bucket| bucket.empty(Duration::from_nanos(empty_at)));
        empty.unwrap_or_default()
    }

    /// Something of all limits.
    pub(crate) fn choose<T>(&self, choose: impl Fn(&Arc<Count>) -> Vec<T>) -> Vec<T> {
        let mut chosen = Vec::new();
        for part in &self.parts {
            let part = part.lock().unwrap_or_else(PoisonError::into_inner);
            chosen.extend(part.iter().flat_map(&choose));
        }
        chosen
    }

    fn part(&self, hash: u64) -> &Part {
        // The table goes by the other bits.
        &self.parts[usize::try_from((hash >> 32) % PARTS as u64).unwrap_or(0)]
    }

    /// Forgets what does not count any more. Returns how many cells are left.
    pub(crate) fn forget_idle(&self, now: Moment) -> usize {
        let mut left = 0;
        for part in &self.parts {
            let mut part = part.lock().unwrap_or_else(PoisonError::into_inner);
            part.retain(|held| {
                // Whoever remembers the key charges this very cell. Asked first: with nobody else, nobody can begin to.
                let is_held = Arc::strong_count(held) > 1;
                let is_idle = held.cell.is_idle(&held.limit.rule, held.limit.time(now));
                is_held || !is_idle
            });
            left += part.len();
        }
        left
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::super::charge::{Beyond, Charge, Charged, Way, Ways, charge};
    use super::*;

    /// The stretch that is kept is the one that would be found, over a year in which the clocks go forward and back.
    #[test]
    fn a_stretch_that_is_kept_is_the_right_one() {
        for zone in ["Europe/Berlin", "Asia/Kathmandu", "America/St_Johns"] {
            let kind =
                WindowKind::Calendar { unit: tronch_core::CalendarUnit::Day, zone: zone.parse().expect("a zone") };
            let rule = LimitRule::new(None, Some(Window::new(1, kind).expect("a window"))).expect("a rule");
            let id = LimitId::from_uuid(Uuid::from_u128(1));
            let tenant_id = TenantId::from_uuid(Uuid::from_u128(3));
            let limit = Limit::new(tenant_id, id, LimitName::parse("daily").expect("a name"), (true, false), rule);
            let mut at = tronch_core::parse_timestamp("2026-01-01T00:00:00Z").expect("a time");
            for step in 0..20_000 {
                assert_eq!(limit.span(at), rule.span(at), "{zone} {at}");
                at += TimeDelta::minutes(if step % 7 == 0 { -20 } else { 31 });
            }
        }
    }

    fn limit(counts_as: u128, capacity: u64) -> Arc<Limit> {
        let bucket = tronch_core::Bucket::new(capacity, 1, 60).expect("a bucket");
        let rule = LimitRule::new(Some(bucket), None).expect("a rule");
        let counts_as = LimitId::from_uuid(Uuid::from_u128(counts_as));
        let tenant_id = TenantId::from_uuid(Uuid::from_u128(3));
        Arc::new(Limit::new(tenant_id, counts_as, LimitName::parse("default").expect("a name"), (true, false), rule))
    }

    fn take(from: &KeyLimit) -> bool {
        take_at(from, 5)
    }

    fn take_at(from: &KeyLimit, seconds: u64) -> bool {
        let mut charges = [Charge::new(
            &from.limit.rule,
            &from.count.cell,
            Ways { rate: Way::Local, total: Way::Fast },
            from.limit.time(Moment::from_nanos(seconds * 1_000_000_000)),
            tronch_core::Cost::ONE,
        )];
        charge(&mut charges, Beyond::MayBe) == Charged::Passed
    }

    #[test]
    fn one_limit_has_one_cell_for_each_whose_calls_it_counts_and_for_each_rule() {
        let cells = Cells::default();
        let (one, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let (narrow, wide) = (limit(7, 1), limit(7, 2));
        assert!(take(&cells.of(&narrow, one)) && !take(&cells.of(&narrow, one)));
        assert!(take(&cells.of(&narrow, other)), "another key's calls are its own");
        assert!(take(&cells.of(&wide, one)), "another rule begins anew");
        // A read that was late brings the old rule back for a moment: neither cell hears of the other.
        assert!(!take(&cells.of(&narrow, one)));
        assert!(take(&cells.of(&wide, one)) && !take(&cells.of(&wide, one)));
    }

    #[test]
    fn what_counts_or_is_held_on_to_is_not_forgotten() {
        let cells = Cells::default();
        let (narrow, whose) = (limit(7, 1), Uuid::from_u128(1));
        let held = cells.of(&narrow, whose);
        assert!(take(&held));
        let at = |seconds: u64| Moment::from_nanos(seconds * 1_000_000_000);
        drop(held);
        assert_eq!(cells.forget_idle(at(5)), 1, "it counts");
        assert!(!take(&cells.of(&narrow, whose)));
        let held = cells.of(&narrow, whose);
        assert_eq!(cells.forget_idle(at(500)), 1, "somebody may charge it");
        let again = cells.of(&narrow, whose);
        assert!(take_at(&again, 500) && !take_at(&held, 500), "it is the same, and was full again");
        drop(again);
        drop(held);
        assert_eq!(cells.forget_idle(at(5_000)), 0);
    }

    /// Of one that refills a token a minute.
    #[test]
    fn after_a_stop_that_nobody_saw_coming_buckets_fill_from_nothing() {
        let cells = Cells::default();
        cells.begin_empty(Moment::from_nanos(4_000_000_000));
        assert!(!take(&cells.of(&limit(7, 5), Uuid::from_u128(1))));
        cells.begin_empty(Moment::from_nanos(0));
        assert!(take(&cells.of(&limit(8, 5), Uuid::from_u128(1))));
        let cells = Cells::default();
        assert!(take(&cells.of(&limit(7, 5), Uuid::from_u128(1))));
    }
}
