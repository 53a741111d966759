//! Service tokens are rotated: a successor takes over, and the old one ends with its grace.

use chrono::{DateTime, TimeDelta, Utc};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tronch_core::{Permission, Role};

use crate::support::{Answer, TestApp, owner};

fn id(made: &Answer) -> String {
    made.json()["service_token"]["id"].as_str().unwrap_or_else(|| panic!("{}", made.text)).to_owned()
}

fn secret(made: &Answer) -> String {
    made.json()["secret"].as_str().unwrap_or_else(|| panic!("{}", made.text)).to_owned()
}

fn time(value: &Value) -> DateTime<Utc> {
    value.as_str().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{value}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn both_work_until_the_grace_ends_and_the_successor_may_no_more() {
    let app = TestApp::start().await;
    let service = app.everything_in("acme").await;
    let expires_at = Utc::now() + TimeDelta::days(30);
    let wish = json!({
        "name": "deploy", "permissions": ["keys.read", "keys.create"], "project": "default", "environment": "test",
        "expires_at": expires_at,
    });
    let old = service.post("/api/v1/service-tokens", &wish).await;
    let (old_id, old_secret) = (id(&old), secret(&old));
    let path = format!("/api/v1/service-tokens/{old_id}/rotate");
    let rotated = service.post(&path, &json!({ "grace_seconds": 600 })).await;
    assert_eq!(rotated.status, StatusCode::CREATED, "{}", rotated.text);
    let successor = rotated.json()["service_token"].clone();
    for field in ["name", "permissions", "project", "environment"] {
        assert_eq!(successor[field], old.json()["service_token"][field], "{field}");
    }
    assert!(
        (time(&successor["expires_at"]) - expires_at).num_seconds().abs() < 10,
        "a month from now as well: {successor}"
    );
    for secret in [&old_secret, &secret(&rotated)] {
        assert_eq!(app.service(secret).get("/api/v1/keys").await.status, StatusCode::OK);
    }
    let listed = service.get("/api/v1/service-tokens").await.json();
    let shown = listed["items"].as_array().and_then(|all| all.iter().find(|one| one["id"] == old_id)).expect("the old");
    assert_eq!(shown["successor_id"], successor["id"]);
    assert!((time(&shown["expires_at"]) - Utc::now()).num_seconds() <= 600, "{shown}");

    // Once.
    let again = service.post(&path, &json!({})).await.refusal();
    assert_eq!((again.0, again.1.as_str()), (409, "already_rotated"));

    // With no grace the old one ends with the answer, and a shorter life may be asked for.
    let soon = Utc::now() + TimeDelta::days(1);
    let path = format!("/api/v1/service-tokens/{}/rotate", id(&rotated));
    let third = service.post(&path, &json!({ "grace_seconds": 0, "expires_at": soon })).await;
    assert_eq!(time(&third.json()["service_token"]["expires_at"]).timestamp(), soon.timestamp());
    assert_eq!(app.service(&secret(&rotated)).get("/api/v1/keys").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(app.service(&secret(&third)).get("/api/v1/keys").await.status, StatusCode::OK);
    let path = format!("/api/v1/service-tokens/{}/rotate", id(&third));
    let too_long = service.post(&path, &json!({ "grace_seconds": 2_592_001 })).await;
    assert_eq!(too_long.refusal(), (422, "invalid_field".to_owned(), Some("grace_seconds".to_owned())));

    let log = service.get(&format!("/api/v1/audit-events?target_id={old_id}")).await.json();
    let actions: Vec<&str> =
        log["items"].as_array().expect("events").iter().filter_map(|one| one["action"].as_str()).collect();
    assert_eq!(actions, ["rotate_token", "create_token"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_rotates_what_may_do_more_than_he() {
    let app = TestApp::start().await;
    let service = app.everything_in("acme").await;
    let wide =
        id(&service.post("/api/v1/service-tokens", &json!({ "name": "wide", "permissions": Permission::ALL })).await);
    let wish = json!({ "permissions": ["tokens.write", "tokens.read", "keys.read"] });
    let small = app.service(&app.token("acme", &wish).await);
    let refused = small.post(&format!("/api/v1/service-tokens/{wide}/rotate"), &json!({})).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN, "{}", refused.text);
    // A limited token finds none outside of its limits.
    let wish = json!({ "permissions": Permission::ALL, "project": "default" });
    let limited = app.service(&app.token("acme", &wish).await);
    let absent = limited.post(&format!("/api/v1/service-tokens/{wide}/rotate"), &json!({})).await;
    assert_eq!(absent.status, StatusCode::NOT_FOUND, "{}", absent.text);
    assert_eq!(service.delete(&format!("/api/v1/service-tokens/{wide}")).await.status, StatusCode::OK);
    let revoked = service.post(&format!("/api/v1/service-tokens/{wide}/rotate"), &json!({})).await.refusal();
    assert_eq!((revoked.0, revoked.1.as_str()), (409, "conflict"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_overview_says_which_expire_soon_to_whoever_may_see_them() {
    let app = TestApp::start().await;
    let service = app.everything_in("acme").await;
    let viewer = app.add_member("acme", Role::Viewer).await;
    let boss = app.member(&owner("acme")).await;
    let of = |days| json!({ "name": format!("for {days} days"), "permissions": ["keys.read"], "expires_at": Utc::now() + TimeDelta::days(days) });
    service.post("/api/v1/service-tokens", &of(8)).await;
    assert!(!boss.get("/t/acme/").await.text.contains("expires soon"));
    let soon = id(&service.post("/api/v1/service-tokens", &of(6)).await);
    let page = boss.get("/t/acme/").await.text;
    assert!(page.contains("A service token expires soon.") && page.contains("for 6 days"), "{page}");
    assert!(!app.member(&viewer).await.get("/t/acme/").await.text.contains("expires soon"));
    service
        .post(
            &format!("/api/v1/service-tokens/{soon}/rotate"),
            &json!({ "expires_at": Utc::now() + TimeDelta::days(90) }),
        )
        .await;
    assert!(!boss.get("/t/acme/").await.text.contains("expires soon"), "whoever was rotated is taken care of");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_bootstrap_token_ends_what_was_rotated_before_it_too() {
    let app = TestApp::start().await;
    let slug = tronch_core::TenantSlug::parse("acme").expect("a slug");
    let tenant = app.engine.tenant(&tronch_engine::Caller::operator(), &slug).await.expect("a tenant");
    let replace = || tronch_engine::tokens::replace_bootstrap_token(&tenant);
    let (first, first_secret) = replace().await.expect("a token");
    let first_secret = first_secret.expose_once();
    let service = app.service(&first_secret);
    let second = service.post(&format!("/api/v1/service-tokens/{}/rotate", first.id), &json!({})).await;
    let third = service.post(&format!("/api/v1/service-tokens/{}/rotate", id(&second)), &json!({})).await;
    let old = [first_secret, secret(&second), secret(&third)];
    for secret in &old {
        assert_eq!(app.service(secret).get("/api/v1/keys").await.status, StatusCode::OK);
    }
    let (_, fresh) = replace().await.expect("a token");
    for secret in &old {
        assert_eq!(app.service(secret).get("/api/v1/keys").await.status, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(app.service(&fresh.expose_once()).get("/api/v1/keys").await.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_life_without_end_stays_one_that_can_be_read() {
    let app = TestApp::start().await;
    let service = app.everything_in("acme").await;
    let wish = json!({ "name": "for ever", "permissions": ["keys.read"], "expires_at": "9999-12-31T23:59:59Z" });
    let old = service.post("/api/v1/service-tokens", &wish).await;
    let rotated = service.post(&format!("/api/v1/service-tokens/{}/rotate", id(&old)), &json!({})).await;
    assert!(rotated.json()["service_token"]["expires_at"].as_str().is_some_and(|end| end.starts_with("9999-12-31")));
}
