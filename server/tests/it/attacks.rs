//! What the server owns is nobody's to send: each column of each table as a further field of each body and form. And a session
//! that somebody planted is nobody's after the sign-in.

use std::collections::BTreeSet;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tronch_core::{Permission, Role};
use tronch_server::doors::{Access, surface};

use crate::access::{Body, ask, rows, sample, things};
use crate::support::{PASSWORD, TestApp, owner};

/// A column's name and what is planted in it, by its type.
async fn planted(app: &TestApp) -> Vec<(String, Value)> {
    let system = app.database.connect_as_system().await;
    let sql = "SELECT DISTINCT ON (column_name) column_name::text, data_type::text FROM information_schema.columns
               WHERE table_schema = 'public' ORDER BY 1";
    let of_type = |kind: &str| match kind {
        "uuid" => json!("deadbeef-0000-4000-8000-00000000beef"),
        "timestamp with time zone" => json!("2001-02-03T04:05:06Z"),
        "boolean" => json!(true),
        "integer" | "bigint" | "smallint" => json!(424_242),
        _ => json!("planted-by-a-stranger"),
    };
    let columns = system.query(sql, &[]).await.expect("columns");
    columns.iter().map(|row| (row.get(0), of_type(&row.get::<_, String>(1)))).collect()
}

/// What a body of this entry may hold, by the API's description.
fn taken(description: &Value, path: &str, method: &Method) -> BTreeSet<String> {
    let body =
        &description["paths"][path][method.as_str().to_lowercase()]["requestBody"]["content"]["application/json"];
    let schema = &body["schema"];
    let named = schema["$ref"]
        .as_str()
        .or_else(|| schema["oneOf"].as_array().and_then(|all| all.iter().find_map(|one| one["$ref"].as_str())));
    let name = named.and_then(|path| path.rsplit('/').next()).unwrap_or_else(|| panic!("{method} {path}: {body}"));
    let properties = description["components"]["schemas"][name]["properties"].as_object();
    properties.map(|all| all.keys().cloned().collect()).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_body_takes_a_field_that_is_the_servers() {
    let app = TestApp::start().await;
    let service = app.everything_in("acme").await;
    let planted = planted(&app).await;
    assert!(planted.len() > 60, "{planted:?}");
    let description = service.get("/api/v1/openapi.json").await.json();
    let mut refused = 0;
    for route in surface() {
        let Access::Token(_) = route.access else { continue };
        let Some(mut sample) = sample(&route) else { continue };
        let Body::Json(body) = &sample.body else { continue };
        let (body, taken) = (body.clone(), taken(&description, route.path, &route.method));
        let theirs = things(&app, &service, "acme", &route).await;
        // A token of its own: one may not ask that often.
        let caller = app.service(&app.token("acme", &json!({ "permissions": Permission::ALL })).await);
        let before = rows(&app).await;
        for (field, value) in planted.iter().filter(|(field, _)| !taken.contains(field)) {
            let mut more = body.clone();
            more[field] = value.clone();
            sample.body = Body::Json(more);
            let answer = ask(&caller, &route, &sample, &theirs).await;
            let (method, path) = (&route.method, route.path);
            assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{field} at {method} {path}: {}", answer.text);
            assert_eq!(answer.json()["code"], "unknown_field", "{field} at {method} {path}: {}", answer.text);
            refused += 1;
        }
        assert_eq!(rows(&app).await, before, "{} {}", route.method, route.path);
    }
    assert!(refused > 500, "only {refused} were tried");
}

/// The tables in which something that was planted stands.
async fn found_in<'a>(system: &tokio_postgres::Client, tables: &[&'a str]) -> Vec<&'a str> {
    let mut found = Vec::new();
    for table in tables {
        let sql = format!(
            "SELECT EXISTS (SELECT FROM {table} t WHERE to_jsonb(t)::text ~ \
             'deadbeef-0000|2001-02-0[234]|424242|planted-by-a-stranger')"
        );
        if system.query_one(&sql, &[]).await.expect("an answer").get(0) {
            found.push(*table);
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn no_form_takes_a_field_that_is_the_servers() {
    let app = TestApp::start().await;
    let service = app.everything_in("acme").await;
    let planted = planted(&app).await;
    let system = app.database.connect_as_system().await;
    let tables = ["keys", "service_tokens", "limits", "memberships", "invitations", "tenants", "projects", "users"];
    let mut tried = 0;
    for route in surface() {
        // What people type may stand in their own fields; these are none of them.
        let own = ["name", "email", "role", "reason", "metadata", "permissions", "environment", "expires_at", "slug"];
        let Some(mut sample) = sample(&route) else { continue };
        let (Access::Member(_) | Access::Person(_), Body::Form(fields)) = (route.access, &sample.body) else {
            continue;
        };
        let mut fields = fields.clone();
        for (field, value) in &planted {
            if own.contains(&field.as_str()) || fields.iter().any(|(name, _)| name == field) {
                continue;
            }
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            fields.push((field.clone().leak(), text));
        }
        sample.body = Body::Form(fields);
        let theirs = things(&app, &service, "acme", &route).await;
        let member = app.member(&owner("acme")).await;
        let answer = ask(&member, &route, &sample, &theirs).await;
        assert!(!answer.status.is_server_error(), "{} {}: {}", route.method, route.path, answer.text);
        let at = found_in(&system, &tables).await;
        assert!(at.is_empty(), "{at:?} by {} {}", route.method, route.path);
        tried += 1;
    }
    assert!(tried > 15, "only {tried} were tried");
    // Where it may stand it is found.
    service.create_key(&json!({ "name": "planted-by-a-stranger" })).await;
    assert_eq!(found_in(&system, &tables).await, ["keys"]);
}

/// Signs in with a cookie that a browser holds already; gives the one it holds then.
async fn sign_in_with(app: &TestApp, email: &str, cookie: &str) -> String {
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().expect("a client");
    let sent = client.post(format!("{}/sign-in", app.url)).header("cookie", cookie);
    let answer = sent.form(&[("email", email), ("password", PASSWORD)]).send().await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::SEE_OTHER);
    let given = answer.headers().get_all("set-cookie").iter().filter_map(|value| value.to_str().ok());
    let given = given.filter_map(|cookie| cookie.split(';').next()).find(|cookie| cookie.starts_with("tronch="));
    given.unwrap_or(cookie).to_owned()
}

async fn account_of(app: &TestApp, cookie: &str) -> String {
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().expect("a client");
    let asked = client.get(format!("{}/account", app.url)).header("cookie", cookie);
    asked.send().await.expect("an answer").text().await.expect("a page")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_somebody_planted_is_nobodys_after_the_sign_in() {
    let app = TestApp::start().await;
    let (eve, victim) = (app.add_member("acme", Role::Viewer).await, owner("acme"));
    let planted = sign_in_with(&app, &eve, "").await;
    assert!(account_of(&app, &planted).await.contains(&eve));
    let own = sign_in_with(&app, &victim, &planted).await;
    assert!(account_of(&app, &own).await.contains(&victim));
    assert_ne!(own, planted);
    let seen = account_of(&app, &planted).await;
    assert!(!seen.contains(&victim) && !seen.contains(&eve), "{seen}");
}
