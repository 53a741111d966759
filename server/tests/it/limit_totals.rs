//! Totals that outlive processes and are shared by several: what is spent is never more than there is, a process that is killed takes
//! a block along at most, and one that stops in order nothing.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::limits::{code, key, set};
use crate::support::{
    DataDir, Proxy, Server, TestApp, TestDatabase, Visitor, Weather, bootstrap, eventually, times_from_environment,
};

const MASTER: &str = "0707070707070707070707070707070707070707070707070707070707070707";

/// An installation whose processes come and go.
pub(crate) struct House {
    pub(crate) database: TestDatabase,
    folders: [DataDir; 3],
    token: String,
}

impl House {
    pub(crate) async fn build() -> Self {
        let (database, folders) = (TestDatabase::create().await, [(); 3].map(|()| DataDir::create()));
        let settings = [("DATABASE_URL", &*database.url()), ("TRONCH_MASTER_KEY", MASTER)];
        let token = bootstrap(&folders[0], &settings, "acme", "correct horse battery");
        Self { database, folders, token }
    }

    async fn start(&self) -> (Server, Visitor) {
        self.start_with(0, &self.database.url(), &[]).await
    }

    pub(crate) async fn start_with(&self, place: usize, url: &str, settings: &[(&str, &str)]) -> (Server, Visitor) {
        let usual = [("DATABASE_URL", url), ("TRONCH_MASTER_KEY", MASTER)];
        let server = Server::start(&self.folders[place], &[&usual, settings].concat()).await;
        let service = server.service(&self.token);
        (server, service)
    }
}

/// How many of so many calls at once passed.
async fn passed(service: &Visitor, key: &Value, calls: usize, cost: u32) -> u64 {
    let mut running = JoinSet::new();
    for _ in 0..calls {
        let (service, key) = (service.clone(), key.clone());
        running.spawn(async move { code(&service, &key, json!({ "cost": cost })).await == "VALID" });
    }
    running.join_all().await.into_iter().filter(|passed| *passed).count() as u64
}

/// What is told to be left of the key's only limit.
async fn left(service: &Visitor, key: &Value) -> u64 {
    let mut ask = key.clone();
    ask["cost"] = json!(0);
    let told = service.verify(&ask).await;
    told["limits"][0]["remaining"].as_u64().unwrap_or_else(|| panic!("{told}"))
}

fn total(total: u64) -> Value {
    json!({ "total": total, "calendar": "month", "time_zone": "UTC" })
}

/// Whoever only reads leaves nothing behind.
#[tokio::test(flavor = "multi_thread")]
async fn reading_reserves_nothing() {
    let house = House::build().await;
    let (_server, service) = house.start().await;
    let (id, key) = key(&service, json!({})).await;
    set(&service, &json!({ "name": "monthly", "key_id": id, "window": total(1_000) })).await;
    assert_eq!(left(&service, &key).await, 1_000);
    // What is asked ahead is asked behind the answer.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(left(&service, &key).await, 1_000);
    let database = house.database.connect_as_system().await;
    let rows = database.query_one("SELECT count(*) FROM limit_totals", &[]).await.expect("a count");
    assert_eq!(rows.get::<_, i64>(0), 0);
    assert_eq!(passed(&service, &key, 1, 1).await, 1);
    assert_eq!(left(&service, &key).await, 999);
}

