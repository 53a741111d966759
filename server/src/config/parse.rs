//! What each setting may say: from its text to its value, or to what is allowed. Settings are not compared here.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;

use tracing_subscriber::EnvFilter;
use tronch_engine::mail::MailSettings;

use super::{LogFormat, PublicUrl, Redacted};

pub(super) fn parse_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "must be an IP address and a port, such as 127.0.0.1:3000 or [::]:3000".into())
}

pub(super) fn parse_bool(text: &str) -> Result<bool, String> {
    match text {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err("must be true or false".into()),
    }
}

pub(super) fn parse_public_url(text: &str, allow_insecure_http: bool) -> Result<PublicUrl, String> {
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

pub(super) fn parse_list<T: FromStr<Err = String>>(text: &str, items_max: usize) -> Result<Vec<T>, String> {
    let items: Vec<T> = text.split(',').map(|item| item.trim().parse()).collect::<Result<_, _>>()?;
    if items.len() > items_max {
        return Err(format!("must have at most {items_max} entries"));
    }
    Ok(items)
}

pub(super) fn parse_path(text: &str) -> Result<PathBuf, String> {
    std::path::absolute(text).map_err(|_| "must be a path".into())
}

pub(super) fn parse_database_url(text: &str) -> Result<Redacted, String> {
    let is_postgres = text.starts_with("postgres://") || text.starts_with("postgresql://");
    is_postgres
        .then(|| Redacted::new(text))
        .ok_or_else(|| "must look like postgres://user:password@host:5432/database".into())
}

pub(super) fn parse_redis_url(text: &str) -> Result<Redacted, String> {
    tronch_engine::RedisUrl::parse(text).map(|_| Redacted::new(text)).map_err(|error| error.to_string())
}

pub(super) fn parse_smtp_url(text: &str) -> Result<Redacted, String> {
    MailSettings::check_url(text).map(|()| Redacted::new(text)).map_err(|error| error.to_string())
}

pub(super) fn parse_mail_from(text: &str) -> Result<String, String> {
    MailSettings::check_from(text).map(|()| text.to_owned()).map_err(|error| error.to_string())
}

pub(super) fn parse_within(text: &str, allowed: RangeInclusive<u32>) -> Result<u32, String> {
    let number: Option<u32> = text.parse().ok();
    let refused = || format!("must be a whole number from {} to {}", allowed.start(), allowed.end());
    number.filter(|number| allowed.contains(number)).ok_or_else(refused)
}

const LOG_LEVELS: [&str; 6] = ["trace", "debug", "info", "warn", "error", "off"];

pub(super) fn parse_log_filter(text: &str) -> Result<String, String> {
    let refused =
        || "must be a level (trace, debug, info, warn, error, off) or a filter such as info,tronch=debug".to_owned();
    // A word alone that is no level would be taken for a module, and silence everything else.
    let level = |word: &str| LOG_LEVELS.iter().any(|level| word.trim().eq_ignore_ascii_case(level));
    if !text.split(',').all(|part| part.contains(['=', '[', ':']) || level(part)) {
        return Err(refused());
    }
    EnvFilter::try_new(text).map_err(|_| refused())?;
    Ok(text.to_owned())
}

pub(super) fn parse_log_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "auto" => Ok(LogFormat::Auto),
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err("must be auto, text or json".into()),
    }
}

pub(super) fn default_data_dir(is_root: bool, environment: &dyn Fn(&str) -> Option<String>) -> Option<PathBuf> {
    if is_root {
        return Some("/var/lib/tronch".into());
    }
    // The XDG base directory specification tells us to ignore a relative path.
    let absolute = |name: &str| environment(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let data_home = absolute("XDG_DATA_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local/share")));
    data_home.map(|folder| folder.join("tronch"))
}

pub(super) fn addresses_overlap(one: SocketAddr, other: SocketAddr) -> bool {
    one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified()
}
