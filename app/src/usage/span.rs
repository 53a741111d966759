//! Which time usage is shown for: in the address, so that a link shows the same, and a row of links to choose by.

use leptos::prelude::*;
use leptos_router::hooks::use_query_map;
use tronch_engine::usage::Span;

/// `?span=` of the address; whatever is no span is the usual one.
pub(crate) fn span_of_address() -> Span {
    let asked = use_query_map().with(|map| map.get("span"));
    asked.and_then(|text| text.parse().ok()).unwrap_or_default()
}

/// As it stands in a sentence.
pub(crate) fn words_of_span(span: Span) -> &'static str {
    match span {
        Span::Hour => "the last hour",
        Span::Day => "the last 24 hours",
        Span::Week => "the last 7 days",
        Span::Month => "the last 30 days",
    }
}

/// Links to the same page with another span. `path` is the page's own.
#[component]
pub(crate) fn SpanLinks(span: Span, #[prop(into)] path: String) -> impl IntoView {
    let links: Vec<_> = Span::ALL
        .into_iter()
        .map(|one| {
            let current = (one == span).then_some("true");
            let (label, words) = (short(one), words_of_span(one));
            view! { <li><a class="segment" href=format!("{path}?span={one}") aria-current=current title=words>{label}</a></li> }
        })
        .collect();
    view! { <nav class="segments" aria-label="Time shown"><ul>{links}</ul></nav> }
}

fn short(span: Span) -> &'static str {
    match span {
        Span::Hour => "1 h",
        Span::Day => "24 h",
        Span::Week => "7 d",
        Span::Month => "30 d",
    }
}
