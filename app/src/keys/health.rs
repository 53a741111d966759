//! What a key's health means and what to do about it: a sentence and a link. Which health it is, is `core`'s rule.

use leptos::prelude::*;
use tronch_core::{CallsOfTheDay, KeyHealth, KeyView, Permission, RotationView};
use tronch_engine::Tenant;

use super::list::time_or;
use super::settings::address_of_another;
use crate::ui::chart::grouped;

/// The sentence, and the action it suggests to those who may; nothing for a key that is well.
pub(super) fn health_words(tenant: &Tenant, key: &KeyView, health: KeyHealth, calls: CallsOfTheDay) -> AnyView {
    let here = format!("/t/{}/keys/{}", tenant.slug(), key.id);
    let action = |permission, path: &str, label: &'static str| {
        let href = format!("{here}{path}");
        tenant.allows(permission).then(|| view! { " " <a href=href>{label}</a> })
    };
    match health {
        KeyHealth::Active => ().into_any(),
        KeyHealth::Revoked => view! { "Refused for ever." }.into_any(),
        KeyHealth::Expired => {
            let create = address_of_another(tenant.slug().as_str(), key);
            let create =
                tenant.allows(Permission::KeysCreate).then(|| view! { " " <a href=create>"Create another"</a> });
            view! { "Refused since its end." {create} }.into_any()
        }
        KeyHealth::Disabled => {
            view! { "Refused until it is enabled." {action(Permission::KeysUpdate, "", "Enable")} }.into_any()
        }
        KeyHealth::ExpiresSoon => {
            let when = time_or(key.expires_at, "");
            view! { "Ends at " {when} "." {action(Permission::KeysUpdate, "/edit", "Move its end")} }.into_any()
        }
        KeyHealth::Rotating => {
            let see = action(Permission::KeysRead, "", "See who still calls");
            match key.rotation {
                Some(RotationView::Predecessor { grace_ends_at: Some(end), .. }) => {
                    view! { "Replaced; works until " {time_or(Some(end), "")} "." {see} }.into_any()
                }
                _ => view! { "Replaced; works until somebody ends it." {see} }.into_any(),
            }
        }
        KeyHealth::Limited => {
            let sentence =
                format!("{} of {} calls in 24 hours over a limit.", grouped(calls.limited), grouped(calls.all));
            view! { {sentence} {action(Permission::LimitsRead, "#limits", "See its limits")} }.into_any()
        }
        KeyHealth::ElevatedRefusals => {
            let sentence = format!("{} of {} calls in 24 hours refused.", grouped(calls.refused), grouped(calls.all));
            view! { {sentence} {action(Permission::UsageRead, "#usage", "See why")} }.into_any()
        }
        KeyHealth::Unused => {
            let sentence = if key.last_used_at.is_some() { "No call for 30 days." } else { "Never used." };
            view! { {sentence} {action(Permission::KeysRevoke, "/revoke", "Revoke")} }.into_any()
        }
    }
}
