//! A word with a shape and a colour: how something is. The word alone says it all.

use leptos::prelude::*;

/// A mark.
#[component]
pub fn Badge(
    #[prop(into)] label: String,
    /// `ok`, `warn`, `bad`, `info`, `muted`; with `plain` no shape is drawn.
    #[prop(default = "muted")]
    look: &'static str,
    /// A sentence for those who point at it; say it elsewhere too.
    #[prop(default = None)]
    title: Option<String>,
) -> impl IntoView {
    view! { <span class=format!("badge {look}") title=title>{label}</span> }
}