/// Right behind calls more is being asked for, and the answer comes while it stops.
#[tokio::test(flavor = "multi_thread")]
async fn stops_right_behind_calls_lose_nothing() {
    let house = House::build().await;
    let proxy = Proxy::before(&house.database.url()).await;
    let (mut server, mut service) = house.start_with(0, &proxy.url, &[]).await;
    let (id, key) = key(&service, json!({})).await;
    set(&service, &json!({ "name": "monthly", "key_id": id, "window": total(1_000) })).await;
    for round in 1..=2 {
        proxy.set(Weather::AnswersLate(Duration::from_millis(30)));
        // Of a block of ten the sixth finds less than half left.
        for _ in 0..6 {
            assert_eq!(passed(&service, &key, 1, 1).await, 1);
        }
        server.stop();
        proxy.set(Weather::Fair);
        (server, service) = house.start_with(0, &proxy.url, &[]).await;
        assert_eq!(left(&service, &key).await, 1_000 - 6 * round, "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_total_goes_on_after_a_stop_and_after_a_kill_less_a_block() {
    let house = House::build().await;
    let (server, service) = house.start().await;
    let (id, key) = key(&service, json!({})).await;
    set(&service, &json!({ "name": "monthly", "key_id": id, "window": total(1_000) })).await;
    assert_eq!(passed(&service, &key, 130, 1).await, 130);
    assert_eq!(left(&service, &key).await, 870);
    server.stop();
    let (server, service) = house.start().await;
    assert_eq!(left(&service, &key).await, 870, "a stop in order loses nothing");
    let mut spent = 130 + passed(&service, &key, 7, 1).await;
    assert_eq!(spent, 137);
    server.kill();
    let (server, service) = house.start().await;
    let after = left(&service, &key).await;
    // A block: one in a hundred.
    assert!((870 - 7 - 10..=870 - 7).contains(&after), "{after} left");
    spent += passed(&service, &key, 1_200, 1).await;
    assert!((980..=1_000).contains(&spent), "{spent} of 1000");
    assert_eq!(passed(&service, &key, 10, 1).await, 0);
    server.stop();
}

/// Nobody knows what they let pass before.
#[tokio::test(flavor = "multi_thread")]
async fn after_a_kill_buckets_fill_from_nothing_and_after_a_stop_they_are_full() {
    let house = House::build().await;
    let (server, service) = house.start().await;
    let (id, key) = key(&service, json!({})).await;
    let burst = json!({ "capacity": 5, "refill": 1, "period_seconds": 3600 });
    set(&service, &json!({ "name": "default", "key_id": id, "burst": burst })).await;
    assert_eq!(passed(&service, &key, 3, 1).await, 3);
    server.stop();
    let (server, service) = house.start().await;
    assert_eq!(left(&service, &key).await, 5);
    server.kill();
    let (server, service) = house.start().await;
    assert_eq!(code(&service, &key, json!({})).await, "RATE_LIMITED");
    server.stop();
}

/// What is spent of a balance over crash after crash is never more than there was, and what is lost a block for each.
#[tokio::test(flavor = "multi_thread")]
async fn credits_are_never_spent_twice_however_often_the_process_is_killed() {
    const CREDITS: u64 = 3_000;
    let house = House::build().await;
    let crashes = times_from_environment("TRONCH_TEST_CRASHES", 4);
    let (server, service) = house.start().await;
    let (id, key) = key(&service, json!({})).await;
    set(&service, &json!({ "name": "prepaid", "key_id": id, "credits": { "amount": CREDITS } })).await;
    let mut running = Some((server, service));
    let (mut spent, mut may_be_lost) = (0, 0);
    for crash in 0..crashes {
        let (server, service) = running.take().expect("a server");
        let (before, calls) = (spent, 1 + (crash * 7) % 23);
        spent += passed(&service, &key, calls as usize, 1).await;
        // Some die while they answer; what was not told is not counted here, but taken there.
        let dying = tokio::spawn({
            let (service, key) = (service.clone(), key.clone());
            async move {
                let mut told = 0;
                let mut ask = key.clone();
                ask["cost"] = json!(1);
                loop {
                    let sent = service.request(reqwest::Method::POST, "/api/v1/keys/verify").json(&ask).send().await;
                    let Ok(answer) = sent else { return told };
                    let Ok(verdict) = answer.json::<Value>().await else { return told };
                    told += u64::from(verdict["code"] == "VALID");
                }
            }
        });
        tokio::time::sleep(Duration::from_millis(5 + crash % 11)).await;
        server.kill();
        spent += dying.await.expect("no panic");
        assert!(spent <= CREDITS, "{spent} of {CREDITS} after {crash} crashes");
        // A block: a hundredth, or what was spent in a second, which is all of it. And a call whose answer was cut off.
        may_be_lost += 1 + (CREDITS / 100).max(spent - before);
        running = Some(house.start().await);
    }
    let (server, service) = running.expect("a server");
    let rest = left(&service, &key).await;
    spent += passed(&service, &key, usize::try_from(rest).expect("small") + 50, 1).await;
    assert!(spent <= CREDITS, "{spent} of {CREDITS}");
    let lost = CREDITS - spent;
    assert!(lost <= may_be_lost, "{lost} of {CREDITS} lost in {crashes} crashes, of at most {may_be_lost}");
    assert_eq!(code(&service, &key, json!({})).await, "QUOTA_EXCEEDED");
    eprintln!("{spent} of {CREDITS} credits spent, {lost} lost in {crashes} crashes");
    server.stop();
}

/// Three processes share a quota: together they let pass exactly that, and what one of them holds and does not need the others get.
#[tokio::test(flavor = "multi_thread")]
async fn several_processes_share_a_total_and_use_all_of_it() {
    let house = House::build().await;
    let mut nodes = Vec::new();
    for place in 0..3 {
        nodes.push(house.start_with(place, &house.database.url(), &[]).await);
    }
    let (id, key) = key(&nodes[0].1, json!({})).await;
    set(&nodes[0].1, &json!({ "name": "monthly", "key_id": id, "window": total(400) })).await;
    let mut running = JoinSet::new();
    for (_, service) in &nodes {
        let (service, key) = (service.clone(), key.clone());
        running.spawn(async move { passed(&service, &key, 150, 1).await });
    }
    let spent = AtomicU64::new(running.join_all().await.iter().sum());
    let so_far = || spent.load(Ordering::Relaxed);
    assert!((380..=400).contains(&so_far()), "{} of 400 at once", so_far());
    eventually("all of it is used", async || {
        spent.fetch_add(passed(&nodes[1].1, &key, 3, 1).await, Ordering::Relaxed);
        so_far() == 400
    })
    .await;
    for (_, service) in &nodes {
        eventually("nobody has any", async || left(service, &key).await == 0).await;
        assert_eq!(passed(service, &key, 5, 1).await, 0);
    }
}

/// Without Postgres a process goes by its part of what was left; credits nobody can know. What was let pass meanwhile is made up for.
#[tokio::test(flavor = "multi_thread")]
async fn while_postgres_is_away_totals_are_neither_endless_nor_nothing() {
    let house = House::build().await;
    for weather in [Weather::Cut, Weather::Hanging] {
        let proxy = Proxy::before(&house.database.url()).await;
        let (server, service) = house.start_with(0, &proxy.url, &[("TRONCH_LOOKUP_WAIT_MS", "500")]).await;
        let (id, monthly) = key(&service, json!({})).await;
        set(&service, &json!({ "name": "monthly", "key_id": id, "window": total(60) })).await;
        let (id, prepaid) = key(&service, json!({})).await;
        set(&service, &json!({ "name": "prepaid", "key_id": id, "credits": { "amount": 200 } })).await;
        assert_eq!((passed(&service, &monthly, 20, 1).await, passed(&service, &prepaid, 20, 1).await), (20, 20));
        proxy.set(weather);
        // All of it, for there is nobody else.
        assert_eq!(passed(&service, &monthly, 90, 1).await, 40, "{weather:?}");
        let mut costly = prepaid.clone();
        costly["cost"] = json!(150);
        let unknown = service.post("/api/v1/keys/verify", &costly).await;
        assert_eq!(unknown.refusal().0, 503, "{weather:?}: {}", unknown.text);
        proxy.set(Weather::Fair);
        eventually("it knows again", async || {
            service.post("/api/v1/keys/verify", &costly).await.json()["code"] == "VALID"
        })
        .await;
        eventually("what was let pass is made up for", async || {
            let told = passed(&service, &monthly, 1, 1).await;
            assert_eq!(told, 0, "{weather:?}");
            let system = house.database.connect_as_system().await;
            let sql = "SELECT max(used) FROM limit_totals WHERE stretches LIKE 'month%'";
            system.query_one(sql, &[]).await.expect("a row").get::<_, i64>(0) >= 60
        })
        .await;
        server.stop();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn credits_are_spent_added_and_seen() {
    let app = TestApp::start().await;
    let service = app.everything_in("acme").await;
    let (id, ask) = key(&service, json!({})).await;
    let limit = set(&service, &json!({ "name": "prepaid", "key_id": id, "credits": { "amount": 10 } })).await;
    assert_eq!(
        (&limit["credits"], &limit["window"], &limit["sentence"]),
        (
            &json!({ "amount": 10, "refill": null }),
            &json!(null),
            &json!("10 credits, then no more until some are added")
        )
    );
    assert_eq!(passed(&service, &ask, 15, 1).await, 10);
    let refused = service.post("/api/v1/keys/verify", &ask).await;
    let told = &refused.json()["limits"][0];
    assert_eq!((&refused.json()["code"], &told["never"]), (&json!("QUOTA_EXCEEDED"), &json!(true)), "{}", refused.text);
    assert_eq!((&told["reset_after_ms"], refused.header("retry-after")), (&json!(null), ""));
    assert_eq!(refused.header("ratelimit-policy"), "\"prepaid\";q=10");
    assert_eq!(refused.header("ratelimit"), "\"prepaid\";r=0");
    let path = format!("/api/v1/limits/{}", limit["id"].as_str().expect("an id"));
    let uses = service.get(&format!("{path}/uses")).await.json();
    let used = json!({ "key_id": id, "key_name": "a key", "identifier": null, "limit": 10, "remaining": 0, "reset_after_ms": null });
    assert_eq!(uses["items"], json!([used]), "{uses}");

    let added = service.post(&format!("{path}/credits"), &json!({ "add": 25 })).await;
    assert_eq!((added.status.as_u16(), &added.json()["remaining"]), (200, &json!(25)), "{}", added.text);
    let event = service.get("/api/v1/audit-events?limit=1").await.json()["items"][0].clone();
    assert_eq!((&event["action"], &event["after"]["added"]), (&json!("add_credits"), &json!(25)), "{event}");
    eventually("what was added is there", async || code(&service, &ask, json!({})).await == "VALID").await;
    assert_eq!(passed(&service, &ask, 40, 1).await, 24);

    // Each key of a project has a balance of its own, and what they are filled up with is told.
    let monthly = json!({ "amount": 3, "refill": { "every": "month", "time_zone": "Europe/Berlin" } });
    let limit = set(&service, &json!({ "name": "included", "project": "default", "credits": monthly })).await;
    assert_eq!(limit["sentence"], "3 credits, filled up each month, Europe/Berlin");
    let (other, other_ask) = key(&service, json!({})).await;
    assert_eq!(passed(&service, &other_ask, 5, 1).await, 3);
    let path = format!("/api/v1/limits/{}/credits", limit["id"].as_str().expect("an id"));
    let at = async |body: Value| service.post(&path, &body).await.refusal();
    assert_eq!(at(json!({ "add": 5 })).await, (422, "invalid_field".into(), Some("key_id".into())));
    assert_eq!(at(json!({ "add": 0, "key_id": other })).await, (422, "invalid_field".into(), Some("add".into())));
    let nobody = "key_01m8cx76n1e4v8ctdayvbxwx2q";
    assert_eq!(at(json!({ "add": 5, "key_id": nobody })).await, (404, "not_found".into(), None));
    let added = service.post(&path, &json!({ "add": 5, "key_id": other })).await;
    assert_eq!((&added.json()["remaining"], &added.json()["key_id"]), (&json!(5), &json!(other)), "{}", added.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn credits_that_are_none_are_refused_by_name() {
    let app = TestApp::start().await;
    let service = app.everything_in("acme").await;
    for (body, field) in [
        (json!({ "credits": { "amount": 0 } }), "credits.amount"),
        (json!({ "credits": { "amount": 5, "refill": { "every": "hour" } } }), "credits.refill.every"),
        (
            json!({ "credits": { "amount": 5, "refill": { "every": "day", "time_zone": "Mars" } } }),
            "credits.refill.time_zone",
        ),
        (json!({ "credits": { "amount": 5 }, "window": { "total": 5, "seconds": 60 } }), "credits"),
    ] {
        let mut whole = json!({ "name": "a-limit", "project": "default" });
        whole.as_object_mut().expect("an object").extend(body.as_object().expect("an object").clone());
        let refused = service.post("/api/v1/limits", &whole).await.refusal();
        assert_eq!(refused, (422, "invalid_field".into(), Some(field.into())), "{body}");
    }
    let window =
        json!({ "name": "a-limit", "owner": { "external_id": "cus_1" }, "window": { "total": 5, "seconds": 60 } });
    let limit = set(&service, &window).await;
    let path = format!("/api/v1/limits/{}", limit["id"].as_str().expect("an id"));
    let refused = service.post(&format!("{path}/credits"), &json!({ "add": 5 })).await.refusal();
    assert_eq!(refused, (422, "invalid_field".into(), Some("add".into())));
    // A window becomes credits, and both go.
    let changed = service.patch(&path, &json!({ "credits": { "amount": 7 } })).await.json();
    assert_eq!((&changed["credits"]["amount"], &changed["window"]), (&json!(7), &json!(null)));
    let refused = service.patch(&path, &json!({ "credits": null })).await.refusal();
    assert_eq!(refused, (422, "invalid_field".into(), Some("burst".into())));
}

/// The count is the row's, whatever the total: only what the old rule held and had not spent is a moment behind.
#[tokio::test(flavor = "multi_thread")]
async fn under_another_total_the_count_goes_on_and_within_another_time_it_begins_anew() {
    let app = TestApp::start().await;
    let service = app.everything_in("acme").await;
    let (id, ask) = key(&service, json!({})).await;
    let limit = set(&service, &json!({ "name": "monthly", "key_id": id, "window": total(1_000) })).await;
    assert_eq!(passed(&service, &ask, 130, 1).await, 130);
    let path = format!("/api/v1/limits/{}?wait=all", limit["id"].as_str().expect("an id"));
    service.patch(&path, &json!({ "window": total(200) })).await.json();
    let now_left = left(&service, &ask).await;
    assert!((60..=70).contains(&now_left), "{now_left} left");
    assert!(passed(&service, &ask, 100, 1).await <= 70);
    service.patch(&path, &json!({ "window": { "total": 200, "calendar": "week" } })).await.json();
    assert_eq!(left(&service, &ask).await, 200);
}
