//! The thread that renews the lease and takes in what has changed. It has connections and a runtime of its own, so that no
//! flood of requests comes before it.
//!
//! Where Postgres is slow, answers that come too late to make anything live still tell what has changed, and how old memory
//! is. So they are waited for, on a connection that is kept for as long as anything comes on it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use diesel_async::{AsyncPgConnection, SimpleAsyncConnection as _};
use futures_util::future::{BoxFuture, Shared};
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, sleep_until, timeout};

use super::Node;
use super::apply::{Applier, Meaning, Question};
use super::lease::{Keeper, LEASE, PATIENCE, RENEWAL_INTERVAL, UNANSWERED};
use super::log::{self, Kind, Logged, Renewal};
use super::marks::Touched;
use crate::clock::{self, Moment};
use crate::db;
use crate::error::Error;

/// How long the listener waits before it connects again, and for something to be said.
const LISTENER_RETRY: Duration = Duration::from_secs(1);
const LISTENER_SILENCE: Duration = Duration::from_secs(10);

/// How long leaving the list may take: the row also goes by itself.
const FAREWELL: Duration = Duration::from_millis(500);

/// Starts the thread.
pub(super) fn start(node: Arc<Node>, url: String) -> std::io::Result<std::thread::JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("lease".to_owned()).spawn(move || {
        runtime.block_on(async {
            let listener = tokio::spawn(listen(Arc::clone(&node), url.clone()));
            Follower::new(node, url).follow().await;
            listener.abort();
        });
    })
}

/// A connection, and since when.
type Connected = (Arc<AsyncPgConnection>, Moment);

/// A connection, or the attempt to make one, for which several wait.
#[derive(Clone)]
struct Line {
    number: u64,
    connection: Shared<BoxFuture<'static, Result<Connected, Arc<Error>>>>,
    /// When it last answered.
    heard: Moment,
}

impl Line {
    fn dial(number: u64, url: String) -> Self {
        let connected = async move {
            let late = |late| Err(Error::database_unavailable(late));
            let connection = timeout(PATIENCE, connect(&url)).await.unwrap_or_else(late);
            connection.map(|connection| (Arc::new(connection), Moment::now())).map_err(Arc::new)
        };
        Self { number, connection: connected.boxed().shared(), heard: Moment::from_nanos(0) }
    }

    /// For how long nothing has come on it. `None` while it is not connected: an attempt has its own end.
    fn silence(&self, now: Moment) -> Option<Duration> {
        let (_, since) = self.connection.peek()?.as_ref().ok()?;
        Some(now.since(self.heard.max(*since)))
    }
}

/// A renewal under way.
struct Asked {
    question: Question,
    /// On which it was sent.
    line: u64,
    sent: Moment,
    unanswered_at: Instant,
    is_counted: bool,
}

/// What became of one.
struct Answered {
    number: u64,
    line: Line,
    outcome: Result<Renewal, Arc<Error>>,
    received: Moment,
}

struct Follower {
    node: Arc<Node>,
    url: String,
    keeper: Keeper,
    /// The one that renewals are sent on.
    line: Option<Line>,
    /// Another, tried because nothing has come on that one for long. It takes its place when it has answered.
    next: Option<Line>,
    /// The latest that has answered. Where an earlier one leads there may be a server by now that is none any more.
    answering: u64,
    applier: Applier,
    asked: Vec<Asked>,
    answers: JoinSet<Answered>,
    count: u64,
    /// The latest that was answered.
    newest: u64,
    /// The renewal that somebody wished for; others who wish meanwhile get the next one.
    wished: Option<u64>,
    /// When nodes were counted last, and since when they have been without a gap.
    counted_at: Moment,
    resumed_at: Moment,
}

impl Follower {
    fn new(node: Arc<Node>, url: String) -> Self {
        Self {
            node,
            url,
            keeper: Keeper::new(Moment::now()),
            line: None,
            next: None,
            answering: 0,
            applier: Applier::default(),
            asked: Vec::new(),
            answers: JoinSet::new(),
            count: 0,
            newest: 0,
            wished: None,
            counted_at: Moment::now(),
            resumed_at: Moment::from_nanos(0),
        }
    }

