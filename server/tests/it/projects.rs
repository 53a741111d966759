//! Projects: made, changed, put away and taken out again, through both doors.

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::{Answer, TestApp, owner};

fn code(answer: &Answer) -> (u16, String) {
    let (status, code, _) = answer.refusal();
    (status, code)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_is_made_changed_listed_and_its_slug_stays_taken() {
    let app = TestApp::start().await;
    let service = app.everything_in("acme").await;
    let made = service.post("/api/v1/projects", &json!({ "slug": "payments", "name": "Payments" })).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    assert_eq!(made.json()["default_grace_seconds"], 86_400);
    assert_eq!(service.get("/api/v1/projects/payments").await.json(), made.json());
    let twice = service.post("/api/v1/projects", &json!({ "slug": "payments" })).await;
    assert_eq!(twice.refusal(), (409, "name_taken".into(), Some("slug".into())));
    for slug in ["Payments", "p", "new", "a_b", ""] {
        let refused = service.post("/api/v1/projects", &json!({ "slug": slug })).await;
        assert_eq!(refused.refusal(), (422, "invalid_field".into(), Some("slug".into())), "{slug}");
    }
    let body = json!({ "name": "Pay", "default_grace_seconds": 60, "max_grace_seconds": 3600, "auto_revoke": false });
    let changed = service.patch("/api/v1/projects/payments", &body).await.json();
    for (name, value) in body.as_object().expect("fields") {
        assert_eq!(&changed[name], value, "{name}");
    }
    for (body, field) in [
        (json!({ "default_grace_seconds": 3601 }), "default_grace_seconds"),
        (json!({ "max_grace_seconds": 59 }), "default_grace_seconds"),
        (json!({ "max_grace_seconds": 2_592_001 }), "max_grace_seconds"),
        (json!({ "name": null }), "name"),
        (json!({ "slug": "other" }), "slug"),
    ] {
        assert_eq!(
            service.patch("/api/v1/projects/payments", &body).await.refusal().2.as_deref(),
            Some(field),
            "{body}"
        );
    }
    assert_eq!(code(&service.patch("/api/v1/projects/nowhere", &json!({})).await), (404, "not_found".into()));
    let mut slugs = Vec::new();
    let mut address = "/api/v1/projects?limit=1".to_owned();
    loop {
        let page = service.get(&address).await.json();
        slugs.extend(page["items"].as_array().expect("a list").iter().map(|item| item["slug"].clone()));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        address = format!("/api/v1/projects?limit=1&cursor={cursor}");
    }
    assert_eq!(slugs, [json!("default"), json!("payments")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn its_graces_bind_rotations_and_without_auto_revoke_somebody_finishes_them() {
    let app = TestApp::start().await;
    let service = app.everything_in("acme").await;
    service.post("/api/v1/projects", &json!({ "slug": "payments" })).await;
    let settings = json!({ "default_grace_seconds": 60, "max_grace_seconds": 3600 });
    service.patch("/api/v1/projects/payments", &settings).await;
    let (key, _) = service.create_key(&json!({ "name": "a key", "project": "payments" })).await;
    let rotate = format!("/api/v1/keys/{key}/rotate");
    let too_long = service.post(&rotate, &json!({ "grace_seconds": 3601 })).await;
    assert_eq!(too_long.refusal(), (422, "invalid_field".into(), Some("grace_seconds".into())));
    assert!(too_long.text.contains("at most 1 hour"), "{}", too_long.text);
    assert_eq!(service.post(&rotate, &json!({})).await.status, StatusCode::CREATED);
    let old = service.get(&format!("/api/v1/keys/{key}")).await.json();
    let time = |value: &Value| tronch_core::parse_timestamp(value.as_str().expect("a time")).expect("a time");
    let grace = time(&old["rotation"]["grace_ends_at"]) - time(&old["updated_at"]);
    assert!((59..=60).contains(&grace.num_seconds()), "{grace}");

    service.patch("/api/v1/projects/payments", &json!({ "auto_revoke": false })).await;
    let (key, secret) = service.create_key(&json!({ "name": "a key", "project": "payments" })).await;
    service.post(&format!("/api/v1/keys/{key}/rotate"), &json!({ "grace_seconds": 60 })).await;
    let old = service.get(&format!("/api/v1/keys/{key}")).await.json();
    assert_eq!(old["rotation"]["grace_ends_at"], Value::Null);
    let ask = json!({ "key": secret, "project": "payments", "environment": "test" });
    assert_eq!(service.verify(&ask).await["code"], "VALID");
    service.post(&format!("/api/v1/keys/{key}/finish-rotation"), &json!({})).await;
    assert_eq!(service.verify(&ask).await["code"], "EXPIRED");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_archived_only_when_no_key_of_it_works_and_then_takes_none() {
    let app = TestApp::start().await;
    let service = app.everything_in("acme").await;
    assert_eq!(code(&service.post("/api/v1/projects/default/archive", &json!({})).await), (409, "conflict".into()));
    service.post("/api/v1/projects", &json!({ "slug": "old" })).await;
    let (revoked, _) = service.create_key(&json!({ "name": "x", "project": "old" })).await;
    service.delete(&format!("/api/v1/keys/{revoked}")).await;
    let (key, secret) = service.create_key(&json!({ "name": "a key", "project": "old" })).await;
    let archive = "/api/v1/projects/old/archive";
    let works = service.post(archive, &json!({})).await;
    assert_eq!(code(&works), (409, "conflict".into()));
    assert!(works.text.contains("one key"), "{}", works.text);
    // A disabled key could be enabled again.
    service.post(&format!("/api/v1/keys/{key}/disable"), &json!({})).await;
    assert_eq!(service.post(archive, &json!({})).await.status, StatusCode::CONFLICT);
    let expires = json!({ "expires_at": "2099-01-01T00:00:00Z" });
    assert_eq!(service.patch(&format!("/api/v1/keys/{key}"), &expires).await.status, StatusCode::OK);
    assert_eq!(service.post(archive, &json!({})).await.status, StatusCode::CONFLICT);
    let database = app.database.connect_as_system().await;
    let past = "UPDATE keys SET created_at = now() - interval '2 s', expires_at = now() - interval '1 s' WHERE expires_at IS NOT NULL";
    database.batch_execute(past).await.expect("time goes on");
    assert_eq!(service.post(archive, &json!({})).await.status, StatusCode::OK);
    assert!(service.get("/api/v1/projects/old").await.json()["archived_at"].is_string());
    // Nothing new comes to work in it.
    let archived = (409, "project_archived".to_owned());
    assert_eq!(code(&service.post("/api/v1/keys", &json!({ "name": "x", "project": "old" })).await), archived);
    let ended = (409, "key_not_active".to_owned());
    assert_eq!(code(&service.post(&format!("/api/v1/keys/{key}/enable"), &json!({})).await), ended);
    let token = json!({ "name": "t", "permissions": ["keys.read"], "project": "old" });
    assert_eq!(code(&service.post("/api/v1/service-tokens", &token).await), archived);
    assert_eq!(code(&service.patch("/api/v1/projects/old", &json!({ "name": "x" })).await), archived);
    // It does not count as one of several, and its keys are known as what they are.
    let (_, other) = service.create_key(&json!({ "name": "elsewhere", "environment": "live" })).await;
    assert_eq!(service.verify(&json!({ "key": other })).await["code"], "VALID");
    let ask = json!({ "key": secret, "project": "old", "environment": "test" });
    assert_eq!(service.verify(&ask).await["code"], "DISABLED");
    // And out again.
    assert_eq!(service.post("/api/v1/projects/old/restore", &json!({})).await.json()["archived_at"], Value::Null);
    assert_eq!(
        service.post("/api/v1/keys", &json!({ "name": "x", "project": "old" })).await.status,
        StatusCode::CREATED
    );
    let events = service.get("/api/v1/audit-events?action=archive_project").await.json();
    assert_eq!(events["items"].as_array().map(Vec::len), Some(1));
}

/// Either the key is there and the project open, or the project is archived and the key refused.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_made_while_its_project_is_archived_is_in_or_refused_and_never_both() {
    let app = TestApp::start().await;
    let service = app.everything_in("acme").await;
    let (mut made, mut archived) = (0, 0);
    for round in 0..20 {
        let slug = format!("round-{round}");
        service.post("/api/v1/projects", &json!({ "slug": slug })).await;
        let body = json!({ "name": "raced", "project": slug });
        let archive = format!("/api/v1/projects/{slug}/archive");
        let nothing = json!({});
        let (key, project) = tokio::join!(service.post("/api/v1/keys", &body), service.post(&archive, &nothing));
        match (key.status, project.status) {
            (StatusCode::CREATED, StatusCode::CONFLICT) => made += 1,
            (StatusCode::CONFLICT, StatusCode::OK) => archived += 1,
            other => panic!("{other:?} {} {}", key.text, project.text),
        }
    }
    println!("{made} times the key came first, {archived} times the archive");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_one_project_sees_no_other_and_changes_none_but_its_own() {
    let app = TestApp::start().await;
    let service = app.everything_in("acme").await;
    service.post("/api/v1/projects", &json!({ "slug": "payments" })).await;
    let permissions = ["projects.read", "projects.write"];
    let limited = app.service(&app.token("acme", &json!({ "permissions": permissions, "project": "payments" })).await);
    assert_eq!(limited.get("/api/v1/projects").await.json()["items"].as_array().map(Vec::len), Some(1));
    assert_eq!(limited.get("/api/v1/projects/default").await.status, StatusCode::NOT_FOUND);
    assert_eq!(limited.patch("/api/v1/projects/default", &json!({ "name": "x" })).await.status, StatusCode::NOT_FOUND);
    assert_eq!(limited.patch("/api/v1/projects/payments", &json!({ "name": "x" })).await.status, StatusCode::OK);
    assert_eq!(limited.post("/api/v1/projects", &json!({ "slug": "more" })).await.status, StatusCode::FORBIDDEN);
    let test = json!({ "permissions": permissions, "environment": "test" });
    let test = app.service(&app.token("acme", &test).await);
    assert_eq!(test.patch("/api/v1/projects/payments", &json!({ "name": "y" })).await.status, StatusCode::FORBIDDEN);
}

#[tokio::test(flavor = "multi_thread")]
async fn its_pages_make_change_and_archive_it_and_refuse_to_undo_somebody_elses_change() {
    let app = TestApp::start().await;
    let member = app.member(&owner("acme")).await;
    let made = member.form("/t/acme/projects/new", &[("name", "Payments"), ("slug", "payments")]).await;
    assert_eq!(made.header("location"), "/t/acme/projects/payments?did=created", "{}", made.text);
    let taken = member.form("/t/acme/projects/new", &[("name", "Zoë & co"), ("slug", "payments")]).await;
    assert_eq!(taken.status, StatusCode::CONFLICT);
    assert!(
        taken.text.contains("a project with this slug exists already")
            || taken.text.contains("A project with this slug")
    );
    assert!(taken.text.contains("Zoë &amp; co"));
    let page = member.get("/t/acme/projects/payments").await.text;
    let seen = page.split_once("name=\"seen\" value=\"").and_then(|(_, rest)| rest.split('"').next()).expect("a time");
    let form = |name: &'static str, max: &'static str| {
        [("seen", seen), ("name", name), ("default_grace_seconds", "3600"), ("max_grace_seconds", max)]
    };
    let edit = "/t/acme/projects/payments/edit";
    let refused = member.form(edit, &form("Pay", "900")).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(refused.text.contains("cannot be longer than the longest grace") && refused.text.contains("value=\"Pay\""));
    let changed = member.form(edit, &form("Pay", "86400")).await;
    assert_eq!(changed.header("location"), "/t/acme/projects/payments?did=changed", "{}", changed.text);
    assert!(member.get("/t/acme/projects/payments").await.text.contains("somebody ends the old key"));
    // From a second tab that was opened before.
    let stale = member.form(edit, &form("Back again", "86400")).await;
    assert_eq!(stale.status, StatusCode::CONFLICT);
    assert!(stale.text.contains("changed this project since you opened it"));
    let archived = member.form("/t/acme/projects/payments/archive", &[]).await;
    assert_eq!(archived.header("location"), "/t/acme/projects/payments?did=archived");
    assert!(!member.get("/t/acme/keys/new").await.text.contains(">Pay<"));
    let restored = member.form("/t/acme/projects/payments/restore", &[]).await;
    assert_eq!(restored.header("location"), "/t/acme/projects/payments?did=restored");
    let list = member.get("/t/acme/projects").await.text;
    assert!(list.contains(">Pay<") && list.contains(">Default<"));
}
