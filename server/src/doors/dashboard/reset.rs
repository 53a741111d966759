//! The forms of whoever forgot their password.

use axum::Extension;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use tower_cookies::Cookies;
use tronch_core::EmailAddress;
use tronch_engine::members::{self, Password};
use tronch_engine::{Error, Origin};

use super::sent::Sent;
use super::{Dashboard, see_other};

/// `GET /forgot` and `GET /reset/{token}`.
pub(crate) async fn page(State(dashboard): State<Dashboard>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    dashboard.pages.render(parts, &dashboard.engine, None, None).await
}

/// `POST /forgot`: the answer is the same whether or not there is such an account.
pub(crate) async fn ask(
    State(dashboard): State<Dashboard>,
    Extension(origin): Extension<Origin>,
    sent: Sent,
) -> Response {
    let mut state = sent.state(&["email"]);
    let Some(email) = state.take("email", EmailAddress::parse(&sent.text("email"))) else {
        return dashboard.form_again_outside(sent.parts, state).await;
    };
    match members::ask_for_reset(&dashboard.engine, &email, origin.address).await {
        Ok(()) => see_other("/forgot?did=asked"),
        Err(error) => {
            error.log_if_ours();
            state.refuse_with(&error);
            dashboard.pages.refused_form(sent.parts, &dashboard.engine, None, state, error.code()).await
        }
    }
}

/// `POST /reset/{token}`.
pub(crate) async fn reset(
    State(dashboard): State<Dashboard>,
    Extension(origin): Extension<Origin>,
    Extension(cookies): Extension<Cookies>,
    Path(token): Path<String>,
    sent: Sent,
) -> Response {
    let mut state = sent.state(&[]);
    let password = match Password::parse(sent.password("password"), &[]) {
        Ok(password) => password,
        Err(error) => {
            state.refuse_with(&error);
            return dashboard.form_again_outside(sent.parts, state).await;
        }
    };
    match members::reset_by_link(&dashboard.engine, &token, password, origin).await {
        Ok(keep) => {
            dashboard.remember_browser(&cookies, keep);
            see_other("/sign-in?did=reset")
        }
        Err(error @ (Error::ResetOver | Error::TooMany { .. })) => {
            dashboard.pages.refusal(sent.parts, &dashboard.engine, error).await
        }
        Err(error) => {
            error.log_if_ours();
            state.refuse_with(&error);
            dashboard.pages.refused_form(sent.parts, &dashboard.engine, None, state, error.code()).await
        }
    }
}
