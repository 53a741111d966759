//! Configuration: every value the operator can set, read once and checked; the only place that reads the environment.
//! A start opens nothing here but `tronch.toml`: folders, keys and databases are the business of the files that get the
//! values.

mod check;
mod in_force;
mod names;
mod networks;
mod parse;
mod public_url;
mod secrets;
mod survey;
mod values;

#[cfg(test)]
mod tests;

use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tronch_engine::usage::UsageRetention;

pub use check::check;
pub use networks::Cidr;
pub use public_url::PublicUrl;
pub use secrets::{MasterKey, MasterKeySource, Redacted};
pub use survey::{Setting, Source, Survey};

use parse::{
    addresses_overlap, default_data_dir, parse_address, parse_bool, parse_database_url, parse_list, parse_log_filter,
    parse_log_format, parse_mail_from, parse_path, parse_public_url, parse_redis_url, parse_smtp_url, parse_within,
};
use values::Values;

/// Every setting, by its key in `tronch.toml`; [`variable_of`] gives the environment variable.
const KEYS: [&str; 28] = [
    "listen",
    "ops_listen",
    "public_url",
    "allow_insecure_http",
    "trusted_proxies",
    "cors_origins",
    "connections_max",
    "data_dir",
    "database_url",
    "database_connections",
    "redis_url",
    "smtp_url",
    "mail_from",
    "lookup_wait_ms",
    "remembered_keys",
    "warm_up_keys",
    "usage_minutes_days",
    "usage_hours_days",
    "usage_days_days",
    "pg_bin",
    "master_key",
    "master_key_file",
    "log",
    "log_format",
    "shutdown_seconds",
    "argon2_memory_kib",
    "argon2_iterations",
    "argon2_parallelism",
];
/// Keys whose value is never shown, not even in the error that refuses it.
const SECRET_KEYS: [&str; 4] = ["database_url", "redis_url", "smtp_url", "master_key"];
/// The private Postgres runs with `max_connections = 100`; the rest is for commands and for the operator's `psql`.
const PRIVATE_POSTGRES_CONNECTIONS_MAX: u32 = 90;
/// What a variable that looks like a setting and is none is told about.
pub(crate) const FOREIGN_VARIABLES: &str = "these environment variables are no settings and are ignored";
const TRUSTED_PROXIES_MAX: usize = 64;
const CORS_ORIGINS_MAX: usize = 64;
const MASTER_KEYS_MAX: usize = 16;
const REMEMBERED_KEYS: RangeInclusive<u32> = 1_000..=50_000_000;

#[derive(Debug, Clone)]
pub struct Config {
    pub listen: SocketAddr,
    pub ops_listen: SocketAddr,
    pub public_url: PublicUrl,
    pub allow_insecure_http: bool,
    pub trusted_proxies: Vec<Cidr>,
    /// Whose pages may ask the API from a browser.
    pub cors_origins: Vec<PublicUrl>,
    /// Connections of clients at once.
    pub connections_max: u32,
    pub data_dir: PathBuf,
    pub database_url: Option<Redacted>,
    pub database_connections: u32,
    /// Where limits are shared with other nodes.
    pub redis_url: Option<Redacted>,
    /// Who sends mail, and from whom it comes.
    pub mail: Option<(Redacted, String)>,
    /// How long a validation waits for what it does not remember.
    pub lookup_wait: Duration,
    /// Keys that are remembered at most.
    pub remembered_keys: u32,
    /// Keys that are read before the first is asked about; no more than are remembered.
    pub warm_up_keys: u32,
    /// For how long usage is kept.
    pub usage_kept: UsageRetention,
    pub pg_bin: Option<PathBuf>,
    pub master_key: MasterKeySource,
    pub log_filter: String,
    pub log_format: LogFormat,
    pub shutdown_grace: Duration,
    pub argon2: Argon2Cost,
    /// Environment variables that look like settings, are none and are ignored: said once at the start.
    pub foreign_variables: Vec<String>,
}

/// What the command line says, which goes before every other source.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    pub config_path: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Argon2Cost {
    pub memory_kib: u32,
    pub iterations: u32,
    pub parallelism: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    Auto,
    Text,
    Json,
}

/// Everything that is wrong with the configuration, one sentence a line.
#[derive(Debug, thiserror::Error)]
#[error("{}", .problems.join("\n"))]
pub struct ConfigError {
    pub problems: Vec<String>,
}

impl Config {
    /// The configuration of this process.
    ///
    /// # Errors
    /// Everything that is wrong, at once.
    pub fn from_process(config_path: Option<&Path>) -> Result<Self, ConfigError> {
        Survey::of_process(config_path).into_config()
    }

