//! People through the dashboard's door: who is invited, joins, is somebody else, goes; and what those see whose role has just gone.

use reqwest::StatusCode;
use tokio_postgres::Client;
use tronch_core::Role;

use crate::support::{Answer, PASSWORD, TestApp, Visitor, owner};

/// The link that the answer to an invitation shows, as a path.
fn link(app: &TestApp, answer: &Answer) -> String {
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    let from = answer.text.find("/invitations/").expect("a link");
    let path: String = answer.text[from..].chars().take_while(|one| !matches!(one, '<' | '"')).collect();
    assert!(answer.text.contains(&format!("{}{path}", app.url)), "the link is not whole");
    path
}

async fn invite(app: &TestApp, who: &Visitor, email: &str, role: &str) -> String {
    let fields = [("email", email), ("role", role), ("password", PASSWORD)];
    // To invite an owner takes the password once more, and it alone.
    let fields = if role == "owner" { &fields[..] } else { &fields[..2] };
    link(app, &who.form("/t/acme/members/invite", fields).await)
}

async fn texts(database: &Client, sql: &str) -> Vec<String> {
    database.query(sql, &[]).await.expect("rows").iter().map(|row| row.get(0)).collect()
}

async fn user_id(app: &TestApp, email: &str) -> String {
    let database = app.database.connect_as_system().await;
    let id: String =
        database.query_one("SELECT id::text FROM users WHERE email = $1", &[&email]).await.expect("a user").get(0);
    tronch_core::UserId::from_uuid(id.parse().expect("an id")).to_string()
}

