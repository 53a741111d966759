//! Usage: how often which verdict was given. Validation offers events, `collector.rs` adds them up beside the calls,
//! `store.rs` writes the sums; `series.rs` reads them.

mod collector;
mod series;
mod store;
mod sums;

pub(crate) use collector::Collector;
pub use series::{ParseSpanError, Span, usage_of_key, usage_of_keys, usage_of_tenant};
pub(crate) use sums::Event;
