//! One database a test, copied from a template that holds the migrated schema.

use std::process::Command;

use tokio_postgres::{Client, NoTls};
use tronch_engine::{ArgonCost, PreparedDatabase, Settings};

/// Any number serves: it keeps two tests from making the template at once.
const TEMPLATE_LOCK: i64 = 0x7465_7374;

/// A database that is dropped with this value.
pub struct TestDatabase {
    admin_url: String,
    name: String,
}

impl TestDatabase {
    pub async fn create() -> Self {
        let database = Self::create_empty_name().await;
        let admin = connect(&database.admin_url).await;
        let template = template(&admin, &database.admin_url).await;
        let sql = format!("CREATE DATABASE {} TEMPLATE {template}", database.name);
        admin.batch_execute(&sql).await.expect("a copy of the template");
        database
    }

    /// Nothing but a name: for tests of the migrations themselves.
    pub async fn create_blank() -> Self {
        let database = Self::create_empty_name().await;
        let sql = format!("CREATE DATABASE {}", database.name);
        connect(&database.admin_url).await.batch_execute(&sql).await.expect("a new database");
        database
    }

    async fn create_empty_name() -> Self {
        let admin_url = tokio::task::spawn_blocking(start_postgres).await.expect("no panic");
        Self { admin_url, name: format!("test_{}", uuid::Uuid::new_v4().simple()) }
    }

    pub fn url(&self) -> String {
        with_database(&self.admin_url, &self.name)
    }

    /// A connection as the product's tenant pool has it: row security lets nothing through until a tenant is named.
    pub async fn connect_as_tenant_pool(&self) -> Client {
        connect(&self.url()).await
    }

    /// What the gate of this database's keys is made with.
    pub async fn gate_key(&self) -> Vec<u8> {
        let row = self.connect_as_system().await.query_one("SELECT gate_key FROM gate_keys", &[]).await;
        row.expect("one range").get(0)
    }

    /// A connection that sees every tenant, to look behind the doors.
    pub async fn connect_as_system(&self) -> Client {
        connect(&format!("{}?options=-c%20tronch.scope%3Dsystem", self.url())).await
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let sql = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        let admin_url = self.admin_url.clone();
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async { connect(&admin_url).await.batch_execute(&sql).await })
        });
        // A test that failed already must not hide why.
        if let Ok(Err(error)) = dropped.join() {
            eprintln!("{} was not dropped: {error}", self.name);
        }
    }
}

fn start_postgres() -> String {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../script/test-postgres");
    let output = Command::new(script).arg("start").output().expect("script/test-postgres");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("a URL").trim().to_owned()
}

fn with_database(url: &str, name: &str) -> String {
    let (server, _) = url.rsplit_once('/').expect("a URL with a database");
    format!("{server}/{name}")
}

pub async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("a connection");
    tokio::spawn(connection);
    client
}

/// The template of exactly these migrations, made by whoever comes first.
async fn template(admin: &Client, admin_url: &str) -> String {
    let name = format!("template_{:016x}", fingerprint_of_migrations());
    admin.execute("SELECT pg_advisory_lock($1)", &[&TEMPLATE_LOCK]).await.expect("the lock");
    let there = admin.query_opt("SELECT 1 FROM pg_database WHERE datname = $1", &[&name]).await.expect("an answer");
    if there.is_none() {
        let raw = format!("{name}_raw");
        let drop_raw = format!("DROP DATABASE IF EXISTS {raw} WITH (FORCE)");
        admin.batch_execute(&drop_raw).await.expect("no leftover");
        admin.batch_execute(&format!("CREATE DATABASE {raw}")).await.expect("a database");
        let settings = Settings {
            database_url: with_database(admin_url, &raw),
            connections: 1,
            lookup_wait: std::time::Duration::from_secs(2),
            remembered_keys: 2_000_000,
            argon: ArgonCost::default(),
            redis: None,
            mail: None,
        };
        drop(PreparedDatabase::prepare(&settings).await.expect("the migrations"));
        // Connections that were just closed may still be leaving.
        admin
            .execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", &[&raw])
            .await
            .expect("an answer");
        admin.batch_execute(&format!("ALTER DATABASE {raw} RENAME TO {name}")).await.expect("the template");
    }
    admin.execute("SELECT pg_advisory_unlock($1)", &[&TEMPLATE_LOCK]).await.expect("the lock");
    name
}

/// FNV-1a over the files: any other schema gets another template.
fn fingerprint_of_migrations() -> u64 {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../migrations");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .expect("the migrations")
        .map(|entry| entry.expect("an entry").path().join("up.sql"))
        .filter(|path| path.exists())
        .collect();
    files.sort();
    let bytes = files.iter().flat_map(|path| std::fs::read(path).expect("a migration"));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
