//! What stands where nothing is: a drawing, a sentence, an action.

use leptos::prelude::*;

use super::button::LinkButton;
use super::icons::{Icon, IconName};

/// "Nothing yet", or with `no_match` "nothing matches". Actions and guides are pairs of address and label.
#[component]
pub fn EmptyState(
    icon: IconName,
    #[prop(into)] title: String,
    #[prop(optional, into)] sentence: Option<String>,
    #[prop(default = None)] action: Option<(String, String)>,
    #[prop(default = None)] guide: Option<(String, String)>,
    /// Filters hide everything, as against nothing being there.
    #[prop(optional)]
    no_match: bool,
) -> impl IntoView {
    let look = if no_match { "" } else { "primary" };
    view! {
        <div class=if no_match { "empty matches" } else { "empty" }>
            <Icon name=icon />
            <h2>{title}</h2>
            {sentence.map(|sentence| view! { <p class="muted">{sentence}</p> })}
            {action.map(|(href, label)| view! { <LinkButton href label look /> })}
            {guide.map(|(href, label)| view! { <p><a href=href>{label}</a></p> })}
        </div>
    }
}
