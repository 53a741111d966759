//! No secret stands anywhere but where it is shown once: not in the log at its most talkative, in errors, pages, metrics
//! or a dump of the database, in no spelling. The search is first shown to find what was planted.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::support::{DataDir, Server, Visitor, bootstrap, connect, eventually, owner};

const PASSWORD: &str = "correct horse/battery+staple=é";

/// Each spelling in which a text could stand somewhere. Base64 of a longer text holds that of a part at one of three
/// places; what depends on the neighbours is cut off.
fn spellings(secret: &str) -> Vec<(&'static str, String)> {
    let bytes = secret.as_bytes();
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut all = vec![
        ("raw", secret.to_owned()),
        ("hex", hex.clone()),
        ("capital hex", hex.to_uppercase()),
        ("URL", form_urlencoded::byte_serialize(bytes).collect()),
        ("JSON", serde_json::to_string(secret).expect("JSON").trim_matches('"').to_owned()),
        ("debug", format!("{secret:?}").trim_matches('"').to_owned()),
        ("list of bytes", format!("{bytes:?}").trim_matches(['[', ']']).to_owned()),
    ];
    for (name, alphabet) in [("base64", STANDARD_NO_PAD), ("URL base64", URL_SAFE_NO_PAD)] {
        for shift in 0..3 {
            let shifted = [&b"xx"[..shift], bytes].concat();
            let text = alphabet.encode(&shifted);
            let (from, until) = ((shift * 8).div_ceil(6), shifted.len() * 8 / 6);
            all.push((name, text[from..until].to_owned()));
        }
    }
    all
}

/// Where a secret was found, and how it was spelt.
fn found(secrets: &[(&str, &str)], places: &[(String, String)]) -> Vec<String> {
    let mut hits = Vec::new();
    for (name, secret) in secrets {
        for (spelling, text) in spellings(secret) {
            assert!(text.len() >= 10, "{name} as {spelling} is too short to look for");
            let holders = places.iter().filter(|(_, content)| content.contains(&text));
            hits.extend(holders.map(|(place, _)| format!("{name} as {spelling} in {place}")));
        }
    }
    hits
}

/// Every row of every table. Not every Postgres comes with `pg_dump`, and it would say the same.
async fn dump(url: &str) -> String {
    let database = connect(&format!("{url}?options=-c%20tronch.scope%3Dsystem")).await;
    let sql = "SELECT quote_ident(relname) FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace";
    let mut dumped = String::new();
    for table in database.query(sql, &[]).await.expect("the tables") {
        let table: String = table.get(0);
        let rows = database.query(&format!("SELECT to_jsonb(t)::text FROM {table} AS t"), &[]).await.expect("the rows");
        dumped.extend(rows.iter().map(|row| format!("{table} {}\n", row.get::<_, &str>(0))));
    }
    dumped
}

/// All that a visitor is answered, as one text: headers and body.
async fn seen(places: &mut Vec<(String, String)>, visitor: &Visitor, method: Method, path: &str) {
    let answer = Visitor::send(visitor.request(method.clone(), path)).await;
    places.push((format!("{method} {path}"), format!("{:?}\n{}", answer.headers, answer.text)));
}

/// The one secret on a page that shows it.
fn shown_once(page: &str) -> String {
    let rest = page.split_once("secret-value").expect("a page with a secret").1;
    rest.split_once('>').expect("a tag").1.split('<').next().expect("a text").to_owned()
}

