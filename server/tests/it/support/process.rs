//! The real binary as a process of its own, with a data directory of its own: for what only a process can show, such as
//! being killed.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use reqwest::Client;
use serde_json::Value;

use super::Visitor;

const BINARY: &str = env!("CARGO_BIN_EXE_tronch");
const CLONE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// How long a start may take: migrations and a recovering Postgres included.
const START_PATIENCE: Duration = Duration::from_secs(60);

/// A folder for one installation, removed with this value.
pub struct DataDir(PathBuf);

impl DataDir {
    pub fn create() -> Self {
        Self::create_named("")
    }

    /// With a path that no address of a Unix socket, which ends at 107 bytes, could hold.
    pub fn create_with_a_long_path() -> Self {
        Self::create_named(&"-long".repeat(40))
    }

    fn create_named(end: &str) -> Self {
        let path = std::env::temp_dir().join(format!("tronch-it-{}{end}", uuid::Uuid::new_v4().simple()));
        std::fs::create_dir(&path).expect("a folder");
        // Postgres may run as another user than we do.
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("permissions");
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn read(&self, file: &str) -> String {
        let path = self.0.join(file);
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).trim().to_owned()
    }

    /// The private Postgres that works here: its process id and port.
    pub fn postmaster(&self) -> Option<(u32, u16)> {
        let text = std::fs::read_to_string(self.0.join("postgres/postmaster.pid")).ok()?;
        let mut lines = text.lines();
        let pid = lines.next()?.trim().parse().ok()?;
        Some((pid, lines.nth(2)?.trim().parse().ok()?))
    }

    /// Where the private Postgres is reached, with the role of the product.
    pub fn database_url(&self) -> String {
        let (_, port) = self.postmaster().expect("a running Postgres");
        format!("postgres://tronch:{}@127.0.0.1:{port}/tronch", self.read("postgres-password"))
    }

    /// `kill -9` for Postgres and all of its children: a postmaster that dies takes them along.
    pub fn kill_postgres(&self) {
        if let Some((pid, _)) = self.postmaster() {
            signal(pid, "-KILL");
        }
    }
}

impl Drop for DataDir {
    fn drop(&mut self) {
        // A test that failed may have left it running.
        let works_here = |pid: u32| {
            // A number alone proves nothing: it may be somebody else's by now.
            std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|folder| folder == self.0.join("postgres"))
        };
        if let Some((pid, _)) = self.postmaster().filter(|(pid, _)| works_here(*pid)) {
            let sent = Command::new("kill").args(["-QUIT", &pid.to_string()]).status();
            let asked = Instant::now();
            while sent.as_ref().is_ok_and(std::process::ExitStatus::success)
                && works_here(pid)
                && asked.elapsed() < Duration::from_secs(10)
            {
                std::thread::park_timeout(Duration::from_millis(5));
            }
        }
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            eprintln!("{} was not removed: {error}", self.0.display());
        }
    }
}

fn signal(pid: u32, signal: &str) {
    let sent = Command::new("kill").args([signal, &pid.to_string()]).status().expect("kill");
    assert!(sent.success(), "{pid} could not be sent {signal}");
}

/// Held both at once, so that they are two.
fn two_free_ports() -> (u16, u16) {
    let held = [(); 2].map(|()| std::net::TcpListener::bind("127.0.0.1:0").expect("a port"));
    let [one, other] = held.each_ref().map(|listener| listener.local_addr().expect("an address").port());
    (one, other)
}

pub(super) fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port()
}

/// `tronch …` with what belongs to a data directory and nothing of the test's own surroundings.
#[expect(clippy::disallowed_methods, reason = "what is set around the test must not reach the binary")]
pub fn command(data_dir: &DataDir, arguments: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    command.args(arguments);
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if (name.starts_with("TRONCH_") && name != "TRONCH_PG_BIN") || name == "DATABASE_URL" {
            command.env_remove(&*name);
        }
    }
    command.env("TRONCH_DATA_DIR", data_dir.path());
    // As from the clone, below which `script/setup-postgres` may have put a Postgres.
    command.current_dir(CLONE);
    command
}

/// The folder of the private Postgres's programs that the tests are run with; `None` leaves the search to the product.
#[expect(clippy::disallowed_methods, reason = "what the tests are run with is no setting of the product")]
pub fn pg_bin() -> Option<PathBuf> {
    std::env::var_os("TRONCH_PG_BIN").filter(|folder| !folder.is_empty()).map(PathBuf::from)
}

/// How often something is repeated: in each run a few times, and as often as somebody says who wants a figure.
#[expect(clippy::disallowed_methods, reason = "what the tests are run with is no setting of the product")]
pub fn times_from_environment(name: &str, usual: u64) -> u64 {
    std::env::var(name).map_or(usual, |times| times.parse().expect("a number of times"))
}

/// The folder of the programs of one major version, which `script/setup-system --tests` has brought.
pub fn pg_bin_of(major: &str) -> String {
    let mut script = Command::new(format!("{CLONE}/script/test-postgres"));
    let output = script.arg("programs").env("TRONCH_TEST_PG_MAJOR", major).output().expect("script/test-postgres");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("a path").trim().to_owned()
}

/// Runs a command to its end.
pub fn run(command: &mut Command, input: &str) -> Output {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the binary");
    // What refuses to start need not read its input.
    let written = child.stdin.take().expect("a pipe").write_all(input.as_bytes());
    assert!(written.is_ok() || input.is_empty(), "the input was not read");
    let asked = Instant::now();
    while child.try_wait().expect("a state").is_none() {
        if asked.elapsed() > START_PATIENCE {
            child.kill().expect("it runs");
            panic!("{command:?} did not end within {START_PATIENCE:?}");
        }
        std::thread::park_timeout(Duration::from_millis(5));
    }
    child.wait_with_output().expect("an end")
}

