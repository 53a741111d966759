//! The cluster of a data directory: made, found running, started, and given its role and database.
//! It does not stop what it started, and it does not choose the programs.

use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use postgresql_commands::CommandBuilder;
use postgresql_commands::initdb::InitDbBuilder;
use postgresql_commands::pg_ctl::{Mode, PgCtlBuilder};
use tokio::time::Instant;

use super::password::password;
use super::postmaster::Postmaster;
use super::programs::Programs;
use super::run_as::RunAs;
use super::session::{Session, patience_with};
use super::{CLUSTER_FOLDER, LocalPostgresError, PASSWORD_FILE, Result, START_SECONDS_MAX, SUPERUSER_PASSWORD_FILE};
use crate::config::Redacted;
use crate::data_dir::DataDir;

const NEW_CLUSTER_FOLDER: &str = "postgres.new";

/// A killed Postgres holds its memory until its last child has noticed, and a free port may be taken before we use it.
const START_ATTEMPTS_MAX: u32 = 20;
const RETRY_PAUSE: Duration = Duration::from_millis(500);
const PROBE_PAUSE: Duration = Duration::from_millis(100);
const LOG_BYTES_MAX: u64 = 16 * 1024 * 1024;
const LOG_TAIL_LINES: usize = 20;

/// Durability stays on. Errors of single statements are left to the application's own log, because their text may hold
/// customers' data and our passwords.
const SETTINGS: [&str; 9] = [
    "fsync=on",
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",
    "max_connections=100",
    "timezone=UTC",
    "log_timezone=UTC",
    "log_checkpoints=off",
    "log_min_messages=log",
    "log_min_error_statement=panic",
];

/// A data folder with the programs and the user that fit it.
#[derive(Debug)]
pub(super) struct Cluster {
    pub(super) folder: PathBuf,
    pub(super) programs: Programs,
    pub(super) user: RunAs,
    superuser_password: Redacted,
}

impl Cluster {
    pub(super) async fn prepare(data_dir: &DataDir, pg_bin: Option<&Path>) -> Result<Cluster> {
        let folder = data_dir.join(CLUSTER_FOLDER);
        let made_by = fs::read_to_string(folder.join("PG_VERSION")).ok().map(|text| text.trim().to_owned());
        let programs = Programs::find(&folder, made_by.as_deref(), pg_bin).await?;
        let user = RunAs::for_folder(&folder)?;
        user.check_way_to(data_dir.path())?;
        user.check_way_to(&programs.folder)?;
        if made_by.is_none() {
            make_cluster(data_dir, &programs, &user).await?;
        }
        let superuser_password = password(data_dir, SUPERUSER_PASSWORD_FILE)?;
        Ok(Cluster { folder, programs, user, superuser_password })
    }

    /// The port of a Postgres that already serves this folder. A postmaster that is still recovering is waited for.
    pub(super) async fn running_port(&self) -> Result<Option<u16>> {
        let begin = Instant::now();
        while let Some(postmaster) = Postmaster::read(&self.folder) {
            if !postmaster.is_alive_in(&self.folder) {
                self.forget_postmaster(&postmaster)?;
                return Ok(None);
            }
            match self.folder_served_at(postmaster.port).await {
                Ok(Some(folder)) if folder == self.folder => return Ok(Some(postmaster.port)),
                Ok(_) => return Err(LocalPostgresError::NotRunning(self.folder.clone())),
                Err(error) if begin.elapsed() >= patience_with(&error) => return Err(error),
                Err(_) => tokio::time::sleep(PROBE_PAUSE).await,
            }
        }
        Ok(None)
    }

    async fn folder_served_at(&self, port: u16) -> Result<Option<PathBuf>> {
        let session = Session::open(port, &self.superuser_password).await?;
        Ok(session.ask("SELECT current_setting('data_directory')").await?.map(PathBuf::from))
    }

    /// Postgres trusts a pid file whose number is in use again, and in a container that number is soon one of our own.
    fn forget_postmaster(&self, postmaster: &Postmaster) -> Result<()> {
        tracing::warn!(
            postgres.pid = postmaster.pid,
            "The private PostgreSQL was not stopped properly; it recovers now"
        );
        let path = self.folder.join("postmaster.pid");
        match fs::remove_file(&path) {
            Err(source) if source.kind() != ErrorKind::NotFound => Err(LocalPostgresError::File { path, source }),
            _ => Ok(()),
        }
    }

