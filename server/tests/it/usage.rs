//! Usage shown is calls made: by verdict, over time, for a tenant and for a key; also across a restart, and when a batch
//! is sent twice.

use std::collections::BTreeMap;

use reqwest::StatusCode;
use serde_json::{Value, json};

use tronch_engine::usage::{UsageRetention, keep_usage, roll_up_usage};

use crate::support::{DataDir, Proxy, Server, TestApp, TestDatabase, Visitor, Weather, bootstrap, eventually, owner};

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

/// What other processes noted meanwhile stands in the row: a later time stays, and within a minute of the clock none is written again.
#[tokio::test(flavor = "multi_thread")]
async fn the_time_of_last_use_moves_once_a_minute_and_never_back() {
    let app = TestApp::start().await;
    let (service, database) = (app.everything_in("acme").await, app.database.connect_as_system().await);
    let noted_by_others = [
        ("later", Some("now() + interval '1 hour'"), false),
        ("this minute", Some("date_trunc('minute', now())"), false),
        ("the minute before", Some("date_trunc('minute', now()) - interval '1 millisecond'"), true),
        ("never", None, true),
    ];
    let mut secrets = Vec::new();
    for (name, ..) in noted_by_others {
        secrets.push(service.create_key(&json!({ "name": name, "environment": "live" })).await.1);
    }
    // The minute must not end in the middle of it.
    let passed = "SELECT extract(second FROM now())::float8";
    while database.query_one(passed, &[]).await.expect("seconds").get::<_, f64>(0) > 40.0 {
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    }
    for (name, noted, _) in noted_by_others {
        let noted = noted.unwrap_or("NULL");
        let sql = format!("UPDATE keys SET last_used_at = {noted} WHERE name = '{name}'");
        database.execute(&sql, &[]).await.expect("a time");
    }
    let times = async || {
        let sql = "SELECT last_used_at FROM keys ORDER BY created_at, id";
        let rows = database.query(sql, &[]).await.expect("times");
        rows.iter().map(|row| row.get(0)).collect::<Vec<Option<std::time::SystemTime>>>()
    };
    let before = times().await;
    // In this order: once the last is noted, all were looked at.
    for secret in &secrets {
        assert_eq!(service.verify(&json!({ "key": secret })).await["code"], "VALID");
    }
    eventually("the last is noted", async || times().await[3].is_some()).await;
    for (((name, _, moves), before), after) in noted_by_others.into_iter().zip(before).zip(times().await) {
        assert_eq!(after != before, moves, "{name}: {before:?}, then {after:?}");
        assert!(after >= before, "{name} went back");
    }
}

