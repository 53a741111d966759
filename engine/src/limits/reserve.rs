//! Where limits are kept, and how: here alone, as long as nobody else charges them, or by somebody who keeps them for several
//! processes. A call that has run out waits for a round trip or two; most never do, for more is asked for before what is held is
//! spent.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use metrics::Counter;
use tronch_core::WindowKind;
use uuid::Uuid;

use super::cells::{Cells, Count, KeyLimit};
use super::charge::{Lacks, Low, Way, Ways};
use super::keeper::{ASKED_AT_ONCE, Half, Keeper, Store, ask, owe_again};
use super::limit::Limit;
use super::redis::Redis;
use super::store::{Ask, NoAnswer, Of, RateAsk, TotalAsk};
use crate::clock::Moment;
use crate::db::Db;
use crate::error::Error;

/// Whoever keeps limits for this process, and what it knows of others.
pub(crate) struct Stores {
    postgres: Arc<Keeper>,
    redis: Option<Arc<Keeper>>,
    /// How many processes there are, as far as this one knows.
    nodes: Arc<AtomicU64>,
    /// What limits let pass and what they refused, by how they are kept.
    decisions: [[Counter; 2]; 3],
}

impl Stores {
    pub(crate) fn new(db: Db, redis: Option<Redis>, patience: Duration, nodes: Arc<AtomicU64>) -> Result<Self, Error> {
        // Not the process's place on the list: this lives as long as what is held.
        let asker = Uuid::from_bytes(crate::random::bytes()?).simple().to_string();
        let keeper = |store, patience| Arc::new(Keeper::new(store, patience, asker.clone(), Arc::clone(&nodes)));
        Ok(Self {
            postgres: keeper(Store::Postgres(db), patience),
            redis: redis.map(|redis| keeper(Store::Redis(redis), patience / 2)),
            nodes,
            decisions: ["alone", "fast", "exact"].map(|mode| {
                ["passed", "refused"].map(
                    |outcome| metrics::counter!("tronch_limit_decisions_total", "mode" => mode, "outcome" => outcome),
                )
            }),
        })
    }

    /// How many processes share what is left where nobody answers.
    pub(crate) fn nodes(&self) -> u64 {
        self.nodes.load(Ordering::Relaxed).max(1)
    }

    /// Whether buckets are kept where a process that is gone takes none of it along.
    pub(crate) fn outlives_processes(&self) -> bool {
        self.redis.is_some()
    }

    /// Whether nobody else charges limits.
    fn is_alone(&self) -> bool {
        self.redis.is_none() && self.nodes.load(Ordering::Relaxed) < 2
    }

    /// How a limit's halves are kept: what nobody else charges, here.
    pub(crate) fn ways(&self, limit: &Limit) -> Ways {
        match (self.is_alone(), limit.is_exact) {
            (true, _) => Ways { rate: Way::Local, total: Way::Fast },
            (false, true) => Ways { rate: Way::Exact, total: Way::Exact },
            (false, false) => Ways { rate: Way::Fast, total: Way::Fast },
        }
    }

    /// Counts what a limit said.
    pub(crate) fn count(&self, ways: Ways, is_refused: bool) {
        let mode = match ways.rate {
            Way::Local => 0,
            Way::Fast => 1,
            Way::Exact => 2,
        };
        self.decisions[mode][usize::from(is_refused)].increment(1);
    }

    fn keeper(&self, limit: &Limit, half: Half) -> &Arc<Keeper> {
        let is_credits =
            || limit.rule.window().is_some_and(|window| matches!(window.kind(), WindowKind::Credits { .. }));
        match &self.redis {
            // What may be a block behind is better kept where it lasts.
            Some(redis) if half == Half::Rate || (limit.is_exact && !is_credits()) => redis,
            _ => &self.postgres,
        }
    }

    /// Asks for more, which nobody waits for.
    pub(crate) fn ask_ahead(&self, limit: &KeyLimit, low: Low, only_reads: bool) {
        for (half, is_low) in [(Half::Rate, low.rate), (Half::Total, low.total)] {
            if is_low {
                self.keeper(&limit.limit, half).ask_ahead(limit, half, only_reads);
            }
        }
    }

    /// Asks for what a call needs. Gives what nobody answered about; how much an answer brought, others may have taken already.
    pub(crate) async fn ask(&self, limit: &KeyLimit, lacks: Lacks) -> Lacks {
        let ask = async |half: Half, need: Option<u64>| {
            let need = need?;
            let is_answered = self.keeper(&limit.limit, half).ask(limit, half, need).await;
            (!is_answered).then_some(need)
        };
        let (rate, total) = tokio::join!(ask(Half::Rate, lacks.rate), ask(Half::Total, lacks.total));
        Lacks { rate, total }
    }

    /// Nobody answered about it: lets this process go by its part of what was left.
    ///
    /// # Errors
    /// `Unavailable` for credits, of which nobody has a part.
    pub(crate) fn stand_in(&self, limit: &KeyLimit, unanswered: Lacks, now: Moment) -> Result<(), Error> {
        let (nodes, time, cell) = (self.nodes(), limit.limit.time(now), &limit.count.cell);
        if let (Some(bucket), Some(_)) = (limit.limit.rule.bucket(), unanswered.rate) {
            cell.change_rate(|rate, first| {
                if let Some(part) = rate.stand_in(bucket, time, nodes) {
                    *first = part;
                }
            });
        }
        if let (Some(window), Some(_)) = (limit.limit.rule.window(), unanswered.total)
            && !cell.change_total(|share| share.stand_in(window, time, nodes))
        {
            return Err(Error::Unavailable { what: "the balance of credits", source: None });
        }
        Ok(())
    }

