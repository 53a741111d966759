//! One turn of wrk against one server, and what any turn shows.

use std::fmt;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};

use crate::product::{OTHER_CORE, Running};

/// What a turn showed.
#[derive(Debug, Clone, Copy)]
pub struct Turn {
    pub requests_per_second: f64,
    pub p50: Duration,
    pub p99: Duration,
    pub cpu_per_call: Duration,
}

impl Turn {
    /// The mean of slices, and for the latencies their median.
    pub fn of_slices(slices: &[Self]) -> Self {
        let requests: f64 = slices.iter().map(|slice| slice.requests_per_second).sum();
        let cpu: f64 = slices.iter().map(|slice| slice.cpu_per_call.as_secs_f64() * slice.requests_per_second).sum();
        let median = |of: fn(&Self) -> Duration| {
            let mut all: Vec<Duration> = slices.iter().map(of).collect();
            all.sort_unstable();
            (all[(all.len() - 1) / 2] + all[all.len() / 2]) / 2
        };
        Self {
            requests_per_second: requests / slices.len() as f64,
            p50: median(|slice| slice.p50),
            p99: median(|slice| slice.p99),
            cpu_per_call: Duration::from_secs_f64(cpu / requests),
        }
    }
}

impl fmt::Display for Turn {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{:.0}/s, p50 {:?}, p99 {:?}, CPU {:.1} µs a call",
            self.requests_per_second,
            self.p50,
            self.p99,
            self.cpu_per_call.as_secs_f64() * 1e6
        )
    }
}

/// Writes the script that asks about the keys in an order of its own, and prints what came of it.
pub fn script(folder: &Path, token: &str, keys: &[String]) -> anyhow::Result<PathBuf> {
    let list = folder.join("keys");
    std::fs::write(&list, keys.join("\n"))?;
    let path = folder.join("ask.lua");
    let mut file = std::fs::File::create(&path)?;
    write!(
        file,
        r#"local requests, at = {{}}, 0
function init(args)
    wrk.method = "POST"
    wrk.path = "/api/v1/keys/verify"
    wrk.headers["Content-Type"] = "application/json"
    wrk.headers["Authorization"] = "Bearer {token}"
    for key in io.lines("{list}") do
        requests[#requests + 1] = wrk.format(nil, nil, nil, '{{"key":"' .. key .. '","environment":"live"}}')
    end
end
function request()
    -- A stride that shares no divisor with the count goes through all of them, far apart.
    at = (at + 7919) % #requests
    return requests[at + 1]
end
function done(summary, latency, requests)
    io.write(string.format("RESULT %d %d %d %d %d\n", summary.requests, summary.duration,
        latency:percentile(50), latency:percentile(99),
        summary.errors.status + summary.errors.read + summary.errors.write + summary.errors.timeout + summary.errors.connect))
end
"#,
        list = list.display()
    )?;
    Ok(path)
}

/// One turn.
pub fn run(script: &Path, running: &Running, connections: u32, seconds: u32) -> anyhow::Result<Turn> {
    let before = running.cpu()?;
    let output = Command::new("taskset")
        .args(["-c", OTHER_CORE, "wrk", "--threads", "1", "--connections", &connections.to_string()])
        .args(["--duration", &format!("{seconds}s"), "--latency", "--script"])
        .arg(script)
        .arg(&running.url)
        .output()
        .context("wrk or taskset is missing; on Debian: apt-get install wrk util-linux")?;
    let cpu = running.cpu()? - before;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find(|line| line.starts_with("RESULT ")).with_context(|| format!("wrk said: {text}"))?;
    let numbers: Vec<u64> = line.split_whitespace().skip(1).map(str::parse).collect::<Result<_, _>>()?;
    let [requests, micros, p50, p99, errors] = numbers.as_slice() else { anyhow::bail!("wrk said: {line}") };
    ensure!(*errors == 0, "{errors} requests failed");
    Ok(Turn {
        requests_per_second: *requests as f64 / (*micros as f64 / 1e6),
        p50: Duration::from_micros(*p50),
        p99: Duration::from_micros(*p99),
        cpu_per_call: cpu.div_f64(*requests as f64),
    })
}
