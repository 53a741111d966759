//! What wakes in the browser. Without JavaScript each part shows nothing, or text that is complete as it stands.
//!
//! An island here is a fixed piece of the page and a function that takes it over in the browser (`use:`). It takes no
//! properties: what it needs to know stands in the element before it. Signals, and properties as JSON, would nearly double
//! what the browser loads: see docs/decisions/0014-size-of-the-browser-part.md.

use std::time::Duration;

use leptos::prelude::*;
use wasm_bindgen::prelude::*;
use web_sys::{Element, Event, EventTarget, HtmlDialogElement, HtmlElement, HtmlInputElement, KeyboardEvent, Storage};

const SAID_FOR: Duration = Duration::from_secs(2);

/// Copies a text to the clipboard and says so. Hidden until it can, and where the browser refuses it, as over plain HTTP.
#[component]
pub fn CopyButton(text: String, label: String) -> impl IntoView {
    view! {
        <data value=text hidden>{label}</data>
        <CopyIsland />
    }
}

#[island]
fn CopyIsland() -> impl IntoView {
    view! {
        <button type="button" class="copy" hidden use:copies>
            <svg class="icon" viewBox="0 0 24 24" width="16" height="16" aria-hidden="true"><path d="" /></svg>
            <span class="copy-label"></span>
        </button>
        <span class="copy-said" role="status"></span>
    }
}

fn copies(button: Element) {
    let Some(data) = before_island(&button).filter(|_| window().is_secure_context()) else { return };
    let label = data.text_content().unwrap_or_default();
    set(&button, "title", &label);
    write(&button, ".copy-label", &label);
    say(&button, "");
    show(&button);
    let text = data.get_attribute("value").unwrap_or_default();
    listen(&button.clone(), "click", move |_| copy(&text, button.clone()));
}

fn copy(text: &str, button: Element) {
    let written = window().navigator().clipboard().write_text(text);
    leptos::task::spawn_local(async move {
        say(&button, if written.await.is_ok() { "Copied" } else { "Not copied" });
        set_timeout(move || say(&button, ""), SAID_FOR);
    });
}

/// What the button has just done: in words beside it, and by its own look.
fn say(button: &Element, said: &str) {
    let done = said == "Copied";
    button.set_class_name(if done { "copy done" } else { "copy" });
    draw(button, if done { "m4.5 12.5 5 5 10-11" } else { "M9 9h11v11H9zM5 15H4V4h11v1" });
    if let Some(status) = button.next_element_sibling() {
        status.set_text_content(Some(said));
    }
}

/// A time: UTC for everybody, and beside it the reader's own zone once the page is awake. `iso` is RFC 3339 in UTC.
#[component]
pub fn LocalTime(iso: String) -> impl IntoView {
    let utc = utc_to_the_minute(&iso);
    let exact = iso.clone();
    view! {
        <time datetime=iso title=exact>{utc}</time>
        <LocalTimeIsland />
    }
}

/// `2026-11-23T14:08:04.123Z` as `2026-11-23 14:08 UTC`; anything else as it is.
fn utc_to_the_minute(iso: &str) -> String {
    match (iso.get(..10), iso.get(11..16)) {
        (Some(day), Some(minute)) if iso.ends_with('Z') => format!("{day} {minute} UTC"),
        _ => iso.to_owned(),
    }
}

#[island]
fn LocalTimeIsland() -> impl IntoView {
    view! { <span class="time-local" use:tells_local_time></span> }
}

fn tells_local_time(span: Element) {
    let iso = before_island(&span).and_then(|time| time.get_attribute("datetime"));
    if let Some(local) = iso.and_then(|iso| in_readers_zone(&iso)) {
        span.set_text_content(Some(&local));
    }
}

/// ` 15:08 UTC+1`, with the day where it is another; nothing where the reader lives by UTC.
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
    // A whole number of minutes within a day. Writing a float would bring in its own 10 KB.
    let distance = minutes_behind.abs() as u32;
    let (hours, minutes) = (distance / 60, distance % 60);
    let zone = if minutes == 0 { format!("UTC{sign}{hours}") } else { format!("UTC{sign}{hours}:{minutes:02}") };
    Some(format!(" {day}{:02}:{:02} {zone}", date.get_hours(), date.get_minutes()))
}

/// Where the reader's choice of light or dark is kept, in the browser alone.
const THEME: &str = "theme";
/// The attribute of the document that wears it; without one the colours are as the system has them.
const WORN: &str = "data-theme";

