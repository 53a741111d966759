//! Adding events up, purely: what one batch holds.

use std::collections::HashMap;

use chrono::TimeDelta;
use tronch_core::{Environment, KeyId, LimitId, ProjectId, ServiceTokenId, TenantId, Timestamp, VerdictCode};
use uuid::Uuid;

use super::tally::{Subject, Taken};
use super::uses::later;

/// Stands for "all keys of the tenant" and for "no project", where nothing else can; so does, of environments, none.
const NIL: Uuid = Uuid::nil();

const SECONDS_OF_MINUTE: i64 = 60;

/// Fewer passes than twice as many are not worth merging.
const MERGED_FROM: usize = 10_000;

/// One validation and its verdict.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Event {
    pub(crate) at: Timestamp,
    pub(crate) tenant_id: TenantId,
    /// The key and its project, where the text was a key of the tenant's.
    pub(crate) key: Option<(KeyId, ProjectId)>,
    /// The key's own, else the one that was asked for.
    pub(crate) environment: Environment,
    pub(crate) code: VerdictCode,
}

/// A call and what one limit said of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LimitEvent {
    pub(crate) minute: u32,
    pub(crate) tenant_id: TenantId,
    pub(crate) limit_id: LimitId,
    /// VALID if it was charged, or what it was refused with.
    pub(crate) code: VerdictCode,
}

/// What the collector is told.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Told {
    /// A validation, which is counted.
    Validated(Event),
    /// A limit let pass or refused, which is counted for it alone.
    Limited(LimitEvent),
    /// A service token was let in, which only moves its time of last use.
    TokenUsed(ServiceTokenId, Timestamp),
}

/// The minute of a time, counted from 1970.
pub(super) fn minute_of(at: Timestamp) -> u32 {
    minute_at(at.timestamp_millis())
}

/// The same, in milliseconds since 1970.
pub(super) fn minute_at(at_ms: i64) -> u32 {
    u32::try_from(at_ms.div_euclid(SECONDS_OF_MINUTE * 1_000)).unwrap_or(0)
}

/// What is counted apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Cell {
    pub(super) tenant_id: Uuid,
    /// The key, or the limit.
    pub(super) key_id: Uuid,
    minute: u32,
    pub(super) project_id: Uuid,
    pub(super) environment: Option<Environment>,
    pub(super) code: VerdictCode,
}

impl Cell {
    /// The minute's beginning.
    pub(super) fn at(&self) -> Timestamp {
        Timestamp::from_timestamp(i64::from(self.minute) * SECONDS_OF_MINUTE, 0).unwrap_or_default()
    }
}

/// What a key's tally held.
#[derive(Debug)]
struct Pass {
    cell: Cell,
    count: u64,
    last: Timestamp,
    /// Whether they are the first of their minute: its time of last use is noted once in each.
    begins: bool,
}

/// What is counted by a key that nobody outside can choose at will, so any quick hash will do.
type Counted<K, V> = HashMap<K, V, ahash::RandomState>;

/// What has happened and is not stored yet. The statements of `store.rs` put it in order, so that two nodes lock rows in
/// the same one.
#[derive(Debug, Default)]
pub(super) struct Sums {
    pub(super) events: u64,
    counts: Counted<Cell, u64>,
    /// What tallies held, each key once for each time they were taken: as long as that is once, nothing is looked up.
    passes: Vec<Pass>,
    /// How many of them were left when they were last merged.
    merged: usize,
    /// When keys that have no tally were last found valid.
    keys_used: Counted<Uuid, Timestamp>,
    /// When each service token was last let in, to the minute.
    tokens_used: Counted<Uuid, Timestamp>,
}

impl Sums {
    pub(super) fn is_empty(&self) -> bool {
        self.held() == 0 && self.tokens_used.is_empty()
    }

