//! Redis servers of a test's own: one, three masters of a Cluster, or a master with its replica and a
//! Sentinel. They keep nothing.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::{DataDir, eventually};

/// One server. It ends with this value.
pub struct RedisServer {
    child: Option<Child>,
    folder: DataDir,
    pub port: u16,
    arguments: Vec<String>,
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}

impl RedisServer {
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    async fn start_with(arguments: &[&str]) -> Self {
        let (port, folder) = (super::process::free_port(), DataDir::create());
        let usual = ["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"];
        let arguments = usual.iter().chain(arguments).map(ToString::to_string).collect();
        let mut server = Self { child: None, folder, port, arguments };
        server.start_again().await;
        server
    }

    async fn start_as_sentinel(settings: &[&str]) -> Self {
        let (port, folder) = (super::process::free_port(), DataDir::create());
        let text = format!("port {port}\nbind 127.0.0.1\n{}\n", settings.join("\n"));
        std::fs::write(folder.path().join("sentinel.conf"), text).expect("a file");
        let arguments = ["sentinel.conf", "--sentinel"].map(ToOwned::to_owned).to_vec();
        let mut server = Self { child: None, folder, port, arguments };
        server.start_again().await;
        server
    }

    /// At the same port, with nothing of what it had.
    pub async fn start_again(&mut self) {
        let mut command = Command::new("redis-server");
        command.args(&self.arguments).current_dir(self.folder.path()).stdin(Stdio::null());
        let log = std::fs::File::create(self.folder.path().join("log")).expect("a file");
        command.stdout(log.try_clone().expect("a file")).stderr(log);
        self.child = Some(command.spawn().expect("redis-server; script/setup-system --tests installs it"));
        let port = self.port;
        eventually("Redis answers", async || cli(port, &["ping"]).trim() == "PONG").await;
    }

    pub fn url(&self) -> String {
        format!("redis://@127.0.0.1:{}/0", self.port)
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("it runs");
            child.wait().expect("an end");
        }
    }

    /// `kill -STOP`: it hangs until [`RedisServer::resume`].
    pub fn pause(&self) {
        self.signal("-STOP");
    }

    pub fn resume(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.as_ref().expect("it runs").id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().expect("kill").success());
    }

    /// What `redis-cli` says.
    pub fn cli(&self, arguments: &[&str]) -> String {
        cli(self.port, arguments)
    }
}

fn cli(port: u16, arguments: &[&str]) -> String {
    let mut command = Command::new("redis-cli");
    let output = command.args(["-p", &port.to_string()]).args(arguments).output().expect("redis-cli");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Three masters that share the slots, and no replica.
pub struct RedisCluster {
    pub servers: Vec<RedisServer>,
}

impl RedisCluster {
    pub async fn start() -> Self {
        let mut servers = Vec::new();
        for _ in 0..3 {
            // The bus listens ten thousand ports higher, which must exist.
            let bus = super::process::free_port().to_string();
            let arguments = ["--cluster-enabled", "yes", "--cluster-port", &bus, "--cluster-node-timeout", "1000"];
            let partial = ["--cluster-require-full-coverage", "no"];
            servers.push(RedisServer::start_with(&[&arguments[..], &partial].concat()).await);
        }
        let places: Vec<String> = servers.iter().map(|server| format!("127.0.0.1:{}", server.port)).collect();
        let create = [&["--cluster", "create"][..], &places.iter().map(String::as_str).collect::<Vec<_>>()].concat();
        let said = servers[0].cli(&[&create[..], &["--cluster-yes"]].concat());
        assert!(said.contains("All 16384 slots covered"), "{said}");
        for server in &servers {
            eventually("all know of all", async || server.cli(&["cluster", "info"]).contains("cluster_state:ok")).await;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        Self { servers }
    }

    pub fn url(&self) -> String {
        let places: Vec<String> = self.servers.iter().map(|server| format!("127.0.0.1:{}", server.port)).collect();
        format!("redis-cluster://{}", places.join(","))
    }
}

/// A master, its replica, and a Sentinel that makes the one the other when it must.
pub struct RedisSentinel {
    pub master: RedisServer,
    _replica: RedisServer,
    sentinel: RedisServer,
}

impl RedisSentinel {
    pub async fn start() -> Self {
        let master = RedisServer::start().await;
        let of = master.port.to_string();
        let replica = RedisServer::start_with(&["--replicaof", "127.0.0.1", &of]).await;
        eventually("the replica follows", async || {
            replica.cli(&["info", "replication"]).contains("master_link_status:up")
        })
        .await;
        let sentinel = RedisServer::start_as_sentinel(&[
            &format!("sentinel monitor main 127.0.0.1 {of} 1"),
            "sentinel down-after-milliseconds main 300",
            "sentinel failover-timeout main 2000",
        ])
        .await;
        eventually("the Sentinel knows both", async || {
            sentinel.cli(&["sentinel", "master", "main"]).contains("num-slaves\n1\n")
        })
        .await;
        Self { master, _replica: replica, sentinel }
    }

    pub fn url(&self) -> String {
        format!("redis-sentinel://127.0.0.1:{}/main", self.sentinel.port)
    }
}
