//! The management API: one table of operations, thin handlers. The rules are the verbs' and the shapes are in `out.rs`.

mod audit_events;
pub(crate) mod confirm;
mod health;
mod idempotency;
pub(crate) mod json;
mod keys;
mod limit_out;
mod limits;
pub(crate) mod openapi;
pub(crate) mod out;
mod projects;
pub(crate) mod query;
mod service_tokens;
mod usage;

use std::time::Duration;

use axum::Router;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, header};
use axum::middleware;
use tower::util::option_layer;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::CorsLayer;
use tronch_core::{Environment, ErrorCode, Permission, ProjectSlug};
use tronch_engine::tenants::FIRST_PROJECT;
use tronch_engine::verify::Verifier;
use tronch_engine::{Engine, Tenant};

use super::entry::{Access, Entry, any, delete, get, patch, post, routes as route_table};
use super::origin::REQUEST_ID;
use super::problem::{Problem, of_a_panic, problem_layer};
use super::told_limits::{RATE_LIMIT, RATE_LIMIT_POLICY};
use super::verify::{Bearer, origin_of};
use crate::config::{Config, PublicUrl};

/// For how long a browser may remember which pages may ask.
const PREFLIGHT_AGE: Duration = Duration::from_secs(600);

/// What the handlers share.
#[derive(Clone)]
pub(crate) struct Api {
    engine: Engine,
    verifier: Verifier,
    public_url: String,
}

/// Validation and management, both with problems for refusals.
pub(crate) fn routes(config: &Config, engine: &Engine, verifier: &Verifier) -> Router {
    let api = Api { engine: engine.clone(), verifier: verifier.clone(), public_url: config.public_url.origin() };
    Router::new()
        .merge(route_table(table()).with_state(api).layer(middleware::from_fn(idempotency::idempotency_layer)))
        .layer(CatchPanicLayer::custom(of_a_panic))
        .layer(middleware::from_fn(problem_layer))
        .layer(option_layer(cross_origin(&config.cors_origins)))
}

/// What browsers are told of pages of other origins: nothing, which keeps them out, but for those that the operator named.
/// A token is sent by whoever has it, never by a browser of itself, so no credentials are allowed.
fn cross_origin(origins: &[PublicUrl]) -> Option<CorsLayer> {
    let origins: Vec<HeaderValue> =
        origins.iter().filter_map(|origin| HeaderValue::from_str(&origin.origin()).ok()).collect();
    let read = [
        header::RETRY_AFTER,
        header::LINK,
        idempotency::RESPONSE_HEADER,
        REQUEST_ID.clone(),
        RATE_LIMIT,
        RATE_LIMIT_POLICY,
    ];
    (!origins.is_empty()).then(|| {
        CorsLayer::new()
            .allow_origin(origins)
            .allow_methods([Method::GET, Method::POST, Method::PATCH, Method::DELETE])
            .allow_headers([header::AUTHORIZATION, header::CONTENT_TYPE, idempotency::REQUEST_HEADER])
            .expose_headers(read)
            .max_age(PREFLIGHT_AGE)
    })
}

