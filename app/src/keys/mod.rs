//! Keys as pages: the table, one key, and the forms that make, change, rotate and revoke. What they do is the engine's.

mod bulk;
mod fields;
mod health;
mod instead;
mod list;
mod one;
mod query;
mod revoke;
mod revoke_all;
mod rotate;
mod secret_once;
mod settings;

pub(crate) use bulk::ChangeKeysPage;
pub use bulk::{address_of_list, confirmation_words};
pub(crate) use list::KeysPage;
pub(crate) use one::KeyPage;
pub use query::KeysQuery;
pub(crate) use revoke::RevokeKeyPage;
pub use revoke_all::REVOKE_ALL_FIELDS;
pub(crate) use revoke_all::RevokeAllKeysPage;
pub(crate) use rotate::{GRACES, RotateKeyPage};
pub(crate) use secret_once::SecretOncePage;
pub(crate) use settings::{EditKeyPage, NewKeyPage};
