//! The two listeners. Validations go straight to their handler: finding it among all addresses, and putting aside what
//! only others ask for, would cost a good part of what a verdict does.

use std::net::SocketAddr;

use axum::Router;
use axum::extract::{ConnectInfo, Request, State};
use axum::response::Response;
use futures_util::future::Either;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::connections::{self, Patience};
use super::data_plane::DataPlane;
use super::verify::{is_verify, verify_key};

/// Everything for people and services.
pub struct Public {
    /// Whatever is served, validation included.
    pub(super) all: Router,
    pub(super) data_plane: DataPlane,
}

impl Public {
    /// Serves until stopped, and until what was under way then is answered.
    pub async fn serve(self, listener: TcpListener, patience: Patience, stop: CancellationToken) {
        let Self { all, data_plane } = self;
        let answer = move |peer: SocketAddr, request: Request| {
            if is_verify(&request) {
                return Either::Left(verify_key(State(data_plane.clone()), request));
            }
            Either::Right(routed(all.clone(), peer, request))
        };
        connections::serve(listener, patience, stop, answer).await;
    }

    /// Answers a validation without a listener, for benches.
    pub async fn validate(&self, request: Request) -> Response {
        verify_key(State(self.data_plane.clone()), request).await
    }
}

/// The operator's listener.
pub struct Operators(pub(super) Router);

impl Operators {
    /// Serves until stopped, and until what was under way then is answered.
    pub async fn serve(self, listener: TcpListener, patience: Patience, stop: CancellationToken) {
        let answer = move |peer, request| routed(self.0.clone(), peer, request);
        connections::serve(listener, patience, stop, answer).await;
    }
}

async fn routed(router: Router, peer: SocketAddr, mut request: Request) -> Response {
    request.extensions_mut().insert(ConnectInfo(peer));
    match router.oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}
