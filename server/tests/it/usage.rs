//! Usage shown is calls made: by verdict, over time, for a tenant and for a key; also across a restart, and when a batch
//! is sent twice.

use std::collections::BTreeMap;

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::{DataDir, Server, TestApp, TestDatabase, Visitor, bootstrap, eventually, owner};

/// The counts of all points, by verdict.
async fn counted(service: &Visitor, query: &str) -> BTreeMap<String, u64> {
    let answer = service.get(&format!("/api/v1/usage?{query}")).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    let mut sums = BTreeMap::new();
    for point in answer.json()["points"].as_array().expect("points") {
        for (code, count) in point["counts"].as_object().expect("counts") {
            *sums.entry(code.clone()).or_default() += count.as_u64().expect("a number");
        }
    }
    sums
}

fn expected(counts: &[(&str, u64)]) -> BTreeMap<String, u64> {
    counts.iter().map(|(code, count)| ((*code).to_owned(), *count)).collect()
}

async fn shows(service: &Visitor, query: &str, counts: &[(&str, u64)]) {
    let (query, counts) = (query.to_owned(), expected(counts));
    let last = std::cell::RefCell::new(BTreeMap::new());
    eventually(&format!("usage with {query} is {counts:?}"), async || {
        *last.borrow_mut() = counted(service, &query).await;
        *last.borrow() == counts
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_call_is_counted_by_verdict_for_its_key_and_for_its_tenant() {
    let app = TestApp::start().await;
    app.found("other").await;
    let service = app.everything_in("acme").await;
    let (first, secret) = service.create_key(&json!({ "name": "first", "environment": "live" })).await;
    let (second, other_secret) = service.create_key(&json!({ "name": "second", "environment": "live" })).await;
    let (unused, _) = service.create_key(&json!({ "name": "unused" })).await;
    for (key, times) in [(secret.as_str(), 3), (other_secret.as_str(), 2), ("no key at all", 4)] {
        for _ in 0..times {
            service.verify(&json!({ "key": key })).await;
        }
    }
    service.post(&format!("/api/v1/keys/{first}/disable"), &json!({})).await;
    service.verify(&json!({ "key": secret })).await;
    service.verify(&json!({ "key": other_secret, "environment": "test" })).await;
    // A stranger's question about our key counts for the stranger.
    let stranger = app.everything_in("other").await;
    stranger.verify(&json!({ "key": secret })).await;

    let all = [("DISABLED", 1), ("ENVIRONMENT_MISMATCH", 1), ("MALFORMED", 4), ("VALID", 5)];
    for span in ["1h", "24h", "7d", "30d"] {
        shows(&service, &format!("span={span}"), &all).await;
    }
    shows(&service, &format!("key_id={first}"), &[("DISABLED", 1), ("VALID", 3)]).await;
    shows(&service, &format!("key_id={second}"), &[("ENVIRONMENT_MISMATCH", 1), ("VALID", 2)]).await;
    shows(&service, &format!("key_id={unused}"), &[]).await;
    shows(&stranger, "", &[("NOT_FOUND", 1)]).await;

    let key = service.get(&format!("/api/v1/keys/{second}")).await.json();
    assert!(key["last_used_at"].is_string(), "{key}");
    let key = service.get(&format!("/api/v1/keys/{unused}")).await.json();
    assert_eq!(key["last_used_at"], Value::Null);

    // The same numbers on the pages, for those who look.
    let member = app.member(&owner("acme")).await;
    let overview = member.get("/t/acme/?span=1h").await.text;
    for line in ["Environment mismatch", "This is no key.", "36.4 %"] {
        assert!(overview.contains(line), "the overview does not say {line}");
    }
    let page = member.get(&format!("/t/acme/keys/{first}?span=30d")).await.text;
    assert!(page.contains("Disabled: 1") && page.contains("Valid: 3"), "the key's chart is not there");
}

#[tokio::test(flavor = "multi_thread")]
async fn usage_is_asked_for_strictly() {
    let app = TestApp::start().await;
    let service = app.everything_in("acme").await;
    let absent = tronch_core::KeyId::from_uuid(uuid::Uuid::from_u128(1));
    for (query, refusal) in [
        ("span=2h".to_owned(), (422, "invalid_field", Some("span"))),
        ("spam=1h".to_owned(), (422, "unknown_field", Some("spam"))),
        (format!("key_id={absent}"), (404, "not_found", None)),
        ("key_id=nonsense".to_owned(), (404, "not_found", None)),
    ] {
        let (status, code, field) = service.get(&format!("/api/v1/usage?{query}")).await.refusal();
        assert_eq!((status, code.as_str(), field.as_deref()), refusal, "{query}");
    }
    let points = service.get("/api/v1/usage?span=1h").await.json();
    assert_eq!((points["step_seconds"].as_u64(), points["points"].as_array().map(Vec::len)), (Some(60), Some(60)));
}

/// Ten thousand calls, a stop in order after half of them, and every one is shown.
#[tokio::test(flavor = "multi_thread")]
async fn no_call_is_lost_over_a_restart() {
    const CALLS: u64 = 10_000;
    const CLIENTS: u64 = 4;
    let (database, data_dir) = (TestDatabase::create().await, DataDir::create());
    let url = database.url();
    let settings = [("DATABASE_URL", url.as_str())];
    let token = bootstrap(&data_dir, &settings, "acme", "correct horse battery");
    let mut server = Server::start(&data_dir, &settings).await;
    let service = server.service(&token);
    let mut keys = Vec::new();
    for name in ["valid", "disabled", "revoked"] {
        keys.push(service.create_key(&json!({ "name": name, "environment": "live" })).await);
    }
    service.post(&format!("/api/v1/keys/{}/disable", keys[1].0), &json!({})).await;
    service.delete(&format!("/api/v1/keys/{}", keys[2].0)).await;
    let texts: Vec<String> = keys.into_iter().map(|(_, secret)| secret).chain(["no key".to_owned()]).collect();
    let codes = ["VALID", "DISABLED", "REVOKED", "MALFORMED"];
    for half in 0..2 {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let (service, texts) = (server.service(&token), texts.clone());
                tokio::spawn(async move {
                    for call in (0..CALLS / 2).filter(|call| call % CLIENTS == client) {
                        let which = usize::try_from(call % 4).expect("small");
                        assert_eq!(service.verify(&json!({ "key": texts[which] })).await["code"], codes[which]);
                    }
                })
            })
            .collect();
        for client in clients {
            client.await.expect("no panic");
        }
        if half == 0 {
            server.stop();
            server = Server::start(&data_dir, &settings).await;
        }
    }
    let each = CALLS / 4;
    let service = server.service(&token);
    shows(&service, "", &codes.map(|code| (code, each))).await;
    server.stop();
    let system = database.connect_as_system().await;
    let row = system
        .query_one(
            "SELECT count(*), count(closed_at), sum(offered)::bigint, sum(stored)::bigint, sum(dropped)::bigint \
             FROM usage_incarnations",
            &[],
        )
        .await
        .expect("totals");
    let totals: [i64; 5] = std::array::from_fn(|column| row.get(column));
    println!("{CALLS} calls: {} stored, {} dropped", totals[3], totals[4]);
    let calls = i64::try_from(CALLS).expect("small");
    assert_eq!(totals, [2, 2, calls, calls, 0], "starts, ended in order, offered, stored, dropped");
}

/// What a killed process loses is at most what it had not stored; what it had stored is counted once.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_process_shows_as_ended_without_closing() {
    let (database, data_dir) = (TestDatabase::create().await, DataDir::create());
    let url = database.url();
    let settings = [("DATABASE_URL", url.as_str())];
    let token = bootstrap(&data_dir, &settings, "acme", "correct horse battery");
    let server = Server::start(&data_dir, &settings).await;
    let service = server.service(&token);
    service.verify(&json!({ "key": "x" })).await;
    shows(&service, "", &[("MALFORMED", 1)]).await;
    server.kill();
    let server = Server::start(&data_dir, &settings).await;
    shows(&server.service(&token), "", &[("MALFORMED", 1)]).await;
    server.stop();
    let system = database.connect_as_system().await;
    let open = system.query_one("SELECT count(*) FROM usage_incarnations WHERE closed_at IS NULL", &[]).await;
    assert_eq!(open.expect("a count").get::<_, i64>(0), 1);
}
