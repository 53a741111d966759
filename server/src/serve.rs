//! `tronch serve`: opens everything, prints what a person needs to know once, serves until told to stop, and stops in
//! order: no new traffic, running requests, Postgres last.

use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tronch_engine::keys::mark_revoked_keys;
use tronch_engine::limits::forget_removed_limits;
use tronch_engine::mail;
use tronch_engine::members::forget_old_resets;
use tronch_engine::usage::{UsageRetention, keep_usage, roll_up_usage};
use tronch_engine::verify::Verifier;
use tronch_engine::{Engine, NodeName, forget_old_changes, forget_old_writes, sessions, tenants};

use crate::config::Config;
use crate::doors::{self, Open, Patience, Phase};
use crate::logging::LostLines;
use crate::open::{Opened, Tenure, open};
use crate::terminal::say;

/// The file the setup code stands in until somebody has signed up.
const SETUP_CODE_FILE: &str = "setup-code";

/// How long the last usage waits for Postgres at a stop.
const USAGE_PATIENCE: Duration = Duration::from_secs(5);

/// How long keys are read before calls are taken.
const WARM_UP_MAX: Duration = Duration::from_secs(20);

/// What else needs files: Redis, mail, logs, the runtime.
const OTHER_FILES: usize = 64;

/// However few files there are, so many are tried.
const CONNECTIONS_MIN: usize = 100;

/// Scrapers and probes.
const OPERATORS_CONNECTIONS: usize = 256;

/// How often what has ended is removed: sessions, idempotency keys.
const SWEEP_INTERVAL: Duration = Duration::from_secs(600);

/// How often it is looked whether an hour is over that is not added up.
const ROLL_UP_INTERVAL: Duration = Duration::from_secs(60);

/// How often rows follow keys that were revoked in great number.
const MARK_INTERVAL: Duration = Duration::from_secs(2);

/// How often states of limits that do not count any more are looked for.
const FORGET_INTERVAL: Duration = Duration::from_secs(60);

/// How often it is looked what of limits' totals nobody here spends.
const GIVE_BACK_INTERVAL: Duration = Duration::from_secs(5);

/// How often mails that are due are looked for.
const MAIL_INTERVAL: Duration = Duration::from_secs(1);

/// How long a stop waits for that.
const GIVE_BACK_PATIENCE: Duration = Duration::from_secs(5);

/// How old the metric of lost log lines may be.
const LOST_LINES_INTERVAL: Duration = Duration::from_secs(1);

/// Runs the server until SIGTERM or SIGINT.
///
/// # Errors
/// Whatever keeps it from starting, or from stopping in order.
pub(crate) async fn serve(config: &Config, lost_lines: LostLines, open_doors: Open) -> anyhow::Result<()> {
    // Before all else: a start may take long, and nothing ends process 1 of a container that does not listen.
    let told = told_to_stop()?;
    let metrics = metrics_builder()?.install_recorder().context("metrics cannot be started")?;
    lost_lines.publish();
    let publisher = tokio::spawn(repeat(LOST_LINES_INTERVAL, async move || lost_lines.publish()));
    let listener = bind(config.listen, "TRONCH_LISTEN").await?;
    let ops_listener = bind(config.ops_listen, "TRONCH_OPS_LISTEN").await?;
    // A private Postgres that has begun to start is taken up by the next start.
    let Some(opened) = told.run_until_cancelled(open(config, Tenure::Alone)).await else {
        tracing::info!("stopped before anything was served");
        return Ok(());
    };
    let opened = opened?;
    let outcome = serve_opened(config, &opened, metrics, [listener, ops_listener], open_doors, told).await;
    let closed = opened.close().await;
    publisher.abort();
    outcome.and(closed)
}

