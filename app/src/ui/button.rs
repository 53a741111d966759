//! Buttons, and links that look like them. What they do is the form's business.

use leptos::prelude::*;

use super::icons::{Icon, IconName};

fn drawn(icon: Option<IconName>) -> impl IntoView {
    icon.map(|name| view! { <Icon name /> })
}

/// Sends the form it stands in.
#[component]
pub fn SubmitButton(
    #[prop(into)] label: String,
    /// `primary`, `danger`, `quiet`, any of them with `small`, or nothing.
    #[prop(default = "primary")]
    look: &'static str,
    #[prop(optional)] icon: Option<IconName>,
    /// What is sent beside the fields, for forms with several buttons: name and value.
    #[prop(default = None)]
    sends: Option<(&'static str, String)>,
) -> impl IntoView {
    let (name, value) = sends.unzip();
    view! { <button type="submit" class=class_of(look) name=name value=value>{drawn(icon)} {label}</button> }
}

/// Does nothing by itself: for islands and dialogs.
#[component]
pub fn Button(
    #[prop(into)] label: String,
    #[prop(default = "")] look: &'static str,
    #[prop(optional)] icon: Option<IconName>,
    #[prop(optional)] disabled: bool,
) -> impl IntoView {
    view! { <button type="button" class=class_of(look) disabled=disabled>{drawn(icon)} {label}</button> }
}

/// Goes somewhere.
#[component]
pub fn LinkButton(
    #[prop(into)] href: String,
    #[prop(into)] label: String,
    #[prop(default = "")] look: &'static str,
    #[prop(optional)] icon: Option<IconName>,
) -> impl IntoView {
    view! { <a class=class_of(look) href=href>{drawn(icon)} {label}</a> }
}

fn class_of(look: &str) -> String {
    format!("button {look}").trim_end().to_owned()
}
