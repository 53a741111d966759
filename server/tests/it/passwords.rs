//! Passwords as they are typed: nothing of them is changed, none is forgotten by the clock, and none is what anybody would try.

use reqwest::StatusCode;
use tronch_core::{EmailAddress, Role};
use tronch_engine::Caller;
use tronch_engine::members::{self, Password};
use zeroize::Zeroizing;

use crate::support::{PASSWORD, TestApp, Visitor, owner};

async fn sign_in(visitor: &Visitor, password: &str) -> StatusCode {
    visitor.form("/sign-in", &[("email", &owner("acme")), ("password", password)]).await.status
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_what_was_typed_byte_for_byte_for_ever() {
    let app = TestApp::start().await;
    let member = app.member(&owner("acme")).await;
    let mut current = PASSWORD.to_owned();
    // Long, beyond ASCII, with spaces around, with line ends as browsers and programs send them.
    let long = "\u{e4}\u{1f5dd} Tr0nch-Ende ".repeat(50);
    for new in [" spaces at both ends ", "line\r\nends as they are", &long[..long.floor_char_boundary(1020)]] {
        let changed = member.form("/account/password", &[("password", &current), ("new_password", new)]).await;
        assert!(changed.header("location").starts_with("/account?did=password"), "{new:?}: {}", changed.text);
        current = new.to_owned();
        // Each process counts wrong tries for itself.
        let node = app.beside().await;
        let other = node.anonymous();
        let almost = [
            new.trim().to_owned(),
            new.to_uppercase(),
            new.replace("\r\n", "\n"),
            new[..new.floor_char_boundary(72)].to_owned(),
            format!("{new}x"),
        ];
        for wrong in almost.iter().filter(|wrong| *wrong != new) {
            assert_eq!(sign_in(&other, wrong).await, StatusCode::UNPROCESSABLE_ENTITY, "{wrong:?}");
        }
        assert_eq!(sign_in(&other, new).await, StatusCode::SEE_OTHER, "{new:?}");
    }
    // The command line and the form agree.
    let password = Zeroizing::new("line\r\nends as they are".to_owned());
    let email = EmailAddress::parse(&owner("acme")).expect("an address");
    let parsed = Password::parse(password.clone(), &[]).expect("a password");
    members::reset_password(&app.engine, &Caller::operator(), &email, parsed).await.expect("reset");
    assert_eq!(sign_in(&app.anonymous(), &password).await, StatusCode::SEE_OTHER);
    // Nor does it go bad.
    let database = app.database.connect_as_system().await;
    let older =
        "UPDATE users SET password_changed_at = now() - interval '20 years', created_at = now() - interval '20 years'";
    database.execute(older, &[]).await.expect("older");
    assert_eq!(sign_in(&app.anonymous(), &password).await, StatusCode::SEE_OTHER);
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_for_passwords_hide_them_and_leave_managers_to_fill_them() {
    let app = TestApp::start().await;
    let member = app.member(&owner("acme")).await;
    let viewer = app.add_member("acme", Role::Viewer).await;
    let list = member.get("/t/acme/members").await.text;
    // An address may be broken before its sign.
    let (name, _) = viewer.split_once('@').expect("an address");
    let row = list.split("<tr").find(|row| row.contains(&format!(">{name}<"))).expect("a row");
    let other = row.split("href=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a link").to_owned();
    let mut fields = 0;
    for (who, path) in [
        (&app.anonymous(), "/sign-in"),
        (&member, "/account"),
        (&member, "/t/acme/settings"),
        (&member, "/t/acme/members/invite"),
        (&member, &other),
    ] {
        let page = who.get(path).await.text;
        assert!(!page.contains("onpaste"), "{path}");
        for input in page.split("<input").skip(1).map(|rest| rest.split('>').next().unwrap_or_default()) {
            let is_password = input.contains("name=\"password\"") || input.contains("name=\"new_password\"");
            assert_eq!(input.contains("type=\"password\""), is_password, "{path}: {input}");
            if is_password {
                fields += 1;
                let kind = if input.contains("new_password") { "new-password" } else { "current-password" };
                assert!(input.contains(&format!("autocomplete=\"{kind}\"")), "{path}: {input}");
                assert!(!input.contains("readonly") && !input.contains("maxlength"), "{path}: {input}");
            }
        }
    }
    assert!(fields >= 6, "only {fields} fields were looked at");
    // Nobody is asked for a hint or a question, so none is kept.
    let database = app.database.connect_as_system().await;
    let columns = "SELECT column_name::text FROM information_schema.columns WHERE table_name = 'users' ORDER BY 1";
    let columns: Vec<String> =
        database.query(columns, &[]).await.expect("columns").iter().map(|row| row.get(0)).collect();
    assert_eq!(
        columns,
        [
            "created_at",
            "email",
            "email_normalized",
            "failed_sign_ins",
            "id",
            "last_failed_at",
            "name",
            "password_changed_at",
            "password_phc"
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nobodys_password_is_their_address_or_the_products_name() {
    let app = TestApp::start().await;
    let boss = app.member(&owner("acme")).await;
    let invited =
        boss.form("/t/acme/members/invite", &[("email", "leopold.bloom@example.com"), ("role", "viewer")]).await;
    let from = invited.text.find("/invitations/").expect("a link");
    let path: String = invited.text[from..].chars().take_while(|one| !matches!(one, '<' | '"')).collect();
    for password in ["leopold.bloom@example.com", "leopold.bloom1", "tronch api keys", "tronchtronch"] {
        let refused = app.anonymous().form(&path, &[("name", "Poldy"), ("password", password)]).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{password}: {}", refused.text);
        assert!(refused.text.contains("first that are guessed"), "{password}: {}", refused.text);
    }
}
