//! Sentences that must be seen.

use leptos::prelude::*;

/// The refusal of a whole form, above its fields; nothing when there is none.
#[component]
pub fn FormError(message: Option<String>) -> impl IntoView {
    message.map(|message| view! { <p class="form-error" role="alert">{message}</p> })
}
