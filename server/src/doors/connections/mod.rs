//! The connections of a listener: how many there may be, and how long a client may take over what it sends and reads. Each
//! connection writes down when something last moved on it, and one task looks at all of them four times a second: so a
//! request starts no timer.
//!
//! HTTP/1.1 alone is spoken. [Why](../../../../docs/decisions/0031-connections.md).

mod watched;

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use axum::body::{Body, HttpBody as _};
use axum::extract::Request;
use axum::response::Response;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustix::net::sockopt::set_socket_send_buffer_size;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use watched::{Answering, Asked, Connection, Moved, Now, Reason, Told, Watched};

/// The longest head of a request that is read, in bytes: its line and its header fields.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// How much is read ahead of a connection, in bytes, and written into it.
const BUFFER_BYTES: usize = 64 * 1024;

/// How much of an answer the system takes at once, in bytes. With more, it would say of a client who reads slowly that he reads nothing,
/// for as long as a third of it lasts.
const SEND_BUFFER_BYTES: usize = 128 * 1024;

/// How often all connections are looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// How often at most where there is no room.
const ROOM_INTERVAL: Duration = Duration::from_millis(25);

/// How long to wait where the system has no more files for connections.
const NO_FILES_PAUSE: Duration = Duration::from_millis(500);

/// What clients may take.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Whose connections, as metrics call it.
    pub listener: &'static str,
    /// How many connections there are at once. Where they are all taken, some are closed that wait for nothing, or for their client.
    pub connections: usize,
    /// From the first byte of a request's head to its last, and while no more of a body comes.
    pub head: Duration,
    /// While nothing is asked. Longer than clients and proxies usually keep a connection that they do not use, so that
    /// it is theirs to close.
    pub idle: Duration,
    /// While nothing is taken of an answer.
    pub unread: Duration,
}

impl Patience {
    /// What is usual, with so many connections.
    pub const fn usual(listener: &'static str, connections: usize) -> Self {
        Self {
            listener,
            connections,
            head: Duration::from_secs(10),
            idle: Duration::from_secs(120),
            unread: Duration::from_secs(60),
        }
    }
}

/// Serves until stopped, and until what was under way then is answered.
pub(crate) async fn serve<A, F>(listener: TcpListener, patience: Patience, stop: CancellationToken, answer: A)
where
    A: Fn(SocketAddr, Request) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response> + Send,
{
    let all = Arc::new(Connections::new(patience));
    let _watching = AbortOnDropHandle::new(tokio::spawn(watch(Arc::clone(&all))));
    while let Some((stream, peer)) = stop.run_until_cancelled(next(&listener, &all)).await {
        let (counted, connection) = all.add();
        let answer = answer.clone();
        tokio::spawn(async move {
            serve_one(stream, peer, &connection, &answer).await;
            drop(counted);
        });
    }
    drop(listener);
    all.tell_all(Told::Finish);
    all.none_left().await;
}

/// The next connection for which there is room.
async fn next(listener: &TcpListener, all: &Connections) -> (TcpStream, SocketAddr) {
    loop {
        all.room().await;
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(error) if is_the_clients(&error) => {}
            Err(error) => {
                tracing::error!(%error, "a connection could not be taken; trying again");
                tokio::time::sleep(NO_FILES_PAUSE).await;
            }
        }
    }
}

/// Whether it is the connection's fault that it did not come about, and the next one may.
fn is_the_clients(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionRefused | ConnectionAborted | ConnectionReset)
}

async fn serve_one<A, F>(stream: TcpStream, peer: SocketAddr, connection: &Arc<Connection>, answer: &A)
where
    A: Fn(SocketAddr, Request) -> F,
    F: Future<Output = Response>,
{
    // Answers are written whole: waiting for more of them would only make them late.
    let prepared = stream.set_nodelay(true).and_then(|()| Ok(set_socket_send_buffer_size(&stream, SEND_BUFFER_BYTES)?));
    if let Err(error) = prepared {
        tracing::debug!(%error, "a connection is gone already");
        return;
    }
    let service = service_fn(|request: hyper::Request<Incoming>| async move {
        connection.begin(!request.body().is_end_stream());
        let asked = request.map(|body| Body::new(Asked::new(body, Arc::clone(connection))));
        let response = answer(peer, asked).await;
        if response.body().size_hint().exact().is_some() {
            connection.end();
            return Ok::<_, Infallible>(response);
        }
        let answering = Answering(Arc::clone(connection));
        Ok(response.map(|body| Body::new(body.map_frame(move |frame| answering.passes(frame)))))
    });
    let stream = TokioIo::new(Watched::new(stream, connection));
    let mut http = http1::Builder::new();
    http.max_header_size(HEAD_BYTES_MAX).max_buf_size(BUFFER_BYTES);
    let mut served = pin!(http.serve_connection(stream, service));
    let mut finishing = false;
    let outcome = std::future::poll_fn(|context| {
        loop {
            if let Poll::Ready(outcome) = served.as_mut().poll(context) {
                return Poll::Ready(outcome);
            }
            match connection.told(context.waker()) {
                Some(Told::Cut) => return Poll::Ready(Ok(())),
                Some(Told::Finish) if !finishing => {
                    finishing = true;
                    served.as_mut().graceful_shutdown();
                }
                Some(Told::Finish) | None => return Poll::Pending,
            }
        }
    });
    if let Err(error) = outcome.await {
        tracing::debug!(%error, "a connection ended before its time");
    }
}

