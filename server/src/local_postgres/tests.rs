//! The private Postgres with real processes under /tmp. The doors are not opened here.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;

use super::password::password;
use super::programs::{Programs, major_of};
use super::psql::run_psql;
use super::run_as::{RunAs, ids_of};
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
