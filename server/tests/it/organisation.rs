//! The organisation itself: taken along as a file, deleted, had back, and gone a week later.

use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio_postgres::Client;
use tronch_core::Role;
use tronch_engine::tenants::remove_deleted_tenants;

use crate::support::{Answer, DataDir, PASSWORD, TestApp, Visitor, command, eventually, owner, run};

async fn number(database: &Client, sql: &str) -> i64 {
    database.query_one(sql, &[]).await.expect("a count").get(0)
}

async fn delete(who: &Visitor, confirmation: &str, password: &str) -> Answer {
    who.form("/t/acme/settings/delete", &[("confirmation", confirmation), ("password", password)]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_deleted_takes_nobody_in_and_can_be_had_back() {
    let app = TestApp::start().await;
    app.found("other").await;
    let node = app.beside().await;
    let (boss, email) = (app.member(&owner("acme")).await, app.add_member("acme", Role::Admin).await);
    let admin = app.member(&email).await;
    let service = app.everything_in("acme").await;
    let elsewhere = service.at(&node);
    let (_, secret) = service.create_key(&json!({ "name": "a key", "environment": "live" })).await;
    let ask = json!({ "key": secret });
    assert_eq!(elsewhere.verify(&ask).await["code"], "VALID");

    let mistyped = delete(&boss, "acme2", PASSWORD).await;
    assert_eq!(mistyped.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(mistyped.text.contains("confirmation-error"), "{}", mistyped.text);
    let wrong = delete(&boss, "acme", "not my password").await;
    assert!(wrong.text.contains("password-error") && wrong.text.contains("value=\"acme\""), "{}", wrong.text);
    assert_eq!(delete(&admin, "acme", PASSWORD).await.status, StatusCode::FORBIDDEN);
    let deleted = delete(&boss, "acme", PASSWORD).await;
    assert_eq!(deleted.header("location"), "/account?did=deleted", "{}", deleted.text);

    for who in [&boss, &admin] {
        assert_eq!(who.get("/t/acme/").await.status, StatusCode::NOT_FOUND);
    }
    assert_eq!(service.post("/api/v1/keys/verify", &ask).await.status, StatusCode::UNAUTHORIZED);
    eventually("every node lets no service in", async || {
        elsewhere.post("/api/v1/keys/verify", &ask).await.status == StatusCode::UNAUTHORIZED
    })
    .await;
    assert_eq!(service.get("/api/v1/keys").await.status, StatusCode::UNAUTHORIZED);
    // Only an owner has it back; its address is nobody else's meanwhile.
    let restore = "/account/organisations/acme/restore";
    assert_eq!(admin.form(restore, &[]).await.status, StatusCode::NOT_FOUND);
    assert_eq!(app.member(&owner("other")).await.form(restore, &[]).await.status, StatusCode::NOT_FOUND);
    let taken = admin.form("/account/organisations/new", &[("tenant_name", "A"), ("tenant_slug", "acme")]).await;
    assert_eq!(taken.status, StatusCode::CONFLICT);
    assert!(boss.get("/account").await.text.contains("Undo deleting acme"));
    let restored = boss.form(restore, &[]).await;
    assert_eq!(restored.header("location"), "/t/acme/", "{}", restored.text);
    assert_eq!(admin.get("/t/acme/").await.status, StatusCode::OK);
    for service in [&service, &elsewhere] {
        eventually("services are let in again", async || {
            service.post("/api/v1/keys/verify", &ask).await.status == StatusCode::OK
        })
        .await;
    }
    let database = app.database.connect_as_system().await;
    let told = "SELECT count(*) FROM audit_events WHERE action IN ('delete_tenant', 'restore_tenant')";
    assert_eq!(number(&database, told).await, 2);
    // So does the operator, who finds it in a list.
    let data_dir = DataDir::create();
    let restore = |arguments: &[&str]| {
        let arguments = [&["tenant", "restore"], arguments].concat();
        let mut command = command(&data_dir, &arguments);
        let output = run(command.env("DATABASE_URL", app.database.url()).env("TRONCH_MASTER_KEY", "07".repeat(32)), "");
        (output.status.success(), String::from_utf8([output.stdout, output.stderr].concat()).expect("text"))
    };
    assert_eq!(restore(&[]), (true, "No tenant was deleted within a week.\n".to_owned()));
    let (done, said) = restore(&["--tenant", "acme"]);
    assert!(!done && said.contains("no such deleted organisation"), "{said}");
    assert_eq!(delete(&boss, "acme", PASSWORD).await.header("location"), "/account?did=deleted");
    let (done, said) = restore(&[]);
    assert!(done && said.starts_with("acme (acme) can be had back until 20"), "{said}");
    let said = "acme is there again, with everything it had.\n".to_owned();
    assert_eq!(restore(&["--tenant", "acme"]), (true, said));
    assert_eq!(admin.get("/t/acme/").await.status, StatusCode::OK);
    let by = "SELECT count(*) FROM audit_events WHERE action = 'restore_tenant' AND actor_kind = 'operator'";
    assert_eq!(number(&database, by).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_week_later_all_of_it_is_gone_and_nothing_else() {
    let app = TestApp::start().await;
    app.found("other").await;
    let (service, others) = (app.everything_in("acme").await, app.everything_in("other").await);
    for service in [&service, &others] {
        service.create_key(&json!({ "name": "a key" })).await;
    }
    let boss = app.member(&owner("acme")).await;
    boss.form("/t/acme/members/invite", &[("email", "x@example.com"), ("role", "viewer")]).await;
    assert_eq!(delete(&boss, "acme", PASSWORD).await.status, StatusCode::SEE_OTHER);
    assert_eq!(remove_deleted_tenants(&app.engine).await.expect("a database"), 0);
    let database = app.database.connect_as_system().await;
    let rows = "SELECT (SELECT count(*) FROM keys) + (SELECT count(*) FROM projects) + (SELECT count(*) FROM tenants)";
    let before = number(&database, rows).await;
    // Its log is as safe as any until then.
    let log = "DELETE FROM audit_events WHERE tenant_id IN (SELECT id FROM tenants WHERE slug = 'acme')";
    assert!(database.execute(log, &[]).await.is_err());
    let older = "UPDATE tenants SET deleted_at = now() - interval '8 days' WHERE slug = 'acme'";
    database.execute(older, &[]).await.expect("older");
    assert_eq!(boss.form("/account/organisations/acme/restore", &[]).await.status, StatusCode::NOT_FOUND);
    assert_eq!(remove_deleted_tenants(&app.engine).await.expect("a database"), 1);
    assert_eq!(number(&database, rows).await, before - 3);
    for table in ["keys", "service_tokens", "audit_events", "memberships", "invitations", "projects", "limits"] {
        let left =
            format!("SELECT count(*) FROM {table} t WHERE NOT EXISTS (SELECT FROM tenants WHERE id = t.tenant_id)");
        assert_eq!(number(&database, &left).await, 0, "{table}");
    }
    assert_eq!(number(&database, "SELECT count(*) FROM users WHERE email = 'owner@acme.example'").await, 0);
    assert_eq!(others.get("/api/v1/keys").await.json()["items"].as_array().map(Vec::len), Some(1));
    // A handle is never given out again, the address is.
    assert_eq!(number(&database, "SELECT count(*) FROM key_handles").await, 2);
    let boss = app.member(&owner("other")).await;
    let again = boss.form("/account/organisations/new", &[("tenant_name", "Acme"), ("tenant_slug", "acme")]).await;
    assert_eq!(again.status, StatusCode::SEE_OTHER, "{}", again.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_takes_everything_along_but_secrets() {
    let app = TestApp::start().await;
    let email = app.add_member("acme", Role::Admin).await;
    let service = app.everything_in("acme").await;
    let mut secrets = Vec::new();
    // More than a page.
    for number in 0..130 {
        secrets.push(service.create_key(&json!({ "name": format!("key {number} \u{2028}") })).await.1);
    }
    let file = app.member(&owner("acme")).await.get("/t/acme/settings/export").await;
    assert_eq!((file.status, file.header("content-type")), (StatusCode::OK, "application/jsonl"));
    assert_eq!(file.header("content-disposition"), "attachment; filename=\"acme.jsonl\"");
    let lines: Vec<Value> = file.text.lines().map(|line| serde_json::from_str(line).expect("an object")).collect();
    let of = |what: &str| lines.iter().filter(|line| line.get(what).is_some()).count();
    assert_eq!((of("tenant"), of("member"), of("project"), of("key")), (1, 2, 1, 130));
    assert!(of("audit_event") > 130);
    let actions = lines.iter().filter(|line| line["audit_event"]["action"] == "export_tenant").count();
    assert_eq!(actions, 1, "it tells of itself");
    assert!(secrets.iter().all(|secret| !file.text.contains(secret.as_str())));
    assert!(!file.text.contains("argon2"));
    assert_eq!(app.member(&email).await.get("/t/acme/settings/export").await.status, StatusCode::FORBIDDEN);
}
