//! Connections that each ask again as soon as they are answered, by a client that stays out of the server's way.
//!
//! `wrk` changes what it waits for twice for each answer (`epoll_ctl`), beside which the server's wake-ups wait for the same lock: of
//! each microsecond that an answer takes longer it makes one and a half. Here a connection is waited for in one way all the time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::client::Line;
use crate::open_loop::percentile;
use crate::product::Running;
use crate::wrk::Turn;

/// Between two questions one after the other so many are passed over. It shares no divisor with the counts that are in use, so that
/// all come in turn.
const STRIDE: usize = 7_919;

/// One turn, and which part of its core the server used: far from 1 the turn would show somebody else's speed. Fails if an answer is not
/// VALID.
pub fn run(
    requests: &Arc<Vec<Vec<u8>>>,
    running: &Running,
    connections: u32,
    time: Duration,
) -> anyhow::Result<(Turn, f64)> {
    let client = || {
        // Of its own, with one thread: others would wake each other.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(ask(requests, running, connections, time))
    };
    std::thread::scope(|scope| scope.spawn(client).join().unwrap_or_else(|_| anyhow::bail!("the client panicked")))
}

async fn ask(
    requests: &Arc<Vec<Vec<u8>>>,
    running: &Running,
    connections: u32,
    time: Duration,
) -> anyhow::Result<(Turn, f64)> {
    let mut lines = Vec::new();
    for _ in 0..connections {
        lines.push(Line::connect(&running.url).await?);
    }
    let next = Arc::new(AtomicUsize::new(0));
    let (before, began) = (running.cpu()?, Instant::now());
    let each = lines.into_iter().map(|mut line| {
        let (requests, next) = (Arc::clone(requests), Arc::clone(&next));
        tokio::spawn(async move {
            let mut took = Vec::new();
            while began.elapsed() < time {
                let request = &requests[next.fetch_add(STRIDE, Ordering::Relaxed) % requests.len()];
                let asked = Instant::now();
                line.ask_about_valid(request).await?;
                took.push(asked.elapsed());
            }
            anyhow::Ok(took)
        })
    });
    let mut took = Vec::new();
    for each in each.collect::<Vec<_>>() {
        took.extend(each.await??);
    }
    let (passed, used) = (began.elapsed(), running.cpu()? - before);
    took.sort_unstable();
    let turn = Turn {
        requests_per_second: took.len() as f64 / passed.as_secs_f64(),
        p50: percentile(&took, 50.0),
        p99: percentile(&took, 99.0),
        cpu_per_call: used.div_f64(took.len() as f64),
    };
    Ok((turn, used.as_secs_f64() / passed.as_secs_f64()))
}
