//! Forms as people meet them: every error at once, what another one begins with, and what stands in place of a form that
//! could only be refused.

use std::collections::BTreeMap;

use reqwest::StatusCode;
use serde_json::json;

use crate::support::{Answer, TestApp, Visitor, owner};

const PAST: &str = "2020-01-01T00:00";

/// The text of each paragraph of a page that describes a field, by the field: its hint, or its error.
fn said_of_fields(page: &str, what: &str) -> BTreeMap<String, String> {
    let end = format!("-{what}\"");
    let each = page.split("<p ").skip(1).filter_map(|paragraph| paragraph.split_once('>'));
    each.filter_map(|(tag, rest)| {
        let id = tag.split_once("id=\"")?.1;
        let (field, _) = id.split_once(&end)?;
        Some((field.to_owned(), rest.split('<').next()?.to_owned()))
    })
    .collect()
}

/// The sentences beside the fields of a refused form, by field.
fn errors(answer: &Answer) -> BTreeMap<String, String> {
    said_of_fields(&answer.text, "error")
}

fn fields_of(answer: &Answer) -> Vec<String> {
    errors(answer).into_keys().collect()
}

async fn count(app: &TestApp, table: &str) -> i64 {
    let database = app.database.connect_as_system().await;
    database.query_one(&format!("SELECT count(*) FROM {table}"), &[]).await.expect("a count").get(0)
}

/// What stands in a field of a page.
fn value_of<'a>(page: &'a str, field: &str) -> &'a str {
    let input = page.split_once(&format!("id=\"{field}\"")).map_or("", |(_, rest)| rest);
    input.split_once("value=\"").and_then(|(_, rest)| rest.split('"').next()).unwrap_or_default()
}

/// What is chosen in a list of a page.
fn choice_of<'a>(page: &'a str, field: &str) -> &'a str {
    let list = page.split_once(&format!("id=\"{field}\"")).and_then(|(_, rest)| rest.split("</select>").next());
    let chosen = list.and_then(|list| list.split("<option ").find(|option| option.contains("selected")));
    chosen.and_then(|option| option.split_once("value=\"")?.1.split('"').next()).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_form_of_a_new_key_shows_every_error_at_once() {
    let app = TestApp::start().await;
    let member = app.member(&owner("acme")).await;
    let words: Vec<String> = (0..101).map(|number| format!("word.{number}")).collect();
    let (too_many, long) = (words.join(" "), "x".repeat(300));
    let bad = [
        ("name", ""),
        ("project", "nowhere"),
        ("environment", "production"),
        ("owner", &long),
        ("permissions", &too_many),
        ("metadata", "[]"),
        ("expires_at", PAST),
    ];
    let refused = member.form("/t/acme/keys/new", &bad).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    let all = ["environment", "expires_at", "metadata", "name", "owner", "permissions", "project"];
    assert_eq!(fields_of(&refused), all);
    assert_eq!(errors(&refused)["project"], "There is no such project here.");
    // What only the verb refuses comes at once too, and beside its field.
    let good = [("name", "a key"), ("environment", "test")];
    let of_verb = [("project", "nowhere"), ("permissions", &too_many), ("expires_at", PAST)];
    let refused = member.form("/t/acme/keys/new", &[good.as_slice(), of_verb.as_slice()].concat()).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(fields_of(&refused), ["expires_at", "permissions", "project"]);
    let refused = member.form("/t/acme/keys/new", &[good.as_slice(), &[("project", "nowhere")]].concat()).await;
    assert_eq!((refused.status, fields_of(&refused)), (StatusCode::UNPROCESSABLE_ENTITY, vec!["project".to_owned()]));
    assert_eq!(value_of(&refused.text, "name"), "a key");
    assert_eq!(count(&app, "keys").await, 0);
}

