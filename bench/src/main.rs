//! `load`: the product under load, on a core of its own. Where speed is the question, a bare handler with the same JSON in and
//! out takes turns with it, and what is printed are ratios: medians of pairs, with their range.

mod bare;
mod client;
mod closed_loop;
mod cold;
mod enumerate;
mod fill;
mod flood;
mod limits;
mod open_loop;
mod outage;
mod pipe;
mod probe;
mod product;
// The network that fails, as in the tests.
#[path = "../../server/tests/it/support/proxy.rs"]
#[expect(dead_code, reason = "the tests know more weathers")]
mod proxy;
mod redis;
mod report;
mod shared;
mod steady;
mod storm;
mod wrk;

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Parser, Subcommand};

/// Measures validation under load. Needs taskset and a Postgres that may be filled; `warm` also wrk, `shared` redis-server and redis-cli of
/// 7.0 or later.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Warm keys as fast as can be: the product and a bare handler in turns.
    Warm {
        #[command(flatten)]
        measured: Measured,
        /// Connections of wrk.
        #[arg(long, default_value_t = 64)]
        connections: u32,
        /// Other builds that take turns with it, of the same migrations. Figures of different runs do not compare.
        #[arg(long)]
        beside: Vec<PathBuf>,
    },
    /// Warm keys at a fixed rate: how late the latest answers are, the product's and the bare handler's.
    Steady {
        #[command(flatten)]
        measured: Measured,
        /// Questions a second.
        #[arg(long, default_value_t = 2_000)]
        per_second: u32,
        /// Sign-ins a second beside the product's.
        #[arg(long, default_value_t = 0)]
        sign_ins: u32,
    },
    /// Cold keys, each asked about once; then a restart under load.
    Cold {
        #[command(flatten)]
        measured: Measured,
    },
    /// Forged keys beside honest ones.
    Flood {
        #[command(flatten)]
        measured: Measured,
    },
    /// Warm keys with two limits each and without any, in turns.
    Limits {
        #[command(flatten)]
        measured: Measured,
        /// Connections, each of which asks again as soon as it is answered.
        #[arg(long, default_value_t = 64)]
        connections: u32,
    },
    /// A limit that three nodes share through Redis, at a fixed rate: with Redis, while something is wrong with it, and afterwards.
    Shared {
        #[command(flatten)]
        measured: Measured,
        /// What is wrong, one or several; all when nothing is said.
        #[arg(long, value_enum)]
        fault: Vec<redis::Fault>,
        /// `fast` or `exact`.
        #[arg(long, default_value = "fast")]
        mode: String,
        /// Questions a second to one of them.
        #[arg(long, default_value_t = 1_000)]
        per_second: u32,
    },
    /// Postgres cut off and hanging at full load.
    Outage {
        #[command(flatten)]
        measured: Measured,
    },
    /// Usage fed in process: whether everything that is counted is also stored.
    Pipe {
        #[command(flatten)]
        measured: Measured,
        /// Validations a second.
        #[arg(long, default_value_t = 100_000)]
        per_second: u32,
    },
    /// Revocations on three nodes.
    Storm {
        #[command(flatten)]
        measured: Measured,
        /// How many with `wait=all`, and as many without.
        #[arg(long, default_value_t = 10_000)]
        revocations: usize,
    },
    /// Whether the time of an answer tells who has an account.
    Enumerate {
        #[command(flatten)]
        measured: Measured,
        /// Tries of each kind at each door.
        #[arg(long, default_value_t = 500)]
        tries: u32,
    },
    /// The bare handler alone, which `warm` starts.
    #[command(hide = true)]
    Bare {
        /// Where it listens.
        port: u16,
    },
}

/// What is measured, and on which database.
#[derive(clap::Args)]
pub struct Measured {
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
    /// Seconds of a turn; of `limits`, how many turns of a second either side has in a pair.
    #[arg(long, default_value_t = 5)]
    seconds: u32,
}

