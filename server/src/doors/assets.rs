//! The browser part, embedded in the binary: CSS, script, wasm. Its folder's name holds a hash, so it may be kept for
//! ever.

use axum::Router;
use axum::extract::Path;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use rust_embed::{EmbeddedFile, RustEmbed};

use super::entry::{Access, Entry, get};

#[derive(RustEmbed)]
#[folder = "../target/site"]
#[allow_missing = true]
struct Site;

/// Where the embedded files are: `pkg/<hash>`.
pub(crate) fn folder() -> String {
    Site::iter()
        .find_map(|path| path.strip_suffix("/tronch.css").map(ToOwned::to_owned))
        .unwrap_or_else(|| "pkg/none".to_owned())
}

/// Whether a file of the folder was built in.
pub(crate) fn has(file: &str) -> bool {
    Site::get(&format!("{}/{file}", folder())).is_some()
}

/// `/pkg/{hash}/{file}`.
pub(crate) fn routes() -> Router {
    super::routes(table())
}

pub(crate) fn table() -> Vec<Entry<()>> {
    vec![get("/pkg/{*path}", Access::Anyone, asset)]
}

async fn asset(Path(path): Path<String>, headers: HeaderMap) -> Response {
    let path = format!("pkg/{path}");
    let takes_brotli = headers
        .get(header::ACCEPT_ENCODING)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.split(',').any(|coding| coding.trim().split(';').next() == Some("br")));
    let compressed = if takes_brotli { Site::get(&format!("{path}.br")) } else { None };
    match (compressed, Site::get(&path)) {
        (Some(file), Some(_)) => {
            let mut response = found(&path, file);
            response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("br"));
            response
        }
        (None, Some(file)) => found(&path, file),
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

fn found(path: &str, file: EmbeddedFile) -> Response {
    let content_type = match path.rsplit('.').next() {
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("wasm") => "application/wasm",
        Some("svg") => "image/svg+xml; charset=utf-8",
        _ => "application/octet-stream",
    };
    let headers = [
        (header::CONTENT_TYPE, content_type),
        (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
        (header::VARY, "accept-encoding"),
    ];
    (headers, file.data).into_response()
}
