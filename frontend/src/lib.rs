//! Wakes the islands in the browser. It holds nothing of its own.

// Links the islands into the module; nothing here calls them by name.
extern crate tronch_app as _;

/// Called by the page's script once the module is loaded.
#[wasm_bindgen::prelude::wasm_bindgen]
pub fn hydrate() {
    console_error_panic_hook::set_once();
    leptos::mount::hydrate_islands();
}
