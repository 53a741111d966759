//! People as pages: signing up and in, another password, one's account, members and invitations, the organisation itself. Who may is decided
//! by `members` and `tenants`.

mod account;
mod invite;
mod join;
mod members;
mod reset;
mod settings;
mod sign_in;
mod sign_up;

pub use account::ORGANISATION_FIELDS;
pub(crate) use account::{AccountPage, NewOrganisationPage};
pub(crate) use invite::InvitePage;
pub use invite::{INVITE_FIELDS, ShownLink};
pub use join::JOIN_FIELDS;
pub(crate) use join::JoinPage;
pub(crate) use members::{MemberPage, MembersPage, OwnPasswordField};
pub(crate) use reset::{ForgotPage, ResetPage};
pub use settings::DELETE_FIELDS;
pub(crate) use settings::SettingsPage;

pub(crate) use sign_in::SignInPage;
pub(crate) use sign_up::SignUpPage;
