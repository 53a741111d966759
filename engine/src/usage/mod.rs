//! Usage: how often which verdict was given, and what limits said. Validation counts passes in `tally.rs` and offers everything else as events,
//! `collector.rs` adds both up beside the calls, `store.rs` writes the sums, and the times of last use that `uses.rs` says are due;
//! `roll_up.rs` adds up hours and days, `series.rs` reads all of them.

mod collector;
mod roll_up;
mod series;
mod store;
mod sums;
mod tally;
mod uses;

pub(crate) use collector::Collector;
pub(crate) use roll_up::{DAYS, HOURS, MINUTES, make_partitions};
pub use roll_up::{UsageRetention, keep_usage, roll_up_usage};
pub use series::{ParseSpanError, Span, usage_of_key, usage_of_keys, usage_of_limit, usage_of_tenant};
pub(crate) use sums::Event;
pub(crate) use tally::{Subject, Tallied, Tally};