    async fn follow(mut self) {
        let mut ticks = tokio::time::interval(RENEWAL_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let overdue = self.asked.iter().filter(|asked| !asked.is_counted).map(|asked| asked.unanswered_at).min();
            tokio::select! {
                () = self.node.stop.cancelled() => break,
                Some(Ok(answered)) = self.answers.join_next() => {
                    self.look();
                    self.take(answered);
                }
                () = self.node.wish.notified(), if self.wished.is_none() => {
                    self.look();
                    self.wished = Some(self.ask());
                }
                _ = ticks.tick() => {
                    self.look();
                    if self.keeper.may_send(Moment::now(), self.asked.iter().map(|asked| asked.sent)) {
                        self.ask();
                    }
                    self.try_another();
                }
                () = sleep_until(overdue.unwrap_or_else(Instant::now)), if overdue.is_some() => {
                    self.look();
                    self.count_unanswered();
                }
            }
        }
        self.leave().await;
    }

    fn look(&mut self) {
        if self.keeper.look(&self.node.lease, Moment::now()) {
            // Whoever waits may go on as one who is cut off.
            self.node.renewals.send_modify(|_| {});
        }
    }

    /// Sends a renewal, behind those that have no answer yet.
    fn ask(&mut self) -> u64 {
        let (number, url) = (self.count, &self.url);
        let line = self.line.get_or_insert_with(|| Line::dial(number, url.clone())).clone();
        self.ask_on(line)
    }

    fn ask_on(&mut self, line: Line) -> u64 {
        self.count += 1;
        let (number, sent, position) = (self.count, Moment::now(), self.node.marks.position());
        let (question, unanswered_at) = (Question { number, position }, Instant::now() + UNANSWERED);
        self.asked.push(Asked { question, line: line.number, sent, unanswered_at, is_counted: false });
        let (joins, lineage) = (self.applier.joins(number), self.applier.lineage().map(str::to_owned));
        let (node, applied) = (Arc::clone(&self.node), position.number());
        self.answers.spawn(async move {
            let renewed = async {
                let (connection, _) = line.connection.clone().await?;
                if joins {
                    let listed = log::insert_node(&connection, node.id, &node.name, &node.keyring.ids(), true).await;
                    listed.map_err(Arc::new)?;
                }
                log::renew(&connection, node.id, applied, lineage.as_deref()).await.map_err(Arc::new)
            };
            let late = |late| Err(Arc::new(Error::database_unavailable(late)));
            let outcome = timeout(PATIENCE, renewed).await.unwrap_or_else(late);
            Answered { number, line, outcome, received: Moment::now() }
        });
        number
    }

    /// Connects anew when nothing has come on the line for longer than a renewal counts, though it was asked.
    fn try_another(&mut self) {
        let now = Moment::now();
        let Some(line) = self.line.as_ref().filter(|_| self.next.is_none()) else { return };
        let is_silent = line.silence(now).is_some_and(|silence| silence > LEASE);
        if is_silent && self.asked.iter().any(|asked| asked.line == line.number && now.since(asked.sent) > LEASE) {
            let next = Line::dial(self.count, self.url.clone());
            self.next = Some(next.clone());
            self.ask_on(next);
        }
    }

    fn take(&mut self, answered: Answered) {
        let Some(at) = self.asked.iter().position(|asked| asked.question.number == answered.number) else { return };
        let asked = self.asked.remove(at);
        if self.wished == Some(answered.number) {
            self.wished = None;
        }
        let line = answered.line;
        match answered.outcome {
            Ok(renewal) => {
                if line.number < self.answering && self.applier.lineage() != Some(renewal.lineage.as_str()) {
                    tracing::debug!("a renewal was answered by a server that another has taken the place of");
                    return self.lost(&asked);
                }
                self.heard(line, answered.received);
                self.renewed(&asked, answered.received, renewal);
            }
            Err(error) => {
                tracing::debug!(error.causes = ?error.causes(), "a renewal failed: {error}");
                // Those still on it fail by themselves.
                let is_on =
                    |current: &Option<Line>| current.as_ref().is_some_and(|current| current.number == line.number);
                if is_on(&self.line) {
                    self.line = self.next.take();
                } else if is_on(&self.next) {
                    self.next = None;
                }
                self.lost(&asked);
            }
        }
    }

    fn heard(&mut self, line: Line, received: Moment) {
        if line.number < self.answering {
            return;
        }
        if line.number > self.answering {
            // What was wished for on the other may never be answered.
            self.wished = None;
            self.answering = line.number;
        }
        if self.next.as_ref().is_some_and(|next| next.number <= line.number) {
            self.next = None;
        }
        self.line = Some(Line { heard: received, ..line });
    }

