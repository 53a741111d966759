//! One who keeps limits for several processes, and what this one asks him. Questions to Postgres go one at a time, each about all that
//! came while the one before was under way; to Redis, one about each limit. Whoever does not answer is not waited for again until he
//! does.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::time::timeout;
use tronch_core::{LimitTime, Wish};

use super::cells::{Count, KeyLimit};
use super::rate::RateShare;
use super::redis::Redis;
use super::store::{Answer, Ask, NoAnswer, Of, RateAsk, TotalAsk};
use super::totals;
use crate::clock::{self, Moment};
use crate::db::Db;
use crate::error::Error;

/// How long a question may take, at least; nobody waits for it so long.
const QUESTION_MIN: Duration = Duration::from_millis(500);

/// Limits in one question to Postgres.
pub(super) const ASKED_AT_ONCE: usize = 256;

/// How often one who does not answer is asked again.
const ASKED_AGAIN: Duration = Duration::from_millis(500);

/// How soon whoever waits for the last answers looks again.
const SETTLED_SOON: Duration = Duration::from_millis(5);

/// Connections that are tried for one question: one that died while nobody used it is noticed only then.
const ATTEMPTS: usize = 3;

/// Which half of a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Half {
    Rate,
    Total,
}

/// Where he keeps them.
pub(super) enum Store {
    Postgres(Db),
    Redis(Redis),
}

impl Store {
    fn name(&self) -> &'static str {
        match self {
            Self::Postgres(_) => "postgres",
            Self::Redis(_) => "redis",
        }
    }
}

/// One who keeps limits.
pub(super) struct Keeper {
    store: Store,
    /// How long a call waits for him.
    patience: Duration,
    /// Who this process is to him.
    asker: String,
    nodes: Arc<AtomicU64>,
    queue: Mutex<Queue>,
    /// What of him may fail by itself.
    parts: Box<[Part]>,
}

/// Whether nobody answers: true while he did not a moment ago, and whoever waited now would wait in vain.
type Part = watch::Sender<bool>;

/// A half of a limit, by the count's place in memory.
type Place = (usize, Half);

#[derive(Default)]
struct Queue {
    waiting: HashMap<Place, Waiting>,
    /// As they came; those that were asked about meanwhile are passed over.
    order: VecDeque<Place>,
    /// Questions under way: to Postgres one about many, to Redis one about each.
    running: HashSet<Option<Place>>,
}

struct Waiting {
    limit: KeyLimit,
    half: Half,
    /// The least of what they need, and all of it.
    least: u64,
    all: u64,
    /// Whether somebody wants more to be held, besides what is needed.
    is_ahead: bool,
    heard: Vec<oneshot::Sender<()>>,
}

impl Keeper {
    pub(super) fn new(store: Store, patience: Duration, asker: String, nodes: Arc<AtomicU64>) -> Self {
        let parts = match &store {
            Store::Postgres(_) => 1,
            Store::Redis(redis) => redis.parts(),
        };
        let parts = (0..parts).map(|_| Part::default()).collect();
        Self { store, patience, asker, nodes, queue: Mutex::default(), parts }
    }

    fn part(&self, count: &Count) -> &Part {
        let place = match &self.store {
            Store::Postgres(_) => 0,
            Store::Redis(redis) => redis.part_of(count.limit.tenant_id, count.whose),
        };
        &self.parts[place]
    }

