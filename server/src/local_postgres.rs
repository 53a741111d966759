//! The private Postgres: found on the machine, made once, started, used again after a crash, and stopped.
//! It knows nothing of our tables and opens no pool: it hands out an address, and migrations are somebody else's.

use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use postgresql_commands::CommandBuilder;
use postgresql_commands::initdb::InitDbBuilder;
use postgresql_commands::pg_ctl::{Mode, PgCtlBuilder, ShutdownMode};
use postgresql_commands::psql::PsqlBuilder;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::Instant;

use crate::config::{Redacted, runs_as_root};
use crate::data_dir::{DataDir, DataDirError, DataDirLock};

/// The newest first: a new cluster takes the first that is installed.
const MAJORS: [u32; 4] = [18, 17, 16, 15];
/// Where Debian, Red Hat, Alpine and Homebrew put the programs; `{}` is the major version.
const PROGRAM_FOLDERS: [&str; 5] = [
    "/usr/lib/postgresql/{}/bin",
    "/usr/pgsql-{}/bin",
    "/usr/libexec/postgresql{}",
    "/opt/homebrew/opt/postgresql@{}/bin",
    "/usr/local/opt/postgresql@{}/bin",
];
const PROGRAMS: [&str; 4] = ["initdb", "pg_ctl", "postgres", "psql"];

const CLUSTER_FOLDER: &str = "postgres";
const NEW_CLUSTER_FOLDER: &str = "postgres.new";
const SUPERUSER_PASSWORD_FILE: &str = "postgres-superuser-password";
const PASSWORD_FILE: &str = "postgres-password";

/// Recovery after a power cut replays at most a few checkpoints; a minute is common, five are generous.
const START_SECONDS_MAX: u64 = 300;
const STOP_SECONDS_MAX: u64 = 60;
/// A living postmaster opens its port within moments, long before it has recovered.
const ANSWER_SECONDS_MAX: u64 = 10;
const COMMAND_SECONDS_MAX: u64 = START_SECONDS_MAX + 60;
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

#[derive(Debug)]
pub struct LocalPostgres {
    url: Redacted,
    /// `None` when another process started it and will stop it.
    cluster: Option<Cluster>,
}

#[derive(Debug, thiserror::Error)]
pub enum LocalPostgresError {
    #[error("No PostgreSQL 15–18 found{}. On Debian: apt-get install postgresql; or set TRONCH_PG_BIN to the folder of its initdb, or DATABASE_URL to a running server.", looked_in(.0))]
    NotFound(Option<PathBuf>),
    #[error("The database in {} was made by PostgreSQL {made_by}, but only {found} is here; install PostgreSQL {made_by}, or set TRONCH_PG_BIN to its folder.", .folder.display())]
    OtherMajor { folder: PathBuf, made_by: String, found: String },
    #[error(
        "PostgreSQL refuses to run as root, and there is neither a user postgres nor a user nobody; add one, or start tronch as another user."
    )]
    NoUser,
    #[error("PostgreSQL runs as the user {user}, who cannot pass through {0}; run: chmod o+x {0}, or point TRONCH_DATA_DIR elsewhere.", .folder.display())]
    Closed { folder: PathBuf, user: String },
    #[error("{program} failed ({status}); it said:\n{said}")]
    Command { program: String, status: String, said: String },
    #[error("The private PostgreSQL did not start; its log {} ends with:\n{tail}", .log.display())]
    NotStarted { log: PathBuf, tail: String },
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
        stopped.map(drop)
    }
}

/// A data folder with the programs and the user that fit it.
#[derive(Debug)]
struct Cluster {
    folder: PathBuf,
    programs: Programs,
    user: RunAs,
    superuser_password: Redacted,
}

impl Cluster {
    async fn prepare(data_dir: &DataDir, pg_bin: Option<&Path>) -> Result<Cluster> {
        let folder = data_dir.join(CLUSTER_FOLDER);
        let made_by = fs::read_to_string(folder.join("PG_VERSION")).ok().map(|text| text.trim().to_owned());
        let programs = Programs::find(&folder, made_by.as_deref(), pg_bin).await?;
        let user = RunAs::for_folder(&folder)?;
        user.check_way_to(data_dir.path())?;
        if made_by.is_none() {
            make_cluster(data_dir, &programs, &user).await?;
        }
        let superuser_password = password(data_dir, SUPERUSER_PASSWORD_FILE)?;
        Ok(Cluster { folder, programs, user, superuser_password })
    }

