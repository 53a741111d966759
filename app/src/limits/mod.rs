//! Limits as pages: all of them, one with who is close to its end, the form that sets or changes one, and what a key or the keys of a project are held to.

mod form;
mod limit;
mod list;
mod section;

pub(crate) use form::{EditLimitPage, NewLimitPage};
pub use form::{LIMIT_FIELDS, simulation_words};
pub use limit::CREDIT_FIELDS;
pub(crate) use limit::LimitPage;
pub(crate) use list::LimitsPage;
pub(crate) use section::{key_limits, project_limits};
