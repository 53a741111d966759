//! What happened to one thing, the newest first.

use leptos::prelude::*;
use tronch_core::{AuditEventView, format_timestamp};

use super::words::{differences, field_words, value_words, verb};
use crate::ui::islands::LocalTime;

/// A line for each event, with what changed.
#[component]
pub(crate) fn Timeline(events: Vec<AuditEventView>) -> impl IntoView {
    let lines: Vec<_> = events.iter().map(line).collect();
    view! { <ol class="timeline">{lines}</ol> }
}

fn line(event: &AuditEventView) -> impl IntoView + use<> {
    let changed: Vec<String> = if event.before_json.is_some() {
        differences(event)
            .into_iter()
            // The reason stands on a line of its own.
            .filter(|(name, before, after)| before != after && name != "updated_at" && name != "revoke_reason")
            .map(|(name, before, after)| {
                let side = |value: Option<String>| value.map_or_else(|| "none".to_owned(), |value| value_words(&value));
                format!("{}: {} → {}", field_words(&name), side(before), side(after))
            })
            .collect()
    } else {
        vec![]
    };
    let reason = event.reason.clone().map(|reason| view! { <p class="small">"Reason: " {reason}</p> });
    view! {
        <li>
            <b>{event.actor_name.clone()}</b> " " {verb(event)} " " {event.target_name.clone()}
            <div class="small muted"><LocalTime iso=format_timestamp(event.occurred_at) /></div>
            {reason}
            {(!changed.is_empty()).then(|| view! { <p class="small muted wrap">{changed.join(" · ")}</p> })}
        </li>
    }
}
