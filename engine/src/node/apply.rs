//! What an answered renewal means for what this process remembers. It is told what was asked and what was answered, and moves
//! the marks. `apply_tests.rs` and `world.rs` explore it.

use super::log::{Logged, Renewal};
use super::marks::{Marks, Position, Touched};

/// A renewal, as it was asked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Question {
    /// Later ones have greater numbers.
    pub(super) number: u64,
    /// Where this process was.
    pub(super) position: Position,
}

/// What it says of how long answers from memory may go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// No more than one that failed.
    Nothing,
    /// Its changes were taken in. Others may have been told before that they need not wait for this process: the next one counts.
    Told,
    /// Memory is as new as Postgres was when it was asked.
    Renewed,
}

/// Which log the marks are of, and whether this process is on its list.
#[derive(Default)]
pub(super) struct Applier {
    lineage: Option<String>,
    /// The list of nodes has lost this process: the next renewal puts it back.
    is_lost: bool,
    /// The renewal that did.
    joined: u64,
}

impl Applier {
    /// Which database the numbers are of.
    pub(super) fn lineage(&self) -> Option<&str> {
        self.lineage.as_deref()
    }

    /// Whether the renewal with this number, which is about to be sent, is to put this process back on the list.
    pub(super) fn joins(&mut self, number: u64) -> bool {
        let joins = std::mem::take(&mut self.is_lost);
        if joins {
            self.joined = number;
        }
        joins
    }

    /// Takes in what was answered. `touched` says which marks a change is of.
    pub(super) fn apply(
        &mut self,
        marks: &Marks,
        asked: Question,
        renewal: &Renewal,
        touched: impl Fn(&Logged) -> Touched,
    ) -> Meaning {
        if !renewal.is_known {
            if asked.number > self.joined && !self.is_lost {
                // Nobody has waited for this process meanwhile.
                if self.is_another(renewal) {
                    self.forget_another(marks, renewal);
                } else {
                    tracing::warn!("this process was taken off the list of nodes: everything remembered was forgotten");
                    self.forget(marks, renewal, "off_the_list");
                }
                self.is_lost = true;
            }
            return Meaning::Nothing;
        }
        // It tells of changes since a number that was forgotten, and not of those since the one that is known now.
        if !asked.position.is_of_round(marks.position()) {
            return Meaning::Nothing;
        }
        self.take_in(marks, asked.position.number(), renewal, touched);
        if renewal.was_away { Meaning::Told } else { Meaning::Renewed }
    }

    fn take_in(&mut self, marks: &Marks, applied: u64, renewal: &Renewal, touched: impl Fn(&Logged) -> Touched) {
        let position = marks.position().number();
        if self.is_another(renewal) || renewal.head < applied {
            self.forget_another(marks, renewal);
        } else if renewal.head < position {
            // A later question was answered before, on another connection.
        } else if let Some(changes) = &renewal.changes {
            let new = || changes.iter().filter(|change| change.number > position);
            marks.advance(renewal.head, new().map(touched));
            let mut last = position;
            for change in new().filter(|change| std::mem::replace(&mut last, change.number) != change.number) {
                let took_ms = u32::try_from(renewal.clock_ms - change.at_ms).unwrap_or(0);
                metrics::histogram!("tronch_revocation_propagation_seconds").record(f64::from(took_ms) / 1000.0);
            }
        } else {
            tracing::warn!(
                changes.were = position,
                changes.are = renewal.head,
                "too far behind the change log: everything remembered was forgotten"
            );
            self.forget(marks, renewal, "too_far_behind");
        }
        self.lineage.get_or_insert_with(|| renewal.lineage.clone());
    }

    fn is_another(&self, renewal: &Renewal) -> bool {
        self.lineage.as_ref().is_some_and(|lineage| *lineage != renewal.lineage)
    }

    fn forget_another(&mut self, marks: &Marks, renewal: &Renewal) {
        tracing::error!(
            database.was = self.lineage,
            database.is = renewal.lineage,
            changes.were = marks.position().number(),
            changes.are = renewal.head,
            "the database is not the one it was, or has gone back: everything remembered was forgotten. After a failover \
             or a restored backup, look whether revocations were lost"
        );
        self.forget(marks, renewal, "another_database");
    }

    fn forget(&mut self, marks: &Marks, renewal: &Renewal, why: &'static str) {
        metrics::counter!("tronch_cache_forgotten_total", "why" => why).increment(1);
        marks.forget_everything(renewal.head);
        self.lineage = Some(renewal.lineage.clone());
    }
}
