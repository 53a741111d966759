//! Usage, fed in process: whether everything that is counted is also stored.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use tronch_core::{PresentedKey, PresentedToken};
use tronch_engine::verify::{Costs, VerifyRequest};
use tronch_engine::{ArgonCost, Master, NodeName, PreparedDatabase, Settings};

use crate::product::{Installation, MASTER};
use crate::{Measured, fill, probe};

/// Validates so many a second for as long as is measured.
#[expect(clippy::print_stdout, reason = "the figures are what it is for")]
pub async fn run(measured: &Measured, per_second: u32) -> anyhow::Result<()> {
    let installation = Installation::prepare(&measured.tronch, &measured.database_url)?;
    let keys = fill::keys(&installation, measured.keys).await?;
    let asked = &keys[..measured.asked.min(keys.len())];
    let settings = Settings {
        database_url: measured.database_url.clone(),
        connections: 10,
        lookup_wait: Duration::from_secs(1),
        remembered_keys: 2_000_000,
        argon: ArgonCost::default(),
        redis: None,
        mail: None,
    };
    let master = Master::from_hex(MASTER).context("a master secret")?;
    let engine = PreparedDatabase::prepare(&settings).await?.open(&[master], "the load").await?;
    let verifier = engine.join(NodeName { name: "load".to_owned(), version: "0" }).await?;
    let presented = PresentedToken::parse(&installation.token).map_err(|reason| anyhow::anyhow!("{reason}"))?;
    let token = verifier.authenticate(&presented).await?;
    let ask = async |key: &String| {
        let request = VerifyRequest {
            key: PresentedKey::parse(key),
            project: None,
            environment: None,
            permissions: None,
            costs: Costs::default(),
        };
        verifier.verify(&token, request).await
    };
    for key in asked {
        ensure!(ask(key).await?.facts().is_some(), "a key that is not found");
    }
    let began = Instant::now();
    let mut count = 0_u64;
    let time = Duration::from_secs(measured.seconds.into());
    while began.elapsed() < time {
        // What is due by now, and then others have their turn.
        let due = (began.elapsed().as_secs_f64() * f64::from(per_second)) as u64;
        while count < due {
            ask(&asked[usize::try_from(count.wrapping_mul(7_919))? % asked.len()]).await?;
            count += 1;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let took = began.elapsed();
    engine.finish_usage(Duration::from_secs(30)).await?;
    let sql = "SELECT offered, stored, dropped FROM usage_incarnations ORDER BY started_at DESC LIMIT 1";
    let row = probe::postgres(&installation).await?.query_one(sql, &[]).await?;
    let (offered, stored, dropped): (i64, i64, i64) = (row.get(0), row.get(1), row.get(2));
    println!(
        "{count} validations of {} keys in {took:?}, {:.0}/s: offered {offered}, stored {stored}, dropped {dropped}; \
         all of it stored {:?} after the first",
        asked.len(),
        count as f64 / took.as_secs_f64(),
        began.elapsed()
    );
    engine.leave().await;
    Ok(())
}