    pub(super) async fn start(&self) -> Result<u16> {
        let log = self.folder.join("server.log");
        let log_bytes = || fs::metadata(&log).map_or(0, |metadata| metadata.len());
        if log_bytes() > LOG_BYTES_MAX {
            let old = log.with_extension("log.old");
            fs::rename(&log, &old).map_err(|source| LocalPostgresError::File { path: old, source })?;
        }
        let mut attempts = 0;
        loop {
            attempts += 1;
            let port = free_port().map_err(|source| LocalPostgresError::File { path: "127.0.0.1".into(), source })?;
            let log_begin = log_bytes();
            let options: Vec<String> =
                SETTINGS.iter().map(|setting| format!("-c {setting}")).chain([format!("-p {port}")]).collect();
            let pg_ctl =
                PgCtlBuilder::new().program_dir(&self.programs.folder).mode(Mode::Start).pgdata(&self.folder).log(&log);
            let pg_ctl = pg_ctl.options(&options).wait().timeout(START_SECONDS_MAX).build();
            let Err(error) = self.user.run(pg_ctl).await else {
                tracing::info!(
                    postgres.port = port,
                    postgres.major = self.programs.major,
                    "Started the private PostgreSQL"
                );
                return Ok(port);
            };
            let tail = tail_of(&log, log_begin);
            let passes_soon = tail.contains("in use");
            if !passes_soon || attempts >= START_ATTEMPTS_MAX {
                return Err(if tail.is_empty() { error } else { LocalPostgresError::NotStarted { log, tail } });
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    /// Makes the role and the database once, and at every start sets the role's rights and password to what they should be.
    pub(super) async fn provide_database(&self, data_dir: &DataDir, port: u16) -> Result<()> {
        let password = password(data_dir, PASSWORD_FILE)?;
        let session = Session::open(port, &self.superuser_password).await?;
        if session.ask("SELECT 1 FROM pg_roles WHERE rolname = 'tronch'").await?.is_none() {
            session.execute("CREATE ROLE tronch").await?;
        }
        // 48 hex digits need no quoting beyond this.
        let password = password.expose();
        let rights = "LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS";
        session.execute(&format!("ALTER ROLE tronch {rights} PASSWORD '{password}'")).await?;
        if session.ask("SELECT 1 FROM pg_database WHERE datname = 'tronch'").await?.is_none() {
            session.execute("CREATE DATABASE tronch OWNER tronch TEMPLATE template0").await?;
        }
        Ok(())
    }
}

/// Makes the cluster beside its final place and moves it there when it is whole, so that a crash leaves no half of one.
async fn make_cluster(data_dir: &DataDir, programs: &Programs, user: &RunAs) -> Result<()> {
    let folder = data_dir.join(NEW_CLUSTER_FOLDER);
    let failed = |source| LocalPostgresError::File { path: folder.clone(), source };
    password(data_dir, SUPERUSER_PASSWORD_FILE)?;
    let password_file = data_dir.join(SUPERUSER_PASSWORD_FILE);
    // initdb reads the file under the other user; who owns the cluster learns nothing new from it.
    user.own(&password_file)?;
    let mut made = Ok(());
    for locale in [Some("C.UTF-8"), None] {
        if folder.exists() {
            fs::remove_dir_all(&folder).map_err(failed)?;
        }
        DirBuilder::new().mode(0o700).create(&folder).map_err(failed)?;
        user.own(&folder)?;
        let initdb = InitDbBuilder::new()
            .program_dir(&programs.folder)
            .pgdata(&folder)
            .username("postgres")
            .pwfile(&password_file);
        let initdb = initdb.auth("scram-sha-256").encoding("UTF8").data_checksums().no_instructions();
        let initdb = match locale {
            Some(locale) => initdb.locale(locale),
            None => initdb.no_locale(),
        };
        made = user.run(initdb.build()).await;
        if made.is_ok() {
            break;
        }
    }
    made?;
    fs::rename(&folder, data_dir.join(CLUSTER_FOLDER)).map_err(failed)?;
    File::open(data_dir.path()).and_then(|folder| folder.sync_all()).map_err(failed)?;
    tracing::info!(postgres.major = programs.major, "Made a private PostgreSQL in the data directory");
    Ok(())
}

fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// The last lines of the log, of those written after `begin`.
fn tail_of(log: &Path, begin: u64) -> String {
    let mut bytes = Vec::new();
    let read = File::open(log).and_then(|mut file| {
        file.seek(SeekFrom::Start(begin))?;
        file.take(LOG_BYTES_MAX).read_to_end(&mut bytes)
    });
    let text = read.map(|_| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n")
}
