//! The table of keys as people use it: what each key's status says, how it is filtered, and several changed in one go.

use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio_postgres::Client;
use tronch_core::{KeyId, Role};

use crate::support::{Answer, PASSWORD, TestApp, Visitor, owner};

/// A key per status; each is made what it is through the door, and aged in the table.
struct Zoo {
    service: Visitor,
    database: Client,
}

impl Zoo {
    async fn make(app: &TestApp) -> Self {
        let zoo = Self { service: app.everything_in("acme").await, database: app.database.connect_as_system().await };
        let in_days = |days| tronch_core::format_timestamp(chrono::Utc::now() + chrono::TimeDelta::days(days));
        zoo.key("fine", &Value::Null).await;
        zoo.key("expiring", &json!(in_days(6))).await;
        zoo.key("expiring-later", &json!(in_days(8))).await;
        let rotating = zoo.key("rotating", &Value::Null).await;
        zoo.service.post(&format!("/api/v1/keys/{rotating}/rotate"), &json!({ "grace_seconds": 3600 })).await;
        let disabled = zoo.key("disabled", &Value::Null).await;
        zoo.service.post(&format!("/api/v1/keys/{disabled}/disable"), &json!({})).await;
        let revoked = zoo.key("revoked", &Value::Null).await;
        zoo.service.delete(&format!("/api/v1/keys/{revoked}")).await;
        zoo.key("never-used", &Value::Null).await;
        zoo.age("never-used", "created_at = now() - interval '8 days'").await;
        zoo.key("long-unused", &Value::Null).await;
        zoo.age("long-unused", "created_at = now() - interval '90 days', last_used_at = now() - interval '31 days'")
            .await;
        zoo.key("expired", &json!(in_days(1))).await;
        zoo.age("expired", "expires_at = now() - interval '1 hour'").await;
        let refused = zoo.key("refused", &Value::Null).await;
        zoo.count(&refused, "VALID", 30).await;
        zoo.count(&refused, "INSUFFICIENT_PERMISSIONS", 12).await;
        zoo
    }

    async fn key(&self, name: &str, expires_at: &Value) -> String {
        self.service.create_key(&json!({ "name": name, "expires_at": expires_at })).await.0
    }

    async fn age(&self, name: &str, change: &str) {
        let sql = format!("UPDATE keys SET {change} WHERE name = $1");
        assert_eq!(self.database.execute(&sql, &[&name]).await.expect("an update"), 1);
    }

    async fn count(&self, key: &str, code: &str, count: i64) {
        let key: KeyId = key.parse().expect("an id");
        let sql = format!(
            "INSERT INTO usage_hours (tenant_id, key_id, at, project_id, environment, code, count) \
             SELECT tenant_id, id, date_trunc('hour', now()), project_id, environment, '{code}', {count} \
             FROM keys WHERE id = '{}'",
            key.uuid()
        );
        assert_eq!(self.database.execute(&sql, &[]).await.expect("a count"), 1);
    }
}

/// The rows of the table: what stands between the tags, joined by blanks.
fn rows(page: &str) -> Vec<String> {
    let body = page.split_once("<tbody>").and_then(|(_, rest)| rest.split("</tbody>").next()).unwrap_or_default();
    body.split("<tr>").skip(1).map(text_of).collect()
}