fn main() -> anyhow::Result<()> {
    let command = Cli::parse().command;
    // What is fed in process may have the whole machine, and the bare handler was given its core.
    if !matches!(command, Command::Bare { .. } | Command::Pipe { .. }) {
        product::leave_server_core()?;
    }
    match command {
        Command::Bare { port } => runtime()?.block_on(bare::serve(port)),
        Command::Warm { measured, connections, beside } => {
            runtime()?.block_on(run_warm(&measured, connections, &beside))
        }
        Command::Steady { measured, per_second, sign_ins } => {
            runtime()?.block_on(steady::run(&measured, per_second, sign_ins))
        }
        Command::Cold { measured } => runtime()?.block_on(cold::run(&measured)),
        Command::Limits { measured, connections } => runtime()?.block_on(limits::run(&measured, connections)),
        Command::Shared { measured, fault, mode, per_second } => {
            runtime()?.block_on(shared::run(&measured, &fault, &mode, per_second))
        }
        Command::Flood { measured } => runtime()?.block_on(flood::run(&measured)),
        Command::Outage { measured } => runtime()?.block_on(outage::run(&measured)),
        Command::Pipe { measured, per_second } => runtime()?.block_on(pipe::run(&measured, per_second)),
        Command::Enumerate { measured, tries } => runtime()?.block_on(enumerate::run(&measured, tries)),
        Command::Storm { measured, revocations } => runtime()?.block_on(storm::run(&measured, revocations)),
    }
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().context("no runtime")
}

#[expect(clippy::print_stdout, reason = "the figures are what it is for")]
async fn run_warm(warm: &Measured, connections: u32, beside: &[PathBuf]) -> anyhow::Result<()> {
    let installation = product::Installation::prepare(&warm.tronch, &warm.database_url)?;
    let keys = fill::keys(&installation, warm.keys).await?;
    let asked = &keys[..warm.asked.min(keys.len())];
    let script = wrk::script(&installation.folder, &installation.token, asked)?;
    println!("{} keys in Postgres, {} asked about, {} connections", keys.len(), asked.len(), connections);
    let mut builds = vec![installation.tronch.clone()];
    for build in beside {
        builds.push(build.canonicalize().with_context(|| format!("{} is not built", build.display()))?);
    }
    let mut products = Vec::new();
    for build in &builds {
        let start = product::Start { build: Some(build), ..product::Start::default() };
        let product = product::Running::product(&installation, &start)?;
        product.wait_until_ready().await?;
        product.warm(&installation.token, asked).await?;
        println!("{}: resident {} MiB", build.display(), product.resident_bytes()? / 1024 / 1024);
        products.push(product);
    }
    let (product, bare) = (&products[0], product::Running::bare()?);
    let hashes = probe::counter(product, "tronch_argon2_runs_total").await?;
    let all: Vec<&product::Running> = products.iter().chain([&bare]).collect();
    let mut turns = vec![Vec::new(); products.len()];
    for pair in 0..warm.pairs {
        // In slices of a second, so that a slow moment of the machine is everybody's. Every other one goes back the way that the last came: what
        // one leaves to be stored is nobody's alone.
        let mut slices = vec![Vec::new(); all.len()];
        for slice in 0..warm.seconds as usize {
            let mut order: Vec<usize> = (0..all.len()).collect();
            order.rotate_left((pair + slice / 2) % all.len());
            if slice % 2 == 1 {
                order.reverse();
            }
            for place in order {
                slices[place].push(wrk::run(&script, all[place], connections, 1)?);
            }
        }
        let means: Vec<wrk::Turn> = slices.iter().map(|slices| wrk::Turn::of_slices(slices)).collect();
        let theirs = means[products.len()];
        for (build, (ours, turns)) in builds.iter().zip(means.into_iter().zip(&mut turns)) {
            println!("pair {}: {} {ours}; bare {theirs}", pair + 1, build.display());
            turns.push((ours, theirs));
        }
    }
    for (build, turns) in builds.iter().zip(&turns) {
        print!("{}:\n{}", build.display(), report::ratios(turns));
    }
    let hashes = probe::counter(product, "tronch_argon2_runs_total").await? - hashes;
    let verdicts = probe::counter(product, "tronch_verdicts_total").await?;
    println!("slow hashes that {} computed meanwhile: {hashes}, with {verdicts} verdicts", builds[0].display());
    Ok(())
}
