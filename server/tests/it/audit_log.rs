//! The audit log as people look things up in it: by a name, an id or a key that was pasted, in words.

use reqwest::StatusCode;
use serde_json::json;
use tronch_core::Role;

use crate::support::{TestApp, Visitor, owner};

/// What the form leads to, as the lines of the page.
async fn found(member: &Visitor, fields: &[(&str, &str)]) -> Vec<String> {
    let led = member.form("/t/acme/audit/search", fields).await;
    assert_eq!(led.status, StatusCode::SEE_OTHER, "{}", led.text);
    let page = member.get(led.header("location")).await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.text);
    let lines = page.text.split("<summary>").skip(1).map(|rest| rest.split("</span>").next().unwrap_or_default());
    let without_tags = |line: &str| {
        let words = line.split('<').filter_map(|part| part.split_once('>').map(|(_, text)| text));
        words.collect::<String>().split_whitespace().collect::<Vec<_>>().join(" ")
    };
    lines.map(without_tags).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_are_found_by_names_ids_and_pasted_keys() {
    let app = TestApp::start().await;
    app.found("other").await;
    let service = app.everything_in("acme").await;
    let (id, secret) = service.create_key(&json!({ "name": "Billing 100%" })).await;
    service.create_key(&json!({ "name": "Billing 1000" })).await;
    service.delete(&format!("/api/v1/keys/{id}")).await;
    let admin = app.member(&app.add_member("acme", Role::Admin).await).await;
    let project = [("name", "Zoë's"), ("slug", "zoes")];
    assert_eq!(admin.form("/t/acme/projects/new", &project).await.status, StatusCode::SEE_OTHER);
    let member = app.member(&owner("acme")).await;
    let of_the_key = [
        "Service token a service revoked the key Billing 100%",
        "Service token a service created the key Billing 100%",
    ];
    let all_billing = [of_the_key[0], "Service token a service created the key Billing 1000", of_the_key[1]];
    for (about, expected) in [
        ("billing", &all_billing[..]),
        ("100%", &of_the_key[..]),
        (id.as_str(), &of_the_key[..]),
        (secret.as_str(), &of_the_key[..]),
        ("billing_100", &[][..]),
    ] {
        assert_eq!(found(&member, &[("target", about)]).await, expected, "{about}");
    }
    assert_eq!(
        found(&member, &[("actor", "ADMIN"), ("action", "create_project")]).await,
        ["admin created the project Zoë's"]
    );
    assert_eq!(found(&member, &[("actor", "ADMIN"), ("target", "zoë")]).await.len(), 1);
    assert_eq!(found(&member, &[("actor", "A SERVICE"), ("action", "revoke_key")]).await, of_the_key[..1]);
    let page = member.get("/t/acme/audit?action=revoke_key&actor=service").await.text;
    for words in
        ["<b class=\"truncate\">Key revoked</b>", "<b class=\"truncate\">service</b>", ">Wrong password given<"]
    {
        assert!(page.contains(words), "{words}: {page}");
    }
    // Nobody finds what is another's, by its key either.
    let others = app.member(&owner("other")).await;
    for about in ["billing", id.as_str(), secret.as_str()] {
        let led = others.form("/t/other/audit/search", &[("target", about)]).await;
        let page = others.get(led.header("location")).await.text;
        assert!(page.contains("No event matches"), "{about}: {page}");
    }
    let long = "x".repeat(300);
    let page = member.get(&format!("/t/acme/audit?actor={long}")).await;
    assert!(page.text.contains("characters") && page.status == StatusCode::OK, "{}", page.text);
}
