//! The dashboard's door: sessions, the cross-origin check, security headers, and rendering the pages of `app`.

mod keys;
mod pages;
mod sent;
mod session_store;
mod sign_in;
mod sign_up;
mod tokens;

use axum::extract::{FromRequestParts, Path, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use tower_http::csrf::CsrfLayer;
use tower_sessions::cookie::SameSite;
use tower_sessions::cookie::time::Duration;
use tower_sessions::{Expiry, Session, SessionManagerLayer};
use tronch_app::{Answer, FormState, Place, ShownSecret};
use tronch_core::TenantSlug;
use tronch_engine::{Caller, Engine, Error, Origin, members, sessions, tenants};

use crate::config::Config;
use pages::Pages;
use session_store::{EngineStore, session_bytes};

/// How long a session lasts without a request.
const SESSION_IDLE_HOURS: i64 = 24;

/// What the handlers of the dashboard share.
#[derive(Clone)]
pub(crate) struct Dashboard {
    pub(crate) engine: Engine,
    pub(crate) pages: Pages,
}

impl Dashboard {
    pub(super) async fn form_again(&self, parts: Parts, place: Place, state: FormState) -> Response {
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        self.pages.refused_form(parts, &self.engine, Some(place), state, status).await
    }

    /// The form again with the verb's refusal; what is not there at all is a page of its own.
    pub(super) async fn refuse(&self, parts: Parts, place: Place, mut state: FormState, error: Error) -> Response {
        pages::log_refusal(&error);
        if matches!(error, Error::NotFound { .. } | Error::Forbidden { .. }) {
            return self.pages.refusal(parts, &self.engine, error).await;
        }
        state.refuse_with(&error);
        let status = pages::status_of(&error);
        self.pages.refused_form(parts, &self.engine, Some(place), state, status).await
    }

    pub(super) async fn show_secret(&self, parts: Parts, place: Place, shown: ShownSecret) -> Response {
        self.pages.render(parts, &self.engine, Some(place), Some(Answer::Secret(Box::new(shown)))).await
    }
}

/// Every address of the dashboard.
pub(crate) fn routes(config: &Config, engine: &Engine) -> anyhow::Result<Router> {
    let dashboard = Dashboard { engine: engine.clone(), pages: Pages::new(config) };
    let table = vec![
        ("/", get(start)),
        ("/sign-up", get(sign_up::page).post(sign_up::submit)),
        ("/sign-in", get(sign_in::page).post(sign_in::submit)),
        ("/sign-out", post(sign_in::sign_out)),
        ("/t/{tenant}", get(with_slash)),
        ("/t/{tenant}/", get(page)),
        ("/t/{tenant}/keys", get(page)),
        ("/t/{tenant}/keys/search", post(keys::search)),
        ("/t/{tenant}/keys/new", get(page).post(keys::create)),
        ("/t/{tenant}/keys/{key}", get(page)),
        ("/t/{tenant}/keys/{key}/edit", get(page).post(keys::change)),
        ("/t/{tenant}/keys/{key}/rotate", get(page).post(keys::rotate)),
        ("/t/{tenant}/keys/{key}/revoke", get(page).post(keys::revoke)),
        ("/t/{tenant}/keys/{key}/disable", post(keys::disable)),
        ("/t/{tenant}/keys/{key}/enable", post(keys::enable)),
        ("/t/{tenant}/keys/{key}/finish", post(keys::finish)),
        ("/t/{tenant}/tokens", get(page)),
        ("/t/{tenant}/tokens/new", get(page).post(tokens::create)),
        ("/t/{tenant}/tokens/{token}/revoke", post(tokens::revoke)),
        ("/t/{tenant}/audit", get(page)),
    ];
    let secure = config.public_url.is_https();
    let sessions = SessionManagerLayer::new(EngineStore(engine.clone()))
        .with_name(if secure { "__Host-tronch" } else { "tronch" })
        .with_secure(secure)
        .with_http_only(true)
        .with_same_site(SameSite::Lax)
        .with_path("/")
        .with_expiry(Expiry::OnInactivity(Duration::hours(SESSION_IDLE_HOURS)));
    let csrf = CsrfLayer::new().add_trusted_origin(config.public_url.origin())?;
    Ok(super::routes(table)
        .fallback(page)
        .layer(middleware::from_fn_with_state(dashboard.clone(), who))
        .layer(sessions)
        .layer(csrf)
        .layer(middleware::from_fn(security_headers))
        .with_state(dashboard))
}

/// Who is signed in, as the handlers see it.
#[derive(Clone, Default)]
pub(crate) struct Who(pub(crate) Option<Caller>);

/// Proves the session, once a request. A database that cannot answer is a 503, never a signed-out page.
async fn who(State(dashboard): State<Dashboard>, session: Session, mut request: Request, next: Next) -> Response {
    let origin = request.extensions().get::<Origin>().cloned().unwrap_or_default();
    let caller = match session.id() {
        None => None,
        Some(id) => match sessions::session_caller(&dashboard.engine, &session_bytes(id), origin).await {
            Ok(caller) => Some(caller),
            Err(Error::Unauthenticated) => None,
            Err(error) => {
                let (parts, _) = request.into_parts();
                return dashboard.pages.refusal(parts, &dashboard.engine, error).await;
            }
        },
    };
    request.extensions_mut().insert(Who(caller));
    next.run(request).await
}

/// A signed-in member inside the tenant of the address. Anybody else is sent away before the handler runs.
pub(crate) struct Inside(pub(crate) Place);

impl FromRequestParts<Dashboard> for Inside {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, dashboard: &Dashboard) -> Result<Self, Response> {
        let Path(path) = Path::<std::collections::HashMap<String, String>>::from_request_parts(parts, dashboard)
            .await
            .map_err(IntoResponse::into_response)?;
        let who = parts.extensions.get::<Who>().cloned().unwrap_or_default();
        let Some(caller) = who.0 else {
            return Err(to_sign_in(parts));
        };
        match enter(&dashboard.engine, &caller, path.get("tenant").map_or("", String::as_str)).await {
            Ok(place) => Ok(Self(place)),
            Err(error) => Err(dashboard.pages.refusal(parts.clone(), &dashboard.engine, error).await),
        }
    }
}

