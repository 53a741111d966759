//! Clients that take their time, take nothing, come in great number, or send what two readers could read in two ways: they are
//! refused early and hold up nobody.

use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tronch_core::Permission;
use tronch_server::doors::Patience;

use crate::support::{DataDir, PASSWORD, Server, TestApp, TestDatabase, Wish, bootstrap, eventually, owner};

/// So that a test does not take minutes.
const SHORT: Patience = Patience {
    listener: "public",
    connections: 1_000,
    head: Duration::from_secs(1),
    idle: Duration::from_secs(3),
    unread: Duration::from_secs(2),
};

async fn app_with(patience: Patience) -> TestApp {
    TestApp::start_with(Wish { patience, ..Wish::default() }).await
}

async fn connect(url: &str) -> TcpStream {
    let (_, address) = url.split_once("://").expect("a URL");
    TcpStream::connect(address.replace("localhost", "127.0.0.1")).await.expect("a connection")
}

/// All that comes until the other side closes, and how long that took.
async fn until_closed(stream: &mut TcpStream) -> (String, Duration) {
    let (began, mut all) = (Instant::now(), Vec::new());
    // A reset is an end as well.
    drop(tokio::time::timeout(Duration::from_secs(60), stream.read_to_end(&mut all)).await.expect("an end"));
    (String::from_utf8_lossy(&all).into_owned(), began.elapsed())
}

/// One answer's head.
async fn head_of(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let read = stream.read_u8();
        head.push(tokio::time::timeout(Duration::from_secs(10), read).await.expect("in time").expect("a byte"));
    }
    String::from_utf8(head).expect("text")
}

