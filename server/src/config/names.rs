//! Names that are no setting's: which setting was most likely meant. What follows from it is `values.rs`'s business.

use super::{KEYS, variable_of};

/// The setting whose key was mistyped.
pub(super) fn meant_key(key: &str) -> Option<&'static str> {
    nearest(&key.to_ascii_lowercase().replace('-', "_"))
}

/// The variable that a mistyped `TRONCH_…` was meant to be.
pub(super) fn meant_variable(name: &str) -> Option<String> {
    let key = name.strip_prefix("TRONCH_")?.to_ascii_lowercase();
    let config = (strsim::damerau_levenshtein(&key, "config") == 1).then(|| "TRONCH_CONFIG".to_owned());
    config.or_else(|| nearest(&key).map(variable_of))
}

/// The nearest of the keys, where no more than one character in three differs.
fn nearest(key: &str) -> Option<&'static str> {
    let distances = KEYS.into_iter().map(|known| (strsim::damerau_levenshtein(key, known), known));
    let (distance, known) = distances.min()?;
    (distance <= (key.len() / 3).max(1)).then_some(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typing_error_is_told_from_a_name_of_something_else() {
        let table = [
            ("TRONCH_LISTN", Some("TRONCH_LISTEN")),
            ("TRONCH_TRUSTED_PROXY", Some("TRONCH_TRUSTED_PROXIES")),
            ("TRONCH_MASTERKEY", Some("TRONCH_MASTER_KEY")),
            ("TRONCH_DATABASE_URL", Some("DATABASE_URL")),
            ("TRONCH_REDIS_URL", Some("REDIS_URL")),
            ("TRONCH_CONFG", Some("TRONCH_CONFIG")),
            ("TRONCH_LGO", Some("TRONCH_LOG")),
            // What tests, scripts and Kubernetes (for a service called `tronch`) put beside the settings.
            ("TRONCH_TOKEN", None),
            ("TRONCH_BIN", None),
            ("TRONCH_URL", None),
            ("TRONCH_PORT", None),
            ("TRONCH_PORT_3000_TCP_ADDR", None),
            ("TRONCH_SERVICE_HOST", None),
            ("TRONCH_OPS_SERVICE_PORT", None),
            ("TRONCH_", None),
        ];
        for (name, expected) in table {
            assert_eq!(meant_variable(name).as_deref(), expected, "{name}");
        }
        assert_eq!(meant_key("log-format"), Some("log_format"));
        assert_eq!(meant_key("argon2"), None);
    }
}
