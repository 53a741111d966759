//! What cannot be taken is refused by name, and changes nothing.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{TestApp, Visitor};

type Row = (&'static str, String, Value, (u16, &'static str, Option<&'static str>));

#[tokio::test(flavor = "multi_thread")]
async fn each_bad_body_has_its_own_code_and_names_its_field() {
    let app = TestApp::start().await;
    let service = app.everything_in("acme").await;
    let (id, secret) = service.create_key(&json!({ "name": "a key" })).await;
    let key = format!("/api/v1/keys/{id}");
    let verify = || "/api/v1/keys/verify".to_owned();
    let keys = || "/api/v1/keys".to_owned();
    let tokens = || "/api/v1/service-tokens".to_owned();
    let unknown = |field| (422, "unknown_field", Some(field));
    let invalid = |field| (422, "invalid_field", Some(field));
    let past = "2020-01-01T00:00:00Z";
    let nil = uuid::Uuid::nil().simple();
    let table: Vec<Row> = vec![
        ("POST", verify(), json!({}), invalid("key")),
        ("POST", verify(), json!({ "key": 5 }), invalid("key")),
        ("POST", verify(), json!({ "key": null }), invalid("key")),
        // What does not exist yet is never accepted silently.
        ("POST", verify(), json!({ "key": secret, "price": 1 }), unknown("price")),
        ("POST", verify(), json!({ "key": secret, "limits": {} }), invalid("limits")),
        ("POST", verify(), json!({ "key": secret, "client_ip": "192.0.2.1" }), unknown("client_ip")),
        ("POST", verify(), json!({ "key": secret, "request": {} }), unknown("request")),
        ("POST", verify(), json!({ "key": secret, "tags": [] }), unknown("tags")),
        ("POST", verify(), json!({ "key": secret, "explain": true }), unknown("explain")),
        ("POST", verify(), json!({ "key": secret, "environment": "prod" }), invalid("environment")),
        ("POST", verify(), json!({ "key": secret, "project": "Not A Slug" }), invalid("project")),
        ("POST", verify(), json!({ "key": secret, "permissions": "a AND" }), invalid("permissions")),
        ("POST", verify(), json!({ "key": secret, "permissions": "" }), invalid("permissions")),
        ("POST", verify(), json!({ "key": secret, "permissions": "a OR b AND (c" }), invalid("permissions")),
        ("POST", verify(), json!([secret]), (400, "invalid_request", None)),
        ("POST", keys(), json!({}), invalid("name")),
        ("POST", keys(), json!({ "name": "  " }), invalid("name")),
        ("POST", keys(), json!({ "name": "a\nb" }), invalid("name")),
        ("POST", keys(), json!({ "name": "x".repeat(101) }), invalid("name")),
        ("POST", keys(), json!({ "name": "x", "owner": { "external_id": "" } }), invalid("owner.external_id")),
        ("POST", keys(), json!({ "name": "x", "owner": { "id": "" } }), unknown("owner.id")),
        ("POST", keys(), json!({ "name": "x", "metadata": [] }), invalid("metadata")),
        ("POST", keys(), json!({ "name": "x", "metadata": { "a": "\0" } }), invalid("metadata")),
        ("POST", keys(), json!({ "name": "x", "metadata": { "a": "y".repeat(8200) } }), invalid("metadata")),
        ("POST", keys(), json!({ "name": "x", "permissions": ["a b"] }), invalid("permissions[0]")),
        ("POST", keys(), json!({ "name": "x", "permissions": vec!["a"; 101] }), invalid("permissions")),
        ("POST", keys(), json!({ "name": "x", "expires_at": past }), invalid("expires_at")),
        ("POST", keys(), json!({ "name": "x", "expires_at": "tomorrow" }), invalid("expires_at")),
        ("POST", keys(), json!({ "name": "x", "project": "nowhere" }), (404, "not_found", None)),
        ("POST", keys(), json!({ "name": "x", "secret": "y" }), unknown("secret")),
        ("PATCH", key.clone(), json!({ "name": null }), invalid("name")),
        ("PATCH", key.clone(), json!({ "environment": "live" }), unknown("environment")),
        ("POST", format!("{key}/rotate"), json!({ "grace_seconds": -1 }), invalid("grace_seconds")),
        ("POST", format!("{key}/rotate"), json!({ "grace_seconds": 2_592_001 }), invalid("grace_seconds")),
        ("POST", format!("{key}/rotate"), json!({ "grace_until": past }), invalid("grace_until")),
        (
            "POST",
            format!("{key}/rotate"),
            json!({ "grace_seconds": 1, "grace_until": "2100-01-01T00:00:00Z" }),
            invalid("grace_until"),
        ),
        ("POST", format!("{key}/finish-rotation"), json!({}), (409, "conflict", None)),
        ("DELETE", key.clone(), json!({ "reason": "" }), invalid("reason")),
        ("DELETE", format!("{key}?everywhere=yes"), json!({}), unknown("everywhere")),
        ("POST", tokens(), json!({ "name": "x", "permissions": [] }), invalid("permissions")),
        ("POST", tokens(), json!({ "name": "x", "permissions": ["keys.fly"] }), invalid("permissions[0]")),
        (
            "POST",
            tokens(),
            json!({ "name": "x", "permissions": ["keys.read"], "project": "nowhere" }),
            (404, "not_found", None),
        ),
        ("GET", "/api/v1/keys?limit=0".to_owned(), Value::Null, invalid("limit")),
        ("GET", "/api/v1/keys?limit=101".to_owned(), Value::Null, invalid("limit")),
        ("GET", "/api/v1/keys?limit=ten".to_owned(), Value::Null, invalid("limit")),
        ("GET", "/api/v1/keys?limit=1&limit=2".to_owned(), Value::Null, invalid("limit")),
        ("GET", "/api/v1/keys?page=2".to_owned(), Value::Null, unknown("page")),
        ("GET", "/api/v1/keys?state=gone".to_owned(), Value::Null, invalid("state")),
        ("GET", "/api/v1/keys?sort=size".to_owned(), Value::Null, invalid("sort")),
        ("GET", "/api/v1/keys?cursor=nonsense".to_owned(), Value::Null, (422, "invalid_cursor", None)),
        // A good cursor of another list, and of another order.
        (
            "GET",
            format!("/api/v1/keys?cursor=audit.t1800000000000000.{nil}"),
            Value::Null,
            (422, "invalid_cursor", None),
        ),
        (
            "GET",
            format!("/api/v1/keys?sort=ends&cursor=keys-created.t1800000000000000.{nil}"),
            Value::Null,
            (422, "invalid_cursor", None),
        ),
        ("GET", "/api/v1/health?verbose=1".to_owned(), Value::Null, unknown("verbose")),
        ("GET", "/api/v1/openapi.json?format=yaml".to_owned(), Value::Null, unknown("format")),
        (
            "GET",
            format!("/api/v1/keys?cursor=keys-created.t-220000000000000000.{nil}"),
            Value::Null,
            (422, "invalid_cursor", None),
        ),
        (
            "GET",
            format!("/api/v1/keys?cursor=keys-created.t8200000000000000000.{nil}"),
            Value::Null,
            (422, "invalid_cursor", None),
        ),
        ("GET", "/api/v1/keys?search=a%00b".to_owned(), Value::Null, invalid("search")),
        ("GET", "/api/v1/audit-events?action=a%00b".to_owned(), Value::Null, invalid("action")),
        ("GET", "/api/v1/audit-events?target_id=%00".to_owned(), Value::Null, invalid("target_id")),
        ("GET", format!("{key}?detail=all"), Value::Null, unknown("detail")),
        ("POST", format!("{key}/disable?everywhere=yes"), json!({}), unknown("everywhere")),
        ("POST", format!("{key}/disable"), json!({ "why": "x" }), unknown("why")),
        ("POST", format!("{}?explain=true", verify()), json!({ "key": secret }), unknown("explain")),
        // A key in the place of a field's name is not repeated.
        ("GET", format!("/api/v1/keys?{secret}=1"), Value::Null, (422, "unknown_field", None)),
        ("POST", verify(), json!({ "key": "x", &secret: 1 }), (422, "unknown_field", None)),
        ("GET", "/api/v1/keys/%FF".to_owned(), Value::Null, (400, "invalid_request", None)),
        ("GET", "/api/v1/audit-events?from=yesterday".to_owned(), Value::Null, invalid("from")),
        ("GET", "/api/v1/projects?state=open".to_owned(), Value::Null, unknown("state")),
        ("GET", "/api/v1/keys/key_nonsense".to_owned(), Value::Null, (404, "not_found", None)),
        ("GET", "/api/v1/nowhere".to_owned(), Value::Null, (404, "not_found", None)),
        ("GET", "/api/v2/keys".to_owned(), Value::Null, (404, "not_found", None)),
        ("PUT", "/api/v1/keys".to_owned(), Value::Null, (405, "method_not_allowed", None)),
    ];
    for (method, path, body, expected) in table {
        let method: Method = method.parse().expect("a method");
        let request = service.request(method.clone(), &path);
        let request = if body == Value::Null { request } else { request.json(&body) };
        let answer = Visitor::send(request).await;
        let (status, code, field) = answer.refusal();
        assert_eq!((status, code.as_str(), field.as_deref()), expected, "{method} {path} {body}: {}", answer.text);
        assert!(!answer.text.contains(&secret), "a refusal repeats the key: {}", answer.text);
    }
    let still_one = service.get("/api/v1/keys").await.json();
    assert_eq!(still_one["items"].as_array().map(Vec::len), Some(1));
    assert_eq!(service.verify(&json!({ "key": secret, "environment": "test" })).await["code"], "VALID");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_is_json_in_bounds_and_a_credential_stands_in_one_header() {
    let app = TestApp::start().await;
    let service = app.everything_in("acme").await;
    let post = || service.request(Method::POST, "/api/v1/keys/verify");
    let refusal = async |request| Visitor::send(request).await.refusal();
    let code = |code: &str, status: u16| (status, code.to_owned(), None);

    let json_type = "application/json";
    let with_type = |kind: &str, body: String| post().header("content-type", kind).body(body);
    assert_eq!(refusal(with_type(json_type, "{".to_owned())).await, code("invalid_request", 400));
    assert_eq!(refusal(with_type(json_type, String::new())).await, code("invalid_request", 400));
    assert_eq!(refusal(with_type("text/plain", "{}".to_owned())).await, code("unsupported_media_type", 415));
    assert_eq!(refusal(post().body("{}")).await, code("unsupported_media_type", 415));
    let invalid_utf8 = post().header("content-type", json_type).body(b"{\"key\":\"\xff\"}".to_vec());
    assert_eq!(refusal(invalid_utf8).await, code("invalid_request", 400));
    let big = json!({ "key": "x".repeat(64 * 1024) }).to_string();
    assert_eq!(refusal(with_type(json_type, big)).await, code("body_too_large", 413));
    // Just inside the bound, whatever it is, it gets a verdict.
    let fits = json!({ "key": "x".repeat(64 * 1024 - 10) });
    assert_eq!(fits.to_string().len(), 64 * 1024);
    assert_eq!(service.verify(&fits).await["code"], "MALFORMED");

    let (_, end_key) = service.create_key(&json!({ "name": "x" })).await;
    let anonymous = app.anonymous();
    let token = app.token("acme", &json!({ "permissions": ["keys.verify"] })).await;
    for header in [
        String::new(),
        "Bearer".to_owned(),
        "Bearer ".to_owned(),
        token.clone(),
        format!("Basic {token}"),
        format!("Bearer {end_key}"),
        // Whatever its last character is, this is another.
        format!("Bearer {}{}", &token[..46], if token.ends_with('x') { 'y' } else { 'x' }),
        format!("Bearer {token} {token}"),
    ] {
        let request = anonymous.request(Method::POST, "/api/v1/keys/verify").header("authorization", &header);
        let answer = Visitor::send(request.json(&json!({ "key": "x" }))).await;
        assert_eq!(answer.refusal(), code("unauthenticated", 401), "{header:?}");
        assert!(answer.header("www-authenticate").starts_with("Bearer"), "{header:?}");
    }
    let twice = anonymous
        .request(Method::POST, "/api/v1/keys/verify")
        .header("authorization", format!("Bearer {token}"))
        .header("authorization", format!("Bearer {token}"));
    assert_eq!(refusal(twice.json(&json!({ "key": "x" }))).await, code("unauthenticated", 401));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ended_token_or_session_is_nobody() {
    let app = TestApp::start().await;
    let service = app.everything_in("acme").await;
    let body = json!({ "name": "soon gone", "permissions": ["keys.read"] });
    let made = service.post("/api/v1/service-tokens", &body).await.json();
    let soon_gone = app.service(made["secret"].as_str().expect("a secret"));
    assert_eq!(soon_gone.get("/api/v1/keys").await.status, StatusCode::OK);
    let id = made["service_token"]["id"].as_str().expect("an id");
    assert_eq!(service.delete(&format!("/api/v1/service-tokens/{id}")).await.status, StatusCode::OK);
    assert_eq!(soon_gone.get("/api/v1/keys").await.refusal().0, 401);

    let member = app.member(&crate::support::owner("acme")).await;
    assert_eq!(member.get("/t/acme/").await.status, StatusCode::OK);
    let system = app.database.connect_as_system().await;
    system.execute("UPDATE sessions SET expires_at = now()", &[]).await.expect("an ended session");
    let answer = member.get("/t/acme/").await;
    assert_eq!((answer.status, answer.header("location")), (StatusCode::SEE_OTHER, "/sign-in?next=%2Ft%2Facme%2F"));
    // Back to where the form stands.
    for (form, page) in [
        ("/t/acme/keys/new", "%2Ft%2Facme%2Fkeys%2Fnew"),
        ("/t/acme/keys/search", "%2Ft%2Facme%2Fkeys"),
        ("/t/acme/keys/key_1/disable", "%2Ft%2Facme%2Fkeys%2Fkey_1"),
        ("/t/acme/tokens/stk_1/revoke", "%2Ft%2Facme%2Ftokens"),
        ("/t/acme/projects/default/edit", "%2Ft%2Facme%2Fprojects%2Fdefault"),
    ] {
        let answer = member.form(form, &[("name", "x")]).await;
        assert_eq!(answer.header("location"), format!("/sign-in?next={page}"), "{form}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_rotations_at_once_make_one_successor() {
    let app = TestApp::start().await;
    let service = app.everything_in("acme").await;
    for _ in 0..10 {
        let (id, _) = service.create_key(&json!({ "name": "contended" })).await;
        let path = format!("/api/v1/keys/{id}/rotate");
        let rotate = async || service.post(&path, &json!({ "grace_seconds": 60 })).await;
        let (one, other) = tokio::join!(rotate(), rotate());
        let (won, lost) = if one.status == StatusCode::CREATED { (one, other) } else { (other, one) };
        let successor = won.json()["key"]["id"].as_str().expect("an id").to_owned();
        assert_eq!(lost.refusal(), (409, "already_rotated".to_owned(), None));
        assert_eq!(lost.json()["successor_id"], successor);
    }
    assert_eq!(service.get("/api/v1/keys?limit=100").await.json()["items"].as_array().map(Vec::len), Some(20));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_form_is_refused() {
    let app = TestApp::start().await;
    let member = app.member(&crate::support::owner("acme")).await;
    let forged = member
        .request(Method::POST, "/t/acme/keys/new")
        .header("origin", "https://evil.example")
        .header("sec-fetch-site", "cross-site")
        .form(&[("name", "forged"), ("project", "default"), ("environment", "test")]);
    assert_eq!(Visitor::send(forged).await.status, StatusCode::FORBIDDEN);
    let service = app.everything_in("acme").await;
    assert_eq!(service.get("/api/v1/keys").await.json()["items"], json!([]));
}
