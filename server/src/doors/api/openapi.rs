//! `/api/v1/openapi.json`: the API's own description, made from the handlers and their shapes.

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{OpenApi as Description, Server};
use utoipa::{OpenApi as _, ToResponse};

use super::query::Query;
use super::{Api, audit_events, health, keys, limits, projects, service_tokens, usage};
use crate::doors::problem::{Problem, ProblemOut};
use crate::doors::{check, verify};

/// A refusal: RFC 9457 problem details with a stable `code`.
#[derive(ToResponse)]
#[response(description = "Refused: a problem with a stable `code`", content_type = "application/problem+json")]
pub(crate) struct Refused(#[expect(dead_code, reason = "it stands for the shape alone")] ProblemOut);

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "TRONCH",
        description = "Issue, check, rotate and revoke API keys. Unknown fields are refused; errors are RFC 9457 problems with a stable `code`.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    paths(
        verify::verify_key,
        check::check_limits,
        keys::list_keys,
        keys::create_key,
        keys::get_key,
        keys::update_key,
        keys::revoke_key,
        keys::revoke_keys,
        keys::rotate_key,
        keys::finish_rotation,
        keys::disable_key,
        keys::enable_key,
        projects::list_projects,
        projects::create_project,
        projects::get_project,
        projects::update_project,
        projects::archive_project,
        projects::restore_project,
        limits::list_limits,
        limits::create_limit,
        limits::simulate_limit,
        limits::get_limit,
        limits::update_limit,
        limits::remove_limit,
        limits::list_limit_uses,
        limits::add_credits,
        service_tokens::list_tokens,
        service_tokens::create_token,
        service_tokens::rotate_token,
        service_tokens::revoke_token,
        audit_events::list_audit_events,
        usage::get_usage,
        health::health,
    ),
    components(responses(Refused), schemas(ProblemOut))
)]
struct Document;

/// The description without the address of this installation.
pub(crate) fn description() -> Description {
    let mut description = Document::openapi();
    let scheme =
        HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some("A service token: `tronch_st_…`")).build();
    if let Some(components) = description.components.as_mut() {
        components.add_security_scheme("service_token", SecurityScheme::Http(scheme));
    }
    description
}

/// Serves the description.
pub(crate) async fn openapi_json(State(api): State<Api>, uri: Uri) -> Result<Json<Description>, Problem> {
    Query::read(&uri, &[])?;
    let mut description = description();
    description.servers = Some(vec![Server::new(api.public_url)]);
    Ok(Json(description))
}
