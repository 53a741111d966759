//! A hundred thousand keys in one project: every filter, search, order and page of the list finds its way by an index.
//! Postgres itself counts the sequential scans. Times are printed, not judged: this machine is not alone.

use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::Value;
use tokio_postgres::Client;

use crate::support::{TestApp, Visitor, eventually, owner};

const KEYS: i64 = 100_000;

/// Fills the first tenant's first project. A few are disabled, revoked, expired or used, and one is to be found.
const FILL: &str = "
    CREATE TEMP TABLE made AS
        SELECT n, gen_random_uuid() AS id, lpad(n::text, 11, '0') AS handle FROM generate_series(1, 100000) AS n;
    INSERT INTO key_handles SELECT handle FROM made;
    INSERT INTO keys (id, tenant_id, project_id, environment, handle, name, owner_external_id, kdf_phc, tag, tag_key,
                      created_at, updated_at, expires_at, disabled_at, revoked_at, last_used_at)
        SELECT made.id, projects.tenant_id, projects.id, CASE WHEN n % 2 = 0 THEN 'test' ELSE 'live' END, handle,
               CASE WHEN n = 77777 THEN 'Needle in the hay' ELSE 'key number ' || n END, 'cus_' || n % 5000,
               'x', sha256(n::text::bytea), substr(sha256(n::text::bytea), 1, 8),
               now() - make_interval(secs => n), now(), CASE WHEN n % 100 = 3 THEN now() - interval '1 hour' END,
               CASE WHEN n % 1000 = 1 THEN now() END, CASE WHEN n % 100 = 2 THEN now() END,
               CASE WHEN n % 3 = 0 THEN now() - make_interval(secs => n) END
        FROM made, projects;";

/// Sequential and index scans of `keys` so far, this connection's own among them.
async fn settled_scans(system: &Client) -> (i64, i64) {
    system.execute("SELECT pg_stat_force_next_flush()", &[]).await.expect("a flush");
    let sql = "SELECT seq_scan, idx_scan FROM pg_stat_user_tables WHERE relname = 'keys'";
    let row = system.query_one(sql, &[]).await.expect("statistics");
    (row.get(0), row.get(1))
}

async fn ask(service: &Visitor, query: &str) -> (Value, Duration) {
    let asked = Instant::now();
    let answer = service.get(&format!("/api/v1/keys?{query}")).await;
    let took = asked.elapsed();
    assert_eq!(answer.status, StatusCode::OK, "{query}: {}", answer.text);
    (answer.json(), took)
}

fn rows(page: &Value) -> usize {
    page["items"].as_array().expect("rows").len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_list_is_read_by_index_alone() {
    let app = TestApp::start().await;
    let service = app.everything_in("acme").await;
    let system = app.database.connect_as_system().await;
    system.batch_execute(FILL).await.expect("many keys");
    // What autovacuum does after so many new rows, which this Postgres is not to do at some time of its own.
    system.batch_execute("VACUUM ANALYZE keys").await.expect("a vacuum");
    let count: i64 = system.query_one("SELECT count(*) FROM keys", &[]).await.expect("a count").get(0);
    assert_eq!(count, KEYS);
    let before = settled_scans(&system).await;

    let queries = [
        "",
        "limit=100",
        "environment=live",
        "environment=test",
        "state=active",
        "state=disabled",
        "state=revoked",
        "state=expired",
        "owner=cus_42",
        "project=default",
        "search=needle",
        "search=Number%2077770",
        "search=nothing%20like%20it",
        "search=cus_42",
        "search=00000077777",
        "sort=created",
        "sort=-created",
        "sort=name",
        "sort=-name",
        "sort=last_used",
        "sort=-last_used",
        "sort=ends",
        "sort=-ends",
        "environment=live&state=revoked&sort=name",
        "owner=cus_42&state=active&sort=-last_used",
        "search=number&owner=cus_42&sort=last_used",
        "search=number&sort=name&environment=test",
        "search=needle&state=active&sort=ends",
    ];
    let mut slowest = (Duration::ZERO, String::new());
    let mut tried = 0;
    for query in queries {
        let (first, took) = ask(&service, query).await;
        let mut times = vec![took];
        if let Some(cursor) = first["next_cursor"].as_str() {
            let (second, took) = ask(&service, &format!("{query}&cursor={cursor}")).await;
            assert!(rows(&second) > 0, "{query}: the next page is empty");
            assert_ne!(first["items"][0]["id"], second["items"][0]["id"], "{query}");
            times.push(took);
        }
        println!("{times:?} {query}");
        tried += times.len();
        let longest = times.into_iter().max().expect("at least one");
        if longest > slowest.0 {
            slowest = (longest, query.to_owned());
        }
    }
    println!("{tried} requests on {KEYS} keys; the slowest took {:?}: {}", slowest.0, slowest.1);
    let (found, _) = ask(&service, "search=needle").await;
    assert_eq!((rows(&found), &found["items"][0]["name"]), (1, &"Needle in the hay".into()));
    let (found, _) = ask(&service, "search=00000077777").await;
    assert_eq!((rows(&found), &found["items"][0]["name"]), (1, &"Needle in the hay".into()));

    // What the table offers beside, and its pages as they are rendered.
    let member = app.member(&owner("acme")).await;
    for page in ["", "?status=expires-soon", "?status=rotating", "?status=unused", "?status=unused&sort=-used"] {
        let asked = Instant::now();
        let answer = member.get(&format!("/t/acme/keys{page}")).await;
        println!("{:?} /t/acme/keys{page}", asked.elapsed());
        assert_eq!(answer.status, StatusCode::OK, "{page}: {}", answer.text);
    }

    // A connection writes its statistics down when it ends, at the latest.
    app.engine.close();
    eventually("the product's connections are gone", async || {
        let sql =
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
        system.query_one(sql, &[]).await.expect("a count").get::<_, i64>(0) == 0
    })
    .await;
    let after = settled_scans(&system).await;
    assert!(after.1 > before.1, "no index was used: the statistics say nothing");
    assert_eq!(after.0, before.0, "keys were read from one end to the other");
}
