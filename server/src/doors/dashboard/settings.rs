//! The forms about the organisation itself, and the file to take along.

use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use futures_util::stream;
use tronch_app::DELETE_FIELDS;
use tronch_core::{PeopleRight, TenantSlug};
use tronch_engine::tenants::{self, Export};

use super::account::SignedIn;
use super::sent::Sent;
use super::sign_in::OwnSession;
use super::{Dashboard, Inside, see_other};

/// `POST /t/{tenant}/settings/delete`.
pub(crate) async fn delete(
    State(dashboard): State<Dashboard>,
    Inside(place): Inside,
    session: OwnSession,
    sent: Sent,
) -> Response {
    let sent = sent.on_page_above();
    let state = sent.state(&DELETE_FIELDS);
    let deleted = async {
        place.tenant.require_right(PeopleRight::ManageOrganisation)?;
        let tenant = sent.confirmed(place.tenant.clone()).await?;
        tenants::delete_tenant(&tenant, &sent.text("confirmation")).await?;
        session.renew_if(tenant.is_confirmed(), &dashboard).await;
        Ok(())
    };
    match deleted.await {
        Ok(()) => see_other("/account?did=deleted"),
        Err(error) => dashboard.refuse(sent.parts, place, state, error).await,
    }
}

/// `POST /account/organisations/{tenant}/restore`.
pub(crate) async fn restore(
    State(dashboard): State<Dashboard>,
    SignedIn(caller): SignedIn,
    Path(slug): Path<String>,
    sent: Sent,
) -> Response {
    let restored = async {
        let slug = TenantSlug::parse(&slug).map_err(|_| tronch_engine::Error::NotFound { noun: "organisation" })?;
        tenants::restore_tenant(&dashboard.engine, &caller, &slug).await
    };
    match restored.await {
        Ok(()) => see_other(&format!("/t/{slug}/")),
        Err(error) => dashboard.pages.refusal(sent.parts, &dashboard.engine, error).await,
    }
}

/// `GET /t/{tenant}/settings/export`: page by page, so that it takes no more memory than one of them.
pub(crate) async fn export(State(dashboard): State<Dashboard>, Inside(place): Inside, sent: Sent) -> Response {
    let slug = place.tenant.slug().to_string();
    let export = match Export::begin(&place.tenant).await {
        Ok(export) => export,
        Err(error) => return dashboard.pages.refusal_in(sent.parts, &dashboard.engine, Some(place), error).await,
    };
    let lines = stream::unfold(export, |mut export| async move {
        // An answer that breaks off is seen to: nobody takes half for all.
        let some = export.next().await.transpose()?;
        Some((some.map(Bytes::from), export))
    });
    let name = format!("attachment; filename=\"{slug}.jsonl\"");
    let headers = [(header::CONTENT_TYPE, "application/jsonl"), (header::CONTENT_DISPOSITION, name.as_str())];
    (headers, Body::from_stream(lines)).into_response()
}
