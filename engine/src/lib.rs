//! Verbs and all SQL: how a key is created, rotated, revoked, verified and recorded. It knows no HTTP and reads no
//! environment.

mod argon;
pub mod audit;
mod caller;
mod clock;
mod cursor;
mod db;
pub mod demo;
mod error;
pub mod health;
pub mod internals;
mod keyring;
pub mod keys;
mod like;
pub mod limits;
pub mod mail;
pub mod members;
mod node;
mod once;
pub mod projects;
mod random;
mod schema;
mod secret;
pub mod sessions;
mod system;
mod tenancy;
pub mod tenants;
mod tls;
pub mod tokens;
pub mod usage;
pub mod verify;

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use zeroize::Zeroizing;

use argon::ArgonPool;
use db::Db;
use keyring::Keyring;
use limits::redis::Redis;
use node::{Node, Others};

pub use argon::ArgonCost;
pub use caller::{Caller, Origin};
pub use clock::Moment;
pub use db::OpenError;
pub use error::Error;
pub use keyring::{Master, MasterView, activate_master, keyring_status};
pub use limits::redis::{ParseRedisUrlError, RedisUrl};
pub use node::{Confirmation, NodeName, NodeView, Unconfirmed, confirm_changes, forget_old_changes, list_nodes};
pub use once::{SentWrite, forget_old_writes};
pub use tenancy::Tenant;

/// What the engine needs to know of its surroundings.
pub struct Settings {
    /// A `postgres://` URL of a role that row security binds.
    pub database_url: String,
    /// Size of the tenant pool; the other two are half of it.
    pub connections: u32,
    /// How long a validation waits for what it does not remember.
    pub lookup_wait: Duration,
    /// Keys that are remembered at most.
    pub remembered_keys: usize,
    /// How expensive new hashes are.
    pub argon: ArgonCost,
    /// Where limits are shared with other processes, if not in Postgres.
    pub redis: Option<RedisUrl>,
    /// Who sends mail, if anybody.
    pub mail: Option<mail::MailSettings>,
}

/// Everything verbs work with. Cloning is cheap.
#[derive(Clone)]
pub struct Engine {
    shared: Arc<Shared>,
}

struct Shared {
    db: Db,
    keyring: Arc<Keyring>,
    passwords: ArgonPool,
    credentials: ArgonPool,
    dummy_phc: String,
    usage: usage::Collector,
    places: verify::Places,
    cells: limits::cells::Cells,
    limit_stores: limits::reserve::Stores,
    own_limits: limits::own::OwnLimits,
    mailer: Option<mail::Mailer>,
    /// How many processes there are, as far as this one knows.
    nodes: Arc<AtomicU64>,
    lookup_wait: Duration,
    remembered_keys: usize,
    /// Where this process answers validations.
    node: OnceLock<Arc<Node>>,
}

/// A database that is reached, checked and migrated, before the master secret is known.
pub struct PreparedDatabase {
    db: Db,
    lookup_wait: Duration,
    remembered_keys: usize,
    argon: ArgonCost,
    redis: Option<RedisUrl>,
    mail: Option<mail::MailSettings>,
}

impl PreparedDatabase {
    /// Connects, checks server and role, and migrates. Needs the multi-thread runtime.
    ///
    /// # Errors
    /// Each [`OpenError`] says what to do.
    pub async fn prepare(settings: &Settings) -> Result<Self, OpenError> {
        db::prepare(&settings.database_url).await?;
        let db = Db::new(&settings.database_url, settings.connections)?;
        let &Settings { lookup_wait, remembered_keys, argon, .. } = settings;
        Ok(Self { db, lookup_wait, remembered_keys, argon, redis: settings.redis.clone(), mail: settings.mail.clone() })
    }

    /// Whether a master secret is in use already. Only when none is may a new one be made.
    ///
    /// # Errors
    /// `Unavailable` when Postgres is.
    pub async fn has_master(&self) -> Result<bool, Error> {
        let mut connection = self.db.system().await?;
        Ok(keyring::current_id(&mut connection).await?.is_some())
    }

