//! Configuration: every value the operator can set, read once and checked; the only file that reads the environment.
//! It opens nothing but `tronch.toml`: folders, keys and databases are the business of the files that get the values.

use std::fmt::{self, Display};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use config::{File, FileFormat, Map, Source as _, Value};
use tracing_subscriber::EnvFilter;

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

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MasterKeySource {
    /// From `TRONCH_MASTER_KEY`, in the order given; never empty.
    Given(Vec<MasterKey>),
    /// From `TRONCH_MASTER_KEY_FILE`; the file must exist.
    File(PathBuf),
    /// `master-key` in the data directory; the first start creates it.
    InDataDir(PathBuf),
}

/// The 32 bytes of one master key; `Debug` does not print them.
#[derive(Clone, PartialEq, Eq)]
pub struct MasterKey([u8; 32]);

impl MasterKey {
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("MasterKey([redacted])")
    }
}

impl FromStr for MasterKey {
    type Err = String;

    fn from_str(text: &str) -> Result<MasterKey, String> {
        let digits: Option<Vec<u8>> = text.chars().map(|c| c.to_digit(16).map(|digit| digit as u8)).collect();
        let digits = digits
            .filter(|digits| digits.len() == 64)
            .ok_or("must be 64 hex digits, or several such keys separated by commas")?;
        let mut key = [0; 32];
        for (byte, pair) in key.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = pair[0] << 4 | pair[1];
        }
        Ok(MasterKey(key))
    }
}

/// A text with a password in it; `Debug` does not print it and there is no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct Redacted(String);

impl Redacted {
    pub fn new(text: impl Into<String>) -> Redacted {
        Redacted(text.into())
    }

    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Redacted {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("[redacted]")
    }
}

/// Where browsers reach us: scheme, host and port, nothing after them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicUrl {
    https: bool,
    host: String,
    port: u16,
}

impl PublicUrl {
    pub fn localhost(port: u16) -> PublicUrl {
        PublicUrl { https: false, host: "localhost".into(), port }
    }

    pub fn is_https(&self) -> bool {
        self.https
    }

    pub fn is_loopback(&self) -> bool {
        let address: Result<IpAddr, _> = self.host.trim_matches(['[', ']']).parse();
        self.host == "localhost" || self.host.ends_with(".localhost") || address.is_ok_and(|ip| ip.is_loopback())
    }

    /// The origin as browsers send it (RFC 6454): the scheme's own port is left out.
    pub fn origin(&self) -> String {
        let scheme = if self.https { "https" } else { "http" };
        match self.port == default_port(self.https) {
            true => format!("{scheme}://{}", self.host),
            false => format!("{scheme}://{}:{}", self.host, self.port),
        }
    }
}

impl Display for PublicUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.origin())
    }
}

impl FromStr for PublicUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<PublicUrl, String> {
        let refused = || {
            "must be http:// or https://, a host and perhaps a port, and nothing after them, such as https://keys.example.com".to_owned()
        };
        let text = text.to_ascii_lowercase();
        let (scheme, rest) = text.split_once("://").ok_or_else(refused)?;
        let https = match scheme {
            "https" => true,
            "http" => false,
            _ => return Err(refused()),
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = match authority.rsplit_once(':') {
            // A colon inside brackets belongs to an IPv6 address.
            Some((host, port)) if !port.contains(']') => (host, port.parse().map_err(|_| refused())?),
            _ => (authority, default_port(https)),
        };
        if port == 0 || !is_host(host) {
            return Err(refused());
        }
        Ok(PublicUrl { https, host: host.to_owned(), port })
    }
}

fn default_port(https: bool) -> u16 {
    if https { 443 } else { 80 }
}

fn is_host(host: &str) -> bool {
    if let Some(inside) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return inside.parse::<Ipv6Addr>().is_ok();
    }
    let label_is_fine = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    host.len() <= 253 && host.split('.').all(label_is_fine)
}

/// A network such as `10.0.0.0/8`; a bare address is a network of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cidr {
    network: IpAddr,
    prefix_bits: u8,
}