async fn serve_opened(
    config: &Config,
    opened: &Opened,
    metrics: metrics_exporter_prometheus::PrometheusHandle,
    [listener, ops_listener]: [TcpListener; 2],
    open_doors: Open,
    told: CancellationToken,
) -> anyhow::Result<()> {
    let phase = Phase::default();
    let verifier = opened.engine.join(node_name(config)).await?;
    let doors = doors::build(config, &opened.engine, &verifier, phase.clone(), metrics, open_doors)?;
    told.run_until_cancelled(warm_up(&verifier, config.warm_up_keys)).await;
    // Nobody signs up where there are no pages.
    if open_doors == Open::All {
        greet(config, opened).await?;
    }
    let stop = CancellationToken::new();
    let mut tasks = tokio::task::JoinSet::new();
    // Before anybody can ask: everything below the doors is open.
    phase.started();
    let patience = Patience::usual("public", connections_that_fit(config));
    tasks.spawn(doors.public.serve(listener, patience, stop.clone()));
    tasks.spawn(doors.ops.serve(ops_listener, Patience::usual("operator", OPERATORS_CONNECTIONS), stop.clone()));
    let sweeper = tokio::spawn(sweep(opened.engine.clone(), config.usage_kept, stop.clone()));
    let engine = opened.engine.clone();
    let adder = tokio::spawn(repeat(ROLL_UP_INTERVAL, async move || roll_up(&engine).await));
    let engine = opened.engine.clone();
    let forgetter = tokio::spawn(repeat(FORGET_INTERVAL, async move || forget_idle_limits(&engine).await));
    let engine = opened.engine.clone();
    let giving = repeat_until(stop.clone(), GIVE_BACK_INTERVAL, async move || give_back_limits(&engine).await);
    let giver = tokio::spawn(giving);
    let engine = opened.engine.clone();
    let sending = repeat_until(stop.clone(), MAIL_INTERVAL, async move || send_mails(&engine).await);
    let mailman = tokio::spawn(sending);
    let engine = opened.engine.clone();
    let marker = tokio::spawn(repeat(MARK_INTERVAL, async move || mark_revoked(&engine).await));
    tracing::info!(listen = %config.listen, ops_listen = %config.ops_listen, "serving");
    told.cancelled().await;
    tracing::info!("stopping: no new requests, running ones may finish");
    phase.stopping();
    stop.cancel();
    let drained = async { while tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(config.shutdown_grace, drained).await.is_err() {
        tracing::warn!("requests were still running after TRONCH_SHUTDOWN_SECONDS and were cut off");
    }
    sweeper.abort();
    adder.abort();
    marker.abort();
    forgetter.abort();
    mailman.abort();
    // What it took to give back is given back; then all of the rest.
    let given_back = async {
        if let Err(error) = giver.await {
            tracing::error!(%error, "the task that gives back what is held of limits crashed");
        }
        opened.engine.give_back_limits(true).await
    };
    match tokio::time::timeout(GIVE_BACK_PATIENCE, given_back).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::warn!(%error, "what was held of limits' totals could not be given back, and counts as spent");
        }
        Err(_) => tracing::warn!("what was held of limits' totals was not given back in time, and counts as spent"),
    }
    opened.engine.leave().await;
    if let Err(error) = opened.engine.finish_usage(USAGE_PATIENCE).await {
        tracing::error!(%error, "the usage of the last second could not be stored");
    }
    tracing::info!("stopped");
    Ok(())
}

/// Without it keys are read when they are asked about, so nothing that goes wrong here keeps the process from serving.
async fn warm_up(verifier: &Verifier, keys: u32) {
    match tokio::time::timeout(WARM_UP_MAX, verifier.warm_up(keys)).await {
        Ok(Ok(0)) => {}
        Ok(Ok(read)) => tracing::info!(keys.read = read, "keys that were used last are remembered"),
        Ok(Err(error)) => tracing::warn!(%error, "keys could not be read ahead of time"),
        Err(_) => tracing::warn!("reading keys ahead of time took too long; the rest is read when it is asked about"),
    }
}

/// How long a change took to be known, in seconds: the promise is a second.
const PROPAGATION_BUCKETS: [f64; 11] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5];

fn metrics_builder() -> anyhow::Result<PrometheusBuilder> {
    let propagation = Matcher::Full("tronch_revocation_propagation_seconds".to_owned());
    Ok(PrometheusBuilder::new().set_buckets_for_metric(propagation, &PROPAGATION_BUCKETS)?)
}

/// Where operators find this process: the machine and the port.
fn node_name(config: &Config) -> NodeName {
    let machine = rustix::system::uname();
    let name = format!("{}:{}", machine.nodename().to_string_lossy(), config.listen.port());
    NodeName { name, version: env!("CARGO_PKG_VERSION") }
}

async fn bind(address: SocketAddr, setting: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!("{address} cannot be listened on; free the port or set {setting} to another address and port")
    })
}

/// As many of the connections that are asked for as the system gives us files for.
fn connections_that_fit(config: &Config) -> usize {
    let number = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
    let wished = number(config.connections_max);
    // A process holds twice as many connections to Postgres as the setting says.
    let others = number(config.database_connections) * 2 + OPERATORS_CONNECTIONS + OTHER_FILES;
    let limits = getrlimit(Resource::Nofile);
    // What a shell allows is often 1024; what it may be raised to is far more.
    let raised = Rlimit { current: limits.maximum, maximum: limits.maximum };
    let files = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limits.maximum,
        Err(_) => limits.current,
    };
    let Some(files) = files else { return wished };
    let room = usize::try_from(files).unwrap_or(usize::MAX).saturating_sub(others).max(CONNECTIONS_MIN);
    if room < wished {
        tracing::warn!(
            files.max = files,
            connections.max = room,
            "TRONCH_CONNECTIONS_MAX is more than the system has files for; raise its limit (LimitNOFILE, ulimit -n)"
        );
    }
    wished.min(room)
}

/// Cancelled by SIGTERM or SIGINT.
fn told_to_stop() -> anyhow::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let told = CancellationToken::new();
    let telling = told.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        telling.cancel();
    });
    Ok(told)
}

