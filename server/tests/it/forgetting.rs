//! When a process must forget what it remembers: it was taken off the list of nodes, or the database is not what it was.
//! Each happens while several renewals are under way, which were asked before.

use std::time::Duration;

use crate::nodes::{Nodes, code};
use crate::support::{Weather, eventually};

/// How late the second node is told: more than three renewals are always under way.
const LATE: Duration = Duration::from_millis(700);

/// How often the second node has forgotten everything, and why.
async fn forgotten(nodes: &Nodes, why: &str) -> u32 {
    let name = format!("tronch_cache_forgotten_total{{why=\"{why}\"}} ");
    let metrics = nodes.metrics(1).await;
    metrics.lines().find_map(|line| line.strip_prefix(&name)).map_or(0, |count| count.parse().expect("a count"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_was_taken_off_the_list_forgets_once_and_comes_back() {
    let nodes = Nodes::start(2).await;
    let (id, ask) = nodes.warm_key().await;
    let system = nodes.database.connect_as_system().await;
    nodes.proxies[1].set(Weather::AnswersLate(LATE));
    tokio::time::sleep(LATE * 2).await;
    system.execute("DELETE FROM nodes", &[]).await.expect("deleted");
    eventually("it has noticed", async || forgotten(&nodes, "off_the_list").await == 1).await;
    eventually("both are on the list again", async || {
        let sql = "SELECT count(*) FROM nodes";
        system.query_one(sql, &[]).await.expect("a count").get::<_, i64>(0) == 2
    })
    .await;
    // All that were under way have been answered by then.
    tokio::time::sleep(LATE * 2).await;
    assert_eq!(forgotten(&nodes, "off_the_list").await, 1);
    nodes.proxies[1].set(Weather::Fair);
    // What is still on the way arrives.
    tokio::time::sleep(LATE).await;
    eventually("it answers again", async || code(&nodes.service(1), &ask).await == "VALID").await;
    let answer = nodes.service(0).delete(&format!("/api/v1/keys/{id}?wait=all")).await.json();
    let confirmation = &answer["confirmation"];
    assert_eq!(confirmation["confirmed"].as_array().map(Vec::len), Some(2), "{confirmation}");
    eventually("it is refused", async || code(&nodes.service(1), &ask).await == "REVOKED").await;
}

/// As after a backup that was restored: the last changes are lost, and their numbers given again, to others.
#[tokio::test(flavor = "multi_thread")]
async fn after_the_log_has_gone_back_all_is_forgotten_and_read_anew() {
    let nodes = Nodes::start(2).await;
    for _ in 0..3 {
        let (id, _) = nodes.warm_key().await;
        assert!(nodes.service(0).delete(&format!("/api/v1/keys/{id}?wait=all")).await.status.is_success());
    }
    let mut keys = Vec::new();
    for _ in 0..5 {
        keys.push(nodes.warm_key().await);
    }
    let system = nodes.database.connect_as_system().await;
    nodes.proxies[1].set(Weather::AnswersLate(LATE));
    tokio::time::sleep(LATE * 2).await;
    let back = "BEGIN; CREATE TABLE head_again (LIKE change_log_head INCLUDING ALL); \
                INSERT INTO head_again SELECT * FROM change_log_head; UPDATE head_again SET n = n - 3; \
                DELETE FROM change_log WHERE n > (SELECT n FROM head_again); \
                UPDATE nodes SET applied = least(applied, (SELECT n FROM head_again)); \
                DROP TABLE change_log_head; ALTER TABLE head_again RENAME TO change_log_head; COMMIT";
    system.batch_execute(back).await.expect("gone back");
    // The second node still says how far it was in the log that is gone: nobody may take that for a number of this one.
    let confirmed = async {
        let (id, ask) = &keys[0];
        let answer = nodes.service(0).delete(&format!("/api/v1/keys/{id}?wait=all")).await.json();
        let unconfirmed = answer["confirmation"]["unconfirmed"].as_array().expect("who has not confirmed").len();
        let code = code(&nodes.service(1), ask).await;
        assert!(unconfirmed == 1 || code != "VALID", "{code}: {answer}");
    };
    // Together they have the numbers that it had heard of, and more, before it notices.
    let others = async {
        tokio::time::sleep(LATE / 7).await;
        for (id, _) in &keys[1..4] {
            assert!(nodes.service(0).delete(&format!("/api/v1/keys/{id}")).await.status.is_success());
        }
    };
    tokio::join!(confirmed, others);
    eventually("it has noticed", async || forgotten(&nodes, "another_database").await == 1).await;
    nodes.proxies[1].set(Weather::Fair);
    // What is still on the way arrives.
    tokio::time::sleep(LATE).await;
    eventually("it answers again", async || code(&nodes.service(1), &keys[4].1).await == "VALID").await;
    for (_, ask) in &keys[..4] {
        eventually("it is refused as what it is", async || {
            let code = code(&nodes.service(1), ask).await;
            // Answers that are still on the way may leave it cut off for a moment.
            assert!(["REVOKED", "unavailable"].contains(&code.as_str()), "{code}");
            code == "REVOKED"
        })
        .await;
    }
    assert_eq!(forgotten(&nodes, "another_database").await, 1);
    // Whoever waits for all hears of both: their numbers are of this log.
    let answer = nodes.service(0).delete(&format!("/api/v1/keys/{}?wait=all", keys[4].0)).await.json();
    assert_eq!(answer["confirmation"]["confirmed"].as_array().map(Vec::len), Some(2), "{answer}");
    eventually("it is refused", async || code(&nodes.service(1), &keys[4].1).await == "REVOKED").await;
}
