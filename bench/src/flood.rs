//! Honest questions at a fixed rate, without and with forged ones beside them.

use std::process::Command;
use std::sync::Arc;

use anyhow::{Context as _, ensure};

use crate::open_loop::{Answers, Stream};
use crate::product::{Installation, Running, Start};
use crate::report::spread;
use crate::steady::CONNECTIONS;
use crate::{Measured, client, fill, probe};

/// Honest questions a second, forged ones, and how many of these: with a wrong gate, and with the right gate and a handle
/// that is nobody's.
const HONEST: u32 = 2_000;
const FORGED: u32 = 5_000;
const WRONG_GATES: u64 = 500_000;
const UNKNOWN: u64 = 50_000;

/// Turns, each without and then with the flood.
const PAIRS: u64 = 5;

/// Texts of one flood; they are asked about again and again.
const TEXTS: usize = 50_000;

#[expect(clippy::print_stdout, reason = "the figures are what it is for")]
pub async fn run(measured: &Measured) -> anyhow::Result<()> {
    let installation = Installation::prepare(&measured.tronch, &measured.database_url)?;
    let keys = fill::keys(&installation, measured.keys).await?;
    let asked = &keys[..measured.asked.min(keys.len())];
    let product = Running::product(&installation, &Start::default())?;
    product.wait_until_ready().await?;
    product.warm(&installation.token, asked).await?;
    let postgres = probe::postgres(&installation).await?;
    let strangers = fill::strangers(&installation, TEXTS).await?;
    let stream = |texts: &[String], per_second| Stream {
        url: product.url.clone(),
        requests: Arc::new(texts.iter().map(|text| client::verify(&installation.token, text)).collect()),
        per_second,
        connections: CONNECTIONS,
        from: 0,
    };
    let honest = stream(asked, HONEST);
    for (name, flood, count) in [
        ("wrong gates", stream(&fill::forged(&strangers), FORGED), WRONG_GATES),
        ("unknown handles", stream(&strangers, FORGED), UNKNOWN),
    ] {
        let seconds = count.div_ceil(u64::from(FORGED));
        let (before, resident) = (probe::look_ups(&postgres).await?, product.resident_bytes()?);
        let read = probe::counter(&product, "tronch_cold_reads_total").await?;
        let mut ratios = Vec::new();
        println!("{name}: {count} at {FORGED}/s beside {HONEST}/s honest, in {PAIRS} turns with as long without");
        for pair in 0..PAIRS {
            let honest_count = seconds.div_ceil(PAIRS) * u64::from(HONEST);
            let alone = honest.run(honest_count).await?;
            let (beside, forged) =
                tokio::try_join!(honest.run(honest_count), apart(flood.clone(), count.div_ceil(PAIRS)))?;
            println!("  pair {}: honest alone   {alone}", pair + 1);
            println!("          honest beside  {beside}");
            println!("          forged         {forged}");
            ratios.push(beside.percentile(99.0).as_secs_f64() / alone.percentile(99.0).as_secs_f64());
        }
        let read = probe::counter(&product, "tronch_cold_reads_total").await? - read;
        let look_ups = probe::look_ups(&postgres).await? - before;
        println!(
            "  p99 beside ÷ alone: {}; {read} handles looked up (Postgres: {look_ups}); resident {} → {} MiB",
            spread(ratios),
            resident >> 20,
            product.resident_bytes()? >> 20
        );
    }
    Ok(())
}

/// On a thread of its own, which steps back behind the other: what is to be seen is whether the server keeps the honest waiting, not
/// whether one client does.
async fn apart(flood: Stream, count: u64) -> anyhow::Result<Answers> {
    let asking = move || {
        step_back()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(flood.run(count))
    };
    tokio::task::spawn_blocking(asking).await?
}

/// For good: the runtime's other threads are not the same ones.
fn step_back() -> anyhow::Result<()> {
    let thread = std::fs::read_link("/proc/thread-self")?;
    let thread = thread.file_name().context("a thread")?.to_owned();
    let status = Command::new("chrt").args(["--idle", "--pid", "0"]).arg(thread).status()?;
    ensure!(status.success(), "chrt failed");
    Ok(())
}
