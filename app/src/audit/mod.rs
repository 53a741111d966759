//! The audit log as pages: the table with its filters, and the timeline of one thing.

mod list;
mod query;
mod timeline;
mod words;

pub(crate) use list::AuditPage;
pub use query::AuditQuery;
pub(crate) use timeline::Timeline;
