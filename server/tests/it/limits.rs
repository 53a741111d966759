//! Limits through the doors: what passes, what is told, and who is counted with whom.

use reqwest::StatusCode;
use serde_json::{Value, json};
use sfv::{BareItem, List, ListEntry, Parser};

use crate::support::{Answer, TestApp, Visitor};

pub(crate) async fn set(service: &Visitor, body: &Value) -> Value {
    let answer = service.post("/api/v1/limits", body).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
    answer.json()
}

pub(crate) async fn key(service: &Visitor, wish: Value) -> (String, Value) {
    let mut body = json!({ "name": "a key", "environment": "live" });
    body.as_object_mut().expect("an object").extend(wish.as_object().expect("an object").clone());
    let (id, secret) = service.create_key(&body).await;
    (id, json!({ "key": secret }))
}

async fn ask(service: &Visitor, key: &Value, with: Value) -> Answer {
    let mut body = key.clone();
    body.as_object_mut().expect("an object").extend(with.as_object().expect("an object").clone());
    let answer = service.post("/api/v1/keys/verify", &body).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    answer
}

pub(crate) async fn code(service: &Visitor, key: &Value, with: Value) -> String {
    ask(service, key, with).await.json()["code"].as_str().expect("a code").to_owned()
}

/// A field of RFC 9651: of each item its name, and its parameters as numbers.
fn items(answer: &Answer, field: &str) -> Vec<(String, Vec<(String, i64)>)> {
    let list: List = Parser::new(answer.header(field)).parse().expect("a list of RFC 9651");
    list.into_iter()
        .map(|entry| {
            let ListEntry::Item(item) = entry else { panic!("an inner list: {}", answer.header(field)) };
            let BareItem::String(name) = item.bare_item else { panic!("a name is a string") };
            let number = |(name, value): (sfv::Key, BareItem)| {
                let BareItem::Integer(value) = value else { panic!("a number") };
                (name.to_string(), value.into())
            };
            (name.to_string(), item.params.into_iter().map(number).collect())
        })
        .collect()
}