    pub(super) fn take(&mut self, told: &Told) {
        match told {
            Told::Validated(event) => self.add(event),
            Told::Limited(LimitEvent { minute, tenant_id, limit_id, code }) => {
                self.count_of_limit((*tenant_id, *limit_id), *minute, *code, 1);
            }
            Told::TokenUsed(token_id, at) => later(&mut self.tokens_used, token_id.uuid(), *at),
        }
    }

    /// Passes of a key or a limit in one minute.
    pub(super) fn add_passes(&mut self, subject: Subject, Taken { minute, count, begins }: Taken) {
        match subject {
            Subject::Key { tenant_id, key_id, project_id, environment, last_used } => {
                let total = Cell {
                    tenant_id: tenant_id.uuid(),
                    key_id: NIL,
                    minute,
                    project_id: project_id.uuid(),
                    environment: Some(environment),
                    code: VerdictCode::Valid,
                };
                self.count(total, None, count);
                // It may have been asked about since, and refused; and seconds of the machine's clock begin when they do.
                let last = last_used.clamp(total.at(), total.at() + TimeDelta::seconds(SECONDS_OF_MINUTE - 1));
                self.passes.push(Pass { cell: Cell { key_id: key_id.uuid(), ..total }, count, last, begins });
            }
            Subject::Limit { tenant_id, limit_id } => {
                self.count_of_limit((tenant_id, limit_id), minute, VerdictCode::Valid, count);
            }
        }
    }

    /// Limits are charged by keys of several projects. What they count is no validation more.
    fn count_of_limit(&mut self, of: (TenantId, LimitId), minute: u32, code: VerdictCode, count: u64) {
        let (tenant_id, key_id) = (of.0.uuid(), of.1.uuid());
        let cell = Cell { tenant_id, key_id, minute, project_id: NIL, environment: None, code };
        *self.counts.entry(cell).or_default() += count;
    }

    /// Merges them once they have doubled: while nothing can be stored, the same keys are taken again and again. Postgres adds
    /// up what comes twice in a batch, so it need not be done for that.
    pub(super) fn merge_passes_if_many(&mut self) {
        if self.passes.len() >= 2 * self.merged.max(MERGED_FROM) {
            self.merge_passes();
            self.merged = self.passes.len();
        }
    }

    /// Makes one of what tallies held of the same key in the same minute.
    fn merge_passes(&mut self) {
        self.passes.sort_unstable_by_key(|pass| pass.cell);
        self.passes.dedup_by(|next, kept| {
            let is_same = next.cell == kept.cell;
            if is_same {
                kept.count += next.count;
                kept.last = kept.last.max(next.last);
                kept.begins |= next.begins;
            }
            is_same
        });
    }

    /// How much is held.
    pub(super) fn held(&self) -> usize {
        self.counts.len() + self.passes.len()
    }

    /// Every count; a cell may come more than once.
    pub(super) fn counts(&self) -> impl Iterator<Item = (&Cell, u64)> {
        let counted = self.counts.iter().map(|(cell, count)| (cell, *count));
        counted.chain(self.passes.iter().map(|pass| (&pass.cell, pass.count)))
    }

    /// When keys were last found valid, of most once in a minute; one may come more than once.
    pub(super) fn keys_used(&self) -> impl Iterator<Item = (Uuid, Timestamp)> {
        let used = self.keys_used.iter().map(|(id, at)| (*id, *at));
        let passes = self.passes.iter().filter(|pass| pass.begins);
        used.chain(passes.map(|pass| (pass.cell.key_id, pass.last)))
    }

    /// When service tokens were last let in.
    pub(super) fn tokens_used(&self) -> impl Iterator<Item = (Uuid, Timestamp)> {
        self.tokens_used.iter().map(|(id, at)| (*id, *at))
    }

