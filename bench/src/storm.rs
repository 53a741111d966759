//! Revocations on three nodes under load: how long a revoked key is still found valid somewhere.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::ensure;
use tokio::task::JoinSet;

use crate::client::{self, Line};
use crate::open_loop::{Stream, percentile};
use crate::product::{Installation, Running, Start};
use crate::{Measured, fill};

const NODES: usize = 3;

/// Revocations under way.
const AT_ONCE: usize = 8;

/// Honest questions a second on each node meanwhile.
const BESIDE: u32 = 500;

/// After so long a node that still finds the key valid has broken the promise.
const BOUND: Duration = Duration::from_secs(5);

/// Revokes the first keys; half of them wait for all nodes.
#[expect(clippy::print_stdout, reason = "the figures are what it is for")]
pub async fn run(measured: &Measured, revocations: usize) -> anyhow::Result<()> {
    let installation = Arc::new(Installation::prepare(&measured.tronch, &measured.database_url)?);
    let keys = fill::fresh_keys(&installation, revocations * 2).await?;
    let ids = fill::ids(&installation, &keys).await?;
    let honest = fill::keys(&installation, 1_000).await?;
    let mut nodes = Vec::new();
    for _ in 0..NODES {
        nodes.push(Running::product(&installation, &Start::default())?);
    }
    let urls: Arc<Vec<String>> = Arc::new(nodes.iter().map(|node| node.url.clone()).collect());
    for node in &nodes {
        node.wait_until_ready().await?;
        node.warm(&installation.token, &honest).await?;
        node.warm(&installation.token, &keys).await?;
    }
    let requests = Arc::new(honest.iter().map(|key| client::verify(&installation.token, key)).collect::<Vec<_>>());
    let beside: JoinSet<_> = nodes
        .iter()
        .map(|node| Stream {
            url: node.url.clone(),
            requests: Arc::clone(&requests),
            per_second: BESIDE,
            connections: 16,
            from: 0,
        })
        .map(|stream| async move { stream.run(u64::MAX).await.map(|_| ()) })
        .collect();
    let work: Arc<Vec<(String, String)>> =
        Arc::new(keys.into_iter().zip(ids.iter().map(ToString::to_string)).collect());
    for (name, query, range) in
        [("wait=all", "?wait=all", 0..revocations), ("without", "", revocations..revocations * 2)]
    {
        let next = Arc::new(AtomicUsize::new(range.start));
        let began = Instant::now();
        let mut tasks = JoinSet::new();
        for _ in 0..AT_ONCE {
            let revoker = Revoker { urls: Arc::clone(&urls), token: installation.token.clone(), query, end: range.end };
            tasks.spawn(revoker.run(Arc::clone(&work), Arc::clone(&next)));
        }
        let mut seen = Seen::default();
        while let Some(some) = tasks.join_next().await {
            let some = some??;
            seen.last_valid.extend(some.last_valid);
            seen.valid_after += some.valid_after;
            seen.not_confirmed += some.not_confirmed;
        }
        seen.last_valid.sort_unstable();
        println!(
            "{name}: {revocations} revocations in {:?}, {BESIDE}/s beside on each of {NODES} nodes: VALID in a call \
             begun after the answer: {}; not confirmed by all: {}; last VALID after the answer: p50 {:?}, p99 {:?}, \
             max {:?}",
            began.elapsed(),
            seen.valid_after,
            seen.not_confirmed,
            percentile(&seen.last_valid, 50.0),
            percentile(&seen.last_valid, 99.0),
            percentile(&seen.last_valid, 100.0),
        );
    }
    drop(beside);
    Ok(())
}

struct Revoker {
    urls: Arc<Vec<String>>,
    token: String,
    query: &'static str,
    end: usize,
}

#[derive(Default)]
struct Seen {
    /// For each revocation, how long after its answer the last VALID came from any node; nothing is zero.
    last_valid: Vec<Duration>,
    valid_after: u64,
    not_confirmed: u64,
}

impl Revoker {
    async fn run(self, work: Arc<Vec<(String, String)>>, next: Arc<AtomicUsize>) -> anyhow::Result<Seen> {
        let mut seen = Seen::default();
        let mut lines = Vec::new();
        for url in self.urls.iter() {
            lines.push(Line::connect(url).await?);
        }
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= self.end {
                return Ok(seen);
            }
            let (key, id) = &work[number];
            let revoke = client::other("DELETE", &format!("/api/v1/keys/{id}{}", self.query), &self.token, "");
            let mut answer = lines[number % NODES].ask(&revoke).await?;
            // One token may not ask for more; whoever waits as told is answered.
            while answer.status == 429 {
                tokio::time::sleep(Duration::from_secs(1)).await;
                answer = lines[number % NODES].ask(&revoke).await?;
            }
            ensure!(answer.status == 200, "{}", answer.body);
            let answered = Instant::now();
            // That which all have confirmed is the one that must never be valid.
            let is_confirmed = !self.query.is_empty() && answer.body.contains("\"unconfirmed\":[]");
            seen.not_confirmed += u64::from(!self.query.is_empty() && !is_confirmed);
            let ask = client::verify(&self.token, key);
            let mut last_valid = Duration::ZERO;
            for line in &mut lines {
                while line.ask(&ask).await?.code == "VALID" {
                    last_valid = last_valid.max(answered.elapsed());
                    seen.valid_after += u64::from(is_confirmed);
                    ensure!(last_valid < BOUND, "a node goes on answering VALID");
                }
            }
            seen.last_valid.push(last_valid);
        }
    }
}
