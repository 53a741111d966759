//! Connections: five pools over one role, each for one purpose, and the migrations. No query lives here.

use std::time::Duration;

use diesel::{ConnectionError, ConnectionResult};
use diesel_async::pooled_connection::deadpool::{Object, Pool};
use diesel_async::pooled_connection::{AsyncDieselConnectionManager, ManagerConfig, RecyclingMethod};
use diesel_async::{AsyncConnection, AsyncMigrationHarness, AsyncPgConnection, SimpleAsyncConnection};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};
use futures_util::FutureExt as _;
use tokio_postgres::Config;
use tokio_postgres::config::SslMode;
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::clock::{self, Moment};
use crate::error::Error;
use crate::tls;

pub(crate) const MIGRATIONS: EmbeddedMigrations = embed_migrations!("../migrations");

/// Any number serves, as long as every version of the product uses the same.
const MIGRATION_LOCK: i64 = 0x7472_6f6e_6368;

/// The oldest and newest major version of Postgres we are tested with.
const POSTGRES_MAJOR: std::ops::RangeInclusive<i32> = 15..=18;

/// How long a verb waits for a connection.
const WAIT: Duration = Duration::from_secs(3);
/// How long a validation's read does. Whoever asked may have been told before that we cannot know.
const DATA_PLANE_WAIT: Duration = Duration::from_secs(1);

pub(crate) type Connection = Object<AsyncPgConnection>;

/// The pools. `tenant` sees nothing until a transaction names its tenant; the others connect with the scope that row
/// security lets through. `usage` is one connection, of the thread that stores counts: what drives a connection lives where
/// it was made. `limits` is one as well: nobody who looks up a key waits for totals, nor they for him.
#[derive(Clone)]
pub(crate) struct Db {
    tenant: Pool<AsyncPgConnection>,
    system: Pool<AsyncPgConnection>,
    data_plane: Pool<AsyncPgConnection>,
    usage: Pool<AsyncPgConnection>,
    limits: Pool<AsyncPgConnection>,
    lease_url: String,
}

/// Why a database cannot be used at all. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// No connection.
    #[error("Postgres cannot be reached: {0}. Check DATABASE_URL and that the server accepts connections")]
    Connect(String),
    /// Too old or too new a server.
    #[error("this is PostgreSQL {found}; TRONCH works with {} to {}", POSTGRES_MAJOR.start(), POSTGRES_MAJOR.end())]
    WrongMajor {
        /// Its major version.
        found: i32,
    },
    /// The role could look past row security, so tenants would rest on application code alone.
    #[error(
        "the database role \"{role}\" {why}, so row security would not bind it. Connect as a plain role that owns only \
         this database: CREATE ROLE tronch LOGIN PASSWORD '…'; CREATE DATABASE tronch OWNER tronch;"
    )]
    RoleTooPowerful {
        /// The role's name.
        role: String,
        /// "is a superuser" or "has BYPASSRLS" or …
        why: &'static str,
    },
    /// A newer binary has been here.
    #[error("the database has migration {version}, which this version of TRONCH does not know. Run the newer version")]
    NewerDatabase {
        /// The first unknown migration.
        version: String,
    },
    /// A migration failed; its transaction was rolled back.
    #[error("a migration failed and was rolled back; those before it are in place: {0}")]
    Migration(String),
    /// The master secrets given do not include the one in use.
    #[error(
        "none of the master secrets given is the one this database uses (id {wanted}). Put back the file or variable \
         that holds it: {source_hint}"
    )]
    MasterMissing {
        /// Id of the current master, hex.
        wanted: String,
        /// Where the server looked.
        source_hint: String,
    },
    /// A verb failed while opening.
    #[error(transparent)]
    Verb(#[from] Error),
}

fn with_options(url: &str, options: &str) -> String {
    let options = options.replace(' ', "%20").replace('=', "%3D");
    let separator = if url.contains('?') { '&' } else { '?' };
    // A server that only follows another may be behind; where several are named, the one that leads is taken.
    format!("{url}{separator}target_session_attrs=read-write&options={options}")
}

/// A network that loses everything is tried again soon. Where somebody has said how long, that counts.
fn with_connect_timeout(url: &str) -> String {
    if url.contains("connect_timeout=") { url.to_owned() } else { format!("{url}&connect_timeout=2") }
}

