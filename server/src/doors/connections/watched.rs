//! What is known of one connection: when something last moved on it, and what its task was told to do.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use axum::body::{Bytes, HttpBody};
use futures_util::task::AtomicWaker;
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Quarters of a second since the listener was opened, from 1. 0 is never.
type Quarters = u32;

const QUARTER: Duration = Duration::from_millis(250);

/// Answers up to this length are written in one piece. Those about keys are, and a connection holds on to no more.
const TOGETHER_BYTES_MAX: usize = 2048;

/// What time it is, as of the last look at all connections.
#[derive(Debug)]
pub(super) struct Now(AtomicU32);

impl Default for Now {
    fn default() -> Self {
        Self(AtomicU32::new(1))
    }
}

impl Now {
    pub(super) fn set(&self, since_opened: Duration) -> Quarters {
        let quarters = since_opened.as_millis() / QUARTER.as_millis();
        let now = Quarters::try_from(quarters).unwrap_or(Quarters::MAX).saturating_add(1);
        self.0.store(now, Ordering::Relaxed);
        now
    }

    fn get(&self) -> Quarters {
        self.0.load(Ordering::Relaxed)
    }
}

/// What a connection's task is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// To end, once what is under way is answered: it may have changed something.
    Finish,
    /// To end.
    Cut,
}

const GO_ON: u8 = 0;
const FINISH: u8 = 1;
const CUT: u8 = 2;

/// Why a connection is cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    Head,
    Body,
    Idle,
    Unread,
    Room,
    /// For room as well, of one that waits for its client.
    Slow,
}

impl Reason {
    fn as_str(self) -> &'static str {
        match self {
            Self::Head => "head",
            Self::Body => "body",
            Self::Idle => "idle",
            Self::Unread => "unread",
            Self::Room | Self::Slow => "room",
        }
    }
}

/// What a connection waits for, and since when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moved {
    /// For us.
    Answering,
    /// For the client to send more of a body.
    Body(Duration),
    /// For the client to take what is written.
    Unread(Duration),
    /// For the rest of a request's head.
    Head(Duration),
    /// For a request.
    Idle(Duration),
}

/// One connection. Its own task writes the times, and whoever reads the rest of a body for it the end of that; each stands alone, so no
/// order among them is needed.
#[derive(Debug)]
pub(super) struct Connection {
    listener: &'static str,
    now: Arc<Now>,
    answering: AtomicBool,
    /// A body is not read to its end yet.
    has_body: AtomicBool,
    last: AtomicU32,
    head: AtomicU32,
    body: AtomicU32,
    unread: AtomicU32,
    told: AtomicU8,
    waker: AtomicWaker,
    is_known: AtomicBool,
}

impl Connection {
    pub(super) fn new(listener: &'static str, now: Arc<Now>) -> Self {
        let last = AtomicU32::new(now.get());
        Self {
            listener,
            now,
            answering: AtomicBool::new(false),
            has_body: AtomicBool::new(false),
            last,
            head: AtomicU32::new(0),
            body: AtomicU32::new(0),
            unread: AtomicU32::new(0),
            told: AtomicU8::new(GO_ON),
            waker: AtomicWaker::new(),
            is_known: AtomicBool::new(false),
        }
    }

    /// A request's head is whole.
    pub(super) fn begin(&self, has_body: bool) {
        self.has_body.store(has_body, Ordering::Relaxed);
        self.head.store(0, Ordering::Relaxed);
        self.answering.store(true, Ordering::Relaxed);
    }

    /// All of its answer is there; it is still to be written.
    pub(super) fn end(&self) {
        self.last.store(self.now.get(), Ordering::Relaxed);
        self.answering.store(false, Ordering::Relaxed);
    }

    pub(super) fn moved(&self, now: Quarters) -> Moved {
        let since = |then: Quarters| QUARTER * now.saturating_sub(then);
        match (self.unread.load(Ordering::Relaxed), self.head.load(Ordering::Relaxed)) {
            (0, _) if self.answering.load(Ordering::Relaxed) => match self.body.load(Ordering::Relaxed) {
                0 => Moved::Answering,
                body => Moved::Body(since(body)),
            },
            (0, 0) => Moved::Idle(since(self.last.load(Ordering::Relaxed))),
            (0, head) => Moved::Head(since(head)),
            (unread, _) => Moved::Unread(since(unread)),
        }
    }

    pub(super) fn cut(&self, reason: Reason) {
        let labels = [("listener", self.listener), ("reason", reason.as_str())];
        metrics::counter!("tronch_connections_closed_total", &labels).increment(1);
        // A request may have come just now. Whoever waits for the rest of a body has changed nothing yet.
        let may_be_asking = matches!(reason, Reason::Head | Reason::Idle | Reason::Room);
        self.tell(if may_be_asking { Told::Finish } else { Told::Cut });
    }