    fn renewed(&mut self, asked: &Asked, received: Moment, renewal: Renewal) {
        clock::adopt(asked.sent, received, renewal.clock_ms);
        if asked.question.number > self.newest {
            self.newest = asked.question.number;
            self.count_nodes(received, renewal.nodes);
            // Without it keys are checked all the same, and none can be made.
            let is_missing = !self.node.keyring.follow(&renewal.current_master);
            metrics::gauge!("tronch_master_missing").set(f64::from(u8::from(is_missing)));
        }
        let (node, before) = (&self.node, self.node.marks.position());
        let touched = |change: &Logged| match (change.kind, change.subject.parse()) {
            (kind @ (Kind::Key | Kind::Token), Ok(handle)) => Touched::Handle(node.hash_handle(kind, handle)),
            (kind, _) => Touched::Shared(node.hash_shared(kind, &change.subject)),
        };
        let meaning = self.applier.apply(&node.marks, asked.question, &renewal, touched);
        match meaning {
            Meaning::Nothing => self.lost(asked),
            Meaning::Told => {}
            Meaning::Renewed => {
                self.keeper.renewed(&self.node.lease, asked.sent);
                self.node.renewals.send_modify(|sent| *sent = asked.sent.max(*sent));
            }
        }
        if meaning == Meaning::Told || self.node.marks.position() != before {
            // The next one counts, and tells whoever waits for this process how far it is.
            self.node.wish.notify_one();
        }
    }

    /// After a time without Postgres the others were not heard of either, and are still there.
    fn count_nodes(&mut self, now: Moment, nodes: u64) {
        let lasts = Duration::from_secs_f64(log::HEARD_OF_SECONDS);
        if now.since(std::mem::replace(&mut self.counted_at, now)) > lasts / 2 {
            self.resumed_at = now;
        }
        let known = if now.since(self.resumed_at) < lasts { self.node.nodes.load(Ordering::Relaxed) } else { 0 };
        self.node.nodes.store(nodes.max(known), Ordering::Relaxed);
    }

    fn lost(&mut self, asked: &Asked) {
        if !asked.is_counted {
            self.fail(asked.sent);
        }
    }

    fn count_unanswered(&mut self) {
        let now = Instant::now();
        let overdue: Vec<Moment> = self
            .asked
            .iter_mut()
            .filter(|asked| !asked.is_counted && asked.unanswered_at <= now)
            .map(|asked| {
                asked.is_counted = true;
                asked.sent
            })
            .collect();
        overdue.into_iter().for_each(|sent| self.fail(sent));
    }

    fn fail(&mut self, sent: Moment) {
        self.keeper.failed(&self.node.lease, sent);
        metrics::counter!("tronch_lease_renewals_failed_total").increment(1);
        // Whoever waits may go on as one who is cut off.
        self.node.renewals.send_modify(|_| {});
    }

    async fn leave(mut self) {
        self.answers.abort_all();
        let farewell = async {
            let mut connection = connect(&self.url).await?;
            log::delete_node(&mut connection, self.node.id).await
        };
        if !matches!(timeout(FAREWELL, farewell).await, Ok(Ok(()))) {
            tracing::debug!("this process stays on the list of nodes for some minutes");
        }
    }
}

async fn connect(url: &str) -> Result<AsyncPgConnection, Error> {
    db::establish(url).await.map_err(Error::database_unavailable)
}

/// Wishes for a renewal whenever Postgres says that something has changed. Without it changes are seen all the same, with
/// the next renewal.
async fn listen(node: Arc<Node>, url: String) {
    loop {
        if let Err(error) = listen_once(&node, &url).await {
            tracing::debug!(error.causes = ?error.causes(), "the word of changes does not arrive: {error}");
        }
        tokio::time::sleep(LISTENER_RETRY).await;
    }
}

async fn listen_once(node: &Node, url: &str) -> Result<(), Error> {
    let late = |elapsed: tokio::time::error::Elapsed| Error::database_unavailable(elapsed);
    let mut connection = timeout(PATIENCE, connect(url)).await.map_err(late)??;
    let listening = connection.batch_execute("LISTEN tronch_changes");
    timeout(PATIENCE, listening).await.map_err(late)?.map_err(Error::from)?;
    // What was said before is heard by nobody.
    node.wish.notify_one();
    loop {
        let word = {
            let mut words = std::pin::pin!(connection.notifications_stream());
            timeout(LISTENER_SILENCE, words.next()).await
        };
        match word {
            Ok(Some(Ok(_))) => node.wish.notify_one(),
            Ok(Some(Err(error))) => return Err(Error::from(error)),
            Ok(None) => return Ok(()),
            // Nothing was said, or the line is dead: only asking tells.
            Err(_) => {
                timeout(PATIENCE, connection.batch_execute("SELECT 1")).await.map_err(late)?.map_err(Error::from)?
            }
        }
    }
}