    /// The port of a Postgres that already serves this folder. A postmaster that is still recovering is waited for.
    async fn running_port(&self) -> Result<Option<u16>> {
        let begin = Instant::now();
        while let Some(postmaster) = Postmaster::read(&self.folder) {
            if !postmaster.is_alive_in(&self.folder) {
                self.forget_postmaster(&postmaster)?;
                return Ok(None);
            }
            match self.sql(postmaster.port, "postgres", "SELECT current_setting('data_directory');").await {
                Ok(serves) if Path::new(serves.trim()) == self.folder => return Ok(Some(postmaster.port)),
                Ok(_) => return Err(LocalPostgresError::NotRunning(self.folder.clone())),
                Err(error) if begin.elapsed() >= patience_with(&error) => return Err(error),
                Err(_) => tokio::time::sleep(PROBE_PAUSE).await,
            }
        }
        Ok(None)
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

    async fn start(&self) -> Result<u16> {
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
    async fn provide_database(&self, data_dir: &DataDir, port: u16) -> Result<()> {
        let password = password(data_dir, PASSWORD_FILE)?;
        let password = password.expose();
        // Terse, because psql would quote a line it does not like, and one of them holds the password.
        let sql = format!(
            "\\set VERBOSITY terse\n\
             SELECT 'CREATE ROLE tronch' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'tronch') \\gexec\n\
             ALTER ROLE tronch LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS PASSWORD '{password}';\n\
             SELECT 'CREATE DATABASE tronch OWNER tronch TEMPLATE template0' \
             WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'tronch') \\gexec\n"
        );
        self.sql(port, "postgres", &sql).await.map(drop)
    }

    async fn sql(&self, port: u16, database: &str, sql: &str) -> Result<String> {
        run_psql(&self.programs, port, ("postgres", &self.superuser_password), database, sql).await
    }
}

/// What the running Postgres writes about itself, in its own words: pid in line 1, port in line 4.
#[derive(Debug)]
struct Postmaster {
    pid: u32,
    port: u16,
}

impl Postmaster {
    fn read(folder: &Path) -> Option<Postmaster> {
        let text = fs::read_to_string(folder.join("postmaster.pid")).ok()?;
        let mut lines = text.lines();
        Some(Postmaster { pid: lines.next()?.trim().parse().ok()?, port: lines.nth(2)?.trim().parse().ok()? })
    }

    /// A pid alone proves nothing, because numbers are used again; but a postmaster works in its data folder.
    fn is_alive_in(&self, folder: &Path) -> bool {
        let process = Path::new("/proc").join(self.pid.to_string());
        match fs::read_link(process.join("cwd")) {
            Ok(working_folder) => fs::canonicalize(folder).is_ok_and(|folder| folder == working_folder),
            // A container may forbid root to look there; the name is the next best sign.
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                fs::read_to_string(process.join("comm")).is_ok_and(|name| name.trim() == "postgres")
            }
            // Without /proc (macOS) an open port has to do; the look at `data_directory` follows.
            Err(_) if !Path::new("/proc/self").exists() => {
                std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_ok()
            }
            Err(_) => false,
        }
    }
}

/// The folder with `initdb`, `pg_ctl`, `postgres` and `psql` of one major version.
#[derive(Debug, Clone)]
struct Programs {
    folder: PathBuf,
    major: u32,
}

impl Programs {
    async fn find(cluster_folder: &Path, made_by: Option<&str>, pg_bin: Option<&Path>) -> Result<Programs> {
        let found = match pg_bin {
            Some(folder) => Programs::in_folder(folder).await.into_iter().collect(),
            None => Programs::installed().await,
        };
        let majors: Vec<String> = found.iter().map(|programs| programs.major.to_string()).collect();
        let fitting = |programs: &Programs| made_by.is_none_or(|made_by| made_by == programs.major.to_string());
        match (found.into_iter().find(fitting), made_by) {
            (Some(programs), _) => Ok(programs),
            (None, Some(made_by)) if !majors.is_empty() => Err(LocalPostgresError::OtherMajor {
                folder: cluster_folder.to_owned(),
                made_by: made_by.to_owned(),
                found: majors.join(", "),
            }),
            (None, _) => Err(LocalPostgresError::NotFound(pg_bin.map(Path::to_owned))),
        }
    }

