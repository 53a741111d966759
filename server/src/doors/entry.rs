//! One line of a door's table: method, address, who may use it, and what answers. Tables are all that is ever registered,
//! so that tests can walk whatever is served.

use axum::Router;
use axum::handler::Handler;
use axum::http::Method;
use axum::routing::{self, MethodRouter};
use tronch_core::{PeopleRight, Permission};

/// Who may use an address. The verbs behind it decide again; this is what tests hold them to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Anybody.
    Anyone,
    /// Members of the tenant in the address who hold the permission, or any member.
    Member(Option<Permission>),
    /// Members of the tenant in the address whose role has the right.
    Person(PeopleRight),
    /// Service tokens that hold the permission.
    Token(Permission),
}

/// An address that is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Its method.
    pub method: Method,
    /// Its path, with `{parameters}`.
    pub path: &'static str,
    /// Who may use it.
    pub access: Access,
}

pub(crate) struct Entry<S> {
    route: Route,
    handler: MethodRouter<S>,
}

pub(crate) fn get<H, T, S>(path: &'static str, access: Access, handler: H) -> Entry<S>
where
    H: Handler<T, S>,
    T: 'static,
    S: Clone + Send + Sync + 'static,
{
    Entry { route: Route { method: Method::GET, path, access }, handler: routing::get(handler) }
}

pub(crate) fn post<H, T, S>(path: &'static str, access: Access, handler: H) -> Entry<S>
where
    H: Handler<T, S>,
    T: 'static,
    S: Clone + Send + Sync + 'static,
{
    Entry { route: Route { method: Method::POST, path, access }, handler: routing::post(handler) }
}

pub(crate) fn patch<H, T, S>(path: &'static str, access: Access, handler: H) -> Entry<S>
where
    H: Handler<T, S>,
    T: 'static,
    S: Clone + Send + Sync + 'static,
{
    Entry { route: Route { method: Method::PATCH, path, access }, handler: routing::patch(handler) }
}

pub(crate) fn delete<H, T, S>(path: &'static str, access: Access, handler: H) -> Entry<S>
where
    H: Handler<T, S>,
    T: 'static,
    S: Clone + Send + Sync + 'static,
{
    Entry { route: Route { method: Method::DELETE, path, access }, handler: routing::delete(handler) }
}

/// Every method; the table says GET.
pub(crate) fn any<H, T, S>(path: &'static str, access: Access, handler: H) -> Entry<S>
where
    H: Handler<T, S>,
    T: 'static,
    S: Clone + Send + Sync + 'static,
{
    Entry { route: Route { method: Method::GET, path, access }, handler: routing::any(handler) }
}

/// The one place where a route is registered.
#[expect(clippy::disallowed_methods, reason = "this is the place the other places are sent to")]
pub(crate) fn routes<S: Clone + Send + Sync + 'static>(table: Vec<Entry<S>>) -> Router<S> {
    table.into_iter().fold(Router::new(), |router, entry| router.route(entry.route.path, entry.handler))
}

/// What a table serves, without what answers.
pub(crate) fn list<S>(table: Vec<Entry<S>>) -> Vec<Route> {
    table.into_iter().map(|entry| entry.route).collect()
}