async fn sweep(engine: Engine, kept: UsageRetention, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(SWEEP_INTERVAL);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        match sessions::delete_expired_sessions(&engine).await {
            Ok(deleted) => tracing::debug!(deleted, "ended sessions were removed"),
            Err(error) => tracing::warn!(%error, "ended sessions could not be removed; trying again later"),
        }
        match forget_old_writes(&engine).await {
            Ok(deleted) => tracing::debug!(deleted, "idempotency keys past their day were removed"),
            Err(error) => tracing::warn!(%error, "old idempotency keys could not be removed; trying again later"),
        }
        match keep_usage(&engine, kept).await {
            Ok(removed) => tracing::debug!(removed, "old partitions of usage were removed"),
            Err(error) => tracing::warn!(%error, "usage could not be kept in order; trying again later"),
        }
        match forget_removed_limits(&engine).await {
            Ok(deleted) => tracing::debug!(deleted, "limits that were removed long ago were deleted"),
            Err(error) => tracing::warn!(%error, "removed limits could not be deleted; trying again later"),
        }
        match tenants::remove_deleted_tenants(&engine).await {
            Ok(removed) => tracing::debug!(removed, "tenants that were deleted a week ago were removed"),
            Err(error) => tracing::warn!(%error, "deleted tenants could not be removed; trying again later"),
        }
        match forget_old_resets(&engine).await {
            Ok(deleted) => tracing::debug!(deleted, "links to other passwords that are over were deleted"),
            Err(error) => tracing::warn!(%error, "links that are over could not be deleted; trying again later"),
        }
        match forget_old_changes(&engine).await {
            Ok(deleted) => tracing::debug!(deleted, "old changes and nodes that are gone were removed"),
            Err(error) => tracing::warn!(%error, "old changes could not be removed; trying again later"),
        }
    }
}

async fn roll_up(engine: &Engine) {
    match roll_up_usage(engine).await {
        Ok(hours) => tracing::debug!(hours, "hours of usage were added up"),
        Err(error) => tracing::warn!(%error, "usage could not be added up; trying again later"),
    }
}

async fn mark_revoked(engine: &Engine) {
    match mark_revoked_keys(engine).await {
        Ok(0) => {}
        Ok(marked) => tracing::debug!(keys.marked = marked, "keys that were revoked with others were marked"),
        // Validation goes by it already.
        Err(error) => tracing::debug!(%error, "revoked keys could not be marked; trying again"),
    }
}

/// States of limits that are full again are nobody's.
async fn forget_idle_limits(engine: &Engine) {
    let engine = engine.clone();
    // With many of them it takes a while, and nobody who answers may wait for it.
    match tokio::task::spawn_blocking(move || engine.forget_idle_limits()).await {
        Ok(left) => metrics::gauge!("tronch_limit_states").set(left as f64),
        Err(error) => tracing::error!(%error, "states of limits could not be looked through"),
    }
}

/// Whoever was invited or forgot a password waits for it.
async fn send_mails(engine: &Engine) {
    if let Err(error) = mail::send_due_mails(engine).await {
        tracing::debug!(%error, "mails that are due could not be looked for");
    }
}

/// What one process holds and does not need, another may.
async fn give_back_limits(engine: &Engine) {
    if let Err(error) = engine.give_back_limits(false).await {
        tracing::debug!(%error, "what nobody spends of limits' totals could not be given back; it counts as spent");
    }
}

/// The same, until it is to stop. What has begun is brought to its end.
async fn repeat_until(stop: CancellationToken, interval: Duration, work: impl AsyncFn()) {
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        work().await;
    }
}

/// Does the same for ever, at most once in `interval`.
async fn repeat(interval: Duration, work: impl AsyncFn()) {
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        work().await;
    }
}

/// What a person must see once, on the terminal: never in the log.
async fn greet(config: &Config, opened: &Opened) -> anyhow::Result<()> {
    let origin = config.public_url.origin();
    let mut lines = Vec::new();
    if opened.master_created {
        lines.push(opened.master_words());
    }
    let code_path = opened.data_dir.join(SETUP_CODE_FILE);
    if let Err(error) = std::fs::remove_file(&code_path)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        return Err(error).with_context(|| format!("{} cannot be removed", code_path.display()));
    }
    if let Some(code) = tenants::renew_setup_code(&opened.engine).await? {
        opened.data_dir.write_secret_file(SETUP_CODE_FILE, code.expose().as_bytes())?;
        // Where standard output is no terminal it is kept by somebody, and a log is no place for a code.
        let shown = if std::io::stdout().is_terminal() {
            format!(": {}", code.expose())
        } else {
            format!(" in the file {}", code_path.display())
        };
        lines.push(format!("Nobody has signed up yet. Open {origin}/sign-up and enter the setup code{shown}"));
    }
    lines.push(format!("TRONCH is at {origin}; metrics and probes at http://{}", config.ops_listen));
    if let Err(error) = say(&lines.join("\n")) {
        tracing::warn!(%error, "the greeting could not be written");
    }
    Ok(())
}
