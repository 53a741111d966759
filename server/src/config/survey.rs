//! Every setting with its value and where it came from, right or wrong: what a start takes its configuration from, and
//! what `tronch config` prints. It judges no value itself.

use std::fmt::{self, Display};
use std::path::PathBuf;

use serde::Serialize;

use super::{Config, ConfigError};

/// All that can be said about the settings without starting anything.
#[derive(Debug, Serialize)]
pub struct Survey {
    /// The `tronch.toml` that was read, if one was.
    pub file: Option<PathBuf>,
    /// Every setting, in the order of the documentation.
    pub settings: Vec<Setting>,
    /// What is wrong and belongs to no single setting, such as an unknown key.
    pub problems: Vec<String>,
    /// What is ignored, and most likely meant for something else.
    pub warnings: Vec<String>,
    /// The configuration, with defaults in the place of what was refused.
    #[serde(skip)]
    pub(super) draft: Config,
}

/// One setting.
#[derive(Debug, Serialize)]
pub struct Setting {
    /// Its key in `tronch.toml`.
    pub name: &'static str,
    /// Its environment variable.
    pub variable: String,
    /// The value in force, or the one that was refused; none where nothing is set, and where a secret was refused.
    /// Secrets are left out of it.
    pub value: Option<String>,
    /// Where the value came from.
    #[serde(flatten)]
    pub source: Source,
    /// Why it was refused: the sentence that a start ends with.
    pub problem: Option<String>,
}

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "source", content = "origin", rename_all = "lowercase")]
pub enum Source {
    /// Nobody set it.
    Default,
    /// From the `tronch.toml` at this path.
    File(PathBuf),
    /// From the environment variable of this name.
    Environment(String),
}

impl Display for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => formatter.write_str("default"),
            Self::File(path) => write!(formatter, "file {}", path.display()),
            Self::Environment(variable) => write!(formatter, "environment variable {variable}"),
        }
    }
}

impl Setting {
    /// How a sentence about it begins: name, value, source.
    pub(super) fn lead(&self) -> String {
        let value = self.value.as_ref().map_or("the value given".to_owned(), |value| format!("{value:?}"));
        let origin = match &self.source {
            Source::File(path) => format!("{}, key {}", path.display(), self.name),
            other => other.to_string(),
        };
        format!("{}: {value} ({origin})", self.name)
    }
}

impl Survey {
    /// Everything that is wrong, the settings' own problems last.
    pub fn all_problems(&self) -> impl Iterator<Item = &str> {
        self.problems
            .iter()
            .chain(self.settings.iter().filter_map(|setting| setting.problem.as_ref()))
            .map(String::as_str)
    }

    /// The configuration, if nothing is wrong.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn into_config(self) -> Result<Config, ConfigError> {
        let problems: Vec<String> = self.all_problems().map(ToOwned::to_owned).collect();
        if problems.is_empty() { Ok(self.draft) } else { Err(ConfigError { problems }) }
    }

    pub(super) fn setting(&self, name: &str) -> Option<&Setting> {
        self.settings.iter().find(|setting| setting.name == name)
    }

    /// Whether nothing is wrong with these settings so far.
    pub(super) fn are_fine(&self, names: &[&str]) -> bool {
        names.iter().all(|name| self.setting(name).is_some_and(|setting| setting.problem.is_none()))
    }

    /// As a table for people: a line for each setting, what is wrong with it below.
    pub fn table(&self) -> String {
        let file = self.file.as_ref().map_or("none".to_owned(), |path| path.display().to_string());
        let head = ["setting", "environment variable", "value", "source"].map(ToOwned::to_owned);
        let rows: Vec<[String; 4]> = self.settings.iter().map(Setting::row).collect();
        let width = |column: usize| {
            let cells = std::iter::once(&head).chain(&rows).map(|row| row[column].chars().count());
            cells.max().unwrap_or_default()
        };
        let (one, two, three) = (width(0), width(1), width(2));
        let line = |[name, variable, value, source]: &[String; 4]| {
            format!("{name:one$}  {variable:two$}  {value:three$}  {source}\n")
        };
        let lines: String = rows.iter().zip(&self.settings).fold(line(&head), |lines, (row, setting)| {
            let problem = setting.problem.as_ref().map(|problem| format!("  wrong: {problem}\n"));
            lines + &line(row) + &problem.unwrap_or_default()
        });
        format!("tronch.toml: {file}\n\n{lines}{}", self.remarks())
    }

    /// What belongs to no single setting.
    fn remarks(&self) -> String {
        let wrong = self.problems.iter().map(|problem| format!("wrong: {problem}\n"));
        let ignored = self.warnings.iter().map(|warning| format!("warning: {warning}\n"));
        let remarks: String = wrong.chain(ignored).collect();
        if remarks.is_empty() { remarks } else { format!("\n{remarks}") }
    }
}

impl Setting {
    fn row(&self) -> [String; 4] {
        let value = match (&self.value, &self.source) {
            (Some(value), _) => value.clone(),
            (None, Source::Default) => "(not set)".to_owned(),
            (None, _) => "[redacted]".to_owned(),
        };
        [self.name.to_owned(), self.variable.clone(), value, self.source.to_string()]
    }
}
