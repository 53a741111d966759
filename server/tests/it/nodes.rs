//! Answering from memory: that it asks Postgres nothing, that it never outlives a change by more than its bound, and what
//! happens while Postgres is away. Several processes on one database, and a network that fails.

use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::{DataDir, Proxy, Server, TestDatabase, Visitor, Weather, bootstrap, command, eventually, run};

const PASSWORD: &str = "correct horse battery";

/// One for all nodes of an installation.
const MASTER: &str = "0707070707070707070707070707070707070707070707070707070707070707";

/// Later than this no node answers by what was before, without being asked to wait for them.
const BOUND: Duration = Duration::from_secs(1);

/// Nodes of one installation, each behind a proxy of its own.
pub(crate) struct Nodes {
    servers: Vec<Server>,
    pub(crate) proxies: Vec<Proxy>,
    folders: Vec<DataDir>,
    pub(crate) token: String,
    pub(crate) database: TestDatabase,
    lookup_wait_ms: &'static str,
}

impl Nodes {
    pub(crate) async fn start(count: usize) -> Self {
        Self::start_with(count, "2000").await
    }

    async fn start_with(count: usize, lookup_wait_ms: &'static str) -> Self {
        let database = TestDatabase::create().await;
        let first = DataDir::create();
        let url = database.url();
        let token = bootstrap(&first, &[("DATABASE_URL", &url), ("TRONCH_MASTER_KEY", MASTER)], "acme", PASSWORD);
        let mut nodes =
            Self { servers: Vec::new(), proxies: Vec::new(), folders: vec![first], token, database, lookup_wait_ms };
        for _ in 0..count {
            nodes.join().await;
        }
        nodes
    }

    async fn join(&mut self) {
        self.join_with(&[], &[]).await;
    }

    async fn join_with(&mut self, arguments: &[&str], settings: &[(&str, &str)]) {
        let (proxy, folder) = (Proxy::before(&self.database.url()).await, DataDir::create());
        let wait = self.lookup_wait_ms;
        let usual =
            [("DATABASE_URL", proxy.url.as_str()), ("TRONCH_MASTER_KEY", MASTER), ("TRONCH_LOOKUP_WAIT_MS", wait)];
        let settings = [&usual, settings].concat();
        let server = Server::start_with(&folder, &settings, |command| {
            command.args(arguments);
        });
        self.servers.push(server.await);
        self.proxies.push(proxy);
        self.folders.push(folder);
    }

    pub(crate) fn service(&self, node: usize) -> Visitor {
        self.servers[node].service(&self.token)
    }

    pub(crate) async fn metrics(&self, node: usize) -> String {
        let answer = reqwest::get(format!("{}/metrics", self.servers[node].ops_url)).await.expect("metrics");
        answer.text().await.expect("text")
    }

    /// A key that each node remembers.
    pub(crate) async fn warm_key(&self) -> (String, Value) {
        let (id, secret) = self.service(0).create_key(&json!({ "name": "a key", "environment": "live" })).await;
        let ask = json!({ "key": secret });
        for node in 0..self.servers.len() {
            assert_eq!(code(&self.service(node), &ask).await, "VALID");
        }
        (id, ask)
    }
}

/// The verdict's code, or the problem's.
pub(crate) async fn code(service: &Visitor, ask: &Value) -> String {
    service.post("/api/v1/keys/verify", ask).await.json()["code"].as_str().expect("a code").to_owned()
}

