//! Whatever a person may type comes back as it was typed: in answers, on pages, in the audit log and in searches.

use serde_json::{Value, json};

use crate::support::{TestApp, owner};

/// Each is a name, an owner, a value and a name in metadata, and a reason.
const TEXTS: [&str; 10] = [
    "Zoë's key № 7 — «großes ß», ligature ﬁ",
    "日本語のキー 🗝️👩‍👩‍👧",
    "<script>alert(1)</script> & \"quotes\" 'single' `back`",
    "</title></textarea></pre><script>alert(1)</script>",
    "=SUM(A1:A9)+cmd|' /C calc'!A0",
    "%41%00 100%_ \\n \\u0041 {{x}} ${y}",
    "'; DROP TABLE keys; --",
    "مفتاح العميل",
    "e\u{301} is not é",
    "../../etc/passwd?x=1&y=2#z",
];

/// What a browser shows of an attribute or a text.
fn unescaped(html: &str) -> String {
    let named = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#x27;", "'"), ("&#39;", "'"), ("&amp;", "&")];
    named.iter().fold(html.to_owned(), |text, (from, to)| text.replace(from, to))
}

#[tokio::test(flavor = "multi_thread")]
async fn special_characters_survive_unharmed() {
    let app = TestApp::start().await;
    let service = app.everything_in("acme").await;
    let member = app.member(&owner("acme")).await;
    for text in TEXTS {
        let body = json!({
            "name": text, "environment": "live", "owner": { "external_id": text }, "metadata": { text: [text] },
        });
        let (id, secret) = service.create_key(&body).await;
        let verdict = service.verify(&json!({ "key": secret })).await;
        for answer in [&service.get(&format!("/api/v1/keys/{id}")).await.json(), &verdict] {
            assert_eq!(answer["name"], text);
            assert_eq!(answer["owner"]["external_id"], text);
            assert_eq!(answer["metadata"], json!({ text: [text] }));
        }
        let changed = service.patch(&format!("/api/v1/keys/{id}"), &json!({ "owner": { "external_id": text } })).await;
        assert_eq!((changed.status.as_u16(), &changed.json()["owner"]["external_id"]), (200, &json!(text)));
        let query = form_urlencoded::Serializer::new(String::new()).append_pair("search", text).finish();
        let found = service.get(&format!("/api/v1/keys?{query}")).await.json();
        let names: Vec<&Value> = found["items"].as_array().expect("a list").iter().map(|key| &key["name"]).collect();
        assert_eq!(names, [text], "searched for");

        // The same through the forms: what was typed comes back in the form, in the list and in the history.
        let page = member.get(&format!("/t/acme/keys/{id}/edit")).await.text;
        assert!(unescaped(&page).contains(&format!("value=\"{text}\"")), "{text}: the form shows something else");
        let fields = [("name", text), ("owner", text), ("permissions", "a.b"), ("metadata", "{}"), ("expires_at", "")];
        assert_eq!(member.form(&format!("/t/acme/keys/{id}/edit"), &fields).await.status, 303, "{text}");
        assert_eq!(service.get(&format!("/api/v1/keys/{id}")).await.json()["name"], text);
        assert_eq!(member.form(&format!("/t/acme/keys/{id}/revoke"), &[("reason", text)]).await.status, 303, "{text}");
        let list = member.get("/t/acme/keys").await.text;
        assert!(unescaped(&list).contains(text), "{text} is not in the list");
        for page in [&list, &member.get(&format!("/t/acme/keys/{id}")).await.text, &page] {
            let raw = page.find("<script>alert").map(|at| &page[at.saturating_sub(80)..at]);
            assert_eq!(raw, None, "{text} is not escaped");
        }
        let events = service.get(&format!("/api/v1/audit-events?target_id={id}")).await.json();
        let revoked = &events["items"][0];
        assert_eq!((&revoked["action"], &revoked["reason"]), (&json!("revoke_key"), &json!(text)));
        assert_eq!(revoked["target"]["name"], text);
    }
}
