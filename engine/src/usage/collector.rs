//! Collecting beside the calls: tallies of keys, a bounded channel for whatever is no pass, and one thread that adds up and
//! stores. A call never waits for it.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tronch_core::bounds::USAGE_CHANNEL_EVENTS;
use tronch_core::{ServiceTokenId, Timestamp, VerdictCode};
use uuid::Uuid;

use super::roll_up;
use super::store::{self, BatchHead};
use super::sums::{Event, LimitEvent, Sums, Told, minute_at, minute_of};
use super::tally::{Counted, Tallied};
use super::uses::{Due, Uses};
use crate::clock;
use crate::db::Db;
use crate::error::Error;
use crate::limits::Limit;

/// How long events are added up before they are stored: with the next bound, what a killed process loses of counts at most while
/// Postgres keeps up.
const FLUSH_INTERVAL: Duration = Duration::from_secs(1);

/// Events that are stored at once, however little time has passed.
const FLUSH_EVENTS: u64 = 10_000;

/// Sums that are kept while Postgres is away. Beyond, the channel fills and events are dropped and counted.
const SUMS_MAX: usize = 50_000;

/// How long a batch that could not be stored waits before it is tried again.
const RETRY_INTERVAL: Duration = Duration::from_millis(500);

/// How long times of last use are noted at the end.
const NOTED_AT_END: Duration = Duration::from_secs(2);

/// How far the thread steps back behind those that answer, of 19.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 5;

/// Keys that may wait with a tally that is not taken. One more is counted as an event, which finds the channel full.
const WAITING_MAX: usize = 200_000;

/// Where validation leaves its events.
pub(crate) struct Collector {
    told: mpsc::Sender<Told>,
    tallied: Arc<Waiting>,
    counts: Arc<Counts>,
    stop: CancellationToken,
    /// Ends the thread, whatever it is at.
    give_up: CancellationToken,
    ended: Mutex<Option<oneshot::Receiver<Result<(), Error>>>>,
}

#[derive(Default)]
struct Counts {
    offered: AtomicU64,
    dropped: AtomicU64,
    /// Whether the last try to store a batch failed.
    failing: AtomicBool,
}

/// Keys whose tallies there is something in, each once.
#[derive(Default)]
struct Waiting {
    keys: Mutex<WaitingKeys>,
    /// Enough has come together for a batch.
    enough: Notify,
}

#[derive(Default)]
struct WaitingKeys {
    keys: Vec<Arc<dyn Tallied>>,
    /// Nobody takes them any more.
    is_over: bool,
}

impl Waiting {
    fn keys(&self) -> MutexGuard<'_, WaitingKeys> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the key will be looked at.
    fn note(&self, key: Arc<dyn Tallied>) -> bool {
        let mut waiting = self.keys();
        let has_room = !waiting.is_over && waiting.keys.len() < WAITING_MAX;
        if has_room {
            waiting.keys.push(key);
        }
        has_room
    }
}

impl Collector {
    /// Starts the thread that stores. It has a runtime and a connection of its own: a batch is some ten thousand rows, and
    /// whoever puts it together holds up everybody else on the same thread.
    pub(crate) fn start(db: Db) -> Result<Self, Error> {
        let (told, received) = mpsc::channel(USAGE_CHANNEL_EVENTS);
        let counts = Arc::new(Counts::default());
        let tallied = Arc::new(Waiting::default());
        let stop = CancellationToken::new();
        let task = Task {
            db,
            incarnation: Uuid::from_bytes(crate::random::bytes()?),
            started_at: clock::now(),
            counts: Arc::clone(&counts),
            tallied: Arc::clone(&tallied),
            batches: 0,
            stored: 0,
            sums: Sums::default(),
            uses: Uses::default(),
            noted_at: Instant::now(),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::internal)?;
        let give_up = CancellationToken::new();
        let (end, ended) = oneshot::channel();
        let (stopped, given_up) = (stop.clone(), give_up.clone());
        let run = move || {
            step_back();
            let stored = runtime.block_on(given_up.run_until_cancelled(task.run(received, stopped)));
            let stored = stored.unwrap_or_else(|| Err(Error::internal("the collecting of usage was given up")));
            if end.send(stored).is_err() {
                tracing::trace!("nobody waits for the end of collecting");
            }
        };
        std::thread::Builder::new().name("usage".to_owned()).spawn(run).map_err(Error::internal)?;
        Ok(Self { told, tallied, counts, stop, give_up, ended: Mutex::new(Some(ended)) })
    }

