//! Asking for more of totals. One question is under way at a time, about all that came while the one before was: a call that has
//! run out waits for a round trip or two, whatever else is asked. Most never do, for more is asked for before a block is spent.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;
use tronch_core::{LimitRule, Wish};

use super::cells::{Cells, KeyLimit};
use super::totals::{self, Answer, Ask};
use crate::clock::{self, Moment};
use crate::db::Db;
use crate::error::Error;

/// How long a question may take.
const QUESTION_MAX: Duration = Duration::from_millis(500);

/// Totals in one question.
const ASKED_AT_ONCE: usize = 256;

/// How long nobody asks after a question that was not answered.
const PAUSE: Duration = Duration::from_millis(500);

/// Connections that are tried for one question: one that died while nobody used it is noticed only then.
const ATTEMPTS: usize = 3;

/// Those of a process.
pub(crate) struct Reserves {
    db: Db,
    queue: Mutex<Queue>,
    /// Until when nobody asks, in nanoseconds of a moment.
    paused_until: AtomicU64,
    /// How many processes there are, as far as this one knows.
    nodes: Arc<AtomicU64>,
}

#[derive(Default)]
struct Queue {
    /// By the count's place in memory.
    waiting: HashMap<usize, Waiting>,
    is_running: bool,
}

struct Waiting {
    limit: KeyLimit,
    /// The least of what they need, and all of it.
    least: u64,
    all: u64,
    heard: Vec<oneshot::Sender<()>>,
}

