//! The forms about members and invitations.

use axum::Extension;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use tower_sessions::Session;
use tronch_app::{Answer, INVITE_FIELDS, JOIN_FIELDS, ShownLink};
use tronch_core::{EmailAddress, InvitationId, PeopleRight, PersonName, Role, UserId, may_give};
use tronch_engine::members::{self, Invited, Password};
use tronch_engine::{Error, Origin, Tenant};

use super::sent::Sent;
use super::sign_in::OwnSession;
use super::{Dashboard, Inside, Who, see_other, sign_in};

/// `POST /t/{tenant}/members/invite`.
pub(crate) async fn invite(
    State(dashboard): State<Dashboard>,
    Inside(place): Inside,
    session: OwnSession,
    sent: Sent,
) -> Response {
    let mut state = sent.state(&INVITE_FIELDS);
    let email = state.take("email", EmailAddress::parse(&sent.text("email")));
    let role = state.take("role", sent.text("role").parse::<Role>());
    let (Some(email), Some(role)) = (email, role) else {
        return dashboard.form_again(sent.parts, place, state).await;
    };
    let invited = async {
        let tenant = confirmed_to_give(&place.tenant, role, &sent).await?;
        let invited = members::invite(&tenant, &email, role).await?;
        session.renew_if(tenant.is_confirmed(), &dashboard).await;
        Ok(invited)
    };
    match invited.await {
        Ok(Invited { token: None, .. }) => see_other(&format!("/t/{}/members?did=invited", place.tenant.slug())),
        Ok(Invited { invitation, token: Some(token) }) => {
            let link = dashboard.pages.link(&format!("/invitations/{}", token.expose()));
            let answer = Answer::Link(Box::new(ShownLink { invitation, link }));
            dashboard.pages.render(sent.parts, &dashboard.engine, Some(place), Some(answer)).await
        }
        Err(error) => dashboard.refuse(sent.parts, place, state, error).await,
    }
}

/// `POST /t/{tenant}/invitations/{invitation}/revoke`.
pub(crate) async fn revoke_invitation(
    State(dashboard): State<Dashboard>,
    Inside(place): Inside,
    Path((_, invitation)): Path<(String, String)>,
    mut sent: Sent,
) -> Response {
    let address = format!("/t/{}/members", place.tenant.slug());
    let revoked = async {
        let id: InvitationId = invitation.parse().map_err(|_| Error::NotFound { noun: "invitation" })?;
        members::revoke_invitation(&place.tenant, id).await
    };
    match revoked.await {
        Ok(()) => see_other(&format!("{address}?did=taken-back")),
        Err(error) => {
            // The form stands on the list's page and has no address of its own to be shown again at.
            if let Ok(uri) = address.parse() {
                sent.parts.uri = uri;
            }
            dashboard.refuse(sent.parts, place, tronch_app::FormState::default(), error).await
        }
    }
}

/// `POST /t/{tenant}/members/{member}/role`.
pub(crate) async fn change_role(
    State(dashboard): State<Dashboard>,
    Inside(place): Inside,
    Path((_, member)): Path<(String, String)>,
    session: OwnSession,
    sent: Sent,
) -> Response {
    let sent = sent.on_page_above();
    let mut state = sent.state(&["role"]);
    let Some(role) = state.take("role", sent.text("role").parse::<Role>()) else {
        return dashboard.form_again(sent.parts, place, state).await;
    };
    let changed = async {
        let tenant = confirmed_to_give(&place.tenant, role, &sent).await?;
        members::change_role(&tenant, user_id(&member)?, role).await?;
        session.renew_if(tenant.is_confirmed(), &dashboard).await;
        Ok(())
    };
    match changed.await {
        Ok(()) => see_other(&format!("/t/{}/members?did=role", place.tenant.slug())),
        Err(error) => dashboard.refuse(sent.parts, place, state, error).await,
    }
}

/// `POST /t/{tenant}/members/{member}/remove`.
pub(crate) async fn remove(
    State(dashboard): State<Dashboard>,
    Inside(place): Inside,
    Path((_, member)): Path<(String, String)>,
    sent: Sent,
) -> Response {
    let sent = sent.on_page_above();
    let state = sent.state(&[]);
    match async { members::remove_member(&place.tenant, user_id(&member)?).await }.await {
        Ok(()) => see_other(&format!("/t/{}/members?did=removed", place.tenant.slug())),
        Err(error) => dashboard.refuse(sent.parts, place, state, error).await,
    }
}

