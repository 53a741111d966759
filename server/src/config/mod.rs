//! Configuration: every value the operator can set, read once and checked; the only file that reads the environment.
//! It opens nothing but `tronch.toml`: folders, keys and databases are the business of the files that get the values.

mod networks;
mod parse;
mod public_url;
mod secrets;
mod values;

#[cfg(test)]
mod tests;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use networks::Cidr;
pub use public_url::PublicUrl;
pub use secrets::{MasterKey, MasterKeySource, Redacted};

use parse::{
    addresses_overlap, default_data_dir, parse_address, parse_bool, parse_database_url, parse_list, parse_log_filter,
    parse_log_format, parse_path, parse_public_url, parse_within,
};
use values::Values;

/// Every setting, by its key in `tronch.toml`; [`variable_of`] gives the environment variable.
const KEYS: [&str; 17] = [
    "listen",
    "ops_listen",
    "public_url",
    "allow_insecure_http",
    "trusted_proxies",
    "data_dir",
    "database_url",
    "database_connections",
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
const SECRET_KEYS: [&str; 2] = ["database_url", "master_key"];
/// The private Postgres runs with `max_connections = 100`; the rest is for commands and for the operator's `psql`.
const PRIVATE_POSTGRES_CONNECTIONS_MAX: u32 = 90;
const TRUSTED_PROXIES_MAX: usize = 64;
const MASTER_KEYS_MAX: usize = 16;

#[derive(Debug, Clone)]
pub struct Config {
    pub listen: SocketAddr,
    pub ops_listen: SocketAddr,
    pub public_url: PublicUrl,
    pub allow_insecure_http: bool,
    pub trusted_proxies: Vec<Cidr>,
    pub data_dir: PathBuf,
    pub database_url: Option<Redacted>,
    pub database_connections: u32,
    pub pg_bin: Option<PathBuf>,
    pub master_key: MasterKeySource,
    pub log_filter: String,
    pub log_format: LogFormat,
    pub shutdown_grace: Duration,
    pub argon2: Argon2Cost,
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
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the environment")]
    pub fn from_process(config_path: Option<&Path>) -> Result<Config, ConfigError> {
        let overrides = Overrides { config_path: config_path.map(Path::to_owned) };
        // A value that is not UTF-8 becomes a replacement character, which `Values` refuses.
        Config::load(&overrides, &|name| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned()))
    }

    pub fn load(overrides: &Overrides, environment: &dyn Fn(&str) -> Option<String>) -> Result<Config, ConfigError> {
        let environment = |name: &str| environment(name).filter(|value| !value.is_empty());
        let mut values = Values::gather(overrides, &environment);
        let listen = values.take("listen", parse_address).unwrap_or(SocketAddr::from((Ipv4Addr::LOCALHOST, 3000)));
        let ops_listen =
            values.take("ops_listen", parse_address).unwrap_or(SocketAddr::from((Ipv4Addr::LOCALHOST, 9464)));
        let allow_insecure_http = values.take("allow_insecure_http", parse_bool).unwrap_or(false);
        let public_url = values.take("public_url", |text| parse_public_url(text, allow_insecure_http));
        let trusted_proxies =
            values.take("trusted_proxies", |text| parse_list(text, TRUSTED_PROXIES_MAX)).unwrap_or_default();
        let data_dir = values.take("data_dir", parse_path).or_else(|| default_data_dir(runs_as_root(), &environment));
        let database_url = values.take("database_url", parse_database_url);
        let connections_max = if database_url.is_some() { 200 } else { PRIVATE_POSTGRES_CONNECTIONS_MAX };
        let database_connections = values.take("database_connections", |text| {
            parse_within(text, 4..=connections_max)
                .map_err(|allowed| format!("{allowed} (up to 200 with DATABASE_URL)"))
        });
        let pg_bin = values.take("pg_bin", parse_path);
        let given_keys = values.take("master_key", |text| parse_list(text, MASTER_KEYS_MAX));
        let key_file = values.take("master_key_file", parse_path);
        let log_filter = values.take("log", parse_log_filter).unwrap_or_else(|| "info".into());
        let log_format = values.take("log_format", parse_log_format).unwrap_or(LogFormat::Auto);
        let shutdown_seconds = values.take("shutdown_seconds", |text| parse_within(text, 1..=300)).unwrap_or(10);
        let argon2 = Argon2Cost {
            memory_kib: values.take("argon2_memory_kib", |text| parse_within(text, 19456..=65536)).unwrap_or(19456),
            iterations: values.take("argon2_iterations", |text| parse_within(text, 2..=10)).unwrap_or(2),
            parallelism: values.take("argon2_parallelism", |text| parse_within(text, 1..=4)).unwrap_or(1),
        };

        if listen.port() == ops_listen.port() && listen.port() != 0 && addresses_overlap(listen, ops_listen) {
            values.refuse(format!("listen and ops_listen are both {listen}; give TRONCH_OPS_LISTEN another port."));
        }
        if given_keys.is_some() && key_file.is_some() {
            values.refuse("TRONCH_MASTER_KEY and TRONCH_MASTER_KEY_FILE are both set; unset one of them.".into());
        }
        if data_dir.is_none() {
            values.refuse(
                "data_dir has no default here, because neither XDG_DATA_HOME nor HOME is set; set TRONCH_DATA_DIR."
                    .into(),
            );
        }
        let (Some(data_dir), []) = (data_dir, &values.problems[..]) else {
            return Err(ConfigError { problems: values.problems });
        };
        let master_key = match (given_keys, key_file) {
            (Some(keys), _) => MasterKeySource::Given(keys),
            (None, Some(path)) => MasterKeySource::File(path),
            (None, None) => MasterKeySource::InDataDir(data_dir.join("master-key")),
        };
        Ok(Config {
            listen,
            ops_listen,
            public_url: public_url.unwrap_or_else(|| PublicUrl::localhost(listen.port())),
            allow_insecure_http,
            trusted_proxies,
            data_dir,
            database_url,
            database_connections: database_connections.unwrap_or(10),
            pg_bin,
            master_key,
            log_filter,
            log_format,
            shutdown_grace: Duration::from_secs(shutdown_seconds.into()),
            argon2,
        })
    }
}

/// Whether the effective user is root; `false` where there is no `/proc` to ask.
pub fn runs_as_root() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let uid_line = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    uid_line.and_then(|ids| ids.split_whitespace().nth(1)) == Some("0")
}
