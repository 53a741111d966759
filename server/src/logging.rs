//! Where log lines go and how they look: sentences on a terminal, JSON lines elsewhere. What is logged is decided where
//! it happens.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

use crate::config::{Config, LogFormat};

/// Starts logging to standard error.
///
/// # Errors
/// When a subscriber is installed already.
pub(crate) fn start(config: &Config) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&config.log_filter)?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let text = match config.log_format {
        LogFormat::Text => true,
        LogFormat::Json => false,
        LogFormat::Auto => std::io::stderr().is_terminal(),
    };
    let started = if text { builder.try_init() } else { builder.json().try_init() };
    started.map_err(|error| anyhow::anyhow!("logging cannot be started: {error}"))
}
