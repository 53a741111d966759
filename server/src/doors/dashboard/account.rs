//! The forms of whoever is signed in about themselves.

use axum::extract::{FromRequestParts, Path, Request, State};
use axum::http::request::Parts;
use axum::response::{IntoResponse as _, Response};
use tronch_app::{FormState, ORGANISATION_FIELDS};
use tronch_core::{ErrorCode, SessionId, TenantName, TenantSlug};
use tronch_engine::members::{self, Password};
use tronch_engine::{Caller, Error, sessions, tenants};

use super::sent::Sent;
use super::sign_in::OwnSession;
use super::{Dashboard, Who, see_other, to_sign_in};
use crate::doors::request_log::Notes;

/// Whoever is signed in; anybody else is sent to sign in before the handler runs.
pub(crate) struct SignedIn(pub(crate) Caller);

impl FromRequestParts<Dashboard> for SignedIn {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _: &Dashboard) -> Result<Self, Response> {
        let Who(caller) = parts.extensions.get::<Who>().cloned().unwrap_or_default();
        caller.map(Self).ok_or_else(|| {
            Notes::of(&parts.extensions).refusal(ErrorCode::Unauthenticated);
            to_sign_in(parts)
        })
    }
}

/// `GET /account` and what stands below it.
pub(crate) async fn page(State(dashboard): State<Dashboard>, _: SignedIn, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    dashboard.pages.render(parts, &dashboard.engine, None, None).await
}

/// `POST /account/sessions/{session}/end`.
pub(crate) async fn end_session(
    State(dashboard): State<Dashboard>,
    SignedIn(caller): SignedIn,
    Path(session): Path<String>,
    sent: Sent,
) -> Response {
    let ended = async {
        let id: SessionId = session.parse().map_err(|_| Error::NotFound { noun: "session" })?;
        sessions::end_my_session(&dashboard.engine, &caller, id).await
    };
    match ended.await {
        Ok(()) => see_other("/account?did=ended"),
        Err(error) => dashboard.pages.refusal(sent.parts, &dashboard.engine, error).await,
    }
}

/// `POST /account/sessions/end-others`.
pub(crate) async fn end_other_sessions(
    State(dashboard): State<Dashboard>,
    SignedIn(caller): SignedIn,
    sent: Sent,
) -> Response {
    match sessions::end_my_other_sessions(&dashboard.engine, &caller).await {
        Ok(ended) => see_other(&format!("/account?did=ended-others&ended={ended}")),
        Err(error) => dashboard.pages.refusal(sent.parts, &dashboard.engine, error).await,
    }
}

/// `POST /account/password`.
pub(crate) async fn change_password(
    State(dashboard): State<Dashboard>,
    SignedIn(caller): SignedIn,
    session: OwnSession,
    sent: Sent,
) -> Response {
    let sent = sent.on_page_above();
    let mut state = FormState::default();
    let about = [caller.display_name(), caller.email().unwrap_or_default()];
    let new = match Password::parse(sent.password("new_password"), &about) {
        Ok(new) => new,
        Err(error) => {
            if let Error::Invalid { message, .. } = &error {
                state.take::<(), _>("new_password", Err(message));
            }
            return dashboard.form_again_outside(sent.parts, state).await;
        }
    };
    let current = sent.password("password");
    let changed = async {
        let ended = members::change_password(&dashboard.engine, &caller, current, new).await?;
        session.renew_if(true, &dashboard).await;
        Ok(ended)
    };
    match changed.await {
        Ok(ended) => see_other(&format!("/account?did=password&ended={ended}")),
        Err(error) => refuse(&dashboard, sent, state, error).await,
    }
}

/// `POST /account/organisations/new`.
pub(crate) async fn create_organisation(
    State(dashboard): State<Dashboard>,
    SignedIn(caller): SignedIn,
    sent: Sent,
) -> Response {
    let mut state = sent.state(&ORGANISATION_FIELDS);
    let name = state.take("tenant_name", TenantName::parse(&sent.text("tenant_name")));
    let slug = state.take("tenant_slug", TenantSlug::parse(&sent.text("tenant_slug")));
    let (Some(name), Some(slug)) = (name, slug) else {
        return dashboard.form_again_outside(sent.parts, state).await;
    };
    match tenants::create_tenant(&dashboard.engine, &caller, &name, &slug).await {
        Ok(()) => see_other(&format!("/t/{slug}/")),
        Err(error) => refuse(&dashboard, sent, state, error).await,
    }
}

async fn refuse(dashboard: &Dashboard, sent: Sent, mut state: FormState, error: Error) -> Response {
    error.log_if_ours();
    state.refuse_with(&error);
    dashboard.pages.refused_form(sent.parts, &dashboard.engine, None, state, error.code()).await.into_response()
}
