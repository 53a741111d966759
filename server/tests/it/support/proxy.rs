//! A proxy before Postgres, or Redis, that does what networks do: it hangs, cuts, is late, and loses the word of changes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

/// What the network does right now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weather {
    /// Everything passes.
    Fair,
    /// Connections stay and nothing passes, in either direction.
    Hanging,
    /// Every connection is closed, and none is taken.
    Cut,
    /// What Postgres says to the connection that listens for changes does not arrive.
    WordLost,
    /// The answers to validations' reads do not arrive; whatever else does.
    ReadsHeld,
    /// Postgres hears everything, and nothing that it says arrives.
    AnswersHeld,
    /// Everything passes; what Postgres says arrives so much later.
    AnswersLate(Duration),
}

/// What a connection is for, by what it asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Listener,
    Reads,
    Other,
}

/// The proxy. It ends with this value.
pub struct Proxy {
    /// The database behind it.
    pub url: String,
    weather: watch::Sender<Weather>,
    reads: Arc<AtomicUsize>,
    listening: tokio::task::JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.listening.abort();
        self.weather.send_replace(Weather::Cut);
    }
}

impl Proxy {
    /// Before the server of `database_url`.
    pub async fn before(database_url: &str) -> Self {
        let (start, rest) = database_url.split_once('@').expect("a URL with a user");
        let (server, database) = rest.split_once('/').expect("a URL with a database");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("{start}@{}/{database}", listener.local_addr().expect("an address"));
        let weather = watch::Sender::new(Weather::Fair);
        let (server, watched) = (server.to_owned(), weather.clone());
        let reads = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&reads);
        let listening = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(connection(client, server.clone(), watched.subscribe(), Arc::clone(&counted)));
            }
        });
        Self { url, weather, reads, listening }
    }

    /// Statements that validations have had run so far.
    pub fn reads(&self) -> usize {
        self.reads.load(Ordering::Relaxed)
    }

    pub fn set(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }
}

async fn connection(client: TcpStream, server: String, mut weather: watch::Receiver<Weather>, reads: Arc<AtomicUsize>) {
    if *weather.borrow() == Weather::Cut {
        return;
    }
    let Ok(server) = TcpStream::connect(server).await else { return };
    // Else a short question would wait until the one before was acknowledged.
    if client.set_nodelay(true).and_then(|()| server.set_nodelay(true)).is_err() {
        return;
    }
    let (client_reads, client_writes) = client.into_split();
    let (server_reads, server_writes) = server.into_split();
    let purpose = Arc::new(watch::Sender::new(Purpose::Other));
    let there = pass(client_reads, server_writes, weather.clone(), Arc::clone(&purpose), Some(reads));
    let back = pass(server_reads, client_writes, weather.clone(), purpose, None);
    tokio::select! {
        () = there => {}
        () = back => {}
        _ = weather.wait_for(|weather| *weather == Weather::Cut) => {}
    }
}

async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut weather: watch::Receiver<Weather>,
    purpose: Arc<watch::Sender<Purpose>>,
    asking: Option<Arc<AtomicUsize>>,
) {
    let (on_the_way, mut arriving) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    let (is_asking, now) = (asking.is_some(), weather.clone());
    let reading = async {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(count @ 1..) = from.read(&mut buffer).await {
            let bytes = buffer[..count].to_vec();
            if let Some(reads) = &asking {
                if let Some(found) = purpose_of(&bytes) {
                    purpose.send_replace(found);
                }
                if *purpose.borrow() == Purpose::Reads {
                    reads.fetch_add(executions(&bytes), Ordering::Relaxed);
                }
            }
            let late = match *now.borrow() {
                Weather::AnswersLate(late) if !is_asking => late,
                _ => Duration::ZERO,
            };
            if on_the_way.send((Instant::now() + late, bytes)).is_err() {
                return;
            }
        }
        drop(on_the_way);
        // What is on the way still arrives.
        std::future::pending::<()>().await;
    };
    let held = |weather: Weather| match weather {
        Weather::Hanging => true,
        Weather::AnswersHeld => !is_asking,
        Weather::WordLost => !is_asking && *purpose.borrow() == Purpose::Listener,
        Weather::ReadsHeld => !is_asking && *purpose.borrow() == Purpose::Reads,
        Weather::Fair | Weather::Cut | Weather::AnswersLate(_) => false,
    };
    let writing = async {
        while let Some((due, bytes)) = arriving.recv().await {
            // A timer rounds up to whole milliseconds, even one that is due.
            if due > Instant::now() {
                sleep_until(due).await;
            }
            if weather.wait_for(|weather| !held(*weather)).await.is_err() || to.write_all(&bytes).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = reading => {}
        () = writing => {}
    }
}

/// Messages that have a prepared statement run, in a packet of whole messages.
fn executions(mut packet: &[u8]) -> usize {
    let mut count = 0;
    while let [kind, a, b, c, d, ..] = *packet {
        count += usize::from(kind == b'E');
        let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
        packet = packet.get(length.saturating_add(1)..).unwrap_or_default();
    }
    count
}

fn purpose_of(asked: &[u8]) -> Option<Purpose> {
    let holds = |text: &[u8]| asked.windows(text.len()).any(|window| window == text);
    if holds(b"LISTEN tronch_changes") {
        Some(Purpose::Listener)
    } else if holds(b"statement_timeout=1000") {
        Some(Purpose::Reads)
    } else {
        None
    }
}
