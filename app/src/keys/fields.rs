//! How parts of a key are shown, wherever a key is shown.

use leptos::prelude::*;
use tronch_core::{Environment, KeyHealth, KeyId, KeyView, RotationView};
use tronch_engine::Error;

use crate::form_state::FormState;
use crate::server_context::now;
use crate::ui::badge::Badge;
use crate::ui::field::TextField;

/// The key that the address names.
pub(super) fn key_id_of_address() -> Result<KeyId, Error> {
    let params = leptos_router::hooks::use_params_map();
    params.with(|params| params.get("key")).and_then(|text| text.parse().ok()).ok_or(Error::NotFound { noun: "key" })
}

/// How a key is, in one word.
pub(super) fn health_badge(health: KeyHealth) -> impl IntoView {
    let look = match health {
        KeyHealth::Active => "ok",
        KeyHealth::Disabled | KeyHealth::ExpiresSoon | KeyHealth::Limited | KeyHealth::ElevatedRefusals => "warn",
        KeyHealth::Rotating => "info",
        KeyHealth::Revoked => "bad",
        KeyHealth::Expired | KeyHealth::Unused => "muted",
    };
    view! { <Badge label=health.label() look /> }
}

/// Replaced by a successor, and still working.
pub(super) fn is_rotating(key: &KeyView) -> bool {
    !key.has_ended(now()) && matches!(key.rotation, Some(RotationView::Predecessor { .. }))
}

pub(super) fn environment_badge(environment: Environment) -> impl IntoView {
    let look = match environment {
        Environment::Live => "info plain",
        Environment::Test => "muted plain",
    };
    view! { <Badge label=environment.as_str() look /> }
}

/// Why keys are revoked, for the audit log.
#[component]
pub(super) fn ReasonField(form: FormState) -> impl IntoView {
    view! {
        <TextField
            name="reason"
            label="Reason"
            value=form.value("reason")
            hint="For the audit log: who reads it in a year?"
            error=form.field_error("reason")
            maxlength=500
        />
    }
}

/// The words that have to be typed before something happens that cannot be undone.
#[component]
pub(super) fn ConfirmationField(form: FormState, words: String) -> impl IntoView {
    view! {
        <TextField
            name="confirmation"
            label=format!("Type \u{201c}{words}\u{201d}")
            value=form.value("confirmation")
            error=form.field_error("confirmation")
            required=true
            mono=true
        />
    }
}

/// The handle to be copied: as it is shown, without the sign that a secret followed.
pub(super) fn whole_handle(key: &KeyView) -> String {
    key.display_handle.trim_end_matches('…').to_owned()
}