    /// Opens the engine with the master secrets at hand; `source_hint` says where they were looked for.
    ///
    /// # Errors
    /// `MasterMissing` when the one in use is not among them.
    pub async fn open(self, masters: &[Master], source_hint: &str) -> Result<Engine, OpenError> {
        let mut connection = self.db.system().await?;
        let keyring = Keyring::load(&mut connection, masters, source_hint).await?;
        drop(connection);
        let credentials = ArgonPool::new("credentials", self.argon);
        let passwords = ArgonPool::new("passwords", self.argon);
        // Verified against when the person is unknown, so that the answer takes as long.
        let dummy_phc = passwords.hash(Zeroizing::new(keyring::hex(&random::bytes::<16>()?))).await?;
        let usage = usage::Collector::start(self.db.clone())?;
        let nodes = Arc::new(AtomicU64::new(1));
        let shared = Shared {
            limit_stores: limits::reserve::Stores::new(
                self.db.clone(),
                self.redis.map(Redis::new),
                self.lookup_wait,
                Arc::clone(&nodes),
            )?,
            own_limits: limits::own::OwnLimits::new()?,
            mailer: self.mail.map(mail::Mailer::new).transpose()?,
            nodes,
            db: self.db,
            keyring: Arc::new(keyring),
            passwords,
            credentials,
            dummy_phc,
            usage,
            places: verify::Places::default(),
            cells: limits::cells::Cells::default(),
            lookup_wait: self.lookup_wait,
            remembered_keys: self.remembered_keys,
            node: OnceLock::new(),
        };
        Ok(Engine { shared: Arc::new(shared) })
    }
}

impl Engine {
    pub(crate) fn db(&self) -> &Db {
        &self.shared.db
    }

    pub(crate) fn keyring(&self) -> &Keyring {
        &self.shared.keyring
    }

    pub(crate) fn passwords(&self) -> &ArgonPool {
        &self.shared.passwords
    }

    pub(crate) fn credentials(&self) -> &ArgonPool {
        &self.shared.credentials
    }

    pub(crate) fn dummy_phc(&self) -> &str {
        &self.shared.dummy_phc
    }

    /// Whether validations are answered: while Postgres is away, for as long as memory counts.
    pub async fn is_ready(&self, patience: Duration) -> bool {
        match self.shared.node.get() {
            Some(node) => node.is_ready(patience).await,
            None => false,
        }
    }

    pub(crate) fn node(&self) -> Option<&Node> {
        self.shared.node.get().map(AsRef::as_ref)
    }

    /// Whether Postgres answers a query right now; [`health::check`] asks about the rest too.
    ///
    /// # Errors
    /// `Unavailable` when it does not.
    pub(crate) async fn ping(&self) -> Result<(), Error> {
        use diesel_async::RunQueryDsl;
        // Whoever asks how we are must not stand in the way of those who ask about keys.
        let mut connection = self.db().system().await?;
        let _one: i32 =
            diesel::select(diesel::dsl::sql::<diesel::sql_types::Integer>("1")).get_result(&mut connection).await?;
        Ok(())
    }

    pub(crate) fn usage(&self) -> &usage::Collector {
        &self.shared.usage
    }

    /// Stores the usage that was counted and not stored yet. Before the pools close, after the last call.
    ///
    /// # Errors
    /// `Unavailable` when Postgres did not take it within `patience`; then it is lost.
    pub async fn finish_usage(&self, patience: Duration) -> Result<(), Error> {
        self.usage().finish(patience).await
    }