/// `POST /t/{tenant}/members/{member}/owner`.
pub(crate) async fn hand_over(
    State(dashboard): State<Dashboard>,
    Inside(place): Inside,
    Path((_, member)): Path<(String, String)>,
    session: OwnSession,
    sent: Sent,
) -> Response {
    let sent = sent.on_page_above();
    let state = sent.state(&[]);
    let handed_over = async {
        place.tenant.require_right(PeopleRight::ManageOrganisation)?;
        let tenant = sent.confirmed(place.tenant.clone()).await?;
        members::transfer_ownership(&tenant, user_id(&member)?).await?;
        session.renew_if(tenant.is_confirmed(), &dashboard).await;
        Ok(())
    };
    match handed_over.await {
        Ok(()) => see_other(&format!("/t/{}/members?did=transferred", place.tenant.slug())),
        Err(error) => dashboard.refuse(sent.parts, place, state, error).await,
    }
}

/// `POST /t/{tenant}/members/leave`.
pub(crate) async fn leave(State(dashboard): State<Dashboard>, Inside(place): Inside, mut sent: Sent) -> Response {
    match members::leave(&place.tenant).await {
        Ok(()) => see_other("/"),
        Err(error) => {
            if let Ok(uri) = format!("/t/{}/members", place.tenant.slug()).parse() {
                sent.parts.uri = uri;
            }
            dashboard.refuse(sent.parts, place, tronch_app::FormState::default(), error).await
        }
    }
}

/// `GET /invitations/{token}`.
pub(crate) async fn invitation(State(dashboard): State<Dashboard>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    dashboard.pages.render(parts, &dashboard.engine, None, None).await
}

/// `POST /invitations/{token}`: whoever is signed in joins, anybody else makes an account first.
pub(crate) async fn join(
    State(dashboard): State<Dashboard>,
    Extension(who): Extension<Who>,
    Extension(origin): Extension<Origin>,
    Path(token): Path<String>,
    session: Session,
    sent: Sent,
) -> Response {
    let mut state = sent.state(&JOIN_FIELDS);
    let joined = match &who.0 {
        Some(caller) => members::accept_invitation(&dashboard.engine, caller, &token).await,
        None => {
            let name = state.take("name", PersonName::parse(&sent.text("name")));
            let password = Password::parse(sent.password("password"), &[&sent.text("name")]);
            let password = password.map_err(|error| state.refuse_with(&error)).ok();
            let (Some(name), Some(password)) = (name, password) else {
                return dashboard.form_again_outside(sent.parts, state).await;
            };
            match members::join_invited(&dashboard.engine, &token, &name, password, origin.clone()).await {
                Ok((user_id, slug)) => sign_in::begin_session(&session, user_id, &origin).await.map(|()| slug),
                Err(error) => Err(error),
            }
        }
    };
    match joined {
        Ok(slug) => see_other(&format!("/t/{slug}/")),
        Err(error @ (Error::NotFound { .. } | Error::InvitationOver { .. })) => {
            dashboard.pages.refusal(sent.parts, &dashboard.engine, error).await
        }
        Err(error) => {
            error.log_if_ours();
            state.refuse_with(&error);
            dashboard.pages.refused_form(sent.parts, &dashboard.engine, None, state, error.code()).await
        }
    }
}

/// Whoever makes somebody an owner gives their password once more.
async fn confirmed_to_give(tenant: &Tenant, role: Role, sent: &Sent) -> Result<Tenant, Error> {
    tenant.require_right(PeopleRight::ManageMembers)?;
    let acting = tenant.role().unwrap_or(Role::Viewer);
    if role == Role::Owner && may_give(acting, role) {
        sent.confirmed(tenant.clone()).await
    } else {
        Ok(tenant.clone())
    }
}

fn user_id(text: &str) -> Result<UserId, Error> {
    text.parse().map_err(|_| Error::NotFound { noun: "member" })
}