async fn post(who: &Visitor, path: &str, fields: &[(&str, &str)]) -> Answer {
    who.form(path, fields).await
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_invited_joins_once() {
    let app = TestApp::start().await;
    let owner_of = app.member(&owner("acme")).await;
    let path = invite(&app, &owner_of, "Bob@Example.com", "developer").await;
    let list = owner_of.get("/t/acme/members").await.text;
    assert!(list.contains("Bob@Example.com") && !list.contains(path.trim_start_matches("/invitations/")));

    let bob = app.anonymous();
    let page = bob.get(&path).await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(page.text.contains("invites you to") && page.text.contains("Developer"), "{}", page.text);
    // Everything that is wrong at once, and nothing made.
    let refused = post(&bob, &path, &[("name", " "), ("password", "short")]).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(refused.text.contains("name-error") && refused.text.contains("password-error"), "{}", refused.text);
    let joined = post(&bob, &path, &[("name", "Bob"), ("password", PASSWORD)]).await;
    assert_eq!((joined.status, joined.header("location")), (StatusCode::SEE_OTHER, "/t/acme/"), "{}", joined.text);
    assert_eq!(bob.get("/t/acme/keys").await.status, StatusCode::OK);
    assert_eq!(bob.get("/t/acme/members/invite").await.status, StatusCode::FORBIDDEN);

    // The link is used up, for everybody, whatever they send.
    for who in [app.anonymous(), app.member(&owner("acme")).await] {
        let again = who.get(&path).await;
        assert_eq!(again.status, StatusCode::GONE);
        assert!(again.text.contains("it was used already"), "{}", again.text);
    }
    let again = post(&app.anonymous(), &path, &[("name", "Eve"), ("password", PASSWORD)]).await;
    assert_eq!(again.status, StatusCode::GONE);
    let database = app.database.connect_as_system().await;
    let told = texts(
        &database,
        "SELECT action || ' ' || target_name FROM audit_events WHERE target_kind = 'invitation' ORDER BY id",
    );
    assert_eq!(told.await, ["invite_member Bob@Example.com", "accept_invitation Bob@Example.com"]);
    let stored = texts(&database, "SELECT coalesce(encode(token_hash, 'hex'), '') FROM invitations").await;
    assert!(!stored[0].is_empty() && !path.contains(&stored[0]), "the token is stored as a hash");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_takes_in_nobody_else_and_not_for_ever() {
    let app = TestApp::start().await;
    app.found("other").await;
    let boss = app.member(&owner("acme")).await;
    let stranger = owner("other");
    let path = invite(&app, &boss, &stranger, "viewer").await;
    // The account that exists has to be signed in to: nobody takes it over by a link.
    let anonymous = app.anonymous();
    let page = anonymous.get(&path).await.text;
    assert!(page.contains("/sign-in?next=%2Finvitations%2F") && !page.contains("name=\"password\""), "{page}");
    let taken = post(&anonymous, &path, &[("name", "Eve"), ("password", PASSWORD)]).await;
    assert_eq!(taken.status, StatusCode::CONFLICT, "{}", taken.text);
    let other = app.add_member("acme", Role::Admin).await;
    let other = app.member(&other).await;
    assert!(other.get(&path).await.text.contains("you are signed in as"));
    assert_eq!(post(&other, &path, &[]).await.status, StatusCode::CONFLICT);
    let invited = app.member(&stranger).await;
    assert_eq!(invited.get("/t/acme/").await.status, StatusCode::NOT_FOUND);
    let fields = [("email", stranger.as_str()), ("password", PASSWORD), ("next", path.as_str())];
    let signed_in = post(&app.anonymous(), "/sign-in", &fields).await;
    assert_eq!(signed_in.header("location"), path);
    let joined = post(&invited, &path, &[]).await;
    assert_eq!((joined.status, joined.header("location")), (StatusCode::SEE_OTHER, "/t/acme/"), "{}", joined.text);
    // Whoever is removed does not come back by it.
    let member = user_id(&app, &stranger).await;
    let removed = post(&boss, &format!("/t/acme/members/{member}/remove"), &[]).await;
    assert_eq!(removed.status, StatusCode::SEE_OTHER, "{}", removed.text);
    assert_eq!(post(&invited, &path, &[]).await.status, StatusCode::GONE);
    assert_eq!(invited.get("/t/acme/").await.status, StatusCode::NOT_FOUND);

    // Invited anew, the first link is dead; taken back, the second; a day later, any.
    let first = invite(&app, &boss, "carol@example.com", "viewer").await;
    let second = invite(&app, &boss, "CAROL@example.com", "developer").await;
    assert_eq!(app.anonymous().get(&first).await.status, StatusCode::NOT_FOUND);
    assert!(app.anonymous().get(&second).await.text.contains("Developer"));
    let database = app.database.connect_as_system().await;
    let open = texts(&database, "SELECT id::text FROM invitations WHERE accepted_at IS NULL").await;
    let id = tronch_core::InvitationId::from_uuid(open[0].parse().expect("an id"));
    let taken_back = post(&boss, &format!("/t/acme/invitations/{id}/revoke"), &[]).await;
    assert_eq!(taken_back.header("location"), "/t/acme/members?did=taken-back", "{}", taken_back.text);
    assert!(app.anonymous().get(&second).await.text.contains("it was taken back"));
    let again = post(&boss, &format!("/t/acme/invitations/{id}/revoke"), &[]).await;
    assert_eq!(again.status, StatusCode::GONE);
    let third = invite(&app, &boss, "carol@example.com", "viewer").await;
    // An address may be broken before its sign.
    let is_listed = async || boss.get("/t/acme/members").await.text.contains(">carol<");
    assert!(is_listed().await);
    database.execute("UPDATE invitations SET expires_at = now() WHERE revoked_at IS NULL", &[]).await.expect("older");
    let late = app.anonymous().get(&third).await;
    assert_eq!(late.status, StatusCode::GONE);
    assert!(late.text.contains("older than a day"), "{}", late.text);
    assert!(!is_listed().await);
    // Nobody replaces an invitation that he could not take back.
    invite(&app, &boss, "dora@example.com", "owner").await;
    let replaced = post(&other, "/t/acme/members/invite", &[("email", "dora@example.com"), ("role", "viewer")]).await;
    assert_eq!(replaced.status, StatusCode::FORBIDDEN, "{}", replaced.text);
    // A member is not invited.
    let member = post(&boss, "/t/acme/members/invite", &[("email", &owner("acme")), ("role", "viewer")]).await;
    assert_eq!(member.status, StatusCode::CONFLICT);
    assert!(member.text.contains("email-error"), "{}", member.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_gives_or_takes_what_he_does_not_hold() {
    let app = TestApp::start().await;
    let mut ids = Vec::new();
    for role in [Role::Admin, Role::Developer, Role::Viewer] {
        let email = app.add_member("acme", role).await;
        ids.push((role, user_id(&app, &email).await, email));
    }
    let boss_id = user_id(&app, &owner("acme")).await;
    let admin = app.member(&ids[0].2).await;
    let role = async |who: &Visitor, id: &str, role: &str| {
        post(who, &format!("/t/acme/members/{id}/role"), &[("role", role)]).await.status
    };
    // An admin neither makes an owner nor touches one.
    assert_eq!(role(&admin, &ids[1].1, "owner").await, StatusCode::FORBIDDEN);
    assert_eq!(role(&admin, &boss_id, "viewer").await, StatusCode::FORBIDDEN);
    assert_eq!(post(&admin, &format!("/t/acme/members/{boss_id}/remove"), &[]).await.status, StatusCode::FORBIDDEN);
    let owner_wanted = post(&admin, "/t/acme/members/invite", &[("email", "x@example.com"), ("role", "owner")]).await;
    assert_eq!(owner_wanted.status, StatusCode::FORBIDDEN);
    assert_eq!(role(&admin, &ids[1].1, "viewer").await, StatusCode::SEE_OTHER);
    assert_eq!(role(&admin, &ids[2].1, "admin").await, StatusCode::SEE_OTHER);
    assert_eq!(role(&admin, &ids[2].1, "emperor").await, StatusCode::UNPROCESSABLE_ENTITY);
    // Whoever was just made less does nothing more with it, though he is signed in.
    let boss = app.member(&owner("acme")).await;
    assert_eq!(role(&boss, &ids[0].1, "viewer").await, StatusCode::SEE_OTHER);
    assert_eq!(role(&admin, &ids[2].1, "viewer").await, StatusCode::FORBIDDEN);
    assert_eq!(admin.get("/t/acme/members/invite").await.status, StatusCode::FORBIDDEN);
    // Nor does a removed one, whose session ends with his last organisation.
    assert_eq!(post(&boss, &format!("/t/acme/members/{}/remove", ids[0].1), &[]).await.status, StatusCode::SEE_OTHER);
    let answer = admin.get("/t/acme/").await;
    assert!(answer.header("location").starts_with("/sign-in"), "{} {}", answer.status, answer.text);
    let database = app.database.connect_as_system().await;
    let told = texts(
        &database,
        "SELECT action || ' ' || coalesce(before->>'role', '') || ' ' || coalesce(after->>'role', '') \
        FROM audit_events WHERE target_kind = 'member' AND action NOT IN ('add_member', 'sign_in') ORDER BY id",
    );
    assert_eq!(
        told.await,
        [
            "change_role developer viewer",
            "change_role viewer admin",
            "change_role admin viewer",
            "remove_member viewer "
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_owner_cannot_go() {
    let app = TestApp::start().await;
    let email = app.add_member("acme", Role::Admin).await;
    let (boss_id, admin_id) = (user_id(&app, &owner("acme")).await, user_id(&app, &email).await);
    let (boss, admin) = (app.member(&owner("acme")).await, app.member(&email).await);
    let last = post(&boss, "/t/acme/members/leave", &[]).await;
    assert_eq!(last.status, StatusCode::CONFLICT);
    assert!(last.text.contains("last owner"), "{}", last.text);
    assert_eq!(
        post(&boss, &format!("/t/acme/members/{boss_id}/role"), &[("role", "admin")]).await.status,
        StatusCode::CONFLICT
    );
    // Handing over asks for the password again, and the session goes on under another id.
    let hand_over = format!("/t/acme/members/{admin_id}/owner");
    let wrong = post(&boss, &hand_over, &[("password", "not my password")]).await;
    assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(wrong.text.contains("password-error"), "{}", wrong.text);
    let database = app.database.connect_as_system().await;
    let sessions = "SELECT encode(id_hash, 'hex') FROM sessions ORDER BY 1";
    let before = texts(&database, sessions).await;
    assert_eq!(post(&boss, &hand_over, &[("password", PASSWORD)]).await.status, StatusCode::SEE_OTHER);
    let after = texts(&database, sessions).await;
    assert_eq!((before.len(), before.iter().filter(|id| after.contains(id)).count()), (2, 1));
    assert_eq!(post(&boss, &hand_over, &[("password", PASSWORD)]).await.status, StatusCode::FORBIDDEN);
    // Two owners who leave at once do not leave it without one.
    let make_owner = format!("/t/acme/members/{boss_id}/role");
    let back = post(&admin, &make_owner, &[("role", "owner"), ("password", PASSWORD)]).await;
    assert_eq!(back.status, StatusCode::SEE_OTHER, "{}", back.text);
    let (one, other) =
        tokio::join!(post(&boss, "/t/acme/members/leave", &[]), post(&admin, "/t/acme/members/leave", &[]));
    let mut statuses = [one.status, other.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [StatusCode::SEE_OTHER, StatusCode::CONFLICT]);
    let owners = texts(&database, "SELECT role FROM memberships WHERE role = 'owner'").await;
    assert_eq!(owners, ["owner"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_finds_a_browser_open_makes_nobody_an_owner() {
    let app = TestApp::start().await;
    let admin_id = user_id(&app, &app.add_member("acme", Role::Admin).await).await;
    let boss = app.member(&owner("acme")).await;
    let database = app.database.connect_as_system().await;
    let session = async || texts(&database, "SELECT encode(id_hash, 'hex') FROM sessions").await.concat();
    let before = session().await;
    let role = format!("/t/acme/members/{admin_id}/role");
    for password in ["", "not my password"] {
        let made = post(&boss, &role, &[("role", "owner"), ("password", password)]).await;
        let invited = [("email", "x@example.com"), ("role", "owner"), ("password", password)];
        let invited = post(&boss, "/t/acme/members/invite", &invited).await;
        for refused in [made, invited] {
            assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", refused.text);
            assert!(refused.text.contains("owners-password-error"), "{}", refused.text);
        }
    }
    assert_eq!(texts(&database, "SELECT email FROM invitations").await, Vec::<String>::new());
    assert_eq!(texts(&database, "SELECT role FROM memberships ORDER BY 1").await, ["admin", "owner"]);
    assert_eq!(session().await, before);
    // What can be taken back asks for nothing.
    assert_eq!(post(&boss, &role, &[("role", "viewer")]).await.status, StatusCode::SEE_OTHER);
    let made = post(&boss, &role, &[("role", "owner"), ("password", PASSWORD)]).await;
    assert_eq!(made.status, StatusCode::SEE_OTHER, "{}", made.text);
    assert_eq!(texts(&database, "SELECT role FROM memberships").await, ["owner", "owner"]);
    assert_ne!(session().await, before, "whoever showed the password goes on under another id");
}
