//! Buttons. What they do is the form's business.

use leptos::prelude::*;

/// Sends the form it stands in.
#[component]
pub fn SubmitButton(
    #[prop(into)] label: String,
    /// `primary`, `danger`, `quiet` or nothing.
    #[prop(default = "primary")]
    look: &'static str,
) -> impl IntoView {
    view! { <button type="submit" class=format!("button {look}")>{label}</button> }
}
