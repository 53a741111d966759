//! Lines as short as they can be said, for a terminal: without the day, the process, and where in our program they come
//! from; that of a request like a sentence. What is kept in a file is written whole, elsewhere.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use chrono::{DateTime, Utc};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::{Format, Full, Writer};
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

use super::numbered::Numbers;
use crate::doors::REQUEST_TARGET;

/// `20:00:01Z #17`: the time of day, then the process's line 17.
#[derive(Clone)]
struct TimeOfDay(Arc<Numbers>);

impl FormatTime for TimeOfDay {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        let now: DateTime<Utc> = SystemTime::now().into();
        write!(writer, "{} #{}", now.format("%H:%M:%SZ"), self.0.next())
    }
}

/// How a terminal's lines look.
pub(super) struct Terse {
    time: TimeOfDay,
    ours: Format<Full, TimeOfDay>,
    others: Format<Full, TimeOfDay>,
}

impl Terse {
    pub(super) fn new(numbers: Arc<Numbers>) -> Self {
        let time = TimeOfDay(numbers);
        let others = Format::default().with_timer(time.clone());
        Self { ours: others.clone().with_target(false), others, time }
    }
}

impl<S, N> FormatEvent<S, N> for Terse
where
    S: Subscriber + for<'lookup> LookupSpan<'lookup>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let target = event.metadata().target();
        if target != REQUEST_TARGET {
            let format = if target.starts_with("tronch") { &self.ours } else { &self.others };
            return format.format_event(context, writer, event);
        }
        let colours = ["\x1b[2m", "\x1b[32m", "\x1b[0m"];
        let [dim, green, plain] = if writer.has_ansi_escapes() { colours } else { [""; 3] };
        write!(writer, "{dim}")?;
        self.time.format_time(&mut writer)?;
        write!(writer, "{plain} {green}{:>5}{plain} ", event.metadata().level().as_str())?;
        let mut request = Request::default();
        event.record(&mut request);
        write!(writer, "{request}")?;
        for span in context.event_scope().into_iter().flatten() {
            if let Some(fields) = span.extensions().get::<FormattedFields<N>>() {
                write!(writer, " {dim}{fields}{plain}")?;
            }
        }
        writeln!(writer)
    }
}

/// What the line of a request says.
#[derive(Default)]
struct Request {
    method: String,
    route: Option<String>,
    status: Option<u64>,
    outcome: String,
    latency_us: u64,
    about: String,
}

impl Visit for Request {
    fn record_u64(&mut self, field: &Field, value: u64) {
        match field.name() {
            "response.status" => self.status = Some(value),
            "latency_us" => self.latency_us = value,
            _ => {}
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "request.method" => value.clone_into(&mut self.method),
            "request.route" => self.route = Some(value.to_owned()),
            "outcome" => value.clone_into(&mut self.outcome),
            name => self.about.extend([" ", name, "=", value]),
        }
    }

    /// The sentence, which says only that this is a request.
    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}
}

impl fmt::Display for Request {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let route = self.route.as_deref().unwrap_or("(no address of ours)");
        write!(formatter, "{} {route}", self.method)?;
        if let Some(status) = self.status {
            write!(formatter, " {status}")?;
        }
        let (whole, tenth) = (self.latency_us / 1000, self.latency_us % 1000 / 100);
        write!(formatter, " {} {whole}.{tenth} ms{}", self.outcome, self.about)
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Mutex;

    use tracing::Level;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no panic in here").extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_terminals_lines_are_short() {
        let lines = Lines::default();
        let writer = lines.clone();
        let layer = tracing_subscriber::fmt::layer()
            .event_format(Terse::new(Arc::new(Numbers::of_this_process())))
            .with_ansi(false)
            .with_writer(move || writer.clone());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            tracing::info!(target: "tronch_server::serve", listen = "127.0.0.1:3000", "serving");
            tracing::warn!(target: "hyper", "something of theirs");
            let span = tracing::info_span!("request", request.id = "req_1");
            let _entered = span.enter();
            tracing::event!(
                target: REQUEST_TARGET,
                Level::INFO,
                request.method = "POST",
                request.route = "/api/v1/keys/verify",
                response.status = 200_u16,
                outcome = "VALID",
                latency_us = 1_870_u64,
                tenant.slug = "acme",
                key.id = None::<String>,
                token.handle = "0VIKyW09xyZ",
                "request"
            );
            tracing::event!(
                target: REQUEST_TARGET,
                Level::INFO,
                request.method = "GET",
                outcome = "cut_off",
                latency_us = 90_u64,
                "request"
            );
        });
        let text = String::from_utf8(lines.0.lock().expect("no panic in here").clone()).expect("text");
        // The time of day is as long as it is in every line.
        let lines: Vec<&str> = text.lines().map(|line| &line["20:00:01Z ".len()..]).collect();
        assert_eq!(
            lines,
            [
                "#1  INFO serving listen=\"127.0.0.1:3000\"",
                "#2  WARN hyper: something of theirs",
                "#3  INFO POST /api/v1/keys/verify 200 VALID 1.8 ms tenant.slug=acme token.handle=0VIKyW09xyZ \
                 request.id=\"req_1\"",
                "#4  INFO GET (no address of ours) cut_off 0.0 ms request.id=\"req_1\"",
            ]
        );
    }
}
