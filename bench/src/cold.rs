//! A process that remembers nothing under full load; then the same process started again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::client::{self, Line};
use crate::open_loop::percentile;
use crate::product::{Installation, Running, Start};
use crate::{Measured, fill, probe};

/// Connections that ask one question after the other.
const ASKING: usize = 64;

/// How long the load goes on after the new start.
const AFTER_RESTART: Duration = Duration::from_secs(40);

#[expect(clippy::print_stdout, reason = "the figures are what it is for")]
pub async fn run(measured: &Measured) -> anyhow::Result<()> {
    let installation = Installation::prepare(&measured.tronch, &measured.database_url)?;
    let keys = fill::keys(&installation, measured.keys).await?;
    let asked = &keys[..measured.asked.min(keys.len())];
    let requests: Arc<Vec<_>> = Arc::new(asked.iter().map(|key| client::verify(&installation.token, key)).collect());
    let product = Running::product(&installation, &Start::default())?;
    product.wait_until_ready().await?;
    let postgres = probe::postgres(&installation).await?;
    let before = probe::look_ups(&postgres).await?;
    let began = Instant::now();
    let each_once = Load { requests: Arc::clone(&requests), url: product.url.clone(), once: true };
    let told = each_once.start(&Arc::new(AtomicBool::new(true))).told().await?;
    println!("cold: {} keys, each once, {ASKING} at once, in {:?}: {}", asked.len(), began.elapsed(), told.summary());
    println!("  Postgres: {}", probe::look_ups(&postgres).await? - before);

    let (goes_on, ports) = (Arc::new(AtomicBool::new(true)), product.ports()?);
    let load = Load { requests, url: product.url.clone(), once: false }.start(&goes_on);
    tokio::time::sleep(Duration::from_secs(5)).await;
    product.stop()?;
    let stopped = load.began.elapsed();
    let again = Running::product(&installation, &Start { ports: Some(ports), ..Start::default() })?;
    again.wait_until_ready().await?;
    let ready = load.began.elapsed();
    tokio::time::sleep(AFTER_RESTART).await;
    goes_on.store(false, Ordering::Relaxed);
    let told = load.told().await?;
    println!("restart under load: stopped after {stopped:?}, ready again after {ready:?}; {}", told.summary());
    println!("  answers in each second: {:?}", told.per_second);
    println!("  Postgres, all told: {}", probe::look_ups(&postgres).await? - before);
    Ok(())
}

/// Questions one after the other on each connection, in order.
struct Load {
    requests: Arc<Vec<Vec<u8>>>,
    url: String,
    /// Each key once, or again and again.
    once: bool,
}

struct Started {
    began: Instant,
    tasks: Vec<tokio::task::JoinHandle<Told>>,
}

#[derive(Default)]
struct Told {
    latencies: Vec<Duration>,
    codes: BTreeMap<String, u64>,
    per_second: Vec<u64>,
    /// Questions that no answer came to, for the server was away.
    unanswered: u64,
}

impl Load {
    fn start(self, goes_on: &Arc<AtomicBool>) -> Started {
        let (load, next, began) = (Arc::new(self), Arc::new(AtomicUsize::new(0)), Instant::now());
        let one = || {
            let (load, next, goes_on) = (Arc::clone(&load), Arc::clone(&next), Arc::clone(goes_on));
            tokio::spawn(async move { load.one_connection(began, &next, &goes_on).await })
        };
        Started { began, tasks: (0..ASKING).map(|_| one()).collect() }
    }

    async fn one_connection(&self, began: Instant, next: &AtomicUsize, goes_on: &AtomicBool) -> Told {
        let (mut told, mut line) = (Told::default(), None);
        while goes_on.load(Ordering::Relaxed) {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if self.once && number >= self.requests.len() {
                break;
            }
            let asked = Instant::now();
            let answer = async {
                let mut open = match line.take() {
                    Some(open) => open,
                    None => Line::connect(&self.url).await?,
                };
                let answer = open.ask(&self.requests[number % self.requests.len()]).await?;
                anyhow::Ok((open, answer))
            };
            match answer.await {
                Ok((open, answer)) => {
                    line = Some(open);
                    told.latencies.push(asked.elapsed());
                    *told.codes.entry(format!("{} {}", answer.status, answer.code)).or_default() += 1;
                    let second = usize::try_from(began.elapsed().as_secs()).unwrap_or(0);
                    told.per_second.resize(told.per_second.len().max(second + 1), 0);
                    told.per_second[second] += 1;
                }
                Err(_) => {
                    told.unanswered += 1;
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        }
        told
    }
}

impl Started {
    async fn told(self) -> anyhow::Result<Told> {
        let mut all = Told::default();
        for task in self.tasks {
            let told = task.await?;
            all.latencies.extend(told.latencies);
            all.unanswered += told.unanswered;
            told.codes.into_iter().for_each(|(code, count)| *all.codes.entry(code).or_default() += count);
            all.per_second.resize(all.per_second.len().max(told.per_second.len()), 0);
            told.per_second.iter().enumerate().for_each(|(second, count)| all.per_second[second] += count);
        }
        all.latencies.sort_unstable();
        Ok(all)
    }
}

impl Told {
    fn summary(&self) -> String {
        let [p50, p99, max] = [50.0, 99.0, 100.0].map(|percent| percentile(&self.latencies, percent));
        format!("p50 {p50:?}, p99 {p99:?}, max {max:?}; {:?}; {} without an answer", self.codes, self.unanswered)
    }
}
