//! Setting limits: what of bad input is refused, who may set them where, trying one, and what becomes of removed ones.

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::limits::{key, set};
use crate::support::TestApp;

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_no_limit_is_refused_at_its_field() {
    let app = TestApp::start().await;
    let service = app.everything_in("acme").await;
    let (id, key) = key(&service, json!({})).await;
    let burst = |change: Value| {
        let mut burst = json!({ "capacity": 10, "refill": 1, "period_seconds": 1 });
        burst.as_object_mut().expect("an object").extend(change.as_object().expect("an object").clone());
        json!({ "burst": burst })
    };
    let window = |change: Value| json!({ "window": change });
    for (change, field) in [
        (json!({}), "burst"),
        (burst(json!({ "capacity": 0 })), "burst.capacity"),
        (burst(json!({ "capacity": 1_000_000_001 })), "burst.capacity"),
        (burst(json!({ "capacity": -1 })), "burst.capacity"),
        (burst(json!({ "capacity": 1e300 })), "burst.capacity"),
        (burst(json!({ "refill": 0 })), "burst.refill"),
        (burst(json!({ "period_seconds": 0 })), "burst.period_seconds"),
        (burst(json!({ "capacity": 1_000_000, "period_seconds": 86_400 })), "burst"),
        (window(json!({ "total": 0, "seconds": 60 })), "window.total"),
        (window(json!({ "total": 1, "seconds": 0 })), "window.seconds"),
        (window(json!({ "total": 1, "seconds": 9_999_999 })), "window.seconds"),
        (window(json!({ "total": 1 })), "window.seconds"),
        (window(json!({ "total": 1, "seconds": 60, "calendar": "day" })), "window.seconds"),
        (window(json!({ "total": 1, "calendar": "year" })), "window.calendar"),
        (window(json!({ "total": 1, "calendar": "day", "time_zone": "Europe/Atlantis" })), "window.time_zone"),
        (window(json!({ "total": 1, "seconds": 60, "time_zone": "UTC" })), "window.time_zone"),
        (window(json!({ "total": 1, "calendar": "day", "sliding": true })), "window.sliding"),
        (json!({ "name": "Not A Name", "burst": { "capacity": 1, "refill": 1 } }), "name"),
        (json!({ "owner": { "external_id": "x" }, "burst": { "capacity": 1, "refill": 1 } }), "key_id"),
        (json!({ "environment": "live", "burst": { "capacity": 1, "refill": 1 } }), "environment"),
    ] {
        let mut body = json!({ "name": "default", "key_id": id });
        body.as_object_mut().expect("an object").extend(change.as_object().expect("an object").clone());
        let (status, _, at) = service.post("/api/v1/limits", &body).await.refusal();
        assert_eq!((status, at.as_deref()), (422, Some(field)), "{body}");
    }
    let good = json!({ "name": "default", "key_id": id, "burst": { "capacity": 1, "refill": 1 } });
    set(&service, &good).await;
    let twice = service.post("/api/v1/limits", &good).await.refusal();
    assert_eq!(twice, (409, "name_taken".into(), Some("name".into())));
    for number in 2..=8 {
        set(&service, &json!({ "name": format!("limit-{number}"), "key_id": id, "burst": good["burst"] })).await;
    }
    let one_more = json!({ "name": "limit-9", "key_id": id, "burst": good["burst"] });
    assert_eq!(service.post("/api/v1/limits", &one_more).await.refusal().0, 409);
    for (with, field) in [
        (json!({ "cost": -1 }), "cost"),
        (json!({ "cost": 1_000_001 }), "cost"),
        (json!({ "limits": [{ "name": "Not A Name", "cost": 1 }] }), "limits[0].name"),
        (json!({ "limits": [{ "name": "default", "cost": 1_000_001 }] }), "limits[0].cost"),
        (json!({ "limits": [{ "name": "default", "cost": 1 }, { "name": "default", "cost": 1 }] }), "limits[1].name"),
    ] {
        let mut body = key.clone();
        body.as_object_mut().expect("an object").extend(with.as_object().expect("an object").clone());
        let (status, _, at) = service.post("/api/v1/keys/verify", &body).await.refusal();
        assert_eq!((status, at.as_deref()), (422, Some(field)), "{with}");
    }
    let (revoked, _) = crate::limits::key(&service, json!({})).await;
    service.delete(&format!("/api/v1/keys/{revoked}")).await;
    let late = json!({ "name": "default", "key_id": revoked, "burst": good["burst"] });
    assert_eq!(service.post("/api/v1/limits", &late).await.refusal(), (409, "key_not_active".into(), None));
    let nowhere = json!({ "name": "default", "project": "nowhere", "burst": good["burst"] });
    assert_eq!(service.post("/api/v1/limits", &nowhere).await.refusal().0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limited_token_sees_and_sets_limits_of_its_own_place_alone() {
    let app = TestApp::start().await;
    let service = app.everything_in("acme").await;
    let (live, _) = key(&service, json!({})).await;
    let (test, _) = key(&service, json!({ "environment": "test" })).await;
    let burst = json!({ "capacity": 1, "refill": 1 });
    let on = |change: Value| {
        let mut body = json!({ "name": "default", "burst": burst });
        body.as_object_mut().expect("an object").extend(change.as_object().expect("an object").clone());
        body
    };
    let mut ids = Vec::new();
    for place in [
        json!({ "key_id": live }),
        json!({ "owner": { "external_id": "cus_1" } }),
        json!({ "project": "default" }),
        json!({ "project": "default", "environment": "live" }),
        json!({ "key_id": test }),
        json!({ "project": "default", "environment": "test" }),
    ] {
        ids.push(set(&service, &on(place)).await["id"].as_str().expect("an id").to_owned());
    }
    let (owned, _) = key(&service, json!({ "environment": "test", "owner": { "external_id": "cus_1" } })).await;
    let of_owner = json!({ "owner": { "external_id": "cus_1" }, "name": "of-owner" });
    set(&service, &on(of_owner)).await;
    assert_eq!(service.post("/api/v1/projects", &json!({ "slug": "other" })).await.status, StatusCode::CREATED);
    set(&service, &on(json!({ "project": "other", "name": "elsewhere" }))).await;
    let wish = json!({ "permissions": tronch_core::Permission::ALL, "project": "default", "environment": "test" });
    let limited = app.service(&app.token("acme", &wish).await);
    let listed = limited.get("/api/v1/limits").await.json();
    let mut seen: Vec<&str> =
        listed["items"].as_array().expect("a list").iter().filter_map(|limit| limit["id"].as_str()).collect();
    seen.sort_unstable();
    assert_eq!(seen, [&ids[4], &ids[5]]);
    for (place, id) in ids.iter().enumerate() {
        let path = format!("/api/v1/limits/{id}");
        let expected = if place < 4 { 404 } else { 200 };
        assert_eq!(limited.get(&path).await.status.as_u16(), expected, "{place}");
        // These two stand before wider ones: to loosen them would free keys from those.
        let loosened = if place < 4 { 404 } else { 409 };
        assert_eq!(limited.patch(&path, &json!({ "automatic": false })).await.status.as_u16(), loosened, "{place}");
        assert_eq!(limited.delete(&path).await.status.as_u16(), expected, "{place}");
    }
    for (place, status) in [
        (json!({ "key_id": live }), 404),
        (json!({ "owner": { "external_id": "cus_2" } }), 403),
        (json!({ "project": "default" }), 403),
        (json!({ "project": "default", "environment": "live" }), 403),
        // The name is one of limits that it could not change: it would free its keys from them. Another project's is not.
        (json!({ "key_id": test }), 409),
        (json!({ "project": "default", "environment": "test" }), 409),
        (json!({ "key_id": owned, "name": "of-owner" }), 409),
        (json!({ "key_id": test, "name": "of-owner" }), 201),
        (json!({ "key_id": test, "name": "elsewhere" }), 201),
        (json!({ "key_id": test, "name": "own" }), 201),
        (json!({ "project": "default", "environment": "test", "name": "own" }), 201),
    ] {
        let answer = limited.post("/api/v1/limits", &on(place.clone())).await;
        assert_eq!(answer.status.as_u16(), status, "{place}: {}", answer.text);
    }
}

/// Of calls that are known by the minute: evenly, or all at once. Rotated keys are counted together, an owner's as well.
#[tokio::test(flavor = "multi_thread")]
async fn a_limit_is_tried_on_the_calls_that_were() {
    let app = TestApp::start().await;
    let service = app.everything_in("acme").await;
    let owner = json!({ "owner": { "external_id": "cus_1" } });
    let (id, _) = key(&service, owner.clone()).await;
    let (quiet, _) = key(&service, owner.clone()).await;
    let (test, _) = key(&service, json!({ "environment": "test" })).await;
    let rotated = service.post(&format!("/api/v1/keys/{id}/rotate"), &json!({ "grace_seconds": 600 })).await.json();
    let successor = rotated["key"]["id"].as_str().expect("an id").to_owned();
    let system = app.database.connect_as_system().await;
    for (of, code, count) in [
        (&id, "VALID", 20),
        (&successor, "RATE_LIMITED", 20),
        (&quiet, "VALID", 3),
        (&test, "VALID", 900),
        (&id, "REVOKED", 70),
    ] {
        let of: tronch_core::KeyId = of.parse().expect("an id");
        let sql = format!(
            "INSERT INTO usage_minutes (tenant_id, key_id, at, project_id, environment, code, count) \
             SELECT tenant_id, id, date_trunc('minute', now()), project_id, environment, '{code}', {count} \
             FROM keys WHERE id = '{}'",
            of.uuid()
        );
        assert_eq!(system.execute(&sql, &[]).await.expect("a row"), 1);
    }
    let burst = json!({ "capacity": 20, "refill": 1, "period_seconds": 3 });
    let tried = async |on: Value| {
        let mut body = json!({ "name": "default", "burst": burst });
        body.as_object_mut().expect("an object").extend(on.as_object().expect("an object").clone());
        let answer = service.post("/api/v1/limits/simulate", &body).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        let told = answer.json();
        let numbers =
            ["calls", "refused_least", "refused_most", "keys", "keys_refused"].map(|name| told[name].as_u64());
        (numbers.map(|number| number.expect("a number")), told)
    };
    // 20 are there, and 20 more come back in the minute.
    let (numbers, told) = tried(json!({ "key_id": successor })).await;
    assert_eq!(numbers, [40, 0, 20, 1, 1], "{told}");
    assert_eq!((&told["refused"][0]["key_id"], &told["refused"][0]["name"]), (&json!(id), &json!("a key")));
    let (numbers, told) = tried(owner).await;
    assert_eq!((numbers, &told["refused"][0]["key_id"]), ([43, 3, 23, 1, 1], &Value::Null), "{told}");
    assert_eq!(tried(json!({ "project": "default", "environment": "live" })).await.0, [43, 0, 20, 2, 1]);
    assert_eq!(tried(json!({ "project": "default" })).await.0, [943, 860, 900, 3, 2]);
    // A key with a nearer limit of this name would not be held to it.
    let nearer = json!({ "name": "default", "key_id": test, "window": { "total": 5, "calendar": "day" } });
    let nearer = set(&service, &nearer).await;
    assert_eq!(tried(json!({ "project": "default" })).await.0, [43, 0, 20, 2, 1]);
    service.delete(&format!("/api/v1/limits/{}", nearer["id"].as_str().expect("an id"))).await;
    // Nothing was set.
    assert_eq!(service.get("/api/v1/limits").await.json()["items"], json!([]));
    let wish = json!({ "permissions": ["usage.read"], "environment": "test" });
    let limited = app.service(&app.token("acme", &wish).await);
    for (on, status) in [
        (json!({ "key_id": id }), 404),
        (json!({ "key_id": test }), 200),
        (json!({ "owner": { "external_id": "cus_1" } }), 403),
        (json!({ "project": "default" }), 403),
        (json!({ "project": "default", "environment": "test" }), 200),
    ] {
        let mut body = json!({ "name": "default", "burst": burst });
        body.as_object_mut().expect("an object").extend(on.as_object().expect("an object").clone());
        let answer = limited.post("/api/v1/limits/simulate", &body).await;
        assert_eq!(answer.status.as_u16(), status, "{on}: {}", answer.text);
    }
    let page = app.member(&crate::support::owner("acme")).await;
    let fields = [("project", "default"), ("name", "default"), ("capacity", "20"), ("refill", "20"), ("period", "60")];
    let fields = [&fields[..], &[("then", "simulate")]].concat();
    let shown = page.form("/t/acme/limits/new", &fields).await;
    assert_eq!(shown.status, StatusCode::OK);
    assert!(shown.text.contains("It would have refused 860 to 900 of 943 calls, of 2 of 3 keys"), "{}", shown.text);
    assert!(shown.text.contains("value=\"20\""), "what was typed is shown again");
    assert_eq!(service.get("/api/v1/limits").await.json()["items"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_changes_no_limit_that_somebody_changed_meanwhile() {
    let app = TestApp::start().await;
    let service = app.everything_in("acme").await;
    let member = app.member(&crate::support::owner("acme")).await;
    let window = |total: u64| json!({ "total": total, "calendar": "day" });
    let limit = set(&service, &json!({ "name": "default", "project": "default", "window": window(100) })).await;
    let id = limit["id"].as_str().expect("an id");
    let address = format!("/t/acme/limits/{id}/edit");
    let send = async |total: &str| {
        let page = member.get(&address).await.text;
        let seen = page.split_once("name=\"seen\" value=\"").and_then(|(_, rest)| rest.split('"').next());
        let fields =
            [("name", "default"), ("total", total), ("window", "day"), ("time_zone", "UTC"), ("automatic", "on")];
        (seen.expect("a time").to_owned(), fields.map(|(name, value)| (name, value.to_owned())))
    };
    let (seen, fields) = send("200").await;
    assert_eq!(
        service.patch(&format!("/api/v1/limits/{id}"), &json!({ "window": window(5) })).await.status,
        StatusCode::OK
    );
    let as_sent = |seen: &str, fields: &[(&'static str, String); 5]| {
        let mut all: Vec<(&str, String)> = vec![("seen", seen.to_owned())];
        all.extend(fields.iter().cloned());
        all
    };
    let post = async |all: Vec<(&str, String)>| {
        let all: Vec<(&str, &str)> = all.iter().map(|(name, value)| (*name, value.as_str())).collect();
        member.form(&address, &all).await
    };
    let refused = post(as_sent(&seen, &fields)).await;
    assert_eq!(refused.status, StatusCode::CONFLICT);
    assert!(refused.text.contains("omebody changed this limit since you opened it"), "{}", refused.text);
    let (seen, fields) = send("200").await;
    assert_eq!(post(as_sent(&seen, &fields)).await.status, StatusCode::SEE_OTHER);
    let now = service.get(&format!("/api/v1/limits/{id}")).await.json();
    assert_eq!(now["window"]["total"], 200);
}

/// A removal may be sent again for a day; after that the row goes, and no process has to hear of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_limit_that_was_removed_long_ago_is_deleted_unheard() {
    let app = TestApp::start().await;
    let service = app.everything_in("acme").await;
    let burst = json!({ "capacity": 5, "refill": 1 });
    for name in ["one", "two", "three"] {
        set(&service, &json!({ "name": name, "project": "default", "burst": burst })).await;
    }
    let listed = service.get("/api/v1/limits").await.json();
    for limit in &listed["items"].as_array().expect("limits")[..2] {
        service.delete(&format!("/api/v1/limits/{}", limit["id"].as_str().expect("an id"))).await;
    }
    let system = app.database.connect_as_system().await;
    let number = async |sql: &str| system.query_one(sql, &[]).await.expect("a number").get::<_, i64>(0);
    let age = "UPDATE limits SET removed_at = removed_at - interval '26 hours' WHERE name = 'three'";
    assert_eq!(system.execute(age, &[]).await.expect("an update"), 1);
    let changes = number("SELECT n FROM change_log_head").await;
    assert_eq!(tronch_engine::limits::forget_removed_limits(&app.engine).await.expect("a deletion"), 1);
    assert_eq!(number("SELECT count(*) FROM limits").await, 2);
    assert_eq!(number("SELECT n FROM change_log_head").await, changes);
}
