//! Charging a call that may pass otherwise to the limits that its key is held to: to all of them, or to none.

use tronch_core::{Cost, LimitHalf, LimitName, LimitRule, VerdictCode};

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
pub(super) fn charge_limits(limits: &[KeyLimit], costs: &Costs, now: Moment) -> (VerdictCode, Box<[Said]>) {
    let charged = |(place, limit): (usize, &KeyLimit)| Some((place, costs.of(limit)?));
    let places: Vec<(usize, Cost)> = limits.iter().enumerate().filter_map(charged).collect();
    let mut charges: Vec<Charge<'_>> = places
        .iter()
        .map(|(place, cost)| {
            let KeyLimit { limit, cell } = &limits[*place];
            Charge::new(&limit.rule, cell, limit.time(now), *cost)
        })
        .collect();
    let passes = charge(&mut charges);
    let said = |((place, _), charge): (&(usize, Cost), &Charge<'_>)| {
        let outcome = charge.outcome()?;
        let half = outcome.map_or_else(|refusal| refusal.reading.half, |reading| reading.half);
        Some(Said { place: *place, outcome, window_seconds: charge.window_seconds(half) })
    };
    let said: Box<[Said]> = places.iter().zip(&charges).filter_map(said).collect();
    let halves = said.iter().filter_map(|said| said.outcome.err()).map(|refusal| refusal.reading.half);
    let code = match halves.min() {
        _ if passes => VerdictCode::Valid,
        Some(LimitHalf::Rate) => VerdictCode::RateLimited,
        Some(LimitHalf::Total) | None => VerdictCode::QuotaExceeded,
    };
    (code, said)
}