/// Light, dark, or as the system has it. The choice stays in this browser.
#[island]
pub fn ThemeToggle() -> impl IntoView {
    view! {
        <button type="button" class="copy" hidden title="Light, dark or as the system" use:turns_theme>
            <svg class="icon" viewBox="0 0 24 24" width="16" height="16" aria-hidden="true"><path d="" /></svg>
            <span class="copy-label"></span>
        </button>
    }
}

fn turns_theme(button: Element) {
    let Some(root) = document().document_element() else { return };
    let kept = storage().and_then(|storage| storage.get_item(THEME).ok()?);
    wear(&root, &button, kept.as_deref().unwrap_or_default());
    show(&button);
    listen(&button.clone(), "click", move |_| {
        let next = match root.get_attribute(WORN).as_deref() {
            None => "light",
            Some("light") => "dark",
            Some(_) => "system",
        };
        wear(&root, &button, next);
        // A browser that keeps nothing has still changed this page.
        drop(storage().map(|storage| storage.set_item(THEME, next)));
    });
}

/// Nothing in a browser that forbids keeping things.
fn storage() -> Option<Storage> {
    window().local_storage().ok()?
}

fn wear(root: &Element, button: &Element, theme: &str) {
    let (path, name) = match theme {
        "light" => (
            "M16 12a4 4 0 1 1-8 0 4 4 0 0 1 8 0ZM12 2.5v2m0 15v2M2.5 12h2m15 0h2M5.3 5.3l1.4 1.4m10.6 10.6 1.4 1.4m0-13.4-1.4 1.4M6.7 17.3l-1.4 1.4",
            theme,
        ),
        "dark" => ("M20 14.5A8.5 8.5 0 1 1 9.5 4a7 7 0 0 0 10.5 10.5Z", theme),
        _ => ("M3 4.5h18v12H3zM8.5 20.5h7M12 16.5v4", "system"),
    };
    match name {
        "system" => drop(root.remove_attribute(WORN)),
        _ => set(root, WORN, name),
    }
    draw(button, path);
    write(button, ".copy-label", &["Colours: ", name].concat());
}

/// Asks before the page is left, until the reader ticks its box. Nothing without JavaScript.
#[island]
pub fn CloseGuard() -> impl IntoView {
    view! {
        <div class="checkbox close-guard" hidden use:guards>
            <input type="checkbox" id="close-guard" />
            <label for="close-guard">"I have stored it"</label>
        </div>
    }
}

fn guards(division: Element) {
    let Some(input) = find(&division, "input") else { return };
    show(&division);
    let input: HtmlInputElement = input.unchecked_into();
    listen(&window(), "beforeunload", move |event| {
        if !input.checked() {
            event.prevent_default();
            // Older browsers ask only when this is set; none shows the text.
            event.unchecked_ref::<web_sys::BeforeUnloadEvent>().set_return_value("unsaved");
        }
    });
}

/// A box that ticks every box of the list it stands above. Nothing without JavaScript.
#[island]
pub fn ChooseAll() -> impl IntoView {
    view! { <input type="checkbox" hidden aria-label="Choose all on this page" use:chooses_all /> }
}

fn chooses_all(all: Element) {
    let Ok(Some(form)) = all.closest("form") else { return };
    show(&all);
    let all: HtmlInputElement = all.unchecked_into();
    let (boxes, head) = (form.clone(), all.clone());
    listen(&all, "change", move |_| {
        for one in every(&boxes, CHOICES) {
            one.unchecked_ref::<HtmlInputElement>().set_checked(head.checked());
        }
    });
    let boxes = form.clone();
    listen(&form, "change", move |_| {
        let chosen = every(&boxes, CHOSEN).len();
        all.set_checked(chosen > 0 && chosen == every(&boxes, CHOICES).len());
    });
}

const CHOICES: &str = "tbody .pick input";
const CHOSEN: &str = "tbody .pick input:checked";

