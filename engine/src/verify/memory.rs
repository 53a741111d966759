//! Finding a credential: in memory where that still counts, else in Postgres, asked once for all who want the same. What is
//! found is compared and judged elsewhere.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use tokio::time::Instant;
use tronch_core::Handle;

use super::absent::Absent;
use super::budget::{Budget, NoneLeft, Reserved};
use super::cache::{Cache, Remembered};
use super::questions::{Answer, Questions, Rows, Source};
use crate::Engine;
use crate::clock::{self, Moment};
use crate::error::Error;
use crate::node::lease::Standing;
use crate::node::marks::{Dependencies, Position};
use crate::node::{Kind, Node};

/// How long a question to Postgres may take. Nobody waits for it so long, but who comes later finds what it brought.
const READ_MAX: Duration = Duration::from_secs(1);

/// Unknown handles that are looked up a second, by whomever.
const UNKNOWN_PER_SECOND: u32 = 200;

/// What a kind of credential is read as.
pub(crate) trait Facts: Send + Sync + Sized + 'static {
    /// Under which its changes are logged.
    const KIND: Kind;

    /// Those of several handles that are there, in one question.
    fn read(engine: &Engine, handles: &[Handle]) -> impl Future<Output = Result<Rows<Self>, Error>> + Send;

    /// What it depends on besides its handle.
    fn shared(&self, node: &Node) -> [u64; 3];

    /// How long it may be answered with while Postgres is out of reach.
    fn offline_lease(&self) -> Duration;
}

/// What was read, from a server that knew the change of that number.
pub(crate) type Found<F> = (F, i64);

/// A credential that was presented, without its secret.
#[derive(Clone, Copy)]
pub(super) struct Presented {
    pub(super) handle: Handle,
    /// When its handle says that it was made, in Unix milliseconds.
    pub(super) created_ms: u64,
}

/// What is known of a handle.
pub(super) struct Known<F> {
    pub(super) entry: Arc<Remembered<F>>,
    /// How old the knowledge is; zero when it was read for this call.
    pub(super) age: Duration,
    /// When that was found out.
    pub(super) now: Moment,
}

/// Why memory does not do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    /// It is not remembered, or no longer counts.
    Entry,
    /// Nobody knows whether memory counts: the lease is over.
    Standing,
    /// Postgres is out of reach, and it is not remembered or has been for too long.
    CutOff,
}

/// What a question to Postgres brought.
struct Read<F> {
    read_at: Position,
    found: Option<Arc<Remembered<F>>>,
}

impl<F> Clone for Read<F> {
    fn clone(&self) -> Self {
        Self { read_at: self.read_at, found: self.found.clone() }
    }
}

/// Why a question brought nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unread {
    /// Too many unknown handles were looked up.
    OverBudget,
    /// It failed, which is logged where it did.
    Failed,
}

/// A question that several may wait for.
type Flight<F> = Shared<BoxFuture<'static, Result<Read<F>, Unread>>>;

/// What is remembered of one kind of credential.
pub(super) struct Memory<F> {
    cache: Cache<F>,
    absent: Absent,
    flights: Mutex<HashMap<Handle, Flight<F>, ahash::RandomState>>,
    questions: Arc<Questions<F>>,
    unknown: Arc<Budget>,
}

impl<F: Facts> Memory<F> {
    pub(super) fn new(entries_max: usize) -> Self {
        Self {
            cache: Cache::new(entries_max),
            absent: Absent::new(),
            flights: Mutex::default(),
            questions: Arc::default(),
            unknown: Budget::new(UNKNOWN_PER_SECOND),
        }
    }

    /// One that is nobody's, or a stranger's, was asked about.
    ///
    /// # Errors
    /// `Unavailable` while too many were.
    pub(super) fn charge_unknown(&self, now: Moment) -> Result<(), Error> {
        if self.unknown.take(now) { Ok(()) } else { Err(over_budget()) }
    }

    /// From memory alone.
    pub(super) fn recall(&self, node: &Node, handle: Handle) -> Result<Known<F>, Missing> {
        let now = Moment::now();
        let (age, is_offline) = match node.lease.standing(now) {
            Standing::Live { age } => (age, false),
            Standing::Offline { age } => (age, true),
            Standing::Unknown => return Err(Missing::Standing),
        };
        let missing = if is_offline { Missing::CutOff } else { Missing::Entry };
        let entry = self.cache.get(handle, now).ok_or(missing)?;
        let counts = node.marks.counts(entry.read_at(), entry.dependencies());
        if !counts || (is_offline && age >= entry.facts.offline_lease()) {
            return Err(missing);
        }
        Ok(Known { entry, age, now })
    }

