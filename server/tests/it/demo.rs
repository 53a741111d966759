//! A demo tenant: it shows every state, its usage adds up, its key is a real one; it goes without a trace, and nobody
//! else's rows are touched by its coming and going.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio_postgres::Client;
use tronch_core::{EmailAddress, ExternalId, Role, TenantSlug};
use tronch_engine::demo::{self, MadeDemo, NewDemo, RemovedDemo};
use tronch_engine::keys::{KeysOf, revoke_keys_of};
use tronch_engine::members::Password;
use tronch_engine::{Caller, Error};
use zeroize::Zeroizing;

use crate::support::{DataDir, Server, TestApp, TestDatabase, Visitor, bootstrap, command, eventually, owner, run};

const PASSWORD: &str = "correct horse battery";

fn slug(text: &str) -> TenantSlug {
    TenantSlug::parse(text).expect("a slug")
}

async fn make(app: &TestApp, owner: Option<&str>) -> MadeDemo {
    let owner = owner.map(|email| {
        let password = Password::parse(Zeroizing::new(PASSWORD.to_owned()), &[]).expect("a password");
        (EmailAddress::parse(email).expect("an address"), password)
    });
    let new_demo = NewDemo { slug: slug("demo"), owner };
    demo::make_demo(&app.engine, &Caller::operator(), new_demo).await.expect("a demo")
}

async fn remove(app: &TestApp, tenant: &str) -> Result<RemovedDemo, Error> {
    demo::remove_demo(&app.engine, &Caller::operator(), &slug(tenant)).await
}

pub(crate) async fn number(database: &Client, sql: &str) -> i64 {
    database.query_one(sql, &[]).await.unwrap_or_else(|error| panic!("{sql}: {error:?}")).get(0)
}

pub(crate) async fn texts(database: &Client, sql: &str) -> BTreeSet<String> {
    let rows = database.query(sql, &[]).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    rows.iter().map(|row| row.get(0)).collect()
}

/// Every table that holds rows of tenants, whichever there are by now, with the column that names the tenant.
async fn tenant_tables(database: &Client) -> Vec<(String, &'static str)> {
    let sql = "SELECT table_name::text FROM information_schema.columns \
               WHERE table_schema = 'public' AND column_name = 'tenant_id' \
               AND table_name NOT IN (SELECT relname FROM pg_class WHERE relispartition)";
    let mut tables: Vec<_> = texts(database, sql).await.into_iter().map(|table| (table, "tenant_id")).collect();
    assert!(tables.len() >= 8, "{tables:?}");
    tables.push(("tenants".to_owned(), "id"));
    tables
}

