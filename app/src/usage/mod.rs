//! Usage as members see it: the span of time in the address, a chart by verdict, and the totals. Counting is the engine's
//! business.

mod chart;
mod span;
mod totals;

pub(crate) use chart::UsageChart;
pub(crate) use span::{SpanLinks, span_of_address};
pub(crate) use totals::{Totals, VerdictTable, total};
