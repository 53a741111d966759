//! The handler that ours is measured against: the same JSON in and out and nothing in between.

use axum::routing::post;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

#[derive(Deserialize)]
#[expect(dead_code, reason = "it is read for the sake of reading it")]
struct Asked {
    key: String,
    project: Option<String>,
    environment: Option<String>,
    permissions: Option<String>,
}

#[derive(Serialize)]
struct Answer {
    valid: bool,
    code: &'static str,
    request_id: &'static str,
    key_id: &'static str,
    handle: &'static str,
    name: &'static str,
    tenant: &'static str,
    project: &'static str,
    environment: &'static str,
    owner: Option<()>,
    metadata: Empty,
    permissions: [(); 0],
    expires_at: Option<()>,
    limits: [(); 0],
    rotation: Option<()>,
    data_age_ms: u32,
}

#[derive(Serialize)]
struct Empty {}

/// Serves until it is killed.
#[expect(clippy::disallowed_methods, reason = "it is no door of the product")]
pub async fn serve(port: u16) -> anyhow::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    axum::serve(listener, Router::new().route("/api/v1/keys/verify", post(answer))).await?;
    Ok(())
}

async fn answer(Json(_asked): Json<Asked>) -> Json<Answer> {
    Json(Answer {
        valid: true,
        code: "VALID",
        request_id: "req_01m8b8raw3fy2ry86d0gcfnvex",
        key_id: "key_01h455vb4pex5vsknk084sn02q",
        handle: "0Uz3kQ9aB12",
        name: "a key of 20 letters.",
        tenant: "acme",
        project: "default",
        environment: "live",
        owner: None,
        metadata: Empty {},
        permissions: [],
        expires_at: None,
        limits: [],
        rotation: None,
        data_age_ms: 100,
    })
}
