//! The filters of the audit log.

use axum::extract::State;
use axum::response::Response;
use tronch_app::{AuditQuery, FormState};
use tronch_core::{Permission, searchable};

use super::sent::Sent;
use super::{Dashboard, Inside, see_other};

/// `POST /t/{tenant}/audit/search`: filters become an address, and a pasted key becomes its handle on the way.
pub(crate) async fn search(State(dashboard): State<Dashboard>, Inside(place): Inside, sent: Sent) -> Response {
    if let Err(error) = place.tenant.require(Permission::AuditRead) {
        return dashboard.refuse(sent.parts, place, FormState::default(), error).await;
    }
    let query = AuditQuery::read(|name| sent.filled(name).map(|text| searchable(&text)));
    see_other(&query.address(place.tenant.slug()))
}
