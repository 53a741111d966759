//! A limit that three nodes share through Redis, at a fixed rate: how late the latest answers are while Redis is there, hangs, and is gone.

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::json;

use crate::open_loop::{Answers, Stream};
use crate::product::{Installation, OTHER_CORE, Running, Start};
use crate::report::spread;
use crate::steady::CONNECTIONS;
use crate::{Measured, client, fill};

const NODES: usize = 3;

/// As long as nodes take to see that it is back, and then some.
const SETTLED: Duration = Duration::from_secs(2);

/// A Redis of our own, killed with this value.
struct Redis {
    port: u16,
    child: Child,
}

impl Redis {
    fn start(port: u16) -> anyhow::Result<Self> {
        let mut command = Command::new("taskset");
        command.args(["-c", OTHER_CORE, "redis-server", "--port", &port.to_string(), "--bind", "127.0.0.1"]);
        let child = command.args(["--save", "", "--appendonly", "no"]).stdout(Stdio::null()).spawn();
        Ok(Self { port, child: child.context("this needs redis-server")? })
    }

    fn signal(&self, name: &str) -> anyhow::Result<()> {
        let sent = Command::new("kill").args([name, &self.child.id().to_string()]).status()?;
        ensure!(sent.success(), "kill {name} failed");
        Ok(())
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        if self.child.kill().is_ok() && self.child.wait().is_err() {
            eprintln!("Redis was killed and not seen to end");
        }
    }
}

/// Turns with Redis, while it hangs, with it again, and while it is gone.
#[expect(clippy::print_stdout, reason = "the figures are what it is for")]
pub async fn run(measured: &Measured, mode: &str, per_second: u32) -> anyhow::Result<()> {
    let installation = Installation::prepare(&measured.tronch, &measured.database_url)?;
    let keys = fill::keys(&installation, measured.keys).await?;
    let asked = &keys[..measured.asked.min(keys.len())];
    let mut redis = Redis::start(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())?;
    tokio::time::sleep(SETTLED).await;
    let url = format!("redis://127.0.0.1:{}/0", redis.port);
    let settings = [("REDIS_URL", url.as_str())];
    let mut nodes = Vec::new();
    for _ in 0..NODES {
        nodes.push(Running::product(&installation, &Start { settings: &settings, ..Start::default() })?);
    }
    for node in &nodes {
        node.wait_until_ready().await?;
    }
    let burst = json!({ "capacity": 1_000_000, "refill": 1_000_000 });
    let limit = json!({ "name": "shared", "project": "default", "mode": mode, "burst": burst });
    let address = format!("{}/api/v1/limits?wait=all", nodes[0].url);
    let answer = reqwest::Client::new().post(address).bearer_auth(&installation.token).json(&limit).send().await?;
    ensure!(answer.status().is_success(), "{}", answer.text().await?);
    for node in &nodes {
        node.warm(&installation.token, asked).await?;
    }
    let requests: Arc<Vec<_>> = Arc::new(asked.iter().map(|key| client::verify(&installation.token, key)).collect());
    let (url, connections) = (nodes[1].url.clone(), CONNECTIONS);
    let stream = Stream { url, requests, per_second, connections, from: 0 };
    let time = Duration::from_secs(measured.seconds.into());
    let mut ratios: [Vec<f64>; 2] = Default::default();
    for pair in 0..measured.pairs {
        for (fault, ratios) in ["hangs", "is gone"].into_iter().zip(&mut ratios) {
            let before = stream.run_for(time).await?;
            let without = if fault == "hangs" {
                redis.signal("-STOP")?;
                let without = stream.run_for(time).await?;
                redis.signal("-CONT")?;
                without
            } else {
                redis.signal("-KILL")?;
                stream.run_for(time).await?
            };
            if fault == "is gone" {
                redis = Redis::start(redis.port)?;
            }
            tokio::time::sleep(SETTLED).await;
            println!("pair {}: Redis is there {before}", pair + 1);
            println!("        Redis {fault} {without}");
            let p99 = |answers: &Answers| answers.percentile(99.0).as_secs_f64();
            ratios.push(p99(&without) / p99(&before));
        }
    }
    for (fault, ratios) in ["hangs", "is gone"].into_iter().zip(ratios) {
        println!("{mode}, {per_second}/s: p99 while Redis {fault} ÷ p99 before: {}", spread(ratios));
    }
    Ok(())
}
