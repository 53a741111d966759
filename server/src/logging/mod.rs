//! Where log lines go and how they look: sentences on a terminal, JSON lines elsewhere. What is logged is decided where
//! it happens.

mod numbered;
mod writer;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::IsTerminal as _;
use std::panic::PanicHookInfo;

use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

use crate::config::{Config, LogFormat};
use numbered::{NumberedJson, NumberedTime, Numbers};
use writer::CountingWriter;

pub(crate) use writer::LostLines;

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

/// Lines that may wait for standard error; a line more is lost and counted.
const WAITING_LINES_MAX: usize = 8192;

/// Logging under way. Dropped, it writes what still waits, for at most about a second.
pub(crate) struct Logging {
    lost: LostLines,
    _flush: WorkerGuard,
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
    let filter =
        QUIET.iter().try_fold(filter, |filter, quiet| quiet.parse().map(|quiet| filter.add_directive(quiet)))?;
    let terminal = std::io::stderr().is_terminal();
    let (writer, unwritten) = CountingWriter::new(std::io::stderr());
    let (writer, flush) = NonBlockingBuilder::default()
        .buffered_lines_limit(WAITING_LINES_MAX)
        .lossy(true)
        .thread_name("log")
        .finish(writer);
    let lost = LostLines::new(writer.error_counter(), unwritten);
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(terminal).with_writer(writer);
    let text = match config.log_format {
        LogFormat::Text => true,
        LogFormat::Json => false,
        LogFormat::Auto => terminal,
    };
    let numbers = Numbers::of_this_process();
    let started = if text {
        builder.with_timer(NumberedTime(numbers)).try_init()
    } else {
        builder.json().event_format(NumberedJson::new(numbers)).try_init()
    };
    started.map_err(|error| anyhow::anyhow!("logging cannot be started: {error}"))?;
    std::panic::set_hook(Box::new(log_panic));
    if !config.foreign_variables.is_empty() {
        let names = config.foreign_variables.join(", ");
        tracing::warn!(environment.variables = names, "these environment variables are no settings and are ignored");
    }
    Ok(Logging { lost, _flush: flush })
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