fn text_of(html: &str) -> String {
    let mut text = String::new();
    for piece in html.split('<') {
        text.push_str(piece.split_once('>').map_or(piece, |(_, after)| after));
        text.push(' ');
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Where a change led, without what is said there of the one node that goes by it.
fn led_to(answer: &Answer) -> &str {
    let address = answer.header("location");
    address.split_once("&confirmed=1-1-").unwrap_or_else(|| panic!("nothing is confirmed: {address}")).0
}

#[tokio::test(flavor = "multi_thread")]
async fn each_key_says_how_it_is_and_what_to_do_about_it() {
    let app = TestApp::start().await;
    let _zoo = Zoo::make(&app).await;
    let page = app.member(&owner("acme")).await.get("/t/acme/keys").await.text;
    let rows = rows(&page);
    let row = |name: &str| {
        rows.iter()
            .find(|row| row.starts_with(&format!("{name} tronch_sk_")))
            .unwrap_or_else(|| panic!("{name} in {rows:?}"))
    };
    for (name, words) in [
        ("fine", vec![" Active "]),
        ("expiring", vec![" Expires soon ", "Move its end"]),
        ("expiring-later", vec![" Active "]),
        ("disabled", vec![" Disabled ", "Refused until it is enabled. Enable"]),
        ("revoked", vec![" Revoked ", "Refused for ever."]),
        ("never-used", vec![" Unused ", "Never used. Revoke"]),
        ("long-unused", vec![" Unused ", "No call for 30 days. Revoke"]),
        ("expired", vec![" Expired ", "Refused since its end. Create another"]),
        ("refused", vec![" Elevated refusals ", "12 of 42 calls in 24 hours refused. See why"]),
    ] {
        for word in words {
            assert!(row(name).contains(word), "{word} in {}", row(name));
        }
    }
    let rotating = rows.iter().find(|row| row.contains("Replaced; works until")).expect("a rotating key");
    assert!(rotating.contains(" Rotating ") && rotating.starts_with("rotating "), "{rotating}");
    // The bars say their numbers in words too.
    assert!(page.contains("42 calls in 24 hours, 12 of them refused"));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_status_can_be_filtered_by() {
    let app = TestApp::start().await;
    let _zoo = Zoo::make(&app).await;
    let member = app.member(&owner("acme")).await;
    for (status, expected) in [
        ("expires-soon", vec!["expiring"]),
        ("rotating", vec!["rotating"]),
        ("unused", vec!["long-unused", "never-used"]),
        ("disabled", vec!["disabled"]),
        ("revoked", vec!["revoked"]),
        ("expired", vec!["expired"]),
    ] {
        let page = member.get(&format!("/t/acme/keys?status={status}&sort=name")).await.text;
        let names: Vec<String> =
            rows(&page).iter().map(|row| row.split(' ').next().unwrap_or_default().to_owned()).collect();
        assert_eq!(names, expected, "{status}");
    }
    assert!(member.get("/t/acme/keys?status=sleeping").await.text.contains("one of the list"));
}

#[tokio::test(flavor = "multi_thread")]
async fn several_keys_are_changed_in_one_go_once_the_words_are_typed() {
    let app = TestApp::start().await;
    let (service, member) = (app.everything_in("acme").await, app.member(&owner("acme")).await);
    let database = app.database.connect_as_system().await;
    let mut ids = Vec::new();
    for number in 0..3 {
        let body = json!({ "name": format!("key {number}"), "owner": { "external_id": format!("cus_{number}") } });
        ids.push(service.create_key(&body).await.0);
    }
    let already = service.create_key(&json!({ "name": "already revoked" })).await.0;
    service.delete(&format!("/api/v1/keys/{already}")).await;
    ids.push(already);
    let chosen: String = ids.iter().map(|id| format!("&key={id}")).collect();
    let page = member.get(&format!("/t/acme/keys/bulk?action=revoke{chosen}")).await;
    assert_eq!(page.status, StatusCode::OK);
    for words in
        ["Revoke 4 keys", "issued to 3 owners", "One is revoked already", "revoke 4 keys", "This cannot be undone"]
    {
        assert!(page.text.contains(words), "{words}");
    }
    let form = |action: &'static str, confirmation: &'static str| {
        let mut fields =
            vec![("action", action), ("confirmation", confirmation), ("reason", "a leak"), ("password", PASSWORD)];
        fields.extend(ids.iter().map(|id| ("key", id.as_str())));
        fields
    };
    let states = async || {
        let mut states = Vec::new();
        for id in &ids {
            states
                .push(service.get(&format!("/api/v1/keys/{id}")).await.json()["state"].as_str().map(ToOwned::to_owned));
        }
        states.into_iter().flatten().collect::<Vec<_>>()
    };
    for wrong in ["", "revoke", "revoke 3 keys", "disable 4 keys"] {
        let refused = member.form("/t/acme/keys/bulk", &form("revoke", wrong)).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{wrong}");
        assert!(
            refused.text.contains("so that nothing happens by mistake") && refused.text.contains("value=\"a leak\"")
        );
        assert!(ids.iter().all(|id| refused.text.contains(id)), "the same keys are still chosen");
    }
    // Nor does somebody who found the browser open. What can be undone asks for no password.
    for wrong in ["", "not my password"] {
        let mut fields = form("revoke", "revoke 4 keys");
        fields[3] = ("password", wrong);
        let refused = member.form("/t/acme/keys/bulk", &fields).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{wrong}");
        assert!(refused.text.contains("password-error"), "{}", refused.text);
    }
    assert!(!member.get(&format!("/t/acme/keys/bulk?action=disable{chosen}")).await.text.contains("type=\"password\""));
    assert_eq!(states().await, ["active", "active", "active", "revoked"]);
    for (action, words, to, state) in [
        ("disable", "disable 4 keys", "disabled-3", "disabled"),
        ("disable", "disable 4 keys", "disabled-0", "disabled"),
        ("enable", "enable 4 keys", "enabled-3", "active"),
        ("revoke", "Revoke 4 Keys", "revoked-3", "revoked"),
    ] {
        let mut fields = form(action, words);
        fields.retain(|(name, _)| *name != "password" || action == "revoke");
        let done = member.form("/t/acme/keys/bulk", &fields).await;
        assert_eq!(led_to(&done), format!("/t/acme/keys?did={to}"), "{}", done.text);
        assert_eq!(states().await[..3], vec![state; 3], "{action}");
    }
    let said = member.get("/t/acme/keys?did=revoked-3&confirmed=1-1-38").await.text;
    assert!(said.contains("3 keys were revoked.") && said.contains("Confirmed by 1 of 1 node in 38 ms."), "{said}");
    let events: i64 = database
        .query_one("SELECT count(*) FROM audit_events WHERE action = 'revoke_key' AND reason = 'a leak'", &[])
        .await
        .expect("a count")
        .get(0);
    assert_eq!(events, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn several_at_once_are_all_or_none_and_only_for_those_who_may() {
    let app = TestApp::start().await;
    app.found("other").await;
    let service = app.everything_in("acme").await;
    let (mine, _) = service.create_key(&json!({ "name": "mine" })).await;
    let (theirs, _) = app.everything_in("other").await.create_key(&json!({ "name": "theirs" })).await;
    let form = [
        ("action", "revoke"),
        ("confirmation", "revoke 2 keys"),
        ("key", mine.as_str()),
        ("key", theirs.as_str()),
        ("password", PASSWORD),
    ];
    let member = app.member(&owner("acme")).await;
    assert_eq!(member.form("/t/acme/keys/bulk", &form).await.status, StatusCode::NOT_FOUND);
    assert_eq!(
        member.get(&format!("/t/acme/keys/bulk?action=revoke&key={mine}&key={theirs}")).await.status,
        StatusCode::NOT_FOUND
    );
    assert_eq!(service.get(&format!("/api/v1/keys/{mine}")).await.json()["state"], "active");
    let viewer = app.member(&app.add_member("acme", Role::Viewer).await).await;
    let alone = [("action", "revoke"), ("confirmation", "revoke 1 key"), ("key", mine.as_str())];
    assert_eq!(viewer.form("/t/acme/keys/bulk", &alone).await.status, StatusCode::FORBIDDEN);
    assert!(!viewer.get("/t/acme/keys").await.text.contains("type=\"checkbox\" name=\"key\""));
    let many: Vec<(&str, &str)> = [("action", "disable"), ("confirmation", "disable 101 keys")]
        .into_iter()
        .chain(std::iter::repeat_n(("key", mine.as_str()), 101))
        .collect();
    assert_eq!(member.form("/t/acme/keys/bulk", &many).await.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(member.get("/t/acme/keys/bulk").await.text.matches("No key is chosen").count(), 1);
}

/// An expired key that could be disabled, given another end and enabled would be back.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_clock_has_ended_can_only_be_revoked() {
    let app = TestApp::start().await;
    let zoo = Zoo::make(&app).await;
    let member = app.member(&owner("acme")).await;
    let list = zoo.service.get("/api/v1/keys?state=expired").await.json();
    let expired = list["items"][0]["id"].as_str().expect("an id").to_owned();
    let rotated = zoo.key("rotated", &Value::Null).await;
    zoo.service.post(&format!("/api/v1/keys/{rotated}/rotate"), &json!({ "grace_seconds": 0 })).await;
    for id in [&expired, &rotated] {
        let path = format!("/api/v1/keys/{id}");
        let later = json!({ "expires_at": "2999-01-01T00:00:00Z" });
        for refused in [
            zoo.service.patch(&path, &later).await,
            zoo.service.post(&format!("{path}/disable"), &json!({})).await,
            zoo.service.post(&format!("{path}/enable"), &json!({})).await,
        ] {
            assert_eq!(refused.refusal().1, "key_not_active");
        }
        let page = member.get(&format!("/t/acme/keys/{id}")).await.text;
        assert!(!page.contains("/disable\"") && !page.contains("/edit\"") && page.contains("/revoke\""), "{id}");
        let form = [("action", "disable"), ("confirmation", "disable 1 key"), ("key", id.as_str())];
        let left = member.form("/t/acme/keys/bulk", &form).await;
        assert_eq!(led_to(&left), "/t/acme/keys?did=disabled-0");
        assert_eq!(zoo.service.get(&path).await.json()["state"], "expired");
    }
    let back = "/t/acme/keys?status=expired&sort=name";
    let form = [
        ("action", "revoke"),
        ("confirmation", "revoke 1 key"),
        ("key", expired.as_str()),
        ("back", back),
        ("password", PASSWORD),
    ];
    let revoked = member.form("/t/acme/keys/bulk", &form).await;
    assert_eq!(led_to(&revoked), "/t/acme/keys?status=expired&sort=name&did=revoked-1");
    for elsewhere in ["https://evil.example/", "/t/other/keys", "/t/acme/keys/../../other", "/t/acme/keysx"] {
        let form =
            [("action", "enable"), ("confirmation", "enable 1 key"), ("key", expired.as_str()), ("back", elsewhere)];
        let done = member.form("/t/acme/keys/bulk", &form).await;
        assert_eq!(led_to(&done), "/t/acme/keys?did=enabled-0", "{elsewhere}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_tab_does_not_undo_what_the_first_one_changed() {
    let app = TestApp::start().await;
    let (service, member) = (app.everything_in("acme").await, app.member(&owner("acme")).await);
    let (id, _) = service.create_key(&json!({ "name": "a key" })).await;
    let edit = format!("/t/acme/keys/{id}/edit");
    let page = member.get(&edit).await.text;
    let seen = page.split_once("name=\"seen\" value=\"").and_then(|(_, rest)| rest.split('"').next()).expect("a time");
    let form = |name: &'static str| [("seen", seen), ("name", name), ("metadata", "{}")];
    assert_eq!(member.form(&edit, &form("first")).await.status, StatusCode::SEE_OTHER);
    let stale = member.form(&edit, &form("second")).await;
    assert_eq!(stale.status, StatusCode::CONFLICT);
    assert!(stale.text.contains("changed this key since you opened it") && stale.text.contains("value=\"second\""));
    assert_eq!(service.get(&format!("/api/v1/keys/{id}")).await.json()["name"], "first");
}
