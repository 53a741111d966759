//! `/nodes` on the operator's listener: which processes answer, how they are, and how far behind. A page without scripts
//! and without the dashboard's style, which is not served there.

use std::fmt::Write as _;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use tronch_app::escaped;
use tronch_core::format_timestamp;
use tronch_engine::{Engine, NodeView, list_nodes};

use super::entry::{Access, Entry, get};

/// Heard of longer ago, a node does not answer from memory, unless it is cut off and its tenants let it.
const SILENT_MS: i64 = 800;

pub(crate) fn routes(engine: &Engine) -> Router {
    super::routes(table()).with_state(engine.clone())
}

pub(crate) fn table() -> Vec<Entry<Engine>> {
    vec![get("/nodes", Access::Anyone, nodes)]
}

async fn nodes(State(engine): State<Engine>) -> Response {
    match list_nodes(&engine).await {
        Ok(nodes) => ([(header::CACHE_CONTROL, "no-store")], Html(page(&nodes))).into_response(),
        Err(error) => {
            error.log_if_ours();
            (StatusCode::SERVICE_UNAVAILABLE, "Postgres, which holds the list of nodes, cannot be reached right now.\n")
                .into_response()
        }
    }
}

fn page(nodes: &[NodeView]) -> String {
    let mut rows = String::new();
    for node in nodes {
        let silent_ms = (node.now - node.renewed_at).num_milliseconds();
        let (class, lease) = if silent_ms < SILENT_MS { ("ok", "live") } else { ("bad", "not heard of") };
        write!(
            rows,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td class=\"{class}\">{lease}, {silent_ms} ms ago</td>\
             <td>{}</td></tr>",
            escaped(&node.name),
            escaped(&node.version),
            format_timestamp(node.started_at),
            uptime((node.now - node.started_at).num_seconds()),
            node.behind,
        )
        .expect("a String takes whatever is written");
    }
    format!(
        "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Nodes · TRONCH</title>\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta name=\"color-scheme\" content=\"light dark\"><meta http-equiv=\"refresh\" content=\"5\">\
         <style>body{{font:15px/1.5 system-ui,sans-serif;margin:2rem;max-width:72rem}}h1{{font-size:1.25rem}}\
         table{{border-collapse:collapse;width:100%}}th,td{{text-align:left;padding:.4rem .8rem .4rem 0;\
         border-bottom:1px solid color-mix(in srgb,currentColor 20%,transparent);white-space:nowrap}}\
         div{{overflow-x:auto}}.ok{{color:light-dark(#17663a,#6fd39b)}}.bad{{color:light-dark(#a3211b,#ff9d96)}}</style></head>\
         <body><main><h1>Nodes</h1><p>The processes that answer validations. One that is killed stays here for about five \
         minutes. This page renews itself every five seconds.</p>\
         <div role=\"region\" aria-label=\"Nodes\" tabindex=\"0\"><table><thead><tr><th scope=\"col\">Node</th>\
         <th scope=\"col\">Version</th><th scope=\"col\">Started</th><th scope=\"col\">Up for</th>\
         <th scope=\"col\">Lease</th><th scope=\"col\">Changes behind</th></tr></thead><tbody>{rows}</tbody></table></div>\
         </main></body></html>"
    )
}

/// `3 d 4 h`, `4 h 5 min`, `5 min`, `12 s`.
fn uptime(seconds: i64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (1.., ..) => format!("{days} d {hours} h"),
        (0, 1.., _) => format!("{hours} h {minutes} min"),
        (0, 0, 1..) => format!("{minutes} min"),
        _ => format!("{} s", seconds.max(0)),
    }
}

#[cfg(test)]
mod tests {
    use super::uptime;

    #[test]
    fn a_time_is_told_in_its_two_largest_units() {
        let table = [(-1, "0 s"), (12, "12 s"), (300, "5 min"), (3_900, "1 h 5 min"), (90_000, "1 d 1 h")];
        for (seconds, expected) in table {
            assert_eq!(uptime(seconds), expected);
        }
    }
}
