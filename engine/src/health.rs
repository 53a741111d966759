//! How the parts that the product stands on are, as of now. What follows from it is the doors' business.

use std::time::{Duration, Instant};

use tronch_core::Timestamp;
use tronch_core::bounds::USAGE_CHANNEL_EVENTS;

use crate::Engine;
use crate::clock;
use crate::node::Node;
use crate::node::lease::Standing;

/// In the words of health+json (draft-inadarei-api-health-check).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum HealthState {
    /// Works.
    Pass,
    /// Works, and somebody should look.
    Warn,
    /// Does not work.
    Fail,
}

impl HealthState {
    /// The wire form.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// One look at everything.
#[derive(Debug, Clone, Copy)]
pub struct Health {
    /// When it was taken.
    pub checked_at: Timestamp,
    /// Whether Postgres answered.
    pub database: HealthState,
    /// How long it took to answer, or how long we waited.
    pub database_wait: Duration,
    /// Whether validations are answered: `Warn` while that is from memory alone.
    pub validation: HealthState,
    /// How old that memory is; nothing when nobody knows.
    pub data_age: Option<Duration>,
    /// Whether usage is stored as it comes.
    pub usage: HealthState,
    /// Usage events that wait to be added up.
    pub usage_waiting: usize,
    /// Whether limits are shared with other processes: `Warn` while this one goes by its part.
    pub limits: HealthState,
}

impl Health {
    /// The worst of its parts.
    pub fn state(&self) -> HealthState {
        self.database.max(self.usage).max(self.validation).max(self.limits)
    }
}

/// Asks each part, Postgres for at most `patience`.
pub async fn check(engine: &Engine, patience: Duration) -> Health {
    let asked = Instant::now();
    let answered = matches!(tokio::time::timeout(patience, engine.ping()).await, Ok(Ok(())));
    let usage_waiting = engine.usage().waiting();
    let (validation, data_age) = validation_state(engine.node().map_or(Standing::Unknown, Node::standing));
    Health {
        checked_at: clock::now(),
        database: if answered { HealthState::Pass } else { HealthState::Fail },
        database_wait: asked.elapsed(),
        validation,
        data_age,
        usage: usage_state(usage_waiting, engine.usage().is_failing()),
        usage_waiting,
        limits: if engine.limit_stores().is_answered() { HealthState::Pass } else { HealthState::Warn },
    }
}

fn validation_state(standing: Standing) -> (HealthState, Option<Duration>) {
    match standing {
        Standing::Live { age } => (HealthState::Pass, Some(age)),
        Standing::Offline { age } => (HealthState::Warn, Some(age)),
        Standing::Unknown => (HealthState::Fail, None),
    }
}

/// Half a channel is a second or more behind; events are dropped only when it is full.
fn usage_state(waiting: usize, failing: bool) -> HealthState {
    if failing || waiting > USAGE_CHANNEL_EVENTS / 2 { HealthState::Warn } else { HealthState::Pass }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_is_as_well_as_its_worst_part() {
        let health = |database, usage| Health {
            validation: HealthState::Pass,
            data_age: None,
            checked_at: clock::now(),
            database,
            database_wait: Duration::ZERO,
            usage,
            usage_waiting: 0,
            limits: HealthState::Pass,
        };
        assert_eq!(health(HealthState::Pass, HealthState::Pass).state(), HealthState::Pass);
        assert_eq!(health(HealthState::Pass, HealthState::Warn).state(), HealthState::Warn);
        assert_eq!(health(HealthState::Fail, HealthState::Warn).state(), HealthState::Fail);
        assert_eq!(usage_state(USAGE_CHANNEL_EVENTS / 2, false), HealthState::Pass);
        assert_eq!(usage_state(USAGE_CHANNEL_EVENTS, false), HealthState::Warn);
        assert_eq!(usage_state(0, true), HealthState::Warn);
    }
}