/// Another tenant's project is as little there as one that nobody has.
#[tokio::test(flavor = "multi_thread")]
async fn a_form_tells_nothing_of_another_tenants_projects() {
    let app = TestApp::start().await;
    app.found("other").await;
    let made = app.everything_in("other").await.post("/api/v1/projects", &json!({ "slug": "theirs" })).await;
    assert_eq!(made.status, StatusCode::CREATED);
    let member = app.member(&owner("acme")).await;
    for form in ["/t/acme/keys/new", "/t/acme/tokens/new"] {
        let fields = |project| [("name", ""), ("project", project), ("environment", "test")];
        let (theirs, nobodys) =
            (member.form(form, &fields("theirs")).await, member.form(form, &fields("nobodys")).await);
        assert_eq!((theirs.status, errors(&theirs)), (nobodys.status, errors(&nobodys)), "{form}");
    }
    let fields = [("name", ""), ("slug", "theirs")];
    assert_eq!(fields_of(&member.form("/t/acme/projects/new", &fields).await), ["name"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_form_that_changes_a_key_shows_every_error_at_once() {
    let app = TestApp::start().await;
    let (service, member) = (app.everything_in("acme").await, app.member(&owner("acme")).await);
    let (id, _) = service.create_key(&json!({ "name": "a key" })).await;
    let edit = format!("/t/acme/keys/{id}/edit");
    let fields = [("name", ""), ("metadata", "{"), ("expires_at", PAST), ("seen", "2020-01-01T00:00:00Z")];
    let refused = member.form(&edit, &fields).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(fields_of(&refused), ["expires_at", "metadata", "name"]);
    assert!(refused.text.contains("Somebody changed this key since you opened it"));
    assert_eq!(service.get(&format!("/api/v1/keys/{id}")).await.json()["name"], "a key");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_form_of_a_new_service_token_shows_every_error_at_once() {
    let app = TestApp::start().await;
    let member = app.member(&owner("acme")).await;
    let fields = [("name", ""), ("project", "nowhere"), ("environment", "production"), ("expires_at", PAST)];
    let refused = member.form("/t/acme/tokens/new", &fields).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(fields_of(&refused), ["environment", "expires_at", "name", "permissions", "project"]);
    let fields = [("name", "a token"), ("expires_at", PAST)];
    let refused = member.form("/t/acme/tokens/new", &fields).await;
    assert_eq!(fields_of(&refused), ["expires_at", "permissions"]);
    assert_eq!(count(&app, "service_tokens").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_forms_of_projects_show_every_error_at_once() {
    let app = TestApp::start().await;
    let member = app.member(&owner("acme")).await;
    let refused = member.form("/t/acme/projects/new", &[("name", ""), ("slug", "default")]).await;
    assert_eq!(fields_of(&refused), ["name", "slug"]);
    assert!(errors(&refused)["slug"].contains("exists already"));
    let fields = [("name", ""), ("default_grace_seconds", "3600"), ("max_grace_seconds", "900")];
    let refused = member.form("/t/acme/projects/default/edit", &fields).await;
    assert_eq!(fields_of(&refused), ["default_grace_seconds", "name"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sign_up_shows_a_wrong_code_with_every_other_error() {
    let app = TestApp::start_empty().await;
    let code = tronch_engine::tenants::renew_setup_code(&app.engine).await.expect("a database").expect("a code");
    let anonymous = app.anonymous();
    for (code, fields) in [
        ("AAAAAA-AAAAAA-AAAAAA-AAAAAA", vec!["email", "name", "password", "setup_code", "tenant_name", "tenant_slug"]),
        (code.expose(), vec!["email", "name", "password", "tenant_name", "tenant_slug"]),
    ] {
        let bad = [("email", "nobody"), ("password", "short"), ("tenant_slug", "Not A Slug")];
        let refused = anonymous.form("/sign-up", &[[("setup_code", code)].as_slice(), bad.as_slice()].concat()).await;
        assert_eq!(
            (refused.status.as_u16(), fields_of(&refused)),
            (422, fields.iter().map(ToString::to_string).collect())
        );
    }
    assert_eq!(count(&app, "users").await, 0);
}

/// The address on the page of a secret where another one is made.
fn another(page: &str) -> String {
    let href =
        page.split("href=\"").find(|rest| rest.split("</a>").next().is_some_and(|it| it.contains("Create another")));
    let href = href.and_then(|rest| rest.split('"').next()).expect("a link to another");
    href.replace("&amp;", "&")
}

#[tokio::test(flavor = "multi_thread")]
async fn another_key_begins_with_the_settings_of_the_one_just_made() {
    let app = TestApp::start().await;
    let (service, member) = (app.everything_in("acme").await, app.member(&owner("acme")).await);
    service.post("/api/v1/projects", &json!({ "slug": "payments" })).await;
    let fields = [
        ("name", "the first of two"),
        ("project", "payments"),
        ("environment", "live"),
        ("owner", "Zoë & co"),
        ("permissions", "invoices.read invoices.*"),
        ("metadata", "{\"plan\":\"pro\"}"),
    ];
    let made = member.form("/t/acme/keys/new", &fields).await;
    let address = another(&made.text);
    let form = member.get(&address).await.text;
    assert_eq!((choice_of(&form, "project"), choice_of(&form, "environment")), ("payments", "live"));
    assert_eq!(value_of(&form, "owner"), "Zoë &amp; co");
    assert!(form.contains("invoices.read invoices.*"), "{form}");
    assert_eq!(value_of(&form, "name"), "");
    assert!(!form.contains("plan&quot;:&quot;pro") && !address.contains("first") && !address.contains("tronch_sk"));
    // A key that somebody took for an owner goes no further than its handle.
    let secret = service.create_key(&json!({ "name": "mistaken" })).await.1;
    let fields = [("name", "x"), ("environment", "test"), ("owner", secret.as_str()), ("permissions", secret.as_str())];
    let address = another(&member.form("/t/acme/keys/new", &fields).await.text);
    assert!(!address.contains(&secret) && address.contains(&secret[..26]), "{address}");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_service_token_begins_with_the_permissions_and_limits_of_the_one_just_made() {
    let app = TestApp::start().await;
    let (service, member) = (app.everything_in("acme").await, app.member(&owner("acme")).await);
    service.post("/api/v1/projects", &json!({ "slug": "payments" })).await;
    let fields = [
        ("name", "the first"),
        ("permissions", "keys.read"),
        ("permissions", "usage.read"),
        ("project", "payments"),
        ("environment", "live"),
    ];
    let form = member.get(&another(&member.form("/t/acme/tokens/new", &fields).await.text)).await.text;
    assert_eq!((choice_of(&form, "project"), choice_of(&form, "environment")), ("payments", "live"));
    let ticked: Vec<&str> = form
        .split("<input ")
        .filter(|input| {
            input.contains("name=\"permissions\"") && input.split('>').next().is_some_and(|it| it.contains("checked"))
        })
        .filter_map(|input| input.split_once("value=\"")?.1.split('"').next())
        .collect();
    assert_eq!(ticked, ["keys.read", "usage.read"]);
}

/// Keys whose past closes some of their forms, by what they are.
async fn closed(app: &TestApp, service: &Visitor) -> [(String, &'static str, Option<String>); 3] {
    let revoked = service.create_key(&json!({ "name": "revoked" })).await.0;
    service.delete(&format!("/api/v1/keys/{revoked}")).await;
    let rotated = service.create_key(&json!({ "name": "rotated" })).await.0;
    let rotation = service.post(&format!("/api/v1/keys/{rotated}/rotate"), &json!({ "grace_seconds": 0 })).await.json();
    let successor = rotation["key"]["id"].as_str().map(ToOwned::to_owned);
    let expired = service.create_key(&json!({ "name": "expired", "expires_at": "2999-01-01T00:00:00Z" })).await.0;
    let database = app.database.connect_as_system().await;
    let sql = "UPDATE keys SET expires_at = now() - interval '1 hour' WHERE name = 'expired'";
    assert_eq!(database.execute(sql, &[]).await.expect("an update"), 1);
    [(revoked, "is revoked", None), (rotated, "rotated already", successor), (expired, "has expired", None)]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_that_could_only_be_refused_is_a_sentence_that_says_why() {
    let app = TestApp::start().await;
    let (service, member) = (app.everything_in("acme").await, app.member(&owner("acme")).await);
    for (id, why, successor) in closed(&app, &service).await {
        let here = format!("/t/acme/keys/{id}");
        let link = successor.map(|successor| format!("href=\"/t/acme/keys/{successor}\""));
        let page = member.get(&format!("{here}/rotate")).await;
        assert_eq!(page.status, StatusCode::OK);
        assert!(page.text.contains(why) && !page.text.contains("name=\"grace\""), "{why}: {}", page.text);
        assert!(link.as_ref().is_none_or(|link| page.text.contains(link)), "{why}");
        // Sent all the same, it is refused and says so too.
        let sent = member.form(&format!("{here}/rotate"), &[("grace", "")]).await;
        assert!(sent.status == StatusCode::CONFLICT && sent.text.contains(why), "{why}: {}", sent.status);
        let edit = member.get(&format!("{here}/edit")).await.text;
        assert!(edit.contains("which is final") && !edit.contains("name=\"name\""), "{why}");
        assert!(link.is_none_or(|link| edit.contains(&link)), "{why}");
        // What has ended can still be revoked; what is revoked is.
        let revoke = member.get(&format!("{here}/revoke")).await.text;
        let is_revoked = why == "is revoked";
        assert_eq!(revoke.contains("revoked already"), is_revoked, "{why}");
        assert_eq!(revoke.contains("name=\"reason\""), !is_revoked, "{why}");
    }
    let (running, _) = service.create_key(&json!({ "name": "running" })).await;
    service.post(&format!("/api/v1/keys/{running}/rotate"), &json!({ "grace_seconds": 3600 })).await;
    assert!(member.get(&format!("/t/acme/keys/{running}/edit")).await.text.contains("name=\"name\""));
    let viewer = app.member(&app.add_member("acme", tronch_core::Role::Viewer).await).await;
    assert_eq!(viewer.get(&format!("/t/acme/keys/{running}/rotate")).await.status, StatusCode::FORBIDDEN);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_time_is_asked_for_in_the_same_way() {
    let app = TestApp::start().await;
    let (service, member) = (app.everything_in("acme").await, app.member(&owner("acme")).await);
    let body = json!({ "name": "a key", "expires_at": "2999-01-31T12:00:05Z" });
    let (id, _) = service.create_key(&body).await;
    let edit = format!("/t/acme/keys/{id}/edit");
    for (page, field) in [
        ("/t/acme/keys/new", "expires_at"),
        (edit.as_str(), "expires_at"),
        (&format!("/t/acme/keys/{id}/rotate"), "grace_until"),
        ("/t/acme/tokens/new", "expires_at"),
        ("/t/acme/audit", "from"),
        ("/t/acme/audit", "until"),
    ] {
        let text = member.get(page).await.text;
        let input = text.split("<input ").find(|input| input.contains(&format!("id=\"{field}\""))).expect("a field");
        assert!(input.contains("type=\"datetime-local\"") && input.contains("step=\"any\""), "{page}: {input}");
        assert!(said_of_fields(&text, "hint")[field].starts_with("A day and a time."), "{page}");
        let label = text.split_once(&format!("for=\"{field}\">")).map_or("", |(_, rest)| rest);
        assert!(label.split("</label>").next().is_some_and(|label| label.contains("(UTC)")), "{page}");
    }
    assert_eq!(value_of(&member.get(&edit).await.text, "expires_at"), "2999-01-31T12:00:05");
    // A day in an address of the audit log is the whole day.
    let audit = member.get("/t/acme/audit?from=2027-01-30&until=2027-01-31").await.text;
    assert_eq!((value_of(&audit, "from"), value_of(&audit, "until")), ("2027-01-30T00:00:00", "2027-02-01T00:00:00"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_says_how_much_of_it_is_shown() {
    let app = TestApp::start().await;
    let (service, member) = (app.everything_in("acme").await, app.member(&owner("acme")).await);
    let (id, secret) = service.create_key(&json!({ "name": "one" })).await;
    let page = member.get("/t/acme/keys").await.text;
    assert!(page.contains("<span>1 key</span>"), "{page}");
    for number in 0..25 {
        service.create_key(&json!({ "name": format!("key {number}") })).await;
    }
    let first = member.get("/t/acme/keys").await.text;
    assert!(first.contains("25 keys on this page, more follow"));
    let next = first.split("rel=\"next\" href=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a next page");
    let last = member.get(&next.replace("&amp;", "&")).await.text;
    assert!(last.contains("1 key on this page, which is the last"), "{last}");
    for (path, words) in [
        ("/t/acme/projects", "<span>1 project</span>"),
        ("/t/acme/tokens", "<span>1 service token</span>"),
        ("/t/acme/audit", "25 events on this page, more follow"),
        (&format!("/t/acme/audit?target={id}"), "<span>1 event</span>"),
    ] {
        assert!(member.get(path).await.text.contains(words), "{path}: {words}");
    }
    // What the button beside a handle copies is that handle.
    let copied = |page: &str, label: &str| {
        let before = page.split_once(&format!(" hidden>{label}<")).map_or("", |(before, _)| before);
        before.rsplit_once("value=\"").map_or(String::new(), |(_, value)| value.trim_end_matches('"').to_owned())
    };
    assert_eq!(copied(&page, "Copy the handle of one"), secret[..26]);
    let page = member.get(&format!("/t/acme/keys/{id}")).await.text;
    assert_eq!((copied(&page, "Copy the handle"), copied(&page, "Copy the id")), (secret[..26].to_owned(), id));
}
