//! Master secrets: lost, put in another's place, and told apart. A key outlives the secret its tag was made with.

use std::process::Output;

use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio_postgres::Client;

use crate::support::{DataDir, Server, TestDatabase, Visitor, bootstrap, command, run};

const PASSWORD: &str = "correct horse battery";
const FIRST: &str = "0101010101010101010101010101010101010101010101010101010101010101";
const SECOND: &str = "0202020202020202020202020202020202020202020202020202020202020202";

/// A database with a tenant and keys, made under the first master secret.
struct Moved {
    database: TestDatabase,
    data_dir: DataDir,
    token: String,
    keys: Vec<(String, Value)>,
}

impl Moved {
    async fn make(keys: usize) -> Self {
        let (database, data_dir) = (TestDatabase::create().await, DataDir::create());
        let url = database.url();
        let settings = [("DATABASE_URL", url.as_str()), ("TRONCH_MASTER_KEY", FIRST)];
        let token = bootstrap(&data_dir, &settings, "acme", PASSWORD);
        let server = Server::start(&data_dir, &settings).await;
        let service = server.service(&token);
        let mut made = Vec::new();
        for number in 0..keys {
            let (id, key) =
                service.create_key(&json!({ "name": format!("key {number}"), "environment": "live" })).await;
            made.push((id, json!({ "key": key })));
        }
        server.stop();
        Self { database, data_dir, token, keys: made }
    }

    fn keyring(&self, masters: &str, arguments: &[&str]) -> Output {
        let arguments = [&["keyring"], arguments].concat();
        let mut command = command(&self.data_dir, &arguments);
        run(command.env("DATABASE_URL", self.database.url()).env("TRONCH_MASTER_KEY", masters), "")
    }

