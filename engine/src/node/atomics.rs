//! The atomics of `marks.rs`, by a name of their own: its model puts others in their place, which try every order.

pub(crate) use std::sync::atomic::{AtomicU64, Ordering};