impl Cidr {
    pub fn contains(&self, address: IpAddr) -> bool {
        // A dual-stack socket reports IPv4 peers as ::ffff:a.b.c.d.
        match (self.network, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                (network.to_bits() ^ address.to_bits()) & v4_mask(self.prefix_bits) == 0
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                (network.to_bits() ^ address.to_bits()) & v6_mask(self.prefix_bits) == 0
            }
            _ => false,
        }
    }
}

impl FromStr for Cidr {
    type Err = String;

    fn from_str(text: &str) -> Result<Cidr, String> {
        let refused =
            || format!("must be networks such as 10.0.0.0/8 or fd00::/8, separated by commas; {text:?} is none");
        let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let network: IpAddr = address.parse().map_err(|_| refused())?;
        let bits_max = if network.is_ipv4() { 32 } else { 128 };
        let prefix_bits = prefix.map_or(Ok(bits_max), str::parse).map_err(|_| refused())?;
        if prefix_bits > bits_max {
            return Err(refused());
        }
        // 10.1.2.3/8 would trust far more than its author had in mind.
        let begins_at_its_network = match network {
            IpAddr::V4(network) => network.to_bits() & !v4_mask(prefix_bits) == 0,
            IpAddr::V6(network) => network.to_bits() & !v6_mask(prefix_bits) == 0,
        };
        begins_at_its_network.then_some(Cidr { network, prefix_bits }).ok_or_else(refused)
    }
}

fn v4_mask(prefix_bits: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix_bits)).unwrap_or(0)
}

fn v6_mask(prefix_bits: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(prefix_bits)).unwrap_or(0)
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

/// The raw values with their sources, and what was found wrong so far.
struct Values {
    raw: Map<String, Value>,
    problems: Vec<String>,
}

impl Values {
    fn gather(overrides: &Overrides, environment: &dyn Fn(&str) -> Option<String>) -> Values {
        let named = overrides.config_path.clone().or_else(|| environment("TRONCH_CONFIG").map(PathBuf::from));
        let mut values = Values { raw: Map::new(), problems: Vec::new() };
        values.add_file(&named.clone().unwrap_or_else(|| "tronch.toml".into()), named.is_some());
        for key in KEYS {
            let variable = variable_of(key);
            if let Some(text) = environment(&variable) {
                values.raw.insert(key.into(), Value::new(Some(&format!("environment variable {variable}")), text));
            }
        }
        values
    }

    fn add_file(&mut self, path: &Path, must_exist: bool) {
        let shown = path.display();
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !must_exist => return,
            Err(error) => return self.refuse(format!("The configuration file {shown} cannot be read: {error}.")),
        };
        let entries = match File::from_str(&text, FileFormat::Toml).collect() {
            Ok(entries) => entries,
            Err(error) => {
                return self
                    .refuse(format!("The configuration file {shown} is not TOML: {}.", without_excerpt(&error)));
            }
        };
        for (key, value) in entries {
            if key == "master_key" {
                self.refuse(format!("master_key may not stand in {shown}; set TRONCH_MASTER_KEY, or master_key_file to a file with mode 0600."));
            } else if KEYS.contains(&key.as_str()) {
                let origin = format!("{shown}, key {key}");
                self.raw.insert(key, Value::new(Some(&origin), value.kind));
            } else {
                self.refuse(format!("{shown} has the unknown key {key}; the keys are {}.", KEYS.join(", ")));
            }
        }
    }

    fn take<T>(&mut self, key: &str, parse: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        let value = self.raw.remove(key)?;
        let origin = value.origin().unwrap_or("configuration").to_owned();
        let text = text_of(value);
        let parsed = match &text {
            Some(text) if !text.contains('\u{fffd}') => parse(text.trim()),
            _ => Err("must be plain UTF-8 text".into()),
        };
        let shown = match text {
            Some(text) if !SECRET_KEYS.contains(&key) => format!("{text:?}"),
            _ => "the value given".into(),
        };
        parsed.map_err(|allowed| self.refuse(format!("{key}: {shown} ({origin}) is refused; it {allowed}."))).ok()
    }

    fn refuse(&mut self, problem: String) {
        self.problems.push(problem);
    }
}

fn variable_of(key: &str) -> String {
    // This name is what every host and tool already sets.
    if key == "database_url" { "DATABASE_URL".into() } else { format!("TRONCH_{}", key.to_ascii_uppercase()) }
}