/// `tronch serve`.
pub struct Server {
    child: Child,
    pub url: String,
    pub ops_url: String,
    /// All that it wrote to standard error.
    pub log: PathBuf,
}

impl Server {
    /// Starts and waits until it is ready.
    ///
    /// The ports were free a moment ago; where somebody was quicker, others are tried.
    pub async fn start(data_dir: &DataDir, settings: &[(&str, &str)]) -> Self {
        Self::start_with(data_dir, settings, |_| {}).await
    }

    /// As a terminal starts it: the leader of a process group, to which Ctrl-C is sent.
    pub async fn start_as_group(data_dir: &DataDir, settings: &[(&str, &str)]) -> Self {
        Self::start_with(data_dir, settings, |command| {
            command.process_group(0);
        })
        .await
    }

    /// The same with a command line of the caller's own.
    pub async fn start_with(data_dir: &DataDir, settings: &[(&str, &str)], adapt: impl Fn(&mut Command)) -> Self {
        for _ in 0..5 {
            if let Some(server) = Self::try_start(data_dir, settings, &adapt).await {
                return server;
            }
        }
        panic!("no port stayed free");
    }

    /// Starts and waits for nothing.
    pub fn begin(data_dir: &DataDir, settings: &[(&str, &str)]) -> Self {
        Self::spawn(data_dir, settings, &|_: &mut Command| {})
    }

    async fn try_start(data_dir: &DataDir, settings: &[(&str, &str)], adapt: &impl Fn(&mut Command)) -> Option<Self> {
        let mut server = Self::spawn(data_dir, settings, adapt);
        let asked = Instant::now();
        loop {
            let answer = reqwest::get(format!("{}/readyz", server.url)).await;
            let ended = server.child.try_wait().expect("a state").is_some();
            if ended && std::fs::read_to_string(&server.log).is_ok_and(|log| log.contains("cannot be listened on")) {
                return None;
            }
            if !ended && answer.is_ok_and(|answer| answer.status().is_success()) {
                return Some(server);
            }
            if ended || asked.elapsed() > START_PATIENCE {
                panic!("tronch did not become ready:\n{}", std::fs::read_to_string(&server.log).unwrap_or_default());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn spawn(data_dir: &DataDir, settings: &[(&str, &str)], adapt: &impl Fn(&mut Command)) -> Self {
        let (port, ops_port) = two_free_ports();
        let log = data_dir.path().join(format!("stderr-{port}"));
        let mut command = command(data_dir, &["serve"]);
        command
            .env("TRONCH_LISTEN", format!("127.0.0.1:{port}"))
            .env("TRONCH_OPS_LISTEN", format!("127.0.0.1:{ops_port}"))
            .env("TRONCH_PUBLIC_URL", format!("http://localhost:{port}"))
            // A machine that runs all tests at once is slower than one that serves.
            .env("TRONCH_LOOKUP_WAIT_MS", "2000")
            .envs(settings.iter().copied())
            .stdin(Stdio::null())
            .stdout(std::fs::File::create(data_dir.path().join("stdout")).expect("a file"))
            .stderr(std::fs::File::create(&log).expect("a file"));
        adapt(&mut command);
        Self {
            child: command.spawn().expect("the binary"),
            url: format!("http://localhost:{port}"),
            ops_url: format!("http://127.0.0.1:{ops_port}"),
            log,
        }
    }

    /// A visitor without a credential.
    pub fn anonymous(&self) -> Visitor {
        let client =
            Client::builder().redirect(reqwest::redirect::Policy::none()).cookie_store(true).build().expect("a client");
        Visitor { client, url: self.url.clone(), token: None }
    }

    /// A visitor with a service token.
    pub fn service(&self, token: &str) -> Visitor {
        Visitor { token: Some(token.to_owned()), ..self.anonymous() }
    }

    /// `kill -STOP`: it stands still until [`Server::resume`].
    pub fn pause(&self) {
        signal(self.id(), "-STOP");
    }

    pub fn resume(&self) {
        signal(self.id(), "-CONT");
    }

    /// `kill -9`.
    pub fn kill(mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("an end");
    }

    /// SIGTERM, and waits for the end. Returns what it had logged.
    pub fn stop(self) -> String {
        signal(self.id(), "-TERM");
        self.ended()
    }

    /// Ctrl-C in a terminal: SIGINT to each process of the group. Waits as [`Server::stop`] does.
    pub fn interrupt_group(self) -> String {
        let group = format!("-{}", self.id());
        let sent = Command::new("kill").args(["-s", "INT", "--", &group]).status().expect("kill");
        assert!(sent.success(), "the group {group} could not be sent SIGINT");
        self.ended()
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    fn ended(mut self) -> String {
        let status = self.child.wait().expect("an end");
        let log = std::fs::read_to_string(&self.log).expect("the log");
        assert!(status.success(), "{status}:\n{log}");
        log
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Only a test that failed leaves one running.
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) && self.child.kill().is_ok() {
            self.child.wait().expect("an end");
        }
    }
}

/// `tronch bootstrap`: the tenant's service token with every permission.
pub fn bootstrap(data_dir: &DataDir, settings: &[(&str, &str)], tenant: &str, password: &str) -> String {
    let email = super::owner(tenant);
    let arguments = ["bootstrap", "--email", &email, "--tenant", tenant, "--password-stdin", "--json"];
    let output = run(command(data_dir, &arguments).envs(settings.iter().copied()), &format!("{password}\n"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let printed: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&printed["tenant"], &printed["project"]), (&tenant.into(), &"default".into()));
    printed["service_token"].as_str().expect("a token").to_owned()
}
