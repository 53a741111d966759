//! The database agrees: with no filter of the application's, a connection without a tenant sees nothing, and one with a
//! tenant sees that tenant alone; also after an error and after a rollback.

use serde_json::json;
use tokio_postgres::Client;

use crate::support::{TestApp, eventually};

const TABLES: [&str; 9] = [
    "tenants",
    "memberships",
    "projects",
    "keys",
    "service_tokens",
    "audit_events",
    "usage_minutes",
    "usage_hours",
    "usage_days",
];

async fn seen(client: &Client, table: &str) -> i64 {
    client.query_one(&format!("SELECT count(*) FROM {table}"), &[]).await.expect("a count").get(0)
}

async fn nothing_is_seen(client: &Client, when: &str) {
    for table in TABLES {
        assert_eq!(seen(client, table).await, 0, "{table} {when}");
    }
}

async fn enter(client: &Client, tenant: &str) {
    client.batch_execute("BEGIN").await.expect("a transaction");
    client.execute("SELECT set_config('tronch.tenant', $1, true)", &[&tenant]).await.expect("a tenant");
}

/// Every row that is seen belongs to the tenant, and each table has some.
async fn only_this_is_seen(client: &Client, tenant: &str) {
    for table in TABLES {
        let key = if table == "tenants" { "id" } else { "tenant_id" };
        let sql = format!("SELECT count(*), count(*) FILTER (WHERE {key}::text <> $1) FROM {table}");
        let row = client.query_one(&sql, &[&tenant]).await.expect("a count");
        let (all, foreign): (i64, i64) = (row.get(0), row.get(1));
        assert!(all > 0, "{table} is empty");
        assert_eq!(foreign, 0, "{table} shows another tenant's rows");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn row_security_alone_keeps_tenants_apart_in_every_state_of_a_connection() {
    let app = TestApp::start().await;
    app.found("other").await;
    for tenant in ["acme", "other"] {
        let service = app.everything_in(tenant).await;
        let (_, secret) = service.create_key(&json!({ "name": "a key" })).await;
        service.verify(&json!({ "key": secret })).await;
    }
    let system = app.database.connect_as_system().await;
    eventually("usage is stored", async || {
        let sql = "SELECT count(DISTINCT tenant_id) FROM usage_minutes";
        system.query_one(sql, &[]).await.expect("a count").get::<_, i64>(0) == 2
    })
    .await;
    let add_up = "SELECT tronch_roll_up_usage(at) FROM (SELECT DISTINCT at FROM usage_hours_due) AS due";
    system.batch_execute(add_up).await.expect("hours and days");
    let id = async |slug: &str| -> String {
        system.query_one("SELECT id::text FROM tenants WHERE slug = $1", &[&slug]).await.expect("a tenant").get(0)
    };
    let (acme, other) = (id("acme").await, id("other").await);
    assert!(seen(&system, "tenants").await == 2, "the test itself sees too little");

    let client = app.database.connect_as_tenant_pool().await;
    nothing_is_seen(&client, "at first").await;
    enter(&client, &acme).await;
    only_this_is_seen(&client, &acme).await;
    client.batch_execute("COMMIT").await.expect("a commit");
    nothing_is_seen(&client, "after a commit").await;

    enter(&client, &other).await;
    only_this_is_seen(&client, &other).await;
    client.batch_execute("ROLLBACK").await.expect("a rollback");
    nothing_is_seen(&client, "after a rollback").await;

    enter(&client, &acme).await;
    assert!(client.batch_execute("SELECT 1 / 0").await.is_err());
    assert!(client.batch_execute("SELECT count(*) FROM keys").await.is_err(), "the transaction is over");
    client.batch_execute("ROLLBACK").await.expect("a rollback");
    nothing_is_seen(&client, "after an error").await;

    // Nor does a write reach across, or smuggle a row in.
    enter(&client, &acme).await;
    let statement = format!("UPDATE keys SET name = 'taken' WHERE tenant_id = '{other}'");
    assert_eq!(client.execute(&statement, &[]).await.expect("an answer"), 0);
    let statement = format!("DELETE FROM service_tokens WHERE tenant_id = '{other}'");
    assert_eq!(client.execute(&statement, &[]).await.expect("an answer"), 0);
    let smuggled =
        format!("INSERT INTO projects (id, tenant_id, slug, name) VALUES (gen_random_uuid(), '{other}', 'x1', 'x')");
    let refusal = client.execute(&smuggled, &[]).await.expect_err("a refusal");
    assert_eq!(refusal.code().map(tokio_postgres::error::SqlState::code), Some("42501"), "{refusal}");
    client.batch_execute("ROLLBACK").await.expect("a rollback");

    // A setting that is no tenant at all opens nothing, however it is spelt.
    for setting in ["", "00000000-0000-0000-0000-000000000000"] {
        enter(&client, setting).await;
        nothing_is_seen(&client, "with a setting that names nobody").await;
        client.batch_execute("ROLLBACK").await.expect("a rollback");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_log_is_never_rewritten() {
    let app = TestApp::start().await;
    let system = app.database.connect_as_system().await;
    for statement in ["UPDATE audit_events SET actor_name = 'nobody'", "DELETE FROM audit_events"] {
        let refusal = system.execute(statement, &[]).await.expect_err("a refusal");
        assert!(refusal.as_db_error().is_some_and(|error| error.message().contains("never changed")), "{refusal}");
    }
}
