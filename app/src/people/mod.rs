//! Signing up and signing in, as pages. Who may is decided by `members` and `tenants`.

mod sign_in;
mod sign_up;

pub(crate) use sign_in::SignInPage;
pub(crate) use sign_up::SignUpPage;