    /// Counts a validation, or counts it as dropped when there is no room. Never waits. `passed` is the key, where it was
    /// valid: then `event` is asked for only if the key's own tally cannot take it.
    pub(crate) fn offer<K: Tallied + 'static>(
        &self,
        at: Timestamp,
        passed: Option<&Arc<K>>,
        event: impl FnOnce() -> Event,
    ) {
        let offered = self.counts.offered.fetch_add(1, Ordering::Relaxed);
        if offered % FLUSH_EVENTS == FLUSH_EVENTS - 1 {
            self.tallied.enough.notify_one();
        }
        match passed.map(|key| (key, key.tally().add(minute_of(at)))) {
            Some((_, Counted::Again)) => return,
            Some((key, Counted::First)) => {
                if !self.tallied.note(Arc::<K>::clone(key)) {
                    self.count_dropped(key.tally().take().count);
                }
                return;
            }
            Some((_, Counted::NotHere)) | None => {}
        }
        if self.told.try_send(Told::Validated(event())).is_err() {
            self.count_dropped(1);
        }
    }

    /// Counts a call for a limit: as one that was charged with it, if the code is VALID. Never waits.
    pub(crate) fn offer_of_limit(&self, at_ms: i64, limit: &Arc<Limit>, code: VerdictCode) {
        let minute = minute_at(at_ms);
        if code == VerdictCode::Valid {
            match limit.tally().add(minute) {
                Counted::Again => return,
                Counted::First => {
                    if !self.tallied.note(Arc::<Limit>::clone(limit)) {
                        count_dropped_of_limits(limit.tally().take().count);
                    }
                    return;
                }
                Counted::NotHere => {}
            }
        }
        let event = LimitEvent { minute, tenant_id: limit.tenant_id, limit_id: limit.counts_as(), code };
        if self.told.try_send(Told::Limited(event)).is_err() {
            count_dropped_of_limits(1);
        }
    }

    fn count_dropped(&self, events: u64) {
        self.counts.dropped.fetch_add(events, Ordering::Relaxed);
        metrics::counter!("tronch_usage_events_dropped_total").increment(events);
    }

    /// Notes that a service token was let in. When the channel is full, the time of its last use lags.
    pub(crate) fn token_used(&self, token_id: ServiceTokenId, at: Timestamp) {
        if self.told.try_send(Told::TokenUsed(token_id, at)).is_err() {
            tracing::trace!("a service token's last use was not noted: the channel is full");
        }
    }

    /// Events that were taken and not added up yet; tallies are not among them.
    pub(crate) fn waiting(&self) -> usize {
        self.told.max_capacity() - self.told.capacity()
    }

    /// Whether counts wait because Postgres does not take them.
    pub(crate) fn is_failing(&self) -> bool {
        self.counts.failing.load(Ordering::Relaxed)
    }

    /// Stores all that was offered and ends the thread; what is offered later is dropped. A second call does nothing.
    ///
    /// # Errors
    /// `Unavailable` when Postgres did not take the rest within `patience`; it is lost.
    pub(crate) async fn finish(&self, patience: Duration) -> Result<(), Error> {
        self.stop.cancel();
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(ended) = ended else { return Ok(()) };
        match tokio::time::timeout(patience, ended).await {
            Ok(Ok(stored)) => stored,
            Ok(Err(panicked)) => Err(Error::internal(panicked)),
            Err(elapsed) => {
                self.give_up.cancel();
                Err(Error::database_unavailable(elapsed))
            }
        }
    }
}

fn count_dropped_of_limits(calls: u64) {
    metrics::counter!("tronch_limit_counts_dropped_total").increment(calls);
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.give_up.cancel();
    }
}

/// Calls come first: on Linux this is a matter of the thread alone. Where it is refused, it goes on as all others.
fn step_back() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(None, NICENESS) {
        tracing::debug!(%error, "the thread that stores usage keeps the priority of all others");
    }
}

/// What owns the sums.
struct Task {
    db: Db,
    incarnation: Uuid,
    started_at: Timestamp,
    counts: Arc<Counts>,
    tallied: Arc<Waiting>,
    batches: i64,
    stored: u64,
    sums: Sums,
    uses: Uses,
    /// When times of last use were taken to be noted.
    noted_at: Instant,
}

/// Gives back what could not be noted.
type Storing = Pin<Box<dyn Future<Output = Due> + Send>>;