/// A list may be a TOML array or one text with commas.
fn text_of(value: Value) -> Option<String> {
    match value.clone().into_array() {
        Ok(items) => items
            .into_iter()
            .map(|item| item.into_string().ok())
            .collect::<Option<Vec<_>>>()
            .map(|items| items.join(",")),
        Err(_) => value.into_string().ok(),
    }
}

/// The TOML parser quotes the line it stumbles over, and that line may hold a password.
fn without_excerpt(error: &config::ConfigError) -> String {
    let text = match error {
        config::ConfigError::FileParse { cause, .. } => cause.to_string(),
        other => other.to_string(),
    };
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.contains('|')).collect();
    lines.join(": ")
}

fn parse_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "must be an IP address and a port, such as 127.0.0.1:3000 or [::]:3000".into())
}

fn parse_bool(text: &str) -> Result<bool, String> {
    match text {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err("must be true or false".into()),
    }
}

fn parse_public_url(text: &str, allow_insecure_http: bool) -> Result<PublicUrl, String> {
    let url: PublicUrl = text.parse()?;
    if !url.is_https() && !url.is_loopback() && !allow_insecure_http {
        return Err(
            "must be https unless the host is loopback, because passwords and keys would cross the network in clear; \
                    set TRONCH_ALLOW_INSECURE_HTTP=true to accept that"
                .into(),
        );
    }
    Ok(url)
}

fn parse_list<T: FromStr<Err = String>>(text: &str, items_max: usize) -> Result<Vec<T>, String> {
    let items: Vec<T> = text.split(',').map(|item| item.trim().parse()).collect::<Result<_, _>>()?;
    if items.len() > items_max {
        return Err(format!("must have at most {items_max} entries"));
    }
    Ok(items)
}

fn parse_path(text: &str) -> Result<PathBuf, String> {
    std::path::absolute(text).map_err(|_| "must be a path".into())
}

fn parse_database_url(text: &str) -> Result<Redacted, String> {
    let is_postgres = text.starts_with("postgres://") || text.starts_with("postgresql://");
    is_postgres
        .then(|| Redacted::new(text))
        .ok_or_else(|| "must look like postgres://user:password@host:5432/database".into())
}

fn parse_within(text: &str, allowed: RangeInclusive<u32>) -> Result<u32, String> {
    let number: Option<u32> = text.parse().ok();
    let refused = || format!("must be a whole number from {} to {}", allowed.start(), allowed.end());
    number.filter(|number| allowed.contains(number)).ok_or_else(refused)
}

fn parse_log_filter(text: &str) -> Result<String, String> {
    EnvFilter::try_new(text).map_err(|_| "must be a level or a filter such as info,tronch=debug".to_owned())?;
    Ok(text.to_owned())
}

fn parse_log_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "auto" => Ok(LogFormat::Auto),
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err("must be auto, text or json".into()),
    }
}

fn default_data_dir(is_root: bool, environment: &dyn Fn(&str) -> Option<String>) -> Option<PathBuf> {
    if is_root {
        return Some("/var/lib/tronch".into());
    }
    // The XDG base directory specification tells us to ignore a relative path.
    let absolute = |name: &str| environment(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let data_home = absolute("XDG_DATA_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local/share")));
    data_home.map(|folder| folder.join("tronch"))
}

