//! `?wait=all`: a change that takes something away is answered once every node goes by it, or names those of which that is
//! not known. How they are asked is the engine's business.

use axum::extract::MatchedPath;
use axum::http::request::Parts;
use axum::http::{Method, Uri};
use serde::Serialize;
use tronch_core::format_timestamp;
use tronch_engine::{Confirmation, Tenant, confirm_changes};
use utoipa::ToSchema;

use super::query::Query;
use crate::doors::problem::Problem;

/// What can be waited for: whatever may narrow what a key or token may do.
const OPERATIONS: [(Method, &str); 10] = [
    (Method::PATCH, "/api/v1/keys/{key_id}"),
    (Method::DELETE, "/api/v1/keys/{key_id}"),
    (Method::POST, "/api/v1/keys/revoke"),
    (Method::POST, "/api/v1/keys/{key_id}/rotate"),
    (Method::POST, "/api/v1/keys/{key_id}/finish-rotation"),
    (Method::POST, "/api/v1/keys/{key_id}/disable"),
    (Method::POST, "/api/v1/limits"),
    (Method::PATCH, "/api/v1/limits/{limit_id}"),
    (Method::DELETE, "/api/v1/limits/{limit_id}"),
    (Method::DELETE, "/api/v1/service-tokens/{token_id}"),
];

/// The longest that a node may answer without Postgres.
const OFFLINE_LEASE_MAX: chrono::TimeDelta = chrono::TimeDelta::seconds(300);

/// The field, as the description of each of these tells of it.
#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it stands for the description alone")]
pub(crate) struct WaitParameter {
    /// `all` waits, for at most a second, until every node goes by the change, and adds `confirmation` to the answer.
    #[param(required = false)]
    wait: Option<String>,
}

/// Which nodes go by the change.
#[derive(Serialize, ToSchema)]
pub(crate) struct ConfirmationOut {
    /// Those that do.
    #[schema(example = json!(["keys-1:3000", "keys-2:3000"]))]
    confirmed: Vec<String>,
    /// Those of which it is not known.
    unconfirmed: Vec<UnconfirmedOut>,
    /// How long it took, in milliseconds.
    took_ms: u32,
}

/// A node that was not heard of.
#[derive(Serialize, ToSchema)]
pub(crate) struct UnconfirmedOut {
    /// Which.
    node: String,
    /// Until when it may answer as before, if it is cut off from Postgres.
    may_answer_until: String,
}

impl From<Confirmation> for ConfirmationOut {
    fn from(confirmation: Confirmation) -> Self {
        let unconfirmed = confirmation
            .unconfirmed
            .into_iter()
            .map(|node| UnconfirmedOut { node: node.node, may_answer_until: format_timestamp(node.may_answer_until) });
        Self {
            confirmed: confirmation.confirmed,
            unconfirmed: unconfirmed.collect(),
            took_ms: u32::try_from(confirmation.took.as_millis()).unwrap_or(u32::MAX),
        }
    }
}

/// Whether the operation of a request takes `wait`.
pub(super) fn can_be_waited_for(parts: &Parts) -> bool {
    let Some(route) = parts.extensions.get::<MatchedPath>() else { return false };
    OPERATIONS.iter().any(|(method, path)| parts.method == *method && route.as_str() == *path)
}

/// Whether to wait.
pub(super) fn read(query: &Query) -> Result<bool, Problem> {
    let parse = |text: &str| if text == "all" { Ok(()) } else { Err("wait=all is all there is") };
    Ok(query.field("wait", parse)?.is_some())
}

/// After a change: who goes by it, where that was asked for. The change is made, and its answer may hold a secret, so
/// nothing fails any more: where nobody can be asked, that is what is said.
pub(super) async fn confirmation(tenant: &Tenant, uri: &Uri) -> Result<Option<ConfirmationOut>, Problem> {
    if !read(&Query::read(uri, &["wait"])?)? {
        return Ok(None);
    }
    Ok(Some(match confirm_changes(tenant).await {
        Ok(confirmation) => confirmation.into(),
        Err(error) => {
            error.log_if_ours();
            let until = format_timestamp(chrono::Utc::now() + OFFLINE_LEASE_MAX);
            let nobody = UnconfirmedOut { node: "(the nodes could not be asked)".to_owned(), may_answer_until: until };
            ConfirmationOut { confirmed: Vec::new(), unconfirmed: vec![nobody], took_ms: 0 }
        }
    }))
}