    /// Waits for the answers that are still to come: what they bring is to be given back, too.
    pub(crate) async fn settle(&self) {
        self.postgres.settle().await;
        if let Some(redis) = &self.redis {
            redis.settle().await;
        }
    }

    /// Takes what has not been spent for a while from whoever holds it; with `all`, everything. It is to be given back.
    pub(crate) fn take_back(&self, cells: &Cells, all: bool) -> Vec<GivenBack> {
        let (now, nodes) = (Moment::now(), self.nodes());
        cells.choose(|held| {
            let total = self.total_to_give_back(held, now, nodes, all);
            let rate = self.rate_to_give_back(held, now, all);
            [total, rate].into_iter().flatten().collect()
        })
    }

    fn total_to_give_back(&self, held: &Arc<Count>, now: Moment, nodes: u64, all: bool) -> Option<GivenBack> {
        if self.keeper(&held.limit, Half::Total).is_silent_about(held) {
            return None;
        }
        let (time, window, cell) = (held.limit.time(now), held.limit.rule.window()?, &held.cell);
        // Nobody remembers a key that is charged to it; an identifier's is held by calls alone.
        let is_in_use = || held.identifier.is_some() && !cell.change_total(|share| share.is_unused(time));
        let is_forgotten = Arc::strong_count(held) == 1 && !is_in_use();
        // What is owed can be paid as soon as somebody answers.
        let settles = all || is_forgotten || cell.change_total(|share| share.is_due(time));
        let rest = cell
            .change_total(|share| if settles { share.take_unspent() } else { share.take_unused(window, time, nodes) });
        // Of a stretch that is over nobody wants it back, unless it counts in the next.
        let counts = |start_seconds: i64| start_seconds >= time.span.start_seconds || window.goes_on();
        let left_over = rest.filter(|rest| counts(rest.start_seconds));
        let owed = if settles { cell.change_total(super::share::Share::take_owed) } else { None };
        let is_something = left_over.is_some() || owed.is_some();
        is_something.then(|| {
            let total = TotalAsk { left_over, owed, ..TotalAsk::about(*window) };
            self.given_back(held, Half::Total, Of::Total(total))
        })
    }

    fn rate_to_give_back(&self, held: &Arc<Count>, now: Moment, all: bool) -> Option<GivenBack> {
        let (time, bucket) = (held.limit.time(now), held.limit.rule.bucket()?);
        let is_shared = self.ways(&held.limit).rate != Way::Local && held.cell.rate.get().is_some();
        if !is_shared || self.keeper(&held.limit, Half::Rate).is_silent_about(held) {
            return None;
        }
        let (kept, left_over, owed) = held.cell.change_rate(|rate, _| match (all, rate.is_due(time)) {
            (true, _) => (0, rate.take_unspent(time), rate.take_owed()),
            (false, true) => (rate.unspent(time), 0, rate.take_owed()),
            (false, false) => (0, 0, 0),
        });
        (left_over + owed > 0).then(|| {
            let bucket = *bucket;
            let rate = RateAsk { bucket, held: kept, left_over, owed, need: 0, at_once: 0, more: 0 };
            self.given_back(held, Half::Rate, Of::Rate(rate))
        })
    }

    fn given_back(&self, held: &Arc<Count>, half: Half, of: Of) -> GivenBack {
        let keeper = Arc::clone(self.keeper(&held.limit, half));
        GivenBack { keeper, ask: ask(held, of), count: Arc::clone(held) }
    }

    /// Gives back what was taken.
    pub(crate) async fn give_back(&self, given_back: Vec<GivenBack>) -> Result<(), Error> {
        let (of_postgres, of_redis): (Vec<_>, Vec<_>) =
            given_back.into_iter().partition(|one| Arc::ptr_eq(&one.keeper, &self.postgres));
        let mut is_given = true;
        for (keeper, given) in [(Some(&self.postgres), of_postgres), (self.redis.as_ref(), of_redis)] {
            let Some(keeper) = keeper else { continue };
            let mut is_silent = false;
            for some in given.chunks(ASKED_AT_ONCE) {
                let asks: Vec<Ask> = some.iter().map(|one| one.ask.clone()).collect();
                // With nobody there the rest is not tried: each try takes its time.
                let answers =
                    if is_silent { vec![Err(NoAnswer::Silence); asks.len()] } else { keeper.question(&asks).await };
                is_silent = answers.iter().all(|answer| *answer == Err(NoAnswer::Silence));
                for (one, answer) in some.iter().zip(answers) {
                    if answer.is_err() {
                        is_given = false;
                        owe_again(&one.count, &one.ask);
                    }
                }
            }
        }
        if is_given { Ok(()) } else { Err(Error::Unavailable { what: "the store of limits", source: None }) }
    }

    /// Whether those who keep limits answer.
    pub(crate) fn is_answered(&self) -> bool {
        !self.postgres.is_silent() && !self.redis.as_ref().is_some_and(|redis| redis.is_silent())
    }
}

/// What is given back, and to whom.
pub(crate) struct GivenBack {
    keeper: Arc<Keeper>,
    ask: Ask,
    count: Arc<Count>,
}
