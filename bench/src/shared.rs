//! A limit that three nodes share through Redis, at a fixed rate: how late the latest answers are while Redis is there, while it is hung,
//! gone, cut off, or one of several that is gone, and after that.

use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use serde_json::json;
use tokio::time::{Instant, sleep, sleep_until};

use crate::open_loop::{Answers, Stream};
use crate::product::{Installation, Running, Start};
use crate::redis::{Fault, Store};
use crate::report::spread;
use crate::steady::CONNECTIONS;
use crate::{Measured, client, fill, limits, probe};

/// How long a node may take to share limits again once Redis is back.
const HEARD_AGAIN: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(50);

/// Turns of three parts, one after the other under one load, for each fault. The nodes are started anew for each: what one of them
/// kept of a Redis that is no more would count.
#[expect(clippy::print_stdout, reason = "the figures are what it is for")]
pub async fn run(measured: &Measured, faults: &[Fault], mode: &str, per_second: u32) -> anyhow::Result<()> {
    let installation = Installation::prepare(&measured.tronch, &measured.database_url)?;
    let keys = fill::keys(&installation, measured.keys).await?;
    limits::require_none(&installation).await?;
    let asked = &keys[..measured.asked.min(keys.len())];
    let requests: Arc<Vec<_>> = Arc::new(asked.iter().map(|key| client::verify(&installation.token, key)).collect());
    let time = Duration::from_secs(measured.seconds.into());
    for fault in if faults.is_empty() { &Fault::ALL } else { faults } {
        let mut store = Store::start(*fault, &installation.folder).await?;
        let nodes = start(&installation, &store).await?;
        let burst = json!({ "capacity": 1_000_000, "refill": 1_000_000 });
        let limit = json!({ "name": "shared", "project": "default", "mode": mode, "burst": burst });
        let limit = limits::set(&nodes[0], &installation.token, &limit).await?;
        for node in &nodes {
            node.warm(&installation.token, asked).await?;
        }
        let (url, requests) = (nodes[0].url.clone(), Arc::clone(&requests));
        let stream = Stream { url, requests, per_second, connections: CONNECTIONS, from: 0 };
        let (mut meanwhile, mut afterwards) = (Vec::new(), Vec::new());
        for pair in 1..=measured.pairs {
            let [before, during, after] = turn(&stream, &nodes[0], &mut store, time).await?;
            println!("turn {pair}: before {before}\n  {} {during}\n  afterwards {after}", fault.describe());
            let p99 = |answers: &Answers| answers.percentile(99.0).as_secs_f64();
            meanwhile.push(p99(&during) / p99(&before));
            afterwards.push(p99(&after) / p99(&before));
        }
        let [meanwhile, afterwards] = [meanwhile, afterwards].map(spread);
        println!("{mode}, {per_second}/s, {}: p99 ÷ p99 before {meanwhile}; afterwards {afterwards}", fault.describe());
        limits::remove(&nodes[0], &installation.token, &[limit]).await?;
        for node in nodes {
            node.stop()?;
        }
    }
    Ok(())
}

/// As long with Redis as while something is wrong with it, and as long again. Fails unless the node noticed, shares limits again soon
/// after, and lets every call pass.
async fn turn(stream: &Stream, node: &Running, store: &mut Store, time: Duration) -> anyhow::Result<[Answers; 3]> {
    ensure!(!is_silent(node).await?, "the node does not share limits through Redis");
    let each = time.as_secs() * u64::from(stream.per_second);
    let (began, stream) = (Instant::now(), stream.clone());
    let asking = tokio::spawn(async move { stream.run_in_parts::<3>(each).await });
    sleep_until(began + time).await;
    store.begin_fault()?;
    sleep_until(began + time * 2).await;
    ensure!(is_silent(node).await?, "the node noticed nothing");
    store.end_fault().await?;
    let ended = Instant::now();
    while is_silent(node).await? {
        ensure!(ended.elapsed() < HEARD_AGAIN, "the node does not share limits again");
        sleep(PAUSE).await;
    }
    let parts = asking.await??;
    parts.iter().try_for_each(Answers::require_valid)?;
    Ok(parts)
}

/// Whether a node goes by its part of some limits, because nobody answered.
async fn is_silent(node: &Running) -> anyhow::Result<bool> {
    Ok(probe::counter(node, "tronch_limit_store_silent").await? > 0.0)
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
