//! The dashboard's door: sessions, the cross-origin check, security headers, and rendering the pages of `app`.

mod account;
mod audit;
mod keys;
mod limits;
mod members;
mod pages;
mod projects;
mod reset;
mod sent;
mod session_store;
mod settings;
mod sign_in;
mod sign_up;
mod tokens;

use axum::extract::{FromRequestParts, Path, Request, State};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Redirect, Response};
use axum::{Extension, Router};
use tower_http::csrf::CsrfLayer;
use tower_http::limit::RequestBodyLimitLayer;
use tower_sessions::cookie::SameSite;
use tower_sessions::cookie::time::Duration;
use tower_sessions::{Expiry, Session, SessionManagerLayer};
use tronch_app::{Answer, FormState, Place, ShownSecret, confirmed_query};
use tronch_core::{ErrorCode, PeopleRight, Permission, TenantSlug, bounds::BODY_BYTES_MAX};
use tronch_engine::{Caller, Confirmation, Engine, Error, Origin, Tenant, confirm_changes, sessions, tenants};

use super::entry::{Access, Entry, get, post};
use super::request_log::Notes;
use crate::config::Config;
use pages::Pages;
use session_store::{EngineStore, session_bytes};

/// How long a session lasts from sign-in: it is written then and not again. One that nobody uses ends before (`engine/src/sessions`).
const SESSION_HOURS: i64 = 7 * 24;

/// What the handlers of the dashboard share.
#[derive(Clone)]
pub(crate) struct Dashboard {
    pub(crate) engine: Engine,
    pub(crate) pages: Pages,
    /// Whether people reach it by https.
    secure: bool,
}

impl Dashboard {
    pub(super) async fn form_again(&self, parts: Parts, place: Place, state: FormState) -> Response {
        self.pages.refused_form(parts, &self.engine, Some(place), state, ErrorCode::InvalidField).await
    }

    /// The same of a page outside of tenants.
    pub(super) async fn form_again_outside(&self, parts: Parts, state: FormState) -> Response {
        self.pages.refused_form(parts, &self.engine, None, state, ErrorCode::InvalidField).await
    }

    /// The form again with the verb's refusal; what is not there at all is a page of its own.
    pub(super) async fn refuse(&self, parts: Parts, place: Place, mut state: FormState, error: Error) -> Response {
        error.log_if_ours();
        if matches!(error, Error::NotFound { .. } | Error::Forbidden { .. }) {
            return self.pages.refusal_in(parts, &self.engine, Some(place), error).await;
        }
        state.refuse_with(&error);
        self.pages.refused_form(parts, &self.engine, Some(place), state, error.code()).await
    }

    /// The form again with its own refusals or the verb's, which stops at the first, and with the `rest` that the verb
    /// would have come to. The rest is asked for only now: a form that is sent again is answered with what it made, and
    /// what was right then need not be right any more.
    pub(super) async fn refuse_all(
        &self,
        parts: Parts,
        place: Place,
        mut state: FormState,
        error: Option<Error>,
        rest: Result<Vec<Error>, Error>,
    ) -> Response {
        match rest {
            Ok(rest) => rest.iter().for_each(|refusal| state.refuse_with(refusal)),
            Err(error) => return self.refuse(parts, place, state, error).await,
        }
        match error {
            // What the form names and is not there stands beside its field by now.
            Some(Error::NotFound { .. }) if state.is_refused() => self.form_again(parts, place, state).await,
            Some(error) => self.refuse(parts, place, state, error).await,
            None => self.form_again(parts, place, state).await,
        }
    }

    pub(super) async fn show_secret(&self, parts: Parts, place: Place, shown: ShownSecret) -> Response {
        self.pages.render(parts, &self.engine, Some(place), Some(Answer::Secret(Box::new(shown)))).await
    }
}