    /// Whether he would not answer about that one.
    pub(super) fn is_silent_about(&self, count: &Count) -> bool {
        *self.part(count).borrow()
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether any part of him is.
    pub(super) fn is_silent(&self) -> bool {
        self.parts.iter().any(|part| *part.borrow())
    }

    /// Nobody waits for that part of him until he answers about this limit again, which somebody looks at in the background.
    fn fall_silent(self: &Arc<Self>, limit: &KeyLimit, half: Half) {
        if !self.part(&limit.count).send_if_modified(|is_silent| !std::mem::replace(is_silent, true)) {
            return;
        }
        let store = self.store.name();
        tracing::warn!(limits.store = store, "no answer about limits: this process goes by its part of what was left");
        metrics::gauge!("tronch_limit_store_silent", "store" => store).increment(1);
        tokio::spawn(Arc::clone(self).listen(limit.clone(), half));
    }

    async fn listen(self: Arc<Self>, limit: KeyLimit, half: Half) {
        while self.is_silent_about(&limit.count) {
            tokio::time::sleep(ASKED_AGAIN).await;
            // It asks for nothing, so that it changes nothing however often and late it is heard.
            let Some(ask) = plain(&limit, half) else { return };
            if !self.question(&[ask]).await.contains(&Err(NoAnswer::Silence)) {
                self.is_heard_again(&limit.count);
            }
        }
    }

    fn is_heard_again(&self, count: &Count) {
        // Looked at first, for each answer: whoever waits would be woken.
        if self.is_silent_about(count) && self.part(count).send_if_modified(std::mem::take) {
            let store = self.store.name();
            tracing::info!(limits.store = store, "limits are shared with other processes again");
            metrics::gauge!("tronch_limit_store_silent", "store" => store).decrement(1);
        }
    }

    /// Asks for more, which nobody waits for; whoever only reads asks how it stands, and reserves nothing.
    pub(super) fn ask_ahead(self: &Arc<Self>, limit: &KeyLimit, half: Half, only_reads: bool) {
        if self.is_silent_about(&limit.count) {
            stop_asking(limit, half);
        } else {
            self.join(limit, half, 0, Asker::Ahead { only_reads });
        }
    }

    /// Whether there was an answer in time.
    pub(super) async fn ask(self: &Arc<Self>, limit: &KeyLimit, half: Half, need: u64) -> bool {
        let mut silence = self.part(&limit.count).subscribe();
        if *silence.borrow_and_update() {
            return false;
        }
        let (answer, heard) = oneshot::channel();
        self.join(limit, half, need, Asker::Waits(answer));
        let is_redis = matches!(self.store, Store::Redis(_));
        let answered = tokio::select! {
            biased;
            answered = timeout(self.patience, heard) => answered,
            // Somebody waited for Redis in vain: whoever came after him need not. Of Postgres a question failed that was not this one's.
            _ = silence.wait_for(|is_silent| *is_silent), if is_redis => return false,
        };
        match answered {
            Ok(heard) => heard.is_ok(),
            Err(_) => {
                // A commit may take longer now and then, and all who asked for credits would be sent away: of Postgres a question
                // has to fail. Of Redis each call may wait for it, and none may wait in vain.
                if is_redis {
                    self.fall_silent(limit, half);
                }
                false
            }
        }
    }

    fn join(self: &Arc<Self>, limit: &KeyLimit, half: Half, need: u64, asker: Asker) {
        let place = (Arc::as_ptr(&limit.count).addr(), half);
        let runner = matches!(self.store, Store::Redis(_)).then_some(place);
        let must_start = {
            let mut queue = self.queue();
            let fresh =
                || Waiting { limit: limit.clone(), half, least: need, all: 0, is_ahead: false, heard: Vec::new() };
            let Queue { waiting, order, .. } = &mut *queue;
            let waiting = waiting.entry(place).or_insert_with(|| {
                order.push_back(place);
                fresh()
            });
            // Whoever asks ahead needs nothing.
            if need > 0 {
                waiting.least = if waiting.all == 0 { need } else { waiting.least.min(need) };
            }
            waiting.all += need;
            match asker {
                Asker::Ahead { only_reads } => waiting.is_ahead |= !only_reads,
                Asker::Waits(heard) => waiting.heard.push(heard),
            }
            queue.running.insert(runner)
        };
        if must_start {
            tokio::spawn(Arc::clone(self).go_on(runner));
        }
    }

    /// Until nobody waits for him: no longer than a question takes.
    pub(super) async fn settle(&self) {
        let quiet = async {
            while !self.queue().running.is_empty() {
                tokio::time::sleep(SETTLED_SOON).await;
            }
        };
        if timeout(QUESTION_MIN.max(self.patience * 2), quiet).await.is_err() {
            tracing::debug!("limits were still being asked for");
        }
    }

    /// Some of those who wait. With nobody left the task ends, in the same moment: whoever comes next must find that.
    fn next(&self, runner: Option<Place>) -> Vec<Waiting> {
        let mut queue = self.queue();
        let places: Vec<Place> = match runner {
            Some(place) => vec![place],
            None => {
                let length = queue.order.len().min(ASKED_AT_ONCE);
                queue.order.drain(..length).collect()
            }
        };
        let waiting: Vec<Waiting> = places.iter().filter_map(|place| queue.waiting.remove(place)).collect();
        if waiting.is_empty() {
            queue.running.remove(&runner);
        }
        waiting
    }

    async fn go_on(self: Arc<Self>, runner: Option<Place>) {
        loop {
            let waiting = self.next(runner);
            if waiting.is_empty() {
                return;
            }
            // A task of its own: should one crash, the next is asked all the same.
            let question = tokio::spawn(Arc::clone(&self).ask_for(waiting));
            if let Err(crashed) = question.await {
                Error::internal(crashed).log_if_ours();
            }
        }
    }

    async fn ask_for(self: Arc<Self>, waiting: Vec<Waiting>) {
        let (sent, nodes) = (Moment::now(), self.nodes.load(Ordering::Relaxed));
        let asked: Vec<(Waiting, Ask)> = waiting
            .into_iter()
            .filter_map(|one| {
                let ask = one.ask(sent, nodes)?;
                Some((one, ask))
            })
            .collect();
        let asks: Vec<Ask> = asked.iter().map(|(_, ask)| ask.clone()).collect();
        let answers = self.question(&asks).await;
        let now = Moment::now();
        let mut left_over = Vec::new();
        for ((one, ask), answer) in asked.into_iter().zip(answers) {
            match answer {
                Err(NoAnswer::Silence) => self.fall_silent(&one.limit, one.half),
                Ok(_) | Err(NoAnswer::Nonsense) => self.is_heard_again(&one.limit.count),
            }
            match answer {
                // Whoever waits hears nothing.
                Err(_) => one.take_back(&ask),
                Ok(answer) => {
                    left_over.extend(one.take_in(answer, (sent, now)));
                    // Only now: whoever hears of it looks for it.
                    for heard in one.heard {
                        if heard.send(()).is_err() {
                            tracing::trace!("whoever asked for more of a limit has gone");
                        }
                    }
                }
            }
        }
        if !left_over.is_empty() && self.question(&left_over).await.iter().any(Result::is_err) {
            tracing::debug!("what was left of a stretch that is over was not given back");
        }
    }

    /// The answers, in their order.
    pub(super) async fn question(&self, asks: &[Ask]) -> Vec<Result<Answer, NoAnswer>> {
        let most = QUESTION_MIN.max(self.patience * 2);
        let answers = match &self.store {
            Store::Postgres(db) => ask_postgres(db, asks, &self.asker, most).await,
            Store::Redis(redis) => redis.ask(asks, &self.asker, most).await,
        };
        let is_answered = answers.iter().any(Result::is_ok);
        metrics::counter!(
            "tronch_limit_questions_total",
            "store" => self.store.name(), "answered" => if is_answered { "yes" } else { "no" }
        )
        .increment(1);
        answers
    }
}

async fn ask_postgres(db: &Db, asks: &[Ask], asker: &str, most: Duration) -> Vec<Result<Answer, NoAnswer>> {
    let asked = async {
        let mut attempts = 1;
        loop {
            let mut connection = db.limits().await?;
            match totals::reserve(&mut connection, asks, asker, clock::now()).await {
                Err(totals::Unanswered::Early(_)) if attempts < ATTEMPTS => attempts += 1,
                answered => return answered.map_err(totals::Unanswered::into_error),
            }
        }
    };
    let answered = timeout(most, asked).await.unwrap_or_else(|late| Err(Error::database_unavailable(late)));
    match answered {
        Ok(answers) => answers.into_iter().map(Ok).collect(),
        Err(error) => {
            tracing::warn!(error.causes = ?error.causes(), "limits could not be reserved in Postgres: {error}");
            vec![Err(NoAnswer::Silence); asks.len()]
        }
    }
}

/// Who asks for more.
enum Asker {
    /// Nobody waits for the answer.
    Ahead { only_reads: bool },
    /// Somebody does, and hears that it has come.
    Waits(oneshot::Sender<()>),
}

impl Waiting {
    fn ask(&self, sent: Moment, nodes: u64) -> Option<Ask> {
        let (time, cell, rule) = (self.limit.limit.time(sent), &self.limit.count.cell, &self.limit.limit.rule);
        let is_exact = self.limit.limit.is_exact;
        let of = match self.half {
            Half::Total => {
                let window = rule.window()?;
                let (left_over, owed, room) = cell.change_total(|share| {
                    (share.take_past(time.span), share.take_owed(), if is_exact { 0 } else { share.room(window) })
                });
                let most = if self.only_reads() { 0 } else { room.max(self.all) };
                let wish = Wish { need: self.least, most, sharers: nodes };
                Of::Total(TotalAsk { left_over, owed, wish: Some(wish), ..TotalAsk::about(*window) })
            }
            Half::Rate => {
                let bucket = rule.bucket()?;
                let (held, owed, room) = cell.change_rate(|rate, first| {
                    // What was taken while nobody else was there, nobody else knows.
                    if let Some(own) = rate.hand_over(first, bucket, time) {
                        rate.owed += own;
                    }
                    (rate.unspent(time), rate.take_owed(), if is_exact { 0 } else { rate.room(bucket, time) })
                });
                let (need, at_once, more) = (self.least, self.all, if self.only_reads() { 0 } else { room });
                Of::Rate(RateAsk { bucket: *bucket, held, left_over: 0, owed, need, at_once, more })
            }
        };
        Some(ask(&self.limit.count, of))
    }