/// Nothing else is asked either: with Postgres gone, it goes on as before.
#[tokio::test(flavor = "multi_thread")]
async fn while_postgres_is_away_warm_keys_go_on_for_as_long_as_their_tenant_allows() {
    let nodes = Nodes::start_with(1, "100").await;
    let (_, ask) = nodes.warm_key().await;
    let service = nodes.service(0);
    let (_, cold) = service.create_key(&json!({ "name": "never asked about" })).await;
    let url = nodes.database.url();
    let settings = [("DATABASE_URL", url.as_str()), ("TRONCH_MASTER_KEY", MASTER)];
    let set = |seconds| {
        let arguments = ["tenant", "offline-lease", "--tenant", "acme", "--seconds", seconds];
        run(command(&nodes.folders[0], &arguments).envs(settings), "")
    };
    let refused = set("301");
    assert!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("at most 300 seconds"));
    let output = set("4");
    let said = "Without Postgres, keys of acme are answered for 4 s; before it was 30 s.\n";
    assert_eq!(String::from_utf8_lossy(&output.stdout), said, "{}", String::from_utf8_lossy(&output.stderr));
    let told = service.get("/api/v1/audit-events").await.json();
    assert_eq!(told["items"][0]["after"], json!({ "offline_lease_seconds": 4 }), "{told}");
    eventually("the change is known", async || {
        let answer = service.verify(&ask).await;
        answer["code"] == "VALID" && answer["data_age_ms"] == 0
    })
    .await;

    for weather in [Weather::Cut, Weather::Hanging] {
        nodes.proxies[0].set(weather);
        let away = Instant::now();
        let mut answers = 0;
        let mut last_age = 0;
        while away.elapsed() < Duration::from_millis(3_500) {
            let asked = Instant::now();
            let answer = service.verify(&ask).await;
            assert!(asked.elapsed() < Duration::from_millis(300), "{weather:?}: {:?}", asked.elapsed());
            assert_eq!(answer["code"], "VALID", "{weather:?} after {:?}", away.elapsed());
            last_age = answer["data_age_ms"].as_u64().expect("an age");
            answers += 1;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(answers > 100 && (2_000..4_000).contains(&last_age), "{answers} answers, the last {last_age} ms old");
        let asked = Instant::now();
        let unknown = service.post("/api/v1/keys/verify", &json!({ "key": cold, "environment": "test" })).await;
        assert_eq!(unknown.refusal(), (503, "unavailable".into(), None), "{weather:?}");
        assert_eq!(unknown.header("retry-after"), "1");
        assert!(asked.elapsed() < Duration::from_millis(400), "{:?}", asked.elapsed());
        assert_eq!(
            reqwest::get(format!("{}/livez", nodes.servers[0].url)).await.expect("an answer").status(),
            StatusCode::OK
        );

        tokio::time::sleep_until((away + Duration::from_millis(4_300)).into()).await;
        let asked = Instant::now();
        assert_eq!(service.post("/api/v1/keys/verify", &ask).await.refusal(), (503, "unavailable".into(), None));
        assert!(asked.elapsed() < Duration::from_millis(400), "{:?}", asked.elapsed());

        nodes.proxies[0].set(Weather::Fair);
        eventually("it returns by itself", async || code(&service, &ask).await == "VALID").await;
        assert_eq!(code(&service, &json!({ "key": "tronch_sk_live_x" })).await, "MALFORMED");
    }
}