fn pool(
    url: String,
    connections: usize,
    recycling: RecyclingMethod<AsyncPgConnection>,
) -> Result<Pool<AsyncPgConnection>, OpenError> {
    let mut config = ManagerConfig::default();
    config.recycling_method = recycling;
    config.custom_setup = Box::new(|url| establish(url).boxed());
    let manager = AsyncDieselConnectionManager::<AsyncPgConnection>::new_with_config(url, config);
    Pool::builder(manager).max_size(connections).build().map_err(|error| OpenError::Connect(error.to_string()))
}

/// A connection, encrypted where its address says so.
pub(crate) async fn establish(url: &str) -> ConnectionResult<AsyncPgConnection> {
    let (url, tls) = tls::take_out(url, None).map_err(|error| bad(&error))?;
    let Some(tls) = tls else { return AsyncPgConnection::establish(&url).await };
    let mut config: Config = url.parse().map_err(|error: tokio_postgres::Error| bad(&error))?;
    let tls = MakeRustlsConnect::new(tls.client().map_err(|error| bad(&error))?);
    let connected = config.ssl_mode(SslMode::Require).connect(tls).await;
    let (client, connection) = connected.map_err(|error| bad(&error))?;
    AsyncPgConnection::try_from_client_and_connection(client, connection).await
}

/// With all its causes: the last of them says what is wrong with a certificate.
fn bad(error: &dyn std::error::Error) -> ConnectionError {
    let causes = std::iter::successors(Some(error), |error| error.source());
    ConnectionError::BadConnection(causes.map(ToString::to_string).collect::<Vec<_>>().join(": "))
}

async fn take(pool: &Pool<AsyncPgConnection>, wait: Duration) -> Result<Connection, Error> {
    match tokio::time::timeout(wait, pool.get()).await {
        Ok(taken) => taken.map_err(Error::database_unavailable),
        Err(elapsed) => Err(Error::database_unavailable(elapsed)),
    }
}

impl Db {
    /// `connections` is the size of the tenant pool; the others are smaller.
    pub(crate) fn new(url: &str, connections: u32) -> Result<Self, OpenError> {
        let connections = usize::try_from(connections).unwrap_or(10);
        let limits = "-c statement_timeout=5000 -c lock_timeout=2000 -c idle_in_transaction_session_timeout=10000";
        let system = format!("{limits} -c tronch.scope=system");
        // Planning a question takes longer than answering it, so its plan is kept, whatever it asks for; and what looks up
        // by an index today must not look through the table for ever because that was small when it was planned.
        let data_plane = "-c statement_timeout=1000 -c lock_timeout=500 -c tronch.scope=system \
                          -c plan_cache_mode=force_generic_plan -c enable_seqscan=off -c jit=off";
        // Nodes wait for each other's rows, and nobody here waits for them so long.
        let shared_limits = format!("{system} -c enable_seqscan=off -c jit=off");
        // What a lease says may be lost with Postgres: then it was not heard either.
        // And nobody waits longer for its answer, so that none is worked on in vain. What came after a number is found by
        // the index, however many numbers the planner expects; it makes the costs look high, which alone would compile.
        let lease = "-c statement_timeout=5000 -c lock_timeout=500 -c synchronous_commit=off \
                     -c enable_seqscan=off -c jit=off";
        let some = (connections / 2).max(2);
        Ok(Self {
            tenant: pool(with_options(url, limits), connections, RecyclingMethod::Verified)?,
            system: pool(with_options(url, &system), some, RecyclingMethod::Verified)?,
            // A validation is one question, not two: one that finds its connection dead asks again on another.
            data_plane: pool(with_options(url, data_plane), some, RecyclingMethod::Fast)?,
            usage: pool(with_options(url, &system), 1, RecyclingMethod::Verified)?,
            limits: pool(with_options(url, &shared_limits), 1, RecyclingMethod::Fast)?,
            lease_url: with_connect_timeout(&with_options(url, lease)),
        })
    }

    /// For the connections of the thread that follows the change log.
    pub(crate) fn lease_url(&self) -> String {
        self.lease_url.clone()
    }

    pub(crate) async fn tenant(&self) -> Result<Connection, Error> {
        take(&self.tenant, WAIT).await
    }

    pub(crate) async fn system(&self) -> Result<Connection, Error> {
        take(&self.system, WAIT).await
    }

