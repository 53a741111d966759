//! `kill -9` in the middle of creating and rotating: what was acknowledged is there, each change has its audit event and
//! each event its change, and no key is half made.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio_postgres::Client;
use tronch_core::KeyId;

use crate::support::{DataDir, Server, Visitor, bootstrap, connect, eventually};

const RUNS: u32 = 50;
const CLIENTS: usize = 8;

/// A key whose making was acknowledged, with its secret; and the key it replaced, if it did.
struct Acknowledged {
    id: String,
    secret: String,
    predecessor: Option<String>,
}

/// What a run waits for before its random moment comes, so that a slow machine dies in the middle of work as well.
const ACKNOWLEDGED_MIN: usize = 2 * CLIENTS;

/// Creates a key and rotates it, again and again, until the server is gone. Returns what was acknowledged.
async fn create_and_rotate(service: Visitor, stop: Arc<AtomicBool>, done: Arc<AtomicUsize>) -> Vec<Acknowledged> {
    let mut acknowledged = Vec::new();
    let mut last: Option<String> = None;
    while !stop.load(Ordering::Relaxed) {
        let (path, body) = match &last {
            None => ("/api/v1/keys".to_owned(), json!({ "name": "made under fire", "environment": "live" })),
            Some(id) => (format!("/api/v1/keys/{id}/rotate"), json!({ "grace_seconds": 3600 })),
        };
        // No answer, or one that broke off, acknowledges nothing.
        let Ok(response) = service.request(reqwest::Method::POST, &path).json(&body).send().await else { break };
        let status = response.status();
        let Ok(made) = response.json::<Value>().await else { break };
        if status != StatusCode::CREATED {
            assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{made}");
            break;
        }
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        let (id, secret) = (text(&made["key"]["id"]), text(&made["secret"]));
        let predecessor = last.take();
        if predecessor.is_none() {
            last = Some(id.clone());
        }
        acknowledged.push(Acknowledged { id, secret, predecessor });
        done.fetch_add(1, Ordering::Relaxed);
    }
    acknowledged
}

async fn ids(database: &Client, sql: &str) -> Vec<String> {
    let rows = database.query(sql, &[]).await.expect("an answer");
    let mut ids: Vec<String> =
        rows.iter().map(|row| KeyId::from_uuid(row.get::<_, &str>(0).parse().expect("an id")).to_string()).collect();
    ids.sort_unstable();
    ids
}

async fn told(database: &Client, action: &str) -> Vec<String> {
    let sql = "SELECT target_id FROM audit_events WHERE action = $1";
    let rows = database.query(sql, &[&action]).await.expect("an answer");
    let mut ids: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    ids.sort_unstable();
    ids
}

/// Each change has its one event and each event its change, and both ends of a rotation know each other.
async fn all_is_in_order(database: &Client, run: u32) {
    assert_eq!(ids(database, "SELECT id::text FROM keys").await, told(database, "create_key").await, "run {run}");
    let rotated = "SELECT id::text FROM keys WHERE successor_id IS NOT NULL";
    assert_eq!(ids(database, rotated).await, told(database, "rotate_key").await, "run {run}");
    let half_made = "SELECT coalesce(old.id, new.id)::text FROM keys old FULL JOIN keys new ON new.predecessor_id = old.id \
                     WHERE (old.successor_id IS NOT NULL OR new.predecessor_id IS NOT NULL) \
                     AND (old.successor_id IS DISTINCT FROM new.id OR old.grace_ends_at IS NULL)";
    assert_eq!(ids(database, half_made).await, Vec::<String>::new(), "run {run}");
}

async fn database_of(data_dir: &DataDir) -> Client {
    connect(&format!("{}?options=-c%20tronch.scope%3Dsystem", data_dir.database_url())).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives_kill_9_whole_and_with_its_audit_event() {
    let data_dir = DataDir::create();
    let token = bootstrap(&data_dir, &[], "acme", "correct horse battery");
    let (mut keys, mut rotations) = (0, 0);
    for run in 0..RUNS {
        let server = Server::start(&data_dir, &[]).await;
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| tokio::spawn(create_and_rotate(server.service(&token), Arc::clone(&stop), Arc::clone(&done))))
            .collect();
        eventually("work is under way", async || done.load(Ordering::Relaxed) >= ACKNOWLEDGED_MIN).await;
        // Not a wait for anything: the moment of death is what is drawn at random.
        let milliseconds = u64::from(uuid::Uuid::new_v4().as_bytes()[0]) * 2;
        tokio::time::sleep(Duration::from_millis(milliseconds)).await;
        if run % 2 == 1 {
            data_dir.kill_postgres();
        }
        server.kill();
        stop.store(true, Ordering::Relaxed);
        let mut acknowledged = Vec::new();
        for client in clients {
            acknowledged.extend(client.await.expect("no panic"));
        }
        let server = Server::start(&data_dir, &[]).await;
        let service = server.service(&token);
        for made in &acknowledged {
            let verdict = service.verify(&json!({ "key": made.secret })).await;
            assert_eq!((&verdict["code"], &verdict["key_id"]), (&json!("VALID"), &json!(made.id)), "run {run}");
            if let Some(predecessor) = &made.predecessor {
                let key = service.get(&format!("/api/v1/keys/{predecessor}")).await.json();
                assert_eq!(key["rotation"]["successor_id"], json!(made.id), "run {run}");
                rotations += 1;
            }
        }
        keys += acknowledged.len();
        all_is_in_order(&database_of(&data_dir).await, run).await;
        server.stop();
    }
    println!("{RUNS} runs: {keys} keys acknowledged, {rotations} of them by rotation; 0 lost, 0 without their event");
    assert!(rotations > 0 && keys > rotations, "{keys} keys and {rotations} rotations show too little");
}
