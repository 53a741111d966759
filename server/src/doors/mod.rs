//! The doors: every address at which somebody may knock, as tables. What happens behind them is the engine's business.

mod api;
mod assets;
mod check;
mod connections;
mod dashboard;
mod data_plane;
mod entry;
mod headers;
mod linger;
mod nodes;
mod ops;
mod origin;
mod problem;
mod public;
mod quick_json;
mod reference;
mod request_log;
mod target;
mod told_limits;
mod verify;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::middleware;
use metrics_exporter_prometheus::PrometheusHandle;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::timeout::TimeoutLayer;
use tronch_engine::Engine;
use tronch_engine::verify::Verifier;

use crate::config::Config;

pub use connections::Patience;
pub use entry::{Access, Route};
pub use ops::Phase;
pub use public::{Operators, Public};
pub(crate) use request_log::TARGET as REQUEST_TARGET;

use data_plane::DataPlane;
use entry::routes;

/// How long a request may take as a whole.
const REQUEST_BUDGET: Duration = Duration::from_secs(30);

/// Which doors a process opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Open {
    /// Dashboard, API and validation.
    All,
    /// Validation and probes alone.
    Verify,
}

/// What the two listeners serve.
pub struct Doors {
    /// For people and services.
    pub public: Public,
    /// For the operator.
    pub ops: Operators,
}

/// Builds every door over one engine. Tests open the same ones.
///
/// # Errors
/// When the public URL is no trusted origin for the cross-origin check.
pub fn build(
    config: &Config,
    engine: &Engine,
    verifier: &Verifier,
    phase: Phase,
    metrics: PrometheusHandle,
    open: Open,
) -> anyhow::Result<Doors> {
    let probes = ops::Probes { engine: engine.clone(), phase };
    let trusted_proxies: Arc<[_]> = config.trusted_proxies.clone().into();
    let rest = match open {
        Open::All => Router::new()
            .merge(dashboard::routes(config, engine)?)
            .merge(assets::routes())
            .merge(reference::routes())
            .merge(ops::probes(probes.clone()))
            .layer(TimeoutLayer::with_status_code(axum::http::StatusCode::SERVICE_UNAVAILABLE, REQUEST_BUDGET))
            .layer(CatchPanicLayer::new())
            .merge(api::routes(config, engine, verifier)),
        Open::Verify => ops::probes(probes.clone()).merge(data_plane::elsewhere()),
    };
    let safe = middleware::from_fn_with_state(config.public_url.is_https(), headers::security_headers);
    let public = rest.layer(middleware::from_fn(target::target_layer)).layer(safe.clone());
    let ops = ops::probes(probes).merge(ops::metrics(metrics)).merge(nodes::routes(engine)).layer(safe);
    let logged = |router: Router| {
        router
            .layer(middleware::from_fn_with_state(quiet_routes(), request_log::log_request))
            .layer(middleware::from_fn_with_state(Arc::clone(&trusted_proxies), origin::origin_layer))
            .layer(middleware::from_fn(linger::linger_layer))
    };
    let data_plane = DataPlane::new(config, verifier);
    let all = logged(public).merge(data_plane::routes(&data_plane));
    Ok(Doors { public: Public { all, data_plane }, ops: Operators(logged(ops)) })
}

/// What machines ask all the time, and files.
fn quiet_routes() -> Arc<[&'static str]> {
    let tables = [entry::list(assets::table()), entry::list(ops::probe_table()), entry::list(ops::metrics_table())];
    tables.into_iter().flatten().map(|route| route.path).collect()
}

/// Every address that is served, on either listener, with who may use it. Tests walk it.
pub fn surface() -> Vec<Route> {
    let mut all = entry::list(dashboard::table());
    all.extend(entry::list(verify::table()));
    all.extend(entry::list(check::table()));
    all.extend(entry::list(api::table()));
    all.extend(entry::list(assets::table()));
    all.extend(entry::list(reference::table()));
    all.extend(entry::list(ops::probe_table()));
    all.extend(entry::list(ops::metrics_table()));
    all.extend(entry::list(nodes::table()));
    all
}
