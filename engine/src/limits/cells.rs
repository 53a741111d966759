//! Where what was taken lies: a cell for each limit and whose calls it counts, for as long as somebody may ask for it or any of it
//! counts.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use hashbrown::HashTable;
use tronch_core::{BucketState, Identifier, LimitId, LimitRule, TenantId};
use uuid::Uuid;

use super::cell::Cell;
use super::limit::Limit;
use crate::clock::Moment;

/// Parts that are locked by themselves: a power of two.
const PARTS: usize = 64;

/// Counts of identifiers that are kept at most: who they are is up to whoever calls, so there is no end of them.
const IDENTIFIERS_MAX: usize = 500_000;

/// Counts looked at to find one to forget.
const SAMPLES: usize = 8;

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
    /// Of a namespace: which identifier's they are.
    pub(crate) identifier: Option<Arc<Identifier>>,
    /// As it was when this began: of its name another may be told by now.
    pub(crate) limit: Arc<Limit>,
    pub(crate) cell: Cell,
}

impl KeyLimit {
    /// What it counts, the same for a key and those that it replaced: the order in which cells are held.
    pub(crate) fn counts_as(&self) -> LimitId {
        self.limit.counts_as()
    }
}

impl Count {
    /// What it is found by. A late read of a rule that was changed finds the old rule's cell, and does no harm to the new one's.
    fn place(&self) -> (LimitId, Uuid, bool, &LimitRule) {
        (self.limit.counts_as(), self.whose, self.limit.is_exact, &self.limit.rule)
    }
}

/// Some of them, each once.
#[derive(Default)]
struct Part {
    counts: HashTable<Arc<Count>>,
    /// How many of them are of identifiers.
    identifiers: usize,
}

impl Part {
    /// Forgets an identifier's count, of a few that are drawn by lot one of the tenant's if there is one: whoever asks about ever new
    /// identifiers forgets his own. Of those the one that is nearest to counting no more.
    fn forget_one(&mut self, tenant_id: TenantId, lot: u64, hash_of: impl Fn(&Arc<Count>) -> u64) {
        let from = usize::try_from(lot % self.counts.len().max(1) as u64).unwrap_or(0);
        let drawn = self.counts.iter().skip(from).chain(self.counts.iter().take(from));
        // What somebody is charging just now stays.
        let drawn = drawn.filter(|held| held.identifier.is_some() && Arc::strong_count(held) == 1).take(SAMPLES);
        let far = |held: &&Arc<Count>| (held.limit.tenant_id != tenant_id, held.cell.first.load(Ordering::Relaxed));
        let Some(chosen) = drawn.min_by_key(far).cloned() else { return };
        if let Ok(entry) = self.counts.find_entry(hash_of(&chosen), |held| Arc::ptr_eq(held, &chosen)) {
            entry.remove();
            self.identifiers -= 1;
            metrics::counter!("tronch_limit_identifiers_forgotten_total").increment(1);
        }
    }
}

/// All of a process.
pub(crate) struct Cells {
    parts: Box<[Mutex<Part>]>,
    /// Each limit once, by whose count it goes on with.
    limits: Mutex<HashMap<LimitId, Arc<Limit>, ahash::RandomState>>,
    hasher: ahash::RandomState,
    /// Since when buckets have filled that nobody here has taken from, in nanoseconds of a moment: nobody knows what was taken
    /// before. 0 if they are full.
    empty_at: AtomicU64,
}

impl Default for Cells {
    fn default() -> Self {
        let parts = (0..PARTS).map(|_| Mutex::default()).collect();
        Self { parts, limits: Mutex::default(), hasher: ahash::RandomState::new(), empty_at: AtomicU64::new(0) }
    }
}

impl Cells {
    /// A limit that was read: the one that others are held to already, if it is the same still.
    pub(crate) fn limit(&self, read: Limit) -> Arc<Limit> {
        let mut limits = self.limits.lock().unwrap_or_else(PoisonError::into_inner);
        match limits.get(&read.counts_as()) {
            Some(known) if known.is(&read) => Arc::clone(known),
            _ => {
                let read = Arc::new(read);
                limits.insert(read.counts_as(), Arc::clone(&read));
                read
            }
        }
    }

    /// The cell of a limit for whoever's calls it counts. Under another rule it begins anew: what was taken by the old one means
    /// nothing by the new.
    pub(crate) fn of(&self, limit: &Arc<Limit>, whose: Uuid) -> KeyLimit {
        self.of_identifier(limit, whose, None)
    }

    /// The same, with whatever an identifier became `whose` of.
    pub(crate) fn of_identifier(&self, limit: &Arc<Limit>, whose: Uuid, identifier: Option<&Identifier>) -> KeyLimit {
        let place = (limit.counts_as(), whose, limit.is_exact, &limit.rule);
        let hash = self.hasher.hash_one(place);
        let hash_of = |held: &Arc<Count>| self.hasher.hash_one(held.place());
        let mut part = self.part(hash).lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = part.counts.find(hash, |held| held.place() == place) {
            return KeyLimit { limit: Arc::clone(limit), count: Arc::clone(count) };
        }
        if identifier.is_some() {
            if part.identifiers >= IDENTIFIERS_MAX / PARTS {
                part.forget_one(limit.tenant_id, hash, hash_of);
            }
            part.identifiers += 1;
        }
        let cell = Cell::new(&limit.rule, self.first_state(&limit.rule, identifier.is_some()));
        let identifier = identifier.map(|identifier| Arc::new(identifier.clone()));
        let count = Arc::new(Count { whose, identifier, limit: Arc::clone(limit), cell });
        part.counts.insert_unique(hash, Arc::clone(&count), hash_of);
        KeyLimit { limit: Arc::clone(limit), count }
    }

