//! Requests whose end two readers could see in two places (RFC 9112, section 11.2: request smuggling). A proxy in front and we
//! must never disagree: either the request is refused and the connection closed, or exactly one is answered and the connection
//! closed.

use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tronch_core::Permission;

use crate::support::TestApp;

/// What a proxy would take for the body of the first request, and somebody may want to be the second.
const HIDDEN: &str = "GET /livez?hidden HTTP/1.1\r\nhost: localhost\r\n\r\n";

/// The status of each answer, and whether the connection was closed after them.
async fn answers(url: &str, sent: &str) -> (Vec<u16>, bool) {
    let address = url.trim_start_matches("http://").replace("localhost", "127.0.0.1");
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    stream.write_all(sent.as_bytes()).await.expect("written");
    let mut said = Vec::new();
    let read = tokio::time::timeout(Duration::from_millis(1_500), stream.read_to_end(&mut said)).await;
    let text = String::from_utf8_lossy(&said).into_owned();
    let statuses = text.split("HTTP/1.1 ").skip(1).map(|rest| rest[..3].parse().expect("a status")).collect();
    (statuses, read.is_ok())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_hides_in_the_body_of_another() {
    let app = TestApp::start().await;
    let token = app.token("acme", &json!({ "permissions": Permission::ALL })).await;
    let length = HIDDEN.len();
    let chunked = format!("0\r\n\r\n{HIDDEN}");
    let chunks = chunked.len();
    // (the head's fields, the body)
    let ambiguous = [
        (format!("content-length: {chunks}\r\ntransfer-encoding: chunked"), chunked.clone()),
        (format!("transfer-encoding: chunked\r\ncontent-length: {chunks}"), chunked.clone()),
        (format!("content-length: {length}\r\ncontent-length: 0"), HIDDEN.to_owned()),
        (format!("content-length: 0\r\ncontent-length: {length}"), HIDDEN.to_owned()),
        (format!("content-length: 0, {length}"), HIDDEN.to_owned()),
        (format!("content-length: +{length}"), HIDDEN.to_owned()),
        (format!("content-length: -{length}"), HIDDEN.to_owned()),
        (format!("content-length: 0x{length:x}"), HIDDEN.to_owned()),
        ("content-length: 99999999999999999999999".to_owned(), HIDDEN.to_owned()),
        (format!("content-length : {length}"), HIDDEN.to_owned()),
        (format!("content-length: 0\r\n content-length: {length}"), HIDDEN.to_owned()),
        (format!("content-length: {length}\r\n\tfolded"), HIDDEN.to_owned()),
        (format!("transfer-encoding : chunked\r\ncontent-length: {chunks}"), chunked.clone()),
        ("transfer-encoding: xchunked".to_owned(), chunked.clone()),
        ("transfer-encoding: chunked, identity".to_owned(), chunked.clone()),
        ("transfer-encoding: identity, chunked, gzip".to_owned(), chunked.clone()),
        ("transfer-encoding: gzip".to_owned(), chunked.clone()),
        (format!("transfer-encoding: \u{b}chunked\r\ncontent-length: {chunks}"), chunked.clone()),
        ("transfer-encoding: chunked".to_owned(), format!("00x\r\n\r\n{HIDDEN}")),
        ("transfer-encoding: chunked".to_owned(), format!("-0\r\n\r\n{HIDDEN}")),
        ("transfer-encoding: chunked".to_owned(), format!("1\nZ\n0\n\n{HIDDEN}")),
        ("transfer-encoding: chunked".to_owned(), format!("fffffffffffffffff\r\n{HIDDEN}")),
        ("transfer-encoding: chunked".to_owned(), format!("0;a\nb\r\n\r\n{HIDDEN}")),
    ];
    for path in ["/api/v1/keys", "/api/v1/keys/verify", "/sign-in"] {
        for (fields, body) in &ambiguous {
            let head = format!(
                "POST {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n\
                 content-type: application/json\r\n{fields}\r\n\r\n"
            );
            let (statuses, closed) = answers(&app.url, &format!("{head}{body}")).await;
            let hidden_was_answered = statuses.len() > 1;
            assert!(!hidden_was_answered, "{path} {fields:?} {body:?}: {statuses:?}");
            assert!(closed, "{path} {fields:?} {body:?}: {statuses:?}, and the connection stays open");
            assert!(statuses.iter().all(|status| (400..500).contains(status)), "{path} {fields:?}: {statuses:?}");
        }
    }
    // What is in order passes, so that the tries above fail for the right reason; and what follows it is a request of its own.
    let (statuses, closed) = answers(&app.url, &format!("{HIDDEN}{HIDDEN}")).await;
    assert_eq!((statuses, closed), (vec![200, 200], false));
    let body = json!({ "key": "none" }).to_string();
    let head = format!("POST /api/v1/keys/verify HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}");
    let with_length =
        format!("{head}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}{HIDDEN}", body.len());
    let in_chunks = format!(
        "{head}\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n{HIDDEN}",
        body.len()
    );
    for sent in [with_length, in_chunks] {
        let (statuses, closed) = answers(&app.url, &sent).await;
        assert_eq!((statuses, closed), (vec![200, 200], false), "{sent}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_line_and_a_host_are_read_in_one_way() {
    let app = TestApp::start().await;
    for line in [
        "GET  /livez HTTP/1.1",
        "GET /livez  HTTP/1.1",
        "GET /li\tvez HTTP/1.1",
        "GET /livez HTTP/1.2",
        "GET /livez HTTP/11",
        "GET /livez",
        "GET /livez HTTP/0.9",
        "G\u{e9}T /livez HTTP/1.1",
        "GET livez HTTP/1.1",
        "CONNECT localhost:80 HTTP/1.1",
    ] {
        let (statuses, closed) = answers(&app.url, &format!("{line}\r\nhost: localhost\r\n\r\n{HIDDEN}")).await;
        assert!(closed && statuses.len() <= 1 && statuses.iter().all(|status| *status >= 400), "{line}: {statuses:?}");
    }
    for fields in ["x\u{0}y: 1", "x: a\rb", "x: a\u{0}b", ": none", "x y: 1", "x"] {
        let (statuses, closed) =
            answers(&app.url, &format!("GET /livez HTTP/1.1\r\nhost: localhost\r\n{fields}\r\n\r\n{HIDDEN}")).await;
        assert_eq!((statuses, closed), (vec![400], true), "{fields:?}");
    }
}