/// Each limit counts what it let pass and what it refused itself, for all keys that are held to it.
#[tokio::test(flavor = "multi_thread")]
async fn what_limits_said_is_counted_for_each_limit() {
    let app = TestApp::start().await;
    let service = app.everything_in("acme").await;
    let set = async |name: &str, on: &str, whose: &str, more: Value| {
        let mut body = json!({ "name": name, on: whose });
        body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        let answer = service.post("/api/v1/limits", &body).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
        answer.json()["id"].as_str().expect("an id").to_owned()
    };
    let (first, secret) = service.create_key(&json!({ "name": "first", "environment": "live" })).await;
    let (_, other) = service.create_key(&json!({ "name": "second", "environment": "live" })).await;
    let wide = json!({ "burst": { "capacity": 4, "refill": 1, "period_seconds": 3600 } });
    let wide = set("wide", "project", "default", wide).await;
    let narrow = set("narrow", "key_id", &first, json!({ "window": { "total": 2, "calendar": "month" } })).await;
    let unused = set("unused", "key_id", &first, json!({ "automatic": false, "window": { "total": 2, "seconds": 9 } }));
    let unused = unused.await;
    for (key, times) in [(&secret, 5), (&other, 6)] {
        for _ in 0..times {
            service.verify(&json!({ "key": key })).await;
        }
    }
    // Reading takes nothing, and what was refused before limits were asked is not theirs.
    service.verify(&json!({ "key": other, "cost": 0 })).await;
    service.verify(&json!({ "key": other, "environment": "test" })).await;

    shows(&service, &format!("limit_id={narrow}&span=1h"), &[("QUOTA_EXCEEDED", 3), ("VALID", 2)]).await;
    // The calls that the narrow one refused are not counted for it: it took nothing for them.
    shows(&service, &format!("limit_id={wide}&span=30d"), &[("RATE_LIMITED", 2), ("VALID", 6)]).await;
    shows(&service, &format!("limit_id={unused}"), &[]).await;
    let all = [("ENVIRONMENT_MISMATCH", 1), ("QUOTA_EXCEEDED", 3), ("RATE_LIMITED", 2), ("VALID", 7)];
    shows(&service, "", &all).await;
    let page = app.member(&owner("acme")).await.get(&format!("/t/acme/limits/{narrow}?span=1h")).await.text;
    assert!(page.contains("Passed: 2") && page.contains("Quota exceeded: 3"), "the limit's chart is not there");

    // A successor of the key goes on with the count, and its limit shows it.
    let rotated = service.post(&format!("/api/v1/keys/{first}/rotate"), &json!({ "grace_seconds": 0 })).await;
    assert_eq!(rotated.status, StatusCode::CREATED, "{}", rotated.text);
    let successor = rotated.json()["key"]["id"].as_str().expect("an id").to_owned();
    let limits = service.get(&format!("/api/v1/limits?key_id={successor}")).await.json();
    let copies = limits["items"].as_array().expect("limits");
    let copy = copies.iter().find(|limit| limit["name"] == "narrow").expect("the copy")["id"].as_str();
    let copy = copy.expect("an id");
    service.verify(&json!({ "key": rotated.json()["secret"] })).await;
    shows(&service, &format!("limit_id={copy}"), &[("QUOTA_EXCEEDED", 4), ("VALID", 2)]).await;
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
        (format!("limit_id={}", tronch_core::LimitId::from_uuid(uuid::Uuid::from_u128(1))), (404, "not_found", None)),
        (format!("key_id={absent}&limit_id=x"), (422, "invalid_field", Some("limit_id"))),
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

/// Hours and days are added up from the minutes when their hour is over, also a second time; what is shown is the same
/// before and after.
#[tokio::test(flavor = "multi_thread")]
async fn hours_and_days_are_the_sums_of_their_minutes_however_late_those_come() {
    let app = TestApp::start().await;
    let service = app.everything_in("acme").await;
    let (key, _) = service.create_key(&json!({ "name": "counted" })).await;
    let id: tronch_core::KeyId = key.parse().expect("an id");
    let system = app.database.connect_as_system().await;
    // Two hours and one hour ago, and in the running hour.
    let count = async |minute: &str, count: i64| {
        let sql = format!(
            "WITH at AS (SELECT date_trunc('hour', now()) {minute} AS at), made AS (SELECT \
             tronch_make_usage_partition('usage_minutes', at), tronch_make_usage_partition('usage_hours', at), \
             tronch_make_usage_partition('usage_days', at) FROM at) \
             INSERT INTO usage_minutes SELECT tenant_id, id, at, project_id, environment, 'VALID', {count} \
             FROM keys, at, made WHERE id = '{}'",
            id.uuid()
        );
        system
            .execute(
                "SELECT tronch_make_usage_partition('usage_minutes', date_trunc('hour', now()) - interval '3 hours')",
                &[],
            )
            .await
            .expect("a partition");
        assert_eq!(system.execute(&sql, &[]).await.expect("a count"), 1);
        let due = format!(
            "INSERT INTO usage_hours_due (at, incarnation_id) SELECT date_trunc('hour', date_trunc('hour', now()) {minute}), \
             gen_random_uuid()"
        );
        system.execute(&due, &[]).await.expect("a mark");
    };
    let stored = async |table: &str| -> i64 {
        let sql = format!("SELECT coalesce(sum(count), 0)::bigint FROM {table} WHERE key_id = '{}'", id.uuid());
        system.query_one(&sql, &[]).await.expect("a sum").get(0)
    };
    let shown = async |total: u64| {
        // Before three in the morning some of it was yesterday, which is no less shown.
        for span in ["24h", "7d", "30d"] {
            let counts = counted(&service, &format!("key_id={key}&span={span}")).await;
            assert_eq!(counts, expected(&[("VALID", total)]), "{span}");
        }
    };
    count("- interval '130 minutes'", 5).await;
    count("- interval '50 minutes'", 7).await;
    count("", 1).await;
    shown(13).await;
    assert_eq!(roll_up_usage(&app.engine).await.expect("adding up"), 2);
    shown(13).await;
    assert_eq!((stored("usage_hours").await, stored("usage_days").await), (12, 12));
    // A process that could not store for hours does so now.
    count("- interval '129 minutes'", 30).await;
    count("- interval '49 minutes'", 400).await;
    shown(443).await;
    assert_eq!(roll_up_usage(&app.engine).await.expect("adding up"), 2);
    assert_eq!(roll_up_usage(&app.engine).await.expect("adding up"), 0);
    shown(443).await;
    assert_eq!((stored("usage_hours").await, stored("usage_days").await), (442, 442));
}

/// What is too old goes, what is needed soon is there, and a batch without a partition makes one.
#[tokio::test(flavor = "multi_thread")]
async fn partitions_come_before_they_are_needed_and_go_when_they_are_old() {
    let app = TestApp::start().await;
    let service = app.everything_in("acme").await;
    let system = app.database.connect_as_system().await;
    let partitions = async || -> Vec<String> {
        let sql = "SELECT format('%s %s', parent, (from_at AT TIME ZONE 'UTC')::date - (now() AT TIME ZONE 'UTC')::date) \
                   FROM usage_partitions WHERE parent = 'usage_minutes' ORDER BY from_at";
        system.query(sql, &[]).await.expect("a list").iter().map(|row| row.get(0)).collect()
    };
    // Yesterday's is there already where the schema that this was copied from was made before midnight.
    for days in [1, 2, 3, 8] {
        let sql = format!("SELECT tronch_make_usage_partition('usage_minutes', now() - interval '{days} days')");
        system.execute(&sql, &[]).await.expect("a partition");
    }
    let kept = UsageRetention { minutes: 2, hours: 8, days: 62 };
    assert_eq!(keep_usage(&app.engine, kept).await.expect("order"), 2);
    assert_eq!(keep_usage(&app.engine, kept).await.expect("order"), 0);
    assert_eq!(partitions().await, [-2, -1, 0, 1, 2, 3].map(|day| format!("usage_minutes {day}")));
    let inherited = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'usage_minutes'::regclass";
    assert_eq!(system.query_one(inherited, &[]).await.expect("a count").get::<_, i64>(0), 6);

    let gone = "DO $$ DECLARE old text; BEGIN FOR old IN DELETE FROM usage_partitions WHERE parent = 'usage_minutes' \
                RETURNING name LOOP EXECUTE format('DROP TABLE %I', old); END LOOP; END $$";
    system.batch_execute(gone).await.expect("nothing is left");
    service.verify(&json!({ "key": "no key" })).await;
    shows(&service, "", &[("MALFORMED", 1)]).await;
}

/// Whatever happens to Postgres and to its answers: each call is counted once, or is counted as dropped.
#[tokio::test(flavor = "multi_thread")]
async fn every_call_is_stored_once_though_postgres_goes_away_and_its_answers_are_lost() {
    let (database, data_dir) = (TestDatabase::create().await, DataDir::create());
    let proxy = Proxy::before(&database.url()).await;
    let settings = [("DATABASE_URL", proxy.url.as_str())];
    let token = bootstrap(&data_dir, &settings, "acme", "correct horse battery");
    let server = Server::start(&data_dir, &settings).await;
    let service = server.service(&token);
    let (_, key) = service.create_key(&json!({ "name": "asked about", "environment": "live" })).await;
    let asks = [json!({ "key": key }), json!({ "key": "no key" })];
    for ask in &asks {
        service.verify(ask).await;
    }
    let system = database.connect_as_system().await;
    let mut counted_calls = 2_i64;
    // A COMMIT that is made while nobody hears of it; Postgres gone; and again.
    for weather in [Weather::AnswersHeld, Weather::Cut, Weather::Fair, Weather::AnswersHeld, Weather::Fair] {
        proxy.set(weather);
        let began = std::time::Instant::now();
        while began.elapsed() < std::time::Duration::from_millis(1_700) {
            for ask in &asks {
                let answer = service.post("/api/v1/keys/verify", ask).await;
                counted_calls += i64::from(answer.status == StatusCode::OK);
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        // What was waiting for an answer hears that there is none.
        proxy.set(Weather::Cut);
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        let row = system
            .query_one("SELECT sum(offered)::bigint, sum(stored + dropped)::bigint FROM usage_incarnations", &[])
            .await
            .expect("totals");
        assert_eq!(row.get::<_, Option<i64>>(0), row.get::<_, Option<i64>>(1));
    }
    proxy.set(Weather::Fair);
    let log = server.stop();
    assert!(log.contains("usage could not be stored"), "nothing went wrong:\n{log}");
    let row = system
        .query_one(
            "SELECT sum(offered)::bigint, sum(dropped)::bigint, (SELECT sum(count)::bigint FROM usage_minutes \
             WHERE key_id = '00000000-0000-0000-0000-000000000000') FROM usage_incarnations",
            &[],
        )
        .await
        .expect("totals");
    let totals: [i64; 3] = std::array::from_fn(|column| row.get(column));
    assert!(counted_calls > 500, "{counted_calls} are too few");
    assert_eq!(totals, [counted_calls, 0, counted_calls], "offered, dropped, counted");
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