/// Every address of the dashboard.
pub(crate) fn routes(config: &Config, engine: &Engine) -> anyhow::Result<Router> {
    let secure = config.public_url.is_https();
    let dashboard = Dashboard { engine: engine.clone(), pages: Pages::new(config), secure };
    let sessions = SessionManagerLayer::new(EngineStore(engine.clone()))
        .with_name(session_cookie(secure))
        .with_secure(secure)
        .with_http_only(true)
        .with_same_site(SameSite::Lax)
        .with_path("/")
        .with_expiry(Expiry::OnInactivity(Duration::hours(SESSION_HOURS)));
    let csrf = CsrfLayer::new().add_trusted_origin(config.public_url.origin())?;
    Ok(super::routes(table())
        .fallback(no_page)
        .layer(middleware::from_fn_with_state(dashboard.clone(), who))
        .layer(sessions)
        .layer(csrf)
        .layer(RequestBodyLimitLayer::new(BODY_BYTES_MAX))
        .with_state(dashboard))
}

/// The name of the cookie that holds a session's id.
fn session_cookie(secure: bool) -> &'static str {
    if secure { "__Host-tronch" } else { "tronch" }
}

/// The dashboard's table.
pub(crate) fn table() -> Vec<Entry<Dashboard>> {
    use PeopleRight::{ManageMembers, ManageOrganisation, SeeMembers};
    use Permission::{
        AuditRead, KeysCreate, KeysRead, KeysRevoke, KeysRotate, KeysUpdate, LimitsRead, LimitsWrite, ProjectsRead,
        ProjectsWrite, TokensRead, TokensWrite,
    };
    let holder = |permission| Access::Member(Some(permission));
    vec![
        get("/", Access::Anyone, start),
        get("/sign-up", Access::Anyone, sign_up::page),
        post("/sign-up", Access::Anyone, sign_up::submit),
        get("/sign-in", Access::Anyone, sign_in::page),
        post("/sign-in", Access::Anyone, sign_in::submit),
        post("/sign-out", Access::Anyone, sign_in::sign_out),
        get("/forgot", Access::Anyone, reset::page),
        post("/forgot", Access::Anyone, reset::ask),
        get("/reset/{token}", Access::Anyone, reset::page),
        post("/reset/{token}", Access::Anyone, reset::reset),
        get("/account", Access::Anyone, account::page),
        post("/account/password", Access::Anyone, account::change_password),
        post("/account/sessions/end-others", Access::Anyone, account::end_other_sessions),
        post("/account/sessions/{session}/end", Access::Anyone, account::end_session),
        get("/account/organisations/new", Access::Anyone, account::page),
        post("/account/organisations/new", Access::Anyone, account::create_organisation),
        get("/t/{tenant}", Access::Anyone, with_slash),
        get("/t/{tenant}/", Access::Member(None), page),
        get("/t/{tenant}/keys", holder(KeysRead), page),
        post("/t/{tenant}/keys/search", holder(KeysRead), keys::search),
        get("/t/{tenant}/keys/new", holder(KeysCreate), page),
        post("/t/{tenant}/keys/new", holder(KeysCreate), keys::create),
        get("/t/{tenant}/keys/bulk", holder(KeysUpdate), page),
        post("/t/{tenant}/keys/bulk", holder(KeysUpdate), keys::change_many),
        get("/t/{tenant}/keys/revoke", holder(KeysRevoke), page),
        post("/t/{tenant}/keys/revoke", holder(KeysRevoke), keys::revoke_all),
        get("/t/{tenant}/keys/{key}", holder(KeysRead), page),
        get("/t/{tenant}/keys/{key}/edit", holder(KeysUpdate), page),
        post("/t/{tenant}/keys/{key}/edit", holder(KeysUpdate), keys::change),
        get("/t/{tenant}/keys/{key}/rotate", holder(KeysRotate), page),
        post("/t/{tenant}/keys/{key}/rotate", holder(KeysRotate), keys::rotate),
        get("/t/{tenant}/keys/{key}/revoke", holder(KeysRevoke), page),
        post("/t/{tenant}/keys/{key}/revoke", holder(KeysRevoke), keys::revoke),
        post("/t/{tenant}/keys/{key}/disable", holder(KeysUpdate), keys::disable),
        post("/t/{tenant}/keys/{key}/enable", holder(KeysUpdate), keys::enable),
        post("/t/{tenant}/keys/{key}/finish", holder(KeysRotate), keys::finish),
        get("/t/{tenant}/projects", holder(ProjectsRead), page),
        get("/t/{tenant}/projects/new", holder(ProjectsWrite), page),
        post("/t/{tenant}/projects/new", holder(ProjectsWrite), projects::create),
        get("/t/{tenant}/projects/{project}", holder(ProjectsRead), page),
        post("/t/{tenant}/projects/{project}/edit", holder(ProjectsWrite), projects::change),
        post("/t/{tenant}/projects/{project}/archive", holder(ProjectsWrite), projects::archive),
        post("/t/{tenant}/projects/{project}/restore", holder(ProjectsWrite), projects::restore),
        get("/t/{tenant}/limits", holder(LimitsRead), page),
        get("/t/{tenant}/limits/new", holder(LimitsWrite), page),
        post("/t/{tenant}/limits/new", holder(LimitsWrite), limits::create),
        get("/t/{tenant}/limits/{limit}", holder(LimitsRead), page),
        post("/t/{tenant}/limits/{limit}", holder(LimitsWrite), limits::add_credits),
        get("/t/{tenant}/limits/{limit}/edit", holder(LimitsWrite), page),
        post("/t/{tenant}/limits/{limit}/edit", holder(LimitsWrite), limits::change),
        post("/t/{tenant}/limits/{limit}/remove", holder(LimitsWrite), limits::remove),
        get("/t/{tenant}/tokens", holder(TokensRead), page),
        get("/t/{tenant}/tokens/new", holder(TokensWrite), page),
        post("/t/{tenant}/tokens/new", holder(TokensWrite), tokens::create),
        post("/t/{tenant}/tokens/{token}/rotate", holder(TokensWrite), tokens::rotate),
        post("/t/{tenant}/tokens/{token}/revoke", holder(TokensWrite), tokens::revoke),
        get("/t/{tenant}/settings", Access::Person(ManageOrganisation), page),
        get("/t/{tenant}/settings/export", Access::Person(ManageOrganisation), settings::export),
        post("/t/{tenant}/settings/delete", Access::Person(ManageOrganisation), settings::delete),
        post("/account/organisations/{tenant}/restore", Access::Anyone, settings::restore),
        get("/t/{tenant}/members", Access::Person(SeeMembers), page),
        get("/t/{tenant}/members/invite", Access::Person(ManageMembers), page),
        post("/t/{tenant}/members/invite", Access::Person(ManageMembers), members::invite),
        post("/t/{tenant}/members/leave", Access::Person(SeeMembers), members::leave),
        get("/t/{tenant}/members/{member}", Access::Person(SeeMembers), page),
        post("/t/{tenant}/members/{member}/role", Access::Person(ManageMembers), members::change_role),
        post("/t/{tenant}/members/{member}/remove", Access::Person(ManageMembers), members::remove),
        post("/t/{tenant}/members/{member}/owner", Access::Person(ManageOrganisation), members::hand_over),
        post("/t/{tenant}/invitations/{invitation}/revoke", Access::Person(ManageMembers), members::revoke_invitation),
        get("/invitations/{token}", Access::Anyone, members::invitation),
        post("/invitations/{token}", Access::Anyone, members::join),
        get("/t/{tenant}/audit", holder(AuditRead), page),
        post("/t/{tenant}/audit/search", holder(AuditRead), audit::search),
    ]
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
            Ok(caller) => match dashboard.engine.charge_person(&caller) {
                Ok(()) => Some(caller),
                Err(error) => {
                    let (parts, _) = request.into_parts();
                    return dashboard.pages.refusal(parts, &dashboard.engine, error).await;
                }
            },
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
        let notes = Notes::of(&parts.extensions);
        let Some(caller) = who.0 else {
            notes.refusal(ErrorCode::Unauthenticated);
            return Err(to_sign_in(parts));
        };
        match enter(&dashboard.engine, &caller, path.get("tenant").map_or("", String::as_str)).await {
            Ok(place) => {
                notes.tenant(place.tenant.slug());
                Ok(Self(place))
            }
            Err(error) => Err(dashboard.pages.refusal(parts.clone(), &dashboard.engine, error).await),
        }
    }
}