#[test]
fn what_is_planted_is_found_in_every_spelling() {
    let secret = "sk/Ünd+?=0123456789";
    let base64 =
        |alphabet: &base64::engine::GeneralPurpose, before: &str| alphabet.encode(format!("{before}{secret}after"));
    let planted = [
        format!("in the middle of {secret}, raw"),
        serde_json::to_string(&json!({ "key": secret })).expect("JSON"),
        format!("{:?}", secret.as_bytes()),
        form_urlencoded::byte_serialize(secret.as_bytes()).collect(),
        secret.bytes().map(|byte| format!("{byte:02x}")).collect(),
        secret.bytes().map(|byte| format!("{byte:02X}")).collect(),
        base64(&STANDARD, ""),
        base64(&STANDARD, "1"),
        base64(&STANDARD, "12"),
        base64(&URL_SAFE, "123"),
        base64(&URL_SAFE, "1234"),
    ];
    for text in planted {
        assert!(!found(&[("it", secret)], &[("here".to_owned(), text.clone())]).is_empty(), "not found in {text}");
    }
    assert_eq!(found(&[("it", secret)], &[("here".to_owned(), secret[1..].to_owned())]), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_stands_where_it_is_not_shown() {
    let data_dir = DataDir::create();
    let settings = [("TRONCH_LOG", "trace"), ("TRONCH_LOG_FORMAT", "json")];
    let server = Server::start(&data_dir, &settings).await;
    let visitor = server.anonymous();
    let mut places = Vec::new();

    // Everything that handles a secret: setup code and password, sign-in, keys and tokens by form and by API.
    let setup_code = data_dir.read("setup-code");
    let mut sign_up = vec![("setup_code", setup_code.as_str()), ("name", "Ada"), ("email", "ada@acme.example")];
    sign_up.extend([("password", "short"), ("tenant_name", "Acme"), ("tenant_slug", "acme")]);
    let refused = visitor.form("/sign-up", &sign_up).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    sign_up[3].1 = PASSWORD;
    assert_eq!(visitor.form("/sign-up", &sign_up).await.status, StatusCode::SEE_OTHER);
    let wrong = server.anonymous().form("/sign-in", &[("email", "nobody@acme.example"), ("password", PASSWORD)]).await;
    places.push(("a failed sign-in".to_owned(), format!("{:?}\n{}", wrong.headers, wrong.text)));
    let member = server.anonymous();
    let signed_in = member.form("/sign-in", &[("email", "ada@acme.example"), ("password", PASSWORD)]).await;
    assert_eq!(signed_in.status, StatusCode::SEE_OTHER);
    let cookie = signed_in.header("set-cookie").split(['=', ';']).nth(1).expect("a cookie").to_owned();

    let fields = [("name", "by form"), ("project", "default"), ("environment", "live")];
    let key_by_form = shown_once(&member.form("/t/acme/keys/new", &fields).await.text);
    let fields = [("name", "by form"), ("permissions", "keys.verify"), ("permissions", "keys.read")];
    let token_by_form = shown_once(&member.form("/t/acme/tokens/new", &fields).await.text);
    let bootstrap_token = bootstrap(&data_dir, &[], "beta", PASSWORD);
    let service = server.service(&bootstrap_token);
    let (id, key) = service.create_key(&json!({ "name": "by API", "environment": "live" })).await;
    let rotated = service.post(&format!("/api/v1/keys/{id}/rotate"), &json!({ "grace_seconds": 60 })).await;
    let successor = rotated.json()["secret"].as_str().expect("a secret").to_owned();

    // Asked about rightly and wrongly, and put where no secret belongs.
    let verifier = server.service(&token_by_form);
    for secret in [&key_by_form, &key, &successor, &token_by_form] {
        service.verify(&json!({ "key": secret })).await;
        verifier.verify(&json!({ "key": secret })).await;
        for (field, value) in [("name", secret.as_str()), ("environment", secret), (secret, "x")] {
            let answer = service.post("/api/v1/keys/verify", &json!({ "key": 7, field: value })).await;
            places.push(("a misplaced field".to_owned(), format!("{:?}\n{}", answer.headers, answer.text)));
        }
        let answer = server.service(&format!("{secret}x")).get("/api/v1/keys").await;
        places.push(("a refused token".to_owned(), format!("{:?}\n{}", answer.headers, answer.text)));
        for path in ["/t/acme/keys/search", "/t/acme/audit/search"] {
            let answer = member.form(path, &[("q", secret), ("owner", secret), ("target", secret)]).await;
            assert_eq!(answer.status, StatusCode::SEE_OTHER);
            let target = answer.header("location").to_owned();
            places.push((format!("the address after {path}"), target.clone()));
            seen(&mut places, &member, Method::GET, &target).await;
        }
    }

    for path in ["/t/acme/", "/t/acme/keys", "/t/acme/keys/new", "/t/acme/tokens", "/t/acme/audit", "/sign-in"] {
        seen(&mut places, &member, Method::GET, path).await;
    }
    for path in ["/api/v1/keys", &format!("/api/v1/keys/{id}"), "/api/v1/service-tokens", "/api/v1/audit-events"] {
        seen(&mut places, &service, Method::GET, path).await;
    }
    // Usage is stored beside the calls, and what stores it may write something down as well.
    eventually("usage is stored", async || service.get("/api/v1/usage").await.text.contains("\"VALID\"")).await;
    let metrics =
        reqwest::get(format!("{}/metrics", server.ops_url)).await.expect("metrics").text().await.expect("text");
    assert!(metrics.contains("tronch_verdicts_total"), "{metrics}");
    places.push(("metrics".to_owned(), metrics));
    let dumped = dump(&data_dir.database_url()).await;
    assert!(dumped.contains("by API") && dumped.contains(&owner("beta")), "the dump is empty");
    places.push(("the dump".to_owned(), dumped));
    places.push(("standard output".to_owned(), data_dir.read("stdout")));
    let log = server.stop();
    assert!(log.contains("\"TRACE\"") && log.contains("stored usage"), "the log is not at its most talkative");
    places.push(("the log".to_owned(), log));

    let master = data_dir.read("master-key");
    let database_password = data_dir.read("postgres-password");
    // Of a credential its public part may stand anywhere. Half of what follows the handle is enough to be found, so that
    // one that was cut off counts as well.
    let secret_part = |text: &str| text[text.len() - 26..text.len() - 12].to_owned();
    let parts = [&key_by_form, &key, &successor, &token_by_form, &bootstrap_token].map(|text| secret_part(text));
    let secrets = [
        ("the key by form", parts[0].as_str()),
        ("the key by API", &parts[1]),
        ("the successor", &parts[2]),
        ("the token by form", &parts[3]),
        ("the bootstrap token", &parts[4]),
        ("the password", PASSWORD),
        ("the session", &cookie),
        ("the setup code", &setup_code),
        ("the master secret", &master),
        ("the database password", &database_password),
    ];
    assert_eq!(found(&secrets, &places), Vec::<String>::new());
    let looked_in: usize = places.iter().map(|(_, content)| content.len()).sum();
    println!("{} secrets, {} places, {looked_in} bytes: none found", secrets.len(), places.len());
}
