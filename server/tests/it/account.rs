//! What people do about themselves: where they are signed in, another password, further organisations; and what their organisations'
//! logs are told of it.

use reqwest::StatusCode;
use tokio_postgres::Client;
use tronch_core::{EmailAddress, Role};
use tronch_engine::members::{self, Password};
use tronch_engine::{ArgonCost, Caller};
use zeroize::Zeroizing;

use crate::support::{PASSWORD, TestApp, Visitor, eventually, owner};

async fn texts(database: &Client, sql: &str) -> Vec<String> {
    database.query(sql, &[]).await.expect("rows").iter().map(|row| row.get(0)).collect()
}

async fn is_signed_in(who: &Visitor) -> bool {
    who.get("/account").await.status == StatusCode::OK
}

/// The sessions that the page offers to end, as addresses.
async fn sessions(who: &Visitor) -> Vec<String> {
    let page = who.get("/account").await.text;
    let each = page.split("action=\"/account/sessions/ses_").skip(1);
    each.map(|rest| format!("/account/sessions/ses_{}", rest.split('"').next().unwrap_or_default())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn people_see_where_they_are_signed_in_and_end_it_everywhere() {
    let app = TestApp::start().await;
    let node = app.beside().await;
    let (one, other, third) =
        (app.member(&owner("acme")).await, app.member(&owner("acme")).await, app.member(&owner("acme")).await);
    let page = one.get("/account").await.text;
    assert!(page.contains("this one") && page.contains("127.0.0.1"), "{page}");
    let listed = sessions(&one).await;
    assert_eq!(listed.len(), 2, "{listed:?}");
    let database = app.database.connect_as_system().await;
    let stored = texts(&database, "SELECT encode(id_hash, 'hex') || id FROM sessions").await.concat();
    assert!(!listed.iter().any(|path| stored.contains(path.rsplit('_').next().unwrap_or("none"))));
    // Nobody ends another person's.
    let email = app.add_member("acme", Role::Admin).await;
    let stranger = app.member(&email).await;
    assert_eq!(stranger.form(&listed[0], &[]).await.status, StatusCode::NOT_FOUND);

    let ended = one.form(&listed[0], &[]).await;
    assert_eq!(ended.header("location"), "/account?did=ended", "{}", ended.text);
    let alive = [is_signed_in(&one).await, is_signed_in(&other).await, is_signed_in(&third).await];
    assert_eq!(alive.iter().filter(|alive| **alive).count(), 2);
    // Every node asks for it with each request.
    let elsewhere = if alive[1] { other } else { third }.at(&node);
    assert!(is_signed_in(&elsewhere).await);
    let ended = one.form("/account/sessions/end-others", &[]).await;
    assert_eq!(ended.header("location"), "/account?did=ended-others&ended=1");
    assert!(!is_signed_in(&elsewhere).await && is_signed_in(&one).await);
    let told =
        texts(&database, "SELECT (after->>'sessions') FROM audit_events WHERE action = 'end_session' ORDER BY id");
    assert_eq!(told.await, ["1", "1"]);

    // One that nobody uses ends after a day, and any after a week.
    database.execute("UPDATE sessions SET last_used_at = now() - interval '25 hours'", &[]).await.expect("older");
    assert!(!is_signed_in(&one).await && !is_signed_in(&stranger).await);
    let again = app.member(&owner("acme")).await;
    let lasts = "SELECT (expires_at - now() BETWEEN interval '167 hours' AND interval '168 hours')::text FROM sessions \
                 WHERE last_used_at > now() - interval '1 hour'";
    assert_eq!(texts(&database, lasts).await, ["true"]);
    database.execute("UPDATE sessions SET expires_at = now()", &[]).await.expect("over");
    assert!(!is_signed_in(&again).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_password_ends_what_the_old_one_began() {
    let app = TestApp::start().await;
    let (one, other) = (app.member(&owner("acme")).await, app.member(&owner("acme")).await);
    let change = async |current: &str, new: &str| {
        one.form("/account/password", &[("password", current), ("new_password", new)]).await
    };
    let weak = change(PASSWORD, "passwordpassword").await;
    assert_eq!(weak.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(weak.text.contains("new_password-error") && weak.text.contains("guessed"), "{}", weak.text);
    let about = change(PASSWORD, "owner@acme.example").await;
    assert!(about.text.contains("new_password-error"), "{}", about.text);
    let wrong = change("not my password", "pferd batterie klammer").await;
    assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(wrong.text.contains("id=\"password-error\""), "{}", wrong.text);
    assert!(is_signed_in(&other).await);
    let changed = change(PASSWORD, "pferd batterie klammer").await;
    assert_eq!(changed.header("location"), "/account?did=password&ended=1", "{}", changed.text);
    assert!(is_signed_in(&one).await && !is_signed_in(&other).await);
    let sign_in = async |password: &str| {
        app.anonymous().form("/sign-in", &[("email", &owner("acme")), ("password", password)]).await.status
    };
    assert_eq!(sign_in(PASSWORD).await, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(sign_in("pferd batterie klammer").await, StatusCode::SEE_OTHER);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_passwords_are_counted_and_told() {
    let app = TestApp::start().await;
    let database = app.database.connect_as_system().await;
    let told = async || {
        let sql = "SELECT action || ' ' || coalesce(after->>'failed', after->>'failed_before') FROM audit_events \
                   WHERE action LIKE 'sign_in%' ORDER BY id";
        texts(&database, sql).await
    };
    for _ in 0..10 {
        let wrong = app.anonymous().form("/sign-in", &[("email", &owner("acme")), ("password", "wrong")]).await;
        assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY);
    }
    eventually("the log is told", async || told().await == ["sign_in_failed 1", "sign_in_failed 10"]).await;
    let actor = texts(&database, "SELECT DISTINCT actor_name FROM audit_events WHERE action = 'sign_in_failed'").await;
    assert_eq!(actor, ["Somebody"], "nobody knows who it was");
    // Ten at once is all there is for an account; the right one waits with them.
    database.execute("UPDATE users SET failed_sign_ins = 3", &[]).await.expect("fewer");
    let other = app.beside().await;
    other.member(&owner("acme")).await;
    assert_eq!(told().await.last().map(String::as_str), Some("sign_in 3"));
    other.member(&owner("acme")).await;
    assert_eq!(told().await.last().map(String::as_str), Some("sign_in 0"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_hashed_again_when_hashes_become_dearer() {
    let app = TestApp::start().await;
    let database = app.database.connect_as_system().await;
    let phc = async || texts(&database, "SELECT password_phc FROM users").await.concat();
    let before = phc().await;
    app.member(&owner("acme")).await;
    assert_eq!(phc().await, before);
    let dearer = app.beside_hashing(ArgonCost { memory_kib: 128, iterations: 1, parallelism: 1 }).await;
    dearer.member(&owner("acme")).await;
    eventually("the dearer hash is stored", async || phc().await.contains("$m=128,t=1,p=1$")).await;
    app.member(&owner("acme")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn anybody_who_is_signed_in_makes_further_organisations() {
    let app = TestApp::start().await;
    let email = app.add_member("acme", Role::Viewer).await;
    let viewer = app.member(&email).await;
    let make = async |who: &Visitor, name: &str, slug: &str| {
        who.form("/account/organisations/new", &[("tenant_name", name), ("tenant_slug", slug)]).await
    };
    let taken = make(&viewer, "Acme", "acme").await;
    assert_eq!(taken.status, StatusCode::CONFLICT);
    assert!(taken.text.contains("tenant_slug-error") && taken.text.contains("value=\"Acme\""), "{}", taken.text);
    let bad = make(&viewer, " ", "Not A Slug").await;
    assert!(bad.text.contains("tenant_slug-error") && bad.text.contains("tenant_name-error"), "{}", bad.text);
    let made = make(&viewer, "Beta & Co", "beta").await;
    assert_eq!((made.status, made.header("location")), (StatusCode::SEE_OTHER, "/t/beta/"), "{}", made.text);
    assert_eq!(viewer.get("/t/beta/members/invite").await.status, StatusCode::OK, "its maker owns it");
    assert_eq!(app.member(&owner("acme")).await.get("/t/beta/").await.status, StatusCode::NOT_FOUND);
    let account = viewer.get("/account").await.text;
    assert!(account.contains("Beta &amp; Co") && account.contains("href=\"/t/acme/\""), "{account}");
    let anonymous = make(&app.anonymous(), "Gamma", "gamma").await;
    assert!(anonymous.header("location").starts_with("/sign-in?next="), "{}", anonymous.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_with_a_password_that_is_changed_meanwhile_begins_nothing() {
    let app = TestApp::start().await;
    let database = app.database.connect_as_system().await;
    // So slow that there is time to change it between the right password and the session.
    let slow = "CREATE FUNCTION pause() RETURNS trigger LANGUAGE plpgsql AS $$ \
                BEGIN PERFORM pg_sleep(2); RETURN new; END $$; \
                CREATE TRIGGER slow BEFORE INSERT ON sessions FOR EACH ROW EXECUTE FUNCTION pause()";
    database.batch_execute(slow).await.expect("a trigger");
    let visitor = app.anonymous();
    let signing_in = tokio::spawn(async move {
        let answer = visitor.form("/sign-in", &[("email", &owner("acme")), ("password", PASSWORD)]).await;
        (answer, std::time::Instant::now(), visitor)
    });
    let is_under_way = "SELECT count(*)::text FROM pg_stat_activity WHERE query LIKE 'INSERT INTO \"sessions\"%' \
                        AND wait_event = 'PgSleep' AND datname = current_database()";
    eventually("the session is being stored", async || texts(&database, is_under_way).await == ["1"]).await;
    let new = Zeroizing::new("an altogether other one".to_owned());
    let email = EmailAddress::parse(&owner("acme")).expect("an address");
    let password = Password::parse(new, &[]).expect("a password");
    let ended = members::reset_password(&app.engine, &Caller::operator(), &email, password).await;
    assert_eq!(ended.expect("another password"), 0, "there was none to end");
    let changed = std::time::Instant::now();
    let (answer, answered, visitor) = signing_in.await.expect("an answer");
    assert!(answered > changed, "it was not slow enough to be overtaken");
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", answer.text);
    assert!(!is_signed_in(&visitor).await);
    assert_eq!(texts(&database, "SELECT id::text FROM sessions").await, Vec::<String>::new());
    let told = "SELECT action FROM audit_events WHERE action IN ('sign_in', 'reset_password')";
    assert_eq!(texts(&database, told).await, ["reset_password"], "nobody signed in");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_outlives_no_password_by_being_renewed() {
    let app = TestApp::start().await;
    let database = app.database.connect_as_system().await;
    let member = app.member(&owner("acme")).await;
    let slow = "CREATE FUNCTION pause() RETURNS trigger LANGUAGE plpgsql AS $$ \
                BEGIN PERFORM pg_sleep(1); RETURN new; END $$; \
                CREATE TRIGGER slow BEFORE UPDATE OF id_hash ON sessions FOR EACH ROW EXECUTE FUNCTION pause()";
    database.batch_execute(slow).await.expect("a trigger");
    let renewing = tokio::spawn(async move {
        let everything = [("owner", "nobody"), ("confirmation", "revoke 0 keys"), ("password", PASSWORD)];
        (member.form("/t/acme/keys/revoke", &everything).await, member)
    });
    let is_under_way = "SELECT count(*)::text FROM pg_stat_activity WHERE query LIKE 'UPDATE \"sessions\"%' \
                        AND wait_event = 'PgSleep' AND datname = current_database()";
    eventually("the session is being renewed", async || texts(&database, is_under_way).await == ["1"]).await;
    let new = Password::parse(Zeroizing::new("an altogether other one".to_owned()), &[]).expect("a password");
    let email = EmailAddress::parse(&owner("acme")).expect("an address");
    members::reset_password(&app.engine, &Caller::operator(), &email, new).await.expect("another password");
    let (answer, member) = renewing.await.expect("an answer");
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "it was done before: {}", answer.text);
    assert_eq!(texts(&database, "SELECT id::text FROM sessions").await, Vec::<String>::new());
    assert!(!is_signed_in(&member).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_click_signs_nobody_out() {
    let app = TestApp::start().await;
    let member = app.member(&owner("acme")).await;
    let everything = [("owner", "nobody"), ("confirmation", "revoke 0 keys"), ("password", PASSWORD)];
    for _ in 0..5 {
        let click = || member.form("/t/acme/keys/revoke", &everything);
        let (one, other, third) = tokio::join!(click(), click(), click());
        for answer in [one, other, third] {
            assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
            assert!(answer.header("location").starts_with("/t/acme/keys"), "{}", answer.header("location"));
        }
        assert!(is_signed_in(&member).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_password_goes_on_under_another_session_id() {
    let app = TestApp::start().await;
    let (one, other) = (app.member(&owner("acme")).await, app.member(&owner("acme")).await);
    let database = app.database.connect_as_system().await;
    let ids = async || texts(&database, "SELECT encode(id_hash, 'hex') FROM sessions").await;
    let before = ids().await;
    let fields = [("password", PASSWORD), ("new_password", "an altogether other one")];
    let changed = one.form("/account/password", &fields).await;
    assert_eq!(changed.header("location"), "/account?did=password&ended=1", "{}", changed.text);
    let after = ids().await;
    assert_eq!((before.len(), after.len()), (2, 1));
    assert!(!before.contains(&after[0]));
    assert!(is_signed_in(&one).await && !is_signed_in(&other).await);
}