fn addresses_overlap(one: SocketAddr, other: SocketAddr) -> bool {
    one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF";

    fn load(variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let find = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        Config::load(&Overrides::default(), &|name| find(name).or_else(|| (name == "HOME").then(|| "/home/ada".into())))
    }

    fn load_file(name: &str, text: &str, variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let path = format!("/tmp/tronch-config-{}-{name}.toml", std::process::id());
        std::fs::write(&path, text).unwrap();
        let loaded = load(&[variables, &[("TRONCH_CONFIG", path.as_str())]].concat());
        std::fs::remove_file(&path).unwrap();
        loaded
    }

    #[test]
    fn nothing_set_gives_the_documented_defaults() {
        let config = load(&[("TRONCH_LISTEN", "")]).unwrap();
        assert_eq!(config.listen.to_string(), "127.0.0.1:3000");
        assert_eq!(config.ops_listen.to_string(), "127.0.0.1:9464");
        assert_eq!(config.public_url.origin(), "http://localhost:3000");
        assert_eq!(config.argon2, Argon2Cost { memory_kib: 19456, iterations: 2, parallelism: 1 });
        assert_eq!((config.database_connections, config.shutdown_grace), (10, Duration::from_secs(10)));
        assert_eq!(config.master_key, MasterKeySource::InDataDir(config.data_dir.join("master-key")));
    }

    #[test]
    fn the_public_url_follows_the_listen_port() {
        assert_eq!(load(&[("TRONCH_LISTEN", "0.0.0.0:8080")]).unwrap().public_url.origin(), "http://localhost:8080");
    }

    #[test]
    fn the_environment_goes_before_the_file_and_the_file_before_the_default() {
        let text = "listen = \"127.0.0.1:4000\"\nshutdown_seconds = 30\ntrusted_proxies = [\"10.0.0.0/8\", \"::1\"]";
        let config = load_file("order", text, &[("TRONCH_SHUTDOWN_SECONDS", "40")]).unwrap();
        assert_eq!(
            (config.listen.port(), config.shutdown_grace.as_secs(), config.trusted_proxies.len()),
            (4000, 40, 2)
        );
    }

    #[test]
    fn every_refused_value_names_itself_its_source_and_what_is_allowed() {
        let table = [
            ("TRONCH_LISTEN", "localhost", "IP address and a port"),
            ("TRONCH_LISTEN", "3000", "IP address and a port"),
            ("TRONCH_OPS_LISTEN", "127.0.0.1:99999", "IP address and a port"),
            ("TRONCH_OPS_LISTEN", "0.0.0.0:3000", "another port"),
            ("TRONCH_PUBLIC_URL", "keys.example.com", "http:// or https://"),
            ("TRONCH_PUBLIC_URL", "ftp://keys.example.com", "http:// or https://"),
            ("TRONCH_PUBLIC_URL", "https://example.com/keys", "nothing after them"),
            ("TRONCH_PUBLIC_URL", "https://user@example.com", "nothing after them"),
            ("TRONCH_PUBLIC_URL", "https://example.com:0", "nothing after them"),
            ("TRONCH_PUBLIC_URL", "https://", "a host"),
            ("TRONCH_PUBLIC_URL", "http://keys.example.com", "TRONCH_ALLOW_INSECURE_HTTP"),
            ("TRONCH_ALLOW_INSECURE_HTTP", "yes", "true or false"),
            ("TRONCH_TRUSTED_PROXIES", "10.0.0.0/33", "networks such as"),
            ("TRONCH_TRUSTED_PROXIES", "10.1.2.3/8", "networks such as"),
            ("TRONCH_TRUSTED_PROXIES", "10.0.0.0/8,proxy", "networks such as"),
            ("DATABASE_URL", "mysql://root:hunter2@db/x", "postgres://"),
            ("TRONCH_DATABASE_CONNECTIONS", "3", "from 4 to 90"),
            ("TRONCH_DATABASE_CONNECTIONS", "91", "up to 200 with DATABASE_URL"),
            ("TRONCH_MASTER_KEY", "hunter2", "64 hex digits"),
            ("TRONCH_LOG", "info,tronch=loud", "filter such as"),
            ("TRONCH_LOG_FORMAT", "xml", "auto, text or json"),
            ("TRONCH_SHUTDOWN_SECONDS", "0", "from 1 to 300"),
            ("TRONCH_SHUTDOWN_SECONDS", "301", "from 1 to 300"),
            ("TRONCH_ARGON2_MEMORY_KIB", "1024", "from 19456 to 65536"),
            ("TRONCH_ARGON2_ITERATIONS", "1", "from 2 to 10"),
            ("TRONCH_ARGON2_PARALLELISM", "5", "from 1 to 4"),
            ("TRONCH_DATA_DIR", "/srv/\u{fffd}", "UTF-8"),
            ("TRONCH_CONFIG", "/nonexistent/tronch.toml", "cannot be read"),
        ];
        for (variable, value, allowed) in table {
            let problems = load(&[(variable, value)]).expect_err(variable).problems;
            assert_eq!(problems.len(), 1, "{problems:?}");
            assert!(problems[0].contains(allowed) && !problems[0].contains("hunter2"), "{}", problems[0]);
            let has_a_source = variable != "TRONCH_CONFIG" && allowed != "another port";
            assert!(
                !has_a_source || problems[0].contains(&format!("environment variable {variable}")),
                "{}",
                problems[0]
            );
        }
    }

    #[test]
    fn all_problems_are_reported_at_once_with_the_place_in_the_file() {
        let text = "lisen = 1\nlog_format = \"xml\"\nmaster_key = \"x\"\n[argon2]\nmemory = 1";
        let error = load_file("many", text, &[("TRONCH_LISTEN", "x")]).unwrap_err();
        assert_eq!(error.problems.len(), 5, "{error}");
        for part in [
            "unknown key lisen",
            "many.toml, key log_format",
            "master_key may not stand",
            "unknown key argon2",
            "TRONCH_LISTEN",
        ] {
            assert!(error.to_string().contains(part), "{part} in {error}");
        }
    }

    #[test]
    fn a_broken_file_is_refused_without_quoting_its_secrets() {
        let error =
            load_file("broken", "database_url = \"postgres://t:hunter2@db/t\" oops", &[]).unwrap_err().to_string();
        assert!(error.contains("line 1") && !error.contains("hunter2"), "{error}");
    }

    #[test]
    fn two_sources_of_the_master_key_are_refused() {
        let error = load(&[("TRONCH_MASTER_KEY", KEY), ("TRONCH_MASTER_KEY_FILE", "/k")]).unwrap_err();
        assert!(error.to_string().contains("unset one"), "{error}");
        let config = load(&[("TRONCH_MASTER_KEY", &format!("{KEY}, {KEY}"))]).unwrap();
        let MasterKeySource::Given(keys) = config.master_key else { panic!("keys were given") };
        assert_eq!((keys.len(), keys[1].expose()[1], keys[1].expose()[31]), (2, 0x11, 0xff));
    }

    #[test]
    fn debug_output_holds_no_secret() {
        let config = load(&[("DATABASE_URL", "postgres://t:hunter2@db/t"), ("TRONCH_MASTER_KEY", KEY)]).unwrap();
        let debug = format!("{config:?}");
        assert!(!debug.contains("hunter2") && !debug.contains("0x11") && !debug.contains("17, 34"), "{debug}");
    }

    #[test]
    fn public_urls_know_their_origin_and_loopback() {
        let table = [
            ("https://Keys.Example.com:443/", "https://keys.example.com", false),
            ("https://keys.example.com:8443", "https://keys.example.com:8443", false),
            ("http://app.localhost:80", "http://app.localhost", true),
            ("http://127.0.0.2:3000", "http://127.0.0.2:3000", true),
            ("http://[::1]:3000", "http://[::1]:3000", true),
        ];
        for (text, origin, is_loopback) in table {
            let url: PublicUrl = text.parse().unwrap();
            assert_eq!((url.origin().as_str(), url.is_loopback()), (origin, is_loopback));
        }
        let insecure = [("TRONCH_PUBLIC_URL", "http://keys.lan"), ("TRONCH_ALLOW_INSECURE_HTTP", "true")];
        assert!(!load(&insecure).unwrap().public_url.is_https());
    }

    #[test]
    fn a_network_contains_its_addresses_and_no_others() {
        let table = [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "::ffff:10.1.1.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("0.0.0.0/0", "203.0.113.9", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("192.0.2.7", "192.0.2.8", false),
            ("fd00::/8", "fdff::1", true),
            ("::/0", "2001:db8::1", true),
            ("::1", "::1", true),
        ];
        for (network, address, is_inside) in table {
            assert_eq!(
                network.parse::<Cidr>().unwrap().contains(address.parse().unwrap()),
                is_inside,
                "{network} {address}"
            );
        }
    }

    #[test]
    fn the_data_directory_depends_on_the_user() {
        let xdg = |name: &str| (name == "XDG_DATA_HOME").then(|| "/xdg".to_owned());
        let home = |name: &str| (name == "HOME").then(|| "/home/ada".to_owned());
        assert_eq!(default_data_dir(true, &xdg), Some("/var/lib/tronch".into()));
        assert_eq!(default_data_dir(false, &xdg), Some("/xdg/tronch".into()));
        assert_eq!(default_data_dir(false, &home), Some("/home/ada/.local/share/tronch".into()));
        assert_eq!(default_data_dir(false, &|_| None), None);
    }
}