    /// The configuration in an environment of the caller's making.
    ///
    /// # Errors
    /// Everything that is wrong, at once.
    pub fn load(overrides: &Overrides, environment: &dyn Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        Survey::of(overrides, &Environment { names: Vec::new(), find: environment, is_root: runs_as_root() })
            .into_config()
    }
}

/// What is set around the process.
pub(crate) struct Environment<'a> {
    /// The names that are set.
    names: Vec<String>,
    /// The value of a name.
    find: &'a dyn Fn(&str) -> Option<String>,
    /// Whether the process is root's.
    is_root: bool,
}

impl Environment<'_> {
    /// An empty variable counts as not set.
    fn value(&self, name: &str) -> Option<String> {
        (self.find)(name).filter(|value| !value.is_empty())
    }
}

impl Survey {
    /// The settings of this process.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the environment")]
    pub fn of_process(config_path: Option<&Path>) -> Self {
        let overrides = Overrides { config_path: config_path.map(Path::to_owned) };
        let mut names: Vec<String> = std::env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned()).collect();
        names.sort_unstable();
        // A value that is not UTF-8 becomes a replacement character, which `Values` refuses.
        let find = |name: &str| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned());
        Self::of(&overrides, &Environment { names, find: &find, is_root: runs_as_root() })
    }

    fn of(overrides: &Overrides, environment: &Environment<'_>) -> Self {
        let mut values = Values::gather(overrides, environment);
        let draft = draft(&mut values, environment);
        let Values { file, mut settings, problems, foreign_variables, .. } = values;
        let warnings = match foreign_variables.join(", ") {
            names if names.is_empty() => Vec::new(),
            names => vec![format!("{FOREIGN_VARIABLES}: {names}")],
        };
        settings.sort_by_key(|setting| KEYS.iter().position(|key| *key == setting.name));
        Self { file, settings, problems, warnings, draft }
    }
}

/// Takes every setting, with its default in the place of what is refused, and holds them against one another.
fn draft(values: &mut Values, environment: &Environment<'_>) -> Config {
    let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let listen = values.take("listen", Some(local(3000)), parse_address);
    let ops_listen = values.take("ops_listen", Some(local(9464)), parse_address);
    if let (Some(listen), Some(ops_listen)) = (listen, ops_listen)
        && (listen.port() == ops_listen.port() && listen.port() != 0 && addresses_overlap(listen, ops_listen))
    {
        let problem = format!("listen and ops_listen are both {listen}; give TRONCH_OPS_LISTEN another port.");
        values.refuse("ops_listen", &problem);
    }
    let (listen, ops_listen) = (listen.unwrap_or(local(3000)), ops_listen.unwrap_or(local(9464)));
    let allow_insecure_http = values.take("allow_insecure_http", Some(false), parse_bool).unwrap_or(false);
    let localhost = PublicUrl::localhost(listen.port());
    let public_url = values
        .take("public_url", Some(localhost.clone()), |text| parse_public_url(text, allow_insecure_http))
        .unwrap_or(localhost);
    let trusted_proxies = values
        .take("trusted_proxies", Some(Vec::new()), |text| parse_list(text, TRUSTED_PROXIES_MAX))
        .unwrap_or_default();
    let cors_origins =
        values.take("cors_origins", Some(Vec::new()), |text| parse_list(text, CORS_ORIGINS_MAX)).unwrap_or_default();
    let connections_max = values.take("connections_max", Some(10_000), |text| parse_within(text, 100..=1_000_000));
    let data_dir =
        values.take("data_dir", default_data_dir(environment.is_root, &|name| environment.value(name)), parse_path);
    if data_dir.is_none() && !values.is_set("data_dir") {
        let problem =
            "data_dir has no default here, because neither XDG_DATA_HOME nor HOME is set; set TRONCH_DATA_DIR.";
        values.refuse("data_dir", problem);
    }
    let database_connections_max = if values.is_set("database_url") { 200 } else { PRIVATE_POSTGRES_CONNECTIONS_MAX };
    let database_url = values.take("database_url", None, parse_database_url);
    let database_connections = values.take("database_connections", Some(10), |text| {
        parse_within(text, 4..=database_connections_max)
            .map_err(|allowed| format!("{allowed} (up to 200 with DATABASE_URL)"))
    });
    let redis_url = values.take("redis_url", None, parse_redis_url);
    let mail = take_mail(values);
    let lookup_wait_ms = values.take("lookup_wait_ms", Some(100), |text| parse_within(text, 20..=2000));
    let remembered_keys = values
        .take("remembered_keys", Some(2_000_000), |text| parse_within(text, REMEMBERED_KEYS))
        .unwrap_or(2_000_000);
    let warm_up_keys = values.take("warm_up_keys", Some(0), |text| parse_within(text, 0..=remembered_keys));
    let usage_kept = take_usage_retention(values);
    let pg_bin = values.take("pg_bin", None, parse_path);
    let data_dir = data_dir.unwrap_or_default();
    let master_key = take_master_key(values, &data_dir);
    let log_filter = values.take("log", Some("info".to_owned()), parse_log_filter);
    let log_format = values.take("log_format", Some(LogFormat::Auto), parse_log_format);
    let shutdown_seconds = values.take("shutdown_seconds", Some(10), |text| parse_within(text, 1..=300));
    let argon2 = take_argon2(values);
    Config {
        listen,
        ops_listen,
        public_url,
        allow_insecure_http,
        trusted_proxies,
        cors_origins,
        connections_max: connections_max.unwrap_or(10_000),
        data_dir,
        database_url,
        database_connections: database_connections.unwrap_or(10),
        redis_url,
        mail,
        lookup_wait: Duration::from_millis(lookup_wait_ms.unwrap_or(100).into()),
        remembered_keys,
        warm_up_keys: warm_up_keys.unwrap_or(0),
        usage_kept,
        pg_bin,
        master_key,
        log_filter: log_filter.unwrap_or_else(|| "info".to_owned()),
        log_format: log_format.unwrap_or(LogFormat::Auto),
        shutdown_grace: Duration::from_secs(shutdown_seconds.unwrap_or(10).into()),
        argon2,
        foreign_variables: values.foreign_variables.clone(),
    }
}

