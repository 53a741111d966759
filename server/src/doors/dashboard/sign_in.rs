//! Signing in and out. Sessions get a new id at sign-in; `members::sign_in` decides who comes in.

use axum::RequestExt as _;
use axum::extract::{Form, Request, State};
use axum::response::Response;
use serde::Deserialize;
use tower_sessions::Session;
use tronch_app::FormState;
use tronch_core::UserId;
use tronch_engine::{Error, members, tenants};
use zeroize::Zeroizing;

use super::pages::status_of;
use super::session_store::USER_ID;
use super::{Dashboard, see_other};
use crate::doors::log_refusal;

#[derive(Deserialize)]
pub(crate) struct SignInForm {
    email: String,
    password: Zeroizing<String>,
    #[serde(default)]
    next: String,
}

/// The page; while nobody exists there is nobody to sign in, so sign-up is shown instead.
pub(crate) async fn page(State(dashboard): State<Dashboard>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    match tenants::is_set_up(&dashboard.engine).await {
        Ok(true) => dashboard.pages.render(parts, &dashboard.engine, None, None).await,
        Ok(false) => see_other("/sign-up"),
        Err(error) => dashboard.pages.refusal(parts, &dashboard.engine, error).await,
    }
}

pub(crate) async fn submit(
    State(dashboard): State<Dashboard>,
    session: Session,
    request: Request,
) -> Result<Response, axum::extract::rejection::FormRejection> {
    let (parts, body) = request.into_parts();
    let Form(form): Form<SignInForm> = Request::from_parts(parts.clone(), body).extract().await?;
    let mut state = FormState::with_values(vec![("email", form.email.clone()), ("next", form.next.clone())]);
    let outcome = match members::sign_in(&dashboard.engine, &form.email, form.password).await {
        Ok(signed_in) => begin_session(&session, signed_in.user_id).await.map(|()| signed_in),
        Err(error) => Err(error),
    };
    match outcome {
        Ok(_) => Ok(see_other(own_address(&form.next))),
        Err(error) => {
            log_refusal(&error);
            state.refuse_with(&error);
            let status = status_of(&error);
            Ok(dashboard.pages.refused_form(parts, &dashboard.engine, None, state, status).await)
        }
    }
}

/// A path of ours, or `/`: another host's address would make this form a stepping stone.
fn own_address(next: &str) -> &str {
    let plain = next.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    if next.starts_with("/t/") && plain { next } else { "/" }
}

/// Gives the browser a new session id, so that one planted before sign-in is worthless.
pub(crate) async fn begin_session(session: &Session, user_id: UserId) -> Result<(), Error> {
    let begun = async {
        session.cycle_id().await?;
        session.insert(USER_ID, user_id).await?;
        session.save().await
    };
    begun.await.map_err(|error| Error::Unavailable { what: "the session store", source: Some(error.into()) })
}

/// Ends this session, here and in the database.
pub(crate) async fn sign_out(State(dashboard): State<Dashboard>, session: Session, request: Request) -> Response {
    match session.flush().await {
        Ok(()) => see_other("/sign-in"),
        Err(error) => {
            let (parts, _) = request.into_parts();
            let error = Error::Unavailable { what: "the session store", source: Some(error.into()) };
            dashboard.pages.refusal(parts, &dashboard.engine, error).await
        }
    }
}

#[cfg(test)]
mod tests {
    use super::own_address;

    #[test]
    fn the_way_back_is_never_another_hosts() {
        let table = [
            ("/t/acme/keys", "/t/acme/keys"),
            ("", "/"),
            ("//evil.example/", "/"),
            ("https://evil.example/", "/"),
            ("/\\evil.example", "/"),
            ("/t/\\evil.example", "/"),
            ("/t/a\r\nset-cookie: x", "/"),
            ("javascript:alert(1)", "/"),
        ];
        for (next, expected) in table {
            assert_eq!(own_address(next), expected, "{next:?}");
        }
    }
}
