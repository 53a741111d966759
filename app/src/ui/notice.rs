//! Sentences that must be seen.

use leptos::prelude::*;

use super::icons::{Icon, IconName};

/// The refusal of a whole form, above its fields; nothing when there is none.
#[component]
pub fn FormError(message: Option<String>) -> impl IntoView {
    message.map(|message| view! { <p class="form-error" role="alert">{message}</p> })
}

/// A boxed remark.
#[component]
pub fn Notice(
    /// `info`, `warn`, `ok` or `bad`.
    #[prop(default = "info")]
    look: &'static str,
    #[prop(optional, into)] title: Option<String>,
    /// `status` or `alert` where it answers what was just done.
    #[prop(optional)]
    role: Option<&'static str>,
    children: Children,
) -> impl IntoView {
    let icon = match look {
        "ok" => IconName::Check,
        "warn" | "bad" => IconName::Alert,
        _ => IconName::Info,
    };
    view! {
        <div class=format!("notice {look}") role=role>
            <Icon name=icon />
            <div>{title.map(|title| view! { <span class="notice-title">{title}</span> })} {children()}</div>
        </div>
    }
}
