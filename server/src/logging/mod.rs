//! Where log lines go and how they look: short sentences on a terminal, JSON lines elsewhere. What is logged is decided where
//! it happens.

mod numbered;
mod requests;
mod terse;
mod writer;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::IsTerminal as _;
use std::panic::PanicHookInfo;
use std::sync::Arc;

use tracing::Level;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::{Config, FOREIGN_VARIABLES, LogFormat};
use numbered::{NumberedJson, NumberedTime, Numbers};
use terse::Terse;
use writer::{Lines, Writing};

pub(crate) use requests::{RequestLine, write_request};
pub(crate) use writer::LostLines;

/// Whatever level is asked for, these libraries say no more than at `info`: below it they write down what they send,
/// which for the database is every bound parameter, and for HTTP every header.
const QUIET: [&str; 6] = ["tokio_postgres", "postgres_protocol", "hyper", "h2", "hyper_util", "tower_sessions"];

/// Logging under way. Dropped, it writes what still waits, for at most about a second.
pub(crate) struct Logging {
    lost: LostLines,
    _writing: Writing,
}

impl Logging {
    /// How many lines were lost so far.
    pub(crate) fn lost(&self) -> LostLines {
        self.lost.clone()
    }
}

/// Starts logging to standard error, beside the threads that log: a full disk or a reader that stopped reading holds up
/// nobody.
///
/// # Errors
/// When a subscriber is installed already.
pub(crate) fn start(config: &Config) -> anyhow::Result<Logging> {
    let filter = EnvFilter::try_new(&config.log_filter)?;
    let terminal = std::io::stderr().is_terminal();
    let (lines, writing) = Lines::start(std::io::stderr())?;
    let lost = lines.lost();
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(terminal).with_writer(lines.clone());
    let text = match config.log_format {
        LogFormat::Text => true,
        LogFormat::Json => false,
        LogFormat::Auto => terminal,
    };
    let numbers = Arc::new(Numbers::of_this_process());
    let harmless = filter_fn(|metadata| is_harmless(metadata.target(), *metadata.level()));
    let started = if text && terminal {
        builder.event_format(Terse::new(numbers)).finish().with(harmless).try_init()
    } else if text {
        builder.with_timer(NumberedTime(numbers)).finish().with(harmless).try_init()
    } else {
        requests::write_directly(lines, Arc::clone(&numbers));
        builder.json().event_format(NumberedJson::new(numbers)).finish().with(harmless).try_init()
    };
    started.map_err(|error| anyhow::anyhow!("logging cannot be started: {error}"))?;
    std::panic::set_hook(Box::new(log_panic));
    if !config.foreign_variables.is_empty() {
        let names = config.foreign_variables.join(", ");
        tracing::warn!(environment.variables = names, "{FOREIGN_VARIABLES}");
    }
    Ok(Logging { lost, _writing: writing })
}

/// Whether a line can hold no secret by where it comes from. A filter of its own: a directive among those of the setting
/// would lose to a longer one.
fn is_harmless(target: &str, level: Level) -> bool {
    let library = target.split("::").next().unwrap_or_default();
    level <= Level::INFO || !QUIET.contains(&library)
}

/// A panic is a line like any other, with its level and number.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let place = panic.location().map(ToString::to_string);
    let backtrace = Backtrace::capture();
    let backtrace = (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string());
    tracing::error!(
        panic.place = place,
        panic.message = panic.payload_as_str(),
        panic.backtrace = backtrace,
        "a defect of ours: something panicked"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_hold_a_secret_is_never_a_line() {
        let table = [
            ("postgres_protocol::message", Level::DEBUG, false),
            ("tokio_postgres", Level::TRACE, false),
            ("hyper_util::client", Level::DEBUG, false),
            ("h2::codec::framed_read", Level::TRACE, false),
            ("postgres_protocol::message", Level::INFO, true),
            ("hyper", Level::ERROR, true),
            ("tronch_engine::db", Level::TRACE, true),
            ("hyperspace", Level::DEBUG, true),
        ];
        for (target, level, expected) in table {
            assert_eq!(is_harmless(target, level), expected, "{target} {level}");
        }
    }
}
