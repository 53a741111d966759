//! Pages: what a member sees and clicks. Rules and SQL are elsewhere; forms are answered by the server's doors.
//!
//! Pages are rendered on the server only, so they are compiled for it only; what wakes in the browser are the islands,
//! which live in `ui/islands.rs` and know no domain word. This is the one file where features are named.

// A page is one deeply nested type; the compiler's usual depth of 128 is a few elements too little.
#![recursion_limit = "512"]

pub mod ui;

#[cfg(feature = "ssr")]
mod audit;
#[cfg(feature = "ssr")]
mod confirmed;
#[cfg(feature = "ssr")]
mod error_page;
#[cfg(feature = "ssr")]
mod form_state;
#[cfg(feature = "ssr")]
mod keys;
#[cfg(feature = "ssr")]
mod layout;
#[cfg(feature = "ssr")]
mod limits;
#[cfg(feature = "ssr")]
mod overview;
#[cfg(feature = "ssr")]
mod people;
#[cfg(feature = "ssr")]
mod projects;
#[cfg(feature = "ssr")]
mod server_context;
#[cfg(feature = "ssr")]
mod shell;
#[cfg(feature = "ssr")]
mod tokens;
#[cfg(feature = "ssr")]
mod usage;

#[cfg(feature = "ssr")]
pub use audit::AuditQuery;
#[cfg(feature = "ssr")]
pub use confirmed::{confirmed_query, confirmed_words};
#[cfg(feature = "ssr")]
pub use form_state::{Answer, FormState, SecretOf, ShownSecret};
#[cfg(feature = "ssr")]
pub use keys::{KeysQuery, REVOKE_ALL_FIELDS, address_of_list, confirmation_words};
#[cfg(feature = "ssr")]
pub use limits::{CREDIT_FIELDS, LIMIT_FIELDS, simulation_words};
#[cfg(feature = "ssr")]
pub use people::{DELETE_FIELDS, INVITE_FIELDS, JOIN_FIELDS, ORGANISATION_FIELDS, ShownLink};
#[cfg(feature = "ssr")]
pub use server_context::{Place, Refusal, ServerContext};
#[cfg(feature = "ssr")]
pub use shell::{Assets, shell};
#[cfg(feature = "ssr")]
pub use ui::escape::escaped;
