//! Mail: invitations and links to another password, through a real SMTP server; what waits while that takes nothing; and links that are
//! used twice, late, or by nobody they were for.

use reqwest::StatusCode;
use tronch_engine::mail::send_due_mails;

use crate::support::{PASSWORD, SmtpServer, TestApp, Visitor, owner};

const NEW: &str = "pferd batterie klammer";

/// The path of the link in a mail.
fn link(mail: &str, page: &str) -> String {
    let from = mail.find(page).unwrap_or_else(|| panic!("no link in {mail}"));
    mail[from..].chars().take_while(|one| !one.is_whitespace()).collect()
}

async fn send(app: &TestApp) -> usize {
    send_due_mails(&app.engine).await.expect("a database")
}

/// Everything that waits is due now.
async fn hurry(app: &TestApp, table: &str) {
    let database = app.database.connect_as_system().await;
    let sql = format!("UPDATE {table} SET mail_due_at = now() WHERE mail_due_at IS NOT NULL");
    database.execute(&sql, &[]).await.expect("due");
}

async fn sign_in(app: &TestApp, email: &str, password: &str) -> (StatusCode, Visitor) {
    let visitor = app.anonymous();
    let answer = visitor.form("/sign-in", &[("email", email), ("password", password)]).await;
    (answer.status, visitor)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invitation_goes_by_mail_and_waits_while_nobody_takes_it() {
    let smtp = SmtpServer::start().await;
    let app = TestApp::start_with_mail(&smtp.url).await;
    let boss = app.member(&owner("acme")).await;
    smtp.take_nothing(true);
    let invited = boss.form("/t/acme/members/invite", &[("email", "bob@example.com"), ("role", "developer")]).await;
    assert_eq!((invited.status, invited.header("location")), (StatusCode::SEE_OTHER, "/t/acme/members?did=invited"));
    assert!(boss.get("/t/acme/members").await.text.contains("<span>waits</span>"));
    assert_eq!((send(&app).await, smtp.take().len()), (0, 0));
    let page = boss.get("/t/acme/members").await.text;
    assert!(page.contains("not sent, 1 try") && page.contains("&lt;b&gt;maybe"), "{page}");
    // It is not tried at once again, and not forgotten.
    smtp.take_nothing(false);
    assert_eq!(send(&app).await, 0);
    hurry(&app, "invitations").await;
    assert_eq!((send(&app).await, send(&app).await), (1, 0));
    assert!(boss.get("/t/acme/members").await.text.contains("sent "));
    let mails = smtp.take();
    assert!(mails[0].contains("To: bob@example.com") && mails[0].contains("invites you to acme"), "{}", mails[0]);
    assert!(mails[0].contains(&format!("{}/invitations/", app.url)), "the link is whole");
    let path = link(&mails[0], "/invitations/");

    // Invited anew, only the newest mail takes anybody in.
    boss.form("/t/acme/members/invite", &[("email", "bob@example.com"), ("role", "viewer")]).await;
    assert_eq!(app.anonymous().get(&path).await.status, StatusCode::NOT_FOUND);
    assert_eq!(send(&app).await, 1);
    let path = link(&smtp.take()[0], "/invitations/");
    let joined = app.anonymous().form(&path, &[("name", "Bob"), ("password", PASSWORD)]).await;
    assert_eq!(joined.header("location"), "/t/acme/", "{}", joined.text);
    // Nothing in the database leads in.
    let database = app.database.connect_as_system().await;
    let stored: String = database
        .query_one("SELECT string_agg(to_jsonb(i)::text, '') FROM invitations i", &[])
        .await
        .expect("rows")
        .get(0);
    assert!(!stored.contains(path.rsplit('/').next().expect("a token")));
    // What was taken back is not sent.
    boss.form("/t/acme/members/invite", &[("email", "carol@example.com"), ("role", "viewer")]).await;
    database
        .execute("UPDATE invitations SET revoked_at = now() WHERE accepted_at IS NULL", &[])
        .await
        .expect("revoked");
    assert_eq!((send(&app).await, smtp.take().len()), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_forgot_a_password_chooses_another_once() {
    let smtp = SmtpServer::start().await;
    let app = TestApp::start_with_mail(&smtp.url).await;
    let (_, before) = sign_in(&app, &owner("acme"), PASSWORD).await;
    let ask = async |email: &str| app.anonymous().form("/forgot", &[("email", email)]).await;
    // The answer is the same for somebody and nobody.
    let (known, unknown) = (ask("OWNER@acme.example").await, ask("nobody@acme.example").await);
    assert_eq!((known.status, known.header("location")), (StatusCode::SEE_OTHER, "/forgot?did=asked"));
    assert_eq!((unknown.status, unknown.header("location")), (known.status, known.header("location")));
    assert_eq!(send(&app).await, 1);
    let mails = smtp.take();
    assert_eq!(mails.len(), 1);
    assert!(mails[0].contains("To: owner@acme.example"), "{}", mails[0]);
    let path = link(&mails[0], "/reset/");
    let page = app.anonymous().get(&path).await;
    assert_eq!((page.status, page.header("referrer-policy")), (StatusCode::OK, "same-origin"));
    // A second mail, and the first is used: the second is over, too.
    ask(&owner("acme")).await;
    assert_eq!(send(&app).await, 1);
    let second = link(&smtp.take()[0], "/reset/");

    let weak = app.anonymous().form(&path, &[("password", "passwordpassword")]).await;
    assert_eq!(weak.status, StatusCode::UNPROCESSABLE_ENTITY);
    // Nor their own address, which is known by the link alone.
    let own = app.anonymous().form(&path, &[("password", &owner("acme"))]).await;
    assert!(
        own.status == StatusCode::UNPROCESSABLE_ENTITY && own.text.contains("first that are guessed"),
        "{}",
        own.text
    );
    let done = app.anonymous().form(&path, &[("password", NEW)]).await;
    assert_eq!((done.status, done.header("location")), (StatusCode::SEE_OTHER, "/sign-in?did=reset"), "{}", done.text);
    assert!(before.get("/t/acme/").await.header("location").starts_with("/sign-in"), "all sessions have ended");
    assert_eq!(sign_in(&app, &owner("acme"), PASSWORD).await.0, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(sign_in(&app, &owner("acme"), NEW).await.0, StatusCode::SEE_OTHER);
    for used in [&path, &second, &"/reset/nonsense".to_owned()] {
        assert_eq!(app.anonymous().get(used).await.status, StatusCode::GONE, "{used}");
        let again = app.anonymous().form(used, &[("password", "noch ein anderes wort")]).await;
        assert_eq!(again.status, StatusCode::GONE);
    }
    assert_eq!(sign_in(&app, &owner("acme"), NEW).await.0, StatusCode::SEE_OTHER);
    let database = app.database.connect_as_system().await;
    let told = "SELECT count(*) FROM audit_events WHERE action = 'reset_password' AND actor_kind = 'member'";
    assert_eq!(database.query_one(told, &[]).await.expect("a count").get::<_, i64>(0), 1);
    let left = "SELECT count(*) FROM password_resets WHERE email_normalized LIKE 'nobody%'";
    assert_eq!(database.query_one(left, &[]).await.expect("a count").get::<_, i64>(0), 0);
    // Another password, chosen with the old one, ends links that are open.
    ask(&owner("acme")).await;
    assert_eq!(send(&app).await, 1);
    let open = link(&smtp.take()[0], "/reset/");
    let (_, signed_in) = sign_in(&app, &owner("acme"), NEW).await;
    let fields = [("password", NEW), ("new_password", "noch ein anderes wort")];
    let changed = signed_in.form("/account/password", &fields).await;
    assert_eq!(changed.status, StatusCode::SEE_OTHER, "{}", changed.text);
    assert_eq!(app.anonymous().get(&open).await.status, StatusCode::GONE);
    // A link of one kind is none of another.
    assert_eq!(app.anonymous().get(&path.replace("/reset/", "/invitations/")).await.status, StatusCode::NOT_FOUND);
    // And nobody floods a mailbox.
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(ask("somebody@acme.example").await.status);
    }
    assert_eq!(statuses[2..], [StatusCode::SEE_OTHER, StatusCode::TOO_MANY_REQUESTS]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_to_another_password_is_over_after_an_hour() {
    let smtp = SmtpServer::start().await;
    let app = TestApp::start_with_mail(&smtp.url).await;
    app.anonymous().form("/forgot", &[("email", &owner("acme"))]).await;
    send(&app).await;
    let path = link(&smtp.take()[0], "/reset/");
    let database = app.database.connect_as_system().await;
    let lasts = "SELECT (expires_at - created_at = interval '1 hour') FROM password_resets";
    assert!(database.query_one(lasts, &[]).await.expect("a row").get::<_, bool>(0));
    database.execute("UPDATE password_resets SET expires_at = now()", &[]).await.expect("older");
    assert_eq!(app.anonymous().form(&path, &[("password", NEW)]).await.status, StatusCode::GONE);
    // Without a mail server the page says who can help.
    let without = app.beside().await;
    assert!(without.anonymous().get("/forgot").await.text.contains("tronch member password"));
    let asked = without.anonymous().form("/forgot", &[("email", &owner("acme"))]).await;
    assert_eq!(asked.status, StatusCode::SERVICE_UNAVAILABLE);
}
