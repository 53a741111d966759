//! Times of last use that wait to be noted. Those of all keys are due when a minute of the clock begins, and noting one touches every
//! index of its row: so many are noted over half a minute, and whoever revokes a key meanwhile finds Postgres at leisure.

use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasher;

use tronch_core::Timestamp;
use uuid::Uuid;

use super::sums::Sums;

/// In how many steps those are noted that wait.
const STEPS: usize = 30;

/// However few wait, so many are noted in a step.
const STEP_MIN: usize = 1_000;

/// What waits: whose, and when that was last found valid.
#[derive(Debug, Default)]
pub(super) struct Uses {
    keys: HashMap<Uuid, Timestamp, ahash::RandomState>,
    /// Each of those once, as they came: none waits for ever behind those that are used more often.
    order: VecDeque<Uuid>,
    tokens: HashMap<Uuid, Timestamp, ahash::RandomState>,
    /// How many keys waited at most since none did.
    most: usize,
}

/// Those that are noted now.
#[derive(Debug, Default)]
pub(super) struct Due {
    pub(super) keys: Vec<(Uuid, Timestamp)>,
    pub(super) tokens: Vec<(Uuid, Timestamp)>,
}

impl Due {
    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.tokens.is_empty()
    }
}

impl Uses {
    pub(super) fn take_in(&mut self, sums: &Sums) {
        sums.keys_used().for_each(|(id, at)| self.key_used(id, at));
        sums.tokens_used().for_each(|(id, at)| later(&mut self.tokens, id, at));
        self.most = self.most.max(self.keys.len());
    }

    /// Those that could not be noted wait again.
    pub(super) fn give_back(&mut self, due: Due) {
        due.keys.into_iter().for_each(|(id, at)| self.key_used(id, at));
        due.tokens.into_iter().for_each(|(id, at)| later(&mut self.tokens, id, at));
        self.most = self.most.max(self.keys.len());
    }

    fn key_used(&mut self, id: Uuid, at: Timestamp) {
        if !self.keys.contains_key(&id) {
            self.order.push_back(id);
        }
        later(&mut self.keys, id, at);
    }

    /// To be called about once a second.
    pub(super) fn take_step(&mut self) -> Due {
        let step = (self.most / STEPS).max(STEP_MIN);
        self.take(step)
    }

    pub(super) fn take_all(&mut self) -> Due {
        self.take(usize::MAX)
    }

    fn take(&mut self, most: usize) -> Due {
        let ids = self.order.drain(..most.min(self.order.len()));
        let keys = ids.filter_map(|id| self.keys.remove_entry(&id)).collect();
        if self.keys.is_empty() {
            self.most = 0;
        }
        Due { keys, tokens: self.tokens.drain().collect() }
    }
}

/// Notes a time, unless a later one is noted.
pub(super) fn later<S: BuildHasher>(times: &mut HashMap<Uuid, Timestamp, S>, id: Uuid, at: Timestamp) {
    let time = times.entry(id).or_insert(at);
    *time = (*time).max(at);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::usage::sums::{Told, minute_of};
    use crate::usage::tally::{Subject, Taken};
    use tronch_core::{Environment, KeyId, ProjectId, ServiceTokenId, TenantId};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_timestamp(1_800_000_000 + second, 0).expect("in range")
    }

    fn used(keys: std::ops::Range<u128>, second: i64) -> Sums {
        let mut sums = Sums::default();
        for key in keys {
            let subject = Subject::Key {
                tenant_id: TenantId::from_uuid(Uuid::nil()),
                key_id: KeyId::from_uuid(Uuid::from_u128(key)),
                project_id: ProjectId::from_uuid(Uuid::nil()),
                environment: Environment::Live,
                last_used: at(second),
            };
            sums.add_passes(subject, Taken { minute: minute_of(at(second)), count: 1, begins: true });
        }
        sums
    }

    #[test]
    fn few_are_noted_at_once_and_many_over_half_a_minute_each_with_its_latest_time() {
        let mut uses = Uses::default();
        let mut few = used(0..900, 1);
        few.take(&Told::TokenUsed(ServiceTokenId::from_uuid(Uuid::from_u128(7)), at(2)));
        uses.take_in(&few);
        let due = uses.take_step();
        assert_eq!((due.keys.len(), due.tokens), (900, vec![(Uuid::from_u128(7), at(2))]));
        assert!(uses.take_step().is_empty());

        uses.take_in(&used(0..60_000, 3));
        uses.take_in(&used(0..10, 9));
        uses.take_in(&used(0..10, 4));
        let steps: Vec<Due> = std::iter::from_fn(|| Some(uses.take_step()).filter(|due| !due.is_empty())).collect();
        assert_eq!(steps.len(), STEPS);
        let mut noted: Vec<(Uuid, Timestamp)> = steps.into_iter().flat_map(|due| due.keys).collect();
        noted.sort_unstable();
        let expected = (0..60_000).map(|key| (Uuid::from_u128(key), at(if key < 10 { 9 } else { 3 })));
        assert!(noted.into_iter().eq(expected), "each once");

        uses.take_in(&used(0..3_000, 5));
        let first = uses.take_step();
        uses.take_in(&used(0..1_000, 6));
        uses.give_back(Due { keys: vec![(Uuid::from_u128(2_000), at(4))], ..Due::default() });
        let [second, third, fourth] = [(); 3].map(|()| uses.take_step().keys);
        assert!(first.keys.iter().chain(&second).chain(&third).all(|(_, noted)| *noted == at(5)), "in their order");
        assert!(fourth.len() == 1_000 && fourth.iter().all(|(_, noted)| *noted == at(6)), "and then who came again");
    }
}
