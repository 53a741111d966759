//! Where log lines go and how they look: sentences on a terminal, JSON lines elsewhere. What is logged is decided where
//! it happens.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

use crate::config::{Config, LogFormat};

/// Whatever level is asked for, these say no more than this: below it they write down what they send, which for the
/// database is every bound parameter, and for HTTP every header.
const QUIET: [&str; 6] = [
    "tokio_postgres=info",
    "postgres_protocol=info",
    "hyper=info",
    "h2=info",
    "hyper_util=info",
    "tower_sessions=info",
];

/// Starts logging to standard error.
///
/// # Errors
/// When a subscriber is installed already.
pub(crate) fn start(config: &Config) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&config.log_filter)?;
    let filter =
        QUIET.iter().try_fold(filter, |filter, quiet| quiet.parse().map(|quiet| filter.add_directive(quiet)))?;
    let terminal = std::io::stderr().is_terminal();
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(terminal).with_writer(std::io::stderr);
    let text = match config.log_format {
        LogFormat::Text => true,
        LogFormat::Json => false,
        LogFormat::Auto => terminal,
    };
    let started = if text { builder.try_init() } else { builder.json().try_init() };
    started.map_err(|error| anyhow::anyhow!("logging cannot be started: {error}"))?;
    if !config.foreign_variables.is_empty() {
        let names = config.foreign_variables.join(", ");
        tracing::warn!(environment.variables = names, "these environment variables are no settings and are ignored");
    }
    Ok(())
}
