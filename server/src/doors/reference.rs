//! `/docs`: the API's description as a page. A plain list for everybody; where scripts run, a browsable reference takes its
//! place, from this host alone. The description itself is made in `api/openapi.rs`.

use std::fmt::Write as _;
use std::sync::LazyLock;

use axum::Router;
use axum::http::header;
use axum::response::Html;
use tronch_app::escaped;
use utoipa::openapi::path::Operation;

use super::api::openapi::description;
use super::assets;
use super::entry::{Access, Entry, get};

/// The one address.
pub(crate) fn routes() -> Router {
    super::entry::routes(table())
}

pub(crate) fn table() -> Vec<Entry<()>> {
    vec![get("/docs", Access::Anyone, reference)]
}

/// It says the same as long as the process runs.
static LIST: LazyLock<String> = LazyLock::new(list);

/// The reference that takes the list's place sets styles where it stands.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
     font-src 'self' data:; connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'";

async fn reference() -> ([(header::HeaderName, &'static str); 1], Html<String>) {
    let folder = assets::folder();
    let scripts = if assets::has("reference.js") {
        format!(
            "<script src=\"/{folder}/reference.js\" defer></script><script src=\"/{folder}/reference-start.js\" defer></script>"
        )
    } else {
        String::new()
    };
    let page = Html(format!(
        "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta name=\"color-scheme\" content=\"light dark\"><title>API reference · TRONCH</title>\
         <link rel=\"icon\" href=\"/{folder}/icon.svg\" type=\"image/svg+xml\">\
         <link rel=\"stylesheet\" href=\"/{folder}/tronch.css\">{scripts}</head>\
         <body><div id=\"reference\"><main id=\"main\" class=\"page\">{}</main></div></body></html>",
        *LIST
    ));
    ([(header::CONTENT_SECURITY_POLICY, POLICY)], page)
}

/// Every operation: what it does, where, and what it takes.
fn list() -> String {
    let mut rows = String::new();
    for (path, item) in &description().paths.paths {
        for (method, operation) in operations(item) {
            let summary = operation.summary.as_deref().unwrap_or_default();
            let permission = permission(operation);
            write!(
                rows,
                "<tr><td class=\"mono\">{method} {}</td><td>{}</td><td class=\"mono\">{}</td></tr>",
                escaped(path),
                escaped(summary),
                escaped(&permission)
            )
            .expect("a String takes whatever is written");
        }
    }
    format!(
        "<h1>API reference</h1><p>Every address takes a service token in <code>Authorization: Bearer tronch_st_…</code>, \
         unless its permission says otherwise. The whole description, with every field: \
         <a href=\"/api/v1/openapi.json\">openapi.json</a> (OpenAPI 3.1).</p>\
         <div class=\"table-wrap\" role=\"region\" aria-label=\"Operations\" tabindex=\"0\"><table class=\"table\"><thead><tr>\
         <th scope=\"col\">Address</th><th scope=\"col\">Does</th><th scope=\"col\">Permission</th></tr></thead>\
         <tbody>{rows}</tbody></table></div>"
    )
}

fn operations(item: &utoipa::openapi::PathItem) -> Vec<(&'static str, &Operation)> {
    [("GET", &item.get), ("POST", &item.post), ("PATCH", &item.patch), ("DELETE", &item.delete)]
        .into_iter()
        .filter_map(|(method, operation)| Some((method, operation.as_ref()?)))
        .collect()
}

/// The permission that the description asks for; none for what is open to all.
fn permission(operation: &Operation) -> String {
    let described = serde_json::to_value(&operation.security).unwrap_or_default();
    described[0]["service_token"][0].as_str().unwrap_or("none").to_owned()
}
