//! The number and the process id that every line carries. Numbers have no gaps, so whoever reads the lines sees how many
//! are missing; two lines written at once may stand in either order.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::{Format, Json, Writer};
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Bytes that most JSON lines stay below.
const LINE_BYTES: usize = 512;

/// The lines of this process, counted from 1.
pub(super) struct Numbers {
    pub(super) process_id: u32,
    next: AtomicU64,
}

impl Numbers {
    pub(super) fn of_this_process() -> Self {
        Self { process_id: std::process::id(), next: AtomicU64::new(1) }
    }

    pub(super) fn next(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }
}

/// Text: the time, then `4711#17`, process 4711's line 17.
pub(super) struct NumberedTime(pub(super) Arc<Numbers>);

impl FormatTime for NumberedTime {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        SystemTime.format_time(writer)?;
        write!(writer, " {}#{}", self.0.process_id, self.0.next())
    }
}

/// JSON: `sequence` and `pid` before everything else.
pub(super) struct NumberedJson {
    numbers: Arc<Numbers>,
    json: Format<Json>,
}

impl NumberedJson {
    pub(super) fn new(numbers: Arc<Numbers>) -> Self {
        // The innermost span alone: there is one span, and a list would say it twice.
        Self { numbers, json: Format::default().json().with_span_list(false) }
    }
}

impl<S, N> FormatEvent<S, N> for NumberedJson
where
    S: Subscriber + for<'lookup> LookupSpan<'lookup>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut line = String::with_capacity(LINE_BYTES);
        self.json.format_event(context, Writer::new(&mut line), event)?;
        // The library's object has no place for more, so it is opened anew.
        let rest = line.strip_prefix('{').ok_or(fmt::Error)?;
        write!(writer, "{{\"sequence\":{},\"pid\":{},{rest}", self.numbers.next(), self.numbers.process_id)
    }
}