/// All connections of a listener.
struct Connections {
    patience: Patience,
    opened: Instant,
    now: Arc<Now>,
    next_id: AtomicU64,
    all: Mutex<HashMap<u64, Arc<Connection>>>,
    /// One is gone.
    fewer: Notify,
    /// There is no room for the next.
    full: Notify,
}

impl Connections {
    fn new(patience: Patience) -> Self {
        Self {
            patience,
            opened: Instant::now(),
            now: Arc::default(),
            next_id: AtomicU64::new(0),
            all: Mutex::default(),
            fewer: Notify::new(),
            full: Notify::new(),
        }
    }

    fn with<T>(&self, work: impl FnOnce(&mut HashMap<u64, Arc<Connection>>) -> T) -> T {
        // Nothing that could panic is done under the lock.
        work(&mut self.all.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn add(self: &Arc<Self>) -> (Counted, Arc<Connection>) {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let connection = Arc::new(Connection::new(self.patience.listener, Arc::clone(&self.now)));
        self.with(|all| all.insert(id, Arc::clone(&connection)));
        (Counted { all: Arc::clone(self), id }, connection)
    }

    fn tell_all(&self, told: Told) {
        self.with(|all| all.values().for_each(|connection| connection.tell(told)));
    }

    async fn room(&self) {
        if self.with(|all| all.len()) >= self.patience.connections {
            self.full.notify_one();
            self.at_most(self.patience.connections.saturating_sub(1)).await;
        }
    }

    async fn none_left(&self) {
        self.at_most(0).await;
    }

    async fn at_most(&self, count: usize) {
        loop {
            // Before it is counted, so that none goes unnoticed in between.
            let mut fewer = pin!(self.fewer.notified());
            fewer.as_mut().enable();
            if self.with(|all| all.len()) <= count {
                return;
            }
            fewer.await;
        }
    }

    /// Cuts off whoever had longer than is right. Where there is no room left, a tenth is made: of those that wait for nothing, and where
    /// those are too few of those that wait for their client, the longest first.
    fn look(&self) {
        let now = self.now.set(self.opened.elapsed());
        let (mut idle, mut slow) = (Vec::new(), Vec::new());
        let all: Vec<Arc<Connection>> = self.with(|all| all.values().cloned().collect());
        metrics::gauge!("tronch_connections", "listener" => self.patience.listener).set(all.len() as f64);
        for connection in &all {
            match connection.moved(now) {
                Moved::Unread(since) if since > self.patience.unread => connection.cut(Reason::Unread),
                Moved::Head(since) if since > self.patience.head => connection.cut(Reason::Head),
                Moved::Body(since) if since > self.patience.head => connection.cut(Reason::Body),
                Moved::Idle(since) if since > self.patience.idle => connection.cut(Reason::Idle),
                Moved::Head(since) | Moved::Idle(since) => idle.push((since, connection)),
                Moved::Unread(since) | Moved::Body(since) => slow.push((since, connection)),
                Moved::Answering => {}
            }
        }
        if all.len() >= self.patience.connections {
            let room = (self.patience.connections / 10).max(1);
            longest(&mut idle, room).for_each(|connection| connection.cut(Reason::Room));
            let rest = room.saturating_sub(idle.len());
            longest(&mut slow, rest).for_each(|connection| connection.cut(Reason::Slow));
        }
    }
}

/// So many of those that have waited longest.
fn longest<'a>(
    waiting: &mut [(Duration, &'a Arc<Connection>)],
    most: usize,
) -> impl Iterator<Item = &'a Arc<Connection>> {
    waiting.sort_unstable_by_key(|(since, _)| std::cmp::Reverse(*since));
    waiting.iter().take(most).map(|(_, connection)| *connection)
}

/// A connection among all of them, until this is dropped: also by a panic.
struct Counted {
    all: Arc<Connections>,
    id: u64,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.all.with(|all| all.remove(&self.id));
        self.all.fewer.notify_waiters();
    }
}

async fn watch(all: Arc<Connections>) {
    let mut ticks = tokio::time::interval(LOOK_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = all.full.notified() => tokio::time::sleep(ROOM_INTERVAL).await,
        }
        all.look();
    }
}
