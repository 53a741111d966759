//! What the configuration holds back: the master keys, and the addresses of the database, of Redis and of the mail server with their passwords. Where the keys are
//! kept is the data directory's business.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

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

    /// Of a database's address: scheme, host, port and database. User, password and options are left out; where it is
    /// not certain which is which, all of it is.
    pub(super) fn without_secrets(&self) -> String {
        plain_address(&self.0).unwrap_or_else(|| "[redacted]".to_owned())
    }
}

fn plain_address(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let (address, options) = rest.split_once('?').unwrap_or((rest, ""));
    let (before, address) = address.rsplit_once('@').unwrap_or(("", address));
    // A second `@`, or one behind the `?`, may belong to a password that was not encoded.
    if before.contains('@') || options.contains('@') {
        return None;
    }
    let (authority, database) = address.split_once('/').unwrap_or((address, ""));
    let host = match authority.rsplit_once(':').filter(|_| !authority.contains(',')) {
        Some((host, port)) if !port.ends_with(']') => {
            port.parse::<u16>().ok()?;
            host
        }
        _ => authority,
    };
    let several = authority.contains(',') && scheme != "postgres" && scheme != "postgresql";
    let host = if several { authority } else { host };
    let also: &[u8] = if several { b"-._[]:," } else { b"-._[]:" };
    let plain =
        |text: &str, others: &[u8]| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || others.contains(&byte));
    let fine = plain(host, also) && plain(database, b"-._/");
    fine.then(|| format!("{scheme}://{address}"))
}

impl fmt::Debug for Redacted {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("[redacted]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_databases_address_no_user_password_or_option_is_shown() {
        let table = [
            ("postgres://tronch:hunter2@db.example.com:5432/keys", "postgres://db.example.com:5432/keys"),
            ("postgresql://tronch@db/keys", "postgresql://db/keys"),
            ("postgres://db:5432/keys?user=tronch&password=hunter2", "postgres://db:5432/keys"),
            ("postgres://[::1]:5432/keys", "postgres://[::1]:5432/keys"),
            ("postgres://tronch:hunter2@[::1]/keys", "postgres://[::1]/keys"),
            ("postgres://tronch:hun/ter2@db/keys", "postgres://db/keys"),
            ("postgres://tronch:hun#ter2@db/keys", "postgres://db/keys"),
            ("postgres:///keys", "postgres:///keys"),
            ("postgres://tronch:hun@ter2@db/keys", "[redacted]"),
            ("postgres://tronch:hun?ter2@db/keys", "[redacted]"),
            ("postgres://db/keys?user=a@b&password=hunter2", "[redacted]"),
            ("postgres://tronch:hunter2", "[redacted]"),
            ("postgres://one,two/keys", "[redacted]"),
            ("postgres://db/ke%20ys", "[redacted]"),
            ("redis://:hunter2@cache:6379/2", "redis://cache:6379/2"),
            ("smtps://tronch:hunter2@mail:465", "smtps://mail:465"),
            ("redis-cluster://tronch:hunter2@a:7000,b:7001", "redis-cluster://a:7000,b:7001"),
            ("redis-sentinel://:hunter2@a:1,b:2/main/3", "redis-sentinel://a:1,b:2/main/3"),
        ];
        for (url, expected) in table {
            assert_eq!(Redacted::new(url).without_secrets(), expected, "{url}");
        }
    }
}