/// Every operation of the management API.
pub(crate) fn table() -> Vec<Entry<Api>> {
    use Access::{Anyone, Token};
    use Permission::{
        AuditRead, KeysCreate, KeysRead, KeysRevoke, KeysRotate, KeysUpdate, LimitsRead, LimitsWrite, ProjectsRead,
        ProjectsWrite, TokensRead, TokensWrite, UsageRead,
    };
    vec![
        get("/api/v1/keys", Token(KeysRead), keys::list_keys),
        post("/api/v1/keys", Token(KeysCreate), keys::create_key),
        post("/api/v1/keys/revoke", Token(KeysRevoke), keys::revoke_keys),
        get("/api/v1/keys/{key_id}", Token(KeysRead), keys::get_key),
        patch("/api/v1/keys/{key_id}", Token(KeysUpdate), keys::update_key),
        delete("/api/v1/keys/{key_id}", Token(KeysRevoke), keys::revoke_key),
        post("/api/v1/keys/{key_id}/rotate", Token(KeysRotate), keys::rotate_key),
        post("/api/v1/keys/{key_id}/finish-rotation", Token(KeysRotate), keys::finish_rotation),
        post("/api/v1/keys/{key_id}/disable", Token(KeysUpdate), keys::disable_key),
        post("/api/v1/keys/{key_id}/enable", Token(KeysUpdate), keys::enable_key),
        get("/api/v1/projects", Token(ProjectsRead), projects::list_projects),
        post("/api/v1/projects", Token(ProjectsWrite), projects::create_project),
        get("/api/v1/projects/{project}", Token(ProjectsRead), projects::get_project),
        patch("/api/v1/projects/{project}", Token(ProjectsWrite), projects::update_project),
        post("/api/v1/projects/{project}/archive", Token(ProjectsWrite), projects::archive_project),
        post("/api/v1/projects/{project}/restore", Token(ProjectsWrite), projects::restore_project),
        get("/api/v1/limits", Token(LimitsRead), limits::list_limits),
        post("/api/v1/limits", Token(LimitsWrite), limits::create_limit),
        post("/api/v1/limits/simulate", Token(UsageRead), limits::simulate_limit),
        get("/api/v1/limits/{limit_id}", Token(LimitsRead), limits::get_limit),
        patch("/api/v1/limits/{limit_id}", Token(LimitsWrite), limits::update_limit),
        delete("/api/v1/limits/{limit_id}", Token(LimitsWrite), limits::remove_limit),
        get("/api/v1/limits/{limit_id}/uses", Token(LimitsRead), limits::list_limit_uses),
        post("/api/v1/limits/{limit_id}/credits", Token(LimitsWrite), limits::add_credits),
        get("/api/v1/service-tokens", Token(TokensRead), service_tokens::list_tokens),
        post("/api/v1/service-tokens", Token(TokensWrite), service_tokens::create_token),
        post("/api/v1/service-tokens/{token_id}/rotate", Token(TokensWrite), service_tokens::rotate_token),
        delete("/api/v1/service-tokens/{token_id}", Token(TokensWrite), service_tokens::revoke_token),
        get("/api/v1/audit-events", Token(AuditRead), audit_events::list_audit_events),
        get("/api/v1/usage", Token(UsageRead), usage::get_usage),
        get("/api/v1/health", Anyone, health::health),
        get("/api/v1/openapi.json", Anyone, openapi::openapi_json),
        any("/api/{*path}", Anyone, nowhere),
    ]
}

async fn nowhere() -> Problem {
    Problem::new(ErrorCode::NotFound, "this address does not exist; GET /api/v1/openapi.json lists those that do")
}

/// A caller with a service token, inside its tenant.
pub(crate) struct Inside {
    pub(crate) tenant: Tenant,
    project: Option<ProjectSlug>,
    environment: Option<Environment>,
}

impl Inside {
    /// What is asked for, else the token's own, else `default`.
    pub(crate) fn project_or_default(&self, asked: Option<ProjectSlug>) -> Result<ProjectSlug, Problem> {
        match asked.or_else(|| self.project.clone()) {
            Some(project) => Ok(project),
            None => ProjectSlug::parse(FIRST_PROJECT)
                .map_err(|error| Problem::from(tronch_engine::Error::Internal(Box::new(error)))),
        }
    }

    /// What is asked for, else the token's own: `None` stands for all there are.
    pub(crate) fn project_or_all(&self, asked: Option<ProjectSlug>) -> Option<ProjectSlug> {
        asked.or_else(|| self.project.clone())
    }

    /// The same.
    pub(crate) fn environment_or_all(&self, asked: Option<Environment>) -> Option<Environment> {
        asked.or(self.environment)
    }

    /// What is asked for, else the token's own, else `test`.
    pub(crate) fn environment_or_default(&self, asked: Option<Environment>) -> Environment {
        asked.or(self.environment).unwrap_or(Environment::Test)
    }
}

impl FromRequestParts<Api> for Inside {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        let Bearer(token) = Bearer::from_request_parts(parts, &api.verifier).await?;
        api.engine.charge_api(&token)?;
        if parts.method != axum::http::Method::GET {
            let known: &[&str] = if confirm::can_be_waited_for(parts) { &["wait"] } else { &[] };
            confirm::read(&query::Query::read(&parts.uri, known)?)?;
        }
        let (slug, project, environment) = (token.tenant().clone(), token.project().cloned(), token.environment());
        let caller = api.verifier.caller(&token, origin_of(parts))?;
        let tenant = idempotency::once(api.engine.tenant(&caller, &slug).await?, parts).await?;
        Ok(Self { tenant, project, environment })
    }
}

/// The id in an address; what is no id is not there.
pub(crate) fn id_of<T: std::str::FromStr>(text: &str, noun: &'static str) -> Result<T, Problem> {
    text.parse().map_err(|_| Problem::from(tronch_engine::Error::NotFound { noun }))
}