    async fn installed() -> Vec<Programs> {
        let mut found = Vec::new();
        for major in MAJORS {
            for pattern in PROGRAM_FOLDERS {
                found.extend(Programs::in_folder(Path::new(&pattern.replace("{}", &major.to_string()))).await);
            }
        }
        // The shell knows the PATH, so that only `config.rs` reads the environment.
        let which = Command::new("sh").args(["-c", "command -v initdb"]).stdin(Stdio::null()).output().await;
        let initdb =
            which.ok().and_then(|output| fs::canonicalize(String::from_utf8_lossy(&output.stdout).trim()).ok());
        if let Some(folder) = initdb.as_deref().and_then(Path::parent) {
            found.extend(Programs::in_folder(folder).await);
        }
        found
    }

    async fn in_folder(folder: &Path) -> Option<Programs> {
        let folder = fs::canonicalize(folder).ok()?;
        if !PROGRAMS.iter().all(|program| folder.join(program).is_file()) {
            return None;
        }
        let output = Command::new(folder.join("initdb")).arg("--version").stdin(Stdio::null()).output().await.ok()?;
        let major = major_of(&String::from_utf8_lossy(&output.stdout)).filter(|major| MAJORS.contains(major))?;
        Some(Programs { folder, major })
    }
}

/// The user under whom Postgres runs: ourselves, or another one when we are root.
#[derive(Debug, Clone)]
struct RunAs {
    other: Option<(u32, u32)>,
    name: String,
}

impl RunAs {
    fn for_folder(folder: &Path) -> Result<RunAs> {
        if !runs_as_root() {
            return Ok(RunAs { other: None, name: String::new() });
        }
        // Postgres insists on owning its folder, and numbers differ between images: an existing owner wins.
        if let Some(owner) = fs::metadata(folder).ok().filter(|metadata| metadata.uid() != 0) {
            return Ok(RunAs { other: Some((owner.uid(), owner.gid())), name: format!("number {}", owner.uid()) });
        }
        let accounts = fs::read_to_string("/etc/passwd").unwrap_or_default();
        let account = ["postgres", "nobody"].into_iter().find_map(|name| Some((name, ids_of(&accounts, name)?)));
        let (name, ids) = account.ok_or(LocalPostgresError::NoUser)?;
        Ok(RunAs { other: Some(ids), name: name.to_owned() })
    }

    /// Postgres's own message, "could not access directory", would not say which folder on the way is closed.
    fn check_way_to(&self, folder: &Path) -> Result<()> {
        let Some((uid, gid)) = self.other else { return Ok(()) };
        for step in folder.ancestors() {
            let metadata =
                fs::metadata(step).map_err(|source| LocalPostgresError::File { path: step.to_owned(), source })?;
            let needed = if metadata.uid() == uid {
                0o100
            } else if metadata.gid() == gid {
                0o010
            } else {
                0o001
            };
            if metadata.mode() & needed == 0 {
                return Err(LocalPostgresError::Closed { folder: step.to_owned(), user: self.name.clone() });
            }
        }
        Ok(())
    }

    fn own(&self, path: &Path) -> Result<()> {
        let Some((uid, gid)) = self.other else { return Ok(()) };
        chown(path, Some(uid), Some(gid)).map_err(|source| LocalPostgresError::File { path: path.to_owned(), source })
    }

