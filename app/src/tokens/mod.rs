//! Service tokens as pages: the list, the form that makes one. What a token may do is the engine's to decide.

mod list;
mod new;

pub(crate) use list::TokensPage;
pub(crate) use new::{NewTokenPage, address_of_another};