    /// Whether whoever waits only wants to know how it stands.
    fn only_reads(&self) -> bool {
        self.all == 0 && !self.is_ahead
    }

    /// There was no answer.
    fn take_back(&self, asked: &Ask) {
        stop_asking(&self.limit, self.half);
        owe_again(&self.limit.count, asked);
    }

    /// Gives what is held of a stretch that went by.
    fn take_in(&self, answer: Answer, (sent, now): (Moment, Moment)) -> Option<Ask> {
        let (limit, cell) = (&self.limit.limit, &self.limit.count.cell);
        let times: (LimitTime, LimitTime) = (limit.time(sent), limit.time(now));
        match answer {
            Answer::Total { state, granted } => {
                let window = limit.rule.window()?;
                let rest = cell.change_total(|share| share.granted(window, state, granted, times.1))?;
                let total = TotalAsk { left_over: Some(rest), ..TotalAsk::about(*window) };
                Some(ask(&self.limit.count, Of::Total(total)))
            }
            Answer::Rate { debt_ticks, granted } => {
                let bucket = limit.rule.bucket()?;
                cell.change_rate(|rate, first| {
                    let held_for = RateShare::held_for(bucket, limit.is_exact);
                    rate.granted(bucket, (debt_ticks, granted), held_for, times);
                    *first = tronch_core::BucketState::default();
                });
                None
            }
        }
    }
}

/// About that half, with nothing to say.
fn plain(limit: &KeyLimit, half: Half) -> Option<Ask> {
    let of = match half {
        Half::Total => Of::Total(TotalAsk::about(*limit.limit.rule.window()?)),
        Half::Rate => {
            let time = limit.limit.time(Moment::now());
            let held = limit.count.cell.change_rate(|rate, _| rate.unspent(time));
            let bucket = *limit.limit.rule.bucket()?;
            Of::Rate(RateAsk { bucket, held, left_over: 0, owed: 0, need: 0, at_once: 0, more: 0 })
        }
    };
    Some(ask(&limit.count, of))
}

fn stop_asking(limit: &KeyLimit, half: Half) {
    match half {
        Half::Rate => limit.count.cell.change_rate(|rate, _| rate.is_asking = false),
        Half::Total => limit.count.cell.change_total(|share| share.is_asking = false),
    }
}

/// Nobody knows whether it was made up for. It is again: too little is better than too much.
pub(super) fn owe_again(count: &Count, asked: &Ask) {
    match &asked.of {
        Of::Total(TotalAsk { owed: Some(owed), .. }) => count.cell.change_total(|share| share.owe_again(*owed)),
        Of::Rate(RateAsk { owed: owed @ 1.., .. }) => count.cell.change_rate(|rate, _| rate.owed += owed),
        _ => {}
    }
}

/// A question about a limit.
pub(super) fn ask(of: &Count, half: Of) -> Ask {
    let (tenant_id, limit_id) = (of.limit.tenant_id, of.limit.counts_as());
    Ask { tenant_id, limit_id, whose: of.whose, identifier: of.identifier.clone(), of: half }
}
