//! Redis servers of our own, beside the client: one, one that a node can be cut off from, or three masters of a Cluster.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};

use crate::product::{OTHER_CORE, free_port};
use crate::proxy::{Proxy, Weather};

/// After how long a master that does not answer counts as gone for the others.
const NODE_TIMEOUT_MS: &str = "1000";

/// How long servers may take to answer and to agree, and how often they are asked.
const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(50);

/// What happens to Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Fault {
    /// It is stopped (SIGSTOP): connections stay, and nobody answers.
    Hung,
    /// It is killed.
    Killed,
    /// The node that is asked loses its connections to it, and gets no new ones.
    CutOff,
    /// One of three masters of a Cluster is killed.
    MasterKilled,
}

impl Fault {
    pub const ALL: [Self; 4] = [Self::Hung, Self::Killed, Self::CutOff, Self::MasterKilled];

    pub fn describe(self) -> &'static str {
        match self {
            Self::Hung => "Redis hung",
            Self::Killed => "Redis killed",
            Self::CutOff => "Redis cut off",
            Self::MasterKilled => "one of three masters killed",
        }
    }
}

/// Servers, and what happens to one of them.
pub struct Store {
    fault: Fault,
    servers: Vec<Server>,
    proxy: Option<Proxy>,
}

impl Store {
    pub async fn start(fault: Fault, folder: &Path) -> anyhow::Result<Self> {
        if fault == Fault::MasterKilled {
            return Self::cluster(folder).await;
        }
        let server = Server::start(folder, &[]).await?;
        // Before it nothing stands but where something has to be cut.
        let url = format!("redis://@127.0.0.1:{}/0", server.port);
        let proxy = if fault == Fault::CutOff { Some(Proxy::before(&url).await) } else { None };
        Ok(Self { fault, servers: vec![server], proxy })
    }

    async fn cluster(folder: &Path) -> anyhow::Result<Self> {
        let mut servers = Vec::new();
        for _ in 0..3 {
            // By itself its bus would listen ten thousand ports higher, which must exist.
            let bus = free_port()?.to_string();
            let cluster = ["--cluster-enabled", "yes", "--cluster-port", &bus];
            let lives_on = ["--cluster-node-timeout", NODE_TIMEOUT_MS, "--cluster-require-full-coverage", "no"];
            servers.push(Server::start(folder, &[cluster, lives_on].concat()).await?);
        }
        let places: Vec<String> = servers.iter().map(|server| format!("127.0.0.1:{}", server.port)).collect();
        let places = places.iter().map(String::as_str);
        let create: Vec<&str> = ["--cluster", "create"].into_iter().chain(places).chain(["--cluster-yes"]).collect();
        let said = servers[0].cli(&create)?;
        ensure!(said.contains("All 16384 slots covered"), "{said}");
        let store = Self { fault: Fault::MasterKilled, servers, proxy: None };
        store.wait_until_agreed().await?;
        Ok(store)
    }

    /// Where the node that is asked finds it, and where the others do.
    pub fn urls(&self) -> [String; 2] {
        let places: Vec<String> = self.servers.iter().map(|server| format!("127.0.0.1:{}", server.port)).collect();
        let places = places.join(",");
        let url =
            if self.servers.len() > 1 { format!("redis-cluster://{places}") } else { format!("redis://{places}/0") };
        [self.proxy.as_ref().map_or_else(|| url.clone(), |proxy| proxy.url.clone()), url]
    }

    /// It happens.
    pub fn begin_fault(&mut self) -> anyhow::Result<()> {
        match self.fault {
            Fault::Hung => self.servers[0].signal("-STOP"),
            Fault::Killed => self.servers[0].kill(),
            Fault::CutOff => self.set_weather(Weather::Cut),
            Fault::MasterKilled => self.servers[1].kill(),
        }
    }

    /// It is over.
    pub async fn end_fault(&mut self) -> anyhow::Result<()> {
        match self.fault {
            Fault::Hung => self.servers[0].signal("-CONT"),
            Fault::Killed => self.servers[0].start_again().await,
            Fault::CutOff => self.set_weather(Weather::Fair),
            Fault::MasterKilled => {
                self.servers[1].start_again().await?;
                self.wait_until_agreed().await
            }
        }
    }

    fn set_weather(&self, weather: Weather) -> anyhow::Result<()> {
        self.proxy.as_ref().context("a proxy")?.set(weather);
        Ok(())
    }

    async fn wait_until_agreed(&self) -> anyhow::Result<()> {
        let all_fine = |info: &str| {
            ["cluster_state:ok", "cluster_slots_ok:16384", "cluster_known_nodes:3"]
                .iter()
                .all(|fine| info.contains(fine))
        };
        for server in &self.servers {
            let asked = Instant::now();
            while !all_fine(&server.cli(&["cluster", "info"])?) {
                ensure!(asked.elapsed() < PATIENCE, "the Cluster does not agree");
                tokio::time::sleep(PAUSE).await;
            }
        }
        Ok(())
    }
}

/// One server, which keeps nothing. It ends with this value.
struct Server {
    port: u16,
    folder: PathBuf,
    settings: Vec<String>,
    child: Option<Child>,
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Err(error) = self.kill() {
            eprintln!("Redis was not seen to end: {error}");
        }
    }
}

impl Server {
    async fn start(folder: &Path, settings: &[&str]) -> anyhow::Result<Self> {
        let port = free_port()?;
        let folder = folder.join(format!("redis-{port}"));
        std::fs::create_dir_all(&folder)?;
        let settings = settings.iter().map(ToString::to_string).collect();
        let mut server = Self { port, folder, settings, child: None };
        server.start_again().await?;
        Ok(server)
    }

    /// At the same port, with nothing of what it had but its place in a Cluster.
    async fn start_again(&mut self) -> anyhow::Result<()> {
        let mut command = Command::new("taskset");
        command.args(["-c", OTHER_CORE, "redis-server", "--port", &self.port.to_string(), "--bind", "127.0.0.1"]);
        command.args(["--save", "", "--appendonly", "no"]).args(&self.settings);
        let log = std::fs::File::create(self.folder.join("log"))?;
        command.current_dir(&self.folder).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.child = Some(command.spawn().context("this needs redis-server")?);
        let asked = Instant::now();
        while self.cli(&["ping"])?.trim() != "PONG" {
            let ended = self.child.as_mut().map(Child::try_wait).transpose()?.flatten();
            ensure!(ended.is_none(), "redis-server ended: see {}", self.folder.join("log").display());
            ensure!(asked.elapsed() < PATIENCE, "Redis does not answer");
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }

    fn kill(&mut self) -> anyhow::Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    fn signal(&self, name: &str) -> anyhow::Result<()> {
        let Some(child) = &self.child else { bail!("Redis does not run") };
        let sent = Command::new("kill").args([name, &child.id().to_string()]).status()?;
        ensure!(sent.success(), "kill {name} failed");
        Ok(())
    }

    /// What `redis-cli` says.
    fn cli(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let output = Command::new("redis-cli").args(["-p", &self.port.to_string()]).args(arguments).output();
        let output = output.context("this needs redis-cli")?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}
