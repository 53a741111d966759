//! Limits on what is no key: who is held to which, and what is remembered of them.

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::limits::set;
use crate::nodes::Nodes;
use crate::support::{Answer, TestApp, Visitor, Weather, eventually, owner};

async fn check(service: &Visitor, identifier: &str, with: Value) -> Answer {
    let mut body = json!({ "namespace": "sign-ups", "identifier": identifier });
    body.as_object_mut().expect("an object").extend(with.as_object().expect("an object").clone());
    let answer = service.post("/api/v1/limits/check", &body).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    answer
}

/// How many of so many calls passed.
async fn passed(service: &Visitor, identifier: &str, calls: usize) -> usize {
    let mut passed = 0;
    for _ in 0..calls {
        let answer = check(service, identifier, json!({})).await.json();
        assert_eq!(answer["passed"], answer["code"] == "PASSED", "{answer}");
        passed += usize::from(answer["passed"] == true);
    }
    passed
}

fn burst(capacity: u64) -> Value {
    json!({ "capacity": capacity, "refill": 1, "period_seconds": 3600 })
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identifier_is_held_to_what_is_nearest_and_each_by_itself() {
    let app = TestApp::start().await;
    app.found("other").await;
    let service = app.everything_in("acme").await;
    let limit = |identifier: &str, capacity| json!({ "name": "default", "namespace": "sign-ups", "identifier": identifier, "burst": burst(capacity) });
    set(&service, &json!({ "name": "default", "namespace": "sign-ups", "burst": burst(2) })).await;
    set(&service, &limit("198.51.100.*", 3)).await;
    let one = set(&service, &limit("198.51.100.7", 5)).await;
    assert_eq!((&one["namespace"], &one["identifier"]), (&json!("sign-ups"), &json!("198.51.100.7")));
    for (identifier, expected) in [("203.0.113.1", 2), ("203.0.113.2", 2), ("198.51.100.1", 3), ("198.51.100.7", 5)] {
        assert_eq!(passed(&service, identifier, expected + 2).await, expected, "{identifier}");
    }
    let refused = check(&service, "198.51.100.7", json!({})).await;
    let told = refused.json();
    assert_eq!((&told["code"], &told["limits"][0]["exceeded"]), (&json!("RATE_LIMITED"), &json!(true)), "{told}");
    assert!(refused.header("ratelimit").starts_with("\"default\";r=0;t="), "{}", refused.header("ratelimit"));
    assert_eq!(refused.header("ratelimit-policy"), "\"default\";q=5;w=18000");
    assert!((3_500..=3_600).contains(&refused.header("retry-after").parse::<u64>().expect("seconds")));
    // Reading takes nothing; more than there can be never passes.
    let read = check(&service, "203.0.113.9", json!({ "cost": 0 })).await.json();
    assert_eq!((&read["passed"], &read["limits"][0]["remaining"]), (&json!(true), &json!(2)));
    let never = check(&service, "203.0.113.9", json!({ "cost": 3 })).await.json();
    assert_eq!((&never["passed"], &never["limits"][0]["never"]), (&json!(false), &json!(true)));

    // What changes is known with the next call: without its own limit it is held to the next nearest, which counts from nothing.
    service.delete(&format!("/api/v1/limits/{}", one["id"].as_str().expect("an id"))).await;
    assert_eq!(passed(&service, "198.51.100.7", 5).await, 3);
    // A named one is charged when it is named, with the others or not at all.
    let total = json!({ "name": "mails", "namespace": "sign-ups", "automatic": false, "window": { "total": 3, "calendar": "day" } });
    set(&service, &total).await;
    let named = |cost: u32| json!({ "limits": [{ "name": "mails", "cost": cost }] });
    assert_eq!(check(&service, "ada", named(4)).await.json()["code"], "QUOTA_EXCEEDED");
    let told = check(&service, "ada", named(3)).await.json();
    let left: Vec<_> = told["limits"].as_array().expect("two").iter().map(|limit| limit["remaining"].clone()).collect();
    assert_eq!(left, [1, 0], "{told}");

    // Other namespaces and other tenants have nothing to do with it, and keys are not held to it.
    for (who, namespace) in [(&service, "sign-ins"), (&app.everything_in("other").await, "sign-ups")] {
        let answer = who.post("/api/v1/limits/check", &json!({ "namespace": namespace, "identifier": "ada" })).await;
        assert_eq!(answer.refusal(), (404, "not_found".to_owned(), None), "{}", answer.text);
    }
    let (_, secret) = service.create_key(&json!({ "name": "a key", "environment": "live" })).await;
    assert_eq!(service.verify(&json!({ "key": secret })).await["limits"], json!([]));
    let listed = service.get("/api/v1/limits?namespace=sign-ups").await.json();
    assert_eq!(listed["items"].as_array().map(Vec::len), Some(3), "{listed}");
    // Whoever is limited to a project has no part in it.
    let wish = json!({ "permissions": tronch_core::Permission::ALL, "project": "default" });
    let limited = app.service(&app.token("acme", &wish).await);
    let ask = json!({ "namespace": "sign-ups", "identifier": "ada" });
    assert_eq!(limited.post("/api/v1/limits/check", &ask).await.status, StatusCode::FORBIDDEN);
    assert_eq!(limited.post("/api/v1/limits", &limit("bob", 1)).await.status, StatusCode::FORBIDDEN);
    assert_eq!(limited.get("/api/v1/limits?namespace=sign-ups").await.json()["items"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn people_see_who_is_close_to_the_end_and_add_credits() {
    let app = TestApp::start().await;
    let service = app.everything_in("acme").await;
    let limit = json!({ "name": "mails", "namespace": "sign-ups", "credits": { "amount": 3 } });
    let id = set(&service, &limit).await["id"].as_str().expect("an id").to_owned();
    assert_eq!(passed(&service, "ada@example.com", 5).await, 3);
    assert_eq!(passed(&service, "<b>bob</b>", 1).await, 1);
    let refused = check(&service, "ada@example.com", json!({})).await.json();
    assert_eq!(refused["code"], "QUOTA_EXCEEDED");
    let uses = service.get(&format!("/api/v1/limits/{id}/uses")).await.json();
    let first = &uses["items"][0];
    assert_eq!((&first["identifier"], &first["remaining"]), (&json!("ada@example.com"), &json!(0)), "{uses}");
    let credits = format!("/api/v1/limits/{id}/credits");
    let added = service.post(&credits, &json!({ "add": 2, "identifier": "ada@example.com" })).await.json();
    assert_eq!((&added["identifier"], &added["remaining"]), (&json!("ada@example.com"), &json!(2)), "{added}");
    eventually("the credits are there", async || {
        check(&service, "ada@example.com", json!({ "cost": 2 })).await.json()["passed"] == true
    })
    .await;
    for (body, field) in [
        (json!({ "add": 2 }), "identifier"),
        (json!({ "add": 2, "key_id": tronch_core::KeyId::from_uuid(uuid::Uuid::nil()) }), "identifier"),
        (json!({ "add": 2, "identifier": "" }), "identifier"),
    ] {
        let (status, _, at) = service.post(&credits, &body).await.refusal();
        assert_eq!((status, at.as_deref()), (422, Some(field)), "{body}");
    }
    let member = app.member(&owner("acme")).await;
    let page = member.get(&format!("/t/acme/limits/{id}")).await.text;
    assert!(page.contains("ada@example.com") && page.contains("&lt;b&gt;bob"), "who used it is not there");
    let sent = member.form(&format!("/t/acme/limits/{id}"), &[("add", "4"), ("identifier", "bob")]).await;
    assert_eq!(sent.status, StatusCode::SEE_OTHER, "{}", sent.text);
    assert_eq!(check(&service, "bob", json!({ "cost": 0 })).await.json()["limits"][0]["remaining"], 7);
    let list = member.get("/t/acme/limits").await.text;
    assert!(list.contains("each identifier of"), "the list does not say whose calls it counts");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_checked_is_refused_at_its_field() {
    let app = TestApp::start().await;
    let service = app.everything_in("acme").await;
    let on = |identifier: &str| json!({ "name": "default", "namespace": "sign-ups", "identifier": identifier, "burst": burst(2) });
    set(&service, &on("*")).await;
    for (body, code, field) in [
        (on("a*b*"), "invalid_field", Some("identifier")),
        (on(""), "invalid_field", Some("identifier")),
        (on("*"), "name_taken", Some("name")),
        (
            json!({ "name": "default", "identifier": "ada", "project": "default", "burst": burst(2) }),
            "invalid_field",
            Some("identifier"),
        ),
        (
            json!({ "name": "default", "namespace": "sign-ups", "project": "default", "burst": burst(2) }),
            "invalid_field",
            Some("key_id"),
        ),
        (json!({ "name": "default", "namespace": "Sign Ups", "burst": burst(2) }), "invalid_field", Some("namespace")),
    ] {
        let (_, said, at) = service.post("/api/v1/limits", &body).await.refusal();
        assert_eq!((said.as_str(), at.as_deref()), (code, field), "{body}");
    }
    let long = "x".repeat(256);
    for (body, code, field) in [
        (json!({ "namespace": "sign-ups" }), "invalid_field", Some("identifier")),
        (json!({ "namespace": "sign-ups", "identifier": long }), "invalid_field", Some("identifier")),
        (json!({ "namespace": "sign-ups", "identifier": "a\u{0}b" }), "invalid_field", Some("identifier")),
        (json!({ "namespace": "a b", "identifier": "ada" }), "invalid_field", Some("namespace")),
        (json!({ "namespace": "sign-ups", "identifier": "ada", "cost": -1 }), "invalid_field", Some("cost")),
        (json!({ "namespace": "sign-ups", "identifier": "ada", "key": "x" }), "unknown_field", Some("key")),
        (
            json!({ "namespace": "sign-ups", "identifier": "ada", "limits": [{ "name": "a b", "cost": 1 }] }),
            "invalid_field",
            Some("limits[0].name"),
        ),
    ] {
        let (_, said, at) = service.post("/api/v1/limits/check", &body).await.refusal();
        assert_eq!((said.as_str(), at.as_deref()), (code, field), "{body}");
    }
    let get = service.get("/api/v1/limits/check").await;
    assert_eq!((get.status, get.header("allow")), (StatusCode::METHOD_NOT_ALLOWED, "POST"));
    let anonymous = app.anonymous().post("/api/v1/limits/check", &json!({})).await;
    assert_eq!(anonymous.status, StatusCode::UNAUTHORIZED);
    // Each name is one limit more that an identifier may be held to.
    for number in 2..=8 {
        set(&service, &json!({ "name": format!("name-{number}"), "namespace": "sign-ups", "burst": burst(2) })).await;
    }
    let ninth = json!({ "name": "name-9", "namespace": "sign-ups", "identifier": "bob", "burst": burst(2) });
    let (status, _, at) = service.post("/api/v1/limits", &ninth).await.refusal();
    assert_eq!((status, at.as_deref()), (409, Some("name")));
    let bob = set(&service, &on("bob")).await;
    let path = format!("/api/v1/limits/{}", bob["id"].as_str().expect("an id"));
    assert_eq!(service.patch(&path, &json!({ "name": "name-9" })).await.refusal().0, 409);
    let tried = service.post("/api/v1/limits/simulate", &on("bob")).await.refusal();
    assert_eq!((tried.0, tried.2.as_deref()), (422, Some("namespace")));
}

/// What limits there are is remembered as keys are, on each node, and forgotten as they are.
#[tokio::test(flavor = "multi_thread")]
async fn nodes_remember_namespaces_and_hear_of_changes() {
    let nodes = Nodes::start(2).await;
    let (one, other) = (nodes.service(0), nodes.service(1));
    let limit = json!({ "name": "default", "namespace": "sign-ups", "burst": { "capacity": 1_000, "refill": 1_000 } });
    let id = set(&one, &limit).await["id"].as_str().expect("an id").to_owned();
    eventually("the other node knows the limit", async || {
        let body = json!({ "namespace": "sign-ups", "identifier": "ada" });
        other.post("/api/v1/limits/check", &body).await.status == StatusCode::OK
    })
    .await;
    let narrow = json!({ "burst": { "capacity": 1, "refill": 1, "period_seconds": 86_400 } });
    let changed = one.patch(&format!("/api/v1/limits/{id}?wait=all"), &narrow).await;
    assert_eq!(changed.json()["confirmation"]["unconfirmed"], json!([]), "{}", changed.text);
    let told = check(&other, "ada", json!({ "cost": 0 })).await.json();
    assert_eq!(told["limits"][0]["limit"], 1, "{told}");
    // Warm, it goes on without Postgres; what is not remembered cannot be known.
    nodes.proxies[1].set(Weather::Hanging);
    eventually("it goes on by what it remembers, however old that is", async || {
        let told = check(&other, "bob", json!({ "cost": 0 })).await.json();
        told["data_age_ms"].as_u64() > Some(1_500)
    })
    .await;
    let absent = json!({ "namespace": "sign-ins", "identifier": "ada" });
    assert_eq!(other.post("/api/v1/limits/check", &absent).await.status, StatusCode::SERVICE_UNAVAILABLE);
}
