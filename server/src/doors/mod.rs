//! The doors: every address at which somebody may knock, as tables. What happens behind them is the engine's business.

mod assets;
mod dashboard;
mod ops;
mod origin;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::middleware;
use axum::routing::MethodRouter;
use metrics_exporter_prometheus::PrometheusHandle;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::limit::RequestBodyLimitLayer;
use tower_http::timeout::TimeoutLayer;
use tronch_core::bounds::BODY_BYTES_MAX;
use tronch_engine::Engine;

use crate::config::Config;

pub use ops::Phase;

/// How long a request may take as a whole.
const REQUEST_BUDGET: Duration = Duration::from_secs(30);

/// What the two listeners serve.
pub struct Doors {
    /// For people and services.
    pub public: Router,
    /// For the operator.
    pub ops: Router,
}

/// Builds every door over one engine. Tests open the same ones.
///
/// # Errors
/// When the public URL is no trusted origin for the cross-origin check.
pub fn build(config: &Config, engine: &Engine, phase: Phase, metrics: PrometheusHandle) -> anyhow::Result<Doors> {
    let probes = ops::Probes { engine: engine.clone(), phase };
    let trusted_proxies: Arc<[_]> = config.trusted_proxies.clone().into();
    let public = Router::new()
        .merge(dashboard::routes(config, engine)?)
        .merge(assets::routes())
        .merge(ops::probes(probes.clone()))
        .layer(RequestBodyLimitLayer::new(BODY_BYTES_MAX))
        .layer(TimeoutLayer::with_status_code(axum::http::StatusCode::SERVICE_UNAVAILABLE, REQUEST_BUDGET))
        .layer(CatchPanicLayer::new())
        .layer(middleware::from_fn_with_state(trusted_proxies, origin::origin_layer));
    let ops = Router::new().merge(ops::probes(probes)).merge(ops::metrics(metrics));
    Ok(Doors { public, ops })
}

/// The one place where a route is registered, so that every door is a table a test can walk.
#[expect(clippy::disallowed_methods, reason = "this is the place the other places are sent to")]
fn routes<S: Clone + Send + Sync + 'static>(table: Vec<(&'static str, MethodRouter<S>)>) -> Router<S> {
    table.into_iter().fold(Router::new(), |router, (path, method)| router.route(path, method))
}
