//! What `marks.rs` is built of, by a name of its own: its model (`engine/tests/marks_model.rs`) puts atomics in its place
//! that try every order, and so few marks that every order can be tried.

pub(crate) use std::sync::atomic::{AtomicU64, Ordering};

/// 2 to the power of these are the marks of single handles, and of what many entries share.
pub(crate) const HANDLE_BITS: u32 = 16;
pub(crate) const SHARED_BITS: u32 = 14;
