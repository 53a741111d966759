//! What is not remembered: how often Postgres is asked about it, and by whom.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::nodes::{Nodes, code};
use crate::support::{TestApp, Weather};

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_looked_up_once_and_then_remembered() {
    let nodes = Nodes::start(1).await;
    // The token is remembered by now.
    nodes.warm_key().await;
    let service = nodes.service(0);
    let (_, key) = service.create_key(&json!({ "name": "a key" })).await;
    let ask = json!({ "key": key, "environment": "test" });
    let before = nodes.proxies[0].reads();
    let first: Vec<_> = (0..100)
        .map(|_| {
            let (service, ask) = (service.clone(), ask.clone());
            tokio::spawn(async move { service.verify(&ask).await })
        })
        .collect();
    for answer in first {
        let answer = answer.await.expect("no panic");
        assert_eq!(answer["code"], "VALID", "{answer}");
    }
    for _ in 0..300 {
        let answer = service.verify(&ask).await;
        assert_eq!(answer["code"], "VALID");
        assert!(answer["data_age_ms"].as_u64().is_some_and(|age| age < 800), "{answer}");
    }
    assert_eq!(nodes.proxies[0].reads() - before, 1);
}

/// However many keys are asked about while Postgres is busy, it hears few questions; and each is answered for itself.
#[tokio::test(flavor = "multi_thread")]
async fn cold_keys_share_questions_while_postgres_is_busy() {
    let nodes = Nodes::start(1).await;
    nodes.warm_key().await;
    let service = nodes.service(0);
    let mut keys = Vec::new();
    for number in 0..19 {
        let (id, key) = service.create_key(&json!({ "name": format!("key {number}") })).await;
        keys.push((id, json!({ "key": key, "environment": "test" })));
    }
    let before = nodes.proxies[0].reads();
    nodes.proxies[0].set(Weather::ReadsHeld);
    let asking: Vec<_> = keys
        .into_iter()
        .map(|(id, ask)| {
            let service = service.clone();
            tokio::spawn(async move { (id, service.verify(&ask).await) })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(nodes.proxies[0].reads() - before <= 4, "a few questions are under way");
    nodes.proxies[0].set(Weather::Fair);
    for answer in asking {
        let (id, answer) = answer.await.expect("no panic");
        assert_eq!((&answer["code"], &answer["key_id"]), (&json!("VALID"), &json!(id)), "{answer}");
    }
    let questions = nodes.proxies[0].reads() - before;
    assert!(questions <= 8, "{questions} questions about 19 keys");
}

/// Handles that pass the gate and are nobody's are looked up within a budget; and a stranger's cost the same.
#[tokio::test(flavor = "multi_thread")]
async fn unknown_handles_are_looked_up_within_a_budget() {
    let app = TestApp::start().await;
    app.found("globex").await;
    let (ours, theirs) = (app.everything_in("acme").await, app.everything_in("globex").await);
    let (_, known) = ours.create_key(&json!({ "name": "warm" })).await;
    let ask = |key: &str| json!({ "key": key, "environment": "test", "project": "default" });
    assert_eq!(code(&ours, &ask(&known)).await, "VALID");
    let mut foreign = Vec::new();
    for _ in 0..40 {
        foreign.push(theirs.create_key(&json!({ "name": "a stranger's" })).await.1);
    }
    let mut codes = std::collections::BTreeMap::new();
    let begun = Instant::now();
    for key in &foreign {
        *codes.entry(code(&ours, &ask(key)).await).or_insert(0) += 1;
    }
    let allowed = 20 + usize::try_from(begun.elapsed().as_millis() / 50).expect("a number") + 1;
    let answered = codes.get("NOT_FOUND").copied().unwrap_or_default();
    assert!((20..=allowed).contains(&answered), "{codes:?}, at most {allowed}");
    assert_eq!(answered + codes.get("unavailable").copied().unwrap_or_default(), 40, "{codes:?}");
    // What is known costs nothing.
    assert_eq!(code(&ours, &ask(&known)).await, "VALID");
    assert_eq!(code(&theirs, &ask(&foreign[0])).await, "VALID");
}

/// However many ask at once: what is reserved is what is left.
#[tokio::test(flavor = "multi_thread")]
async fn a_burst_of_unknown_handles_costs_postgres_no_more_than_the_budget() {
    let nodes = Nodes::start(1).await;
    let service = nodes.service(0);
    let mut gone = Vec::new();
    for _ in 0..80 {
        gone.push(service.create_key(&json!({ "name": "gone", "environment": "live" })).await.1);
    }
    let (_, warm) = nodes.warm_key().await;
    let system = nodes.database.connect_as_system().await;
    assert_eq!(system.execute("DELETE FROM keys WHERE name = 'gone'", &[]).await.expect("a deletion"), 80);
    // Until that is known, what was read may have to be read again.
    let (other, _) = service.create_key(&json!({ "name": "another" })).await;
    let waited = service.patch(&format!("/api/v1/keys/{other}?wait=all"), &json!({})).await;
    assert_eq!(waited.json()["confirmation"]["unconfirmed"], json!([]), "{}", waited.text);
    let (before, begun) = (nodes.proxies[0].reads(), Instant::now());
    let burst: Vec<_> = gone
        .into_iter()
        .map(|key| {
            let service = service.clone();
            tokio::spawn(async move { code(&service, &json!({ "key": key })).await })
        })
        .collect();
    let mut codes = std::collections::BTreeMap::new();
    for asked in burst {
        *codes.entry(asked.await.expect("no panic")).or_insert(0) += 1;
    }
    let allowed = 20 + usize::try_from(begun.elapsed().as_millis() / 50).expect("a number") + 1;
    let (told, questions) = (codes["NOT_FOUND"], nodes.proxies[0].reads() - before);
    assert!((20..=allowed).contains(&told), "{told} were looked up, at most {allowed}; {codes:?}");
    assert!((1..=told).contains(&questions), "{questions} questions; {codes:?}");
    assert_eq!(told + codes["unavailable"], 80);
    assert_eq!(code(&service, &warm).await, "VALID");
}
