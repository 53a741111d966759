//! Migrations on real data: up, down and up again, one by one and all together; failing half way; by two processes at once.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio_postgres::Client;
use tronch_engine::{ArgonCost, OpenError, PreparedDatabase, Settings};

use crate::support::{DataDir, Server, TestDatabase, Visitor, bootstrap, command, owner, run};

const PASSWORD: &str = "correct horse battery";

/// From here on a migration is reverted without taking tables along.
const FIRST_THAT_KEEPS_TABLES: &str = "20261125000004";

/// A folder of `migrations/`.
struct Migration {
    version: String,
    folder: PathBuf,
}

impl Migration {
    /// Each, the oldest first.
    fn all() -> Vec<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../migrations");
        let mut migrations: Vec<Self> = std::fs::read_dir(root)
            .expect("the migrations")
            .map(|entry| entry.expect("an entry").path())
            .filter(|path| path.is_dir())
            .map(|folder| {
                let name = folder.file_name().expect("a name").to_string_lossy().into_owned();
                let version = name.split('_').next().expect("a version").replace('-', "");
                Self { version, folder }
            })
            .collect();
        migrations.sort_by(|one, other| one.version.cmp(&other.version));
        migrations
    }

    fn read(&self, file: &str) -> String {
        let path = self.folder.join(file);
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// As the product does it, but for this one alone.
    async fn up(&self, client: &Client) {
        let (sql, version) = (self.read("up.sql"), &self.version);
        let note = format!("INSERT INTO __diesel_schema_migrations (version) VALUES ('{version}')");
        self.whole(client, &format!("{sql};\n{note}")).await;
    }

    /// As `migrations/README.md` says.
    async fn down(&self, client: &Client) {
        let (sql, version) = (self.read("down.sql"), &self.version);
        let note = format!("DELETE FROM __diesel_schema_migrations WHERE version = '{version}'");
        self.whole(client, &format!("{sql};\n{note}")).await;
    }

    async fn whole(&self, client: &Client, sql: &str) {
        let outcome = client.batch_execute(&format!("BEGIN;\n{sql};\nCOMMIT")).await;
        outcome.unwrap_or_else(|error| panic!("{}: {error:?}", self.folder.display()));
    }
}

async fn texts(client: &Client, sql: &str) -> BTreeSet<String> {
    client.query(sql, &[]).await.expect("an answer").iter().map(|row| row.get(0)).collect()
}

/// The schema as Postgres's own catalogue tells it, without partitions, which come with time. The order of columns is left out: one that went and came again is last.
async fn schema(client: &Client) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for sql in [
        "SELECT format('column %s.%s %s %s %s %s %s', attrelid::regclass, attname, format_type(atttypid, atttypmod), \
         attnotnull, attgenerated, pg_get_expr(adbin, adrelid), attcollation) FROM pg_attribute \
         JOIN pg_class ON pg_class.oid = attrelid LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum \
         WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition AND attnum > 0 \
         AND NOT attisdropped",
        "SELECT format('table %s %s %s %s', relname, relrowsecurity, relforcerowsecurity, reloptions) FROM pg_class \
         WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'S') AND NOT relispartition",
        "SELECT format('constraint %s on %s %s', conname, conrelid::regclass, pg_get_constraintdef(oid)) \
         FROM pg_constraint WHERE connamespace = 'public'::regnamespace \
         AND conrelid NOT IN (SELECT oid FROM pg_class WHERE relispartition)",
        "SELECT 'index ' || pg_get_indexdef(indexrelid) FROM pg_index \
         JOIN pg_class ON pg_class.oid = indrelid WHERE relnamespace = 'public'::regnamespace AND NOT relispartition",
        "SELECT format('policy %s on %s %s', polname, polrelid::regclass, pg_get_expr(polqual, polrelid)) FROM pg_policy \
         WHERE polrelid NOT IN (SELECT oid FROM pg_class WHERE relispartition)",
        "SELECT format('trigger %s', pg_get_triggerdef(oid)) FROM pg_trigger WHERE NOT tgisinternal",
        "SELECT 'function ' || pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = 'public'::regnamespace",
    ] {
        all.extend(texts(client, sql).await);
    }
    // Isolating a table anew begins with taking the old policy away; the first version had nothing to take away.
    let line = "    EXECUTE format('DROP POLICY IF EXISTS tenant_isolation ON %s', target);\n";
    all.into_iter().map(|text| text.replace(line, "")).collect()
}

