//! What limits cost: the same keys with two automatic limits and without any, in turns.

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use crate::product::{Installation, Running, Start};
use crate::{Measured, fill, report, wrk};

#[expect(clippy::print_stdout, reason = "the figures are what it is for")]
pub async fn run(measured: &Measured, connections: u32) -> anyhow::Result<()> {
    let installation = Installation::prepare(&measured.tronch, &measured.database_url)?;
    let keys = fill::keys(&installation, measured.keys).await?;
    let asked = &keys[..measured.asked.min(keys.len())];
    let script = wrk::script(&installation.folder, &installation.token, asked)?;
    let product = Running::product(&installation, &Start::default())?;
    product.wait_until_ready().await?;
    let mut turns = Vec::new();
    for pair in 0..measured.pairs {
        let (mut with, mut without) = (Vec::new(), Vec::new());
        for slice in 0..measured.seconds {
            // Who begins takes turns.
            for is_limited in if slice % 2 == 0 { [true, false] } else { [false, true] } {
                let limits = if is_limited { set(&product, &installation.token).await? } else { Vec::new() };
                product.warm(&installation.token, asked).await?;
                let resident = product.resident_bytes()? / 1024;
                let turn = wrk::run(&script, &product, connections, 1)?;
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
    Ok(())
}

/// Two on the project, which each of its keys is held to by itself, and which nobody comes up against.
async fn set(product: &Running, token: &str) -> anyhow::Result<Vec<String>> {
    let mut ids = Vec::new();
    for (name, rule) in [
        ("burst", json!({ "burst": { "capacity": 1_000_000, "refill": 1_000_000 } })),
        ("daily", json!({ "window": { "total": 1_000_000_000, "calendar": "day", "time_zone": "Europe/Berlin" } })),
    ] {
        let mut body = json!({ "name": name, "project": "default" });
        body.as_object_mut().context("an object")?.extend(rule.as_object().context("an object")?.clone());
        let address = format!("{}/api/v1/limits?wait=all", product.url);
        let answer = reqwest::Client::new().post(address).bearer_auth(token).json(&body).send().await?;
        ensure!(answer.status().is_success(), "{}", answer.text().await?);
        ids.push(answer.json::<Value>().await?["id"].as_str().context("an id")?.to_owned());
    }
    Ok(ids)
}

async fn remove(product: &Running, token: &str, ids: &[String]) -> anyhow::Result<()> {
    for id in ids {
        let address = format!("{}/api/v1/limits/{id}?wait=all", product.url);
        let answer = reqwest::Client::new().delete(address).bearer_auth(token).send().await?;
        ensure!(answer.status().is_success(), "{}", answer.text().await?);
    }
    Ok(())
}
