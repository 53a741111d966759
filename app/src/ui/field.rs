//! One field of a form: label, hint, control and error, tied together for those who cannot see them.

use leptos::prelude::*;

use super::escape::escaped;

/// What every field has. Its id is its name, unless a page has several fields of that name.
struct Frame {
    id: String,
    label: String,
    required: bool,
    hint: Option<String>,
    error: Option<String>,
}

impl Frame {
    /// The ids of what describes the control, for `aria-describedby`.
    fn described_by(&self) -> Option<String> {
        let id = &self.id;
        let hint = self.hint.as_ref().map(|_| format!("{id}-hint"));
        let error = self.error.as_ref().map(|_| format!("{id}-error"));
        let ids: Vec<String> = [hint, error].into_iter().flatten().collect();
        (!ids.is_empty()).then(|| ids.join(" "))
    }

    /// For `aria-invalid`.
    fn invalid(&self) -> Option<&'static str> {
        self.error.as_ref().map(|_| "true")
    }

    fn around(self, control: impl IntoView) -> impl IntoView {
        let Self { id, label, required, hint, error } = self;
        view! {
            <div class="field">
                <label for=id.clone()>
                    {label} {(!required).then(|| view! { <span class="muted">" (optional)"</span> })}
                </label>
                {hint.map(|hint| view! { <p class="hint" id=format!("{id}-hint")>{hint}</p> })}
                {control}
                {error.map(|error| view! { <p class="field-error" id=format!("{id}-error")>{error}</p> })}
            </div>
        }
    }
}

/// A line of text.
#[component]
pub fn TextField(
    #[prop(into)] name: String,
    #[prop(into)] label: String,
    #[prop(optional, into)] value: String,
    #[prop(optional, into)] hint: Option<String>,
    #[prop(default = None)] error: Option<String>,
    /// `text`, `email`, `search`, `number` …
    #[prop(default = "text")]
    input_type: &'static str,
    #[prop(default = "off")] autocomplete: &'static str,
    #[prop(optional, into)] placeholder: Option<String>,
    #[prop(optional)] maxlength: Option<u16>,
    #[prop(optional)] required: bool,
    #[prop(optional)] autofocus: bool,
    /// Digits and letters of one width.
    #[prop(optional)]
    mono: bool,
    /// What a number or a time may be a multiple of; `any` is anything.
    #[prop(optional)]
    step: Option<&'static str>,
) -> impl IntoView {
    let frame = Frame { id: name.clone(), label, required, hint, error };
    let control = view! {
        <input
            id=name.clone()
            name=name
            type=input_type
            step=step
            class=if mono { "input mono" } else { "input" }
            value=value
            autocomplete=autocomplete
            placeholder=placeholder
            maxlength=maxlength
            required=required
            autofocus=autofocus || frame.error.is_some()
            spellcheck=mono.then_some("false")
            aria-describedby=frame.described_by()
            aria-invalid=frame.invalid()
        />
    };
    frame.around(control)
}

/// A day and a time in UTC, as all times on these pages are; never required.
#[component]
pub fn TimeField(
    #[prop(into)] name: String,
    #[prop(into)] label: String,
    /// As `datetime-local` takes it.
    #[prop(optional, into)]
    value: String,
    /// What is to be said beside that it is a day and a time.
    #[prop(optional, into)]
    hint: Option<String>,
    #[prop(default = None)] error: Option<String>,
) -> impl IntoView {
    let hint = format!("A day and a time. {}", hint.unwrap_or_default()).trim_end().to_owned();
    // To the minute for whoever chooses, but seconds that are there already are no mistake.
    view! { <TextField name label=format!("{label} (UTC)") value hint error input_type="datetime-local" step="any" /> }
}

