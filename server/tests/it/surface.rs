//! What is served and what is described are the same, and a change of the description is seen.

use std::collections::BTreeSet;

use reqwest::header::HeaderName;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tronch_core::Permission;
use tronch_server::doors::surface;

use crate::limits::set;
use crate::support::{TestApp, Visitor, Wish, owner};

async fn description(app: &TestApp) -> Value {
    let answer = app.anonymous().get("/api/v1/openapi.json").await;
    assert_eq!(answer.status, StatusCode::OK);
    answer.json()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_description_lists_exactly_what_is_served() {
    let app = TestApp::start_empty().await;
    let description = description(&app).await;
    let mut described = BTreeSet::new();
    for (path, methods) in description["paths"].as_object().expect("paths") {
        for (method, operation) in methods.as_object().expect("methods") {
            let holds = operation["security"][0]["service_token"][0].as_str().unwrap_or("nobody").to_owned();
            described.insert((method.to_uppercase(), path.clone(), holds));
        }
    }
    let served: BTreeSet<_> = surface()
        .into_iter()
        .filter(|route| route.path.starts_with("/api/v1/") && route.path != "/api/v1/openapi.json")
        .map(|route| {
            let permission = match route.access {
                tronch_server::doors::Access::Token(permission) => permission.as_str(),
                _ => "nobody",
            };
            (route.method.to_string(), route.path.to_owned(), permission.to_owned())
        })
        .collect();
    assert_eq!(described, served);
    assert_eq!(description["servers"][0]["url"], app.url);
}

/// The contract, whole. A line that is gone or changed here breaks somebody's program.
#[tokio::test(flavor = "multi_thread")]
async fn the_description() {
    let app = TestApp::start_empty().await;
    let mut description = description(&app).await;
    description["servers"] = Value::Null;
    insta::assert_json_snapshot!("openapi", description);
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_stand_on_both_listeners_and_metrics_on_the_operators_alone() {
    let app = TestApp::start_empty().await;
    let visitor = app.anonymous();
    for url in [&app.url, &app.ops_url] {
        for probe in ["livez", "readyz", "startupz"] {
            let answer = reqwest::get(format!("{url}/{probe}")).await.expect("an answer");
            assert_eq!(
                (answer.status(), answer.text().await.expect("text").as_str()),
                (StatusCode::OK, "ok\n"),
                "{probe}"
            );
        }
    }
    assert_eq!(visitor.get("/metrics").await.status, StatusCode::NOT_FOUND);
    let metrics = reqwest::get(format!("{}/metrics", app.ops_url)).await.expect("an answer");
    assert_eq!(metrics.status(), StatusCode::OK);
    assert_eq!(visitor.get("/nodes").await.status, StatusCode::NOT_FOUND);
    let nodes = reqwest::get(format!("{}/nodes", app.ops_url)).await.expect("an answer").text().await.expect("text");
    assert!(nodes.contains("<td>test</td>") && nodes.contains("live, "), "{nodes}");
}

#[tokio::test(flavor = "multi_thread")]
async fn health_is_told_to_anybody_and_its_parts_to_whoever_may_read_them() {
    let app = TestApp::start().await;
    let answer = app.anonymous().get("/api/v1/health").await;
    assert_eq!((answer.status, answer.header("content-type")), (StatusCode::OK, "application/health+json"));
    assert_eq!(answer.json(), serde_json::json!({ "status": "pass" }));

    let detailed = app.everything_in("acme").await.get("/api/v1/health").await.json();
    assert_eq!(detailed["version"], env!("CARGO_PKG_VERSION"));
    for (part, unit) in [("postgres:responseTime", "ms"), ("usage:waiting", "events"), ("validation:dataAge", "ms")] {
        let check = &detailed["checks"][part][0];
        assert_eq!((&check["status"], &check["observedUnit"]), (&"pass".into(), &unit.into()), "{check}");
        assert!(check["observedValue"].is_u64() && check["time"].is_string(), "{check}");
    }
    let without = app.service(&app.token("acme", &serde_json::json!({ "permissions": ["keys.read"] })).await);
    assert_eq!(without.get("/api/v1/health").await.refusal().0, 403);
    assert_eq!(app.service("tronch_st_nonsense").get("/api/v1/health").await.refusal().0, 401);

    app.engine.close();
    let answer = app.anonymous().get("/api/v1/health").await;
    assert_eq!((answer.status.as_u16(), answer.json()), (503, serde_json::json!({ "status": "fail" })));
}

/// With what OWASP's list of secure headers says for every answer.
const SAFE: [(&str, &str); 7] = [
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("permissions-policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
    ("x-permitted-cross-domain-policies", "none"),
];

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_carries_the_headers_that_keep_it_safe() {
    let app = TestApp::start().await;
    for (path, status) in [("/sign-in", 200), ("/api/v1/keys", 401), ("/nowhere", 404)] {
        let answer = app.anonymous().get(path).await;
        assert_eq!(answer.status.as_u16(), status, "{path}");
        assert!(answer.header("x-request-id").starts_with("req_"), "{path}");
        assert_eq!(answer.header("cache-control"), "no-store", "{path}");
    }
    // Every route of every door, whoever asks; and what no route has.
    let members = app.member(&owner("acme")).await;
    let service = app.everything_in("acme").await;
    let mut looked_at = 0;
    for route in surface() {
        let path: String = route
            .path
            .split('/')
            .map(|part| if part.starts_with('{') { "x" } else { part })
            .collect::<Vec<_>>()
            .join("/");
        for who in [&app.anonymous(), &members, &service] {
            for listener in [&app.url, &app.ops_url] {
                let answer = who.at_url(listener).request(route.method.clone(), &path);
                let answer = Visitor::send(answer.header("sec-fetch-site", "same-origin")).await;
                let at = format!("{} {} of {listener}: {}", route.method, path, answer.status);
                for (name, value) in SAFE {
                    assert_eq!(answer.header(name), value, "{name} at {at}");
                }
                let policy = answer.header("content-security-policy");
                assert!(
                    ["default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'"]
                        .iter()
                        .all(|part| policy.contains(part)),
                    "{policy} at {at}"
                );
                looked_at += 1;
            }
        }
    }
    assert!(looked_at > 400, "only {looked_at} answers were looked at");
    // Each answer has a number of its own, and scripts run by it alone.
    let member = app.member(&owner("acme")).await;
    let number = async || {
        let page = member.get("/t/acme/").await;
        let policy = page.header("content-security-policy").to_owned();
        let number =
            policy.split_once("'nonce-").and_then(|(_, rest)| rest.split('\'').next()).expect("a number").to_owned();
        assert!(page.text.contains(&format!("nonce=\"{number}\"")), "{policy}");
        let tags = page.text.split("<script").skip(1).map(|rest| rest.split('>').next().unwrap_or_default());
        let (mut tags, own) = (tags.peekable(), format!("nonce=\"{number}\""));
        assert!(tags.peek().is_some() && tags.all(|tag| tag.contains(&own)), "a script without a number");
        number
    };
    assert_ne!(number().await, number().await);
    let page = app.anonymous().get("/sign-in").await;
    let policy = page.header("content-security-policy");
    assert!(policy.contains("script-src 'nonce-") && !policy.contains("script-src 'self'"), "{policy}");
    let wrong_method = Visitor::send(app.anonymous().request(Method::PUT, "/sign-in")).await;
    assert_eq!(wrong_method.status, StatusCode::METHOD_NOT_ALLOWED);
}

/// Services get one with every request they serve, so it carries what keeps JSON safe and nothing that only pages need.
#[tokio::test(flavor = "multi_thread")]
async fn a_verdict_carries_the_headers_of_json_and_no_more() {
    const OF_VERDICTS: [(&str, &str); 5] = [
        ("content-type", "application/json"),
        ("cache-control", "no-store"),
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("content-security-policy", "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"),
    ];
    const OF_LIMITS: &[&str] = &["ratelimit", "ratelimit-policy"];
    const OF_REFUSALS: &[&str] = &["ratelimit", "ratelimit-policy", "retry-after"];
    let app = TestApp::start().await;
    let service = app.everything_in("acme").await;
    let (_, free) = service.create_key(&json!({ "name": "free", "environment": "live" })).await;
    let (limited_id, limited) = service.create_key(&json!({ "name": "limited", "environment": "live" })).await;
    let check = json!({ "namespace": "sign-ups", "identifier": "192.0.2.1" });
    let burst = json!({ "capacity": 1, "refill": 1, "period_seconds": 60 });
    set(&service, &json!({ "name": "default", "namespace": "sign-ups", "burst": burst })).await;
    set(&service, &json!({ "name": "burst", "key_id": limited_id, "burst": burst })).await;
    set(&service, &json!({ "name": "daily", "key_id": limited_id, "window": { "total": 9, "calendar": "day" } })).await;
    for (path, body, code, more) in [
        ("keys/verify", json!({ "key": free }), "VALID", &[][..]),
        ("keys/verify", json!({ "key": "x" }), "MALFORMED", &[]),
        ("keys/verify", json!({ "key": limited }), "VALID", OF_LIMITS),
        ("keys/verify", json!({ "key": limited }), "RATE_LIMITED", OF_REFUSALS),
        ("limits/check", check.clone(), "PASSED", OF_LIMITS),
        ("limits/check", check, "RATE_LIMITED", OF_REFUSALS),
    ] {
        let answer = service.post(&format!("/api/v1/{path}"), &body).await;
        assert_eq!((answer.status, &answer.json()["code"]), (StatusCode::OK, &json!(code)), "{}", answer.text);
        for (name, value) in OF_VERDICTS {
            assert_eq!(answer.header(name), value, "{path}");
        }
        assert!(answer.header("x-request-id").starts_with("req_"), "{path}");
        let names: BTreeSet<&str> = answer.headers.keys().map(HeaderName::as_str).collect();
        assert_eq!(answer.headers.len(), names.len(), "{path} says something twice");
        let usual = OF_VERDICTS.map(|(name, _)| name).into_iter().chain(["content-length", "date", "x-request-id"]);
        assert_eq!(names, usual.chain(more.iter().copied()).collect(), "{path}");
    }
    // Whoever opens the address in a browser is refused, with all that everything else carries.
    for path in ["/api/v1/keys/verify", "/api/v1/limits/check"] {
        let answer = app.anonymous().get(path).await;
        assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{path}");
        for (name, value) in SAFE {
            assert_eq!(answer.header(name), value, "{name} at {path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_other_origins_are_answered_where_the_operator_named_them_and_nowhere_else() {
    const NAMED: &str = "https://admin.example.com";
    let open = TestApp::start_with(Wish { cors_origins: Some(NAMED), ..Wish::default() }).await;
    let closed = open.beside().await;
    let token = open.token("acme", &json!({ "permissions": [Permission::KeysRead] })).await;
    let allowed = async |app: &TestApp, method: Method, path: &str, origin: &str| {
        let mut request = app.service(&token).request(method.clone(), path).header("origin", origin);
        if method == Method::OPTIONS {
            request = request.header("access-control-request-method", "GET");
            request = request.header("access-control-request-headers", "authorization");
        }
        let answer = Visitor::send(request).await;
        let header = |name: &str| answer.headers.get(name).map(|value| value.to_str().expect("text").to_owned());
        assert_eq!(header("access-control-allow-credentials"), None);
        (answer.status.as_u16(), header("access-control-allow-origin"), header("access-control-allow-headers"))
    };
    let named = Some(NAMED.to_owned());
    let (status, origin, headers) = allowed(&open, Method::OPTIONS, "/api/v1/keys", NAMED).await;
    assert_eq!((status, origin), (200, named.clone()));
    assert!(headers.is_some_and(|headers| headers.contains("authorization")));
    assert_eq!(allowed(&open, Method::GET, "/api/v1/keys", NAMED).await, (200, named.clone(), None));
    // A refusal can be read as well, so that a page can say why.
    assert_eq!(allowed(&open, Method::GET, "/api/v1/projects", NAMED).await, (403, named, None));
    for origin in ["https://evil.example", "https://admin.example.com.evil.example", "http://admin.example.com", "null"]
    {
        assert_eq!(allowed(&open, Method::GET, "/api/v1/keys", origin).await, (200, None, None), "{origin}");
        assert_eq!(allowed(&open, Method::OPTIONS, "/api/v1/keys", origin).await.1, None, "{origin}");
    }
    for path in ["/api/v1/keys/verify", "/api/v1/limits/check", "/sign-in", "/t/acme/", "/livez"] {
        for method in [Method::OPTIONS, Method::GET, Method::POST] {
            assert_eq!(allowed(&open, method, path, NAMED).await.1, None, "{path}");
        }
    }
    for method in [Method::OPTIONS, Method::GET] {
        assert_eq!(allowed(&closed, method, "/api/v1/keys", NAMED).await.1, None);
    }
}