/// Slow is neither there nor away: what it says late makes nothing live, and still tells what has changed.
#[tokio::test(flavor = "multi_thread")]
async fn where_postgres_is_slow_warm_keys_go_on_and_changes_are_followed() {
    let mut nodes = Nodes::start_with(1, "100").await;
    nodes.join().await;
    let (fair, slow) = (nodes.service(0), nodes.service(1));
    let url = nodes.database.url();
    let settings = [("DATABASE_URL", url.as_str()), ("TRONCH_MASTER_KEY", MASTER)];
    let short = ["tenant", "offline-lease", "--tenant", "acme", "--seconds", "3"];
    assert!(run(command(&nodes.folders[0], &short).envs(settings), "").status.success());
    for late in [300, 700, 1_500].map(Duration::from_millis) {
        let (id, secret) = fair.create_key(&json!({ "name": "a key", "environment": "live" })).await;
        let ask = json!({ "key": secret });
        eventually("it is known", async || code(&slow, &ask).await == "VALID").await;
        nodes.proxies[1].set(Weather::AnswersLate(late));
        let since = Instant::now();
        let mut oldest = 0;
        // For longer than the tenant allows without Postgres.
        while since.elapsed() < Duration::from_secs(5) {
            let asked = Instant::now();
            let answer = slow.verify(&ask).await;
            assert!(asked.elapsed() < Duration::from_millis(300), "{late:?}: {:?}", asked.elapsed());
            assert_eq!(answer["code"], "VALID", "{late:?} late, after {:?}", since.elapsed());
            oldest = oldest.max(answer["data_age_ms"].as_u64().expect("an age"));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // Who is answered within 0.4 s is not cut off.
        let bound = if late < Duration::from_millis(400) { BOUND } else { late * 2 + BOUND };
        assert!(u128::from(oldest) < bound.as_millis(), "{late:?} late, and up to {oldest} ms old");

        assert!(fair.delete(&format!("/api/v1/keys/{id}")).await.status.is_success());
        let revoked = Instant::now();
        let mut last_valid = Duration::ZERO;
        while revoked.elapsed() < bound * 2 {
            let asked = revoked.elapsed();
            if code(&slow, &ask).await == "VALID" {
                last_valid = asked;
            }
        }
        assert!(last_valid < bound, "{late:?} late, and VALID {last_valid:?} after it was revoked");
        nodes.proxies[1].set(Weather::Fair);
        eventually("it is refused as what it is", async || code(&slow, &ask).await == "REVOKED").await;
    }
}

/// It has read the keys that were used last before anybody asked, and opens no other door.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_may_only_validate_and_begin_warm() {
    let mut nodes = Nodes::start(1).await;
    let mut asks = Vec::new();
    for _ in 0..4 {
        asks.push(nodes.warm_key().await);
    }
    let service = nodes.service(0);
    let (_, unused) = service.create_key(&json!({ "name": "unused", "environment": "live" })).await;
    let system = nodes.database.connect_as_system().await;
    eventually("their use is noted", async || {
        let sql = "SELECT count(*) FROM keys WHERE last_used_at IS NOT NULL";
        system.query_one(sql, &[]).await.expect("a count").get::<_, i64>(0) == 4
    })
    .await;
    // Only now: the time of a use passes over a key that is being changed.
    service.delete(&format!("/api/v1/keys/{}", asks[0].0)).await;
    nodes.join_with(&["--doors", "verify"], &[("TRONCH_WARM_UP_KEYS", "100")]).await;
    let verifier = nodes.service(1);
    // This one's token, and nothing of the keys that were used and are not revoked.
    assert_eq!(code(&verifier, &json!({ "key": "no key" })).await, "MALFORMED");
    let before = nodes.proxies[1].reads();
    for (_, ask) in &asks[1..] {
        assert_eq!(code(&verifier, ask).await, "VALID");
    }
    assert_eq!(nodes.proxies[1].reads(), before);
    assert_eq!(code(&verifier, &asks[0].1).await, "REVOKED");
    assert_eq!(code(&verifier, &json!({ "key": unused })).await, "VALID");
    assert_eq!(nodes.proxies[1].reads() - before, 2);
    for path in ["/", "/api/v1/keys", "/sign-in", "/api/v1/health"] {
        let (status, code, _) = verifier.get(path).await.refusal();
        assert_eq!((status, code.as_str()), (404, "not_found"), "{path}");
    }
    let answer = reqwest::get(format!("{}/readyz", nodes.servers[1].url)).await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_changed_on_one_node_is_refused_on_all() {
    let nodes = Nodes::start(3).await;
    for weather in [Weather::Fair, Weather::WordLost] {
        nodes.proxies.iter().for_each(|proxy| proxy.set(weather));
        let mut slowest = Duration::ZERO;
        for round in 0..20 {
            let (id, ask) = nodes.warm_key().await;
            let changer = nodes.service(round % 3);
            let (change, expected) = match round % 4 {
                0 => (changer.delete(&format!("/api/v1/keys/{id}")).await, "REVOKED"),
                1 => (changer.post(&format!("/api/v1/keys/{id}/disable"), &json!({})).await, "DISABLED"),
                2 => {
                    let rotate = json!({ "grace_seconds": 0 });
                    (changer.post(&format!("/api/v1/keys/{id}/rotate"), &rotate).await, "EXPIRED")
                }
                _ => {
                    let soon = json!({ "permissions": ["a"] });
                    (changer.patch(&format!("/api/v1/keys/{id}"), &soon).await, "INSUFFICIENT_PERMISSIONS")
                }
            };
            assert!(change.status.is_success(), "{}", change.text);
            let acknowledged = Instant::now();
            let mut ask = ask.clone();
            if expected == "INSUFFICIENT_PERMISSIONS" {
                ask["permissions"] = json!("b");
            }
            // Whoever made the change may ask about it at once.
            assert_eq!(code(&changer, &ask).await, expected, "{weather:?}, on the node of the change");
            for node in 0..3 {
                while code(&nodes.service(node), &ask).await != expected {
                    assert!(
                        acknowledged.elapsed() < BOUND,
                        "{weather:?}: node {node} after {:?}",
                        acknowledged.elapsed()
                    );
                }
                slowest = slowest.max(acknowledged.elapsed());
            }
        }
        println!("{weather:?}: 20 changes, the slowest node knew after {slowest:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_passes_on_every_node_at_once() {
    let nodes = Nodes::start(2).await;
    let (makes, asks) = (nodes.service(0), nodes.service(1));
    for _ in 0..100 {
        let (_, key) = makes.create_key(&json!({ "name": "fresh" })).await;
        assert_eq!(code(&asks, &json!({ "key": key, "environment": "test" })).await, "VALID");
    }
}

/// The number of a change is given while it commits: what commits late has a late number, and is not missed by who has
/// read on meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_commits_late_is_not_missed() {
    let nodes = Nodes::start(2).await;
    let (id, ask) = nodes.warm_key().await;
    let late = nodes.database.connect_as_system().await;
    let revoke = "BEGIN; UPDATE keys SET revoked_at = now() WHERE name = 'a key'";
    late.batch_execute(revoke).await.expect("an update");
    let service = nodes.service(0);
    for _ in 0..20 {
        let (other, _) = service.create_key(&json!({ "name": "another" })).await;
        assert_eq!(service.delete(&format!("/api/v1/keys/{other}")).await.status, StatusCode::OK);
        assert_eq!(code(&nodes.service(1), &ask).await, "VALID", "{id}");
    }
    late.batch_execute("COMMIT").await.expect("a commit");
    let committed = Instant::now();
    for node in 0..2 {
        while code(&nodes.service(node), &ask).await != "REVOKED" {
            assert!(committed.elapsed() < BOUND, "node {node}");
        }
    }
}

/// A read that was sent before a revocation and answered after it must not put the key back.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_read_does_not_bring_a_revoked_key_back() {
    let nodes = Nodes::start(2).await;
    let (makes, asks) = (nodes.service(0), nodes.service(1));
    for _ in 0..5 {
        let (id, key) = makes.create_key(&json!({ "name": "a key", "environment": "live" })).await;
        let ask = json!({ "key": key });
        nodes.proxies[1].set(Weather::ReadsHeld);
        let early = tokio::spawn({
            let (asks, ask) = (asks.clone(), ask.clone());
            async move { code(&asks, &ask).await }
        });
        // The read is under way; its answer, that the key is fine, waits in the proxy.
        tokio::time::sleep(Duration::from_millis(60)).await;
        assert_eq!(makes.delete(&format!("/api/v1/keys/{id}")).await.status, StatusCode::OK);
        tokio::time::sleep(BOUND / 2).await;
        nodes.proxies[1].set(Weather::Fair);
        assert_eq!(early.await.expect("no panic"), "REVOKED");
        for _ in 0..50 {
            assert_eq!(code(&asks, &ask).await, "REVOKED");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_stopped_says_nothing_before_it_has_asked() {
    let nodes = Nodes::start(2).await;
    let (id, ask) = nodes.warm_key().await;
    nodes.servers[1].pause();
    assert_eq!(nodes.service(0).delete(&format!("/api/v1/keys/{id}")).await.status, StatusCode::OK);
    tokio::time::sleep(Duration::from_secs(5)).await;
    // Asked while it cannot answer: the call waits for it, and is the first that it sees.
    let waiting: Vec<_> = (0..20)
        .map(|_| {
            let (service, ask) = (nodes.service(1), ask.clone());
            tokio::spawn(async move { code(&service, &ask).await })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(100)).await;
    nodes.servers[1].resume();
    for answer in waiting {
        let code = answer.await.expect("no panic");
        assert!(["REVOKED", "unavailable"].contains(&code.as_str()), "{code}");
    }
    eventually("it has asked", async || code(&nodes.service(1), &ask).await == "REVOKED").await;
}

/// In a call that begins after a change was confirmed by all, no node goes by what was before.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_was_waited_for_is_known_to_all() {
    let nodes = Nodes::start(3).await;
    for round in 0..30 {
        let (id, ask) = nodes.warm_key().await;
        let changer = nodes.service(round % 3);
        let answer = match round % 3 {
            0 => changer.delete(&format!("/api/v1/keys/{id}?wait=all")).await,
            1 => changer.post(&format!("/api/v1/keys/{id}/disable?wait=all"), &json!({})).await,
            _ => changer.post(&format!("/api/v1/keys/{id}/rotate?wait=all"), &json!({ "grace_seconds": 0 })).await,
        };
        assert!(answer.status.is_success(), "{}", answer.text);
        let confirmation = &answer.json()["confirmation"];
        assert_eq!(confirmation["confirmed"].as_array().map(Vec::len), Some(3), "{confirmation}");
        assert_eq!(confirmation["unconfirmed"], json!([]));
        assert!(confirmation["took_ms"].as_u64().is_some_and(|took| took < 1_000), "{confirmation}");
        for node in 0..3 {
            let code = code(&nodes.service(node), &ask).await;
            assert!(["REVOKED", "DISABLED", "EXPIRED"].contains(&code.as_str()), "round {round}, node {node}: {code}");
        }
    }
    let service = nodes.service(0);
    let (id, ask) = nodes.warm_key().await;
    for (address, refusal) in [
        ("disable?wait=some", (422, "invalid_field".to_owned(), Some("wait".to_owned()))),
        ("enable?wait=all", (422, "unknown_field".to_owned(), Some("wait".to_owned()))),
    ] {
        assert_eq!(service.post(&format!("/api/v1/keys/{id}/{address}"), &json!({})).await.refusal(), refusal);
    }
    assert_eq!(code(&service, &ask).await, "VALID");
    // A service token, too.
    let wish = json!({ "name": "a service", "permissions": ["keys.verify"] });
    let made = service.post("/api/v1/service-tokens", &wish).await.json();
    let (token_id, token) = (made["service_token"]["id"].as_str(), made["secret"].as_str().expect("a secret"));
    let asks = |node: usize| nodes.servers[node].service(token);
    for node in 0..3 {
        assert_eq!(code(&asks(node), &ask).await, "VALID");
    }
    let revoked = service.delete(&format!("/api/v1/service-tokens/{}?wait=all", token_id.expect("an id"))).await;
    assert_eq!(revoked.json()["confirmation"]["unconfirmed"], json!([]), "{}", revoked.text);
    for node in 0..3 {
        assert_eq!(code(&asks(node), &ask).await, "unauthenticated");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_has_not_heard_is_named() {
    let nodes = Nodes::start(2).await;
    let (id, _) = nodes.warm_key().await;
    let port = nodes.servers[1].url.rsplit_once(':').expect("a port").1.to_owned();
    nodes.servers[1].pause();
    let asked = Instant::now();
    let answer = nodes.service(0).delete(&format!("/api/v1/keys/{id}?wait=all")).await;
    nodes.servers[1].resume();
    assert!((Duration::from_secs(1)..Duration::from_secs(3)).contains(&asked.elapsed()), "{:?}", asked.elapsed());
    assert_eq!(answer.json()["state"], "revoked");
    let confirmation = &answer.json()["confirmation"];
    assert_eq!(confirmation["confirmed"].as_array().map(Vec::len), Some(1), "{confirmation}");
    let [unconfirmed] = confirmation["unconfirmed"].as_array().expect("a list").as_slice() else {
        panic!("{confirmation}");
    };
    assert!(unconfirmed["node"].as_str().is_some_and(|name| name.ends_with(&port)), "{unconfirmed}, {port}");
    let until = unconfirmed["may_answer_until"].as_str().expect("a time");
    let until = tronch_core::parse_timestamp(until).expect("RFC 3339");
    let left = until - chrono::Utc::now();
    // Its renewal may have been under way.
    assert!((15..=37).contains(&left.num_seconds()), "{left}");
    // One that left in order is not waited for.
    let Nodes { mut servers, .. } = nodes;
    let (last, first) = (servers.pop().expect("a node"), servers.pop().expect("a node"));
    last.stop();
    let service = first.service(&nodes.token);
    let (id, _) = service.create_key(&json!({ "name": "another" })).await;
    let answer = service.delete(&format!("/api/v1/keys/{id}?wait=all")).await;
    assert_eq!(answer.json()["confirmation"]["unconfirmed"], json!([]), "{}", answer.text);
}
