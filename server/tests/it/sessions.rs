//! The cookies that let people in: who may read them, how long they count, and what ends them.

use std::collections::BTreeSet;

use reqwest::header::{HeaderMap, SET_COOKIE};
use reqwest::{Method, StatusCode};
use serde_json::json;
use tronch_core::{EmailAddress, Permission};
use tronch_engine::members::{self, Password};
use tronch_engine::{Caller, Origin};
use tronch_server::doors::{Access, surface};
use zeroize::Zeroizing;

use crate::access::{Body, ask, rows, sample, things};
use crate::support::{PASSWORD, TestApp, Visitor, Wish, owner};

fn cookies(headers: &HeaderMap) -> Vec<String> {
    headers.get_all(SET_COOKIE).iter().map(|value| value.to_str().expect("text").to_owned()).collect()
}

async fn sign_in(visitor: &Visitor, password: &str) -> (StatusCode, Vec<String>) {
    let answer = visitor.form("/sign-in", &[("email", &owner("acme")), ("password", password)]).await;
    (answer.status, cookies(&answer.headers))
}

#[tokio::test(flavor = "multi_thread")]
async fn cookies_are_the_hosts_own_and_no_scripts_and_stay_on_https() {
    let wish = Wish { public_url: Some("https://keys.example.com"), ..Wish::default() };
    let app = TestApp::start_with(wish).await;
    let (status, set) = sign_in(&app.anonymous(), PASSWORD).await;
    assert_eq!((status, set.len()), (StatusCode::SEE_OTHER, 2), "{set:?}");
    for cookie in &set {
        let attributes: Vec<&str> = cookie.split("; ").skip(1).collect();
        for attribute in ["HttpOnly", "Secure", "Path=/"] {
            assert!(attributes.contains(&attribute), "{attribute}: {cookie}");
        }
        assert!(cookie.starts_with("__Host-tronch"), "{cookie}");
        assert!(!cookie.contains("Domain="), "{cookie}");
    }
    let same_site = |name: &str| {
        let cookie = set.iter().find(|cookie| cookie.starts_with(name)).expect("the cookie");
        cookie.split("; ").find_map(|part| part.strip_prefix("SameSite=")).map(str::to_owned)
    };
    // A link of a mail leads a person who is signed in to the page; what gives tries is for the form alone.
    assert_eq!(same_site("__Host-tronch=").as_deref(), Some("Lax"));
    assert_eq!(same_site("__Host-tronch-known=").as_deref(), Some("Strict"));
    for path in ["/sign-in", "/api/v1/keys", "/livez", "/nowhere"] {
        let told = app.anonymous().get(path).await;
        assert_eq!(told.header("strict-transport-security"), "max-age=31536000; includeSubDomains", "{path}");
    }
    let verdict = app.everything_in("acme").await.post("/api/v1/keys/verify", &json!({ "key": "none" })).await;
    assert_eq!(verdict.status, StatusCode::OK, "{}", verdict.text);
    assert_eq!(verdict.header("strict-transport-security"), "max-age=31536000; includeSubDomains");
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_of_sessions_are_128_bits_that_nobody_guesses() {
    let app = TestApp::start().await;
    let mut ids = BTreeSet::new();
    for _ in 0..64 {
        let (_, set) = sign_in(&app.anonymous(), PASSWORD).await;
        let cookie = set.iter().find(|cookie| cookie.starts_with("tronch=")).expect("a cookie");
        let id = cookie["tronch=".len()..].split(';').next().expect("a value").to_owned();
        // 22 digits of 6 bits hold 128.
        assert_eq!(id.len(), 22, "{id}");
        ids.insert(id);
    }
    assert_eq!(ids.len(), 64);
    // No digit is always the same, whatever its place; the last holds two bits.
    for place in 0..22 {
        let seen: BTreeSet<u8> = ids.iter().map(|id| id.as_bytes()[place]).collect();
        assert!(seen.len() >= if place == 21 { 3 } else { 20 }, "place {place}: {seen:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn using_a_session_does_not_lengthen_it() {
    let app = TestApp::start().await;
    let member = app.member(&owner("acme")).await;
    let database = app.database.connect_as_system().await;
    database.execute("UPDATE sessions SET last_used_at = now() - interval '2 hours'", &[]).await.expect("older");
    let ends = async || -> String {
        database.query_one("SELECT expires_at::text FROM sessions", &[]).await.expect("one").get(0)
    };
    let before = ends().await;
    for path in ["/t/acme/", "/account", "/t/acme/keys"] {
        let answer = member.get(path).await;
        assert_eq!((answer.status, cookies(&answer.headers)), (StatusCode::OK, Vec::new()), "{path}");
    }
    assert_eq!(ends().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn signing_out_ends_it_wherever_its_cookie_still_is_and_every_page_offers_it() {
    let app = TestApp::start().await;
    let visitor = app.anonymous();
    let (_, set) = sign_in(&visitor, PASSWORD).await;
    let cookie = set.iter().find(|cookie| cookie.starts_with("tronch=")).expect("a cookie");
    let cookie = cookie.split(';').next().expect("a value").to_owned();
    let kept = async || {
        let request = app.anonymous().request(Method::GET, "/account").header("cookie", &cookie);
        Visitor::send(request).await.status
    };
    assert_eq!(kept().await, StatusCode::OK);
    let service = app.everything_in("acme").await;
    let mut looked_at = 0;
    for route in surface().iter().filter(|route| route.method == Method::GET) {
        let (Access::Member(_) | Access::Person(_)) = route.access else { continue };
        let Some(sample) = sample(route) else { continue };
        let page = ask(&visitor, route, &sample, &things(&app, &service, "acme", route).await).await;
        if page.header("content-type").starts_with("text/html") {
            assert!(page.text.contains("action=\"/sign-out\""), "{}", route.path);
            looked_at += 1;
        }
    }
    assert!(looked_at > 15, "only {looked_at} pages were looked at");
    let answer = visitor.form("/sign-out", &[]).await;
    assert_eq!(answer.header("location"), "/sign-in");
    assert_eq!(answer.header("clear-site-data"), "\"cache\", \"storage\"");
    assert_eq!(kept().await, StatusCode::SEE_OTHER, "the old cookie");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_ends_a_persons_sessions_with_another_password() {
    let app = TestApp::start().await;
    let (one, other) = (app.member(&owner("acme")).await, app.member(&owner("acme")).await);
    let email = EmailAddress::parse(&owner("acme")).expect("an address");
    let password = Password::parse(Zeroizing::new("an altogether other one".to_owned()), &[]).expect("a password");
    let ended = members::reset_password(&app.engine, &Caller::operator(), &email, password).await.expect("reset");
    assert_eq!(ended, 2);
    for who in [one, other] {
        assert_eq!(who.get("/account").await.status, StatusCode::SEE_OTHER);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn looking_at_a_page_changes_nothing() {
    let app = TestApp::start().await;
    let service = app.everything_in("acme").await;
    let member = app.member(&owner("acme")).await;
    let mut looked_at = 0;
    for route in surface().iter().filter(|route| route.method == Method::GET) {
        // The download of everything is written down.
        if route.path.ends_with("/export") {
            continue;
        }
        let Some(sample) = sample(route) else { continue };
        assert!(matches!(sample.body, Body::None), "{}", route.path);
        let things = things(&app, &service, "acme", route).await;
        let before = rows(&app).await;
        for who in [&member, &service, &app.anonymous()] {
            ask(who, route, &sample, &things).await;
        }
        assert_eq!(rows(&app).await, before, "{}", route.path);
        looked_at += 1;
    }
    assert!(looked_at > 25, "only {looked_at} were looked at");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_knows_an_address_keeps_its_owner_out_of_nothing() {
    let app = TestApp::start().await;
    app.found("other").await;
    // Signed in before, in this browser; and signed in now, in that one.
    let before = app.member(&owner("acme")).await;
    assert_eq!(before.form("/sign-out", &[]).await.status, StatusCode::SEE_OTHER);
    let now = app.member(&owner("acme")).await;
    let stranger = app.anonymous();
    while sign_in(&stranger, "wrong horse battery").await.0 != StatusCode::TOO_MANY_REQUESTS {}
    assert_eq!(sign_in(&app.anonymous(), PASSWORD).await.0, StatusCode::TOO_MANY_REQUESTS, "an unknown browser");
    assert_eq!(sign_in(&before, PASSWORD).await.0, StatusCode::SEE_OTHER, "a known browser");
    let everything = [("owner", "nobody"), ("confirmation", "revoke 0 keys"), ("password", PASSWORD)];
    let urgent = now.form("/t/acme/keys/revoke", &everything).await;
    assert_eq!(urgent.status, StatusCode::SEE_OTHER, "{}", urgent.text);
    // What a browser keeps is for one account, and for ten wrong tries.
    assert_eq!(before.form("/sign-out", &[]).await.status, StatusCode::SEE_OTHER);
    let of_other = [("email", owner("other")), ("password", "wrong horse battery".to_owned())];
    let of_other = of_other.each_ref().map(|(name, value)| (*name, value.as_str()));
    for _ in 0..10 {
        assert_eq!(before.form("/sign-in", &of_other).await.status, StatusCode::UNPROCESSABLE_ENTITY);
    }
    assert_eq!(before.form("/sign-in", &of_other).await.status, StatusCode::TOO_MANY_REQUESTS);
    for _ in 0..10 {
        assert_eq!(sign_in(&before, "wrong horse battery").await.0, StatusCode::UNPROCESSABLE_ENTITY);
    }
    assert_eq!(sign_in(&before, PASSWORD).await.0, StatusCode::TOO_MANY_REQUESTS);
    // Somebody who says what another browser keeps, but for a digit.
    let email = EmailAddress::parse(&owner("acme")).expect("an address");
    let kept = members::remember_browser(&app.engine, email.as_str()).expect("a cookie");
    let (nonce, _) = kept.split_once('.').expect("two parts");
    let forged = format!("{}.{}", nonce.chars().rev().collect::<String>(), kept.rsplit('.').next().expect("a part"));
    for (kept, is_known) in [(&kept, true), (&forged, false)] {
        let password = Zeroizing::new(PASSWORD.to_owned());
        let signed_in =
            members::sign_in(&app.engine, email.as_str(), password, Some(kept.as_str()), Origin::default()).await;
        assert_eq!(signed_in.is_ok(), is_known);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_asks_the_dashboard_only_so_often() {
    let app = TestApp::start().await;
    let email = app.add_member("acme", tronch_core::Role::Viewer).await;
    let (busy, other) = (app.member(&owner("acme")).await, app.member(&email).await);
    let mut refused = None;
    for _ in 0..2_000 {
        let answer = busy.get("/t/acme/settings/nowhere").await;
        if answer.status == StatusCode::TOO_MANY_REQUESTS {
            refused = Some(answer);
            break;
        }
    }
    let refused = refused.expect("a refusal");
    assert_eq!(refused.header("retry-after"), "1", "{}", refused.text);
    assert_eq!(other.get("/account").await.status, StatusCode::OK);
    let service = app.service(&app.token("acme", &json!({ "permissions": [Permission::KeysRead] })).await);
    assert_eq!(service.get("/api/v1/keys").await.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_comes_from_where_he_says_unless_a_proxy_says_so() {
    let app = TestApp::start().await;
    let from = "203.0.113.9";
    let form = [("email", owner("acme")), ("password", PASSWORD.to_owned())];
    let visitor = app.anonymous();
    let request = visitor.request(Method::POST, "/sign-in").header("sec-fetch-site", "same-origin").form(&form);
    let forged = [("x-forwarded-for", from), ("forwarded", "for=203.0.113.9"), ("x-real-ip", from)];
    let request = forged.into_iter().fold(request, |request, (name, value)| request.header(name, value));
    assert_eq!(Visitor::send(request).await.status, StatusCode::SEE_OTHER);
    let page = visitor.get("/account").await.text;
    assert!(page.contains("127.0.0.1") && !page.contains(from), "{page}");
    let database = app.database.connect_as_system().await;
    let told = "SELECT DISTINCT coalesce(address, 'nowhere') FROM audit_events WHERE action = 'sign_in'";
    let told: String = database.query_one(told, &[]).await.expect("one").get(0);
    assert_eq!(told, "127.0.0.1");
    // Nor does he have tries of his own by saying that he is somebody else each time.
    let mut last = StatusCode::OK;
    for number in 0..60 {
        let email = format!("nobody-{number}@acme.example");
        let form = [("email", email.as_str()), ("password", "wrong horse battery")];
        let request = app.anonymous().request(Method::POST, "/sign-in").header("sec-fetch-site", "same-origin");
        let request = request.header("x-forwarded-for", format!("203.0.113.{number}")).form(&form);
        last = Visitor::send(request).await.status;
    }
    assert_eq!(last, StatusCode::TOO_MANY_REQUESTS);
}
