//! What `cell.rs` is built of, by a name of its own: its model (`engine/tests/limits_model.rs`) puts atomics in its place that
//! try every order.

pub(crate) use std::sync::atomic::{AtomicU64, Ordering};

/// Somebody else is in the middle of a change, which takes less than a microsecond, unless the system put that thread aside.
pub(crate) fn wait_a_moment(times: u32) {
    if times < 64 { std::hint::spin_loop() } else { std::thread::yield_now() }
}