    /// What memory does not have. `reserved` is the asker's right to be told that there is nothing; it goes along with the
    /// question, which outlives an asker who goes away.
    ///
    /// # Errors
    /// `Unavailable` when nothing can be known until `deadline`; `OverBudget`.
    pub(super) async fn look_up(
        self: &Arc<Self>,
        engine: &Engine,
        node: &Arc<Node>,
        presented: Presented,
        deadline: Instant,
        mut reserved: Option<Reserved>,
    ) -> Result<Option<Known<F>>, Error> {
        let handle = presented.handle;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(cannot_know("the database"));
            }
            match self.recall(node, handle) {
                Ok(known) => return Ok(Some(known)),
                Err(Missing::CutOff) => return Err(cannot_know("the database")),
                Err(Missing::Standing) => {
                    node.change_of_standing(left).await.ok_or_else(|| cannot_know("the database"))?;
                    continue;
                }
                Err(Missing::Entry) => {}
            }
            let now = Moment::now();
            let hash = node.hash_handle(F::KIND, handle);
            if self.absent.holds(hash, handle, &node.marks, now) {
                charge(reserved, now);
                return Ok(None);
            }
            let flight = self.join(engine, node, presented, &mut reserved);
            let read = match tokio::time::timeout(left, flight).await {
                Ok(Ok(read)) => read,
                Ok(Err(Unread::OverBudget)) => return Err(over_budget()),
                Ok(Err(Unread::Failed)) | Err(_) => return Err(cannot_know("the database")),
            };
            // Whoever joined may have come after a change that the question was too early for.
            let dependencies = read.found.as_ref().map_or(Dependencies::of_handle(hash), |entry| *entry.dependencies());
            let now = Moment::now();
            let is_live = matches!(node.lease.standing(now), Standing::Live { .. });
            if is_live && node.marks.counts(read.read_at, &dependencies) {
                if read.found.is_none() {
                    charge(reserved, now);
                }
                return Ok(read.found.map(|entry| Known { entry, age: Duration::ZERO, now }));
            }
        }
    }

    /// Asks Postgres, or waits with those who have asked.
    fn join(
        self: &Arc<Self>,
        engine: &Engine,
        node: &Arc<Node>,
        presented: Presented,
        reserved: &mut Option<Reserved>,
    ) -> Flight<F> {
        let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = flights.get(&presented.handle) {
            return flight.clone();
        }
        let (memory, engine, node) = (Arc::clone(self), engine.clone(), Arc::clone(node));
        let reserved = reserved.take();
        // A task of its own: whoever asked first may go away, and the others still wait.
        let reading = tokio::spawn(async move {
            // What it brought is in memory before the flight is over, so who comes next finds it there.
            let _landing = Landing { memory: &memory, handle: presented.handle };
            let read = memory.read(&engine, &node, presented).await;
            if read.as_ref().is_ok_and(|read| read.found.is_none()) {
                charge(reserved, Moment::now());
            }
            read
        });
        let flight = reading.map(|joined| joined.unwrap_or(Err(Unread::Failed))).boxed().shared();
        flights.insert(presented.handle, flight.clone());
        flight
    }

    async fn read(&self, engine: &Engine, node: &Arc<Node>, presented: Presented) -> Result<Read<F>, Unread> {
        let handle = presented.handle;
        let reserved = match self.unknown.reserve(Instant::now() + READ_MAX).await {
            Ok(reserved) => reserved,
            Err(NoneLeft::Spent) => return Err(Unread::OverBudget),
            Err(NoneLeft::Late) => return Err(Unread::Failed),
        };
        let source = (engine.clone(), Arc::clone(node));
        let answer = tokio::time::timeout(READ_MAX, self.questions.ask(&source, handle)).await;
        let Ok(Some(Answer { read_at, found })) = answer else { return Err(Unread::Failed) };
        let now = Moment::now();
        let hash = node.hash_handle(F::KIND, handle);
        metrics::counter!("tronch_cold_reads_total", "found" => if found.is_some() { "yes" } else { "no" })
            .increment(1);
        let Some((facts, known)) = found else {
            reserved.charge(now);
            self.absent.insert(hash, handle, presented.created_ms, read_at, (now, clock::at(now)));
            return Ok(Read { read_at, found: None });
        };
        if number_of(known) < read_at.number() {
            // It follows another server, and is behind what this process knows already.
            cannot_know("a server of the database that is not behind").log_if_ours();
            return Err(Unread::Failed);
        }
        Ok(Read { read_at, found: Some(self.remember(node, handle, read_at, facts)) })
    }

    fn remember(&self, node: &Node, handle: Handle, read_at: Position, facts: F) -> Arc<Remembered<F>> {
        let dependencies = Dependencies::new(node.hash_handle(F::KIND, handle), facts.shared(node));
        let entry = Arc::new(Remembered::new(handle, (read_at, dependencies), facts, Moment::now()));
        self.cache.insert(Arc::clone(&entry));
        entry
    }

    /// Takes in what was read before anybody asked: at `read_at`, from a server that knew the change of that number.
    pub(super) fn take_in(&self, node: &Node, handle: Handle, read_at: Position, (facts, known): Found<F>) {
        if number_of(known) >= read_at.number() {
            self.remember(node, handle, read_at, facts);
        }
    }
}

impl<F: Facts> Source<F> for (Engine, Arc<Node>) {
    fn position(&self) -> Position {
        self.1.marks.position()
    }

    fn read(&self, handles: &[Handle]) -> impl Future<Output = Result<Rows<F>, Error>> + Send {
        F::read(&self.0, handles)
    }
}

/// Takes a flight off the list, also when it crashed.
struct Landing<'a, F> {
    memory: &'a Memory<F>,
    handle: Handle,
}

impl<F> Drop for Landing<'_, F> {
    fn drop(&mut self) {
        self.memory.flights.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.handle);
    }
}

/// Too many unknown handles have been looked up.
pub(super) fn over_budget() -> Error {
    metrics::counter!("tronch_unknown_handles_refused_total").increment(1);
    Error::OverBudget
}

/// The same, or that those who are looking them up took too long.
pub(super) fn none_left(none: NoneLeft) -> Error {
    match none {
        NoneLeft::Spent => over_budget(),
        NoneLeft::Late => cannot_know("the database"),
    }
}

fn charge(reserved: Option<Reserved>, now: Moment) {
    if let Some(reserved) = reserved {
        reserved.charge(now);
    }
}

fn number_of(known: i64) -> u64 {
    u64::try_from(known).unwrap_or(0)
}

fn cannot_know(what: &'static str) -> Error {
    Error::Unavailable { what, source: None }
}
