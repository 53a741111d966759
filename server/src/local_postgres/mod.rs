//! The private Postgres: found on the machine, made once, started, used again after a crash, and stopped.
//! It knows nothing of our tables and opens no pool: it hands out an address, and migrations are somebody else's.

mod cluster;
mod password;
mod postmaster;
mod programs;
mod run_as;
mod session;

pub(crate) use programs::PROGRAMS;

use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use postgresql_commands::CommandBuilder;
use postgresql_commands::pg_ctl::{Mode, PgCtlBuilder, ShutdownMode};

use self::cluster::Cluster;
use self::password::url_of;
use self::postmaster::Postmaster;
use self::programs::npm_wish;
use crate::config::Redacted;
use crate::data_dir::{DataDir, DataDirError, DataDirLock};

const CLUSTER_FOLDER: &str = "postgres";
const SUPERUSER_PASSWORD_FILE: &str = "postgres-superuser-password";
const PASSWORD_FILE: &str = "postgres-password";

/// Recovery after a power cut replays at most a few checkpoints; a minute is common, five are generous.
const START_SECONDS_MAX: u64 = 300;
const STOP_SECONDS_MAX: u64 = 60;

#[derive(Debug)]
pub struct LocalPostgres {
    url: Redacted,
    /// `None` when another process started it and will stop it.
    cluster: Option<Cluster>,
}

#[derive(Debug, thiserror::Error)]
pub enum LocalPostgresError {
    #[error("No PostgreSQL 15–18 found{}. On Debian: apt-get install postgresql; anywhere: npm install {} beside the executable; or set TRONCH_PG_BIN to the folder of its initdb, or DATABASE_URL to a running server.", looked_in(.0), npm_wish())]
    NotFound(Option<PathBuf>),
    #[error("The database in {} was made by PostgreSQL {made_by}, but only {found} is here; install PostgreSQL {made_by}, or set TRONCH_PG_BIN to its folder.", .folder.display())]
    OtherMajor { folder: PathBuf, made_by: String, found: String },
    #[error(
        "PostgreSQL refuses to run as root, and there is neither a user postgres nor a user nobody; add one, or start tronch as another user."
    )]
    NoUser,
    #[error("PostgreSQL runs as the user {user}, who cannot pass through {0}; run: chmod o+x {0}, or point TRONCH_DATA_DIR or TRONCH_PG_BIN elsewhere.", .folder.display())]
    Closed { folder: PathBuf, user: String },
    #[error("{program} failed ({status}); it said:\n{said}")]
    Command { program: String, status: String, said: String },
    #[error("The private PostgreSQL did not start; its log {} ends with:\n{tail}", .log.display())]
    NotStarted { log: PathBuf, tail: String },
    #[error(
        "The private PostgreSQL took a connection and gave no answer within {seconds} seconds; look at server.log."
    )]
    Unanswered { seconds: u64 },
    #[error("The private PostgreSQL refused what tronch asked of it as its superuser")]
    Sql(#[source] tokio_postgres::Error),
    #[error("The private PostgreSQL in {} does not answer on its port; start tronch serve, or look at server.log there.", .0.display())]
    NotRunning(PathBuf),
    #[error("The password file {} of the private PostgreSQL is missing; put it back from a backup.", .0.display())]
    PasswordMissing(PathBuf),
    #[error("{} cannot be read, written or run; check its owner and permissions.", .path.display())]
    File { path: PathBuf, source: io::Error },
    #[error(transparent)]
    DataDir(#[from] DataDirError),
}

type Result<T> = std::result::Result<T, LocalPostgresError>;

impl LocalPostgres {
    /// Starts the Postgres of this data directory, making it first if need be, or takes over one that outlived its server.
    /// The lock proves that nobody else is doing the same.
    pub async fn start(data_dir: &DataDir, _lock: &DataDirLock, pg_bin: Option<&Path>) -> Result<LocalPostgres> {
        let cluster = Cluster::prepare(data_dir, pg_bin).await?;
        let port = match cluster.running_port().await? {
            Some(port) => {
                tracing::info!(postgres.port = port, "Using the private PostgreSQL that is still running");
                port
            }
            None => cluster.start().await?,
        };
        cluster.provide_database(data_dir, port).await?;
        let url = url_of(data_dir, port)?;
        Ok(LocalPostgres { url, cluster: Some(cluster) })
    }

    /// Finds the Postgres that a running server has started; [`LocalPostgres::stop`] then leaves it alone.
    pub async fn attach(data_dir: &DataDir) -> Result<LocalPostgres> {
        let folder = data_dir.join(CLUSTER_FOLDER);
        let postmaster = Postmaster::read(&folder).filter(|postmaster| postmaster.is_alive_in(&folder));
        let port = postmaster.ok_or_else(|| LocalPostgresError::NotRunning(folder.clone()))?.port;
        let connected = tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await;
        connected.map_err(|_| LocalPostgresError::NotRunning(folder))?;
        Ok(LocalPostgres { url: url_of(data_dir, port)?, cluster: None })
    }

    /// The address for the role `tronch`, which owns its database and nothing else.
    pub fn url(&self) -> &Redacted {
        &self.url
    }

    /// Ends open sessions and waits until everything is on disk.
    pub async fn stop(self) -> Result<()> {
        let Some(cluster) = self.cluster else { return Ok(()) };
        let pg_ctl = PgCtlBuilder::new().program_dir(&cluster.programs.folder).mode(Mode::Stop).pgdata(&cluster.folder);
        let pg_ctl = pg_ctl.shutdown_mode(ShutdownMode::Fast).wait().timeout(STOP_SECONDS_MAX).build();
        let stopped = cluster.user.run(pg_ctl).await;
        // A Postgres that is gone already is as good as one we stopped.
        if stopped.is_err()
            && !Postmaster::read(&cluster.folder).is_some_and(|postmaster| postmaster.is_alive_in(&cluster.folder))
        {
            tracing::warn!("The private PostgreSQL had stopped before it was told to");
            return Ok(());
        }
        stopped
    }
}

fn looked_in(folder: &Option<PathBuf>) -> String {
    folder.as_ref().map(|folder| format!(" in TRONCH_PG_BIN = {}", folder.display())).unwrap_or_default()
}