impl Reserves {
    pub(crate) fn new(db: Db, nodes: Arc<AtomicU64>) -> Arc<Self> {
        Arc::new(Self { db, queue: Mutex::default(), paused_until: AtomicU64::new(0), nodes })
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many processes share what is left where nobody answers.
    pub(crate) fn nodes(&self) -> u64 {
        self.nodes.load(Ordering::Relaxed).max(1)
    }

    /// Asks for more, which nobody waits for.
    pub(crate) fn ask_ahead(self: &Arc<Self>, limit: &KeyLimit) {
        if self.is_paused() {
            limit.count.cell.change(|share| share.is_asking = false);
        } else {
            self.join(limit, 1, None);
        }
    }

    /// Asks for what a call needs. Whether there was an answer; how much it brought, others may have taken already.
    pub(crate) async fn ask(self: &Arc<Self>, limit: &KeyLimit, need: u64) -> bool {
        if self.is_paused() {
            return false;
        }
        let (answer, heard) = oneshot::channel();
        self.join(limit, need, Some(answer));
        heard.await.is_ok()
    }

    /// Nobody asks for a while, until a question that is under way is answered.
    pub(crate) fn pause(&self) {
        // Whoever comes meanwhile makes it no longer: else nobody would ever ask again.
        if self.is_paused() {
            return;
        }
        self.paused_until.store(Moment::now().plus(PAUSE).as_nanos(), Ordering::Relaxed);
    }

    /// Postgres did not answer a moment ago: whoever asked now would only wait.
    fn is_paused(&self) -> bool {
        Moment::now().as_nanos() < self.paused_until.load(Ordering::Relaxed)
    }

    fn join(self: &Arc<Self>, limit: &KeyLimit, need: u64, heard: Option<oneshot::Sender<()>>) {
        let must_start = {
            let mut queue = self.queue();
            let fresh = || Waiting { limit: limit.clone(), least: need, all: 0, heard: Vec::new() };
            let waiting = queue.waiting.entry(Arc::as_ptr(&limit.count).addr()).or_insert_with(fresh);
            waiting.least = waiting.least.min(need);
            waiting.all += need;
            waiting.heard.extend(heard);
            !std::mem::replace(&mut queue.is_running, true)
        };
        if must_start {
            tokio::spawn(Arc::clone(self).go_on());
        }
    }

    /// Some of those who wait. With nobody left the task ends, in the same moment: whoever comes next must find that.
    fn next(&self) -> Option<Vec<Waiting>> {
        let mut queue = self.queue();
        let places: Vec<usize> = queue.waiting.keys().take(ASKED_AT_ONCE).copied().collect();
        queue.is_running = !places.is_empty();
        let waiting: Vec<Waiting> = places.iter().filter_map(|place| queue.waiting.remove(place)).collect();
        (!waiting.is_empty()).then_some(waiting)
    }

    async fn go_on(self: Arc<Self>) {
        while let Some(waiting) = self.next() {
            // A task of its own: should one crash, the next is asked all the same.
            let question = tokio::spawn(Arc::clone(&self).ask_for(waiting));
            if let Err(crashed) = question.await {
                Error::internal(crashed).log_if_ours();
            }
        }
    }

    async fn ask_for(self: Arc<Self>, waiting: Vec<Waiting>) {
        let nodes = self.nodes();
        let asks: Vec<Ask> = waiting.iter().filter_map(|one| ask_about(one, nodes)).collect();
        let answered = self.question(&asks).await;
        let now = Moment::now();
        let Ok(answers) = answered else {
            self.pause();
            metrics::counter!("tronch_limit_questions_total", "answered" => "no").increment(1);
            for (one, ask) in waiting.iter().zip(asks) {
                let KeyLimit { count, limit } = &one.limit;
                count.cell.change(|share| {
                    share.is_asking = false;
                    // It may have been made up for, and is again: too little is better than too much.
                    if let Some(owed) = ask.owed.filter(|owed| owed.start_seconds == share.start_seconds) {
                        share.owed += owed.units;
                    }
                });
                tracing::debug!(limit.name = limit.name.as_str(), "nobody answers for a limit's total");
            }
            return;
        };
        metrics::counter!("tronch_limit_questions_total", "answered" => "yes").increment(1);
        self.paused_until.store(0, Ordering::Relaxed);
        let mut left_over = Vec::new();
        for (one, Answer { state, granted }) in waiting.iter().zip(answers) {
            let KeyLimit { count, limit } = &one.limit;
            let (Some(window), time) = (limit.rule.window(), limit.time(now)) else { continue };
            let rest = count.cell.change(|share| share.granted(window, state, granted, time));
            left_over.extend(rest.and_then(|rest| Some(Ask { left_over: Some(rest), ..plain_ask(&one.limit)? })));
        }
        // Only now: whoever hears of it looks for it.
        for one in waiting {
            for heard in one.heard {
                if heard.send(()).is_err() {
                    tracing::trace!("whoever asked for more of a limit has gone");
                }
            }
        }
        if !left_over.is_empty()
            && let Err(error) = self.question(&left_over).await
        {
            tracing::debug!(%error, "what was left of a stretch that is over was not given back");
        }
    }

    async fn question(&self, asks: &[Ask]) -> Result<Vec<Answer>, Error> {
        let asked = async {
            let mut attempts = 1;
            loop {
                let mut connection = self.db.limits().await?;
                match totals::reserve(&mut connection, asks, clock::now()).await {
                    Err(totals::Unanswered::Early(_)) if attempts < ATTEMPTS => attempts += 1,
                    answered => return answered.map_err(totals::Unanswered::into_error),
                }
            }
        };
        let answered = timeout(QUESTION_MAX, asked).await.unwrap_or_else(|late| Err(Error::database_unavailable(late)));
        if let Err(error) = &answered {
            tracing::warn!(error.causes = ?error.causes(), "totals of limits could not be reserved: {error}");
        }
        answered
    }

    /// Takes what has not been spent for a while from whoever holds it; with `all`, everything. It is to be given back.
    pub(crate) fn take_back(&self, cells: &Cells, all: bool) -> Vec<Ask> {
        let (now, nodes) = (Moment::now(), self.nodes());
        cells.choose(|held| {
            let time = held.limit.time(now);
            let window = held.limit.rule.window()?;
            // Nobody remembers a key that is charged to it.
            let is_forgotten = Arc::strong_count(&held.count) == 1;
            let rest = held.count.cell.change(|share| {
                if all || is_forgotten { share.take_unspent() } else { share.take_unused(window, time, nodes) }
            });
            // Of a stretch that is over nobody wants it back, unless it counts in the next.
            let counts = |start_seconds: i64| start_seconds >= time.span.start.timestamp() || window.goes_on();
            let left_over = rest.filter(|rest| counts(rest.start_seconds));
            let owed = if all { held.count.cell.change(super::share::Share::take_owed) } else { None };
            let is_something = left_over.is_some() || owed.is_some();
            is_something.then(|| Some(Ask { left_over, owed, ..plain_ask(held)? })).flatten()
        })
    }

    /// Gives back what was taken.
    pub(crate) async fn give_back(&self, asks: &[Ask]) -> Result<(), Error> {
        for asks in asks.chunks(ASKED_AT_ONCE) {
            self.question(asks).await?;
        }
        Ok(())
    }
}

/// About a total, with nothing to say of it.
fn plain_ask(of: &KeyLimit) -> Option<Ask> {
    Some(Ask {
        tenant_id: of.limit.tenant_id,
        limit_id: of.counts_as(),
        whose: of.count.whose,
        window: *LimitRule::window(&of.limit.rule)?,
        left_over: None,
        owed: None,
        wish: None,
        added: 0,
    })
}

fn ask_about(waiting: &Waiting, nodes: u64) -> Option<Ask> {
    let ask = plain_ask(&waiting.limit)?;
    let time = waiting.limit.limit.time(Moment::now());
    let (left_over, owed, room) = waiting.limit.count.cell.change(|share| {
        let left_over = share.take_past(time.span);
        (left_over, share.take_owed(), share.room(&ask.window))
    });
    let wish = Wish { need: waiting.least, most: room.max(waiting.all), sharers: nodes };
    Some(Ask { left_over, owed, wish: Some(wish), ..ask })
}
