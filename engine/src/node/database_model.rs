//! What both explorers share: numbers to choose by, and a database with a log of changes, which another one takes the place of.

use super::log::{Kind, Logged, Renewal};
use super::marks::Touched;

/// The key's name in the log, and how many changes are told.
const OURS: &str = "ours";
pub(super) const CHANGES_MAX: usize = 20;

/// Numbers that look random and are the same every time.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn throw(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }
}

/// The first one, or one that took the place of another; and which of its changes is of the key.
#[derive(Default)]
pub(super) struct Database {
    pub(super) number: u64,
    log: Vec<bool>,
}

impl Database {
    /// Something changes: the key is revoked, or anything else.
    pub(super) fn change(&mut self, is_ours: bool) {
        self.log.push(is_ours);
    }

    pub(super) fn head(&self) -> u64 {
        self.log.len() as u64
    }

    /// The number of the key's revocation.
    pub(super) fn revocation(&self) -> Option<u64> {
        self.log.iter().position(|is_ours| *is_ours).map(|index| index as u64 + 1)
    }

    /// Another takes over, which has not heard of the last changes.
    pub(super) fn replace(&mut self, lost: u64) {
        self.number += 1;
        self.log.truncate(usize::try_from(self.head().saturating_sub(lost)).expect("few"));
    }

    /// What it says to a renewal of a process that has taken in everything up to `applied`.
    pub(super) fn answer(&self, applied: u64, is_known: bool, was_away: bool) -> Renewal {
        let logged = |(index, is_ours): (usize, &bool)| Logged {
            number: index as u64 + 1,
            kind: Kind::Key,
            subject: if *is_ours { OURS } else { "another" }.to_owned(),
            at_ms: 0,
        };
        let changes: Vec<Logged> =
            self.log.iter().enumerate().map(logged).filter(|change| change.number > applied).collect();
        Renewal {
            head: self.head(),
            lineage: self.number.to_string(),
            clock_ms: 0,
            current_master: Vec::new(),
            is_known,
            was_away,
            nodes: 1,
            changes: (changes.len() <= CHANGES_MAX).then_some(changes),
        }
    }
}

/// Which mark a change is of.
pub(super) fn touched(change: &Logged) -> Touched {
    Touched::Handle(if change.subject == OURS { 0 } else { u64::MAX })
}
