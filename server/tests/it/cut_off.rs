//! Many keys revoked at once: all of an owner, a project, an environment or a tenant, by one row.

use std::process::Command;

use chrono::TimeDelta;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio_postgres::Client;
use tronch_core::Role;
use tronch_engine::keys::mark_revoked_keys;

use crate::support::{DataDir, PASSWORD, TestApp, Visitor, command, owner, run};

const REVOKE: &str = "/api/v1/keys/revoke";

/// A key of an owner, live in `default` where nothing else is said; gives its id, and what is asked about it.
async fn key_of(service: &Visitor, owner: &str, extra: &[(&str, &str)]) -> (String, Value) {
    let mut body = json!({ "name": "a key", "environment": "live", "owner": { "external_id": owner } });
    extra.iter().for_each(|(field, value)| body[*field] = json!(value));
    let (id, key) = service.create_key(&body).await;
    let project = body["project"].as_str().unwrap_or("default");
    (id, json!({ "key": key, "project": project, "environment": body["environment"] }))
}

async fn code(service: &Visitor, ask: &Value) -> String {
    service.verify(ask).await["code"].as_str().expect("a code").to_owned()
}

async fn count(database: &Client, sql: &str) -> i64 {
    database.query_one(sql, &[]).await.expect("a count").get(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn all_keys_of_an_owner_are_revoked_on_every_node_and_later_ones_work() {
    let app = TestApp::start().await;
    let second = app.beside().await;
    let token = app.token("acme", &json!({ "permissions": tronch_core::Permission::ALL })).await;
    let (service, elsewhere) = (app.service(&token), second.service(&token));
    let (id, first) = key_of(&service, "cus_1", &[]).await;
    let (_, in_test) = key_of(&service, "cus_1", &[("environment", "test")]).await;
    let (others, other) = key_of(&service, "cus_2", &[]).await;
    for node in [&service, &elsewhere] {
        for ask in [&first, &in_test, &other] {
            assert_eq!(code(node, ask).await, "VALID");
        }
    }
    let body = json!({ "owner": { "external_id": "cus_1" }, "reason": "they left" });
    let answer = service.post(&format!("{REVOKE}?wait=all"), &body).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    let said = answer.json();
    assert_eq!((&said["revoked"], &said["owner"]), (&json!(2), &json!({ "external_id": "cus_1" })));
    assert_eq!((&said["project"], &said["environment"]), (&Value::Null, &Value::Null));
    assert_eq!(said["confirmation"]["confirmed"].as_array().map(Vec::len), Some(2), "{said}");
    for node in [&service, &elsewhere] {
        assert_eq!((code(node, &first).await, code(node, &in_test).await), ("REVOKED".into(), "REVOKED".into()));
        assert_eq!(code(node, &other).await, "VALID");
    }
    let key = service.get(&format!("/api/v1/keys/{id}")).await.json();
    assert_eq!((&key["state"], &key["revoke_reason"]), (&json!("revoked"), &json!("they left")));
    assert!(key["revoked_at"].is_string());
    // Whoever comes back gets another key.
    let (_, later) = key_of(&service, "cus_1", &[]).await;
    assert_eq!((code(&service, &later).await, code(&elsewhere, &later).await), ("VALID".into(), "VALID".into()));
    // What is revoked comes back by no way.
    for (path, body) in [("enable", json!({})), ("disable", json!({})), ("rotate", json!({ "grace_seconds": 60 }))] {
        let refused = service.post(&format!("/api/v1/keys/{id}/{path}"), &body).await;
        assert_eq!(refused.status, StatusCode::CONFLICT, "{path}: {}", refused.text);
    }
    // A key as old as those cannot come to an owner all of whose keys were revoked.
    let moved = service.patch(&format!("/api/v1/keys/{others}"), &json!({ "owner": { "external_id": "cus_1" } })).await;
    assert_eq!(moved.refusal(), (422, "invalid_field".into(), Some("owner".into())));
    assert_eq!(code(&service, &other).await, "VALID");
    // An earlier time changes nothing, and is no change.
    let early = tronch_core::format_timestamp(chrono::Utc::now() - TimeDelta::hours(1));
    let body = json!({ "owner": { "external_id": "cus_1" }, "made_before": early });
    let again = service.post(REVOKE, &body).await.json();
    assert_eq!((&again["revoked"], &again["made_before"]), (&json!(0), &said["made_before"]));
    let events = service.get("/api/v1/audit-events?action=revoke_keys").await.json();
    let [event] = events["items"].as_array().expect("a list").as_slice() else { panic!("{events}") };
    assert_eq!((&event["target"]["kind"], &event["target"]["id"]), (&json!("owner"), &json!("cus_1")));
    assert_eq!((&event["after"]["revoked"], &event["reason"]), (&json!(2), &json!("they left")));
    assert_eq!(code(&service, &later).await, "VALID");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_and_an_environment_narrow_what_is_meant_and_a_token_never_reaches_further() {
    let app = TestApp::start().await;
    let service = app.everything_in("acme").await;
    service.post("/api/v1/projects", &json!({ "slug": "billing" })).await;
    let (_, here) = key_of(&service, "cus_1", &[]).await;
    let (_, live) = key_of(&service, "cus_1", &[("project", "billing")]).await;
    let (_, test) = key_of(&service, "cus_1", &[("project", "billing"), ("environment", "test")]).await;
    let permissions = ["keys.revoke", "keys.verify"];
    let limited = async |limits: Value| {
        let mut wish = json!({ "permissions": permissions });
        wish.as_object_mut().expect("an object").extend(limits.as_object().expect("an object").clone());
        app.service(&app.token("acme", &wish).await)
    };
    let of_test = limited(json!({ "project": "billing", "environment": "test" })).await;
    for outside in [json!({ "project": "default" }), json!({ "environment": "live" })] {
        let refused = of_test.post(REVOKE, &outside).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{}", refused.text);
    }
    let all = of_test.post(REVOKE, &json!({ "all": true })).await.json();
    assert_eq!((&all["project"], &all["environment"]), (&json!("billing"), &json!("test")));
    let codes = async || [code(&service, &here).await, code(&service, &live).await, code(&service, &test).await];
    assert_eq!(codes().await, ["VALID", "VALID", "REVOKED"]);
    let both = json!({ "project": "billing", "owner": { "external_id": "cus_1" } });
    assert_eq!(service.post(REVOKE, &both).await.json()["revoked"], 1);
    assert_eq!(codes().await, ["VALID", "REVOKED", "REVOKED"]);
    assert_eq!(service.post(REVOKE, &json!({ "all": true })).await.json()["revoked"], 1);
    assert_eq!(codes().await, ["REVOKED"; 3]);
    // Nobody else's.
    app.found("other").await;
    let other = app.everything_in("other").await;
    let (_, theirs) = key_of(&other, "cus_1", &[]).await;
    service.post(REVOKE, &json!({ "owner": { "external_id": "cus_1" } })).await;
    assert_eq!(code(&other, &theirs).await, "VALID");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_meant_is_refused_and_changes_nothing() {
    let app = TestApp::start().await;
    let service = app.everything_in("acme").await;
    let (_, ask) = key_of(&service, "cus_1", &[]).await;
    let tomorrow = tronch_core::format_timestamp(chrono::Utc::now() + TimeDelta::days(1));
    for (body, refusal) in [
        (json!({}), (422, "invalid_field", Some("all"))),
        (json!({ "all": false }), (422, "invalid_field", Some("all"))),
        (json!({ "all": true, "project": "default" }), (422, "invalid_field", Some("all"))),
        (json!({ "all": true, "made_before": tomorrow }), (422, "invalid_field", Some("made_before"))),
        (json!({ "project": "nowhere" }), (404, "not_found", None)),
        (json!({ "owner": { "external_id": "" } }), (422, "invalid_field", Some("owner.external_id"))),
        (json!({ "all": true, "before": tomorrow }), (422, "unknown_field", Some("before"))),
    ] {
        let expected = (refusal.0, refusal.1.to_owned(), refusal.2.map(ToOwned::to_owned));
        assert_eq!(service.post(REVOKE, &body).await.refusal(), expected, "{body}");
    }
    assert_eq!(code(&service, &ask).await, "VALID");
    let database = app.database.connect_as_system().await;
    assert_eq!(count(&database, "SELECT count(*) FROM key_cutoffs").await, 0);
    service.post(REVOKE, &json!({ "all": true })).await;
    let back = "UPDATE key_cutoffs SET valid_after = valid_after - interval '1 day'";
    let refused = database.execute(back, &[]).await.expect_err("it only moves forward");
    assert!(format!("{refused:?}").contains("stays revoked"), "{refused:?}");
}

/// A repeat is answered like the first, though there is nothing left to revoke.
#[tokio::test(flavor = "multi_thread")]
async fn the_same_write_is_done_once() {
    let app = TestApp::start().await;
    let service = app.everything_in("acme").await;
    key_of(&service, "cus_1", &[]).await;
    let send = async || {
        let request = service.request(Method::POST, REVOKE).header("Idempotency-Key", "a-word");
        Visitor::send(request.json(&json!({ "owner": { "external_id": "cus_1" } }))).await
    };
    let first = send().await.json();
    let (_, later) = key_of(&service, "cus_1", &[]).await;
    let again = send().await;
    assert_eq!((again.json(), again.header("idempotency-replayed")), (first.clone(), "true"));
    assert_eq!((&first["revoked"], code(&service, &later).await.as_str()), (&json!(1), "VALID"));
}

/// Adds keys by the thousand, that nobody has the secrets of, of the same owner and project as a real one.
async fn add_many(database: &Client, like: &str, number: u32) {
    let id: tronch_core::KeyId = like.parse().expect("an id");
    let handle = "lpad(n::text, 11, '0')";
    let handles = format!("INSERT INTO key_handles SELECT {handle} FROM generate_series(1, {number}) AS n");
    database.execute(&handles, &[]).await.expect("handles");
    let sql = format!(
        "INSERT INTO keys (id, tenant_id, project_id, environment, handle, name, owner_external_id, kdf_phc, tag, tag_key, \
         created_at, updated_at) SELECT lpad(n::text, 32, '0')::uuid, tenant_id, project_id, environment, {handle}, name, \
         owner_external_id, kdf_phc, tag, tag_key, created_at, updated_at FROM keys, generate_series(1, {number}) AS n \
         WHERE keys.id = '{}'",
        id.uuid()
    );
    assert_eq!(database.execute(&sql, &[]).await.expect("keys"), u64::from(number));
}

/// One line of the log, whatever the number; and the rows follow.
#[tokio::test(flavor = "multi_thread")]
async fn of_thousands_validation_knows_at_once_and_the_rows_follow() {
    let app = TestApp::start().await;
    let (service, member) = (app.everything_in("acme").await, app.member(&owner("acme")).await);
    let database = app.database.connect_as_system().await;
    let (id, ask) = key_of(&service, "cus_1", &[]).await;
    add_many(&database, &id, 2_200).await;
    let (_, other) = key_of(&service, "cus_2", &[]).await;
    assert_eq!((code(&service, &ask).await, code(&service, &other).await), ("VALID".into(), "VALID".into()));
    let before = count(&database, "SELECT n FROM change_log_head").await;
    let answer = service.post(&format!("{REVOKE}?wait=all"), &json!({ "owner": { "external_id": "cus_1" } })).await;
    assert_eq!(answer.json()["revoked"], 2_201, "{}", answer.text);
    assert_eq!(count(&database, "SELECT n FROM change_log_head").await, before + 1);
    assert_eq!((code(&service, &ask).await, code(&service, &other).await), ("REVOKED".into(), "VALID".into()));
    // This one's own row is among the last to say so; whoever looks at it sees what holds.
    let unmarked = "SELECT count(*) FROM keys WHERE revoked_at IS NULL AND owner_external_id = 'cus_1'";
    assert_eq!(count(&database, unmarked).await, 1_701);
    let key = service.get(&format!("/api/v1/keys/{id}")).await.json();
    assert_eq!(key["state"], "revoked");
    assert!(member.get(&format!("/t/acme/keys/{id}")).await.text.contains("Revoked"));
    assert_eq!(service.post(REVOKE, &json!({ "owner": { "external_id": "cus_1" } })).await.json()["revoked"], 0);
    let (first, second) = tokio::join!(mark_revoked_keys(&app.engine), mark_revoked_keys(&app.engine));
    assert_eq!(first.expect("marked") + second.expect("marked"), 1_701);
    assert_eq!(count(&database, unmarked).await, 0);
    assert_eq!(count(&database, "SELECT count(*) FROM key_cutoffs WHERE NOT is_marked").await, 0);
    assert_eq!(mark_revoked_keys(&app.engine).await.expect("marked"), 0);
    let marked = service.get(&format!("/api/v1/keys/{id}")).await.json();
    assert_eq!((&marked["state"], &marked["revoked_at"]), (&key["state"], &key["revoked_at"]));
    assert_eq!((code(&service, &ask).await, code(&service, &other).await), ("REVOKED".into(), "VALID".into()));
}

/// A cut-off whose keys somebody holds is tried again; others do not wait for it.
#[tokio::test(flavor = "multi_thread")]
async fn one_that_cannot_be_marked_holds_up_no_other() {
    let app = TestApp::start().await;
    app.found("other").await;
    let (acme, other) = (app.everything_in("acme").await, app.everything_in("other").await);
    let (_, first) = key_of(&acme, "cus_1", &[]).await;
    let (_, second) = key_of(&other, "cus_1", &[]).await;
    let database = app.database.connect_as_system().await;
    for (order, tenant) in ["acme", "other"].iter().enumerate() {
        let set = format!(
            "INSERT INTO key_cutoffs (id, tenant_id, valid_after, set_at, revoked_keys) \
             SELECT gen_random_uuid(), id, now(), now() + interval '{order} seconds', 1 FROM tenants WHERE slug = '{tenant}'"
        );
        assert_eq!(database.execute(&set, &[]).await.expect("a cut-off"), 1);
    }
    let mut holder = app.database.connect_as_system().await;
    let holding = holder.transaction().await.expect("a transaction");
    let of_acme =
        "SELECT keys.id FROM keys JOIN tenants ON tenants.id = tenant_id WHERE slug = 'acme' FOR UPDATE OF keys";
    assert_eq!(holding.query(of_acme, &[]).await.expect("a key").len(), 1);
    assert_eq!(mark_revoked_keys(&app.engine).await.expect("marked"), 1);
    assert_eq!(count(&database, "SELECT count(*) FROM key_cutoffs WHERE NOT is_marked").await, 1);
    holding.rollback().await.expect("let go");
    assert_eq!(mark_revoked_keys(&app.engine).await.expect("marked"), 1);
    assert_eq!(count(&database, "SELECT count(*) FROM keys WHERE revoked_at IS NULL").await, 0);
    assert_eq!((code(&acme, &first).await, code(&other, &second).await), ("REVOKED".into(), "REVOKED".into()));
}

/// A successor made beside a cut-off would be younger than it: it is either cut off too, or never made.
#[tokio::test(flavor = "multi_thread")]
async fn no_rotation_escapes() {
    let app = TestApp::start().await;
    let service = app.everything_in("acme").await;
    let mut made = 0;
    for round in 0..25 {
        let owner = format!("cus_{round}");
        let (id, ask) = key_of(&service, &owner, &[]).await;
        let rotate =
            async { service.post(&format!("/api/v1/keys/{id}/rotate"), &json!({ "grace_seconds": 600 })).await };
        let revoke = async {
            // A rotation hashes for some milliseconds before it begins.
            tokio::time::sleep(std::time::Duration::from_millis(round * 2)).await;
            service.post(REVOKE, &json!({ "owner": { "external_id": owner } })).await
        };
        let (rotated, revoked) = tokio::join!(rotate, revoke);
        assert_eq!(revoked.status, StatusCode::OK, "{}", revoked.text);
        assert_eq!(code(&service, &ask).await, "REVOKED", "round {round}");
        match rotated.status {
            StatusCode::CREATED => {
                made += 1;
                let successor = json!({ "key": rotated.json()["secret"], "project": "default", "environment": "live" });
                assert_eq!(code(&service, &successor).await, "REVOKED", "round {round}");
            }
            StatusCode::CONFLICT => {}
            status => panic!("round {round}: {status} {}", rotated.text),
        }
    }
    println!("{made} of 25 were rotated first");
}

/// The same where the cut-off is set and takes its time to commit.
#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_waits_for_a_cut_off_that_is_being_set() {
    let app = TestApp::start().await;
    let service = app.everything_in("acme").await;
    let (id, ask) = key_of(&service, "cus_1", &[]).await;
    let mut system = app.database.connect_as_system().await;
    let setting = system.transaction().await.expect("a transaction");
    let set = "INSERT INTO key_cutoffs (id, tenant_id, owner_external_id, valid_after, set_at, revoked_keys) \
               SELECT gen_random_uuid(), id, 'cus_1', clock_timestamp(), now(), 1 FROM tenants";
    assert_eq!(setting.execute(set, &[]).await.expect("a cut-off"), 1);
    let rotating = tokio::spawn({
        let (service, path) = (service.clone(), format!("/api/v1/keys/{id}/rotate"));
        async move { service.post(&path, &json!({ "grace_seconds": 600 })).await }
    });
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    assert!(!rotating.is_finished());
    setting.commit().await.expect("committed");
    let rotated = rotating.await.expect("an answer");
    assert_eq!(rotated.refusal(), (409, "key_not_active".into(), None));
    assert_eq!(code(&service, &ask).await, "REVOKED");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_dashboard_asks_for_the_words_and_then_does_it() {
    let app = TestApp::start().await;
    let (service, member) = (app.everything_in("acme").await, app.member(&owner("acme")).await);
    let (_, ask) = key_of(&service, "cus & 1", &[]).await;
    key_of(&service, "cus & 1", &[]).await;
    let list = member.get("/t/acme/keys?owner=cus+%26+1").await.text;
    assert!(list.contains("href=\"/t/acme/keys/revoke?owner=cus+%26+1\""), "{list}");
    assert!(!member.get("/t/acme/keys").await.text.contains("/t/acme/keys/revoke"));
    let page = member.get("/t/acme/keys/revoke?owner=cus+%26+1").await.text;
    for words in
        ["Revoke all keys issued to cus &amp; 1", "2 keys will be refused", "revoke 2 keys", "This cannot be undone"]
    {
        assert!(page.contains(words), "{words}: {page}");
    }
    let with = |confirmation: &'static str, password: &'static str| {
        [("owner", "cus & 1"), ("reason", "a leak"), ("confirmation", confirmation), ("password", password)]
    };
    let form = |confirmation: &'static str| with(confirmation, PASSWORD);
    for wrong in ["", "revoke", "revoke 3 keys"] {
        let refused = member.form("/t/acme/keys/revoke", &form(wrong)).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
        assert!(
            refused.text.contains("so that nothing happens by mistake") && refused.text.contains("value=\"a leak\"")
        );
        assert!(refused.text.contains("name=\"owner\" value=\"cus &amp; 1\""), "{}", refused.text);
    }
    // Nor does somebody who found the browser open.
    for wrong in ["", "not my password"] {
        let refused = member.form("/t/acme/keys/revoke", &with("revoke 2 keys", wrong)).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", refused.text);
        assert!(
            refused.text.contains("password-error") && !refused.text.contains("not my password"),
            "{}",
            refused.text
        );
    }
    assert_eq!(code(&service, &ask).await, "VALID");
    let done = member.form("/t/acme/keys/revoke", &form("Revoke 2 keys ")).await;
    assert_eq!(done.status, StatusCode::SEE_OTHER, "{}", done.text);
    assert!(
        done.header("location").starts_with("/t/acme/keys?owner=cus+%26+1&did=revoked-2"),
        "{}",
        done.header("location")
    );
    assert_eq!(code(&service, &ask).await, "REVOKED");
    assert!(member.get("/t/acme/keys/revoke?owner=cus+%26+1").await.text.contains("Nothing to revoke"));
    let audit = member.get("/t/acme/audit").await.text;
    assert!(audit.contains("revoked all keys of"), "{audit}");
    let viewer = app.member(&app.add_member("acme", Role::Viewer).await).await;
    assert_eq!(viewer.get("/t/acme/keys/revoke?owner=x").await.status, StatusCode::FORBIDDEN);
    assert!(!viewer.get("/t/acme/keys?owner=cus+%26+1").await.text.contains("/t/acme/keys/revoke"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_counts_first_and_then_revokes_of_every_tenant() {
    let app = TestApp::start().await;
    app.found("other").await;
    let (acme, other) = (app.everything_in("acme").await, app.everything_in("other").await);
    let (_, first) = key_of(&acme, "cus_1", &[]).await;
    let (_, second) = key_of(&other, "cus_1", &[]).await;
    let (_, test) = key_of(&other, "cus_1", &[("environment", "test")]).await;
    let data_dir = DataDir::create();
    let asked = |arguments: &[&str]| {
        let mut command: Command = command(&data_dir, &[&["revoke-keys"], arguments].concat());
        run(command.env("DATABASE_URL", app.database.url()).env("TRONCH_MASTER_KEY", "07".repeat(32)), "")
    };
    let refused = asked(&["--tenant", "nowhere", "--yes"]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && said.contains("nowhere: FAILED") && said.contains("no such tenant"), "{said}");
    let revoke = |extra: &[&str]| {
        let output = asked(&[&["--every-tenant", "--environment", "live"], extra].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let counted = revoke(&[]);
    assert!(counted.contains("acme: 1 key would be revoked.\nother: 1 key would be revoked.\n"), "{counted}");
    assert_eq!((code(&acme, &first).await, code(&other, &second).await), ("VALID".into(), "VALID".into()));
    let done = revoke(&["--reason", "a stolen backup", "--yes"]);
    assert!(done.contains("acme: 1 key revoked. Confirmed by 1 of 1 node in "), "{done}");
    assert_eq!((code(&acme, &first).await, code(&other, &second).await), ("REVOKED".into(), "REVOKED".into()));
    assert_eq!(code(&other, &test).await, "VALID");
    let events = other.get("/api/v1/audit-events?action=revoke_keys").await.json();
    assert_eq!(events["items"][0]["actor"]["kind"], "operator", "{events}");
}
