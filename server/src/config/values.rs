//! The raw values with their sources, from `tronch.toml` and the environment. What a value means is `parse.rs`'s business.

use std::path::{Path, PathBuf};

use config::{File, FileFormat, Map, Source as _, Value};

use super::{KEYS, Overrides, SECRET_KEYS};

/// The raw values with their sources, and what was found wrong so far.
pub(super) struct Values {
    pub(super) raw: Map<String, Value>,
    pub(super) problems: Vec<String>,
}

impl Values {
    pub(super) fn gather(overrides: &Overrides, environment: &dyn Fn(&str) -> Option<String>) -> Values {
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

    pub(super) fn take<T>(&mut self, key: &str, parse: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
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

    pub(super) fn refuse(&mut self, problem: String) {
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
