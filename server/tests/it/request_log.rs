//! The request log of a real process: one line for each request, with exactly these fields; and a standard error that
//! takes no more lines holds up nobody.

use std::collections::BTreeMap;
use std::fs::File;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, DataDir, Server, TestDatabase, Visitor, bootstrap, command, eventually, owner};

const PASSWORD: &str = "correct horse battery";

/// The public part of a key or token.
fn handle(secret: &str) -> &str {
    &secret[secret.len() - 37..secret.len() - 26]
}

/// What each request must have left, by the id in its answer.
#[derive(Default)]
struct Expected(BTreeMap<String, Value>);

impl Expected {
    fn add(&mut self, answer: &Answer, route: Option<&str>, method: &str, outcome: &str, more: Value) {
        let mut fields = json!({
            "message": "request", "request.method": method, "response.status": answer.status.as_u16(), "outcome": outcome,
        });
        if let Some(route) = route {
            fields["request.route"] = route.into();
        }
        for (name, value) in more.as_object().expect("fields") {
            fields[name] = value.clone();
        }
        let before = self.0.insert(answer.header("x-request-id").to_owned(), fields);
        assert!(before.is_none(), "an id was given twice");
    }
}

fn lines(log: &str) -> Vec<Value> {
    log.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

/// Level and fields of the lines about requests, by request id, without how long each took.
fn requests(lines: &[Value]) -> Vec<(String, String, Value)> {
    let ours = lines.iter().filter(|line| line["target"] == "tronch::request");
    ours.map(|line| {
        let mut fields = line["fields"].clone();
        let latency = fields.as_object_mut().expect("fields").remove("latency_us");
        assert!(latency.is_some_and(|latency| latency.is_u64()), "{line}");
        assert_eq!(line["span"]["name"], "request", "{line}");
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        (text(&line["span"]["request.id"]), text(&line["level"]), fields)
    })
    .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_request_leaves_one_line_with_what_came_of_it() {
    let (database, data_dir) = (TestDatabase::create().await, DataDir::create());
    let url = database.url();
    let settings = [("DATABASE_URL", url.as_str()), ("TRONCH_LOG_FORMAT", "json")];
    let token = bootstrap(&data_dir, &settings, "acme", PASSWORD);
    let server = Server::start(&data_dir, &settings).await;
    let service = server.service(&token);
    let known = json!({ "tenant.slug": "acme", "token.handle": handle(&token) });
    let with = |more: Value| {
        let mut fields = known.clone();
        fields.as_object_mut().expect("fields").extend(more.as_object().expect("fields").clone());
        fields
    };
    let mut expected = Expected::default();

    let (keys, verify) = ("/api/v1/keys", "/api/v1/keys/verify");
    let made = service.post(keys, &json!({ "name": "a key", "environment": "live" })).await;
    expected.add(&made, Some(keys), "POST", "ok", known.clone());
    let (id, secret) = (made.json()["key"]["id"].clone(), made.json()["secret"].as_str().expect("a secret").to_owned());
    let valid = service.post(verify, &json!({ "key": secret })).await;
    assert_eq!(valid.json()["handle"], handle(&secret));
    expected.add(&valid, Some(verify), "POST", "VALID", with(json!({ "key.handle": handle(&secret) })));
    let malformed = service.post(verify, &json!({ "key": "no key" })).await;
    expected.add(&malformed, Some(verify), "POST", "MALFORMED", known.clone());
    let mistyped = service.post(verify, &json!({ "kee": secret })).await;
    expected.add(&mistyped, Some(verify), "POST", "unknown_field", known.clone());

    let one = format!("{keys}/{}", id.as_str().expect("an id"));
    let got = service.get(&one).await;
    expected.add(&got, Some("/api/v1/keys/{key_id}"), "GET", "ok", with(json!({ "key.id": id })));
    let nobody = server.anonymous().get(&format!("{keys}?search={secret}")).await;
    expected.add(&nobody, Some(keys), "GET", "unauthenticated", json!({}));
    let wrong = format!("{}{}", &token[..token.len() - 1], if token.ends_with('0') { "1" } else { "0" });
    let stranger = server.service(&wrong).get(keys).await;
    expected.add(&stranger, Some(keys), "GET", "unauthenticated", json!({ "token.handle": handle(&token) }));
    let weak = service.post("/api/v1/service-tokens", &json!({ "name": "weak", "permissions": ["keys.verify"] })).await;
    expected.add(&weak, Some("/api/v1/service-tokens"), "POST", "ok", known.clone());
    let weak = weak.json()["secret"].as_str().expect("a secret").to_owned();
    let forbidden = server.service(&weak).get(keys).await;
    let of_weak = json!({ "tenant.slug": "acme", "token.handle": handle(&weak) });
    expected.add(&forbidden, Some(keys), "GET", "forbidden", of_weak);
    let absent = service.get(&format!("{keys}/{secret}")).await;
    expected.add(&absent, Some("/api/v1/keys/{key_id}"), "GET", "not_found", known.clone());
    let invalid = service.post(keys, &json!({ "name": "" })).await;
    expected.add(&invalid, Some(keys), "POST", "invalid_field", known.clone());
    let elsewhere = service.get(&format!("/api/v1/{secret}")).await;
    expected.add(&elsewhere, Some("/api/{*path}"), "GET", "not_found", json!({}));
    let method = Visitor::send(service.request(Method::from_bytes(secret.as_bytes()).expect("a method"), keys)).await;
    expected.add(&method, Some(keys), "other", "method_not_allowed", json!({}));
    let large = service.post(verify, &json!({ "key": "x".repeat(70_000) })).await;
    expected.add(&large, Some(verify), "POST", "body_too_large", known.clone());

    let member = server.anonymous();
    let page = member.get("/sign-in").await;
    expected.add(&page, Some("/sign-in"), "GET", "ok", json!({}));
    let email = owner("acme");
    let failed = member.form("/sign-in", &[("email", &email), ("password", "wrong wrong wrong")]).await;
    expected.add(&failed, Some("/sign-in"), "POST", "sign_in_failed", json!({}));
    // On a connection of its own: what is left of the body ends it.
    let large = server.anonymous().form("/sign-in", &[("email", &"x".repeat(70_000))]).await;
    expected.add(&large, Some("/sign-in"), "POST", "body_too_large", json!({}));
    let sent_away = member.get("/t/acme/keys").await;
    expected.add(&sent_away, Some("/t/{tenant}/keys"), "GET", "unauthenticated", json!({}));
    let signed_in = member.form("/sign-in", &[("email", &email), ("password", PASSWORD)]).await;
    expected.add(&signed_in, Some("/sign-in"), "POST", "ok", json!({}));
    let page = member.get(&format!("/t/acme/keys/{}", id.as_str().expect("an id"))).await;
    let about = json!({ "tenant.slug": "acme", "key.id": id });
    expected.add(&page, Some("/t/{tenant}/keys/{key}"), "GET", "ok", about);
    let nowhere = member.get("/t/beta/keys").await;
    expected.add(&nowhere, Some("/t/{tenant}/keys"), "GET", "not_found", json!({}));
    let unreadable = member.get("/t/%ff/keys").await;
    expected.add(&unreadable, Some("/t/{tenant}/keys"), "GET", "invalid_request", json!({}));
    let unknown = member.get(&format!("/{secret}?q={secret}")).await;
    expected.add(&unknown, None, "GET", "not_found", json!({}));
    let foreign = member.request(Method::POST, "/sign-out").header("sec-fetch-site", "cross-site");
    expected.add(&Visitor::send(foreign).await, Some("/sign-out"), "POST", "forbidden", json!({}));

    let log = server.stop();
    assert!(!log.contains(&secret[secret.len() - 26..]), "a key's secret part is in the log");
    let lines = lines(&log);
    let found = requests(&lines);
    assert_eq!(found.len(), expected.0.len(), "{found:#?}");
    for (id, level, fields) in found {
        assert_eq!(expected.0.get(&id), Some(&fields));
        assert_eq!(level, "INFO");
    }
    let mut numbers: Vec<u64> = lines.iter().map(|line| line["sequence"].as_u64().expect("a number")).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=lines.len() as u64).collect::<Vec<_>>());
    assert!(lines.iter().all(|line| line["pid"].is_u64() && line["pid"] == lines[0]["pid"]), "{:?}", lines[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_leaves_its_line() {
    let (database, data_dir) = (TestDatabase::create().await, DataDir::create());
    let url = database.url();
    let settings = [("DATABASE_URL", url.as_str()), ("TRONCH_LOG_FORMAT", "json")];
    let token = bootstrap(&data_dir, &settings, "acme", PASSWORD);
    let server = Server::start(&data_dir, &settings).await;
    let system = database.connect_as_system().await;
    system.batch_execute("BEGIN; LOCK TABLE service_tokens IN ACCESS EXCLUSIVE MODE").await.expect("the lock");
    let patience = Duration::from_millis(100);
    let asked = server.service(&token).request(Method::GET, "/api/v1/keys").timeout(patience).send().await;
    assert!(asked.is_err_and(|error| error.is_timeout()));
    let log = server.log.clone();
    let read = || std::fs::read_to_string(&log).expect("the log");
    eventually("the line is there", async || read().contains("cut_off")).await;
    system.batch_execute("ROLLBACK").await.expect("an end");
    let found = requests(&lines(&server.stop()));
    let fields = json!({
        "message": "request", "request.method": "GET", "request.route": "/api/v1/keys", "outcome": "cut_off",
        "token.handle": handle(&token),
    });
    assert_eq!(found.iter().map(|(_, _, fields)| fields).collect::<Vec<_>>(), [&fields]);
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_metrics_and_assets_are_logged_for_those_who_ask() {
    let (database, data_dir) = (TestDatabase::create().await, DataDir::create());
    let url = database.url();
    let settings =
        [("DATABASE_URL", url.as_str()), ("TRONCH_LOG_FORMAT", "text"), ("TRONCH_LOG", "info,tronch::request=debug")];
    let token = bootstrap(&data_dir, &settings, "acme", PASSWORD);
    let server = Server::start(&data_dir, &settings).await;
    let verdict = server.service(&token).verify(&json!({ "key": "x" })).await;
    for path in ["/startupz", "/pkg/none/absent.css"] {
        server.anonymous().get(path).await;
    }
    for path in ["/livez", "/metrics"] {
        reqwest::get(format!("{}{path}", server.ops_url)).await.expect("an answer");
    }
    let pid = data_dir.read("tronch.lock");
    let log = server.stop();
    for (route, status, outcome) in
        [("/startupz", 200, "ok"), ("/pkg/{*path}", 404, "not_found"), ("/livez", 200, "ok"), ("/metrics", 200, "ok")]
    {
        let words = format!(
            "tronch::request: request request.method=\"GET\" request.route={route:?} response.status={status} outcome={outcome:?} latency_us="
        );
        let found: Vec<&str> = log.lines().filter(|line| line.contains(&words)).collect();
        assert_eq!(found.len(), 1, "{words}\nin\n{log}");
        let words: Vec<&str> = found[0].split_whitespace().collect();
        assert!(words[1].starts_with(&format!("{pid}#")) && words[2] == "DEBUG", "{}", found[0]);
        assert!(words[3].starts_with("request{request.id=req_"), "{}", found[0]);
    }
    // A validation writes its line another way, and it reads alike.
    let id = format!("request{{request.id={}}}:", verdict["request_id"].as_str().expect("an id"));
    let found: Vec<&str> = log.lines().filter(|line| line.contains(&id)).collect();
    assert_eq!(found.len(), 1, "{id}\nin\n{log}");
    assert!(
        found[0].contains("request.route=\"/api/v1/keys/verify\" response.status=200 outcome=\"MALFORMED\""),
        "{found:?}"
    );
}

/// A server whose standard error is something else than a file.
struct Deaf {
    child: Child,
    url: String,
    ops_url: String,
}

impl Deaf {
    async fn start(data_dir: &DataDir, settings: &[(&str, &str)], stderr: Stdio) -> Self {
        let free = || std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
        let (address, ops_address) = (free().to_string(), free().to_string());
        let child = command(data_dir, &["serve"])
            .envs(settings.iter().copied())
            .envs([("TRONCH_LISTEN", &address), ("TRONCH_OPS_LISTEN", &ops_address)])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(stderr)
            .spawn()
            .expect("the binary");
        let server = Self { child, url: format!("http://{address}"), ops_url: format!("http://{ops_address}") };
        let ready = || async { server.status("/readyz").await == Some(200) };
        eventually("it is ready", ready).await;
        server
    }

    async fn status(&self, path: &str) -> Option<u16> {
        reqwest::get(format!("{}{path}", self.url)).await.ok().map(|answer| answer.status().as_u16())
    }

    async fn lost(&self, why: &str) -> u64 {
        let answer = reqwest::get(format!("{}/metrics", self.ops_url)).await.expect("metrics");
        let text = answer.text().await.expect("text");
        let name = format!("tronch_log_lines_dropped_total{{why=\"{why}\"}} ");
        let count = text.lines().find_map(|line| line.strip_prefix(&name));
        count.unwrap_or_else(|| panic!("{name} is not in {text}")).parse().expect("a number")
    }

    /// SIGTERM: how it ended, and after how long.
    fn stop(&mut self) -> (bool, Duration) {
        let asked = Instant::now();
        let sent = std::process::Command::new("kill").arg(self.child.id().to_string()).status().expect("kill");
        assert!(sent.success());
        (self.child.wait().expect("an end").success(), asked.elapsed())
    }
}

impl Drop for Deaf {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) && self.child.kill().is_ok() {
            self.child.wait().expect("an end");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_under_the_log_costs_lines_and_no_request() {
    let (database, data_dir) = (TestDatabase::create().await, DataDir::create());
    let url = database.url();
    let full = File::options().write(true).open("/dev/full").expect("a full device");
    let mut server = Deaf::start(&data_dir, &[("DATABASE_URL", &url)], full.into()).await;
    let before = server.lost("write_failed").await;
    for _ in 0..100 {
        assert_eq!(server.status("/api/v1/keys").await, Some(401));
    }
    eventually("each line was counted", async || server.lost("write_failed").await >= before + 100).await;
    assert_eq!(server.lost("buffer_full").await, 0);
    assert!(server.stop().0, "it did not stop in order");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_of_the_log_that_stopped_reading_costs_lines_and_no_request() {
    let (database, data_dir) = (TestDatabase::create().await, DataDir::create());
    let url = database.url();
    let settings = [("DATABASE_URL", url.as_str()), ("TRONCH_LOG", "trace")];
    let mut server = Deaf::start(&data_dir, &settings, Stdio::piped()).await;
    let began = Instant::now();
    let mut asked = 0;
    while server.lost("buffer_full").await == 0 {
        for _ in 0..50 {
            assert_eq!(server.status("/api/v1/keys").await, Some(401));
        }
        asked += 50;
        assert!(began.elapsed() < Duration::from_secs(100), "after {asked} requests no line was lost");
    }
    assert_eq!(server.status("/sign-in").await, Some(200));
    let (in_order, took) = server.stop();
    assert!(in_order && took < Duration::from_secs(10), "{in_order}, {took:?}");
    println!("{asked} requests were answered before the first line was lost");
}