/// Sends a byte every tenth of a second until it is cut off; returns when that was.
async fn drip(stream: TcpStream, byte: u8) -> Duration {
    let began = Instant::now();
    let (mut from, mut to) = stream.into_split();
    let sending = async {
        while began.elapsed() < Duration::from_secs(10) && to.write_all(&[byte]).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let mut rest = Vec::new();
    tokio::select! {
        () = sending => {}
        _ = from.read_to_end(&mut rest) => {}
    }
    began.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_does_not_end_is_cut_off_and_others_are_answered() {
    let app = app_with(SHORT).await;
    for url in [&app.url, &app.ops_url] {
        let mut dripping = tokio::task::JoinSet::new();
        for _ in 0..50 {
            let mut stream = connect(url).await;
            stream.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\nx-slow: ").await.expect("written");
            dripping.spawn(drip(stream, b'a'));
        }
        let answer = reqwest::get(format!("{url}/livez")).await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::OK);
        while let Some(cut) = dripping.join_next().await {
            let cut = cut.expect("no panic");
            assert!(cut > Duration::from_millis(700) && cut < Duration::from_secs(4), "cut off after {cut:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_on_which_nothing_moves_is_closed_and_one_in_use_is_not() {
    let app = app_with(SHORT).await;
    let (mut silent, mut used) = (connect(&app.url).await, connect(&app.url).await);
    let using = async {
        for _ in 0..7 {
            used.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n").await.expect("written");
            assert!(head_of(&mut used).await.starts_with("HTTP/1.1 200"));
            assert_eq!(used.read_exact(&mut [0; 3]).await.expect("ok"), 3);
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    let ((said, after), ()) = tokio::join!(until_closed(&mut silent), using);
    assert_eq!(said, "");
    assert!(after > Duration::from_millis(2_700) && after < Duration::from_secs(6), "closed after {after:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_nobody_takes_is_given_up() {
    let app = app_with(SHORT).await;
    let mut stream = connect(&app.url).await;
    // Far more of an answer than two sockets hold.
    let ask = b"GET /api/v1/openapi.json HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(400);
    let began = Instant::now();
    let written = async {
        loop {
            stream.write_all(&ask).await?;
        }
        #[expect(unreachable_code, reason = "it says which error this is")]
        Ok::<(), std::io::Error>(())
    };
    tokio::time::timeout(Duration::from_secs(20), written).await.expect("cut off").expect_err("a closed connection");
    assert!(began.elapsed() > Duration::from_millis(1_700), "cut off after {:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn where_all_connections_are_taken_the_idlest_make_room_and_none_that_waits_for_us() {
    let app =
        app_with(Patience { connections: 40, head: Duration::from_secs(600), idle: Duration::from_secs(600), ..SHORT })
            .await;
    let token = app.token("acme", &json!({ "permissions": [Permission::KeysCreate] })).await;
    // It is asked, and still sends: nobody may close it.
    let mut asking = connect(&app.url).await;
    let body = json!({ "name": "slow", "environment": "test" }).to_string();
    let head = format!(
        "POST /api/v1/keys HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    asking.write_all(head.as_bytes()).await.expect("written");
    let mut held = Vec::new();
    for _ in 0..200 {
        held.push(connect(&app.url).await);
    }
    let answer = tokio::time::timeout(Duration::from_secs(10), reqwest::get(format!("{}/livez", app.url))).await;
    assert_eq!(answer.expect("in time").expect("an answer").status(), StatusCode::OK);
    let mut closed = 0;
    for stream in &mut held {
        let read = tokio::time::timeout(Duration::from_millis(1), stream.read(&mut [0])).await;
        closed += usize::from(matches!(read, Ok(Ok(0) | Err(_))));
    }
    assert!(closed >= 200 - 40, "only {closed} of 200 were closed");
    asking.write_all(body.as_bytes()).await.expect("written");
    let head = head_of(&mut asking).await;
    assert!(head.starts_with("HTTP/1.1 201"), "{head}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_holds_all_connections_with_bodies_or_answers_keeps_nobody_out() {
    let app = app_with(Patience {
        connections: 40,
        head: Duration::from_secs(600),
        idle: Duration::from_secs(600),
        unread: Duration::from_secs(600),
        ..SHORT
    })
    .await;
    let body =
        b"POST /sign-in HTTP/1.1\r\nhost: localhost\r\nsec-fetch-site: same-origin\r\ncontent-length: 10\r\n\r\n";
    let answer = b"GET /api/v1/openapi.json HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(100);
    for sent in [&body[..], &answer[..]] {
        let mut held = Vec::new();
        for _ in 0..100 {
            let mut stream = connect(&app.url).await;
            // Those that are closed again may not take it.
            drop(tokio::time::timeout(Duration::from_millis(100), stream.write_all(sent)).await);
            held.push(stream);
        }
        for _ in 0..3 {
            let asked = reqwest::get(format!("{}/livez", app.url));
            let answer = tokio::time::timeout(Duration::from_secs(10), asked).await.expect("in time");
            assert_eq!(answer.expect("an answer").status(), StatusCode::OK);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_reads_slowly_and_goes_on_reading_is_served() {
    let app = app_with(SHORT).await;
    let mut stream = connect(&app.url).await;
    let ask = b"GET /api/v1/openapi.json HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(40);
    stream.write_all(&ask).await.expect("written");
    let began = Instant::now();
    let mut some = vec![0; 16 * 1024];
    while began.elapsed() < SHORT.unread * 4 {
        stream.read_exact(&mut some).await.expect("more of it");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_waits_for_what_is_being_answered_and_for_nobody_else() {
    let (database, data_dir) = (TestDatabase::create().await, DataDir::create());
    let url = database.url();
    let settings = [("DATABASE_URL", url.as_str()), ("TRONCH_SHUTDOWN_SECONDS", "60")];
    let server = Server::start(&data_dir, &settings).await;
    let token = bootstrap(&data_dir, &settings, "acme", PASSWORD);
    let body = json!({ "name": "slow", "environment": "test" }).to_string();
    let mut asking = connect(&server.url).await;
    let head = format!(
        "POST /api/v1/keys HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    asking.write_all(head.as_bytes()).await.expect("written");
    let mut others = [connect(&server.url).await, connect(&server.url).await, connect(&server.ops_url).await];
    others[1].write_all(b"GET /livez HTTP/1.1\r\nhost: local").await.expect("written");
    tokio::time::sleep(Duration::from_millis(300)).await;
    let began = Instant::now();
    let stopping = tokio::task::spawn_blocking(move || server.stop());
    for other in &mut others {
        assert_eq!(until_closed(other).await.0, "");
    }
    assert!(began.elapsed() < Duration::from_secs(3), "the others were closed after {:?}", began.elapsed());
    assert!(!stopping.is_finished(), "it waits for whoever is being answered");
    asking.write_all(body.as_bytes()).await.expect("written");
    let (said, _) = until_closed(&mut asking).await;
    assert!(said.starts_with("HTTP/1.1 201") && said.contains("connection: close"), "{said}");
    let log = stopping.await.expect("an end in order");
    assert!(!log.contains("cut off") && began.elapsed() < Duration::from_secs(20), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_does_not_end_has_its_time() {
    let app = TestApp::start().await;
    let token = app.token("acme", &json!({ "permissions": Permission::ALL })).await;
    let member = app.member(&owner("acme")).await;
    let cookie = member.form("/sign-in", &[("email", &owner("acme")), ("password", PASSWORD)]).await;
    let cookie = cookie.header("set-cookie").split(';').next().expect("a cookie").to_owned();
    let by_token = format!("authorization: Bearer {token}\r\ncontent-type: application/json");
    let by_cookie =
        format!("cookie: {cookie}\r\nsec-fetch-site: same-origin\r\ncontent-type: application/x-www-form-urlencoded");
    let mut dripping = tokio::task::JoinSet::new();
    for (path, credential, most) in [
        ("/api/v1/keys/verify", &by_token, 20),
        ("/api/v1/limits/check", &by_token, 20),
        ("/api/v1/keys", &by_token, 20),
        ("/t/acme/keys/new", &by_cookie, 30),
        ("/sign-in", &by_cookie, 30),
    ] {
        let head =
            format!("POST {path} HTTP/1.1\r\nhost: localhost\r\n{credential}\r\ncontent-length: 60000\r\n\r\n{{");
        let mut stream = connect(&app.url).await;
        stream.write_all(head.as_bytes()).await.expect("written");
        dripping.spawn(async move {
            let (mut from, mut to) = stream.into_split();
            let began = Instant::now();
            let sending = tokio::spawn(async move {
                while to.write_all(b" ").await.is_ok() {
                    tokio::time::sleep(Duration::from_millis(250)).await;
                }
            });
            let mut said = vec![0; 12];
            from.read_exact(&mut said).await.expect("an answer");
            sending.abort();
            (path, most, String::from_utf8_lossy(&said).into_owned(), began.elapsed())
        });
    }
    while let Some(answered) = dripping.join_next().await {
        let (path, most, said, after) = answered.expect("no panic");
        assert_eq!(said, "HTTP/1.1 503", "{path}");
        assert!(after.as_secs() >= most - 1 && after.as_secs() <= most + 5, "{path} after {after:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_and_bodies_have_a_size() {
    let app = app_with(SHORT).await;
    let refused = async |sent: Vec<u8>| {
        let mut stream = connect(&app.url).await;
        // It may be closed before all is written.
        drop(stream.write_all(&sent).await);
        until_closed(&mut stream).await.0
    };
    let long = "a".repeat(64 * 1024);
    for url in ["/livez", "/api/v1/keys", "/api/v1/keys/verify", "/sign-in"] {
        let said =
            refused(format!("GET {url} HTTP/1.1\r\nhost: localhost\r\nx-long: {long}\r\n\r\n").into_bytes()).await;
        assert!(said.starts_with("HTTP/1.1 431"), "{url}: {said}");
        let said = refused(format!("GET {url}?{long} HTTP/1.1\r\nhost: localhost\r\n\r\n").into_bytes()).await;
        assert!(said.starts_with("HTTP/1.1 4"), "{url}: {said}");
    }
    let many: String = (0..200).map(|number| format!("x-{number}: 1\r\n")).collect();
    let said = refused(format!("GET /livez HTTP/1.1\r\nhost: localhost\r\n{many}\r\n").into_bytes()).await;
    assert!(said.starts_with("HTTP/1.1 431"), "{said}");
    // HTTP/2 is not spoken: its first words are refused, and nothing is kept for them.
    let said = refused(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec()).await;
    assert!(said.is_empty() || said.starts_with("HTTP/1.1 400"), "{said}");
    // A body without a length that does not end.
    let token = app.token("acme", &json!({ "permissions": Permission::ALL })).await;
    for path in ["/api/v1/keys", "/api/v1/keys/verify"] {
        let mut stream = connect(&app.url).await;
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n\
             content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.expect("written");
        let (mut from, mut to) = stream.into_split();
        let chunk = format!("2000\r\n{}\r\n", " ".repeat(0x2000));
        let sending = tokio::spawn(async move { while to.write_all(chunk.as_bytes()).await.is_ok() {} });
        let mut said = vec![0; 12];
        from.read_exact(&mut said).await.expect("an answer");
        assert_eq!(String::from_utf8_lossy(&said), "HTTP/1.1 413", "{path}");
        eventually("the connection is closed", async || sending.is_finished()).await;
    }
}