async fn enter(engine: &Engine, caller: &Caller, slug: &str) -> Result<Place, Error> {
    let slug = TenantSlug::parse(slug).map_err(|_| Error::NotFound { noun: "organisation" })?;
    let tenant = engine.tenant(caller, &slug).await?;
    let others = tronch_engine::members::my_tenants(engine, caller).await?;
    Ok(Place { tenant, others: others.into_iter().map(|(slug, name)| (slug, name.to_string())).collect() })
}

/// The way back is kept: to the page, or to the page a form stands on. The form itself cannot be sent again by a redirect.
fn to_sign_in(parts: &Parts) -> Response {
    let next = if parts.method == axum::http::Method::GET {
        parts.uri.path_and_query().map_or("/", |address| address.as_str())
    } else {
        page_of_form(parts.uri.path())
    };
    let next: String = form_urlencoded::byte_serialize(next.as_bytes()).collect();
    Redirect::to(&format!("/sign-in?next={next}")).into_response()
}

/// Where a form stands: at its own address, or, for a lone button, on the page above it.
fn page_of_form(path: &str) -> &str {
    match path.rsplit_once('/') {
        Some((page, "restore")) if page.starts_with("/account/") => "/account",
        Some((page, "search" | "bulk" | "disable" | "enable" | "finish" | "archive" | "restore")) => page,
        Some((page, "edit")) if page.contains("/projects/") => page,
        Some(("/account", "password")) => "/account",
        Some((page, _)) if page.starts_with("/account/sessions") => "/account",
        Some((page, "role" | "remove" | "owner")) if page.contains("/members/") => page,
        Some((page, "leave")) => page,
        Some((page, "delete" | "export")) if page.ends_with("/settings") => page,
        Some((page, "revoke")) if page.contains("/invitations/") => {
            page.rsplit_once("/invitations").map_or("/", |(tenant, _)| tenant)
        }
        Some((page, "rotate" | "revoke")) if page.contains("/tokens/") => {
            page.rsplit_once('/').map_or("/", |(list, _)| list)
        }
        Some((page, "remove")) if page.contains("/limits/") => page.rsplit_once('/').map_or("/", |(list, _)| list),
        _ => path,
    }
}

