//! Ids of another tenant wherever something else than a path names a thing: in bodies, queries, forms and cursors. Each answer is the
//! same as for a thing that does not exist, and nothing is changed. (Those of paths are in `access.rs`.)

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tronch_core::{KeyId, LimitId, UserId};

use crate::access::rows;
use crate::support::{PASSWORD, TestApp, Visitor, owner};

/// What a tenant has, each by its name in a template.
struct Things(Vec<(&'static str, String)>);

impl Things {
    async fn of(app: &TestApp, tenant: &str) -> Self {
        let service = app.everything_in(tenant).await;
        let (key, _) = service.create_key(&json!({ "name": "unmistakable", "owner": { "external_id": tenant } })).await;
        service.create_key(&json!({ "name": "a second key" })).await;
        let project = format!("only-{tenant}");
        assert_eq!(service.post("/api/v1/projects", &json!({ "slug": project })).await.status, StatusCode::CREATED);
        let body = json!({ "name": format!("limit-of-{tenant}"), "key_id": key, "credits": { "amount": 9 } });
        let limit = service.post("/api/v1/limits", &body).await.json()["id"].as_str().expect("an id").to_owned();
        let namespace = format!("space-of-{tenant}");
        let body = json!({ "name": "a-limit", "namespace": namespace, "burst": { "capacity": 100, "refill": 100 } });
        assert_eq!(service.post("/api/v1/limits", &body).await.status, StatusCode::CREATED);
        let person = app.database.connect_as_system().await;
        let sql = "SELECT id::text FROM users WHERE email = $1";
        let person: String = person.query_one(sql, &[&owner(tenant)]).await.expect("a person").get(0);
        let person = UserId::from_uuid(person.parse().expect("an id")).to_string();
        Self(vec![("KEY", key), ("PROJECT", project), ("LIMIT", limit), ("SPACE", namespace), ("PERSON", person)])
    }

    /// Such as nobody has.
    fn nobodys() -> Self {
        let none = uuid::Uuid::from_u128(1);
        Self(vec![
            ("KEY", KeyId::from_uuid(none).to_string()),
            ("PROJECT", "only-nobody".to_owned()),
            ("LIMIT", LimitId::from_uuid(none).to_string()),
            ("SPACE", "space-of-nobody".to_owned()),
            ("PERSON", UserId::from_uuid(none).to_string()),
        ])
    }

    fn fill(&self, template: &str) -> String {
        self.0.iter().fold(template.to_owned(), |text, (name, value)| text.replace(name, value))
    }

    /// The same text with the things taken out again.
    fn hide(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, (name, value)| text.replace(value, name))
    }
}

/// What was answered, without what differs from one answer to the next.
async fn answered(who: &Visitor, method: &Method, path: &str, body: Option<&str>, things: &Things) -> (u16, String) {
    let mut request = who.request(method.clone(), &things.fill(path)).header("sec-fetch-site", "same-origin");
    if let Some(body) = body {
        let kind = if body.starts_with('{') { "application/json" } else { "application/x-www-form-urlencoded" };
        request = request.header("content-type", kind).body(things.fill(body));
    }
    let answer = Visitor::send(request).await;
    let of_this_page = |before: &str| {
        let rest = answer.text.split_once(before).map(|(_, rest)| rest);
        rest.and_then(|rest| rest.split('"').next()).filter(|text| !text.is_empty()).unwrap_or("none").to_owned()
    };
    let (nonce, once) = (of_this_page("nonce=\""), of_this_page("name=\"once\" value=\""));
    let text = answer.text.replace(&nonce, "NONCE").replace(&once, "ONCE");
    let text = text.replace(answer.header("x-request-id"), "REQUEST");
    (answer.status.as_u16(), things.hide(&text))
}

#[tokio::test(flavor = "multi_thread")]
async fn in_bodies_and_forms_what_another_tenant_has_is_as_absent_as_nothing() {
    let app = TestApp::start().await;
    app.found("other").await;
    let (own, theirs, nobodys) = (Things::of(&app, "acme").await, Things::of(&app, "other").await, Things::nobodys());
    let (service, member) = (app.everything_in("acme").await, app.member(&owner("acme")).await);
    let revoke_all = format!("project=PROJECT&confirmation=revoke+0+keys&password={}", PASSWORD.replace(' ', "+"));
    let burst = r#""burst": { "capacity": 5, "refill": 1 }"#;
    let api = [
        ("/api/v1/keys", r#"{ "name": "x", "project": "PROJECT" }"#.to_owned(), 201),
        ("/api/v1/keys/revoke", r#"{ "project": "PROJECT" }"#.to_owned(), 200),
        ("/api/v1/limits", format!(r#"{{ "name": "on-a-key", "key_id": "KEY", {burst} }}"#), 201),
        ("/api/v1/limits", format!(r#"{{ "name": "on-a-project", "project": "PROJECT", {burst} }}"#), 201),
        ("/api/v1/limits/simulate", format!(r#"{{ "name": "on-a-key", "key_id": "KEY", {burst} }}"#), 200),
        ("/api/v1/limits/simulate", format!(r#"{{ "name": "on-a-project", "project": "PROJECT", {burst} }}"#), 200),
        ("/api/v1/limits/check", r#"{ "namespace": "SPACE", "identifier": "ada" }"#.to_owned(), 200),
        (
            "/api/v1/service-tokens",
            r#"{ "name": "x", "permissions": ["keys.read"], "project": "PROJECT" }"#.to_owned(),
            201,
        ),
    ]
    .map(|(path, body, right)| (&service, path, body, right));
    let forms = [
        ("/t/acme/keys/revoke", revoke_all, 303),
        ("/t/acme/keys/new", "name=x&environment=test&project=PROJECT".to_owned(), 200),
        ("/t/acme/keys/bulk", "action=disable&key=KEY&confirmation=disable+1+key".to_owned(), 303),
        ("/t/acme/tokens/new", "name=x&permissions=keys.read&project=PROJECT".to_owned(), 200),
        ("/t/acme/limits/new", "project=PROJECT&name=by-a-form&capacity=5&refill=1&period=1".to_owned(), 303),
        ("/t/acme/limits/new?key=KEY", "name=by-a-form-too&capacity=5&refill=1&period=1".to_owned(), 303),
    ]
    .map(|(path, body, right)| (&member, path, body, right));
    for (who, path, body, right) in api.into_iter().chain(forms) {
        let before = rows(&app).await;
        let of_theirs = answered(who, &Method::POST, path, Some(&body), &theirs).await;
        let of_nobodys = answered(who, &Method::POST, path, Some(&body), &nobodys).await;
        assert_eq!(of_theirs, of_nobodys, "{path} {body}");
        assert!([404, 422].contains(&of_theirs.0), "{path} {body}: {of_theirs:?}");
        assert_eq!(rows(&app).await, before, "{path} {body}");
        // The same with what is one's own, so that the refusals are for the right reason.
        let of_own = answered(who, &Method::POST, path, Some(&body), &own).await;
        assert_eq!(of_own.0, right, "{path} {body}: {}", of_own.1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn in_queries_and_cursors_too() {
    let app = TestApp::start().await;
    app.found("other").await;
    let (own, theirs, nobodys) = (Things::of(&app, "acme").await, Things::of(&app, "other").await, Things::nobodys());
    let (service, member) = (app.everything_in("acme").await, app.member(&owner("acme")).await);
    for (who, path) in [
        (&service, "/api/v1/keys?project=PROJECT"),
        (&service, "/api/v1/limits?key_id=KEY"),
        (&service, "/api/v1/limits?project=PROJECT"),
        (&service, "/api/v1/limits?namespace=SPACE"),
        (&service, "/api/v1/usage?span=24h&key_id=KEY"),
        (&service, "/api/v1/usage?span=24h&limit_id=LIMIT"),
        (&service, "/api/v1/audit-events?target_id=KEY"),
        (&service, "/api/v1/audit-events?actor_id=PERSON"),
        (&member, "/t/acme/keys?project=PROJECT"),
        (&member, "/t/acme/keys/new?like=KEY"),
        (&member, "/t/acme/keys/bulk?action=disable&key=KEY"),
        (&member, "/t/acme/keys/revoke?project=PROJECT"),
        (&member, "/t/acme/limits/new?key=KEY"),
        (&member, "/t/acme/audit?target=KEY"),
        (&member, "/t/acme/audit?actor=PERSON"),
    ] {
        let of_theirs = answered(who, &Method::GET, path, None, &theirs).await;
        let of_nobodys = answered(who, &Method::GET, path, None, &nobodys).await;
        assert_eq!(of_theirs, of_nobodys, "{path}");
        assert!(!of_theirs.1.contains("unmistakable") && of_theirs.0 < 500, "{path}: {}", of_theirs.1);
        assert_eq!(answered(who, &Method::GET, path, None, &own).await.0, 200, "{path}");
    }
    // A cursor says where a list goes on, not whose it is.
    let others = app.everything_in("other").await;
    for list in ["/api/v1/keys", "/api/v1/audit-events", "/api/v1/service-tokens", "/api/v1/projects", "/api/v1/limits"]
    {
        let page = others.get(&format!("{list}?limit=1")).await.json();
        let cursor = page["next_cursor"].as_str().unwrap_or_else(|| panic!("{list} has one page: {page}"));
        let ids = |page: &Value| -> Vec<String> {
            let items = page["items"].as_array().expect("items").iter();
            items.map(|item| item["id"].as_str().unwrap_or_default().to_owned()).collect()
        };
        let theirs = ids(&others.get(&format!("{list}?limit=100")).await.json());
        let seen = service.get(&format!("{list}?limit=100&cursor={cursor}")).await;
        assert_eq!(seen.status, StatusCode::OK, "{list}: {}", seen.text);
        assert!(ids(&seen.json()).iter().all(|id| id.is_empty() || !theirs.contains(id)), "{list}: {}", seen.text);
    }
}
