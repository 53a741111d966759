//! Adding events up, purely: what one batch holds.

use std::collections::HashMap;

use chrono::SubsecRound as _;
use tronch_core::{Environment, KeyId, ProjectId, ServiceTokenId, TenantId, Timestamp, VerdictCode};
use uuid::Uuid;

/// Stands for "all keys of the tenant" and for "no project", where nothing else can.
const NIL: Uuid = Uuid::nil();

/// One validation and its verdict.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Event {
    pub(crate) at: Timestamp,
    pub(crate) tenant_id: TenantId,
    pub(crate) token_id: ServiceTokenId,
    /// The key and its project, where the text was a key of the tenant's.
    pub(crate) key: Option<(KeyId, ProjectId)>,
    /// The key's own, else the one that was asked for.
    pub(crate) environment: Environment,
    pub(crate) code: VerdictCode,
}

/// What the collector is told.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Told {
    /// A validation, which is counted.
    Validated(Event),
    /// A service token was let in for something else, which only moves its time of last use.
    TokenUsed(ServiceTokenId, Timestamp),
}

/// What is counted apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Cell {
    pub(super) tenant_id: Uuid,
    pub(super) key_id: Uuid,
    /// The minute's beginning.
    pub(super) at: Timestamp,
    pub(super) project_id: Uuid,
    pub(super) environment: &'static str,
    pub(super) code: &'static str,
}

/// What is counted by a key that nobody outside can choose at will, so any quick hash will do.
type Counted<K, V> = HashMap<K, V, ahash::RandomState>;

/// What has happened and is not stored yet. The statements of `store.rs` put it in order, so that two nodes lock rows in
/// the same one.
#[derive(Debug, Default)]
pub(super) struct Sums {
    pub(super) events: u64,
    pub(super) counts: Counted<Cell, u64>,
    /// When each key was last found valid.
    pub(super) keys_used: Counted<Uuid, Timestamp>,
    /// When each service token last asked.
    pub(super) tokens_used: Counted<Uuid, Timestamp>,
}

impl Sums {
    pub(super) fn is_empty(&self) -> bool {
        self.events == 0 && self.tokens_used.is_empty()
    }

    pub(super) fn take(&mut self, told: &Told) {
        match told {
            Told::Validated(event) => self.add(event),
            Told::TokenUsed(token_id, at) => later(&mut self.tokens_used, token_id.uuid(), *at),
        }
    }

    fn add(&mut self, event: &Event) {
        self.events += 1;
        let second = event.at.trunc_subsecs(0);
        let minute = second - chrono::TimeDelta::seconds(second.timestamp().rem_euclid(60));
        let project_id = event.key.map_or(NIL, |(_, project_id)| project_id.uuid());
        let total = Cell {
            tenant_id: event.tenant_id.uuid(),
            key_id: NIL,
            at: minute,
            project_id,
            environment: event.environment.as_str(),
            code: event.code.as_str(),
        };
        *self.counts.entry(total).or_default() += 1;
        if let Some((key_id, _)) = event.key {
            *self.counts.entry(Cell { key_id: key_id.uuid(), ..total }).or_default() += 1;
            if event.code == VerdictCode::Valid {
                later(&mut self.keys_used, key_id.uuid(), event.at);
            }
        }
        later(&mut self.tokens_used, event.token_id.uuid(), event.at);
    }
}

fn later(times: &mut Counted<Uuid, Timestamp>, id: Uuid, at: Timestamp) {
    let time = times.entry(id).or_insert(at);
    *time = (*time).max(at);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(second: i64, key: Option<u128>, code: VerdictCode) -> Event {
        Event {
            at: Timestamp::from_timestamp_millis(1_800_000_000_000 + second * 1000 + 7).expect("in range"),
            tenant_id: TenantId::from_uuid(Uuid::from_u128(1)),
            token_id: ServiceTokenId::from_uuid(Uuid::from_u128(2)),
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
        let counts: std::collections::BTreeMap<Cell, u64> = sums.counts.into_iter().collect();
        let lines: Vec<String> = counts
            .iter()
            .map(|(cell, count)| {
                format!("{} {} {} {count}", cell.key_id.as_u128(), cell.at.format("%H:%M:%S%.3f"), cell.code)
            })
            .collect();
        assert_eq!(
            lines,
            [
                "0 08:00:00.000 VALID 3",
                "0 08:01:00.000 MALFORMED 1",
                "0 08:01:00.000 REVOKED 1",
                "9 08:00:00.000 VALID 3",
                "9 08:01:00.000 REVOKED 1",
            ]
        );
        assert_eq!(sums.events, 5);
        let used: Vec<i64> = sums.keys_used.values().map(|at| at.timestamp() - 1_800_000_000).collect();
        assert_eq!(used, [59], "a refusal is no use, and time does not go back");
    }
}
