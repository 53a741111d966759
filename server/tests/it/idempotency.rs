//! `Idempotency-Key`: the same write is done once, whatever happens around it, and its secret is kept nowhere.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio_postgres::Client;

use crate::support::{Answer, DataDir, Server, TestApp, Visitor, bootstrap, connect, eventually, owner};

const REUSED: &str = "idempotency_key_reused";
const RUNNING: &str = "idempotency_in_progress";

async fn keyed(service: &Visitor, method: Method, path: &str, key: &str, body: &Value) -> Answer {
    Visitor::send(service.request(method, path).header("Idempotency-Key", key).json(body)).await
}

async fn create(service: &Visitor, key: &str, body: &Value) -> Answer {
    keyed(service, Method::POST, "/api/v1/keys", key, body).await
}

async fn count(database: &Client, table: &str) -> i64 {
    database.query_one(&format!("SELECT count(*) FROM {table}"), &[]).await.expect("a count").get(0)
}

fn first(answer: &Answer) -> (String, String) {
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
    assert_eq!(answer.header("idempotency-replayed"), "");
    let made = answer.json();
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    (text(&made["key"]["id"]), text(&made["secret"]))
}

fn replay(answer: &Answer, id: &str) {
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
    assert_eq!(answer.header("idempotency-replayed"), "true");
    assert_eq!(answer.json()["key"]["id"], *id);
    assert_eq!(answer.json()["secret"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_body_is_answered_like_the_first_time_and_another_is_refused() {
    let app = TestApp::start().await;
    let (service, database) = (app.everything_in("acme").await, app.database.connect_as_system().await);
    let body = json!({ "name": "once", "environment": "live" });
    let (id, secret) = first(&create(&service, "a", &body).await);
    replay(&create(&service, "a", &body).await, &id);
    for other in [json!({ "name": "once" }), json!({ "name": "twice", "environment": "live" })] {
        assert_eq!(create(&service, "a", &other).await.refusal(), (422, REUSED.into(), Some("Idempotency-Key".into())));
    }
    // What is answered is the key as it is now.
    let renamed = service.patch(&format!("/api/v1/keys/{id}"), &json!({ "name": "renamed" })).await;
    assert_eq!(renamed.status, StatusCode::OK);
    assert_eq!(create(&service, "a", &body).await.json()["key"]["name"], "renamed");
    assert_eq!(count(&database, "keys").await, 1);
    assert_eq!(count(&database, "audit_events WHERE action = 'create_key'").await, 1);
    assert_eq!(service.verify(&json!({ "key": secret })).await["code"], "VALID");
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_first_still_runs_a_second_is_told_so() {
    let app = TestApp::start().await;
    let (service, database) = (app.everything_in("acme").await, app.database.connect_as_system().await);
    let body = json!({ "name": "slow" });
    // The first waits for the project, inside its transaction.
    database.batch_execute("BEGIN; SELECT 1 FROM projects FOR UPDATE").await.expect("a lock");
    let running = tokio::spawn({
        let (service, body) = (service.clone(), body.clone());
        async move { create(&service, "a", &body).await }
    });
    let observer = app.database.connect_as_system().await;
    eventually("the first waits", async || {
        // With nobody beside it, it holds its word; with others, what keeps cut-offs away.
        count(&observer, "pg_locks WHERE locktype = 'advisory' AND mode = 'ExclusiveLock' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())").await == 1
    })
    .await;
    assert_eq!(create(&service, "a", &body).await.refusal(), (409, RUNNING.into(), None));
    // Another word is another write.
    database.batch_execute("ROLLBACK").await.expect("an unlock");
    let (id, _) = first(&running.await.expect("no panic"));
    replay(&create(&service, "a", &body).await, &id);
    assert_eq!(count(&observer, "keys").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_at_once_one_makes_the_key() {
    let app = TestApp::start().await;
    let (service, database) = (app.everything_in("acme").await, app.database.connect_as_system().await);
    for round in 0..20 {
        let tasks: Vec<_> = (0..8)
            .map(|_| {
                let service = service.clone();
                tokio::spawn(
                    async move { create(&service, &format!("round-{round}"), &json!({ "name": "raced" })).await },
                )
            })
            .collect();
        let mut secrets = 0;
        for task in tasks {
            let answer = task.await.expect("no panic");
            match answer.status.as_u16() {
                201 if answer.header("idempotency-replayed") == "true" => {
                    assert_eq!(answer.json()["secret"], Value::Null)
                }
                201 => secrets += 1,
                _ => assert_eq!(answer.refusal().1, RUNNING),
            }
        }
        assert_eq!((secrets, count(&database, "keys").await), (1, round + 1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_day_the_word_is_forgotten() {
    let app = TestApp::start().await;
    let (service, database) = (app.everything_in("acme").await, app.database.connect_as_system().await);
    let body = json!({ "name": "daily" });
    let (id, _) = first(&create(&service, "a", &body).await);
    let left: f64 = database
        .query_one("SELECT extract(epoch FROM expires_at - now())::float8 FROM idempotency_keys", &[])
        .await
        .expect("a row")
        .get(0);
    assert!((86_000.0..=86_400.0).contains(&left), "{left} seconds");
    let turn_back =
        |interval: &'static str| format!("UPDATE idempotency_keys SET expires_at = expires_at - interval '{interval}'");
    database.batch_execute(&turn_back("23 hours 58 minutes")).await.expect("time passes");
    replay(&create(&service, "a", &body).await, &id);
    database.batch_execute(&turn_back("2 minutes")).await.expect("time passes");
    // Even with another body: it is a new word.
    let (later, _) = first(&create(&service, "a", &json!({ "name": "next day" })).await);
    assert_ne!(id, later);
    replay(&create(&service, "a", &json!({ "name": "next day" })).await, &later);
    database.batch_execute(&turn_back("25 hours")).await.expect("time passes");
    assert_eq!(tronch_engine::forget_old_writes(&app.engine).await.expect("a sweep"), 1);
    assert_eq!(count(&database, "idempotency_keys").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_word_belongs_to_its_caller_and_address_and_a_refused_write_is_not_remembered() {
    let app = TestApp::start().await;
    app.found("other").await;
    let (service, database) = (app.everything_in("acme").await, app.database.connect_as_system().await);
    let body = json!({ "name": "once" });
    for caller in [&service, &app.everything_in("acme").await, &app.everything_in("other").await] {
        first(&create(caller, "a", &body).await);
    }
    assert_eq!(count(&database, "keys").await, 3);
    // Elsewhere the same word is another one.
    let (first_key, _) = service.create_key(&body).await;
    let (second_key, _) = service.create_key(&body).await;
    for key in [&first_key, &second_key] {
        let path = format!("/api/v1/keys/{key}/disable");
        let answer = keyed(&service, Method::POST, &path, "a", &json!({})).await;
        assert_eq!((answer.status, answer.header("idempotency-replayed")), (StatusCode::OK, ""), "{}", answer.text);
    }
    let elsewhere = json!({ "name": "x", "project": "later" });
    assert_eq!(create(&service, "b", &elsewhere).await.refusal().0, 404);
    let project = service.post("/api/v1/projects", &json!({ "slug": "later" })).await;
    assert_eq!(project.status, StatusCode::CREATED, "{}", project.text);
    first(&create(&service, "b", &elsewhere).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_write_can_be_repeated() {
    let app = TestApp::start().await;
    let (service, database) = (app.everything_in("acme").await, app.database.connect_as_system().await);
    let (key, _) = service.create_key(&json!({ "name": "a key" })).await;
    let token = service.post("/api/v1/service-tokens", &json!({ "name": "t", "permissions": ["keys.read"] })).await;
    let token = token.json()["service_token"]["id"].as_str().expect("an id").to_owned();
    let limit = json!({ "name": "a-limit", "key_id": key, "credits": { "amount": 5 } });
    let limit = service.post("/api/v1/limits", &limit).await.json()["id"].as_str().expect("an id").to_owned();
    let at = |rest: &str| format!("/api/v1/keys/{key}{rest}");
    let writes = [
        (Method::PATCH, at(""), json!({ "name": "changed" })),
        (Method::POST, at("/disable"), json!({})),
        (Method::POST, at("/enable"), json!({})),
        (Method::POST, at("/rotate"), json!({ "grace_seconds": 600 })),
        (Method::POST, at("/finish-rotation"), json!({})),
        (Method::DELETE, at(""), json!({ "reason": "a test" })),
        (Method::POST, "/api/v1/keys/revoke".to_owned(), json!({ "environment": "test", "reason": "a test" })),
        (
            Method::POST,
            "/api/v1/limits".to_owned(),
            json!({ "name": "new", "project": "default", "burst": { "capacity": 5, "refill": 1 } }),
        ),
        (Method::PATCH, format!("/api/v1/limits/{limit}"), json!({ "automatic": false })),
        (Method::POST, format!("/api/v1/limits/{limit}/credits"), json!({ "add": 7 })),
        (Method::DELETE, format!("/api/v1/limits/{limit}"), json!({})),
        (Method::POST, "/api/v1/service-tokens".to_owned(), json!({ "name": "t", "permissions": ["keys.read"] })),
        (Method::POST, format!("/api/v1/service-tokens/{token}/rotate"), json!({ "grace_seconds": 600 })),
        (Method::DELETE, format!("/api/v1/service-tokens/{token}"), json!({})),
        (Method::POST, "/api/v1/projects".to_owned(), json!({ "slug": "second" })),
        (Method::PATCH, "/api/v1/projects/second".to_owned(), json!({ "name": "Second" })),
        (Method::POST, "/api/v1/projects/second/archive".to_owned(), json!({})),
        (Method::POST, "/api/v1/projects/second/restore".to_owned(), json!({})),
    ];
    // Making a key and asking about one have their own tests; to try a limit and to charge one write nothing that is answered.
    let served = tronch_server::doors::surface();
    let served = served.iter().filter(|route| route.path.starts_with("/api/v1/") && route.method != Method::GET);
    assert_eq!(writes.len() + 4, served.count());
    for (number, (method, path, body)) in writes.into_iter().enumerate() {
        let word = format!("word-{number}");
        let send = async || match body.as_object().is_some_and(serde_json::Map::is_empty) {
            true => Visitor::send(service.request(method.clone(), &path).header("Idempotency-Key", &word)).await,
            false => keyed(&service, method.clone(), &path, &word, &body).await,
        };
        let done = send().await;
        assert!(done.status.is_success(), "{method} {path}: {}", done.text);
        assert_eq!(done.header("idempotency-replayed"), "", "{method} {path}");
        let events = count(&database, "audit_events").await;
        let again = send().await;
        assert_eq!((again.status, again.header("idempotency-replayed")), (done.status, "true"), "{method} {path}");
        let mut expected = done.json();
        if expected.get("secret").is_some() {
            assert!(expected["secret"].is_string(), "{method} {path}");
            expected["secret"] = Value::Null;
        }
        assert_eq!(again.json(), expected, "{method} {path}");
        assert_eq!(count(&database, "audit_events").await, events, "{method} {path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn strange_words_are_refused_and_reads_do_not_mind_them() {
    let app = TestApp::start().await;
    let service = app.everything_in("acme").await;
    let field = Some("Idempotency-Key".to_owned());
    let too_long = "x".repeat(256);
    for word in ["", "a b", "é", too_long.as_str()] {
        let request = service.request(Method::POST, "/api/v1/keys").json(&json!({ "name": "x" }));
        let value = reqwest::header::HeaderValue::from_bytes(word.as_bytes()).expect("a header");
        let answer = Visitor::send(request.header("Idempotency-Key", value)).await;
        assert_eq!(answer.refusal(), (422, "invalid_field".into(), field.clone()), "{word:?}");
    }
    let twice = service.request(Method::POST, "/api/v1/keys").json(&json!({ "name": "x" }));
    let twice = Visitor::send(twice.header("Idempotency-Key", "a").header("Idempotency-Key", "a")).await;
    assert_eq!(twice.refusal(), (422, "invalid_field".into(), field));
    let read = Visitor::send(service.request(Method::GET, "/api/v1/keys").header("Idempotency-Key", "")).await;
    assert_eq!((read.status, read.json()["items"].clone()), (StatusCode::OK, json!([])));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_was_sent_or_made_stands_in_the_table() {
    let app = TestApp::start().await;
    let (service, database) = (app.everything_in("acme").await, app.database.connect_as_system().await);
    let word = "a-word-that-is-looked-for";
    let (_, secret) = first(&create(&service, word, &json!({ "name": "a-name-that-is-looked-for" })).await);
    let row: String =
        database.query_one("SELECT to_jsonb(t)::text FROM idempotency_keys t", &[]).await.expect("a row").get(0);
    let hex = |text: &str| text.bytes().map(|byte| format!("{byte:02x}")).collect::<String>();
    for sought in [word, "a-name-that-is-looked-for", &secret, &secret[..26]] {
        assert!(!row.contains(sought) && !row.contains(&hex(sought)), "{sought} stands in {row}");
    }
    // The same search finds what does stand there.
    let result: String =
        database.query_one("SELECT result_id::text FROM idempotency_keys", &[]).await.expect("a row").get(0);
    assert!(row.contains(&result));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_that_is_sent_again_makes_nothing_and_shows_no_secret() {
    let app = TestApp::start().await;
    let (member, database) = (app.member(&owner("acme")).await, app.database.connect_as_system().await);
    let page = member.get("/t/acme/keys/new").await.text;
    let word = page.split_once("name=\"once\" value=\"").and_then(|(_, rest)| rest.split('"').next()).expect("a word");
    assert!(word.len() >= 22, "{word}");
    let form = |name: &'static str| [("once", word), ("name", name), ("project", "default"), ("environment", "test")];
    let made = member.form("/t/acme/keys/new", &form("by a form")).await;
    let again = member.form("/t/acme/keys/new", &form("by a form")).await;
    assert_eq!((made.status, again.status), (StatusCode::OK, StatusCode::OK));
    assert!(made.text.contains("shown only this once") && made.text.contains("tronch_sk_test_"));
    assert!(again.text.contains("shown the first time") && !again.text.contains("shown only this once"));
    assert_eq!(again.header("cache-control"), "no-store");
    assert_eq!(count(&database, "keys").await, 1);
    // Whoever goes back and types another name wants another key.
    let other = member.form("/t/acme/keys/new", &form("another")).await;
    assert!(other.text.contains("shown only this once"));
    assert_eq!(count(&database, "keys").await, 2);
}

/// The moment of death is drawn at random, in the middle of work.
#[tokio::test(flavor = "multi_thread")]
async fn kill_9_in_the_middle_leaves_one_key_a_word() {
    const RUNS: usize = 12;
    let data_dir = DataDir::create();
    let token = bootstrap(&data_dir, &[], "acme", "correct horse battery");
    let (mut unanswered, mut words) = (0, Vec::new());
    for run in 0..RUNS {
        let server = Server::start(&data_dir, &[]).await;
        let before = words.len();
        words.extend((0..4).map(|client| format!("run-{run}-{client}")));
        let clients: Vec<_> = words[before..]
            .iter()
            .cloned()
            .map(|word| {
                let service = server.service(&token);
                tokio::spawn(async move {
                    let request = service.request(Method::POST, "/api/v1/keys").header("Idempotency-Key", &word);
                    request.json(&json!({ "name": word })).send().await.is_ok()
                })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(u64::from(uuid::Uuid::new_v4().as_bytes()[0]) / 2)).await;
        server.kill();
        for client in clients {
            unanswered += usize::from(!client.await.expect("no panic"));
        }
    }
    let server = Server::start(&data_dir, &[]).await;
    let service = server.service(&token);
    for word in &words {
        let body = json!({ "name": word });
        // A connection of the dead server may hold its lock a moment longer.
        eventually("the word is free", async || create(&service, word, &body).await.status == StatusCode::CREATED)
            .await;
        assert_eq!(create(&service, word, &body).await.header("idempotency-replayed"), "true", "{word}");
    }
    let database = connect(&format!("{}?options=-c%20tronch.scope%3Dsystem", data_dir.database_url())).await;
    let keys = count(&database, "keys").await;
    let names = count(&database, "(SELECT DISTINCT name FROM keys) names").await;
    println!("{RUNS} kills, {} words, {unanswered} of them unanswered; {keys} keys of {names} names", words.len());
    assert!(unanswered > 0, "no kill came in the middle");
    assert_eq!((keys, names), (words.len() as i64, words.len() as i64));
    server.stop();
}
