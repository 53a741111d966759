//! `load`: the product under load, and beside it, in the same run, a bare handler with the same JSON in and out. The two take
//! turns, each on a core of its own with `wrk` on another, and what is printed are ratios: medians of pairs, with their range.

mod bare;
mod fill;
mod product;
mod report;
mod wrk;

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Parser, Subcommand};

/// Measures validation under load. Needs wrk, taskset and a Postgres that may be filled.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Warm keys: the product and a bare handler in turns.
    Warm(Warm),
    /// The bare handler alone, which `warm` starts.
    #[command(hide = true)]
    Bare {
        /// Where it listens.
        port: u16,
    },
}

#[derive(clap::Args)]
struct Warm {
    /// A database that may be filled with keys; it must be empty or of an earlier run.
    #[arg(long)]
    database_url: String,
    /// The product, built for release.
    #[arg(long, default_value = "target/release/tronch")]
    tronch: PathBuf,
    /// Keys in Postgres.
    #[arg(long, default_value_t = 100_000)]
    keys: usize,
    /// Keys that are asked about.
    #[arg(long, default_value_t = 100_000)]
    asked: usize,
    /// Turns of each.
    #[arg(long, default_value_t = 5)]
    pairs: usize,
    /// Seconds of a turn.
    #[arg(long, default_value_t = 5)]
    seconds: u32,
    /// Connections of wrk.
    #[arg(long, default_value_t = 64)]
    connections: u32,
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Bare { port } => runtime()?.block_on(bare::serve(port)),
        Command::Warm(warm) => runtime()?.block_on(run_warm(warm)),
    }
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().context("no runtime")
}

#[expect(clippy::print_stdout, reason = "the figures are what it is for")]
async fn run_warm(warm: Warm) -> anyhow::Result<()> {
    let installation = product::Installation::prepare(&warm.tronch, &warm.database_url)?;
    let keys = fill::keys(&installation, warm.keys).await?;
    let asked = &keys[..warm.asked.min(keys.len())];
    let script = wrk::script(&installation.folder, &installation.token, asked)?;
    let product = product::Running::product(&installation)?;
    let bare = product::Running::bare()?;
    product.wait_until_ready().await?;
    product.warm(&installation.token, asked).await?;
    println!("{} keys in Postgres, {} asked about, {} connections", keys.len(), asked.len(), warm.connections);
    println!("resident: {} MiB", product.resident_bytes()? / 1024 / 1024);
    let mut turns = Vec::new();
    for pair in 0..warm.pairs {
        let turn = |running: &product::Running| wrk::run(&script, running, warm.connections, warm.seconds);
        // Who begins takes turns, too.
        let (ours, theirs) = if pair % 2 == 0 {
            let ours = turn(&product)?;
            (ours, turn(&bare)?)
        } else {
            let theirs = turn(&bare)?;
            (turn(&product)?, theirs)
        };
        println!("pair {}: product {ours}; bare {theirs}", pair + 1);
        turns.push((ours, theirs));
    }
    print!("{}", report::ratios(&turns));
    Ok(())
}
