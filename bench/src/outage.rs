//! Postgres out of reach at full load: cut off, and hanging.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::client::{self, Line};
use crate::open_loop::percentile;
use crate::product::{Installation, Running, Start};
use crate::proxy::{Proxy, Weather};
use crate::{Measured, fill};

/// Connections that ask about warm keys as fast as they can.
const ASKING: usize = 32;

/// How long keys are answered without Postgres, and how long that is away.
const OFFLINE_LEASE_SECONDS: u64 = 15;
const AWAY: Duration = Duration::from_secs(20);

/// An answer, as it is noted.
struct Noted {
    /// Since the load began.
    at: Duration,
    took: Duration,
    code: String,
}

#[expect(clippy::print_stdout, reason = "the figures are what it is for")]
pub async fn run(measured: &Measured) -> anyhow::Result<()> {
    let installation = Installation::prepare(&measured.tronch, &measured.database_url)?;
    let keys = fill::keys(&installation, measured.keys).await?;
    let (warm, cold) = keys.split_at(measured.asked.min(keys.len() / 2));
    let set = format!("UPDATE tenants SET offline_lease_seconds = {OFFLINE_LEASE_SECONDS}");
    crate::probe::postgres(&installation).await?.batch_execute(&set).await?;
    let proxy = Proxy::before(&installation.database_url).await;
    let start = Start { database_url: Some(&proxy.url), ..Start::default() };
    let product = Running::product(&installation, &start)?;
    product.wait_until_ready().await?;
    product.warm(&installation.token, warm).await?;
    let mut cold = cold.iter();
    for weather in [Weather::Cut, Weather::Hanging] {
        let began = Instant::now();
        let end = began + Duration::from_secs(5) + AWAY + Duration::from_secs(5);
        let requests: Arc<Vec<_>> = Arc::new(warm.iter().map(|key| client::verify(&installation.token, key)).collect());
        let mut tasks = Vec::new();
        for connection in 0..ASKING {
            let (requests, url) = (Arc::clone(&requests), product.url.clone());
            tasks.push(tokio::spawn(ask_on(url, requests, connection * 7_919, began, end, Duration::ZERO)));
        }
        let strangers: Vec<_> = cold.by_ref().take(1_000).map(|key| client::verify(&installation.token, key)).collect();
        let pause = Duration::from_millis(50);
        let asking_cold = tokio::spawn(ask_on(product.url.clone(), Arc::new(strangers), 0, began, end, pause));
        tokio::time::sleep(Duration::from_secs(5)).await;
        let away = began.elapsed();
        proxy.set(weather);
        tokio::time::sleep(AWAY).await;
        let back = began.elapsed();
        proxy.set(Weather::Fair);
        let mut answers = Vec::new();
        for task in tasks {
            answers.extend(task.await??);
        }
        let cold_answers = asking_cold.await??;
        println!("{weather:?} for {AWAY:?}, offline_lease {OFFLINE_LEASE_SECONDS} s, {} warm keys:", warm.len());
        let lease_end = away + Duration::from_secs(OFFLINE_LEASE_SECONDS);
        for (name, from, until) in [
            ("before", Duration::ZERO, away),
            ("away, in the lease", away, lease_end.checked_sub(Duration::from_secs(1)).context("a lease")?),
            ("away, after it", lease_end + Duration::from_secs(1), back),
            ("back, after 2 s", back + Duration::from_secs(2), Duration::MAX),
        ] {
            println!("  {name}: warm {}; cold {}", summary(&answers, from, until), summary(&cold_answers, from, until));
        }
        let last = answers.iter().filter(|noted| noted.at < back && noted.code == "VALID").map(|noted| noted.at).max();
        println!("  the last VALID came {:?} after the cut", last.unwrap_or_default().saturating_sub(away));
    }
    Ok(())
}

async fn ask_on(
    url: String,
    requests: Arc<Vec<Vec<u8>>>,
    mut at: usize,
    began: Instant,
    end: Instant,
    pause: Duration,
) -> anyhow::Result<Vec<Noted>> {
    let mut line = Line::connect(&url).await?;
    let mut noted = Vec::new();
    while Instant::now() < end {
        at += 1;
        let asked = Instant::now();
        let answer = line.ask(&requests[at % requests.len()]).await?;
        let code = if answer.status == 200 { answer.code } else { answer.status.to_string() };
        noted.push(Noted { at: asked - began, took: asked.elapsed(), code });
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
    }
    Ok(noted)
}

fn summary(answers: &[Noted], from: Duration, until: Duration) -> String {
    let within = || answers.iter().filter(|noted| noted.at >= from && noted.at < until);
    let mut codes = std::collections::BTreeMap::<&str, u64>::new();
    within().for_each(|noted| *codes.entry(&noted.code).or_default() += 1);
    let mut took: Vec<Duration> = within().map(|noted| noted.took).collect();
    took.sort_unstable();
    format!("{codes:?}, p99 {:?}, max {:?}", percentile(&took, 99.0), percentile(&took, 100.0))
}
