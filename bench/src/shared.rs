//! A limit that three nodes share through Redis, at a fixed rate: how late the latest answers are while Redis is there, and while it is
//! hung, gone, cut off, or one of several that is gone.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use crate::open_loop::{Answers, Stream};
use crate::product::{Installation, Running, Start};
use crate::redis::{Fault, Store};
use crate::report::spread;
use crate::steady::CONNECTIONS;
use crate::{Measured, client, fill, limits};

/// As long as nodes take to see that it is back, and then some.
const SETTLED: Duration = Duration::from_secs(2);

/// Turns with Redis and without, for each fault. The nodes are started anew for each: what one of them kept of a Redis that is no more
/// would count.
#[expect(clippy::print_stdout, reason = "the figures are what it is for")]
pub async fn run(measured: &Measured, faults: &[Fault], mode: &str, per_second: u32) -> anyhow::Result<()> {
    let installation = Installation::prepare(&measured.tronch, &measured.database_url)?;
    let keys = fill::keys(&installation, measured.keys).await?;
    let asked = &keys[..measured.asked.min(keys.len())];
    let requests: Arc<Vec<_>> = Arc::new(asked.iter().map(|key| client::verify(&installation.token, key)).collect());
    let time = Duration::from_secs(measured.seconds.into());
    let (mut is_limited, mut told) = (false, Vec::new());
    for fault in if faults.is_empty() { &Fault::ALL } else { faults } {
        let mut store = Store::start(*fault, &installation.folder).await?;
        let nodes = start(&installation, &store).await?;
        if !is_limited {
            let burst = json!({ "capacity": 1_000_000, "refill": 1_000_000 });
            let body = json!({ "name": "shared", "project": "default", "mode": mode, "burst": burst });
            limits::set(&nodes[0], &installation.token, &body).await?;
            is_limited = true;
        }
        for node in &nodes {
            node.warm(&installation.token, asked).await?;
        }
        let (url, requests) = (nodes[0].url.clone(), Arc::clone(&requests));
        let stream = Stream { url, requests, per_second, connections: CONNECTIONS, from: 0 };
        let mut ratios = Vec::new();
        for pair in 1..=measured.pairs {
            let with = stream.run_for(time).await?;
            store.begin_fault()?;
            let without = stream.run_for(time).await?;
            store.end_fault().await?;
            tokio::time::sleep(SETTLED).await;
            println!("pair {pair}: before {with}\n        {} {without}", fault.describe());
            let p99 = |answers: &Answers| answers.percentile(99.0).as_secs_f64();
            ratios.push(p99(&without) / p99(&with));
        }
        told.push(format!("{mode}, {per_second}/s, {}: p99 ÷ p99 before {}", fault.describe(), spread(ratios)));
        for node in nodes {
            node.stop()?;
        }
    }
    println!("{}", told.join("\n"));
    Ok(())
}

/// Three nodes, of which the first is asked.
async fn start(installation: &Installation, store: &Store) -> anyhow::Result<[Running; 3]> {
    let [asked, others] = store.urls();
    let node = |url: &str| {
        let settings = [("REDIS_URL", url)];
        Running::product(installation, &Start { settings: &settings, ..Start::default() })
    };
    let nodes = [node(&asked)?, node(&others)?, node(&others)?];
    for node in &nodes {
        node.wait_until_ready().await?;
    }
    Ok(nodes)
}
