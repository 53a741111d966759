//! Charging a call that may pass otherwise to the limits that its key is held to: to all of them, or to none.

use tronch_core::{Cost, LimitHalf, LimitName, LimitRule, Refusal, VerdictCode};

use crate::clock::Moment;
use crate::limits::cell::{Charge, Outcome, charge};
use crate::limits::cells::KeyLimit;

/// What a call costs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Costs {
    /// Each limit that is charged by itself.
    pub automatic: Cost,
    /// Those that are named, instead. A name that the key has no limit of costs nothing.
    pub named: Vec<(LimitName, Cost)>,
}

impl Default for Costs {
    fn default() -> Self {
        Self { automatic: Cost::ONE, named: Vec::new() }
    }
}

impl Costs {
    fn of(&self, limit: &KeyLimit) -> Option<Cost> {
        let named = self.named.iter().find(|(name, _)| *name == limit.limit.name).map(|(_, cost)| *cost);
        named.or_else(|| limit.limit.is_automatic.then_some(self.automatic))
    }
}

/// What a limit said of a call. Which one stands in the key's own list, so that nobody has to hold on to it: all calls of a
/// project would write to one place in memory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Said {
    place: usize,
    outcome: Outcome,
    window_seconds: u64,
}

/// The same, with the limit.
#[derive(Debug, Clone, Copy)]
pub struct LimitTold<'a> {
    /// What it is called.
    pub name: &'a LimitName,
    /// Its rule.
    pub rule: &'a LimitRule,
    /// What is left, or why the call was refused. Where another limit refused it, what would have been left.
    pub outcome: Outcome,
    /// The time in which as much as its limit may be used, in whole seconds.
    pub window_seconds: u64,
}

impl Said {
    pub(super) fn of<'a>(&self, limits: &'a [KeyLimit]) -> Option<LimitTold<'a>> {
        let limit = &limits.get(self.place)?.limit;
        let (outcome, window_seconds) = (self.outcome, self.window_seconds);
        Some(LimitTold { name: &limit.name, rule: &limit.rule, outcome, window_seconds })
    }
}

/// Charges the limits; gives VALID or why not, and what each limit said.
pub(super) fn charge_limits(limits: &[KeyLimit], costs: &Costs, now: Moment) -> (VerdictCode, Vec<Said>) {
    let mut places = Vec::with_capacity(limits.len());
    let mut charges = Vec::with_capacity(limits.len());
    for (place, one) in limits.iter().enumerate() {
        if let Some(cost) = costs.of(one) {
            places.push(place);
            charges.push(Charge::new(&one.limit.rule, &one.cell, one.limit.time(now), cost));
        }
    }
    let passes = charge(&mut charges);
    let mut said = Vec::with_capacity(charges.len());
    let mut longest: Option<Refusal> = None;
    for (place, charge) in places.into_iter().zip(&charges) {
        let Some(outcome) = charge.outcome() else { continue };
        if let Err(refusal) = outcome {
            longest = Some(longest.map_or(refusal, |earlier| earlier.or_longer(refusal)));
        }
        let half = outcome.map_or_else(|refusal| refusal.reading.half, |reading| reading.half);
        said.push(Said { place, outcome, window_seconds: charge.window_seconds(half) });
    }
    // As a limit with both halves does, the call says what it is refused by for longest.
    let code = match longest.map(|refusal| refusal.reading.half) {
        _ if passes => VerdictCode::Valid,
        Some(LimitHalf::Rate) => VerdictCode::RateLimited,
        Some(LimitHalf::Total) | None => VerdictCode::QuotaExceeded,
    };
    (code, said)
}