/// Keys that do what links and boxes of the page do, and the list of them. Nothing without JavaScript.
#[island]
pub fn KeyboardShortcuts() -> impl IntoView {
    view! {
        <button type="button" class="copy" hidden title="Keyboard shortcuts" use:takes_keys>
            <kbd class="kbd" aria-hidden="true">"?"</kbd>
            <span class="copy-label">"Keyboard shortcuts"</span>
        </button>
        <dialog class="dialog" aria-label="Keyboard shortcuts">
            <h2>"Keyboard shortcuts"</h2>
            <dl class="keys">
                <dt><kbd class="kbd">"/"</kbd></dt><dd>"Search"</dd>
                <dt><kbd class="kbd">"c"</kbd></dt><dd>"Create"</dd>
                <dt><kbd class="kbd">"j"</kbd> " " <kbd class="kbd">"k"</kbd></dt><dd>"Next and previous row"</dd>
                <dt><kbd class="kbd">"Enter"</kbd></dt><dd>"Open the row"</dd>
                <dt><kbd class="kbd">"x"</kbd></dt><dd>"Choose the row"</dd>
                <dt><kbd class="kbd">"?"</kbd></dt><dd>"This list"</dd>
            </dl>
            <form method="dialog"><button class="button" type="submit">"Close"</button></form>
        </dialog>
    }
}

fn takes_keys(button: Element) {
    let Some(dialog) = button.next_element_sibling() else { return };
    let dialog: HtmlDialogElement = dialog.unchecked_into();
    show(&button);
    let opened = dialog.clone();
    listen(&button, "click", move |_| drop(opened.show_modal()));
    listen(&document(), "keydown", move |event| {
        let event: &KeyboardEvent = event.unchecked_ref();
        if !dialog.open() && !is_typing(event) && press(&event.key(), &dialog) {
            event.prevent_default();
        }
    });
}

/// Letters belong to the field that has the focus, and to the browser's own shortcuts.
fn is_typing(event: &KeyboardEvent) -> bool {
    let held = event.ctrl_key() || event.meta_key() || event.alt_key();
    let field = focused().is_some_and(|focused| focused.matches(FIELDS).unwrap_or(false));
    held || field
}

const FIELDS: &str = "input:not([type=checkbox]), textarea, select, [contenteditable]";

/// Whether the key means something on this page.
fn press(key: &str, dialog: &HtmlDialogElement) -> bool {
    let body = document().body();
    let on_page = |selector: &str| body.as_ref().and_then(|body| find(body, selector));
    let found = match key {
        "?" => return dialog.show_modal().is_ok(),
        "j" => row(1),
        "k" => row(-1),
        "/" => on_page("input[type=search]"),
        "c" => on_page(".page-actions .button.primary"),
        "x" => focused().and_then(|focused| find(&focused.closest("tr").ok()??, ".pick input")),
        _ => None,
    };
    let Some(found) = found else { return false };
    let found: HtmlElement = found.unchecked_into();
    if matches!(key, "c" | "x") {
        found.click()
    } else {
        drop(found.focus())
    }
    true
}

fn focused() -> Option<Element> {
    document().active_element()
}

/// The link of the row after or before the one that has the focus; the first when none has.
fn row(step: isize) -> Option<Element> {
    let body = document().body()?;
    let links = every(&body, "tbody .row-link");
    let row = focused().and_then(|focused| focused.closest("tr").ok()?);
    let here = row.and_then(|row| links.iter().position(|link| row.contains(Some(link))));
    let next = here.map_or(Some(0), |here| here.checked_add_signed(step))?;
    links.into_iter().nth(next)
}

fn every(within: &Element, selector: &str) -> Vec<Element> {
    let Ok(found) = within.query_selector_all(selector) else { return Vec::new() };
    (0..found.length()).filter_map(|index| found.item(index)).map(JsCast::unchecked_into).collect()
}

/// The element before the island that `inside` stands in directly.
fn before_island(inside: &Element) -> Option<Element> {
    inside.parent_element()?.previous_element_sibling()
}

/// For as long as the page lives.
fn listen(target: &EventTarget, event: &str, act: impl FnMut(Event) + 'static) {
    let closure = Closure::<dyn FnMut(Event)>::new(act).into_js_value();
    drop(target.add_event_listener_with_callback(event, closure.unchecked_ref()));
}

fn find(within: &Element, selector: &str) -> Option<Element> {
    within.query_selector(selector).ok()?
}

fn show(element: &Element) {
    drop(element.remove_attribute("hidden"));
}

fn set(element: &Element, attribute: &str, value: &str) {
    drop(element.set_attribute(attribute, value));
}

fn write(within: &Element, selector: &str, text: &str) {
    if let Some(found) = find(within, selector) {
        found.set_text_content(Some(text));
    }
}

/// Gives the icon of a button its lines.
fn draw(button: &Element, path: &str) {
    if let Some(found) = find(button, "path") {
        set(&found, "d", path);
    }
}
