//! Probes, on both listeners, and metrics, on the operator's alone. They ask nobody who they are and tell no detail.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use metrics_exporter_prometheus::PrometheusHandle;
use tronch_engine::Engine;

use super::entry::{Access, Entry, get};

/// How long readiness waits until it is known.
const READY_BUDGET: Duration = Duration::from_millis(900);

/// Where the process is between its start and its end.
#[derive(Debug, Clone, Default)]
pub struct Phase(Arc<AtomicU8>);

const STARTED: u8 = 1;
const STOPPING: u8 = 2;

impl Phase {
    /// The doors are open.
    pub fn started(&self) {
        self.0.store(STARTED, Ordering::Release);
    }

    /// The doors are closing: no new traffic, please.
    pub fn stopping(&self) {
        self.0.store(STOPPING, Ordering::Release);
    }

    fn is(&self, phase: u8) -> bool {
        self.0.load(Ordering::Acquire) == phase
    }
}

#[derive(Clone)]
pub(crate) struct Probes {
    pub(crate) engine: Engine,
    pub(crate) phase: Phase,
}

/// `/livez`, `/readyz`, `/startupz`.
pub(crate) fn probes(probes: Probes) -> Router {
    super::routes(probe_table()).with_state(probes)
}

pub(crate) fn probe_table() -> Vec<Entry<Probes>> {
    vec![
        get("/livez", Access::Anyone, livez),
        get("/readyz", Access::Anyone, readyz),
        get("/startupz", Access::Anyone, startupz),
    ]
}

/// `/metrics`.
pub(crate) fn metrics(handle: PrometheusHandle) -> Router {
    super::routes(metrics_table()).with_state(handle)
}

pub(crate) fn metrics_table() -> Vec<Entry<PrometheusHandle>> {
    vec![get("/metrics", Access::Anyone, render_metrics)]
}

/// The process answers. It asks no store: restarting us would not bring Postgres back.
async fn livez() -> impl IntoResponse {
    (StatusCode::OK, "ok\n")
}

async fn readyz(State(probes): State<Probes>) -> impl IntoResponse {
    if probes.phase.is(STOPPING) {
        return (StatusCode::SERVICE_UNAVAILABLE, "stopping\n");
    }
    if probes.engine.is_ready(READY_BUDGET).await {
        (StatusCode::OK, "ok\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready\n")
    }
}

async fn startupz(State(probes): State<Probes>) -> impl IntoResponse {
    if probes.phase.is(0) { (StatusCode::SERVICE_UNAVAILABLE, "starting\n") } else { (StatusCode::OK, "ok\n") }
}

async fn render_metrics(State(handle): State<PrometheusHandle>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], handle.render())
}
