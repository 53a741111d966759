//! This process as one of those that answer validations: what it knows of the change log, how long it may answer from
//! memory, and the thread that keeps both up to date. What is remembered is the business of `verify`.

pub(crate) mod atomics;
pub(crate) mod lease;
pub(crate) mod marks;

mod apply;
#[cfg(test)]
mod apply_tests;
mod confirm;
#[cfg(test)]
mod database_model;
mod follow;
mod list;
mod log;
#[cfg(test)]
mod marks_tests;
#[cfg(test)]
mod world;

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tronch_core::Handle;
use uuid::Uuid;

use crate::clock::Moment;
use crate::db::Db;
use crate::error::Error;
use crate::keyring::Keyring;
use lease::{Lease, RENEWAL_INTERVAL, Standing};
use marks::Marks;

pub use confirm::{Confirmation, Unconfirmed, confirm_changes};
pub use list::{NodeView, forget_old_changes, list_nodes};
pub(crate) use log::Kind;

/// How long warm keys go on without Postgres where a tenant says nothing else; the schema has the same.
const OFFLINE_LEASE_DEFAULT: Duration = Duration::from_secs(30);

/// A process that renews its lease is heard of more often than this.
const SILENCE: Duration = Duration::from_secs(1);

/// How long a start waits for the first renewal.
const FIRST_RENEWAL: Duration = Duration::from_secs(5);

/// How long whoever changed something waits until this process has taken it in. The change is made either way.
const CATCH_UP: Duration = Duration::from_secs(1);

/// How a process is known to operators.
pub struct NodeName {
    /// Such as the host's name.
    pub name: String,
    /// Of the product.
    pub version: &'static str,
}

/// What became of the other processes on the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Others {
    /// All were heard of, or there are none.
    Met,
    /// Some were.
    SomeGone,
    /// None was.
    AllGone,
}

/// A running member of the installation.
pub(crate) struct Node {
    pub(crate) id: Uuid,
    pub(crate) marks: Marks,
    pub(crate) lease: Lease,
    hasher: ahash::RandomState,
    /// When the last renewal that was answered was sent. It is touched whenever the standing may have changed.
    renewals: watch::Sender<Moment>,
    /// Somebody wants a renewal before the next one is due.
    wish: Notify,
    stop: CancellationToken,
    thread: Mutex<Option<JoinHandle<()>>>,
    keyring: Arc<Keyring>,
    name: NodeName,
    /// How many there are, as the last renewal told.
    nodes: Arc<AtomicU64>,
}

impl Node {
    /// Makes this process known, and waits until it may answer.
    ///
    /// # Errors
    /// `Unavailable` when Postgres is.
    pub(crate) async fn join(
        db: &Db,
        name: NodeName,
        keyring: Arc<Keyring>,
        nodes: Arc<AtomicU64>,
    ) -> Result<Arc<Self>, Error> {
        let id = Uuid::from_bytes(crate::random::bytes()?);
        let connection = db.system().await?;
        let number = log::insert_node(&connection, id, &name, &keyring.ids(), false).await?;
        drop(connection);
        let node = Arc::new(Self {
            id,
            marks: Marks::new(number),
            lease: Lease::new(),
            hasher: ahash::RandomState::with_seeds(crate::random::word()?, crate::random::word()?, 0, 0),
            renewals: watch::Sender::new(Moment::from_nanos(0)),
            wish: Notify::new(),
            stop: CancellationToken::new(),
            thread: Mutex::new(None),
            keyring,
            name,
            nodes,
        });
        let thread = follow::start(Arc::clone(&node), db.lease_url()).map_err(Error::internal)?;
        *node.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
        let mut renewals = node.renewals.subscribe();
        let first = renewals.wait_for(|sent| sent.as_nanos() > 0);
        match tokio::time::timeout(FIRST_RENEWAL, first).await {
            Ok(Ok(_)) => {}
            Ok(Err(closed)) => return Err(Error::internal(closed)),
            Err(elapsed) => return Err(Error::database_unavailable(elapsed)),
        }
        Ok(node)
    }

    /// Waits until each of the others was heard of, and so knows of this one. One that is not for so long went without a word.
    ///
    /// # Errors
    /// `Unavailable` when Postgres is.
    pub(crate) async fn meet_others(&self, db: &Db) -> Result<Others, Error> {
        let begun = Moment::now();
        let mut connection = db.system().await?;
        loop {
            match log::count_others(&mut connection, self.id).await? {
                (_, 0) => return Ok(Others::Met),
                _ if Moment::now().since(begun) < SILENCE => {}
                (0, _) => return Ok(Others::AllGone),
                _ => return Ok(Others::SomeGone),
            }
            tokio::time::sleep(RENEWAL_INTERVAL / 4).await;
        }
    }

    /// Ends the thread, which takes this process off the list. A second call does nothing.
    pub(crate) async fn leave(&self) {
        self.stop.cancel();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            && let Err(panicked) = tokio::task::spawn_blocking(move || thread.join().is_err()).await
        {
            tracing::error!(error = %panicked, "the thread of the lease was not waited for");
        }
    }

    /// Asks the thread to end, without waiting.
    pub(crate) fn stop(&self) {
        self.stop.cancel();
    }

    pub(crate) fn standing(&self) -> Standing {
        self.lease.standing(Moment::now())
    }

    /// Waits until the standing may be another. `None` when nothing has happened until the deadline.
    pub(crate) async fn change_of_standing(&self, patience: Duration) -> Option<()> {
        let mut renewals = self.renewals.subscribe();
        // What has happened since the caller looked is in there.
        if self.standing() != Standing::Unknown {
            return Some(());
        }
        self.wish.notify_one();
        tokio::time::timeout(patience, renewals.changed()).await.ok()?.ok()
    }

    /// Whether most tenants' warm keys are answered. One that cannot know waits for a moment.
    pub(crate) async fn is_ready(&self, patience: Duration) -> bool {
        if self.standing() == Standing::Unknown {
            self.change_of_standing(patience).await;
        }
        match self.standing() {
            Standing::Live { .. } => true,
            Standing::Offline { age } => age < OFFLINE_LEASE_DEFAULT,
            Standing::Unknown => false,
        }
    }

    /// Waits until every change that was committed before this call is taken in here.
    pub(crate) async fn catch_up(&self) {
        let asked = Moment::now();
        let mut renewals = self.renewals.subscribe();
        self.wish.notify_one();
        let caught_up = renewals.wait_for(|sent| *sent >= asked);
        if tokio::time::timeout(CATCH_UP, caught_up).await.is_err() {
            tracing::debug!("a change was made that this process has not taken in yet");
        }
    }

    /// The hash under which changes of a handle are marked, and entries kept.
    pub(crate) fn hash_handle(&self, kind: Kind, handle: Handle) -> u64 {
        self.hasher.hash_one((kind, handle.as_str()))
    }

    /// The hash under which changes of something shared are marked.
    pub(crate) fn hash_shared(&self, kind: Kind, subject: &str) -> u64 {
        self.hasher.hash_one((kind, subject))
    }
}

impl std::fmt::Debug for Node {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Node({})", self.id)
    }
}