fn item(name: &str, parameters: [(&str, i64); 2]) -> (String, Vec<(String, i64)>) {
    (name.to_owned(), parameters.map(|(name, value)| (name.to_owned(), value)).to_vec())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_held_to_its_limit_and_told_how_much_is_left() {
    let app = TestApp::start().await;
    let service = app.everything_in("acme").await;
    let (id, key) = key(&service, json!({})).await;
    let limit = set(
        &service,
        &json!({ "name": "default", "key_id": id, "burst": { "capacity": 3, "refill": 1, "period_seconds": 3600 } }),
    )
    .await;
    assert_eq!(limit["sentence"], "3 calls at once, then 1 an hour");
    for left in [2, 1, 0] {
        let told = ask(&service, &key, json!({})).await;
        let limits = &told.json()["limits"];
        assert_eq!(
            (&told.json()["code"], limits.as_array().map(Vec::len)),
            (&json!("VALID"), Some(1)),
            "{}",
            told.text
        );
        let expected = json!({ "name": "default", "limit": 3, "remaining": left, "exceeded": false });
        for (field, value) in expected.as_object().expect("an object") {
            assert_eq!(&limits[0][field], value, "{}", told.text);
        }
        let reset = limits[0]["reset_after_ms"].as_u64().expect("a time");
        assert!((3_590_000 * (3 - left)..=3_600_000 * (3 - left)).contains(&reset), "{}", told.text);
        assert_eq!(items(&told, "ratelimit-policy"), [item("default", [("q", 3), ("w", 10_800)])]);
        assert_eq!(items(&told, "ratelimit")[0].1[0], ("r".to_owned(), i64::try_from(left).expect("small")));
        assert_eq!(told.header("retry-after"), "");
    }
    let refused = ask(&service, &key, json!({})).await;
    assert_eq!((&refused.json()["code"], &refused.json()["valid"]), (&json!("RATE_LIMITED"), &json!(false)));
    assert_eq!(refused.json()["limits"][0]["exceeded"], true);
    assert!(refused.json()["limits"][0].get("never").is_none(), "{}", refused.text);
    let (wait, told) = (refused.header("retry-after").parse::<i64>().expect("seconds"), items(&refused, "ratelimit"));
    assert!((3_500..=3_600).contains(&wait), "{wait}");
    assert_eq!(told[0].1[0], ("r".to_owned(), 0));
    assert!(told[0].1[1].1 <= wait, "RateLimit says {told:?} and Retry-After {wait}");
    // Reading is never refused, and what was refused took nothing.
    let read = ask(&service, &key, json!({ "cost": 0 })).await;
    assert_eq!((&read.json()["code"], &read.json()["limits"][0]["remaining"]), (&json!("VALID"), &json!(0)));
    // More than there can be will never pass, and nobody is told to wait for it.
    let never = ask(&service, &key, json!({ "cost": 4 })).await;
    assert_eq!((&never.json()["code"], &never.json()["limits"][0]["never"]), (&json!("RATE_LIMITED"), &json!(true)));
    assert_eq!(never.header("retry-after"), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn totals_of_the_calendar_and_of_the_clock_are_quotas() {
    let app = TestApp::start().await;
    let service = app.everything_in("acme").await;
    for window in [
        json!({ "total": 5, "calendar": "month", "time_zone": "Europe/Berlin" }),
        json!({ "total": 5, "seconds": 2_000_000 }),
        json!({ "total": 5, "seconds": 2_000_000, "sliding": true }),
    ] {
        let (id, key) = key(&service, json!({})).await;
        set(&service, &json!({ "name": "monthly", "key_id": id, "window": window })).await;
        assert_eq!(code(&service, &key, json!({ "cost": 3 })).await, "VALID", "{window}");
        assert_eq!(code(&service, &key, json!({ "cost": 3 })).await, "QUOTA_EXCEEDED", "{window}");
        let last = ask(&service, &key, json!({ "cost": 2 })).await;
        assert_eq!((&last.json()["code"], &last.json()["limits"][0]["remaining"]), (&json!("VALID"), &json!(0)));
        let over = ask(&service, &key, json!({})).await;
        assert_eq!(over.json()["code"], "QUOTA_EXCEEDED", "{window}");
        assert!(over.header("retry-after").parse::<u64>().is_ok_and(|wait| wait >= 1), "{window}");
    }
}

/// A call is charged to all its limits or to none; whoever is refused for another reason is not charged at all.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_charged_to_all_of_its_limits_or_to_none() {
    let app = TestApp::start().await;
    let service = app.everything_in("acme").await;
    let (id, key) = key(&service, json!({})).await;
    let window = |total: u64| json!({ "total": total, "calendar": "month" });
    set(&service, &json!({ "name": "wide", "key_id": id, "window": window(10) })).await;
    set(&service, &json!({ "name": "narrow", "key_id": id, "window": window(2) })).await;
    set(&service, &json!({ "name": "exports", "key_id": id, "automatic": false, "window": window(1) })).await;
    let left = async || {
        let all = json!({ "cost": 0, "limits": [{ "name": "exports", "cost": 0 }] });
        let told = ask(&service, &key, all).await.json();
        let of = |name: &str| {
            let limits = told["limits"].as_array().expect("limits").clone();
            limits.into_iter().find(|limit| limit["name"] == name).expect("a limit")["remaining"].as_u64()
        };
        [of("wide"), of("narrow"), of("exports")].map(|left| left.expect("a number"))
    };
    let export = json!({ "limits": [{ "name": "exports", "cost": 1 }, { "name": "unheard-of", "cost": 7 }] });
    assert_eq!(code(&service, &key, export.clone()).await, "VALID");
    assert_eq!(left().await, [9, 1, 0]);
    let refused = ask(&service, &key, export).await.json();
    assert_eq!(refused["code"], "QUOTA_EXCEEDED");
    // Of those that would have let it pass, what is left without it.
    let told = |name: &str| {
        let limits = refused["limits"].as_array().expect("limits");
        let limit = limits.iter().find(|limit| limit["name"] == name).expect("a limit");
        (limit["remaining"].clone(), limit["exceeded"].clone())
    };
    assert_eq!([told("wide"), told("narrow")], [(json!(9), json!(false)), (json!(1), json!(false))]);
    assert_eq!(told("exports"), (json!(0), json!(true)));
    assert_eq!(left().await, [9, 1, 0]);
    assert_eq!(code(&service, &key, json!({})).await, "VALID");
    assert_eq!(code(&service, &key, json!({})).await, "QUOTA_EXCEEDED");
    // An automatic one at a cost of its own.
    let other = json!({ "limits": [{ "name": "narrow", "cost": 0 }], "cost": 4 });
    assert_eq!(code(&service, &key, other).await, "VALID");
    assert_eq!(left().await, [4, 0, 0]);
    let disabled = service.post(&format!("/api/v1/keys/{id}/disable"), &json!({})).await;
    assert_eq!(disabled.status, StatusCode::OK);
    let refused = ask(&service, &key, json!({})).await;
    assert_eq!((&refused.json()["code"], &refused.json()["limits"]), (&json!("DISABLED"), &json!([])));
    assert_eq!(refused.header("ratelimit"), "");
    service.post(&format!("/api/v1/keys/{id}/enable"), &json!({})).await;
    assert_eq!(left().await, [4, 0, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_held_to_its_own_limit_then_its_owners_then_its_projects() {
    let app = TestApp::start().await;
    let service = app.everything_in("acme").await;
    let owner = json!({ "owner": { "external_id": "cus_1" } });
    let (one_id, one) = key(&service, owner.clone()).await;
    let (_, two) = key(&service, owner.clone()).await;
    let (_, alone) = key(&service, json!({})).await;
    let (_, testing) = key(&service, json!({ "environment": "test" })).await;
    let of = |total: u64, on: Value| {
        let mut body = json!({ "name": "default", "window": { "total": total, "calendar": "month" } });
        body.as_object_mut().expect("an object").extend(on.as_object().expect("an object").clone());
        body
    };
    let limit_of = async |key: &Value, environment: &str| {
        let told = ask(&service, key, json!({ "cost": 0, "environment": environment })).await.json();
        told["limits"][0]["limit"].as_u64()
    };
    assert_eq!(limit_of(&alone, "live").await, None);
    set(&service, &of(100, json!({ "project": "default" }))).await;
    set(&service, &of(50, json!({ "project": "default", "environment": "test" }))).await;
    assert_eq!([limit_of(&alone, "live").await, limit_of(&testing, "test").await], [Some(100), Some(50)]);
    // Each key of a project by itself.
    assert_eq!(code(&service, &alone, json!({ "cost": 100 })).await, "VALID");
    assert_eq!(code(&service, &alone, json!({})).await, "QUOTA_EXCEEDED");
    assert_eq!(code(&service, &one, json!({ "cost": 60 })).await, "VALID");
    // The keys of an owner together.
    set(&service, &of(10, owner.clone())).await;
    assert_eq!([limit_of(&one, "live").await, limit_of(&alone, "live").await], [Some(10), Some(100)]);
    assert_eq!(code(&service, &one, json!({ "cost": 6 })).await, "VALID");
    assert_eq!(code(&service, &two, json!({ "cost": 5 })).await, "QUOTA_EXCEEDED");
    assert_eq!(code(&service, &two, json!({ "cost": 4 })).await, "VALID");
    // And a key's own before all others.
    let own = set(&service, &of(3, json!({ "key_id": one_id }))).await;
    assert_eq!([limit_of(&one, "live").await, limit_of(&two, "live").await], [Some(3), Some(10)]);
    assert_eq!(code(&service, &one, json!({ "cost": 3 })).await, "VALID");
    let removed = service.delete(&format!("/api/v1/limits/{}", own["id"].as_str().expect("an id"))).await;
    assert_eq!(removed.status, StatusCode::OK, "{}", removed.text);
    assert_eq!(limit_of(&one, "live").await, Some(10));
    assert_eq!(code(&service, &one, json!({})).await, "QUOTA_EXCEEDED");
    let listed = service.get("/api/v1/limits?owner=cus_1").await.json();
    assert_eq!(listed["items"].as_array().map(Vec::len), Some(1), "{listed}");
    assert_eq!(service.get("/api/v1/limits?project=default").await.json()["items"].as_array().map(Vec::len), Some(2));
}

/// Whoever was told before: limits that differ in their name, quota, time, halves or number are told apart.
#[tokio::test(flavor = "multi_thread")]
async fn each_key_is_told_its_own_policies() {
    let app = TestApp::start().await;
    let service = app.everything_in("acme").await;
    let burst = |capacity: u64| json!({ "burst": { "capacity": capacity, "refill": 1, "period_seconds": 3600 } });
    let window = |total: u64, seconds: u64| json!({ "window": { "total": total, "seconds": seconds } });
    let both = |one: Value, other: Value| json!({ "burst": one["burst"], "window": other["window"] });
    let mut cases = vec![
        (vec![("one", burst(3))], r#""one";q=3;w=10800"#.to_owned()),
        (vec![("two", burst(3))], r#""two";q=3;w=10800"#.to_owned()),
        (vec![("one", window(3, 3_600))], r#""one";q=3;w=3600"#.to_owned()),
        (vec![("one", both(burst(3), window(900, 3_600)))], r#""one.burst";q=3;w=10800"#.to_owned()),
        (vec![("one", both(burst(700), window(3, 10_800)))], r#""one.window";q=3;w=10800"#.to_owned()),
        (vec![("one", burst(3)), ("two", burst(3))], r#""one";q=3;w=10800, "two";q=3;w=10800"#.to_owned()),
    ];
    cases.extend((4..10).map(|many| (vec![("one", burst(many))], format!("\"one\";q={many};w={}", many * 3_600))));
    let mut told = Vec::new();
    for (limits, policies) in cases {
        let (id, key) = key(&service, json!({})).await;
        for (name, mut limit) in limits {
            limit["name"] = json!(name);
            limit["key_id"] = json!(id);
            set(&service, &limit).await;
        }
        told.push((key, policies));
    }
    let (there, back) = (told.iter(), told.iter().rev());
    for (key, policies) in there.clone().chain(back).chain(there.flat_map(|one| [one, one, &told[0]])) {
        let answer = ask(&service, key, json!({ "cost": 0 })).await;
        assert_eq!(answer.header("ratelimit-policy"), policies);
        let names = |field: &str| items(&answer, field).into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        assert_eq!(names("ratelimit"), names("ratelimit-policy"), "{policies}");
    }
}

/// On every node, by the answer that says so; and what was taken stays taken when the key changes otherwise.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_a_limit_counts_at_once_and_a_change_of_its_key_resets_nothing() {
    let app = TestApp::start().await;
    let beside = app.beside().await;
    let token = app.token("acme", &json!({ "permissions": tronch_core::Permission::ALL })).await;
    let (service, other) = (app.service(&token), beside.service(&token));
    let (id, key) = key(&service, json!({})).await;
    assert_eq!([code(&service, &key, json!({})).await, code(&other, &key, json!({})).await], ["VALID", "VALID"]);
    let burst = |capacity: u64| json!({ "capacity": capacity, "refill": 1, "period_seconds": 3600 });
    let body = json!({ "name": "default", "key_id": id, "burst": burst(2) });
    let made = service.post("/api/v1/limits?wait=all", &body).await.json();
    assert_eq!(made["confirmation"]["unconfirmed"], json!([]), "{made}");
    let path = format!("/api/v1/limits/{}", made["id"].as_str().expect("an id"));
    assert_eq!(code(&other, &key, json!({ "cost": 3 })).await, "RATE_LIMITED");
    assert_eq!(code(&service, &key, json!({ "cost": 2 })).await, "VALID");
    let renamed = service.patch(&format!("/api/v1/keys/{id}"), &json!({ "name": "another name" })).await;
    assert_eq!(renamed.status, StatusCode::OK);
    assert_eq!(code(&service, &key, json!({})).await, "RATE_LIMITED");
    let called = service.patch(&path, &json!({ "name": "by-another-name" })).await.json();
    assert_eq!((&called["name"], &called["burst"]["capacity"]), (&json!("by-another-name"), &json!(2)));
    assert_eq!(code(&service, &key, json!({})).await, "RATE_LIMITED");
    // Another rule begins anew.
    let wider = service.patch(&format!("{path}?wait=all"), &json!({ "burst": burst(5) })).await.json();
    assert_eq!(wider["confirmation"]["unconfirmed"], json!([]), "{wider}");
    assert_eq!(code(&service, &key, json!({ "cost": 5 })).await, "VALID");
    assert_eq!(code(&other, &key, json!({})).await, "RATE_LIMITED", "they share it");
    assert_eq!(service.patch(&path, &json!({ "burst": null })).await.refusal().0, 422);
    service.delete(&path).await;
    assert_eq!(code(&service, &key, json!({ "cost": 1000 })).await, "VALID");
    assert_eq!(service.get(&path).await.refusal().0, 404);
    assert_eq!(service.delete(&path).await.refusal().0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_successor_is_held_to_what_the_old_key_was() {
    let app = TestApp::start().await;
    let service = app.everything_in("acme").await;
    let (id, old) = key(&service, json!({})).await;
    let window = json!({ "total": 5, "calendar": "month", "time_zone": "Asia/Kathmandu" });
    set(&service, &json!({ "name": "monthly", "key_id": id, "window": window, "automatic": false })).await;
    let rotated = service.post(&format!("/api/v1/keys/{id}/rotate"), &json!({ "grace_seconds": 600 })).await.json();
    let new = json!({ "key": rotated["secret"] });
    let named = json!({ "limits": [{ "name": "monthly", "cost": 5 }] });
    // However often it is rotated, no more is to be had: both are counted together, and so is the next.
    assert_eq!(code(&service, &old, named.clone()).await, "VALID");
    assert_eq!(code(&service, &new, named.clone()).await, "QUOTA_EXCEEDED");
    let new_id = rotated["key"]["id"].as_str().expect("an id");
    let again = service.post(&format!("/api/v1/keys/{new_id}/rotate"), &json!({ "grace_seconds": 0 })).await.json();
    assert_eq!(code(&service, &json!({ "key": again["secret"] }), named).await, "QUOTA_EXCEEDED");
    let events = service.get("/api/v1/audit-events?limit=100").await.json();
    let set = events["items"].as_array().expect("events").iter().filter(|event| event["action"] == "create_limit");
    assert_eq!(set.count(), 3, "each copy is told of: {events}");
    let path = format!("/api/v1/limits?key_id={}", rotated["key"]["id"].as_str().expect("an id"));
    let copied = service.get(&path).await.json();
    assert_eq!(
        (&copied["items"][0]["window"], &copied["items"][0]["automatic"]),
        (
            &json!({ "total": 5, "seconds": null, "sliding": false, "calendar": "month", "time_zone": "Asia/Kathmandu" }),
            &json!(false)
        )
    );
}

/// One that cannot be read stands for a limit that nobody knows: its key is not let through, and all others are.
#[tokio::test(flavor = "multi_thread")]
async fn a_limit_that_cannot_be_read_lets_its_key_not_pass_and_no_other_wait() {
    let app = TestApp::start().await;
    let service = app.everything_in("acme").await;
    let (id, broken) = key(&service, json!({})).await;
    let (_, whole) = key(&service, json!({})).await;
    set(&service, &json!({ "name": "default", "key_id": id, "window": { "total": 5, "calendar": "day" } })).await;
    let system = app.database.connect_as_system().await;
    let changed = system.execute("UPDATE limits SET time_zone = 'Europe/Atlantis'", &[]).await.expect("an update");
    assert_eq!(changed, 1);
    let patched = service.patch(&format!("/api/v1/keys/{id}?wait=all"), &json!({ "name": "x" })).await;
    assert_eq!(patched.status, StatusCode::OK, "{}", patched.text);
    let refused = service.post("/api/v1/keys/verify", &broken).await;
    assert_eq!(refused.refusal(), (503, "unavailable".into(), None));
    assert_eq!(code(&service, &whole, json!({})).await, "VALID");
    // Nor does it keep others from being read before they are asked about.
    system.execute("UPDATE keys SET last_used_at = now()", &[]).await.expect("an update");
    let beside = app.beside().await;
    assert_eq!(beside.verifier.warm_up(10).await.expect("a warm-up"), 2);
}