    /// A body has no more, or nobody wants it.
    fn end_body(&self) {
        self.body.store(0, Ordering::Relaxed);
        self.has_body.store(false, Ordering::Relaxed);
    }

    pub(super) fn tell(&self, told: Told) {
        let told = match told {
            Told::Finish => FINISH,
            Told::Cut => CUT,
        };
        self.told.fetch_max(told, Ordering::Release);
        // Waking takes the waker away: the task leaves another when it comes by.
        self.is_known.store(false, Ordering::Release);
        self.waker.wake();
    }

    /// What its task was told; the task is woken when that changes.
    pub(super) fn told(&self, waker: &Waker) -> Option<Told> {
        // A task has one waker for its whole life, and nobody polls a connection but its task.
        if !self.is_known.load(Ordering::Acquire) {
            self.is_known.store(true, Ordering::Release);
            self.waker.register(waker);
        }
        match self.told.load(Ordering::Acquire) {
            GO_ON => None,
            FINISH if self.answering.load(Ordering::Relaxed) => Some(Told::Finish),
            // What is being written is written, or cut off when nobody takes it.
            FINISH if self.unread.load(Ordering::Relaxed) != 0 => None,
            _ => Some(Told::Cut),
        }
    }
}

/// The stream of a connection, which writes down what moves on it.
#[derive(Debug)]
pub(super) struct Watched<'a> {
    stream: TcpStream,
    connection: &'a Connection,
    /// Where what is short is put together.
    together: Vec<u8>,
}

impl<'a> Watched<'a> {
    pub(super) fn new(stream: TcpStream, connection: &'a Connection) -> Self {
        Self { stream, connection, together: Vec::new() }
    }

    fn has_read(&self) {
        let connection = self.connection;
        let now = connection.now.get();
        connection.last.store(now, Ordering::Relaxed);
        // What comes before the next answer is its request's head, unless it is the end of a body that nobody wanted.
        let is_head = !connection.answering.load(Ordering::Relaxed) && !connection.has_body.load(Ordering::Relaxed);
        if is_head && connection.head.load(Ordering::Relaxed) == 0 {
            connection.head.store(now, Ordering::Relaxed);
        }
    }

    fn has_written(&self, written: &Poll<io::Result<usize>>) {
        let connection = self.connection;
        match written {
            Poll::Ready(Ok(_)) => {
                connection.unread.store(0, Ordering::Relaxed);
                connection.last.store(connection.now.get(), Ordering::Relaxed);
            }
            Poll::Pending if connection.unread.load(Ordering::Relaxed) == 0 => {
                connection.unread.store(connection.now.get(), Ordering::Relaxed);
            }
            Poll::Pending | Poll::Ready(Err(_)) => {}
        }
    }
}

/// The body of a request, which writes down since when more of it is waited for.
pub(super) struct Asked {
    body: Incoming,
    connection: Arc<Connection>,
}

impl Asked {
    pub(super) fn new(body: Incoming, connection: Arc<Connection>) -> Self {
        Self { body, connection }
    }
}

impl HttpBody for Asked {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        let connection = &self.connection;
        match frame {
            Poll::Ready(_) => connection.body.store(0, Ordering::Relaxed),
            Poll::Pending if connection.body.load(Ordering::Relaxed) == 0 => {
                connection.body.store(connection.now.get(), Ordering::Relaxed);
            }
            Poll::Pending => {}
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.connection.end_body();
    }
}

/// An answer that comes bit by bit is being given until this is dropped, with its body.
pub(super) struct Answering(pub(super) Arc<Connection>);

impl Answering {
    /// Every part of the body goes by it as it is.
    pub(super) fn passes<T>(&self, part: T) -> T {
        part
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl AsyncRead for Watched<'_> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, into);
        if into.filled().len() > before {
            self.has_read();
        }
        read
    }
}

impl AsyncWrite for Watched<'_> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.has_written(&written);
        written
    }

    /// A head and its short body are handed over in one piece: copying a few hundred bytes together costs less than what the system
    /// does about two. What is long is not copied.
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let Self { stream, together, .. } = &mut *self;
        let length: usize = parts.iter().map(|part| part.len()).sum();
        let written = if length <= TOGETHER_BYTES_MAX {
            together.clear();
            parts.iter().for_each(|part| together.extend_from_slice(part));
            Pin::new(stream).poll_write(context, together)
        } else {
            Pin::new(stream).poll_write_vectored(context, parts)
        };
        self.has_written(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