async fn tables(client: &Client) -> BTreeSet<String> {
    texts(client, "SELECT tablename::text FROM pg_tables WHERE schemaname = 'public'").await
}

/// An installation on a database that was empty, with real data in every table.
struct Filled {
    data_dir: DataDir,
    database: TestDatabase,
    service_token: String,
    key: Value,
}

impl Filled {
    async fn create() -> Self {
        let (database, data_dir) = (TestDatabase::create_blank().await, DataDir::create());
        let url = database.url();
        // Nobody takes the mail, so it waits.
        let mail = [("TRONCH_SMTP_URL", "smtp://127.0.0.1:9"), ("TRONCH_MAIL_FROM", "tronch@example.com")];
        let settings = [("DATABASE_URL", url.as_str()), mail[0], mail[1]];
        bootstrap(&data_dir, &settings, "acme", PASSWORD);
        // Repeated, so that the first token is revoked.
        let service_token = bootstrap(&data_dir, &settings, "acme", PASSWORD);
        let arguments = [
            "member",
            "add",
            "--tenant",
            "acme",
            "--email",
            "dev@acme.example",
            "--role",
            "developer",
            "--password-stdin",
        ];
        let added = run(command(&data_dir, &arguments).envs(settings), &format!("{PASSWORD}\n"));
        assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stderr));
        let demo = run(command(&data_dir, &["demo"]).envs(settings), "");
        assert!(demo.status.success(), "{}", String::from_utf8_lossy(&demo.stderr));

        let server = Server::start(&data_dir, &settings).await;
        let service = server.service(&service_token);
        let mut key = Value::Null;
        for state in ["active", "disabled", "revoked", "rotated", "rotated and finished"] {
            let (id, secret) = service
                .create_key(&json!({ "name": state, "environment": "live", "owner": { "external_id": "cus_1" } }))
                .await;
            let path = format!("/api/v1/keys/{id}");
            match state {
                "active" => key = json!({ "key": secret }),
                "disabled" => drop(service.post(&format!("{path}/disable"), &json!({})).await),
                "revoked" => drop(service.delete(&path).await),
                _ => drop(service.post(&format!("{path}/rotate"), &json!({ "grace_seconds": 3600 })).await),
            }
            if state == "rotated and finished" {
                service.post(&format!("{path}/finish-rotation"), &json!({})).await;
            }
            service.verify(&json!({ "key": secret })).await;
        }
        let of_owner = json!({ "owner": { "external_id": "cus_2" } });
        assert_eq!(service.post("/api/v1/keys/revoke", &of_owner).await.status, StatusCode::OK);
        let limit = json!({ "name": "default", "project": "default", "burst": { "capacity": 1_000, "refill": 10 } });
        assert_eq!(service.post("/api/v1/limits", &limit).await.status, StatusCode::CREATED);
        let mails = json!({ "name": "default", "namespace": "mails", "window": { "total": 9, "calendar": "day" } });
        assert_eq!(service.post("/api/v1/limits", &mails).await.status, StatusCode::CREATED);
        let sent = json!({ "namespace": "mails", "identifier": "ada@example.com" });
        assert_eq!(service.post("/api/v1/limits/check", &sent).await.status, StatusCode::OK);
        let remembered = service.request(Method::POST, "/api/v1/keys").header("Idempotency-Key", "once");
        let remembered = Visitor::send(remembered.json(&json!({ "name": "made once" }))).await;
        assert_eq!(remembered.status, StatusCode::CREATED, "{}", remembered.text);
        let member = server.anonymous();
        let form = [("email", owner("acme")), ("password", PASSWORD.to_owned())];
        let form = form.each_ref().map(|(name, value)| (*name, value.as_str()));
        assert_eq!(member.form("/sign-in", &form).await.status, reqwest::StatusCode::SEE_OTHER);
        let somebody = [("email", "somebody@acme.example"), ("role", "viewer")];
        assert_eq!(member.form("/t/acme/members/invite", &somebody).await.status, StatusCode::SEE_OTHER);
        let forgot = [("email", "owner@acme.example")];
        assert_eq!(server.anonymous().form("/forgot", &forgot).await.status, StatusCode::SEE_OTHER);
        server.stop();
        Self { data_dir, database, service_token, key }
    }

    async fn serve(&self) -> (Server, Visitor) {
        let server = Server::start(&self.data_dir, &[("DATABASE_URL", &self.database.url())]).await;
        let service = server.service(&self.service_token);
        (server, service)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_migration_goes_down_to_the_schema_before_it_and_up_again_over_real_data() {
    let migrations = Migration::all();
    // Step by step on an empty database: what the schema is after each.
    let empty = TestDatabase::create_blank().await;
    let client = empty.connect_as_system().await;
    let versions = "CREATE TABLE __diesel_schema_migrations (version varchar(50) PRIMARY KEY NOT NULL, \
                    run_on timestamp NOT NULL DEFAULT current_timestamp)";
    client.batch_execute(versions).await.expect("a table");
    let mut steps = vec![schema(&client).await];
    for migration in &migrations {
        migration.up(&client).await;
        steps.push(schema(&client).await);
    }

    let filled = Filled::create().await;
    let client = filled.database.connect_as_system().await;
    assert_eq!(schema(&client).await, steps[migrations.len()], "the product migrates otherwise than step by step");
    let partitions = texts(&client, "SELECT relname::text FROM pg_class WHERE relispartition").await;
    for table in tables(&client).await.difference(&partitions) {
        let any: bool =
            client.query_one(&format!("SELECT EXISTS (SELECT FROM {table})"), &[]).await.expect("an answer").get(0);
        // There is a code only until somebody exists, and a process takes its row along.
        assert!(
            any || ["setup_codes", "nodes"].contains(&table.as_str()),
            "{table} is empty, so reverting it shows nothing"
        );
    }
    for (index, migration) in migrations.iter().enumerate().rev() {
        migration.down(&client).await;
        assert_eq!(schema(&client).await, steps[index], "after the down.sql of {}", migration.version);
    }
    assert_eq!(tables(&client).await, BTreeSet::from(["__diesel_schema_migrations".to_owned()]));

    let url = filled.database.url();
    let token = bootstrap(&filled.data_dir, &[("DATABASE_URL", &url)], "acme", PASSWORD);
    assert_eq!(schema(&client).await, steps[migrations.len()]);
    let (server, _) = filled.serve().await;
    let service = server.service(&token);
    let (_, key) = service.create_key(&json!({ "name": "a new life", "environment": "live" })).await;
    assert_eq!(service.verify(&json!({ "key": key })).await["code"], "VALID");
    server.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn each_of_the_newest_migrations_can_be_reverted_and_run_again_while_keys_stay_valid() {
    let filled = Filled::create().await;
    let client = filled.database.connect_as_system().await;
    let whole = schema(&client).await;
    let counts = async || {
        let mut counts = Vec::new();
        // Nobody asks about the demo's keys, so that its counts stay.
        let usage = "usage_minutes WHERE tenant_id IN (SELECT id FROM tenants WHERE slug <> 'acme')";
        for table in ["keys", "service_tokens", "audit_events", usage, "memberships", "key_handles"] {
            let row = client.query_one(&format!("SELECT count(*) FROM {table}"), &[]).await.expect("a count");
            counts.push((table, row.get::<_, i64>(0)));
        }
        counts
    };
    let before = counts().await;
    let newest: Vec<Migration> =
        Migration::all().into_iter().filter(|one| one.version.as_str() >= FIRST_THAT_KEEPS_TABLES).collect();
    assert!(newest.len() >= 3, "{} are too few", newest.len());
    for (index, migration) in newest.iter().enumerate().rev() {
        // Those after it may stand on it.
        for later in newest[index..].iter().rev() {
            later.down(&client).await;
        }
        assert_ne!(schema(&client).await, whole, "{} reverts nothing", migration.version);
        let (server, service) = filled.serve().await;
        assert_eq!(schema(&client).await, whole, "{} did not come back", migration.version);
        assert_eq!(counts().await, before, "{} lost rows", migration.version);
        assert_eq!(service.verify(&filled.key).await["code"], "VALID", "{}", migration.version);
        server.stop();
    }
}

fn settings(database: &TestDatabase) -> Settings {
    Settings {
        database_url: database.url(),
        connections: 2,
        lookup_wait: Duration::from_secs(2),
        remembered_keys: 2_000_000,
        argon: ArgonCost::default(),
        redis: None,
        mail: None,
    }
}

/// The second statement of a migration fails, after its first one has succeeded.
#[tokio::test(flavor = "multi_thread")]
async fn a_migration_that_fails_half_way_leaves_nothing_and_succeeds_later() {
    let database = TestDatabase::create_blank().await;
    drop(PreparedDatabase::prepare(&settings(&database)).await.expect("the migrations"));
    let client = database.connect_as_system().await;
    let whole = schema(&client).await;
    let migrations = Migration::all();
    for migration in migrations.iter().rev().take_while(|one| one.version.as_str() >= FIRST_THAT_KEEPS_TABLES) {
        migration.down(&client).await;
    }
    // The migration adds a column, then makes an index of this name.
    client.batch_execute("CREATE INDEX service_tokens_one_bootstrap ON keys (tenant_id)").await.expect("an index");
    let before = schema(&client).await;
    let versions = "SELECT version::text FROM __diesel_schema_migrations";
    let applied = texts(&client, versions).await;

    for attempt in 0..2 {
        let Err(refused) = PreparedDatabase::prepare(&settings(&database)).await else { panic!("it did not fail") };
        assert!(matches!(refused, OpenError::Migration(_)), "{refused}");
        assert!(refused.to_string().contains("service_tokens_one_bootstrap"), "it does not say why: {refused}");
        assert_eq!(schema(&client).await, before, "attempt {attempt} left something behind");
        assert_eq!(texts(&client, versions).await, applied, "attempt {attempt} noted what did not happen");
    }

    client.batch_execute("DROP INDEX service_tokens_one_bootstrap").await.expect("a dropped index");
    drop(PreparedDatabase::prepare(&settings(&database)).await.expect("the migrations"));
    assert_eq!(schema(&client).await, whole);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_that_start_at_once_on_an_empty_database_both_come_up() {
    const ROUNDS: usize = 3;
    let master = "7".repeat(64);
    for round in 0..ROUNDS {
        let database = TestDatabase::create_blank().await;
        let url = database.url();
        let settings = [("DATABASE_URL", url.as_str()), ("TRONCH_MASTER_KEY", &master)];
        let (one, other) = (DataDir::create(), DataDir::create());
        let (first, second) = tokio::join!(Server::start(&one, &settings), Server::start(&other, &settings));
        let client = database.connect_as_system().await;
        let applied = texts(&client, "SELECT version::text FROM __diesel_schema_migrations").await;
        let known: BTreeSet<String> = Migration::all().into_iter().map(|migration| migration.version).collect();
        assert_eq!(applied, known, "round {round}");
        // A key made by one is known to the other.
        let token = bootstrap(&one, &settings, "acme", PASSWORD);
        let (_, key) =
            first.service(&token).create_key(&json!({ "name": "of the first", "environment": "live" })).await;
        let verdict = second.service(&token).verify(&json!({ "key": key })).await;
        assert_eq!(verdict["code"], "VALID", "round {round}");
        for server in [first, second] {
            server.stop();
        }
    }
    println!("{ROUNDS} of {ROUNDS} pairs came up");
}
