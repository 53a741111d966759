//! What a page may ask of the server while it renders: the engine and the proven caller. It decides nothing itself.

use leptos::prelude::*;
use leptos_axum::ResponseOptions;
use tronch_core::{TenantSlug, Timestamp};
use tronch_engine::{Caller, Engine, Error, Tenant};

use crate::error_page::ErrorPage;
use crate::form_state::FormState;

/// Provided by the dashboard's door to every page.
#[derive(Clone)]
pub struct ServerContext {
    /// Where verbs are.
    pub engine: Engine,
    /// Who is signed in, if anybody.
    pub caller: Option<Caller>,
    /// Where the request came from.
    pub address: Option<std::net::IpAddr>,
    /// The tenant named by the address, entered already.
    pub place: Option<Place>,
    /// Shown above every page when cookies travel over plain HTTP outside loopback.
    pub insecure_http: bool,
    /// Where snippets point.
    pub public_url: String,
}

/// A tenant and the tenants its member can switch to.
#[derive(Clone)]
pub struct Place {
    /// The tenant of the address.
    pub tenant: Tenant,
    /// All the member's tenants, by slug: slug and name.
    pub others: Vec<(TenantSlug, String)>,
}

pub(crate) fn server_context() -> ServerContext {
    expect_context::<ServerContext>()
}

/// Provided instead of a page: what the door refused before any page could be chosen.
#[derive(Clone)]
pub struct Refusal(pub std::sync::Arc<Error>);

/// The tenant of the address.
///
/// # Errors
/// `NotFound` where the address names none; the door has answered for every other case before.
pub(crate) fn tenant() -> Result<Tenant, Error> {
    server_context().place.map(|place| place.tenant).ok_or(Error::NotFound { noun: "tenant" })
}

/// What time it is, for saying what has ended. Verbs look themselves.
pub(crate) fn now() -> Timestamp {
    std::time::SystemTime::now().into()
}

pub(crate) fn form_state() -> FormState {
    use_context::<FormState>().unwrap_or_default()
}

/// Renders what `load` makes, or the page for its refusal with the refusal's status.
pub(crate) fn page(load: impl Future<Output = Result<AnyView, Error>> + Send + 'static) -> impl IntoView {
    let response = expect_context::<ResponseOptions>();
    let outcome = async move {
        load.await.unwrap_or_else(|error| {
            error.log_if_ours();
            if let Ok(status) = status_of(&error) {
                response.set_status(status);
            }
            view! { <ErrorPage error=std::sync::Arc::new(error) /> }.into_any()
        })
    };
    view! { <Suspense>{Suspend::new(outcome)}</Suspense> }
}

fn status_of(error: &Error) -> Result<http::StatusCode, http::status::InvalidStatusCode> {
    http::StatusCode::from_u16(error.code().status())
}
