//! Every entry of every door, tried by its right caller and then by each wrong one. The list is the doors' own, so an
//! entry cannot be forgotten: one without a request below fails the test.

use std::collections::BTreeMap;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tronch_core::{Permission, Role, grants, has_right};
use tronch_server::doors::{Access, Route, surface};

use crate::support::{Answer, PASSWORD, TestApp, Visitor, owner};

/// What a request to an entry is made of, and what the right caller gets.
pub(crate) struct Sample {
    pub(crate) body: Body,
    pub(crate) right: StatusCode,
}

pub(crate) enum Body {
    None,
    Json(Value),
    Form(Vec<(&'static str, String)>),
}

/// Rows that every entry finds: `{tenant}`, `{project}`, `{key}`, `{token}` and `{limit_id}` of
/// the path.
pub(crate) struct Things {
    tenant: &'static str,
    project: String,
    key: String,
    token: String,
    limit: String,
    member: String,
    invitation: String,
}

/// Stands in a sample for a word that no row has yet.
const FRESH: &str = "a-fresh-word";

pub(crate) fn sample(route: &Route) -> Option<Sample> {
    let form = |fields: &[(&'static str, &str)]| {
        Body::Form(fields.iter().map(|(name, value)| (*name, (*value).to_owned())).collect())
    };
    let ok = |body| Some(Sample { body, right: StatusCode::OK });
    let see_other = |body| Some(Sample { body, right: StatusCode::SEE_OTHER });
    let created = |body| Some(Sample { body: Body::Json(body), right: StatusCode::CREATED });
    match (route.method.as_str(), route.path) {
        // The dashboard.
        ("GET", path) if path.starts_with("/t/{tenant}/") => ok(Body::None),
        ("POST", "/t/{tenant}/keys/bulk") => {
            see_other(form(&[("action", "disable"), ("key", "{key}"), ("confirmation", "disable 1 key")]))
        }
        ("POST", "/t/{tenant}/keys/revoke") => {
            see_other(form(&[("owner", "nobody"), ("confirmation", "revoke 0 keys"), ("password", PASSWORD)]))
        }
        ("POST", "/t/{tenant}/keys/search" | "/t/{tenant}/audit/search") => see_other(form(&[("q", "x")])),
        ("POST", "/t/{tenant}/keys/new") => {
            ok(form(&[("name", "from a form"), ("project", "default"), ("environment", "test")]))
        }
        ("POST", "/t/{tenant}/keys/{key}/edit") => see_other(form(&[("name", "edited")])),
        ("POST", "/t/{tenant}/keys/{key}/rotate") => ok(form(&[("grace", "3600")])),
        ("POST", "/t/{tenant}/keys/{key}/revoke") => see_other(form(&[("reason", "a test")])),
        ("POST", "/t/{tenant}/keys/{key}/disable" | "/t/{tenant}/keys/{key}/enable") => see_other(form(&[])),
        ("POST", "/t/{tenant}/keys/{key}/finish") => see_other(form(&[])),
        ("POST", "/t/{tenant}/tokens/new") => ok(form(&[("name", "from a form"), ("permissions", "keys.read")])),
        ("POST", "/t/{tenant}/tokens/{token}/rotate") => ok(form(&[("grace", "3600")])),
        ("POST", "/t/{tenant}/tokens/{token}/revoke") => see_other(form(&[])),
        // Deleting has its own test: what was deleted takes nobody in.
        ("POST", "/t/{tenant}/settings/delete") => Some(Sample {
            body: form(&[("confirmation", "another"), ("password", PASSWORD)]),
            right: StatusCode::UNPROCESSABLE_ENTITY,
        }),
        ("POST", "/t/{tenant}/members/invite") => {
            ok(form(&[("email", "a-fresh-word@example.com"), ("role", "viewer")]))
        }
        // Whoever leaves is not the last owner.
        ("POST", "/t/{tenant}/members/leave") => see_other(form(&[])),
        ("POST", "/t/{tenant}/members/{member}/role") => see_other(form(&[("role", "developer")])),
        ("POST", "/t/{tenant}/members/{member}/owner") => see_other(form(&[("password", PASSWORD)])),
        ("POST", "/t/{tenant}/members/{member}/remove" | "/t/{tenant}/invitations/{invitation}/revoke") => {
            see_other(form(&[]))
        }
        ("POST", "/t/{tenant}/limits/new") => see_other(form(&[
            ("project", "default"),
            ("name", FRESH),
            ("capacity", "5"),
            ("refill", "1"),
            ("period", "1"),
        ])),
        ("POST", "/t/{tenant}/limits/{limit}/edit") => {
            see_other(form(&[("name", "a-limit"), ("total", "5"), ("window", "day"), ("time_zone", "UTC")]))
        }
        ("POST", "/t/{tenant}/limits/{limit}") => see_other(form(&[("add", "5")])),
        ("POST", "/t/{tenant}/limits/{limit}/remove") => see_other(form(&[])),
        ("POST", "/t/{tenant}/projects/new") => see_other(form(&[("name", "from a form"), ("slug", FRESH)])),
        ("POST", "/t/{tenant}/projects/{project}/edit") => {
            see_other(form(&[("name", "edited"), ("default_grace_seconds", "0"), ("max_grace_seconds", "0")]))
        }
        ("POST", path) if path.starts_with("/t/{tenant}/projects/{project}/") => see_other(form(&[])),
        // The API.
        ("POST", "/api/v1/projects") => created(json!({ "slug": FRESH })),
        ("PATCH", "/api/v1/projects/{project}") => ok(Body::Json(json!({ "name": "changed" }))),
        ("POST", path) if path.starts_with("/api/v1/projects/{project}/") => ok(Body::None),
        ("POST", "/api/v1/keys/verify") => ok(Body::Json(json!({ "key": "x", "project": "default" }))),
        ("POST", "/api/v1/keys") => created(json!({ "name": "from the API" })),
        ("POST", "/api/v1/keys/revoke") => ok(Body::Json(json!({ "owner": { "external_id": "nobody" } }))),
        ("PATCH", "/api/v1/keys/{key_id}") => ok(Body::Json(json!({ "name": "changed" }))),
        ("POST", "/api/v1/keys/{key_id}/rotate") => created(json!({ "grace_seconds": 60 })),
        ("POST", "/api/v1/limits") => {
            created(json!({ "name": "from-the-api", "project": "default", "burst": { "capacity": 5, "refill": 1 } }))
        }
        ("POST", "/api/v1/limits/simulate") => {
            ok(Body::Json(json!({ "name": "tried", "project": "default", "burst": { "capacity": 5, "refill": 1 } })))
        }
        ("POST", "/api/v1/limits/check") => ok(Body::Json(json!({ "namespace": "sign-ups", "identifier": "ada" }))),
        ("POST", "/api/v1/limits/{limit_id}/credits") => ok(Body::Json(json!({ "add": 5 }))),
        ("PATCH", "/api/v1/limits/{limit_id}") => ok(Body::Json(json!({ "automatic": false }))),
        ("POST", "/api/v1/service-tokens") => created(json!({ "name": "a token", "permissions": ["keys.read"] })),
        ("POST", "/api/v1/service-tokens/{token_id}/rotate") => created(json!({ "grace_seconds": 60 })),
        ("GET" | "DELETE", path) if path.starts_with("/api/v1/") => ok(Body::None),
        ("POST", path) if path.starts_with("/api/v1/keys/{key_id}/") => ok(Body::None),
        _ => None,
    }
}

fn address(route: &Route, things: &Things) -> String {
    route
        .path
        .replace("{tenant}", things.tenant)
        .replace("{project}", &things.project)
        .replace("{key}", &things.key)
        .replace("{key_id}", &things.key)
        .replace("{token}", &things.token)
        .replace("{token_id}", &things.token)
        .replace("{limit}", &things.limit)
        .replace("{limit_id}", &things.limit)
        .replace("{member}", &things.member)
        .replace("{invitation}", &things.invitation)
}

pub(crate) async fn ask(visitor: &Visitor, route: &Route, sample: &Sample, things: &Things) -> Answer {
    let request = visitor.request(route.method.clone(), &address(route, things));
    let fresh = format!("p{}", uuid::Uuid::new_v4().simple());
    let request = match &sample.body {
        Body::None => request,
        Body::Json(body) => {
            let body: Value = serde_json::from_str(&body.to_string().replace(FRESH, &fresh)).expect("JSON");
            request.json(&body)
        }
        Body::Form(fields) => {
            let filled = |value: &String| value.replace(FRESH, &fresh).replace("{key}", &things.key);
            let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, filled(value))).collect();
            request.form(&fields)
        }
    };
    let request = if route.path.starts_with("/t/") && route.method == Method::POST {
        request.header("sec-fetch-site", "same-origin")
    } else {
        request
    };
    Visitor::send(request).await
}

/// A fresh key and token in a tenant, the key rotated where the entry needs a rotation that runs.
pub(crate) async fn things(app: &TestApp, service: &Visitor, tenant: &'static str, route: &Route) -> Things {
    let (key, _) = service.create_key(&json!({ "name": "a key" })).await;
    if route.path.contains("finish") {
        let answer = service.post(&format!("/api/v1/keys/{key}/rotate"), &json!({ "grace_seconds": 600 })).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
    }
    let body = json!({ "name": "a token", "permissions": ["keys.read"] });
    let answer = service.post("/api/v1/service-tokens", &body).await;
    let token = answer.json()["service_token"]["id"].as_str().expect("an id").to_owned();
    let project = format!("p{}", uuid::Uuid::new_v4().simple());
    let answer = service.post("/api/v1/projects", &json!({ "slug": project })).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
    let body = json!({ "name": "a-limit", "key_id": key, "credits": { "amount": 9 } });
    let limit = service.post("/api/v1/limits", &body).await.json()["id"].as_str().expect("an id").to_owned();
    // There from the first time on.
    let body = json!({ "name": "a-limit", "namespace": "sign-ups", "burst": { "capacity": 100, "refill": 100 } });
    let namespace = service.post("/api/v1/limits", &body).await.status;
    assert!([StatusCode::CREATED, StatusCode::CONFLICT].contains(&namespace), "{namespace}");
    let (member, invitation) =
        people(app, tenant, if route.path.ends_with("/leave") { "owner" } else { "viewer" }).await;
    Things { tenant, project, key, token, limit, member, invitation }
}

/// A fresh member and an open invitation.
async fn people(app: &TestApp, tenant: &str, role: &str) -> (String, String) {
    let database = app.database.connect_as_system().await;
    let (id, invitation) = (uuid::Uuid::new_v4(), uuid::Uuid::new_v4());
    let (id_text, invitation_text) = (id.to_string(), invitation.to_string());
    let sql = "WITH person AS (INSERT INTO users (id, email, email_normalized, name, password_phc) \
               VALUES ($1::text::uuid, $1 || '@example.com', $1 || '@example.com', 'somebody', 'none') RETURNING id), \
               member AS (INSERT INTO memberships (tenant_id, user_id, role) \
               SELECT tenants.id, person.id, $4 FROM tenants, person WHERE slug = $3) \
               INSERT INTO invitations (id, tenant_id, email, email_normalized, role, invited_by, created_at, expires_at) \
               SELECT $2::text::uuid, id, $2 || '@example.com', $2 || '@example.com', 'viewer', 'a test', now(), now() + interval '1 day' \
               FROM tenants WHERE slug = $3";
    database.execute(sql, &[&id_text, &invitation_text, &tenant, &role]).await.expect("people");
    (tronch_core::UserId::from_uuid(id).to_string(), tronch_core::InvitationId::from_uuid(invitation).to_string())
}

/// What the members are again, whatever they did to each other and themselves. They are in another tenant as well: whoever is in none is
/// signed out.
async fn restore_members(app: &TestApp) {
    let database = app.database.connect_as_system().await;
    let sql = "INSERT INTO memberships (tenant_id, user_id, role) SELECT tenants.id, users.id, \
               split_part(users.email, '@', 1) FROM tenants, users \
               WHERE slug IN ('acme', 'spare') AND email LIKE '%@acme.example' \
               ON CONFLICT (tenant_id, user_id) DO UPDATE SET role = excluded.role";
    database.execute(sql, &[]).await.expect("members");
}

/// Everything a wrong caller must not change, as text. When something was last used is written beside the calls.
pub(crate) async fn rows(app: &TestApp) -> BTreeMap<String, String> {
    let system = app.database.connect_as_system().await;
    let mut found = BTreeMap::new();
    for table in [
        "keys",
        "service_tokens",
        "limits",
        "audit_events",
        "memberships",
        "invitations",
        "tenants",
        "projects",
        "users",
    ] {
        let row = "(to_jsonb(t) - 'last_used_at' - 'used_at')::text";
        let sql = format!("SELECT coalesce(md5(string_agg({row}, '|' ORDER BY {row})), '') FROM {table} t");
        found.insert(table.to_owned(), system.query_one(&sql, &[]).await.expect("a table").get(0));
    }
    found
}

/// Refused by the door or by the verb, with the table of every row untouched.
async fn refused(
    app: &TestApp,
    before: &BTreeMap<String, String>,
    who: &str,
    route: &Route,
    answer: &Answer,
    status: StatusCode,
) {
    assert_eq!(answer.status, status, "{who} at {} {}: {}", route.method, route.path, answer.text);
    assert_eq!(&rows(app).await, before, "{who} changed something at {} {}", route.method, route.path);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_entry_takes_the_right_caller_and_refuses_each_wrong_one() {
    let app = TestApp::start().await;
    app.found("other").await;
    app.found("spare").await;
    let service = app.everything_in("acme").await;
    let strangers_service = app.everything_in("other").await;
    let stranger = app.member(&owner("other")).await;
    let anonymous = app.anonymous();
    let mut members = Vec::new();
    for role in [Role::Owner, Role::Admin, Role::Developer, Role::Viewer] {
        let email = if role == Role::Owner { owner("acme") } else { app.add_member("acme", role).await };
        members.push((role, app.member(&email).await));
    }
    restore_members(&app).await;
    let mut single = Vec::new();
    for permission in Permission::ALL {
        let token = app.token("acme", &json!({ "permissions": [permission] })).await;
        single.push((permission, app.service(&token)));
    }
    let mut tried = 0;
    for route in surface() {
        if route.access == Access::Anyone {
            continue;
        }
        let Some(sample) = sample(&route) else { panic!("no request is known for {} {}", route.method, route.path) };
        match route.access {
            Access::Anyone => {}
            Access::Member(_) | Access::Person(_) => {
                let theirs = things(&app, &service, "acme", &route).await;
                let before = rows(&app).await;
                let answer = ask(&anonymous, &route, &sample, &theirs).await;
                refused(&app, &before, "anonymous", &route, &answer, StatusCode::SEE_OTHER).await;
                assert!(answer.header("location").starts_with("/sign-in"), "{}", answer.header("location"));
                let answer = ask(&stranger, &route, &sample, &theirs).await;
                refused(&app, &before, "another tenant's owner", &route, &answer, StatusCode::NOT_FOUND).await;
                another_tenants_thing_is_absent(&app, &stranger, &route, &sample, &theirs).await;
                for (role, member) in &members {
                    let may = match route.access {
                        Access::Person(right) => has_right(*role, right),
                        Access::Member(permission) => permission.is_none_or(|permission| grants(*role, permission)),
                        Access::Anyone | Access::Token(_) => false,
                    };
                    let theirs = things(&app, &service, "acme", &route).await;
                    let before = rows(&app).await;
                    let answer = ask(member, &route, &sample, &theirs).await;
                    if may {
                        assert_eq!(answer.status, sample.right, "{role} at {} {}", route.method, route.path);
                    } else {
                        refused(&app, &before, role.as_str(), &route, &answer, StatusCode::FORBIDDEN).await;
                    }
                    // Each session has its id renewed or ended by some of them.
                    if matches!(route.access, Access::Person(_)) {
                        restore_members(&app).await;
                    }
                }
            }
            Access::Token(permission) => {
                let theirs = things(&app, &service, "acme", &route).await;
                let before = rows(&app).await;
                let answer = ask(&anonymous, &route, &sample, &theirs).await;
                refused(&app, &before, "anonymous", &route, &answer, StatusCode::UNAUTHORIZED).await;
                assert!(answer.header("www-authenticate").starts_with("Bearer"));
                // A session opens no API.
                let answer = ask(&members[0].1, &route, &sample, &theirs).await;
                refused(&app, &before, "a session", &route, &answer, StatusCode::UNAUTHORIZED).await;
                another_tenants_thing_is_absent(&app, &strangers_service, &route, &sample, &theirs).await;
                let all_others: Vec<Permission> =
                    Permission::ALL.into_iter().filter(|other| *other != permission).collect();
                let without = app.service(&app.token("acme", &json!({ "permissions": all_others })).await);
                let before = rows(&app).await;
                let answer = ask(&without, &route, &sample, &theirs).await;
                refused(&app, &before, "a token without", &route, &answer, StatusCode::FORBIDDEN).await;
                for (other, token) in single.iter().filter(|(other, _)| *other != permission) {
                    let answer = ask(token, &route, &sample, &theirs).await;
                    let (method, path) = (&route.method, route.path);
                    assert_eq!(answer.status, StatusCode::FORBIDDEN, "a token for {other} at {method} {path}");
                }
                // The least that does: what is granted must be held as well.
                let enough = if permission == Permission::TokensWrite {
                    vec![permission, Permission::KeysRead]
                } else {
                    vec![permission]
                };
                let with = app.service(&app.token("acme", &json!({ "permissions": enough })).await);
                let answer = ask(&with, &route, &sample, &theirs).await;
                assert_eq!(answer.status, sample.right, "{} {}: {}", route.method, route.path, answer.text);
            }
        }
        tried += 1;
    }
    assert!(tried > 30, "only {tried} entries were tried");
}

/// With its own credential in its own place, a stranger asks for a thing of another tenant's: the answer is, byte for
/// byte, the one for a thing that nobody has.
async fn another_tenants_thing_is_absent(
    app: &TestApp,
    stranger: &Visitor,
    route: &Route,
    sample: &Sample,
    theirs: &Things,
) {
    let names_a_thing = [
        "{project}",
        "{key}",
        "{key_id}",
        "{token}",
        "{token_id}",
        "{limit}",
        "{limit_id}",
        "{member}",
        "{invitation}",
    ]
    .iter()
    .any(|name| route.path.contains(name));
    if !names_a_thing {
        return;
    }
    let there = Things {
        tenant: "other",
        project: theirs.project.clone(),
        key: theirs.key.clone(),
        token: theirs.token.clone(),
        limit: theirs.limit.clone(),
        member: theirs.member.clone(),
        invitation: theirs.invitation.clone(),
    };
    let nowhere = Things {
        tenant: "other",
        project: "p-that-nobody-has".to_owned(),
        key: tronch_core::KeyId::from_uuid(uuid::Uuid::from_u128(1)).to_string(),
        token: tronch_core::ServiceTokenId::from_uuid(uuid::Uuid::from_u128(1)).to_string(),
        limit: tronch_core::LimitId::from_uuid(uuid::Uuid::from_u128(1)).to_string(),
        member: tronch_core::UserId::from_uuid(uuid::Uuid::from_u128(1)).to_string(),
        invitation: tronch_core::InvitationId::from_uuid(uuid::Uuid::from_u128(1)).to_string(),
    };
    let before = rows(app).await;
    let answer = ask(stranger, route, sample, &there).await;
    refused(app, &before, "a stranger in its own tenant", route, &answer, StatusCode::NOT_FOUND).await;
    let absent = ask(stranger, route, sample, &nowhere).await;
    assert_eq!(absent.status, StatusCode::NOT_FOUND);
    let same = |answer: &Answer, things: &Things| {
        let request_id = answer.header("x-request-id");
        // A page's scripts carry a number of their own.
        let nonce = answer.text.split_once("nonce=\"").and_then(|(_, rest)| rest.split('"').next()).unwrap_or("none");
        answer
            .text
            .replace(nonce, "NONCE")
            .replace(request_id, "REQUEST")
            .replace(&things.project, "PROJECT")
            .replace(&things.key, "KEY")
            .replace(&things.token, "TOKEN")
            .replace(&things.limit, "LIMIT")
    };
    assert_eq!(same(&answer, &there), same(&absent, &nowhere), "{} {}", route.method, route.path);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limited_token_reaches_nothing_outside_its_limits() {
    let app = TestApp::start().await;
    let service = app.everything_in("acme").await;
    let (live, live_secret) = service.create_key(&json!({ "name": "live", "environment": "live" })).await;
    let (test, test_secret) = service.create_key(&json!({ "name": "test" })).await;
    let wish = json!({ "permissions": Permission::ALL, "project": "default", "environment": "test" });
    let limited = app.service(&app.token("acme", &wish).await);

    assert_eq!(limited.get(&format!("/api/v1/keys/{test}")).await.status, StatusCode::OK);
    for (method, path, body) in [
        (Method::GET, format!("/api/v1/keys/{live}"), None),
        (Method::PATCH, format!("/api/v1/keys/{live}"), Some(json!({ "name": "taken over" }))),
        (Method::POST, format!("/api/v1/keys/{live}/rotate"), None),
        (Method::POST, format!("/api/v1/keys/{live}/disable"), None),
        (Method::DELETE, format!("/api/v1/keys/{live}"), None),
    ] {
        let request = limited.request(method.clone(), &path);
        let request = if let Some(body) = body { request.json(&body) } else { request };
        assert_eq!(Visitor::send(request).await.refusal().0, 404, "{method} {path}");
    }
    let listed = limited.get("/api/v1/keys").await.json();
    let names: Vec<&str> =
        listed["items"].as_array().expect("a list").iter().filter_map(|key| key["name"].as_str()).collect();
    assert_eq!(names, ["test"]);
    assert_eq!(limited.get(&format!("/api/v1/keys?search={live_secret}")).await.json()["items"], json!([]));

    let forbidden = |answer: Answer| assert_eq!(answer.refusal().0, 403, "{}", answer.text);
    forbidden(limited.post("/api/v1/keys", &json!({ "name": "x", "environment": "live" })).await);
    forbidden(limited.get("/api/v1/audit-events").await);
    forbidden(limited.post("/api/v1/keys/verify", &json!({ "key": test_secret, "environment": "live" })).await);
    let wider = json!({ "name": "wider", "permissions": ["keys.read"], "environment": "live" });
    forbidden(limited.post("/api/v1/service-tokens", &wider).await);
    // Left out, the token's own limits are meant.
    let made = limited.post("/api/v1/service-tokens", &json!({ "name": "same", "permissions": ["keys.read"] })).await;
    assert_eq!(made.json()["service_token"]["environment"], "test");
    assert_eq!(limited.verify(&json!({ "key": test_secret })).await["code"], "VALID");
    assert_eq!(limited.verify(&json!({ "key": live_secret })).await["code"], "ENVIRONMENT_MISMATCH");
    // And nobody grants what he does not hold.
    let small = app.service(&app.token("acme", &json!({ "permissions": ["tokens.write"] })).await);
    forbidden(small.post("/api/v1/service-tokens", &json!({ "name": "more", "permissions": ["keys.read"] })).await);
}