    /// Buckets that are made from now on are empty at that moment, and fill as always.
    pub(crate) fn begin_empty(&self, at: Moment) {
        self.empty_at.store(at.as_nanos(), Ordering::Relaxed);
    }

    /// Most identifiers were never seen before, and empty they would be refused for nothing that anybody did: half is theirs.
    fn first_state(&self, rule: &LimitRule, of_identifier: bool) -> BucketState {
        let empty_at = self.empty_at.load(Ordering::Relaxed);
        let Some(bucket) = rule.bucket().filter(|_| empty_at > 0) else { return BucketState::default() };
        let empty = bucket.empty(empty_at / 1_000_000);
        if of_identifier { bucket.give_back(empty, bucket.capacity().div_ceil(2)) } else { empty }
    }

    /// Something of all limits.
    pub(crate) fn choose<T>(&self, choose: impl Fn(&Arc<Count>) -> Vec<T>) -> Vec<T> {
        let mut chosen = Vec::new();
        for part in &self.parts {
            let part = part.lock().unwrap_or_else(PoisonError::into_inner);
            chosen.extend(part.counts.iter().flat_map(&choose));
        }
        chosen
    }

    fn part(&self, hash: u64) -> &Mutex<Part> {
        // The table goes by the other bits.
        &self.parts[usize::try_from((hash >> 32) % PARTS as u64).unwrap_or(0)]
    }

    /// Forgets what does not count any more. Returns how many cells are left.
    pub(crate) fn forget_idle(&self, now: Moment) -> usize {
        let mut left = 0;
        for part in &self.parts {
            let mut part = part.lock().unwrap_or_else(PoisonError::into_inner);
            let Part { counts, identifiers } = &mut *part;
            counts.retain(|held| {
                // Whoever remembers the key charges this very cell. Asked first: with nobody else, nobody can begin to.
                let is_held = Arc::strong_count(held) > 1;
                let is_idle = held.cell.is_idle(&held.limit.rule, held.limit.time(now));
                let stays = is_held || !is_idle;
                *identifiers -= usize::from(!stays && held.identifier.is_some());
                stays
            });
            left += counts.len();
        }
        let mut limits = self.limits.lock().unwrap_or_else(PoisonError::into_inner);
        limits.retain(|_, limit| Arc::strong_count(limit) > 1);
        left
    }
}

#[cfg(test)]
mod tests {
    use tronch_core::LimitName;

    use super::super::charge::{Beyond, Charge, Charged, Way, Ways, charge};
    use super::*;

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
    fn there_is_one_of_each_limit_as_long_as_it_is_not_changed() {
        let cells = Cells::default();
        let read = |capacity| Arc::into_inner(limit(7, capacity)).expect("nobody else has it");
        let first = cells.limit(read(1));
        assert!(Arc::ptr_eq(&first, &cells.limit(read(1))));
        let changed = cells.limit(read(2));
        assert!(!Arc::ptr_eq(&first, &changed) && Arc::ptr_eq(&changed, &cells.limit(read(2))));
        cells.forget_idle(Moment::from_nanos(0));
        assert!(Arc::ptr_eq(&changed, &cells.limit(read(2))), "somebody is held to it");
        drop((first, changed));
        cells.forget_idle(Moment::from_nanos(0));
        assert!(cells.limits.lock().expect("no panic").is_empty());
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

    /// Whoever asks about ever new identifiers takes no more room, and forgets his own.
    #[test]
    fn identifiers_have_a_bound() {
        let cells = Cells::default();
        let theirs = limit(7, 1);
        let others = {
            let rule = theirs.rule;
            let (tenant_id, id) = (TenantId::from_uuid(Uuid::from_u128(4)), LimitId::from_uuid(Uuid::from_u128(8)));
            Arc::new(Limit::new(tenant_id, id, LimitName::parse("default").expect("a name"), (true, false), rule))
        };
        let of = |limit: &Arc<Limit>, number: u128| {
            let identifier = Identifier::parse(&number.to_string()).expect("an identifier");
            cells.of_identifier(limit, Uuid::from_u128(number << 64 | number), Some(&identifier))
        };
        for number in 0..1_000 {
            assert!(take(&of(&others, number)));
        }
        let key = cells.of(&theirs, Uuid::from_u128(1));
        assert!(take(&key));
        for number in 0..600_000 {
            of(&theirs, number);
        }
        let held = cells.forget_idle(Moment::from_nanos(5_000_000_000));
        assert!(held <= IDENTIFIERS_MAX, "{held}");
        assert!(!take(&cells.of(&theirs, Uuid::from_u128(1))), "keys are not forgotten for them");
        let remembered = (0..1_000).filter(|number| !take(&of(&others, *number))).count();
        assert!(remembered > 950, "{remembered} of 1 000 of another tenant");
    }

    /// Of one that refills a token a minute.
    #[test]
    fn after_a_stop_that_nobody_saw_coming_buckets_fill_from_nothing() {
        let cells = Cells::default();
        cells.begin_empty(Moment::from_nanos(4_000_000_000));
        assert!(!take(&cells.of(&limit(7, 5), Uuid::from_u128(1))));
        // Of an identifier that may never have been seen half is there.
        let identifier = Identifier::parse("ada").expect("an identifier");
        let held = cells.of_identifier(&limit(9, 5), Uuid::from_u128(1), Some(&identifier));
        assert_eq!((0..5).filter(|_| take(&held)).count(), 3);
        cells.begin_empty(Moment::from_nanos(0));
        assert!(take(&cells.of(&limit(8, 5), Uuid::from_u128(1))));
        let cells = Cells::default();
        assert!(take(&cells.of(&limit(7, 5), Uuid::from_u128(1))));
    }
}
