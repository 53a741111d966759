//! TLS to the stores: a connection is encrypted, and whoever has not the right certificate is told nothing.

use serde_json::json;
use tronch_engine::RedisUrl;

use crate::limit_totals::House;
use crate::limits::{key, set};
use crate::support::{
    DataDir, PASSWORD, RedisServer, Server, TestDatabase, TlsFront, bootstrap, command, eventually, run,
};

/// The address of a database behind a front, under the name that its certificate has, or another.
fn through(front: &TlsFront, url: &str, host: &str, query: &str) -> String {
    let (start, rest) = url.split_once('@').expect("a user");
    let (_, database) = rest.split_once('/').expect("a database");
    format!("{start}@{host}:{}/{database}?{query}", front.port)
}

fn server_of(url: &str) -> String {
    let (_, rest) = url.split_once('@').expect("a user");
    rest.split('/').next().expect("a server").replace("localhost", "127.0.0.1")
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_is_asked_over_tls_and_only_who_has_the_right_certificate() {
    let database = TestDatabase::create().await;
    let front = TlsFront::before(server_of(&database.url()), true).await;
    let other = TlsFront::before(server_of(&database.url()), true).await;
    let roots = format!("sslrootcert={}", front.roots().display());
    let data_dir = DataDir::create();
    let full = through(&front, &database.url(), "localhost", &format!("sslmode=verify-full&{roots}"));
    let settings = [("DATABASE_URL", full.as_str())];
    let server = Server::start(&data_dir, &settings).await;
    let token = bootstrap(&data_dir, &settings, "acme", PASSWORD);
    let body = json!({ "name": "over TLS", "environment": "live" });
    let (_, secret) = server.service(&token).create_key(&body).await;
    assert_eq!(server.service(&token).verify(&json!({ "key": secret })).await["code"], "VALID");
    assert!(front.connections() > 5, "every pool, and who follows the changes: {}", front.connections());
    server.stop();

    let check = |url: &str| {
        let mut command = command(&data_dir, &["tenant", "restore"]);
        let output = run(command.env("DATABASE_URL", url), "");
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let url = |front: &TlsFront, host: &str, query: &str| through(front, &database.url(), host, query);
    for (url, passes, words) in [
        (url(&front, "localhost", "sslmode=require"), true, ""),
        (url(&front, "127.0.0.1", &format!("sslmode=verify-ca&{roots}")), true, ""),
        (url(&front, "localhost", &roots), true, ""),
        (url(&front, "127.0.0.1", &format!("sslmode=verify-full&{roots}")), false, "not valid for name"),
        (url(&other, "localhost", &format!("sslmode=verify-full&{roots}")), false, "invalid peer certificate"),
        (url(&other, "localhost", &format!("sslmode=verify-ca&{roots}")), false, "invalid peer certificate"),
        (url(&front, "localhost", "sslmode=verify-full"), false, "invalid peer certificate"),
        (url(&front, "localhost", "sslmode=sometimes"), false, "sslmode=sometimes is none"),
        (url(&front, "localhost", "sslmode=verify-full&sslrootcert=/nowhere.pem"), false, "names /nowhere.pem"),
        (url(&front, "localhost", "sslmode=disable"), false, "Postgres cannot be reached"),
    ] {
        let (passed, said) = check(&url);
        assert_eq!(passed, passes, "{url}: {said}");
        assert!(said.contains(words), "{url}: {said}");
    }
    // A server without TLS is not taken for one, whatever it answers.
    let (passed, said) = check(&format!("{}?sslmode=require", database.url()));
    assert!(!passed && said.contains("TLS"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_is_asked_over_tls_and_only_who_has_the_right_certificate() {
    let redis = RedisServer::start().await;
    let front = TlsFront::before(format!("127.0.0.1:{}", redis.port), false).await;
    let other = TlsFront::before(format!("127.0.0.1:{}", redis.port), false).await;
    let house = House::build().await;
    let url = format!("rediss://localhost:{}/0?sslrootcert={}", front.port, front.roots().display());
    let wrong = format!("rediss://localhost:{}/0?sslrootcert={}", other.port, front.roots().display());
    let database = house.database.url();
    let (_first, service) = house.start_with(0, &database, &[("REDIS_URL", &url)]).await;
    let (_second, beside) = house.start_with(1, &database, &[("REDIS_URL", &url)]).await;
    let (id, ask) = key(&service, json!({})).await;
    let limit = json!({ "name": "shared", "key_id": id, "mode": "exact", "window": { "total": 6, "seconds": 3600 } });
    set(&service, &limit).await;
    for node in [&service, &beside] {
        let mut read = ask.clone();
        read["cost"] = json!(0);
        eventually("it goes by the limit", async || {
            node.verify(&read).await["limits"].as_array().is_some_and(|limits| limits.len() == 1)
        })
        .await;
    }
    let mut passed = 0;
    for _ in 0..6 {
        for node in [&service, &beside] {
            passed += u32::from(node.verify(&ask).await["code"] == "VALID");
        }
    }
    assert_eq!(passed, 6, "both count together");
    assert!(front.connections() >= 2, "{}", front.connections());
    // With another certificate there is no Redis: health says so, and each goes by its part.
    let (third, alone) = house.start_with(2, &database, &[("REDIS_URL", &wrong)]).await;
    eventually("health tells of it", async || {
        alone.verify(&ask).await;
        alone.get("/api/v1/health").await.json()["checks"]["limits:shared"][0]["status"] == "warn"
    })
    .await;
    assert_eq!(other.connections(), 0, "nothing was said to it");
    third.stop();
}

#[test]
fn over_tls_addresses_of_redis_begin_with_rediss_and_ask_for_the_name() {
    for right in [
        "rediss://cache:6380",
        "rediss://user:pass@cache:6380/1?sslrootcert=/ca.pem",
        "rediss://cache:6380?sslmode=verify-full",
        "rediss-sentinel://one:26379,two:26379/main/3",
        "rediss-cluster://one:6379,two:6379?sslrootcert=/ca.pem",
    ] {
        assert!(RedisUrl::parse(right).is_ok(), "{right}");
    }
    for wrong in ["rediss://cache:6380?sslmode=require", "rediss://cache?sslmode=sometimes", "redissentinel://one/main"]
    {
        assert!(RedisUrl::parse(wrong).is_err(), "{wrong}");
    }
}