/// All rows of a tenant, as text.
async fn rows_of(database: &Client, tenant: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut all = BTreeMap::new();
    for (table, column) in tenant_tables(database).await {
        let sql = format!(
            "SELECT t.ctid::text || t::text FROM {table} t WHERE {column} = (SELECT id FROM tenants WHERE slug = '{tenant}')"
        );
        all.insert(table, texts(database, &sql).await);
    }
    let members = format!(
        "user_id IN (SELECT user_id FROM memberships JOIN tenants ON tenants.id = tenant_id WHERE slug = '{tenant}')"
    );
    for (table, condition) in [("sessions", members.clone()), ("users", members.replacen("user_id", "id", 1))] {
        let sql = format!("SELECT t.ctid::text || t::text FROM {table} t WHERE {condition}");
        all.insert(table.to_owned(), texts(database, &sql).await);
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn a_demo_shows_keys_in_every_state_with_usage_that_adds_up_and_an_audit_trail() {
    let app = TestApp::start_empty().await;
    let began = Instant::now();
    let made = make(&app, None).await;
    println!("made in {:?}, hashing as cheaply as tests do", began.elapsed());
    let service = app.service(&made.service_token.expose_once());

    let mut states = BTreeMap::new();
    for state in ["active", "disabled", "revoked", "expired"] {
        let page = service.get(&format!("/api/v1/keys?limit=100&state={state}")).await.json();
        states.insert(state, page["items"].as_array().expect("items").len());
    }
    let expected = [("active", 44), ("disabled", 4), ("revoked", 7), ("expired", 7)];
    assert_eq!(states, BTreeMap::from(expected));
    assert_eq!(made.keys, 62);

    let database = app.database.connect_as_system().await;
    for (what, at_least, condition) in [
        ("never used", 4, "last_used_at IS NULL AND revoked_at IS NULL"),
        ("ending within a week", 3, "expires_at BETWEEN now() AND now() + interval '7 days'"),
        ("in rotation", 3, "successor_id IS NOT NULL AND grace_ends_at > now()"),
        ("past their rotation", 3, "successor_id IS NOT NULL AND grace_ends_at <= now()"),
        ("successors", 6, "predecessor_id IS NOT NULL"),
        ("revoked with a reason", 7, "revoked_at IS NOT NULL AND length(revoke_reason) > 5"),
        ("test keys", 12, "environment = 'test'"),
        ("live keys", 30, "environment = 'live'"),
        ("with permissions", 30, "cardinality(permissions) > 0"),
        ("with metadata", 62, "metadata ? 'plan'"),
        ("of payments", 15, "project_id = (SELECT id FROM projects WHERE slug = 'payments')"),
        ("of default", 15, "project_id = (SELECT id FROM projects WHERE slug = 'default')"),
    ] {
        let found = number(&database, &format!("SELECT count(*) FROM keys WHERE {condition}")).await;
        assert!(found >= at_least, "{found} keys are {what}");
    }
    assert_eq!(number(&database, "SELECT count(DISTINCT owner_external_id) FROM keys").await, 14);
    let roles = texts(&database, "SELECT role FROM memberships").await;
    assert_eq!(roles, ["owner", "admin", "developer", "viewer"].map(ToOwned::to_owned).into());
    for condition in ["revoked_at IS NOT NULL", "expires_at < now()", "project_id IS NOT NULL", "environment = 'live'"]
    {
        let found = number(&database, &format!("SELECT count(*) FROM service_tokens WHERE {condition}")).await;
        assert!(found >= 1, "no token with {condition}");
    }
    crate::demo_usage::adds_up(&database).await;
    the_trail_fits(&database).await;
}

/// For each thing done there is its event, and the last event of a key tells what the key is.
async fn the_trail_fits(database: &Client) {
    for (action, keys) in [
        ("create_key", "SELECT id FROM keys"),
        ("rotate_key", "SELECT id FROM keys WHERE successor_id IS NOT NULL"),
        ("revoke_key", "SELECT id FROM keys WHERE revoked_at IS NOT NULL"),
    ] {
        let events = number(database, &format!("SELECT count(*) FROM audit_events WHERE action = '{action}'")).await;
        let keys = number(database, &format!("SELECT count(*) FROM ({keys}) k")).await;
        assert_eq!(events, keys, "{action}");
    }
    let rows = database
        .query(
            "SELECT DISTINCT ON (target_id) after->>'name', after->>'revoke_reason', after->>'disabled_at' IS NULL, target_id \
             FROM audit_events WHERE target_kind = 'key' ORDER BY target_id, occurred_at DESC",
            &[],
        )
        .await
        .expect("events");
    assert_eq!(rows.len(), 62);
    for row in rows {
        let id: tronch_core::KeyId = row.get::<_, &str>(3).parse().expect("an id");
        let sql = "SELECT name, revoke_reason, disabled_at IS NULL FROM keys WHERE id::text = $1";
        let key = database.query_one(sql, &[&id.uuid().to_string()]).await.expect("a key");
        let facts =
            |row: &tokio_postgres::Row| -> (String, Option<String>, bool) { (row.get(0), row.get(1), row.get(2)) };
        assert_eq!(facts(&row), facts(&key));
    }
    for action in [
        "create_tenant",
        "add_member",
        "create_token",
        "revoke_token",
        "disable_key",
        "enable_key",
        "finish_rotation",
        "update_key",
    ] {
        let events = number(database, &format!("SELECT count(*) FROM audit_events WHERE action = '{action}'")).await;
        assert!(events > 0, "no {action}");
    }
    assert_eq!(number(database, "SELECT count(*) FROM audit_events WHERE occurred_at > now()").await, 0);
}

/// A key's secret, made by a write that is remembered.
async fn create_once(service: &Visitor, environment: &str) -> String {
    let request = service.request(Method::POST, "/api/v1/keys").header("Idempotency-Key", "once");
    let answer = Visitor::send(request.json(&json!({ "name": "a key", "environment": environment }))).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
    answer.json()["secret"].as_str().expect("a secret").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_that_is_shown_passes_until_the_demo_is_removed_and_others_stay_byte_for_byte() {
    let app = TestApp::start().await;
    let acme = app.everything_in("acme").await;
    // With an idempotency key, so that every table has a row of its own.
    let acme_key = create_once(&acme, "live").await;
    let daily = json!({ "name": "daily", "project": "default", "window": { "total": 1_000_000, "calendar": "day" } });
    assert_eq!(acme.post("/api/v1/limits", &daily).await.status, StatusCode::CREATED);
    acme.verify(&json!({ "key": acme_key })).await;
    let member = app.member(&owner("acme")).await;
    let somebody = [("email", "somebody@acme.example"), ("role", "viewer")];
    assert_eq!(member.form("/t/acme/members/invite", &somebody).await.status, StatusCode::OK);
    let of_nobody = json!({ "owner": { "external_id": "nobody" } });
    assert_eq!(acme.post("/api/v1/keys/revoke", &of_nobody).await.status, StatusCode::OK);
    let limit =
        json!({ "name": "unheard-of", "owner": { "external_id": "nobody" }, "burst": { "capacity": 9, "refill": 1 } });
    assert_eq!(acme.post("/api/v1/limits", &limit).await.status, StatusCode::CREATED);
    let database = app.database.connect_as_system().await;
    eventually("usage is stored", async || {
        let used = async |table: &str| {
            number(&database, &format!("SELECT count(*) FROM {table} WHERE last_used_at IS NOT NULL")).await
        };
        used("keys").await == 1 && used("service_tokens").await == 1
    })
    .await;
    let add_up = "SELECT tronch_roll_up_usage(at) FROM (SELECT DISTINCT at FROM usage_hours_due) AS due";
    database.batch_execute(add_up).await.expect("hours and days");
    let before = rows_of(&database, "acme").await;
    assert!(before.values().all(|rows| !rows.is_empty()), "{before:?}");

    let made = make(&app, None).await;
    let demo = app.service(&made.service_token.expose_once());
    create_once(&demo, "test").await;
    let of_nobody = KeysOf { owner: Some(ExternalId::parse("nobody").expect("an owner")), ..KeysOf::default() };
    let slug = TenantSlug::parse("demo").expect("a slug");
    let demo_tenant = app.engine.tenant(&Caller::operator(), &slug).await.expect("the demo");
    revoke_keys_of(&demo_tenant, of_nobody, None, None).await.expect("revoked");
    let ask = json!({ "key": made.key.expose_once(), "project": made.project });
    let verdict = demo.verify(&ask).await;
    assert_eq!((&verdict["code"], &verdict["tenant"]), (&json!("VALID"), &json!("demo")));
    assert_eq!(rows_of(&database, "acme").await, before, "making a demo touched another tenant");

    let handles = async || {
        let keys = number(&database, "SELECT count(*) FROM key_handles").await;
        (keys, number(&database, "SELECT count(*) FROM service_token_handles").await)
    };
    let handles_before = handles().await;
    let removed = remove(&app, "demo").await.expect("it is a demo");
    assert_eq!((removed.keys, removed.people, removed.anybody_left), (63, 4, true));
    assert_eq!(rows_of(&database, "acme").await, before, "removing a demo touched another tenant");
    for (table, column) in tenant_tables(&database).await {
        let left =
            format!("SELECT count(*) FROM {table} WHERE {column} <> (SELECT id FROM tenants WHERE slug = 'acme')");
        assert_eq!(number(&database, &left).await, 0, "rows of the demo are left in {table}");
    }
    assert_eq!(number(&database, "SELECT count(*) FROM users WHERE email LIKE '%@demo.example'").await, 0);
    assert_eq!(handles().await, handles_before, "a handle is never given out again");

    assert_eq!(demo.post("/api/v1/keys/verify", &ask).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(acme.verify(&json!({ "key": ask["key"] })).await["code"], "NOT_FOUND");
    assert_eq!(acme.verify(&json!({ "key": acme_key })).await["code"], "VALID");
    assert!(matches!(remove(&app, "demo").await, Err(Error::NotFound { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_that_is_no_demo_is_neither_removed_nor_overwritten() {
    let app = TestApp::start().await;
    let database = app.database.connect_as_system().await;
    let before = rows_of(&database, "acme").await;
    let refusal = remove(&app, "acme").await.expect_err("it is no demo");
    assert_eq!(refusal.code().slug(), "conflict", "{refusal}");
    let new_demo = NewDemo { slug: slug("acme"), owner: None };
    let refusal = demo::make_demo(&app.engine, &Caller::operator(), new_demo).await.err().expect("it is taken");
    assert_eq!(refusal.code().slug(), "name_taken", "{refusal}");
    assert_eq!(rows_of(&database, "acme").await, before);
    assert_eq!(number(&database, "SELECT count(*) FROM key_handles").await, 0, "something was made for nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_system_deletes_from_the_audit_log_and_only_of_a_demo() {
    let app = TestApp::start().await;
    make(&app, None).await;
    let system = app.database.connect_as_system().await;
    let id = async |slug: &str| -> String {
        system.query_one("SELECT id::text FROM tenants WHERE slug = $1", &[&slug]).await.expect("a tenant").get(0)
    };
    let (acme, demo) = (id("acme").await, id("demo").await);
    let events = async || number(&system, "SELECT count(*) FROM audit_events").await;
    let all = events().await;

    for statement in [
        "UPDATE audit_events SET actor_name = 'nobody'".to_owned(),
        format!("UPDATE audit_events SET actor_name = 'nobody' WHERE tenant_id = '{demo}'"),
        format!("DELETE FROM audit_events WHERE tenant_id = '{acme}'"),
        "DELETE FROM audit_events".to_owned(),
        // Nor is there a way round by calling it a demo, or by moving events into one.
        format!("UPDATE tenants SET demo = true WHERE id = '{acme}'"),
        format!("UPDATE tenants SET demo = false WHERE id = '{demo}'"),
        format!("UPDATE audit_events SET tenant_id = '{demo}'"),
    ] {
        let refusal = system.execute(&statement, &[]).await.expect_err("a refusal");
        let refused = refusal.as_db_error().is_some_and(|error| error.message().contains("is refused"));
        assert!(refused, "{statement}: {refusal}");
    }
    for tenant in [&acme, &demo] {
        let client = app.database.connect_as_tenant_pool().await;
        client.batch_execute("BEGIN").await.expect("a transaction");
        client.execute("SELECT set_config('tronch.tenant', $1, true)", &[tenant]).await.expect("a tenant");
        let refusal = client.execute("DELETE FROM audit_events", &[]).await.expect_err("a refusal");
        assert!(refusal.as_db_error().is_some_and(|error| error.message().contains("is refused")), "{refusal}");
    }
    assert_eq!(events().await, all);
    let deleted = system.execute(&format!("DELETE FROM audit_events WHERE tenant_id = '{demo}'"), &[]).await;
    assert_eq!(i64::try_from(deleted.expect("a demo's may go")).expect("few"), all - events().await);
    assert!(events().await > 0, "those of the other tenant are there");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_in_another_tenant_stays_with_their_session_and_who_is_not_goes() {
    let app = TestApp::start().await;
    let made = make(&app, Some(&owner("acme"))).await;
    let people: Vec<(Role, bool)> = made.people.iter().map(|(_, role, existed)| (*role, *existed)).collect();
    let expected = [(Role::Owner, true), (Role::Admin, false), (Role::Developer, false), (Role::Viewer, false)];
    assert_eq!(people, expected);
    let stays = app.member(&owner("acme")).await;
    assert_eq!(stays.get("/t/demo/").await.status, StatusCode::OK);
    let goes = app.anonymous();
    let password = made.password.expose_once();
    let form = [("email", "developer@demo.example"), ("password", password.as_str())];
    assert_eq!(goes.form("/sign-in", &form).await.status, StatusCode::SEE_OTHER);
    assert_eq!(goes.get("/t/demo/keys").await.status, StatusCode::OK);
    for page in ["/t/demo/", "/t/demo/keys", "/t/demo/audit", "/t/demo/tokens"] {
        assert_eq!(stays.get(page).await.status, StatusCode::OK, "{page}");
    }

    let removed = remove(&app, "demo").await.expect("it is a demo");
    assert_eq!((removed.people, removed.anybody_left), (3, true));
    assert_eq!(stays.get("/t/acme/").await.status, StatusCode::OK);
    assert_eq!(stays.get("/t/demo/").await.status, StatusCode::NOT_FOUND);
    assert_ne!(goes.get("/t/demo/keys").await.status, StatusCode::OK);
    let database = app.database.connect_as_system().await;
    let strangers = "SELECT count(*) FROM sessions WHERE user_id NOT IN (SELECT user_id FROM memberships)";
    assert_eq!(number(&database, strangers).await, 0);
    assert_eq!(number(&database, "SELECT count(*) FROM users").await, 1);
}

/// Another tenant creates and asks all the while, and is never made to wait for a lock.
#[tokio::test(flavor = "multi_thread")]
async fn others_are_served_while_a_demo_comes_and_goes() {
    let app = TestApp::start().await;
    let acme = app.everything_in("acme").await;
    let stop = Arc::new(AtomicBool::new(false));
    let worker = tokio::spawn({
        let stop = Arc::clone(&stop);
        async move {
            let (mut served, mut slowest) = (0, Duration::ZERO);
            while !stop.load(Ordering::Relaxed) {
                let began = Instant::now();
                let (_, key) = acme.create_key(&json!({ "name": "meanwhile", "environment": "live" })).await;
                assert_eq!(acme.verify(&json!({ "key": key })).await["code"], "VALID");
                (served, slowest) = (served + 1, slowest.max(began.elapsed()));
            }
            (served, slowest)
        }
    });
    let watcher = tokio::spawn({
        let (stop, database) = (Arc::clone(&stop), app.database.connect_as_system().await);
        async move {
            let waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
                           AND wait_event_type = 'Lock' AND wait_event IN ('relation', 'transactionid', 'tuple')";
            let (mut looks, mut seen) = (0, 0);
            while !stop.load(Ordering::Relaxed) {
                seen += number(&database, waiting).await;
                looks += 1;
            }
            (looks, seen)
        }
    });
    for _ in 0..2 {
        make(&app, None).await;
        remove(&app, "demo").await.expect("it is a demo");
    }
    stop.store(true, Ordering::Relaxed);
    let (looks, waiting) = watcher.await.expect("it could look");
    println!("{waiting} sessions waited for a lock in {looks} looks");
    assert_eq!(waiting, 0);
    // One that waited for a lock would have been refused after two seconds.
    let (served, slowest) = worker.await.expect("every call was answered as it should be");
    println!("{served} keys created and asked about meanwhile, the slowest pair took {slowest:?}");
    assert!(served > 10, "{served} show too little");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_makes_replaces_and_removes_a_demo_beside_a_running_server() {
    let (database, data_dir) = (TestDatabase::create().await, DataDir::create());
    let url = database.url();
    let settings = [("DATABASE_URL", url.as_str())];
    bootstrap(&data_dir, &settings, "acme", PASSWORD);
    let server = Server::start(&data_dir, &settings).await;
    let tronch = |arguments: &[&str], input: &str| {
        let began = Instant::now();
        let output = run(command(&data_dir, arguments).envs(settings), input);
        println!("tronch {} took {:?}", arguments.join(" "), began.elapsed());
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let verdict = async |printed: &Value| {
        let text = |name: &str| printed[name].as_str().expect("text").to_owned();
        let ask = json!({ "key": text("key"), "project": text("project") });
        server.service(&text("service_token")).post("/api/v1/keys/verify", &ask).await
    };

    let (code, printed, complaint) = tronch(&["demo", "--json"], "");
    assert_eq!(code, Some(0), "{complaint}");
    let printed: Value = serde_json::from_str(&printed).expect("JSON");
    assert_eq!(verdict(&printed).await.json()["code"], "VALID");
    let form = [
        ("email", printed["people"][0]["email"].as_str().expect("text")),
        ("password", printed["password"].as_str().expect("text")),
    ];
    assert_eq!(server.anonymous().form("/sign-in", &form).await.status, StatusCode::SEE_OTHER);

    let (code, _, complaint) = tronch(&["demo"], "");
    assert_eq!(code, Some(1));
    assert!(
        complaint.contains("exists already") && complaint.contains("tronch demo remove --tenant demo"),
        "{complaint}"
    );
    let (code, _, complaint) = tronch(&["demo", "--tenant", "acme", "--replace"], "");
    assert_eq!(code, Some(1));
    assert!(complaint.contains("acme is a tenant and no demo"), "{complaint}");
    let (code, _, complaint) = tronch(&["demo", "remove", "--tenant", "acme"], "");
    assert_eq!(code, Some(1));
    assert!(complaint.contains("acme is no demo, so it is not removed"), "{complaint}");
    assert_eq!(verdict(&printed).await.json()["code"], "VALID", "what was refused changed something");

    let arguments = ["demo", "--replace", "--email", "me@elsewhere.example", "--password-stdin"];
    let (code, words, complaint) = tronch(&arguments, &format!("{PASSWORD}\n"));
    assert_eq!(code, Some(0), "{complaint}");
    assert_eq!(verdict(&printed).await.status, StatusCode::UNAUTHORIZED, "the first demo is gone");
    let after = |word: &str, end: char| {
        let rest = words.split_once(word).unwrap_or_else(|| panic!("no {word} in {words}")).1;
        rest.split(end).next().expect("a first part").to_owned()
    };
    let second =
        json!({ "service_token": after("Bearer ", '\''), "key": after("\"key\":\"", '"'), "project": "payments" });
    assert_eq!(verdict(&second).await.json()["code"], "VALID");
    let form = [("email", "me@elsewhere.example"), ("password", PASSWORD)];
    assert_eq!(server.anonymous().form("/sign-in", &form).await.status, StatusCode::SEE_OTHER);

    let (code, words, complaint) = tronch(&["demo", "remove"], "");
    assert_eq!(code, Some(0), "{complaint}");
    assert!(words.contains("with 62 keys, 4 people"), "{words}");
    assert_eq!(verdict(&second).await.status, StatusCode::UNAUTHORIZED);
    let (code, _, complaint) = tronch(&["demo", "remove"], "");
    assert_eq!(code, Some(1));
    assert!(complaint.contains("there is no such tenant here"), "{complaint}");
    server.stop();
}
