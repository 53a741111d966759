//! The first sign-up's form. Open while nobody exists; `tenants::sign_up` decides.

use axum::extract::{Form, Request, State};
use axum::http::{StatusCode, request::Parts};
use axum::response::Response;
use axum::{Extension, RequestExt as _};
use serde::Deserialize;
use tower_sessions::Session;
use tronch_app::FormState;
use tronch_core::{EmailAddress, PersonName, TenantName, TenantSlug};
use tronch_engine::members::Password;
use tronch_engine::tenants::{self, SignUp};
use tronch_engine::{Error, Origin};
use zeroize::Zeroizing;

use super::pages::status_of;
use super::{Dashboard, see_other, sign_in};
use crate::doors::log_refusal;

#[derive(Deserialize)]
pub(crate) struct SignUpForm {
    setup_code: String,
    name: String,
    email: String,
    password: Zeroizing<String>,
    tenant_name: String,
    tenant_slug: String,
}

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
    request: Request,
) -> Result<Response, axum::extract::rejection::FormRejection> {
    let (parts, body) = request.into_parts();
    let Form(form): Form<SignUpForm> = Request::from_parts(parts.clone(), body).extract().await?;
    let mut state = FormState::with_values(vec![
        ("setup_code", form.setup_code.clone()),
        ("name", form.name.clone()),
        ("email", form.email.clone()),
        ("tenant_name", form.tenant_name.clone()),
        ("tenant_slug", form.tenant_slug.clone()),
    ]);
    let code = form.setup_code.clone();
    let Some(sign_up) = checked(form, &mut state) else {
        return Ok(refuse(&dashboard, parts, state, StatusCode::UNPROCESSABLE_ENTITY).await);
    };
    let address = format!("/t/{}/", sign_up.tenant_slug);
    match tenants::sign_up(&dashboard.engine, &code, sign_up, origin).await {
        Ok(user_id) => Ok(match sign_in::begin_session(&session, user_id).await {
            Ok(()) => see_other(&address),
            // The organisation exists; only the session could not be begun.
            Err(_) => see_other("/sign-in"),
        }),
        Err(error) => {
            log_refusal(&error);
            state.refuse_with(&error);
            Ok(refuse(&dashboard, parts, state, status_of(&error)).await)
        }
    }
}

async fn refuse(dashboard: &Dashboard, parts: Parts, state: FormState, status: StatusCode) -> Response {
    dashboard.pages.refused_form(parts, &dashboard.engine, None, state, status).await
}

/// Every field checked, so that all errors show at once.
fn checked(form: SignUpForm, state: &mut FormState) -> Option<SignUp> {
    let name = state.take("name", PersonName::parse(&form.name));
    let email = state.take("email", EmailAddress::parse(&form.email));
    let tenant_name = state.take("tenant_name", TenantName::parse(&form.tenant_name));
    let tenant_slug = state.take("tenant_slug", TenantSlug::parse(&form.tenant_slug));
    let password = Password::parse(form.password).map_err(|error: Error| state.refuse_with(&error)).ok();
    Some(SignUp {
        name: name?,
        email: email?,
        password: password?,
        tenant_name: tenant_name?,
        tenant_slug: tenant_slug?,
    })
}
