//! What wakes in the browser. Without JavaScript each part shows nothing, or text that is complete as it stands.

use std::time::Duration;

use leptos::prelude::*;
use wasm_bindgen::JsValue;

/// Copies a text to the clipboard and says so. Hidden until it can, and where the browser refuses it, as over plain HTTP.
#[island]
pub fn CopyButton(text: String, label: String) -> impl IntoView {
    let (ready, set_ready) = signal(false);
    let (said, set_said) = signal("");
    Effect::new(move |_| set_ready.set(window().is_secure_context()));
    view! {
        <button
            type="button"
            class="copy"
            class:done=move || said.get() == "Copied"
            hidden=move || !ready.get()
            title=label.clone()
            on:click=move |_| copy(&text, set_said)
        >
            <svg class="icon" viewBox="0 0 24 24" width="16" height="16" aria-hidden="true">
                <path d=move || if said.get() == "Copied" { "m4.5 12.5 5 5 10-11" } else { "M9 9h11v11H9zM5 15H4V4h11v1" } />
            </svg>
            <span class="copy-label">{label.clone()}</span>
        </button>
        <span class="copy-said" role="status">{move || said.get()}</span>
    }
}

fn copy(text: &str, set_said: WriteSignal<&'static str>) {
    let written = window().navigator().clipboard().write_text(text);
    leptos::task::spawn_local(async move {
        set_said.set(if written.await.is_ok() { "Copied" } else { "Not copied" });
        set_timeout(move || set_said.set(""), Duration::from_secs(2));
    });
}

/// A time: UTC for everybody, and beside it the reader's own zone once the page is awake. `iso` is RFC 3339 in UTC.
#[island]
pub fn LocalTime(iso: String) -> impl IntoView {
    let (local, set_local) = signal(None::<String>);
    let parsed = iso.clone();
    Effect::new(move |_| set_local.set(in_readers_zone(&parsed)));
    let utc = utc_to_the_minute(&iso);
    let exact = iso.clone();
    view! {
        <time datetime=iso title=exact>{utc}</time>
        <span class="time-local">{move || local.get().map(|local| format!(" {local}"))}</span>
    }
}

/// `2026-11-23T14:08:04.123Z` as `2026-11-23 14:08 UTC`; anything else as it is.
fn utc_to_the_minute(iso: &str) -> String {
    match (iso.get(..10), iso.get(11..16)) {
        (Some(day), Some(minute)) if iso.ends_with('Z') => format!("{day} {minute} UTC"),
        _ => iso.to_owned(),
    }
}

/// `15:08 UTC+1`, with the day where it is another; nothing where the reader lives by UTC.
fn in_readers_zone(iso: &str) -> Option<String> {
    let date = js_sys::Date::new(&JsValue::from_str(iso));
    let minutes_behind = date.get_timezone_offset();
    if minutes_behind.is_nan() || minutes_behind == 0.0 {
        return None;
    }
    let day = if date.get_date() == date.get_utc_date() {
        String::new()
    } else {
        format!("{}-{:02}-{:02} ", date.get_full_year(), date.get_month() + 1, date.get_date())
    };
    let sign = if minutes_behind < 0.0 { '+' } else { '−' };
    let (hours, minutes) = ((minutes_behind.abs() / 60.0).floor(), minutes_behind.abs() % 60.0);
    let zone = if minutes == 0.0 { format!("UTC{sign}{hours}") } else { format!("UTC{sign}{hours}:{minutes:02}") };
    Some(format!("{day}{:02}:{:02} {zone}", date.get_hours(), date.get_minutes()))
}

/// Where the reader's choice of light or dark is kept, in the browser alone.
const THEME: &str = "theme";

/// Light, dark, or as the system has it. The choice stays in this browser.
#[island]
pub fn ThemeToggle() -> impl IntoView {
    let (theme, set_theme) = signal(None::<String>);
    Effect::new(move |_| {
        let kept = kept_theme().unwrap_or_else(|| "system".to_owned());
        wear(&kept);
        set_theme.set(Some(kept));
    });
    let turn = move |_| {
        let next = match theme.get_untracked().as_deref() {
            Some("system") => "light",
            Some("light") => "dark",
            _ => "system",
        };
        wear(next);
        keep_theme(next);
        set_theme.set(Some(next.to_owned()));
    };
    view! {
        <button type="button" class="copy" hidden=move || theme.get().is_none() on:click=turn title="Light, dark or as the system">
            <svg class="icon" viewBox="0 0 24 24" width="16" height="16" aria-hidden="true">
                <path d=move || match theme.get().as_deref() {
                    Some("light") => {
                        "M16 12a4 4 0 1 1-8 0 4 4 0 0 1 8 0ZM12 2.5v2m0 15v2M2.5 12h2m15 0h2M5.3 5.3l1.4 1.4m10.6 10.6 1.4 1.4m0-13.4-1.4 1.4M6.7 17.3l-1.4 1.4"
                    }
                    Some("dark") => "M20 14.5A8.5 8.5 0 1 1 9.5 4a7 7 0 0 0 10.5 10.5Z",
                    _ => "M3 4.5h18v12H3zM8.5 20.5h7M12 16.5v4",
                } />
            </svg>
            <span class="copy-label">{move || format!("Colours: {}", theme.get().unwrap_or_default())}</span>
        </button>
    }
}

/// What this browser keeps between pages; some forbid it, then there is nothing to keep the choice in.
fn storage() -> Result<JsValue, JsValue> {
    js_sys::Reflect::get(&window(), &JsValue::from_str("localStorage"))
}

fn kept_theme() -> Option<String> {
    let kept = js_sys::Reflect::get(&storage().ok()?, &JsValue::from_str(THEME)).ok()?;
    kept.as_string()
}

fn keep_theme(theme: &str) {
    let kept = storage()
        .and_then(|storage| js_sys::Reflect::set(&storage, &JsValue::from_str(THEME), &JsValue::from_str(theme)));
    // A browser that keeps nothing has still changed this page.
    drop(kept);
}

fn wear(theme: &str) {
    let Some(root) = document().document_element() else { return };
    let done = match theme {
        "light" | "dark" => root.set_attribute("data-theme", theme),
        _ => root.remove_attribute("data-theme"),
    };
    drop(done);
}

/// Asks before the page is left, until the reader ticks the box that says `message`. Nothing without JavaScript.
#[island]
pub fn CloseGuard(message: String) -> impl IntoView {
    let (ready, set_ready) = signal(false);
    let (done, set_done) = signal(false);
    Effect::new(move |_| {
        set_ready.set(true);
        let handle = window_event_listener(leptos::ev::beforeunload, move |event| {
            if !done.get_untracked() {
                event.prevent_default();
                // Older browsers ask only when this is set; none shows the text.
                event.set_return_value("unsaved");
            }
        });
        on_cleanup(move || handle.remove());
    });
    view! {
        <div class="checkbox close-guard" hidden=move || !ready.get()>
            <input type="checkbox" id="close-guard" on:change=move |event| set_done.set(event_target_checked(&event)) />
            <label for="close-guard">{message}</label>
        </div>
    }
}
