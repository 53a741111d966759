//! The raw values with their sources, from `tronch.toml` and the environment, each taken once. What a value means is
//! `parse.rs`'s business.

use std::path::{Path, PathBuf};

use config::{File, FileFormat, Map, Source as _, Value};

use super::in_force::InForce;
use super::names::{meant_key, meant_variable};
use super::survey::{Setting, Source};
use super::{Environment, KEYS, Overrides, SECRET_KEYS, variable_of};

/// What was found so far: values that nobody has taken yet, and settings with what is wrong with them.
pub(super) struct Values {
    raw: Map<String, (Value, Source)>,
    pub(super) file: Option<PathBuf>,
    pub(super) settings: Vec<Setting>,
    pub(super) problems: Vec<String>,
    /// Variables that look like settings and are another program's.
    pub(super) foreign_variables: Vec<String>,
}

impl Values {
    pub(super) fn gather(overrides: &Overrides, environment: &Environment<'_>) -> Self {
        let named = overrides.config_path.clone().or_else(|| environment.value("TRONCH_CONFIG").map(PathBuf::from));
        let mut values = Self {
            raw: Map::new(),
            file: None,
            settings: Vec::new(),
            problems: Vec::new(),
            foreign_variables: Vec::new(),
        };
        values.add_file(named.as_deref().unwrap_or(Path::new("tronch.toml")), named.is_some());
        for key in KEYS {
            let variable = variable_of(key);
            if let Some(text) = environment.value(&variable) {
                values.raw.insert(key.into(), (Value::new(None, text), Source::Environment(variable)));
            }
        }
        values.judge_names(environment);
        values
    }

    fn add_file(&mut self, path: &Path, must_exist: bool) {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let shown = path.display().to_string();
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !must_exist => return,
            Err(error) => {
                return self.problems.push(format!("The configuration file {shown} cannot be read: {error}."));
            }
        };
        self.file = Some(path.clone());
        let entries = match File::from_str(&text, FileFormat::Toml).collect() {
            Ok(entries) => entries,
            Err(error) => {
                let why = without_excerpt(&error);
                return self.problems.push(format!("The configuration file {shown} is not TOML: {why}."));
            }
        };
        for (key, value) in entries {
            if key == "master_key" {
                self.problems.push(format!("master_key may not stand in {shown}; set TRONCH_MASTER_KEY, or master_key_file to a file with mode 0600."));
            } else if KEYS.contains(&key.as_str()) {
                self.raw.insert(key, (value, Source::File(path.clone())));
            } else {
                let hint = match meant_key(&key) {
                    Some(known) => format!("did you mean {known}?"),
                    None => format!("the keys are {}.", KEYS.join(", ")),
                };
                self.problems.push(format!("{shown} has the unknown key {key}; {hint}"));
            }
        }
        self.problems.sort_unstable();
    }

    /// A mistyped variable would leave its setting at the default without a word. What resembles no setting is another
    /// program's, such as what Kubernetes sets for a service called `tronch`.
    fn judge_names(&mut self, environment: &Environment<'_>) {
        let variables = KEYS.map(variable_of);
        let ours =
            |name: &&String| name.starts_with("TRONCH_") && *name != "TRONCH_CONFIG" && !variables.contains(name);
        for name in environment.names.iter().filter(ours).filter(|name| environment.value(name).is_some()) {
            match meant_variable(name) {
                Some(variable) => {
                    self.problems
                        .push(format!("The environment variable {name} is no setting; did you mean {variable}?"));
                }
                None => self.foreign_variables.push(name.clone()),
            }
        }
    }

    /// Whether somebody set it, rightly or wrongly.
    pub(super) fn is_set(&self, name: &str) -> bool {
        self.raw.contains_key(name)
            || self.settings.iter().any(|setting| setting.name == name && setting.source != Source::Default)
    }

    /// The value of a setting: what was set, else the default. None where it was refused.
    pub(super) fn take<T: InForce>(
        &mut self,
        name: &'static str,
        default: Option<T>,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let variable = variable_of(name);
        let Some((value, source)) = self.raw.remove(name) else {
            let shown = default.as_ref().map(InForce::shown);
            self.settings.push(Setting { name, variable, value: shown, source: Source::Default, problem: None });
            return default;
        };
        let text = text_of(value);
        let parsed = match &text {
            Some(text) if !text.contains('\u{fffd}') => parse(text.trim()),
            _ => Err("must be plain UTF-8 text".into()),
        };
        let shown = match &parsed {
            Ok(value) => Some(value.shown()),
            Err(_) => text.filter(|_| !SECRET_KEYS.contains(&name)),
        };
        let mut setting = Setting { name, variable, value: shown, source, problem: None };
        let taken = match parsed {
            Ok(value) => Some(value),
            Err(allowed) => {
                setting.problem = Some(format!("{} is refused; it {allowed}.", setting.lead()));
                None
            }
        };
        self.settings.push(setting);
        taken
    }

    /// Refuses a setting that was fine by itself.
    pub(super) fn refuse(&mut self, name: &str, problem: &str) {
        match self.settings.iter_mut().find(|setting| setting.name == name) {
            Some(setting) => setting.problem = Some(problem.to_owned()),
            None => self.problems.push(problem.to_owned()),
        }
    }
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