    async fn run(&self, command: std::process::Command) -> Result<String> {
        let mut command = Command::from(command);
        if let Some((uid, gid)) = self.other {
            command.uid(uid).gid(gid);
        }
        run_command(command.env_clear(), "").await
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
    let mut made = Ok(String::new());
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

/// Reads a password, or makes it: 48 hex digits, which need no quoting in SQL and in URLs.
fn password(data_dir: &DataDir, name: &str) -> Result<Redacted> {
    let path = data_dir.join(name);
    if let Some(bytes) = data_dir.read_secret_file(name)? {
        let text = String::from_utf8_lossy(&bytes).trim().to_owned();
        let is_ours = text.len() == 48 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        return is_ours.then(|| Redacted::new(text)).ok_or(LocalPostgresError::PasswordMissing(path));
    }
    // The cluster knows the superuser only by the old password; a new one would lock us out.
    if name == SUPERUSER_PASSWORD_FILE && data_dir.join(CLUSTER_FOLDER).exists() {
        return Err(LocalPostgresError::PasswordMissing(path));
    }
    let mut bytes = [0_u8; 24];
    let random = File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
    random.map_err(|source| LocalPostgresError::File { path: "/dev/urandom".into(), source })?;
    let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    data_dir.write_secret_file(name, text.as_bytes())?;
    Ok(Redacted::new(text))
}

fn url_of(data_dir: &DataDir, port: u16) -> Result<Redacted> {
    let missing = || LocalPostgresError::PasswordMissing(data_dir.join(PASSWORD_FILE));
    let bytes = data_dir.read_secret_file(PASSWORD_FILE)?.ok_or_else(missing)?;
    let password = String::from_utf8_lossy(&bytes).trim().to_owned();
    Ok(Redacted::new(format!("postgres://tronch:{password}@127.0.0.1:{port}/tronch?sslmode=disable")))
}

/// Runs SQL as psql would from a file; gives the rows, unaligned. The password and the SQL stay out of the argument list.
async fn run_psql(
    programs: &Programs,
    port: u16,
    (user, password): (&str, &Redacted),
    database: &str,
    sql: &str,
) -> Result<String> {
    let psql =
        PsqlBuilder::new().program_dir(&programs.folder).no_psqlrc().quiet().tuples_only().no_align().no_password();
    let psql = psql.variable(("ON_ERROR_STOP", "1")).host("127.0.0.1").port(port).username(user).dbname(database);
    let mut command = Command::from(psql.build());
    command.env_clear().env("PGPASSWORD", password.expose()).env("PGCONNECT_TIMEOUT", "10").env("PGSSLMODE", "disable");
    run_command(&mut command, sql).await
}

async fn run_command(command: &mut Command, input: &str) -> Result<String> {
    let path = PathBuf::from(command.as_std().get_program());
    let program = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let failed = |source| LocalPostgresError::File { path: path.clone(), source };
    // A group of its own, so that Ctrl-C in a terminal reaches us alone and we stop Postgres in our own order. The other
    // user may not be allowed into our working folder. The messages have to be in the language we look for.
    command.process_group(0).current_dir("/").env("LC_ALL", "C").kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        match stdin.write_all(input.as_bytes()).await {
            // A program that ended early says why by its status and its words.
            Err(error) if error.kind() != ErrorKind::BrokenPipe => return Err(failed(error)),
            _ => drop(stdin),
        }
    }
    let finished = tokio::time::timeout(Duration::from_secs(COMMAND_SECONDS_MAX), child.wait_with_output()).await;
    let Output { status, stdout, stderr } = match finished {
        Ok(output) => output.map_err(failed)?,
        Err(_) => {
            let status = format!("no end after {COMMAND_SECONDS_MAX} seconds");
            return Err(LocalPostgresError::Command { program, status, said: String::new() });
        }
    };
    if !status.success() {
        let said = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
        return Err(LocalPostgresError::Command { program, status: status.to_string(), said: said.trim().to_owned() });
    }
    Ok(String::from_utf8_lossy(&stdout).into_owned())
}

/// How long an unanswered probe may still turn into an answer.
fn patience_with(error: &LocalPostgresError) -> Duration {
    match error.to_string() {
        text if text.contains("authentication failed") => Duration::ZERO,
        // Starting up, recovering or shutting down.
        text if text.contains("the database system is") => Duration::from_secs(START_SECONDS_MAX),
        _ => Duration::from_secs(ANSWER_SECONDS_MAX),
    }
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

/// The major version in "initdb (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)".
fn major_of(version: &str) -> Option<u32> {
    let number = version.split_once("(PostgreSQL) ")?.1;
    number.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

fn ids_of(accounts: &str, name: &str) -> Option<(u32, u32)> {
    let fields: Vec<&str> =
        accounts.lines().map(|line| line.split(':').collect()).find(|fields: &Vec<&str>| fields[0] == name)?;
    Some((fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?))
}

fn looked_in(folder: &Option<PathBuf>) -> String {
    folder.as_ref().map(|folder| format!(" in TRONCH_PG_BIN = {}", folder.display())).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data_dir;

    struct Scratch {
        data_dir: DataDir,
        lock: DataDirLock,
    }

    impl Scratch {
        /// Under /tmp, where the other user can pass even when the tests run as root.
        fn new(name: &str) -> Scratch {
            let data_dir =
                data_dir::prepare(Path::new(&format!("/tmp/tronch-postgres-{}-{name}", std::process::id()))).unwrap();
            let lock = data_dir.lock().unwrap();
            Scratch { data_dir, lock }
        }

        async fn start(&self) -> LocalPostgres {
            LocalPostgres::start(&self.data_dir, &self.lock, None).await.unwrap()
        }

        fn postmaster(&self) -> Postmaster {
            Postmaster::read(&self.data_dir.join(CLUSTER_FOLDER)).unwrap()
        }

        async fn sql_as_tronch(&self, sql: &str) -> Result<String> {
            let folder = self.data_dir.join(CLUSTER_FOLDER);
            let made_by = fs::read_to_string(folder.join("PG_VERSION")).unwrap();
            let programs = Programs::find(&folder, Some(made_by.trim()), None).await?;
            let password = password(&self.data_dir, PASSWORD_FILE)?;
            run_psql(&programs, self.postmaster().port, ("tronch", &password), "tronch", sql).await
        }

        async fn kill_postmaster(&self) {
            kill(&self.postmaster());
            while self.postmaster().is_alive_in(&self.data_dir.join(CLUSTER_FOLDER)) {
                tokio::task::yield_now().await;
            }
        }
    }

    fn kill(postmaster: &Postmaster) {
        let killed = std::process::Command::new("kill").args(["-9", &postmaster.pid.to_string()]).status().unwrap();
        assert!(killed.success());
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            // A test that failed has not stopped its Postgres.
            let folder = self.data_dir.join(CLUSTER_FOLDER);
            if let Some(postmaster) = Postmaster::read(&folder).filter(|postmaster| postmaster.is_alive_in(&folder)) {
                kill(&postmaster);
            }
            fs::remove_dir_all(self.data_dir.path()).unwrap();
        }
    }

    #[tokio::test]
    async fn the_role_owns_its_database_and_nothing_else() {
        let scratch = Scratch::new("role");
        let postgres = scratch.start().await;
        let rights = "SELECT rolsuper, rolcreatedb, rolcreaterole, rolreplication, rolbypassrls FROM pg_roles WHERE rolname = current_user;";
        assert_eq!(scratch.sql_as_tronch(rights).await.unwrap().trim(), "f|f|f|f|f");
        scratch.sql_as_tronch("CREATE TABLE t (i int); CREATE EXTENSION pg_trgm;").await.unwrap();
        let settings =
            "SELECT current_setting('fsync'), current_setting('data_checksums'), current_setting('server_encoding');";
        assert_eq!(scratch.sql_as_tronch(settings).await.unwrap().trim(), "on|on|UTF8");
        assert_eq!(scratch.sql_as_tronch("SELECT host(inet_server_addr());").await.unwrap().trim(), "127.0.0.1");
        let refused = scratch.sql_as_tronch("CREATE ROLE other;").await.unwrap_err().to_string();
        assert!(refused.contains("permission denied"), "{refused}");
        assert!(!format!("{postgres:?}").contains(password(&scratch.data_dir, PASSWORD_FILE).unwrap().expose()));
        postgres.stop().await.unwrap();
    }

    #[tokio::test]
    async fn what_was_stored_is_there_after_stop_and_start() {
        let scratch = Scratch::new("again");
        let postgres = scratch.start().await;
        scratch.sql_as_tronch("CREATE TABLE t AS SELECT 42 AS answer;").await.unwrap();
        postgres.stop().await.unwrap();
        assert!(matches!(LocalPostgres::attach(&scratch.data_dir).await, Err(LocalPostgresError::NotRunning(_))));
        let postgres = scratch.start().await;
        assert_eq!(scratch.sql_as_tronch("SELECT answer FROM t;").await.unwrap().trim(), "42");
        postgres.stop().await.unwrap();
    }

    #[tokio::test]
    async fn a_postgres_that_outlived_its_server_is_used_again() {
        let scratch = Scratch::new("outlived");
        let first = scratch.start().await;
        let pid = scratch.postmaster().pid;
        let second = scratch.start().await;
        assert_eq!((scratch.postmaster().pid, second.url()), (pid, first.url()));
        second.stop().await.unwrap();
        first.stop().await.unwrap();
    }

    #[tokio::test]
    async fn a_killed_postgres_recovers_what_was_committed() {
        let scratch = Scratch::new("killed");
        let killed = scratch.start().await;
        scratch.sql_as_tronch("CREATE TABLE t AS SELECT 42 AS answer;").await.unwrap();
        scratch.kill_postmaster().await;
        drop(killed);
        let postgres = scratch.start().await;
        assert_eq!(scratch.sql_as_tronch("SELECT answer FROM t;").await.unwrap().trim(), "42");
        postgres.stop().await.unwrap();
    }

    #[tokio::test]
    async fn a_pid_file_that_names_one_of_our_own_does_not_stop_us() {
        let scratch = Scratch::new("pid");
        scratch.start().await.stop().await.unwrap();
        let folder = scratch.data_dir.join(CLUSTER_FOLDER);
        let text = format!("{}\n{}\n1700000000\n5432\n\n127.0.0.1\n", std::process::id(), folder.display());
        fs::write(folder.join("postmaster.pid"), text).unwrap();
        scratch.start().await.stop().await.unwrap();
    }

    #[tokio::test]
    async fn an_attached_postgres_is_left_running() {
        let scratch = Scratch::new("attach");
        let postgres = scratch.start().await;
        let attached = LocalPostgres::attach(&scratch.data_dir).await.unwrap();
        assert_eq!(attached.url(), postgres.url());
        attached.stop().await.unwrap();
        assert_eq!(scratch.sql_as_tronch("SELECT 1;").await.unwrap().trim(), "1");
        postgres.stop().await.unwrap();
    }

    #[tokio::test]
    async fn a_lost_or_strange_installation_is_named() {
        let scratch = Scratch::new("strange");
        let start = |pg_bin| LocalPostgres::start(&scratch.data_dir, &scratch.lock, pg_bin);
        let error = start(Some(Path::new("/nonexistent"))).await.unwrap_err().to_string();
        assert!(error.contains("/nonexistent") && error.contains("apt-get install postgresql"), "{error}");
        fs::create_dir(scratch.data_dir.join(CLUSTER_FOLDER)).unwrap();
        fs::write(scratch.data_dir.join(CLUSTER_FOLDER).join("PG_VERSION"), "9\n").unwrap();
        let error = start(None).await.unwrap_err().to_string();
        assert!(error.contains("made by PostgreSQL 9") && error.contains("install PostgreSQL 9"), "{error}");
    }

    #[tokio::test]
    async fn a_start_that_fails_shows_the_end_of_the_log() {
        let scratch = Scratch::new("broken");
        scratch.start().await.stop().await.unwrap();
        fs::write(scratch.data_dir.join(CLUSTER_FOLDER).join("postgresql.conf"), "no_such_setting = 1\n").unwrap();
        let error = LocalPostgres::start(&scratch.data_dir, &scratch.lock, None).await.unwrap_err();
        assert!(error.to_string().contains("no_such_setting"), "{error}");
    }

    #[tokio::test]
    async fn a_lost_superuser_password_is_named_and_not_replaced() {
        let scratch = Scratch::new("lost");
        scratch.start().await.stop().await.unwrap();
        fs::remove_file(scratch.data_dir.join(SUPERUSER_PASSWORD_FILE)).unwrap();
        let error = LocalPostgres::start(&scratch.data_dir, &scratch.lock, None).await.unwrap_err().to_string();
        assert!(error.contains(SUPERUSER_PASSWORD_FILE) && error.contains("backup"), "{error}");
    }

    #[tokio::test]
    async fn a_lost_password_of_the_role_is_replaced() {
        let scratch = Scratch::new("new-password");
        let first = scratch.start().await;
        let url = first.url().clone();
        first.stop().await.unwrap();
        fs::remove_file(scratch.data_dir.join(PASSWORD_FILE)).unwrap();
        let second = scratch.start().await;
        assert_ne!(second.url(), &url);
        scratch.sql_as_tronch("SELECT 1;").await.unwrap();
        second.stop().await.unwrap();
    }

    #[test]
    fn a_closed_folder_on_the_way_is_named_with_the_chmod_to_run() {
        let folder = PathBuf::from(format!("/tmp/tronch-postgres-{}-closed", std::process::id()));
        DirBuilder::new().mode(0o700).create(&folder).unwrap();
        let stranger = RunAs { other: Some((4_000_000, 4_000_000)), name: "stranger".into() };
        let error = stranger.check_way_to(&folder).unwrap_err().to_string();
        fs::remove_dir(&folder).unwrap();
        assert!(error.contains(&format!("chmod o+x {}", folder.display())), "{error}");
    }

    #[test]
    fn versions_and_accounts_are_read_as_they_are_written() {
        let table = [
            ("initdb (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)", Some(15)),
            ("initdb (PostgreSQL) 18beta1", Some(18)),
            ("", None),
        ];
        for (version, major) in table {
            assert_eq!(major_of(version), major, "{version}");
        }
        let accounts = "root:x:0:0:root:/root:/bin/sh\npostgres:x:101:104::/:/bin/sh\nbad";
        assert_eq!((ids_of(accounts, "postgres"), ids_of(accounts, "bad")), (Some((101, 104)), None));
    }
}