impl Task {
    async fn run(mut self, mut told: mpsc::Receiver<Told>, stop: CancellationToken) -> Result<(), Error> {
        let mut ticks = tokio::time::interval(FLUSH_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut storing: Option<Storing> = None;
        let mut received = Vec::with_capacity(1024);
        let tallied = Arc::clone(&self.tallied);
        let enough = &tallied.enough;
        loop {
            let has_room = self.sums.held() < SUMS_MAX;
            let due = tokio::select! {
                () = stop.cancelled() => break,
                left = done(&mut storing), if storing.is_some() => {
                    storing = None;
                    self.uses.give_back(left);
                    false
                }
                _ = ticks.tick() => {
                    if has_room { self.take_tallies() }
                    true
                }
                () = enough.notified(), if has_room => {
                    self.take_tallies();
                    self.sums.events >= FLUSH_EVENTS
                }
                // The sender lives as long as the collector, so this ends only with it.
                count = told.recv_many(&mut received, 1024), if has_room => {
                    if count == 0 { break }
                    received.drain(..).for_each(|told| self.sums.take(&told));
                    self.sums.events >= FLUSH_EVENTS
                }
            };
            if due && storing.is_none() {
                storing = self.next_step();
            }
        }
        self.close(told, storing).await
    }

    fn take_tallies(&mut self) {
        // No more than a batch may hold: a large one takes longer than a statement may.
        let room = SUMS_MAX.saturating_sub(self.sums.held());
        let keys = {
            let mut waiting = self.tallied.keys();
            let rest = waiting.keys.len().min(room);
            let rest = waiting.keys.split_off(rest);
            std::mem::replace(&mut waiting.keys, rest)
        };
        for key in keys {
            let taken = key.tally().take();
            if taken.count > 0 {
                self.sums.add_passes(key.subject(), taken);
            }
        }
        self.sums.merge_passes_if_many();
    }

    /// What has come together, and about once a second some times of last use.
    fn next_step(&mut self) -> Option<Storing> {
        let batch = self.next_batch();
        let mut due = Due::default();
        // Less than the interval: a tick may come a little early.
        if self.noted_at.elapsed() >= FLUSH_INTERVAL / 2 {
            self.noted_at = Instant::now();
            due = self.uses.take_step();
        }
        if batch.is_none() && due.is_empty() {
            return None;
        }
        let db = self.db.clone();
        Some(Box::pin(async move {
            if let Some(batch) = batch {
                batch.await;
            }
            note_uses(&db, &mut due).await;
            due
        }))
    }

    /// Takes the sums out, as a batch on its way.
    fn next_batch(&mut self) -> Option<impl Future<Output = ()> + Send + use<>> {
        if self.sums.is_empty() {
            return None;
        }
        let sums = std::mem::take(&mut self.sums);
        self.uses.take_in(&sums);
        self.batches += 1;
        self.stored += sums.events;
        let head = self.head();
        Some(store_until_done(self.db.clone(), Arc::clone(&self.counts), head, sums))
    }

    fn head(&self) -> BatchHead {
        let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        BatchHead {
            incarnation: self.incarnation,
            started_at: self.started_at,
            number: self.batches,
            stored: number(self.stored),
            dropped: number(self.counts.dropped.load(Ordering::Relaxed)),
        }
    }

    async fn close(mut self, mut told: mpsc::Receiver<Told>, storing: Option<Storing>) -> Result<(), Error> {
        told.close();
        while let Some(one) = told.recv().await {
            self.sums.take(&one);
        }
        self.tallied.keys().is_over = true;
        if let Some(storing) = storing {
            let left = storing.await;
            self.uses.give_back(left);
        }
        self.take_tallies();
        while let Some(rest) = self.next_batch() {
            rest.await;
            self.take_tallies();
        }
        // A command that counted nothing says nothing.
        if self.batches > 0 {
            store::close(&self.db, &self.head()).await?;
            let offered = self.counts.offered.load(Ordering::Relaxed);
            tracing::info!(usage.offered = offered, usage.stored = self.stored, "usage is stored");
        }
        let mut due = self.uses.take_all();
        let noted = tokio::time::timeout(NOTED_AT_END, note_uses(&self.db, &mut due)).await;
        if noted.is_err() {
            tracing::warn!(keys = due.keys.len(), "some times of last use were not noted before the end");
        }
        Ok(())
    }
}

async fn done(storing: &mut Option<Storing>) -> Due {
    match storing {
        Some(storing) => storing.await,
        None => std::future::pending().await,
    }
}

/// The same batch again and again: its number makes sure that it counts once, even where an answer was lost.
async fn store_until_done(db: Db, counts: Arc<Counts>, head: BatchHead, sums: Sums) {
    while let Err(error) = store::store(&db, &head, &sums).await {
        counts.failing.store(true, Ordering::Relaxed);
        let causes = error.causes();
        tracing::warn!(batch = head.number, events = sums.events, error.causes = ?causes, "usage could not be stored; trying again: {error}");
        if let Err(error) = roll_up::make_room(&db, sums.counts().map(|(cell, _)| cell.at())).await {
            tracing::debug!("there may be no partition for a batch: {error}");
        }
        tokio::time::sleep(RETRY_INTERVAL).await;
    }
    counts.failing.store(false, Ordering::Relaxed);
    tracing::debug!(batch = head.number, events = sums.events, "stored usage");
}

/// What is left of it was not noted.
async fn note_uses(db: &Db, due: &mut Due) {
    if let Err(error) = store::touch(db, due).await {
        let causes = error.causes();
        tracing::warn!(error.causes = ?causes, "some times of last use could not be noted: {error}");
    }
}
