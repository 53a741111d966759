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
use super::lease::{Keeper, LEASE, PATIENCE, RENEWAL_INTERVAL, UNANSWERED};
use super::log::{self, Kind, Renewal};
use super::marks::Touched;
use crate::clock::{self, Moment};
use crate::db;
use crate::error::Error;

/// How long a connection may take. A network that is back hears the next attempt by then.
const CONNECT: Duration = Duration::from_secs(2);

/// How long the listener waits before it connects again, and for a sign of life.
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
            let connection = timeout(CONNECT, connect(&url)).await.unwrap_or_else(late);
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
    number: u64,
    /// On which it was sent.
    line: u64,
    sent: Moment,
    /// Where this process was when it asked.
    applied: u64,
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
    /// The one that answered last, or the next.
    line: Option<Line>,
    /// The latest that has answered. Where an earlier one leads there may be a server by now that is none any more.
    answering: u64,
    lineage: Option<String>,
    asked: Vec<Asked>,
    answers: JoinSet<Answered>,
    count: u64,
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
            answering: 0,
            lineage: None,
            asked: Vec::new(),
            answers: JoinSet::new(),
            count: 0,
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
                    self.take(answered).await;
                }
                () = self.node.wish.notified(), if self.wished.is_none() => {
                    self.look();
                    self.wished = Some(self.ask());
                }
                _ = ticks.tick() => {
                    self.look();
                    self.ask();
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
        self.keeper.look(&self.node.lease, Moment::now());
    }

    /// Sends a renewal, behind those that have no answer yet.
    fn ask(&mut self) -> u64 {
        self.count += 1;
        let (number, sent) = (self.count, Moment::now());
        let applied = self.node.marks.position().number();
        let unanswered_at = Instant::now() + UNANSWERED;
        let (line, id) = (self.line_at(sent), self.node.id);
        self.asked.push(Asked { number, line: line.number, sent, applied, unanswered_at, is_counted: false });
        self.answers.spawn(async move {
            let renewed = async {
                let (connection, _) = line.connection.clone().await?;
                log::renew(&connection, id, applied).await.map_err(Arc::new)
            };
            let late = |late| Err(Arc::new(Error::database_unavailable(late)));
            let outcome = timeout(PATIENCE, renewed).await.unwrap_or_else(late);
            Answered { number, line, outcome, received: Moment::now() }
        });
        number
    }

    /// The line there is; another when nothing has come on it for longer than a renewal counts, though it was asked.
    fn line_at(&mut self, now: Moment) -> Line {
        if let Some(line) = &self.line
            && line.silence(now).is_some_and(|silence| silence > LEASE)
            && self.asked.iter().any(|asked| asked.line == line.number && now.since(asked.sent) > LEASE)
        {
            self.line = None;
            self.wished = None;
        }
        self.line.get_or_insert_with(|| Line::dial(self.count, self.url.clone())).clone()
    }

    async fn take(&mut self, answered: Answered) {
        let Some(at) = self.asked.iter().position(|asked| asked.number == answered.number) else { return };
        let asked = self.asked.remove(at);
        if self.wished == Some(asked.number) {
            self.wished = None;
        }
        let mut line = answered.line;
        let is_older = line.number < self.answering;
        match answered.outcome {
            Ok(renewal) if is_older && self.lineage.as_ref() != Some(&renewal.lineage) => {
                tracing::debug!("a renewal was answered by a server that another has taken the place of");
                self.lost(&asked);
            }
            Ok(renewal) => {
                if !is_older {
                    line.heard = answered.received;
                    self.answering = line.number;
                    self.line = Some(line);
                }
                self.renewed(&asked, answered.received, renewal).await;
            }
            Err(error) => {
                tracing::debug!(error.causes = ?error.causes(), "a renewal failed: {error}");
                // Those still on it fail by themselves.
                if self.line.as_ref().is_some_and(|current| current.number == line.number) {
                    self.line = None;
                }
                self.lost(&asked);
            }
        }
    }

    async fn renewed(&mut self, asked: &Asked, received: Moment, renewal: Renewal) {
        clock::adopt(asked.sent, received, renewal.clock_ms);
        self.count_nodes(received, renewal.nodes);
        if !renewal.is_known {
            // Nobody has waited for this process meanwhile.
            return self.rejoin().await;
        }
        // Without it keys are checked all the same, and none can be made.
        let is_missing = !self.node.keyring.follow(&renewal.current_master);
        metrics::gauge!("tronch_master_missing").set(f64::from(u8::from(is_missing)));
        let before = self.node.marks.position().number();
        self.take_in(asked.applied, renewal);
        self.keeper.renewed(&self.node.lease, asked.sent);
        self.node.renewals.send_replace(asked.sent);
        if self.node.marks.position().number() != before {
            // So that whoever waits for this process sees how far it is.
            self.wished = Some(self.ask());
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

    fn take_in(&mut self, applied: u64, renewal: Renewal) {
        let marks = &self.node.marks;
        let position = marks.position().number();
        let is_another = self.lineage.as_ref().is_some_and(|lineage| *lineage != renewal.lineage);
        if is_another || renewal.head < applied {
            tracing::error!(
                database.was = self.lineage,
                database.is = renewal.lineage,
                changes.were = position,
                changes.are = renewal.head,
                "the database is not the one it was, or has gone back: everything remembered was forgotten. After a \
                 failover or a restored backup, look whether revocations were lost"
            );
            metrics::counter!("tronch_cache_forgotten_total", "why" => "another_database").increment(1);
            marks.forget_everything(renewal.head);
        } else if renewal.head < position {
            // A later question was answered before, on another connection.
        } else if let Some(changes) = renewal.changes {
            let new = || changes.iter().filter(|change| change.number > position);
            marks.advance(renewal.head, new().map(|change| self.touched(change.kind, &change.subject)));
            let mut last = position;
            for change in new().filter(|change| std::mem::replace(&mut last, change.number) != change.number) {
                let took_ms = u32::try_from(renewal.clock_ms - change.at_ms).unwrap_or(0);
                metrics::histogram!("tronch_revocation_propagation_seconds").record(f64::from(took_ms) / 1000.0);
            }
        } else {
            tracing::warn!(
                changes.were = position,
                changes.are = renewal.head,
                "too far behind the change log: everything remembered was forgotten"
            );
            metrics::counter!("tronch_cache_forgotten_total", "why" => "too_far_behind").increment(1);
            marks.forget_everything(renewal.head);
        }
        self.lineage = Some(renewal.lineage);
    }

    fn touched(&self, kind: Kind, subject: &str) -> Touched {
        match (kind, subject.parse()) {
            (Kind::Key | Kind::Token, Ok(handle)) => Touched::Handle(self.node.hash_handle(kind, handle)),
            _ => Touched::Shared(self.node.hash_shared(kind, subject)),
        }
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

    async fn rejoin(&mut self) {
        tracing::warn!("this process was taken off the list of nodes: everything remembered was forgotten");
        metrics::counter!("tronch_cache_forgotten_total", "why" => "off_the_list").increment(1);
        let node = &self.node;
        let joined = async {
            let mut connection = connect(&self.url).await?;
            log::insert_node(&mut connection, node.id, &node.name, &node.keyring.ids()).await
        };
        match timeout(LEASE, joined).await {
            Ok(Ok(number)) => node.marks.forget_everything(number),
            Ok(Err(error)) => tracing::warn!(error.causes = ?error.causes(), "and could not be put back: {error}"),
            Err(_) => tracing::warn!("and could not be put back in time"),
        }
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
    let mut connection = timeout(CONNECT, connect(url)).await.map_err(late)??;
    let listening = connection.batch_execute("LISTEN tronch_changes");
    timeout(LISTENER_RETRY, listening).await.map_err(late)?.map_err(Error::from)?;
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
            Err(_) => timeout(LISTENER_RETRY, connection.batch_execute("SELECT 1"))
                .await
                .map_err(late)?
                .map_err(Error::from)?,
        }
    }
}
