//! One field of a form: label, hint, input and error, tied together for those who cannot see them.

use leptos::prelude::*;

/// Ids follow from the name, so a page has one field of a name.
fn described_by(name: &str, hint: bool, error: bool) -> Option<String> {
    let ids: Vec<String> = [(hint, "hint"), (error, "error")]
        .into_iter()
        .filter(|(there, _)| *there)
        .map(|(_, part)| format!("{name}-{part}"))
        .collect();
    (!ids.is_empty()).then(|| ids.join(" "))
}

#[component]
fn FieldFrame(
    name: &'static str,
    label: String,
    required: bool,
    hint: Option<String>,
    error: Option<String>,
    children: Children,
) -> impl IntoView {
    view! {
        <div class="field">
            <label for=name>{label} {(!required).then(|| view! { <span class="muted">" (optional)"</span> })}</label>
            {hint.map(|hint| view! { <p class="hint" id=format!("{name}-hint")>{hint}</p> })}
            {children()}
            {error.map(|error| view! { <p class="field-error" id=format!("{name}-error")>{error}</p> })}
        </div>
    }
}

/// A line of text.
#[component]
pub fn TextField(
    name: &'static str,
    #[prop(into)] label: String,
    #[prop(optional)] value: String,
    #[prop(optional, into)] hint: Option<String>,
    #[prop(default = None)] error: Option<String>,
    /// `text`, `email`, `search`, `datetime-local` …
    #[prop(default = "text")]
    input_type: &'static str,
    #[prop(default = "off")] autocomplete: &'static str,
    #[prop(optional)] required: bool,
    #[prop(optional)] autofocus: bool,
    /// Digits and letters of one width.
    #[prop(optional)]
    mono: bool,
) -> impl IntoView {
    let described_by = described_by(name, hint.is_some(), error.is_some());
    let invalid = error.is_some().then_some("true");
    view! {
        <FieldFrame name label required hint error>
            <input
                id=name
                name=name
                type=input_type
                class=if mono { "input mono" } else { "input" }
                value=value.clone()
                autocomplete=autocomplete
                required=required
                autofocus=autofocus
                aria-describedby=described_by.clone()
                aria-invalid=invalid
            />
        </FieldFrame>
    }
}

/// A password: never filled in again.
#[component]
pub fn PasswordField(
    name: &'static str,
    #[prop(into)] label: String,
    #[prop(optional, into)] hint: Option<String>,
    #[prop(default = None)] error: Option<String>,
    autocomplete: &'static str,
) -> impl IntoView {
    let described_by = described_by(name, hint.is_some(), error.is_some());
    let invalid = error.is_some().then_some("true");
    view! {
        <FieldFrame name label required=true hint error>
            <input
                id=name
                name=name
                type="password"
                class="input"
                autocomplete=autocomplete
                required=true
                aria-describedby=described_by.clone()
                aria-invalid=invalid
            />
        </FieldFrame>
    }
}