    fn status(&self, masters: &str) -> Vec<Value> {
        let output = self.keyring(masters, &["status", "--json"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let status: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        status.as_array().expect("a list").clone()
    }

    async fn serve(&self, masters: &str) -> Server {
        let url = self.database.url();
        Server::start(&self.data_dir, &[("DATABASE_URL", &url), ("TRONCH_MASTER_KEY", masters)]).await
    }
}

fn id_of(status: &[Value], current: bool) -> String {
    let found = status.iter().find(|master| master["current"] == current).expect("a master secret");
    found["id"].as_str().expect("an id").to_owned()
}

async fn code(service: &Visitor, ask: &Value) -> String {
    let answer = service.post("/api/v1/keys/verify", ask).await;
    answer.json()["code"].as_str().unwrap_or_default().to_owned()
}

/// How many keys and tokens are tagged with which master secret.
async fn tagged(system: &Client, table: &str) -> Vec<i64> {
    let sql = format!("SELECT count(*) FROM {table} GROUP BY tag_key ORDER BY count(*) DESC");
    system.query(&sql, &[]).await.expect("counts").iter().map(|row| row.get(0)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_outlive_a_lost_master_secret_and_are_proven_once_each() {
    let moved = Moved::make(5).await;
    let lost = id_of(&moved.status(FIRST), true);

    // Without it nothing starts, and the refusal names it.
    let refused = moved.keyring(SECOND, &["status"]);
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains(&lost), "{}", String::from_utf8_lossy(&refused.stderr));
    // One that is at hand, or another, is not given up.
    for (masters, id) in [(FIRST, lost.as_str()), (SECOND, "0000000000000000")] {
        let refused = moved.keyring(masters, &["lost", "--id", id]);
        assert!(!refused.status.success(), "{}", String::from_utf8_lossy(&refused.stdout));
    }
    // Nor is a new one made for a mistyped id.
    let mut mistyped = command(&moved.data_dir, &["keyring", "lost", "--id", "0000000000000000"]);
    let refused = run(mistyped.env("DATABASE_URL", moved.database.url()), "");
    assert!(String::from_utf8_lossy(&refused.stderr).contains(&lost), "{}", String::from_utf8_lossy(&refused.stderr));
    assert!(!moved.data_dir.path().join("master-key").exists());
    let given_up = moved.keyring(SECOND, &["lost", "--id", &lost]);
    assert!(given_up.status.success(), "{}", String::from_utf8_lossy(&given_up.stderr));

    let system = moved.database.connect_as_system().await;
    let server = moved.serve(SECOND).await;
    let service = server.service(&moved.token);
    assert_eq!(tagged(&system, "keys").await, [5]);
    for (_, ask) in &moved.keys[..3] {
        for _ in 0..3 {
            assert_eq!(code(&service, ask).await, "VALID");
        }
    }
    assert_eq!(tagged(&system, "keys").await, [3, 2]);
    assert_eq!(tagged(&system, "service_tokens").await, [1]);
    let metrics =
        reqwest::get(format!("{}/metrics", server.ops_url)).await.expect("metrics").text().await.expect("text");
    assert!(metrics.contains("tronch_keys_recovered_total 4"), "three keys and the token: {metrics}");

    // Asked about by many at once it is proven once, too.
    let tasks: Vec<_> = (0..16)
        .map(|_| {
            let (service, ask) = (service.clone(), moved.keys[3].1.clone());
            tokio::spawn(async move { code(&service, &ask).await })
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await.expect("no panic"), "VALID");
    }
    let metrics =
        reqwest::get(format!("{}/metrics", server.ops_url)).await.expect("metrics").text().await.expect("text");
    assert!(metrics.contains("tronch_keys_recovered_total 5"), "{metrics}");
    let status = moved.status(SECOND);
    let of_lost = status.iter().find(|master| master["id"] == lost.as_str()).expect("the lost one");
    assert_eq!((&of_lost["keys"], &of_lost["at_hand"]), (&json!(1), &json!(false)));

    // What has ended needs no proof.
    let (id, ask) = &moved.keys[4];
    assert_eq!(service.delete(&format!("/api/v1/keys/{id}")).await.status, StatusCode::OK);
    assert_eq!(code(&service, ask).await, "REVOKED");
    assert_eq!(tagged(&system, "keys").await, [4, 1]);
    server.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_beside_a_proof_is_never_undone() {
    let moved = Moved::make(8).await;
    let lost = id_of(&moved.status(FIRST), true);
    assert!(moved.keyring(SECOND, &["lost", "--id", &lost]).status.success());
    let server = moved.serve(SECOND).await;
    let service = server.service(&moved.token);
    assert_eq!(service.get("/api/v1/keys").await.status, StatusCode::OK);
    for (id, ask) in &moved.keys {
        let asking = tokio::spawn({
            let (service, ask) = (service.clone(), ask.clone());
            async move { code(&service, &ask).await }
        });
        let revoked = service.delete(&format!("/api/v1/keys/{id}")).await;
        assert_eq!(revoked.status, StatusCode::OK, "{}", revoked.text);
        asking.await.expect("no panic");
        assert_eq!(code(&service, ask).await, "REVOKED");
        assert_eq!(service.get(&format!("/api/v1/keys/{id}")).await.json()["state"], "revoked");
    }
    server.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn another_master_secret_takes_over_once_every_node_has_it() {
    let moved = Moved::make(1).await;
    let both = format!("{FIRST},{SECOND}");
    let server = moved.serve(FIRST).await;
    let status = moved.status(&both);
    let (old, new) = (id_of(&status, true), id_of(&status, false));
    let refused = moved.keyring(&both, &["rotate", "--to", &new]);
    let said = String::from_utf8_lossy(&refused.stderr);
    let port = server.url.rsplit_once(':').expect("a port").1;
    assert!(!refused.status.success() && said.contains(port), "it names the node without it: {said}");
    server.stop();

    let server = moved.serve(&both).await;
    let rotated = moved.keyring(&both, &["rotate", "--to", &new]);
    assert!(rotated.status.success(), "{}", String::from_utf8_lossy(&rotated.stderr));
    let service = server.service(&moved.token);
    let system = moved.database.connect_as_system().await;
    // The running node goes by it from its next renewal on.
    let mut fresh = Vec::new();
    for _ in 0..20 {
        fresh.push(service.create_key(&json!({ "name": "fresh", "environment": "live" })).await.1);
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let counts = tagged(&system, "keys").await;
    assert!(counts.len() == 2 && counts[0] >= 15, "{counts:?}");
    for key in fresh {
        assert_eq!(code(&service, &json!({ "key": key })).await, "VALID");
    }
    assert_eq!(code(&service, &moved.keys[0].1).await, "VALID");
    let status = moved.status(&both);
    let of = |id: &str| status.iter().find(|master| master["id"] == id).expect("it is listed").clone();
    assert_eq!((&of(&new)["current"], &of(&old)["current"]), (&json!(true), &json!(false)));
    assert!(of(&old)["keys"].as_i64().is_some_and(|keys| keys >= 1), "{status:?}");
    server.stop();
}
