//! Renders a page of `app` for a request, whole, with the outcome of a form where there was one. It makes no decision.

use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, Request, StatusCode, header};
use axum::response::Response;
use leptos::context::provide_context;
use tronch_app::{Answer, Assets, FormState, Place, ServerContext};
use tronch_core::ErrorCode;
use tronch_engine::{Engine, Error, Origin};

use super::Who;
use crate::config::Config;
use crate::doors::assets;
use crate::doors::request_log::Notes;
use crate::doors::told_limits::whole_seconds;

/// What every page needs to know of the installation.
#[derive(Clone)]
pub(crate) struct Pages {
    assets: Assets,
    insecure_http: bool,
    public_url: String,
}

impl Pages {
    pub(crate) fn new(config: &Config) -> Self {
        // Pages await while they render. A second call finds the first one's executor, which is the same.
        if any_spawner::Executor::init_tokio().is_err() {
            tracing::debug!("the pages' executor was there already");
        }
        Self {
            assets: Assets { folder: assets::folder() },
            insecure_http: !config.public_url.is_https() && !config.public_url.is_loopback(),
            public_url: config.public_url.origin(),
        }
    }

    /// An address of ours, whole.
    pub(crate) fn link(&self, path: &str) -> String {
        format!("{}{path}", self.public_url)
    }

    /// The page of the request's address.
    pub(crate) async fn render(
        &self,
        parts: Parts,
        engine: &Engine,
        place: Option<Place>,
        answer: Option<Answer>,
    ) -> Response {
        let who = parts.extensions.get::<Who>().cloned().unwrap_or_default();
        let context = ServerContext {
            engine: engine.clone(),
            caller: who.0,
            address: address_of(&parts),
            place,
            insecure_http: self.insecure_http,
            public_url: self.public_url.clone(),
        };
        let assets = self.assets.clone();
        let handler = leptos_axum::render_app_async_with_context(
            move || {
                provide_context(context.clone());
                match answer.clone() {
                    Some(Answer::Refused(form)) => provide_context(form),
                    Some(Answer::Secret(secret)) => provide_context(*secret),
                    Some(Answer::Link(link)) => provide_context(*link),
                    None => {}
                }
            },
            move || tronch_app::shell(&assets),
        );
        // The router looks at the address alone; the body has been read by whoever called us.
        let mut request = Request::from_parts(parts, Body::empty());
        *request.method_mut() = Method::GET;
        handler(request).await
    }

    /// The page of the request's address with a refused form, with the refusal's status.
    pub(crate) async fn refused_form(
        &self,
        parts: Parts,
        engine: &Engine,
        place: Option<Place>,
        form: FormState,
        code: ErrorCode,
    ) -> Response {
        Notes::of(&parts.extensions).refusal(code);
        let mut response = self.render(parts, engine, place, Some(Answer::Refused(form))).await;
        *response.status_mut() = status_of(code);
        response
    }

    /// A refusal as a page of its own, with the refusal's status.
    pub(crate) async fn refusal(&self, parts: Parts, engine: &Engine, error: Error) -> Response {
        self.refusal_in(parts, engine, None, error).await
    }

    /// The same for somebody inside a tenant, who keeps its frame.
    pub(crate) async fn refusal_in(
        &self,
        parts: Parts,
        engine: &Engine,
        place: Option<Place>,
        error: Error,
    ) -> Response {
        error.log_if_ours();
        let code = error.code();
        Notes::of(&parts.extensions).refusal(code);
        let retry_after = match &error {
            Error::TooMany { retry_after, .. } => Some(HeaderValue::from(whole_seconds(*retry_after))),
            _ => None,
        };
        let error = std::sync::Arc::new(error);
        let context = ServerContext {
            engine: engine.clone(),
            caller: parts.extensions.get::<Who>().cloned().unwrap_or_default().0,
            address: address_of(&parts),
            place,
            insecure_http: self.insecure_http,
            public_url: self.public_url.clone(),
        };
        let assets = self.assets.clone();
        let handler = leptos_axum::render_app_async_with_context(
            move || {
                provide_context(context.clone());
                provide_context(tronch_app::Refusal(std::sync::Arc::clone(&error)));
            },
            move || tronch_app::shell(&assets),
        );
        let mut request = Request::from_parts(parts, Body::empty());
        *request.method_mut() = Method::GET;
        let mut response = handler(request).await;
        *response.status_mut() = status_of(code);
        if let Some(seconds) = retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, seconds);
        }
        response
    }
}

fn address_of(parts: &Parts) -> Option<std::net::IpAddr> {
    parts.extensions.get::<Origin>().and_then(|origin| origin.address)
}

/// The status of a refusal.
fn status_of(code: ErrorCode) -> StatusCode {
    StatusCode::from_u16(code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}
