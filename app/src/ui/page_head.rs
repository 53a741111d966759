//! The head of a page: where it is, what it is, what can be done here.

use leptos::prelude::*;

/// Title, sentence, crumbs (address and label, outermost first), marks beside the title, actions as children.
#[component]
pub fn PageHead(
    #[prop(into)] title: String,
    #[prop(optional, into)] subtitle: Option<String>,
    #[prop(optional)] crumbs: Vec<(String, String)>,
    /// Beside the title, such as a badge.
    #[prop(optional, into)]
    beside: ViewFn,
    #[prop(optional)] children: Option<Children>,
) -> impl IntoView {
    view! {
        {(!crumbs.is_empty()).then(|| view! { <Crumbs crumbs /> })}
        <header class="page-head">
            <div>
                <div class="page-title"><h1>{title}</h1> {beside.run()}</div>
                {subtitle.map(|subtitle| view! { <p>{subtitle}</p> })}
            </div>
            {children.map(|children| view! { <div class="page-actions">{children()}</div> })}
        </header>
    }
}

/// The way back up: addresses and labels, outermost first.
#[component]
pub fn Crumbs(crumbs: Vec<(String, String)>) -> impl IntoView {
    let steps: Vec<_> =
        crumbs.into_iter().map(|(href, label)| view! { <li><a class="truncate" href=href>{label}</a></li> }).collect();
    view! { <nav class="crumbs" aria-label="Breadcrumb"><ol>{steps}</ol></nav> }
}
