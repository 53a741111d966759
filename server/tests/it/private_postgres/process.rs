//! `tronch serve` as a process above its private Postgres: interrupted, killed, and met by other major versions.

use serde_json::json;
use tokio_postgres::Client;

use crate::support::{DataDir, Server, bootstrap, command, connect, pg_bin_of, run};

const PASSWORD: &str = "correct horse battery";

async fn as_system(data_dir: &DataDir) -> Client {
    connect(&format!("{}?options=-c%20tronch.scope%3Dsystem", data_dir.database_url())).await
}

/// Process group and session of a process: fields 5 and 6 of proc(5), counted from behind the name.
fn group_and_session(pid: u32) -> (u32, u32) {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let mut fields = text.rsplit_once(')').expect("a name").1.split_whitespace().skip(2);
    let mut number = || fields.next().expect("a field").parse().expect("a number");
    (number(), number())
}

/// When a line of a log with these words was written, to the millisecond: both logs begin their lines with the time in UTC.
fn moment(log: &str, words: &str) -> String {
    let lines: Vec<&str> = log.lines().filter(|line| line.contains(words)).collect();
    let [line] = lines[..] else { panic!("{words:?} is not said once:\n{log}") };
    let time = line.split_once("\"timestamp\":\"").map_or(line, |(_, time)| time);
    time.chars().take(23).collect::<String>().replace(' ', "T")
}

/// Ctrl-C reaches every process of the terminal's group at once. Were Postgres among them, it would be gone while the
/// last calls are still to be stored.
#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_stores_the_last_calls_and_stops_postgres_last() {
    const CALLS: i64 = 500;
    let data_dir = DataDir::create();
    let token = bootstrap(&data_dir, &[], "acme", PASSWORD);
    let server = Server::start_as_group(&data_dir, &[("TRONCH_LOG_FORMAT", "json")]).await;
    let (postgres, _) = data_dir.postmaster().expect("a running Postgres");
    let (group, session) = group_and_session(server.id());
    assert_eq!(group, server.id(), "the server leads no group");
    assert_ne!(group_and_session(postgres).0, group);
    assert_ne!(group_and_session(postgres).1, session);

    let service = server.service(&token);
    let (_, secret) = service.create_key(&json!({ "name": "a key", "environment": "live" })).await;
    for _ in 0..CALLS {
        assert_eq!(service.verify(&json!({ "key": secret })).await["code"], "VALID");
    }
    let log = server.interrupt_group();
    let postgres_log = data_dir.read("postgres/server.log");
    assert_eq!(data_dir.postmaster(), None, "Postgres still runs");
    assert!(postgres_log.ends_with("database system is shut down"), "{postgres_log}");
    // The command that came before had a Postgres of its own.
    let last_run = postgres_log.rsplit_once("ready to accept connections").expect("a start").1;
    let (told, stopped) = (moment(last_run, "received fast shutdown request"), moment(&log, "\"stopped\""));
    assert!(stopped <= told, "tronch had stopped at {stopped}, but Postgres was told at {told}");

    let server = Server::start(&data_dir, &[]).await;
    let sql = "SELECT count(*), sum(offered)::bigint, sum(stored)::bigint, sum(dropped)::bigint \
               FROM usage_incarnations WHERE closed_at IS NOT NULL AND offered > 0";
    let row = as_system(&data_dir).await.query_one(sql, &[]).await.expect("totals");
    let totals: [i64; 4] = std::array::from_fn(|column| row.get(column));
    assert_eq!(totals, [1, CALLS, CALLS, 0], "runs that ended in order, offered, stored, dropped");
    server.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_postgres_that_outlived_its_killed_server_is_used_again() {
    let data_dir = DataDir::create();
    let token = bootstrap(&data_dir, &[], "acme", PASSWORD);
    let server = Server::start(&data_dir, &[]).await;
    let (_, secret) = server.service(&token).create_key(&json!({ "name": "a key", "environment": "live" })).await;
    let running = data_dir.postmaster();
    server.kill();
    assert_eq!(data_dir.postmaster(), running);
    let server = Server::start(&data_dir, &[]).await;
    assert_eq!(data_dir.postmaster(), running, "another Postgres was started");
    assert_eq!(server.service(&token).verify(&json!({ "key": secret })).await["code"], "VALID");
    let log = server.stop();
    assert!(log.contains("still running"), "{log}");
    assert_eq!(data_dir.postmaster(), None, "it was taken over, and so it is stopped");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_is_opened_by_its_own_major_version_only() {
    let data_dir = DataDir::create();
    let (old, new) = (pg_bin_of("15"), pg_bin_of("18"));
    let made = [("TRONCH_PG_BIN", old.as_str())];
    let token = bootstrap(&data_dir, &made, "acme", PASSWORD);
    let folder = data_dir.path().join("postgres");
    let version = || std::fs::read_to_string(folder.join("PG_VERSION")).expect("a version");
    assert_eq!(version().trim(), "15");

    let mut serve = command(&data_dir, &["serve"]);
    serve.env("TRONCH_LISTEN", "127.0.0.1:0").env("TRONCH_OPS_LISTEN", "127.0.0.1:0").env("TRONCH_PG_BIN", &new);
    let output = run(&mut serve, "");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    for words in [folder.to_str().expect("a path"), "made by PostgreSQL 15", "only 18 is here", "install PostgreSQL 15"]
    {
        assert!(said.contains(words), "{said:?} does not say {words:?}");
    }
    assert_eq!(version().trim(), "15");

    // An empty variable counts as not set: now both are found, and the older one is taken.
    let server = Server::start(&data_dir, &[("TRONCH_PG_BIN", "")]).await;
    let row = as_system(&data_dir).await.query_one("SELECT current_setting('server_version_num')", &[]).await;
    let version: String = row.expect("a version").get(0);
    assert!(version.starts_with("15"), "{version}");
    assert_eq!(server.service(&token).get("/api/v1/keys").await.status, 200);
    server.stop();
}
