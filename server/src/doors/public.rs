//! The public listener. Validations go straight to their handler: finding it among all addresses, and putting aside what
//! only others ask for, would cost a good part of what a verdict does.

use std::convert::Infallible;
use std::future::ready;
use std::net::SocketAddr;

use axum::Router;
use axum::extract::{ConnectInfo, Request, State};
use axum::response::Response;
use axum::serve::IncomingStream;
use futures_util::FutureExt as _;
use futures_util::future::Either;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower::{Service as _, service_fn};

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
    ///
    /// # Errors
    /// When the listener fails.
    pub async fn serve(self, listener: TcpListener, stop: CancellationToken) -> std::io::Result<()> {
        let Self { all, data_plane } = self;
        let connections = service_fn(move |stream: IncomingStream<'_, TcpListener>| {
            let peer: SocketAddr = *stream.remote_addr();
            let (all, data_plane) = (all.clone(), data_plane.clone());
            ready(Ok::<_, Infallible>(service_fn(move |mut request: Request| {
                if is_verify(&request) {
                    return Either::Left(verify_key(State(data_plane.clone()), request).map(Ok));
                }
                request.extensions_mut().insert(ConnectInfo(peer));
                Either::Right(all.clone().call(request))
            })))
        });
        axum::serve(listener, connections).with_graceful_shutdown(stop.cancelled_owned()).await
    }

    /// Answers a validation without a listener, for benches.
    pub async fn validate(&self, request: Request) -> Response {
        verify_key(State(self.data_plane.clone()), request).await
    }
}
