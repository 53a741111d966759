//! The audit log: who changed what. Events are only ever appended.

mod record;

pub(crate) use record::{Change, record};