    /// Makes this process one of those that answer validations. Once in its life.
    ///
    /// # Errors
    /// `Unavailable` when Postgres is; `Internal` the second time.
    pub async fn join(&self, name: NodeName) -> Result<verify::Verifier, Error> {
        // The first to ask must not wait for a connection to be made.
        self.db().open_data_plane().await?;
        let nodes = Arc::clone(&self.shared.nodes);
        let node = Node::join(self.db(), name, Arc::clone(&self.shared.keyring), nodes).await?;
        let others = node.meet_others(self.db()).await?;
        if others == Others::AllGone && !self.limit_stores().outlives_processes() {
            // What they had let pass nobody knows. What is shared, others do.
            tracing::warn!("a process before this one did not stop in order: buckets of limits fill from nothing");
            self.cells().begin_empty(clock::Moment::now());
        }
        let verifier = verify::Verifier::new(self, Arc::clone(&node));
        self.shared.node.set(node).map_err(|_| Error::internal("this process has joined already"))?;
        Ok(verifier)
    }

    /// Forgets what was taken of limits and does not count any more. Returns how many states are left.
    pub fn forget_idle_limits(&self) -> usize {
        self.own_limits().forget_idle();
        self.cells().forget_idle(clock::Moment::now())
    }

    /// Gives back what this process holds of totals and has not needed for a while, for others to spend; with `all`, everything,
    /// which is for a stop: then nothing is lost.
    ///
    /// # Errors
    /// `Unavailable` when Postgres is; what was not given back counts as spent.
    pub async fn give_back_limits(&self, all: bool) -> Result<(), Error> {
        if all {
            self.limit_stores().settle().await;
        }
        let engine = self.clone();
        // With many of them it takes a while, and nobody who answers may wait for it.
        let taken = tokio::task::spawn_blocking(move || engine.limit_stores().take_back(engine.cells(), all));
        self.limit_stores().give_back(taken.await.map_err(Error::internal)?).await
    }

    /// Answers no more validations, and takes this process off the list of those that do.
    pub async fn leave(&self) {
        if let Some(node) = self.shared.node.get() {
            node.leave().await;
        }
    }

    /// Waits until what was just changed is known to this process, which then answers by it.
    pub(crate) async fn catch_up(&self) {
        if let Some(node) = self.shared.node.get() {
            node.catch_up().await;
        }
    }

    /// Whether mail is sent at all.
    pub fn sends_mail(&self) -> bool {
        self.shared.mailer.is_some()
    }

    pub(crate) fn mailer(&self) -> Option<&mail::Mailer> {
        self.shared.mailer.as_ref()
    }

    /// Where what was taken of limits lies.
    pub(crate) fn cells(&self) -> &limits::cells::Cells {
        &self.shared.cells
    }

    /// Counts a page or a form of the dashboard for whoever is signed in.
    ///
    /// # Errors
    /// `TooMany` when there were too many of that person.
    pub fn charge_person(&self, caller: &Caller) -> Result<(), Error> {
        caller.user_id().map_or(Ok(()), |user_id| self.own_limits().charge_person(user_id))
    }

    /// Counts a call of the API.
    ///
    /// # Errors
    /// `TooMany` when there were too many of that token.
    pub fn charge_api(&self, token: &verify::ServiceToken) -> Result<(), Error> {
        self.own_limits().charge_api(token.id())
    }

    /// What callers of the product itself are held to.
    pub(crate) fn own_limits(&self) -> &limits::own::OwnLimits {
        &self.shared.own_limits
    }

    /// Whoever keeps limits for several processes.
    pub(crate) fn limit_stores(&self) -> &limits::reserve::Stores {
        &self.shared.limit_stores
    }

    pub(crate) fn places(&self) -> &verify::Places {
        &self.shared.places
    }

    /// Closes the pools; later verbs answer `Unavailable`.
    pub fn close(&self) {
        if let Some(node) = self.shared.node.get() {
            node.stop();
        }
        self.shared.db.close();
    }
}

/// A fresh word for a form, so that sending it twice does once what it does.
pub fn new_form_word() -> String {
    // Without random bytes the form goes without: it still works, and a repeat is a second write.
    random::bytes::<16>().map(|bytes| keyring::hex(&bytes)).unwrap_or_default()
}

/// A fresh id for one request, which began at that moment.
pub fn new_request_id(began: Moment) -> tronch_core::RequestId {
    tronch_core::RequestId::generate(clock::at(began), random::unique_bytes())
}