    fn add(&mut self, event: &Event) {
        let total = Cell {
            tenant_id: event.tenant_id.uuid(),
            key_id: NIL,
            minute: minute_of(event.at),
            project_id: event.key.map_or(NIL, |(_, project_id)| project_id.uuid()),
            environment: Some(event.environment),
            code: event.code,
        };
        self.count(total, event.key.map(|(key_id, _)| key_id), 1);
        if let Some((key_id, _)) = event.key
            && event.code == VerdictCode::Valid
        {
            later(&mut self.keys_used, key_id.uuid(), event.at);
        }
    }

    /// Once for the tenant and once for the key.
    fn count(&mut self, total: Cell, key_id: Option<KeyId>, count: u64) {
        self.events += count;
        *self.counts.entry(total).or_default() += count;
        if let Some(key_id) = key_id {
            *self.counts.entry(Cell { key_id: key_id.uuid(), ..total }).or_default() += count;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_timestamp_millis(1_800_000_000_000 + second * 1000 + 7).expect("in range")
    }

    fn event(second: i64, key: Option<u128>, code: VerdictCode) -> Event {
        Event {
            at: at(second),
            tenant_id: TenantId::from_uuid(Uuid::from_u128(1)),
            key: key.map(|id| (KeyId::from_uuid(Uuid::from_u128(id)), ProjectId::from_uuid(Uuid::from_u128(3)))),
            environment: Environment::Live,
            code,
        }
    }

    #[test]
    fn every_event_counts_once_for_its_tenant_and_once_for_its_key() {
        let mut sums = Sums::default();
        for event in [
            event(0, Some(9), VerdictCode::Valid),
            event(59, Some(9), VerdictCode::Valid),
            event(30, Some(9), VerdictCode::Valid),
            event(60, Some(9), VerdictCode::Revoked),
            event(61, None, VerdictCode::Malformed),
        ] {
            sums.add(&event);
        }
        let tenant_id = TenantId::from_uuid(Uuid::from_u128(1));
        let subject = |second| Subject::Key {
            tenant_id,
            key_id: KeyId::from_uuid(Uuid::from_u128(9)),
            project_id: ProjectId::from_uuid(Uuid::from_u128(3)),
            environment: Environment::Live,
            last_used: at(second),
        };
        let taken = |count, begins| Taken { minute: minute_of(at(0)), count, begins };
        sums.add_passes(subject(40), taken(2, true));
        sums.add_passes(subject(50), taken(4, false));
        let limit_id = LimitId::from_uuid(Uuid::from_u128(12));
        sums.add_passes(Subject::Limit { tenant_id, limit_id }, taken(5, true));
        for code in [VerdictCode::RateLimited, VerdictCode::Valid] {
            sums.take(&Told::Limited(LimitEvent { minute: minute_of(at(7)), tenant_id, limit_id, code }));
        }
        assert_eq!(sums.keys_used().count(), 2, "a minute's first passes note the use, and those after them do not");
        sums.merge_passes();
        assert_eq!(sums.held(), 8);
        let mut counts = std::collections::BTreeMap::<Cell, u64>::new();
        sums.counts().for_each(|(cell, count)| *counts.entry(*cell).or_default() += count);
        let lines: Vec<String> = counts
            .iter()
            .map(|(cell, count)| {
                format!("{} {} {} {count}", cell.key_id.as_u128(), cell.at().format("%H:%M:%S%.3f"), cell.code.as_str())
            })
            .collect();
        assert_eq!(
            lines,
            [
                "0 08:00:00.000 VALID 9",
                "0 08:01:00.000 MALFORMED 1",
                "0 08:01:00.000 REVOKED 1",
                "9 08:00:00.000 VALID 9",
                "9 08:01:00.000 REVOKED 1",
                "12 08:00:00.000 RATE_LIMITED 1",
                "12 08:00:00.000 VALID 6",
            ]
        );
        assert_eq!(sums.events, 11, "what limits said is no validation more");
        let mut used: Vec<i64> = sums.keys_used().map(|(_, at)| at.timestamp() - 1_800_000_000).collect();
        used.sort_unstable();
        assert_eq!(used, [50, 59], "a refusal is no use, and time does not go back");
    }
}
