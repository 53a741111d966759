//! Charging a call that may pass otherwise to the limits that its key is held to: to all of them, or to none.

use std::time::Duration;

use futures_util::future::join_all;
use smallvec::SmallVec;
use tokio::time::{Instant, timeout_at};
use tronch_core::{Cost, LimitName, LimitRule, Refusal, VerdictCode};

use crate::Engine;
use crate::clock::{self, Moment};
use crate::error::Error;
use crate::limits::cells::KeyLimit;
use crate::limits::charge::{Beyond, Charge, Charged, Lacks, Low, Outcome, charge};

/// So many limits are weighed without asking for memory.
const FEW: usize = 3;

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
    window_seconds: Option<u64>,
}

/// The same, with the limit.
#[derive(Debug, Clone, Copy)]
pub struct LimitTold<'a> {
    /// What it is called.
    pub name: &'a LimitName,
    /// Its rule.
    pub rule: &'a LimitRule,
    /// What is left, or why the call was refused. Where another limit refused it, what would have been left.
    pub outcome: &'a Outcome,
    /// The time in which as much as its limit may be used, in whole seconds; nothing for credits that nobody fills up.
    pub window_seconds: Option<u64>,
}

/// What each limit said of a call.
#[derive(Debug, Clone, Default)]
pub struct LimitsTold<'a> {
    said: std::slice::Iter<'a, Said>,
    of: &'a [KeyLimit],
}

impl<'a> LimitsTold<'a> {
    pub(super) fn new(said: &'a [Said], of: &'a [KeyLimit]) -> Self {
        Self { said: said.iter(), of }
    }
}

impl<'a> Iterator for LimitsTold<'a> {
    type Item = LimitTold<'a>;

    fn next(&mut self) -> Option<LimitTold<'a>> {
        let Said { place, outcome, window_seconds } = self.said.next()?;
        let limit = &self.of.get(*place)?.limit;
        Some(LimitTold { name: &limit.name, rule: &limit.rule, outcome, window_seconds: *window_seconds })
    }
}

/// Charges the limits of a key; gives VALID or why not, what each limit said, and when. What is not held here is asked for, for as long as
/// `patience` says.
///
/// # Errors
/// `Unavailable` when nobody can know what is left of credits, or so many take from a limit that none is left for this call.
pub(super) async fn charge_limits(
    engine: &Engine,
    limits: &[KeyLimit],
    costs: &Costs,
    (now, patience): (Moment, Duration),
) -> Result<(VerdictCode, Vec<Said>, Moment), Error> {
    let mut said = Vec::new();
    match charge_once(engine, limits, costs, (now, Beyond::MayBe), &mut said) {
        Ok(code) => Ok((code, said, now)),
        // Apart: what waits has much to hold, and room for it would be made, and cleared, for each call.
        Err(lacking) => Box::pin(charge_and_ask(engine, limits, costs, lacking, patience)).await,
    }
}

async fn charge_and_ask(
    engine: &Engine,
    limits: &[KeyLimit],
    costs: &Costs,
    mut lacking: Vec<Lacking>,
    patience: Duration,
) -> Result<(VerdictCode, Vec<Said>, Moment), Error> {
    let stores = engine.limit_stores();
    let deadline = Instant::now() + patience;
    while Instant::now() < deadline {
        let asked = lacking.iter().map(async |(place, lacks)| (*place, stores.ask(&limits[*place], *lacks).await));
        let mut unanswered = timeout_at(deadline, join_all(asked)).await.unwrap_or_else(|_| lacking.clone());
        unanswered.retain(|(_, lacks)| *lacks != Lacks::default());
        let (now, beyond) = (Moment::now(), if unanswered.is_empty() { Beyond::MayBe } else { Beyond::Nothing });
        for (place, lacks) in unanswered {
            metrics::counter!("tronch_limits_stood_in_total").increment(1);
            stores.stand_in(&limits[place], lacks, now)?;
        }
        let mut said = Vec::new();
        lacking = match charge_once(engine, limits, costs, (now, beyond), &mut said) {
            Ok(code) => return Ok((code, said, now)),
            Err(lacking) => lacking,
        };
    }
    Err(Error::Unavailable { what: "the store of limits", source: None })
}

/// A limit by its place in the key's list, and how much is not held of it.
type Lacking = (usize, Lacks);

/// Puts what each limit said into `said`.
///
/// # Errors
/// What is not held here.
fn charge_once(
    engine: &Engine,
    limits: &[KeyLimit],
    costs: &Costs,
    (now, beyond): (Moment, Beyond),
    said: &mut Vec<Said>,
) -> Result<VerdictCode, Vec<Lacking>> {
    let (stores, now_ms) = (engine.limit_stores(), clock::millis_at(now));
    let touched = || limits.iter().enumerate().filter_map(|(place, one)| Some((place, one, costs.of(one)?)));
    let mut charges: SmallVec<[Charge<'_>; FEW]> = SmallVec::new();
    for (_, KeyLimit { limit, count }, cost) in touched() {
        charges.push(Charge::new(&limit.rule, &count.cell, stores.ways(limit), limit.time_on(now, now_ms), cost));
    }
    let charged = charge(&mut charges, beyond);
    if charged == Charged::Short {
        let lacking = touched().zip(&charges).map(|((place, ..), charge)| (place, charge.lacks()));
        return Err(lacking.filter(|(_, lacks)| *lacks != Lacks::default()).collect());
    }
    said.reserve_exact(charges.len());
    let mut longest: Option<Refusal> = None;
    for ((place, one, _), charge) in touched().zip(&charges) {
        if charge.low() != Low::default() {
            stores.ask_ahead(one, charge.low(), charge.only_reads());
        }
        let Some(outcome) = charge.outcome() else { continue };
        if let Some(code) = charge.counts(charged) {
            stores.count(charge.ways(), code != VerdictCode::Valid);
            engine.usage().offer_of_limit(now_ms, &one.limit, code);
        }
        if let Err(refusal) = outcome {
            longest = Some(longest.map_or(*refusal, |earlier| earlier.or_longer(*refusal)));
        }
        let (Ok(reading) | Err(Refusal { reading, .. })) = outcome;
        said.push(Said { place, outcome: *outcome, window_seconds: charge.window_seconds(reading.half) });
    }
    // As a limit with both halves does, the call says what it is refused by for longest.
    Ok(match longest {
        _ if charged == Charged::Passed => VerdictCode::Valid,
        Some(refusal) => refusal.code(),
        None => VerdictCode::QuotaExceeded,
    })
}