    pub(crate) async fn data_plane(&self) -> Result<Connection, Error> {
        take(&self.data_plane, DATA_PLANE_WAIT).await
    }

    /// For totals of limits: one question is under way at a time.
    pub(crate) async fn limits(&self) -> Result<Connection, Error> {
        take(&self.limits, DATA_PLANE_WAIT).await
    }

    pub(crate) async fn usage(&self) -> Result<Connection, Error> {
        take(&self.usage, WAIT).await
    }

    /// Makes every connection of the data plane.
    pub(crate) async fn open_data_plane(&self) -> Result<(), Error> {
        let size = self.data_plane.status().max_size;
        let connections = futures_util::future::join_all((0..size).map(|_| take(&self.data_plane, WAIT))).await;
        drop(take(&self.limits, WAIT).await?);
        connections.into_iter().collect::<Result<Vec<_>, _>>().map(drop)
    }

    pub(crate) fn close(&self) {
        self.tenant.close();
        self.system.close();
        self.data_plane.close();
        self.usage.close();
        self.limits.close();
    }
}

#[derive(diesel::QueryableByName)]
struct ServerFacts {
    #[diesel(sql_type = diesel::sql_types::Integer)]
    major: i32,
    #[diesel(sql_type = diesel::sql_types::Text)]
    role: String,
    #[diesel(sql_type = diesel::sql_types::Bool)]
    superuser: bool,
    #[diesel(sql_type = diesel::sql_types::Bool)]
    bypasses_row_security: bool,
    #[diesel(sql_type = diesel::sql_types::BigInt)]
    clock_ms: i64,
}

/// Checks the server and the role, then brings the schema up to date; one process at a time, by an advisory lock.
///
/// Needs the multi-thread runtime: the migration harness blocks in place.
pub(crate) async fn prepare(url: &str) -> Result<(), OpenError> {
    let connect = |error: ConnectionError| OpenError::Connect(error.to_string());
    let broken = |error: diesel::result::Error| OpenError::Connect(error.to_string());
    let mut connection = establish(&with_options(url, "-c tronch.scope=system")).await.map_err(connect)?;
    check_server(&mut connection).await?;
    connection.batch_execute(&format!("SELECT pg_advisory_lock({MIGRATION_LOCK})")).await.map_err(broken)?;
    let mut harness = AsyncMigrationHarness::new(connection);
    let known: Vec<String> = known_versions()?;
    let applied = harness.applied_migrations().map_err(|error| OpenError::Migration(error.to_string()))?;
    if let Some(unknown) = applied.iter().map(ToString::to_string).find(|version| !known.contains(version)) {
        return Err(OpenError::NewerDatabase { version: unknown });
    }
    harness.run_pending_migrations(MIGRATIONS).map_err(|error| OpenError::Migration(error.to_string()))?;
    Ok(())
}

fn known_versions() -> Result<Vec<String>, OpenError> {
    let migrations = diesel::migration::MigrationSource::<diesel::pg::Pg>::migrations(&MIGRATIONS)
        .map_err(|error| OpenError::Migration(error.to_string()))?;
    Ok(migrations.iter().map(|migration| migration.name().version().to_string()).collect())
}

#[expect(clippy::disallowed_methods, reason = "the server's own catalogue stands in no schema of ours")]
async fn check_server(connection: &mut AsyncPgConnection) -> Result<(), OpenError> {
    use diesel_async::RunQueryDsl;
    let asked = Moment::now();
    let facts: ServerFacts = diesel::sql_query(
        "SELECT current_setting('server_version_num')::int / 10000 AS major, rolname::text AS role, \
         rolsuper AS superuser, rolbypassrls AS bypasses_row_security, \
         (extract(epoch FROM clock_timestamp()) * 1000)::bigint AS clock_ms FROM pg_roles WHERE rolname = current_user",
    )
    .get_result(connection)
    .await
    .map_err(|error| OpenError::Connect(error.to_string()))?;
    // Before anything takes the time.
    clock::adopt(asked, Moment::now(), facts.clock_ms);
    if !POSTGRES_MAJOR.contains(&facts.major) {
        return Err(OpenError::WrongMajor { found: facts.major });
    }
    let why = match (facts.superuser, facts.bypasses_row_security) {
        (true, _) => "is a superuser",
        (_, true) => "has BYPASSRLS",
        _ => return Ok(()),
    };
    Err(OpenError::RoleTooPowerful { role: facts.role, why })
}
