//! What wakes in the browser. Without JavaScript each part shows nothing, or text that is complete as it stands.

use leptos::prelude::*;

/// Copies a text to the clipboard and says so. Hidden until it can.
#[island]
pub fn CopyButton(text: String, label: String) -> impl IntoView {
    let (ready, set_ready) = signal(false);
    let (copied, set_copied) = signal(false);
    Effect::new(move |_| set_ready.set(true));
    let said = label.clone();
    view! {
        <button
            type="button"
            class="button small copy"
            hidden=move || !ready.get()
            aria-label=label
            on:click=move |_| {
                if let Some(window) = web_sys::window() {
                    drop(window.navigator().clipboard().write_text(&text));
                    set_copied.set(true);
                }
            }
        >
            {move || if copied.get() { "Copied".to_owned() } else { said.clone() }}
        </button>
    }
}
