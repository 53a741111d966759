//! Charging a call that may pass otherwise to the limits that its key is held to: to all of them, or to none.

use tronch_core::{Cost, LimitHalf, LimitName, LimitRule, VerdictCode};

use crate::clock::Moment;
use crate::limits::cell::{Charge, Outcome, charge};
use crate::limits::cells::{KeyLimit, time};

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

/// What a limit said of a call.
#[derive(Debug, Clone)]
pub struct LimitTold {
    limit: KeyLimit,
    outcome: Outcome,
    window_seconds: u64,
}

impl LimitTold {
    /// What it is called.
    pub fn name(&self) -> &LimitName {
        &self.limit.limit.name
    }

    /// Its rule.
    pub fn rule(&self) -> &LimitRule {
        &self.limit.limit.rule
    }

    /// What is left, or why the call was refused. Where another limit refused it, what would have been left.
    pub fn outcome(&self) -> Outcome {
        self.outcome
    }

    /// The time in which as much as its limit may be used, in whole seconds.
    pub fn window_seconds(&self) -> u64 {
        self.window_seconds
    }
}

/// Charges the limits; gives VALID or why not, and what each limit said.
pub(super) fn charge_limits(limits: &[KeyLimit], costs: &Costs, now: Moment) -> (VerdictCode, Vec<LimitTold>) {
    let charged: Vec<(&KeyLimit, Cost)> = limits.iter().filter_map(|limit| Some((limit, costs.of(limit)?))).collect();
    let mut charges: Vec<Charge<'_>> = charged
        .iter()
        .map(|(limit, cost)| Charge::new(&limit.limit.rule, &limit.cell, time(&limit.limit.rule, now), *cost))
        .collect();
    let passes = charge(&mut charges);
    let told = |((limit, _), charge): (&(&KeyLimit, Cost), &Charge<'_>)| {
        let outcome = charge.outcome()?;
        let half = outcome.map_or_else(|refusal| refusal.reading.half, |reading| reading.half);
        let window_seconds = charge.window_seconds(half);
        Some(LimitTold { limit: (*limit).clone(), outcome, window_seconds })
    };
    let told: Vec<LimitTold> = charged.iter().zip(&charges).filter_map(told).collect();
    let halves = told.iter().filter_map(|told| told.outcome.err()).map(|refusal| refusal.reading.half);
    let code = match halves.min() {
        _ if passes => VerdictCode::Valid,
        Some(LimitHalf::Rate) => VerdictCode::RateLimited,
        Some(LimitHalf::Total) | None => VerdictCode::QuotaExceeded,
    };
    (code, told)
}