/// Both or neither.
fn take_mail(values: &mut Values) -> Option<(Redacted, String)> {
    let (url_is_set, from_is_set) = (values.is_set("smtp_url"), values.is_set("mail_from"));
    let (url, from) = (values.take("smtp_url", None, parse_smtp_url), values.take("mail_from", None, parse_mail_from));
    if url.is_some() && !from_is_set {
        let problem = "smtp_url is set and mail_from is not; set TRONCH_MAIL_FROM to whom mail is from.";
        values.refuse("mail_from", problem);
    }
    if from.is_some() && !url_is_set {
        let problem = "mail_from is set and smtp_url is not; set TRONCH_SMTP_URL to the server that sends.";
        values.refuse("smtp_url", problem);
    }
    url.zip(from)
}

/// Where the master key is: given, in a file, or in the data directory.
fn take_master_key(values: &mut Values, data_dir: &Path) -> MasterKeySource {
    let (key_is_set, file_is_set) = (values.is_set("master_key"), values.is_set("master_key_file"));
    let given_keys = values.take("master_key", None, |text| parse_list(text, MASTER_KEYS_MAX));
    let in_data_dir = data_dir.join("master-key");
    let key_file = values.take("master_key_file", (!key_is_set).then(|| in_data_dir.clone()), parse_path);
    if key_is_set && file_is_set {
        let problem = "TRONCH_MASTER_KEY and TRONCH_MASTER_KEY_FILE are both set; unset one of them.";
        values.refuse("master_key_file", problem);
    }
    match (given_keys, key_file) {
        (Some(keys), _) => MasterKeySource::Given(keys),
        (None, Some(path)) if file_is_set => MasterKeySource::File(path),
        _ => MasterKeySource::InDataDir(in_data_dir),
    }
}

/// At least what the dashboard's charts look back.
fn take_usage_retention(values: &mut Values) -> UsageRetention {
    let minutes = values.take("usage_minutes_days", Some(7), |text| parse_within(text, 2..=62));
    let hours = values.take("usage_hours_days", Some(92), |text| parse_within(text, 8..=800));
    let days = values.take("usage_days_days", Some(1096), |text| parse_within(text, 62..=7300));
    UsageRetention { minutes: minutes.unwrap_or(7), hours: hours.unwrap_or(92), days: days.unwrap_or(1096) }
}

fn take_argon2(values: &mut Values) -> Argon2Cost {
    let memory_kib = values.take("argon2_memory_kib", Some(19456), |text| parse_within(text, 19456..=65536));
    let iterations = values.take("argon2_iterations", Some(2), |text| parse_within(text, 2..=10));
    let parallelism = values.take("argon2_parallelism", Some(1), |text| parse_within(text, 1..=4));
    Argon2Cost {
        memory_kib: memory_kib.unwrap_or(19456),
        iterations: iterations.unwrap_or(2),
        parallelism: parallelism.unwrap_or(1),
    }
}

/// The environment variable of a setting.
fn variable_of(key: &str) -> String {
    // These names are what every host and tool already sets.
    match key {
        "database_url" | "redis_url" => key.to_ascii_uppercase(),
        _ => format!("TRONCH_{}", key.to_ascii_uppercase()),
    }
}

/// Whether the effective user is root; `false` where there is no `/proc` to ask.
pub fn runs_as_root() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let uid_line = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    uid_line.and_then(|ids| ids.split_whitespace().nth(1)) == Some("0")
}
