//! Requests at a fixed rate, whether or not those before were answered: nobody who is slow slows the questions down.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::client::Line;

/// What is asked, how often, and over how many connections.
#[derive(Clone)]
pub struct Stream {
    pub url: String,
    pub requests: Arc<Vec<Vec<u8>>>,
    pub per_second: u32,
    pub connections: u32,
    /// The first question; later ones follow in order, from the beginning again at the end.
    pub from: usize,
}

/// What was answered.
#[derive(Default)]
pub struct Answers {
    pub latencies: Vec<Duration>,
    pub codes: BTreeMap<String, u64>,
}

impl Stream {
    /// Asks so many times.
    pub async fn run(&self, count: u64) -> anyhow::Result<Answers> {
        let [all] = self.run_in_parts(count).await?;
        Ok(all)
    }

    /// Asks so many times, and without a break as often again for each further part. An answer belongs to the part in which it was due.
    pub async fn run_in_parts<const PARTS: usize>(&self, count: u64) -> anyhow::Result<[Answers; PARTS]> {
        let start = Instant::now();
        let mut tasks = JoinSet::new();
        for connection in 0..u64::from(self.connections) {
            let stream = self.clone();
            tasks.spawn(async move { stream.one_connection::<PARTS>(start, connection, count).await });
        }
        let mut all = std::array::from_fn(|_| Answers::default());
        while let Some(parts) = tasks.join_next().await {
            for (all, part) in all.iter_mut().zip(parts??) {
                all.take(part);
            }
        }
        all.iter_mut().for_each(|part| part.latencies.sort_unstable());
        Ok(all)
    }

    pub async fn run_for(&self, time: Duration) -> anyhow::Result<Answers> {
        self.run(time.as_secs() * u64::from(self.per_second)).await
    }

    async fn one_connection<const PARTS: usize>(
        &self,
        start: Instant,
        first: u64,
        count: u64,
    ) -> anyhow::Result<[Answers; PARTS]> {
        let mut line = Line::connect(&self.url).await?;
        let mut parts = std::array::from_fn(|_| Answers::default());
        for number in (first..count * PARTS as u64).step_by(usize::try_from(self.connections)?) {
            let answers: &mut Answers = &mut parts[usize::try_from(number / count)?];
            let due = start + Duration::from_secs_f64(number as f64 / f64::from(self.per_second));
            // Who was still waiting for the answer before waits since it was due; who was idle and is woken late by this
            // machine's timer, only since it asks.
            let was_busy = Instant::now() > due;
            sleep_until(due).await;
            let asked = if was_busy { due } else { Instant::now() };
            let request = &self.requests[(self.from + usize::try_from(number)?) % self.requests.len()];
            let answer = line.ask(request).await?;
            answers.latencies.push(asked.elapsed());
            *answers.codes.entry(format!("{} {}", answer.status, answer.code)).or_default() += 1;
        }
        Ok(parts)
    }
}

impl Answers {
    fn take(&mut self, other: Self) {
        self.latencies.extend(other.latencies);
        for (code, count) in other.codes {
            *self.codes.entry(code).or_default() += count;
        }
    }

    /// Fails unless each of them is VALID.
    pub fn require_valid(&self) -> anyhow::Result<()> {
        ensure!(self.codes.keys().all(|code| code == "200 VALID"), "not all are VALID: {self}");
        Ok(())
    }

    /// Of the latencies, which [`Stream::run`] has put in order.
    pub fn percentile(&self, percent: f64) -> Duration {
        percentile(&self.latencies, percent)
    }
}

/// Of values in order.
pub fn percentile(sorted: &[Duration], percent: f64) -> Duration {
    let place = (sorted.len() as f64 * percent / 100.0).ceil() as usize;
    sorted.get(place.saturating_sub(1)).copied().unwrap_or_default()
}

impl fmt::Display for Answers {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let codes: Vec<String> = self.codes.iter().map(|(code, count)| format!("{code}: {count}")).collect();
        let [p50, p99, p999, max] = [50.0, 99.0, 99.9, 100.0].map(|percent| self.percentile(percent));
        write!(formatter, "p50 {p50:?}, p99 {p99:?}, p99.9 {p999:?}, max {max:?}; {}", codes.join(", "))
    }
}
