//! The product and the bare handler as processes on a core of their own.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;

/// Servers run here, and everything else on the other.
pub const SERVER_CORE: &str = "0";
pub const OTHER_CORE: &str = "1";

/// Keeps this process, whose threads are yet to come, off the core of those it measures.
pub fn leave_server_core() -> anyhow::Result<()> {
    let mut taskset = Command::new("taskset");
    taskset.args(["-cp", OTHER_CORE, &std::process::id().to_string()]).stdout(Stdio::null());
    ensure!(taskset.status()?.success(), "taskset failed; this needs a second core");
    Ok(())
}

/// The master secret of the installations that are measured.
pub const MASTER: &str = "0707070707070707070707070707070707070707070707070707070707070707";

/// The owner of the tenant that is measured.
pub const OWNER: &str = "owner@acme.example";
pub const PASSWORD: &str = "correct horse battery";

/// Questions under way while keys are made warm.
const WARMING: usize = 16;

/// An installation with a tenant and a service token.
pub struct Installation {
    pub folder: PathBuf,
    pub tronch: PathBuf,
    pub database_url: String,
    pub token: String,
}

impl Installation {
    /// Migrates the database and makes the tenant `acme`.
    pub fn prepare(tronch: &Path, database_url: &str) -> anyhow::Result<Self> {
        let folder = std::env::temp_dir().join(format!("tronch-load-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        let tronch = tronch.canonicalize().with_context(|| format!("{} is not built", tronch.display()))?;
        let mut installation = Self { folder, tronch, database_url: database_url.to_owned(), token: String::new() };
        let mut bootstrap =
            installation.command(&["bootstrap", "--email", OWNER, "--tenant", "acme", "--password-stdin", "--json"]);
        let mut child = bootstrap.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn()?;
        std::io::Write::write_all(&mut child.stdin.take().context("a pipe")?, PASSWORD.as_bytes())?;
        let output = child.wait_with_output()?;
        ensure!(output.status.success(), "tronch bootstrap failed");
        let said: Value = serde_json::from_slice(&output.stdout)?;
        installation.token = said["service_token"].as_str().context("a token")?.to_owned();
        Ok(installation)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.tronch);
        command
            .args(arguments)
            .env("DATABASE_URL", &self.database_url)
            .env("TRONCH_MASTER_KEY", MASTER)
            .env("TRONCH_DATA_DIR", self.folder.join("data"));
        command
    }
}

/// A process that listens, killed with this value.
pub struct Running {
    child: Child,
    pub url: String,
    /// The operator's listener, of the product.
    pub ops_url: String,
}

/// How a product is started.
#[derive(Default)]
pub struct Start<'a> {
    /// Which build, if not the installation's.
    pub build: Option<&'a Path>,
    /// Where Postgres is, if not where the installation has it: behind a proxy.
    pub database_url: Option<&'a str>,
    /// Settings beside the installation's.
    pub settings: &'a [(&'a str, &'a str)],
    /// Where it listens, if not on any two ports.
    pub ports: Option<(u16, u16)>,
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.child.kill().is_ok() && self.child.wait().is_err() {
            eprintln!("{} was killed and not seen to end", self.url);
        }
    }
}

impl Running {
    pub fn product(installation: &Installation, start: &Start<'_>) -> anyhow::Result<Self> {
        let (port, ops_port) = match start.ports {
            Some(ports) => ports,
            None => (free_port()?, free_port()?),
        };
        let mut command = Command::new("taskset");
        let mut serve = installation.command(&[]);
        // One folder each: nothing is shared but the database.
        serve.env("TRONCH_DATA_DIR", installation.folder.join(format!("data-{port}")));
        serve.envs(start.settings.iter().copied());
        if let Some(url) = start.database_url {
            serve.env("DATABASE_URL", url);
        }
        command.args(["-c", SERVER_CORE]).arg(start.build.unwrap_or(&installation.tronch)).arg("serve");
        for (name, value) in serve.get_envs().filter_map(|(name, value)| Some((name, value?))) {
            command.env(name, value);
        }
        command
            .env("TRONCH_LISTEN", format!("127.0.0.1:{port}"))
            .env("TRONCH_OPS_LISTEN", format!("127.0.0.1:{ops_port}"))
            .env("TRONCH_PUBLIC_URL", format!("http://localhost:{port}"))
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(installation.folder.join(format!("log-{port}")))?);
        let [url, ops_url] = [port, ops_port].map(|port| format!("http://127.0.0.1:{port}"));
        Ok(Self { child: command.spawn()?, url, ops_url })
    }

    pub fn bare() -> anyhow::Result<Self> {
        let port = free_port()?;
        let mut command = Command::new("taskset");
        command.args(["-c", SERVER_CORE]).arg(std::env::current_exe()?).args(["bare", &port.to_string()]);
        let url = format!("http://127.0.0.1:{port}");
        Ok(Self { child: command.spawn()?, ops_url: url.clone(), url })
    }

    /// SIGTERM, and waits for the end.
    pub fn stop(mut self) -> anyhow::Result<()> {
        let sent = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status()?;
        ensure!(sent.success() && self.child.wait()?.success(), "{} did not stop in order", self.url);
        Ok(())
    }

    /// Where it listens.
    pub fn ports(&self) -> anyhow::Result<(u16, u16)> {
        let port = |url: &str| anyhow::Ok(url.rsplit_once(':').context("no port")?.1.parse()?);
        Ok((port(&self.url)?, port(&self.ops_url)?))
    }

    pub async fn wait_until_ready(&self) -> anyhow::Result<()> {
        let asked = Instant::now();
        while asked.elapsed() < Duration::from_secs(60) {
            if reqwest::get(format!("{}/readyz", self.url)).await.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        bail!("{} did not become ready", self.url)
    }

    /// Asks about each key once. Fails with the first that is not valid.
    pub async fn warm(&self, token: &str, keys: &[String]) -> anyhow::Result<()> {
        let client = reqwest::Client::new();
        let each = keys.len().div_ceil(WARMING).max(1);
        let tasks: Vec<_> = keys
            .chunks(each)
            .map(|keys| {
                let (client, url, token) =
                    (client.clone(), format!("{}/api/v1/keys/verify", self.url), token.to_owned());
                let keys = keys.to_vec();
                tokio::spawn(async move {
                    for key in keys {
                        let ask = serde_json::json!({ "key": key, "environment": "live" });
                        let mut answer = Value::Null;
                        // A cold process may say that it is too busy; whoever asks again is answered.
                        for _ in 0..50 {
                            answer = client.post(&url).bearer_auth(&token).json(&ask).send().await?.json().await?;
                            if answer["code"] != "unavailable" {
                                break;
                            }
                            tokio::time::sleep(Duration::from_millis(100)).await;
                        }
                        ensure!(answer["code"] == "VALID", "{answer}");
                    }
                    Ok(())
                })
            })
            .collect();
        for task in tasks {
            task.await??;
        }
        Ok(())
    }

    /// CPU time used so far.
    pub fn cpu(&self) -> anyhow::Result<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let after_name = stat.rsplit_once(')').context("no name in stat")?.1;
        let fields: Vec<&str> = after_name.split_whitespace().collect();
        let ticks: u64 = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
        // 100 a second on Linux, whatever the kernel counts by.
        Ok(Duration::from_millis(ticks * 10))
    }

    pub fn resident_bytes(&self) -> anyhow::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("no VmRSS")?;
        let kib: u64 = line.split_whitespace().nth(1).context("no number")?.parse()?;
        Ok(kib * 1024)
    }
}

/// A port that nobody listens on.
pub fn free_port() -> anyhow::Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
