//! What limits cost: the same keys with two automatic limits and without any, in turns.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use crate::product::{Installation, Running, Start};
use crate::{Measured, client, closed_loop, fill, report, wrk};

/// A slow moment of the machine is both's.
const SLICE: Duration = Duration::from_secs(1);

#[expect(clippy::print_stdout, reason = "the figures are what it is for")]
pub async fn run(measured: &Measured, connections: u32) -> anyhow::Result<()> {
    let installation = Installation::prepare(&measured.tronch, &measured.database_url)?;
    let keys = fill::keys(&installation, measured.keys).await?;
    let asked = &keys[..measured.asked.min(keys.len())];
    require_none(&installation).await?;
    let requests = Arc::new(asked.iter().map(|key| client::verify(&installation.token, key)).collect());
    let product = Running::product(&installation, &Start::default())?;
    product.wait_until_ready().await?;
    let (mut turns, mut at_work) = (Vec::new(), [Vec::new(), Vec::new()]);
    for pair in 0..measured.pairs {
        let (mut with, mut without) = (Vec::new(), Vec::new());
        for slice in 0..measured.seconds as usize {
            // Who begins takes turns.
            for is_limited in if (pair + slice) % 2 == 0 { [true, false] } else { [false, true] } {
                let limits = if is_limited { set_two(&product, &installation.token).await? } else { Vec::new() };
                product.warm(&installation.token, asked).await?;
                let resident = product.resident_bytes()? / 1024;
                let (turn, part) = closed_loop::run(&requests, &product, connections, SLICE)?;
                at_work[usize::from(!is_limited)].push(part);
                if slice == 0 {
                    println!("{} limits a key: resident {resident} KiB", limits.len());
                }
                if is_limited {
                    with.push(turn)
                } else {
                    without.push(turn)
                }
                remove(&product, &installation.token, &limits).await?;
            }
        }
        let (with, without) = (wrk::Turn::of_slices(&with), wrk::Turn::of_slices(&without));
        println!("pair {}: with two limits {with}; without {without}", pair + 1);
        turns.push((with, without));
    }
    print!("{}", report::ratios(&turns).replace("product ÷ bare", "with two limits ÷ without"));
    let [with, without] = at_work.map(report::spread);
    println!("the server used {with} of its core with limits, {without} without");
    Ok(())
}

/// Two on the project, which each of its keys is held to by itself, and which nobody comes up against.
async fn set_two(product: &Running, token: &str) -> anyhow::Result<Vec<String>> {
    let burst = json!({ "capacity": 1_000_000, "refill": 1_000_000 });
    let window = json!({ "total": 1_000_000_000, "calendar": "day", "time_zone": "Europe/Berlin" });
    let burst = set(product, token, &json!({ "name": "burst", "project": "default", "burst": burst })).await?;
    let daily = set(product, token, &json!({ "name": "daily", "project": "default", "window": window })).await?;
    Ok(vec![burst, daily])
}

/// What an earlier run left would count, too.
pub async fn require_none(installation: &Installation) -> anyhow::Result<()> {
    let sql = "SELECT count(*) FROM limits WHERE removed_at IS NULL";
    let there: i64 = crate::probe::postgres(installation).await?.query_one(sql, &[]).await?.get(0);
    ensure!(there == 0, "the database has limits already; measure with an empty one");
    Ok(())
}

/// Sets a limit, which every node goes by from then on. Gives its id.
pub async fn set(product: &Running, token: &str, limit: &Value) -> anyhow::Result<String> {
    let address = format!("{}/api/v1/limits?wait=all", product.url);
    let answer = reqwest::Client::new().post(address).bearer_auth(token).json(limit).send().await?;
    ensure!(answer.status().is_success(), "{}", answer.text().await?);
    Ok(answer.json::<Value>().await?["id"].as_str().context("an id")?.to_owned())
}

/// Removes limits, for every node.
pub async fn remove(product: &Running, token: &str, ids: &[String]) -> anyhow::Result<()> {
    for id in ids {
        let address = format!("{}/api/v1/limits/{id}?wait=all", product.url);
        let answer = reqwest::Client::new().delete(address).bearer_auth(token).send().await?;
        ensure!(answer.status().is_success(), "{}", answer.text().await?);
    }
    Ok(())
}