async fn enter(engine: &Engine, caller: &Caller, slug: &str) -> Result<Place, Error> {
    let slug = TenantSlug::parse(slug).map_err(|_| Error::NotFound { noun: "organisation" })?;
    let tenant = engine.tenant(caller, &slug).await?;
    let others = members::my_tenants(engine, caller).await?;
    Ok(Place { tenant, others: others.into_iter().map(|(slug, name)| (slug, name.to_string())).collect() })
}

/// The way back is kept, for pages only: a form that was sent cannot be sent again by a redirect.
fn to_sign_in(parts: &Parts) -> Response {
    let next = if parts.method == axum::http::Method::GET { parts.uri.path() } else { "/" };
    Redirect::to(&format!("/sign-in?next={next}")).into_response()
}

/// Any page of a tenant, and every address that names no page.
async fn page(State(dashboard): State<Dashboard>, request: Request) -> Response {
    let (mut parts, _) = request.into_parts();
    if !parts.uri.path().starts_with("/t/") {
        return dashboard.pages.refusal(parts, &dashboard.engine, Error::NotFound { noun: "page" }).await;
    }
    match Inside::from_request_parts(&mut parts, &dashboard).await {
        Ok(Inside(place)) => dashboard.pages.render(parts, &dashboard.engine, Some(place), None).await,
        Err(response) => response,
    }
}

async fn with_slash(request: Request) -> Redirect {
    Redirect::permanent(&format!("{}/", request.uri().path()))
}

/// `/`: the first tenant, sign-in, or sign-up while nobody exists.
async fn start(State(dashboard): State<Dashboard>, Extension(who): Extension<Who>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    match first_address(&dashboard.engine, who.0.as_ref()).await {
        Ok(address) => Redirect::to(&address).into_response(),
        Err(error) => dashboard.pages.refusal(parts, &dashboard.engine, error).await,
    }
}

async fn first_address(engine: &Engine, caller: Option<&Caller>) -> Result<String, Error> {
    match caller {
        Some(caller) => {
            let tenants = members::my_tenants(engine, caller).await?;
            let (slug, _) = tenants.first().ok_or(Error::NotFound { noun: "organisation of yours" })?;
            Ok(format!("/t/{slug}/"))
        }
        None if tenants::is_set_up(engine).await? => Ok("/sign-in".to_owned()),
        None => Ok("/sign-up".to_owned()),
    }
}

async fn security_headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "same-origin"),
        (header::CACHE_CONTROL, "no-store"),
    ] {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

/// 303: the form was taken, look here.
pub(crate) fn see_other(address: &str) -> Response {
    (StatusCode::SEE_OTHER, [(header::LOCATION, address.to_owned())]).into_response()
}