/// Any page of a tenant.
async fn page(State(dashboard): State<Dashboard>, Inside(place): Inside, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    dashboard.pages.render(parts, &dashboard.engine, Some(place), None).await
}

/// Every address that names no page.
async fn no_page(State(dashboard): State<Dashboard>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    dashboard.pages.refusal(parts, &dashboard.engine, Error::NotFound { noun: "page" }).await
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
            let tenants = tronch_engine::members::my_tenants(engine, caller).await?;
            let (slug, _) = tenants.first().ok_or(Error::NotFound { noun: "organisation of yours" })?;
            Ok(format!("/t/{slug}/"))
        }
        None if tenants::is_set_up(engine).await? => Ok("/sign-in".to_owned()),
        None => Ok("/sign-up".to_owned()),
    }
}

/// After a change: which nodes go by it. The change is made whatever comes of asking.
async fn confirmation(tenant: &Tenant) -> Option<Confirmation> {
    match confirm_changes(tenant).await {
        Ok(confirmation) => Some(confirmation),
        Err(error) => {
            error.log_if_ours();
            None
        }
    }
}

/// The same, to follow the address of the page that says so.
async fn confirmed(tenant: &Tenant) -> String {
    confirmation(tenant).await.as_ref().map(confirmed_query).unwrap_or_default()
}

/// 303: the form was taken, look here.
pub(crate) fn see_other(address: &str) -> Response {
    (StatusCode::SEE_OTHER, [(header::LOCATION, address.to_owned())]).into_response()
}
