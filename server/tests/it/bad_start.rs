//! What keeps `tronch serve` from starting says what it is and what to do, and leaves everything as it was.

use serde_json::json;

use crate::support::{DataDir, Server, TestApp, TestDatabase, bootstrap, command, run};

/// Starts and expects a refusal: all that it said.
fn refused(data_dir: &DataDir, settings: &[(&str, &str)]) -> String {
    let mut serve = command(data_dir, &["serve"]);
    serve.env("TRONCH_LISTEN", "127.0.0.1:0").env("TRONCH_OPS_LISTEN", "127.0.0.1:0").envs(settings.iter().copied());
    let output = run(&mut serve, "");
    let said = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(1), "{said}");
    said
}

fn says(said: &str, words: &[&str]) {
    for word in words {
        assert!(said.contains(word), "{said:?} does not say {word:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_is_named_with_its_setting() {
    let data_dir = DataDir::create();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    for setting in ["TRONCH_LISTEN", "TRONCH_OPS_LISTEN"] {
        says(&refused(&data_dir, &[(setting, &address)]), &[&address, "cannot be listened on", setting]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_directory_that_cannot_be_written_is_named() {
    let data_dir = DataDir::create();
    let file = data_dir.path().join("a-file");
    std::fs::write(&file, "in the way").expect("a file");
    let path = file.join("data").display().to_string();
    says(&refused(&data_dir, &[("TRONCH_DATA_DIR", &path)]), &[&path]);
    assert_eq!(std::fs::read_to_string(&file).expect("the file"), "in the way");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_of_a_newer_version_is_left_alone() {
    let (database, data_dir) = (TestDatabase::create().await, DataDir::create());
    let system = database.connect_as_system().await;
    let statement = "INSERT INTO __diesel_schema_migrations (version) VALUES ('20991231000001')";
    system.execute(statement, &[]).await.expect("a migration of the future");
    let said = refused(&data_dir, &[("DATABASE_URL", &database.url())]);
    says(&said, &["20991231000001", "Run the newer version"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_row_security_would_not_bind_is_refused() {
    let (database, data_dir) = (TestDatabase::create_blank().await, DataDir::create());
    let url = database.url().replace("//tronch_test@", "//postgres@");
    says(&refused(&data_dir, &[("DATABASE_URL", &url)]), &["\"postgres\"", "is a superuser", "CREATE ROLE"]);
    let system = database.connect_as_system().await;
    let tables = system.query("SELECT 1 FROM pg_class WHERE relnamespace = 'public'::regnamespace", &[]).await;
    assert!(tables.expect("an answer").is_empty(), "something was made before the refusal");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_not_there_is_named_without_its_password() {
    let data_dir = DataDir::create();
    let said = refused(&data_dir, &[("DATABASE_URL", "postgres://tronch:hush-hush@127.0.0.1:1/tronch")]);
    says(&said, &["Postgres cannot be reached", "DATABASE_URL"]);
    assert!(!said.contains("hush-hush"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_or_wrong_master_secret_is_asked_for_and_never_replaced() {
    let (database, data_dir) = (TestDatabase::create().await, DataDir::create());
    let url = database.url();
    let settings = [("DATABASE_URL", url.as_str())];
    let token = bootstrap(&data_dir, &settings, "acme", "correct horse battery");
    let file = data_dir.path().join("master-key");
    let away = data_dir.path().join("taken-away");
    std::fs::rename(&file, &away).expect("it was there");
    says(&refused(&data_dir, &settings), &["master secret", &file.display().to_string()]);
    assert!(!file.exists(), "a second master secret would hide the loss of the first");
    let wrong = "ab".repeat(32);
    let said = refused(&data_dir, &[settings[0], ("TRONCH_MASTER_KEY", &wrong)]);
    says(&said, &["master secret", "TRONCH_MASTER_KEY"]);
    assert!(!said.contains(&wrong), "{said}");
    says(&refused(&data_dir, &[settings[0], ("TRONCH_MASTER_KEY", "abc")]), &["TRONCH_MASTER_KEY", "64"]);

    std::fs::rename(&away, &file).expect("it is put back");
    let server = Server::start(&data_dir, &settings).await;
    let (_, secret) = server.service(&token).create_key(&json!({ "name": "a key", "environment": "live" })).await;
    assert_eq!(server.service(&token).verify(&json!({ "key": secret })).await["code"], "VALID");
    server.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_servers_do_not_share_a_data_directory() {
    let (database, data_dir) = (TestDatabase::create().await, DataDir::create());
    let url = database.url();
    let settings = [("DATABASE_URL", url.as_str())];
    let first = Server::start(&data_dir, &settings).await;
    says(&refused(&data_dir, &settings), &[&data_dir.path().display().to_string()]);
    first.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_setup_code_opens_one_sign_up() {
    let data_dir = DataDir::create();
    let database = TestDatabase::create().await;
    let url = database.url();
    let server = Server::start(&data_dir, &[("DATABASE_URL", &url)]).await;
    let code = data_dir.read("setup-code");
    let form = |slug: &'static str, code: String| {
        let visitor = server.anonymous();
        async move {
            let fields = [
                ("setup_code", code.as_str()),
                ("name", "Ada"),
                ("email", "ada@example.com"),
                ("password", "correct horse battery"),
                ("tenant_name", "Ada's"),
                ("tenant_slug", slug),
            ];
            visitor.form("/sign-up", &fields).await
        }
    };
    assert_eq!(form("first", "AAAAAA-AAAAAA-AAAAAA-AAAAAA".to_owned()).await.status, 422);
    // Two at once: one organisation.
    let (one, other) = tokio::join!(form("first", code.clone()), form("second", code.clone()));
    let mut statuses = [one.status.as_u16(), other.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [303, 409], "{}\n{}", one.text, other.text);
    let late = form("third", code).await;
    assert_eq!(late.status, 409);
    assert!(late.text.contains("set up already"), "{}", late.text);
    let count = "SELECT (SELECT count(*) FROM tenants), (SELECT count(*) FROM users)";
    let row = database.connect_as_system().await.query_one(count, &[]).await.expect("counts");
    assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), (1, 1));
    server.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn bootstrap_repeated_replaces_its_own_token_and_nothing_else() {
    let (database, data_dir) = (TestDatabase::create().await, DataDir::create());
    let url = database.url();
    let settings = [("DATABASE_URL", url.as_str())];
    let first = bootstrap(&data_dir, &settings, "acme", "correct horse battery");
    let server = Server::start(&data_dir, &settings).await;
    let body = json!({ "name": "bootstrap", "permissions": ["keys.read"] });
    let made = server.service(&first).post("/api/v1/service-tokens", &body).await.json();
    let others = made["secret"].as_str().expect("a token").to_owned();
    // Beside the running server, and with another password, which is not taken.
    let second = bootstrap(&data_dir, &settings, "acme", "another password here");
    assert_eq!(server.service(&first).get("/api/v1/keys").await.status, 401);
    for token in [&second, &others] {
        assert_eq!(server.service(token).get("/api/v1/keys").await.status, 200);
    }
    for (password, status) in [("correct horse battery", 303), ("another password here", 422)] {
        let answer =
            server.anonymous().form("/sign-in", &[("email", "owner@acme.example"), ("password", password)]).await;
        assert_eq!(answer.status, status, "{password}");
    }
    // Somebody else cannot take the tenant over.
    let arguments = ["bootstrap", "--email", "eve@example.com", "--tenant", "acme", "--password-stdin", "--json"];
    let output = run(command(&data_dir, &arguments).envs(settings), "correct horse battery\n");
    assert!(!output.status.success() && output.stdout.is_empty());
    says(&String::from_utf8_lossy(&output.stderr), &["taken"]);
    let everybody = server.service(&second).get("/api/v1/audit-events?action=create_token").await.json();
    assert_eq!(everybody["items"].as_array().map(Vec::len), Some(3));
    server.stop();
}

/// A form is refused before anything is read of it when it is too large or no form.
#[tokio::test(flavor = "multi_thread")]
async fn a_form_that_cannot_be_taken_has_its_own_status() {
    let app = TestApp::start().await;
    let long = "x".repeat(70_000);
    let visitor = app.anonymous();
    let answer = visitor.form("/sign-in", &[("email", "a@b.example"), ("password", &long)]).await;
    assert_eq!(answer.status, 413);
    let request = visitor.request(reqwest::Method::POST, "/sign-in").header("sec-fetch-site", "same-origin");
    let answer = crate::support::Visitor::send(request.json(&json!({ "email": "a" }))).await;
    assert_eq!(answer.status, 415);
    assert!(answer.text.contains("<h1>"), "{}", answer.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn told_to_stop_while_it_starts_it_ends_and_blames_nobody() {
    let data_dir = DataDir::create();
    // A Postgres that takes connections and says nothing.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("postgres://tronch@{}/tronch", silent.local_addr().expect("an address"));
    let server = Server::begin(&data_dir, &[("DATABASE_URL", &url)]);
    let (_held, _) = silent.accept().await.expect("it connects");
    says(&server.stop(), &["stopped before anything was served"]);
}
