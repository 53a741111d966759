//! The first sign-up's form. Open while nobody exists; `tenants::sign_up` decides.

use axum::Extension;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::response::Response;
use tower_sessions::Session;
use tronch_app::FormState;
use tronch_core::{EmailAddress, ErrorCode, PersonName, TenantName, TenantSlug};
use tronch_engine::members::Password;
use tronch_engine::tenants::{self, SignUp};
use tronch_engine::{Error, Origin};

use super::sent::Sent;
use super::{Dashboard, see_other, sign_in};

/// The page, or the sign-in page once somebody exists.
pub(crate) async fn page(State(dashboard): State<Dashboard>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    match tenants::is_set_up(&dashboard.engine).await {
        Ok(false) => dashboard.pages.render(parts, &dashboard.engine, None, None).await,
        Ok(true) => see_other("/sign-in"),
        Err(error) => dashboard.pages.refusal(parts, &dashboard.engine, error).await,
    }
}

pub(crate) async fn submit(
    State(dashboard): State<Dashboard>,
    Extension(origin): Extension<Origin>,
    session: Session,
    sent: Sent,
) -> Response {
    let mut state = sent.state(&["setup_code", "name", "email", "tenant_name", "tenant_slug"]);
    let Some(sign_up) = checked(&sent, &mut state) else {
        if let Err(error) = tenants::check_setup_code(&dashboard.engine, &sent.text("setup_code"), origin.address).await
        {
            error.log_if_ours();
            state.refuse_with(&error);
        }
        return refuse(&dashboard, sent.parts, state, ErrorCode::InvalidField).await;
    };
    let address = format!("/t/{}/", sign_up.tenant_slug);
    match tenants::sign_up(&dashboard.engine, &sent.text("setup_code"), sign_up, origin.clone()).await {
        Ok(user_id) => match sign_in::begin_session(&session, user_id, &origin).await {
            Ok(()) => see_other(&address),
            Err(error) => {
                // The organisation exists; only the session could not be begun.
                error.log_if_ours();
                see_other("/sign-in")
            }
        },
        Err(error) => {
            error.log_if_ours();
            state.refuse_with(&error);
            refuse(&dashboard, sent.parts, state, error.code()).await
        }
    }
}

async fn refuse(dashboard: &Dashboard, parts: Parts, state: FormState, code: ErrorCode) -> Response {
    dashboard.pages.refused_form(parts, &dashboard.engine, None, state, code).await
}

/// Every field checked, so that all errors show at once.
fn checked(sent: &Sent, state: &mut FormState) -> Option<SignUp> {
    let name = state.take("name", PersonName::parse(&sent.text("name")));
    let email = state.take("email", EmailAddress::parse(&sent.text("email")));
    let tenant_name = state.take("tenant_name", TenantName::parse(&sent.text("tenant_name")));
    let tenant_slug = state.take("tenant_slug", TenantSlug::parse(&sent.text("tenant_slug")));
    let password = sent.password("password");
    let about = [sent.text("name"), sent.text("email"), sent.text("tenant_name")];
    let about = about.each_ref().map(String::as_str);
    let password = Password::parse(password, &about).map_err(|error: Error| state.refuse_with(&error)).ok();
    Some(SignUp {
        name: name?,
        email: email?,
        password: password?,
        tenant_name: tenant_name?,
        tenant_slug: tenant_slug?,
    })
}