/// A password: never filled in again.
#[component]
pub fn PasswordField(
    #[prop(into)] name: String,
    #[prop(into)] label: String,
    #[prop(optional, into)] hint: Option<String>,
    #[prop(default = None)] error: Option<String>,
    /// Whether the browser asks for it; what is asked for in some cases alone, the server asks for.
    #[prop(default = true)]
    required: bool,
    /// Where a page has several.
    #[prop(optional, into)]
    id: Option<String>,
    autocomplete: &'static str,
) -> impl IntoView {
    let id = id.unwrap_or_else(|| name.clone());
    let frame = Frame { id: id.clone(), label, required: true, hint, error };
    let control = view! {
        <input
            id=id
            name=name
            type="password"
            class="input"
            autocomplete=autocomplete
            required=required
            aria-describedby=frame.described_by()
            aria-invalid=frame.invalid()
        />
    };
    frame.around(control)
}

/// Several lines of text.
#[component]
pub fn TextArea(
    #[prop(into)] name: String,
    #[prop(into)] label: String,
    #[prop(optional, into)] value: String,
    #[prop(optional, into)] hint: Option<String>,
    #[prop(default = None)] error: Option<String>,
    #[prop(default = 4)] rows: u16,
    #[prop(optional, into)] placeholder: Option<String>,
    #[prop(optional)] required: bool,
    #[prop(optional)] mono: bool,
) -> impl IntoView {
    let frame = Frame { id: name.clone(), label, required, hint, error };
    // A browser drops one line break at the beginning; this one, so that none of the text's own is lost.
    let value = format!("\n{}", escaped(&value));
    let control = view! {
        <textarea
            id=name.clone()
            name=name
            class=if mono { "textarea mono" } else { "textarea" }
            rows=rows
            placeholder=placeholder
            required=required
            autofocus=frame.error.is_some()
            spellcheck=mono.then_some("false")
            aria-describedby=frame.described_by()
            aria-invalid=frame.invalid()
        >
            {value}
        </textarea>
    };
    frame.around(control)
}

/// One of several: values and labels, in their order.
#[component]
pub fn SelectField(
    #[prop(into)] name: String,
    #[prop(into)] label: String,
    #[prop(optional, into)] value: String,
    options: Vec<(String, String)>,
    #[prop(optional, into)] hint: Option<String>,
    #[prop(default = None)] error: Option<String>,
    /// A list always has a value, so it is not marked optional unless you say so. The browser is not told: to it a choice
    /// whose value is empty, such as "any", would be none.
    #[prop(default = true)]
    required: bool,
) -> impl IntoView {
    let frame = Frame { id: name.clone(), label, required, hint, error };
    let options: Vec<_> = options
        .into_iter()
        .map(|(option, label)| {
            let selected = option == value;
            view! { <option value=option selected=selected>{label}</option> }
        })
        .collect();
    let control = view! {
        <select
            id=name.clone()
            name=name
            class="select"
            autofocus=frame.error.is_some()
            aria-describedby=frame.described_by()
            aria-invalid=frame.invalid()
        >
            {options}
        </select>
    };
    frame.around(control)
}

/// Yes or no. What is sent for yes is `value`; a name may stand for several boxes, so the id follows from both.
#[component]
pub fn CheckboxField(
    #[prop(into)] name: String,
    #[prop(into)] label: String,
    #[prop(default = "on".to_owned(), into)] value: String,
    #[prop(optional)] checked: bool,
    #[prop(optional, into)] hint: Option<String>,
    #[prop(default = None)] error: Option<String>,
    #[prop(optional)] required: bool,
) -> impl IntoView {
    let id = if value == "on" { name.clone() } else { format!("{name}-{value}") };
    let frame = Frame { id: id.clone(), label, required, hint, error };
    let (described_by, invalid) = (frame.described_by(), frame.invalid());
    let Frame { label, hint, error, .. } = frame;
    view! {
        <div class="checkbox">
            <input
                id=id.clone()
                name=name
                type="checkbox"
                value=value
                checked=checked
                required=required
                aria-describedby=described_by
                aria-invalid=invalid
            />
            <label for=id.clone()>{label}</label>
            {hint.map(|hint| view! { <p class="hint" id=format!("{id}-hint")>{hint}</p> })}
            {error.map(|error| view! { <p class="field-error" id=format!("{id}-error")>{error}</p> })}
        </div>
    }
}
