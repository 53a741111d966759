//! The audit log: who changed what. Events are only ever appended, and go only with their tenant: a demo, or one that was deleted a week
//! ago.

mod list;
mod record;

pub use list::{AuditFilter, list_audit_events};
pub(crate) use record::{Change, record, record_by, record_in, record_of};
