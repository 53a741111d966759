//! Each verdict and each reason of MALFORMED, asked for over HTTP.

use serde_json::{Value, json};

use crate::support::{TestApp, Visitor};

fn outcome(verdict: &Value) -> (bool, &str, Option<&str>) {
    let valid = verdict["valid"].as_bool().expect("a boolean");
    (valid, verdict["code"].as_str().expect("a code"), verdict["reason"].as_str())
}

fn in_two_seconds() -> String {
    tronch_core::format_timestamp(chrono::Utc::now() + chrono::TimeDelta::seconds(2))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_that_is_no_key_is_malformed_for_the_first_reason_that_holds() {
    let app = TestApp::start().await;
    let service = app.everything_in("acme").await;
    let (_, good) = service.create_key(&json!({ "name": "a key" })).await;
    let with = |position: usize, character: char| {
        let mut text: Vec<char> = good.chars().collect();
        text[position] = character;
        text.into_iter().collect::<String>()
    };
    let other_digit = |position: usize| if good.as_bytes()[position] == b'a' { 'b' } else { 'a' };
    let table = [
        ("".to_owned(), "length"),
        (good[..51].to_owned(), "length"),
        (format!("{good}x"), "length"),
        (format!(" {}", &good[..51]), "prefix"),
        (good.replace("tronch_sk_test_", "tronch_sk_prod_"), "prefix"),
        (good.replace("tronch_sk_test_", "TRONCH_SK_TEST_"), "prefix"),
        (with(17, '-'), "alphabet"),
        (with(50, '_'), "alphabet"),
        (with(15, '1'), "timestamp"),
        (format!("tronch_sk_test_00000000{}", &good[23..]), "timestamp"),
        (with(23, '+'), "random"),
        (with(30, ' '), "random"),
        (with(30, other_digit(30)), "gate"),
        (with(51, other_digit(51)), "gate"),
        // Two that hold at once: the earlier check speaks.
        (with(17, '-').replace("_sk_", "_xx_"), "prefix"),
        (format!("tronch_sk_test_1-{}", &good[17..]), "alphabet"),
    ];
    for (key, reason) in table {
        let verdict = service.verify(&json!({ "key": key })).await;
        assert_eq!(outcome(&verdict), (false, "MALFORMED", Some(reason)), "{key:?}");
        let fields: Vec<&String> = verdict.as_object().expect("an object").keys().collect();
        assert_eq!(fields, ["code", "reason", "request_id", "valid"]);
    }
    // A service token is no key either, and a NUL or a line break no reason to fail.
    for key in ["\0", "\n", "tronch_st_0VboyqoYFrrM6FEaRoweI4ARMldTOvbvSIa4d"] {
        assert_eq!(outcome(&service.verify(&json!({ "key": key })).await).1, "MALFORMED", "{key:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_verdict_is_reached() {
    let app = TestApp::start().await;
    let service = app.everything_in("acme").await;
    let (id, key) = service
        .create_key(&json!({
            "name": "Zoë's \"key\" <b>键</b> 🗝",
            "owner": { "external_id": "cus_42 🗝" },
            "metadata": { "plan": "pro", "nested": { "list": [1, "zwei", null, true] } },
            "permissions": ["invoices.read", "files.*"],
        }))
        .await;

    let verdict = service.verify(&json!({ "key": key, "environment": "test" })).await;
    let request_id = verdict["request_id"].clone();
    assert!(request_id.as_str().is_some_and(|id| id.starts_with("req_")));
    let handle = &key[15..26];
    assert_eq!(
        verdict,
        json!({
            "valid": true, "code": "VALID", "request_id": request_id, "key_id": id, "handle": handle,
            "name": "Zoë's \"key\" <b>键</b> 🗝", "tenant": "acme", "project": "default", "environment": "test",
            "owner": { "external_id": "cus_42 🗝" },
            "metadata": { "plan": "pro", "nested": { "list": [1, "zwei", null, true] } },
            "permissions": ["invoices.read", "files.*"], "expires_at": null, "limits": [], "rotation": null,
            "data_age_ms": 0,
        })
    );

    // Without a word about the environment, live is meant.
    let verdict = service.verify(&json!({ "key": key })).await;
    assert_eq!(outcome(&verdict), (false, "ENVIRONMENT_MISMATCH", None));
    assert_eq!(verdict["key_id"], id, "a key of ours is named whatever the verdict");

    for (query, code) in [
        ("invoices.read", "VALID"),
        ("files.anything AND invoices.read", "VALID"),
        ("admin OR (files.a AND invoices.read)", "VALID"),
        ("admin", "INSUFFICIENT_PERMISSIONS"),
        ("invoices.read AND admin", "INSUFFICIENT_PERMISSIONS"),
    ] {
        let verdict = service.verify(&json!({ "key": key, "environment": "test", "permissions": query })).await;
        assert_eq!(verdict["code"], code, "{query}");
    }

    let ask = json!({ "key": key, "environment": "test" });
    assert_eq!(service.post(&format!("/api/v1/keys/{id}/disable"), &json!({})).await.json()["state"], "disabled");
    assert_eq!(outcome(&service.verify(&ask).await), (false, "DISABLED", None));
    assert_eq!(service.post(&format!("/api/v1/keys/{id}/enable"), &json!({})).await.json()["state"], "active");
    assert_eq!(outcome(&service.verify(&ask).await), (true, "VALID", None));
    let revoked = service.revoke_because(&id, "leaked in a log").await;
    assert_eq!(revoked["revoke_reason"], "leaked in a log");
    assert_eq!(outcome(&service.verify(&ask).await), (false, "REVOKED", None));

    // Another tenant's key and one that was never issued differ in the request id alone.
    app.found("other").await;
    let other = app.everything_in("other").await;
    let (_, others_key) = other.create_key(&json!({ "name": "theirs" })).await;
    let mut theirs = service.verify(&json!({ "key": others_key })).await;
    let mut wrong_secret = service.verify(&json!({ "key": with_other_secret(&app, &others_key).await })).await;
    for verdict in [&mut theirs, &mut wrong_secret] {
        verdict["request_id"] = Value::Null;
        assert_eq!(*verdict, json!({ "valid": false, "code": "NOT_FOUND", "reason": null, "request_id": null }));
    }

    let (_, short) = service.create_key(&json!({ "name": "short", "expires_at": in_two_seconds() })).await;
    let ask = json!({ "key": short, "environment": "test" });
    assert_eq!(service.verify(&ask).await["code"], "VALID");
    tokio::time::sleep(std::time::Duration::from_millis(2100)).await;
    assert_eq!(outcome(&service.verify(&ask).await), (false, "EXPIRED", None));
}

impl Visitor {
    async fn revoke_because(&self, id: &str, reason: &str) -> Value {
        let body = json!({ "reason": reason });
        let request = self.request(reqwest::Method::DELETE, &format!("/api/v1/keys/{id}")).json(&body);
        Self::send(request).await.json()
    }
}

/// The same handle with another secret part and a gate that fits: no such key was ever issued.
async fn with_other_secret(app: &TestApp, key: &str) -> String {
    let digit = if key.as_bytes()[26] == b'a' { 'b' } else { 'a' };
    let forged = format!("{}{digit}{}", &key[..26], &key[27..48]);
    let gate = gate(&app.database.gate_key().await, &forged);
    format!("{forged}{gate}")
}

/// The gate, written a second time from its definition.
fn gate(gate_key: &[u8], before: &str) -> String {
    use hmac::{Hmac, KeyInit, Mac};
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(gate_key).expect("any length");
    mac.update(b"tronch-gate-v1");
    mac.update(before.as_bytes());
    let bytes = mac.finalize().into_bytes();
    let mut value = u64::from_be_bytes(bytes[..8].try_into().expect("eight bytes")) % 62_u64.pow(4);
    let alphabet: Vec<char> = ('0'..='9').chain('A'..='Z').chain('a'..='z').collect();
    let mut digits = ['0'; 4];
    for digit in digits.iter_mut().rev() {
        *digit = alphabet[(value % 62) as usize];
        value /= 62;
    }
    digits.iter().collect()
}
