//! What callers of the product itself are held to: who tries passwords, and who asks the API too often.

use serde_json::json;

use crate::support::{TestApp, owner};

#[tokio::test(flavor = "multi_thread")]
async fn whoever_tries_passwords_is_held_off_by_account_whether_or_not_there_is_one() {
    let app = TestApp::start().await;
    app.found("acme").await;
    let someone = app.anonymous();
    let try_it = async |email: &str, password: &str| {
        let fields = [("email", email), ("password", password), ("next", "")];
        let answer = someone.form("/sign-in", &fields).await;
        let (status, text) = (answer.status.as_u16(), answer.text.to_lowercase());
        (status, text.contains("too many; try again in "), text.contains("password is wrong"))
    };
    for email in [owner("acme"), "nobody@acme.example".to_owned()] {
        for _ in 0..10 {
            assert_eq!(try_it(&email, "wrong horse battery").await, (422, false, true), "{email}");
        }
        let (status, is_told, _) = try_it(&email, "wrong horse battery").await;
        assert_eq!((status, is_told), (429, true), "{email}");
    }
    // Who has signed in before has taken nothing; but whoever knows the password now waits as well.
    assert_eq!(try_it(&owner("acme"), "correct horse battery").await.0, 429);
    let others = app.anonymous();
    let fields = [("email", "other@acme.example"), ("password", "wrong horse battery"), ("next", "")];
    assert_eq!(others.form("/sign-in", &fields).await.status.as_u16(), 422, "another account");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_asks_the_api_too_often_is_told_when_to_come_back() {
    let app = TestApp::start().await;
    let (service, other) = (app.everything_in("acme").await, app.everything_in("acme").await);
    let mut refused = None;
    for _ in 0..4_000 {
        let answer = service.get("/api/v1/projects").await;
        if answer.status.as_u16() != 200 {
            refused = Some(answer);
            break;
        }
    }
    let refused = refused.expect("a refusal");
    let problem = refused.json();
    assert_eq!(refused.status.as_u16(), 429);
    assert_eq!(problem["type"], "https://iana.org/assignments/http-problem-types#quota-exceeded");
    assert_eq!((&problem["code"], &problem["violated-policies"]), (&json!("too_many_requests"), &json!(["api"])));
    assert_eq!(refused.header("retry-after"), "1");
    assert_eq!(other.get("/api/v1/projects").await.status.as_u16(), 200, "another token");
    // Validation is not among it.
    let told = service.verify(&json!({ "key": "no key" })).await;
    assert_eq!(told["code"], "MALFORMED");
}
