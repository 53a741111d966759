//! What a refused form looks like when its page is shown again: the typed values and the errors beside their fields.
//! Passwords are never part of it.

use leptos::prelude::*;
use tronch_core::{KeyView, Timestamp, TokenView, format_timestamp};
use tronch_engine::{Error, new_form_word};

use crate::people::ShownLink;

/// The outcome of a form, provided as context to the page that shows it again.
#[derive(Debug, Clone, Default)]
pub struct FormState {
    values: Vec<(&'static str, String)>,
    field_errors: Vec<(&'static str, String)>,
    error: Option<String>,
    notes: Vec<String>,
}

impl FormState {
    /// Keeps what was typed, by field.
    pub fn with_values(values: Vec<(&'static str, String)>) -> Self {
        Self { values, ..Self::default() }
    }

    /// Adds a sentence beside a field.
    pub fn refuse(&mut self, field: &'static str, message: impl ToString) {
        self.field_errors.push((field, message.to_string()));
    }

    /// Adds a verb's refusal, beside its field where it names one.
    pub fn refuse_with(&mut self, error: &Error) {
        match error.field() {
            Some(field) => self.field_errors.push((field, sentence_of(error))),
            None => self.error = Some(sentence_of(error)),
        }
    }

    /// A parsed field's value; its error goes beside the field.
    pub fn take<T, E: std::fmt::Display>(&mut self, field: &'static str, parsed: Result<T, E>) -> Option<T> {
        parsed.map_err(|error| self.refuse(field, capitalised(&error.to_string()))).ok()
    }

    /// Whether anything was refused.
    pub fn is_refused(&self) -> bool {
        self.error.is_some() || !self.field_errors.is_empty()
    }

    /// Says something about what was typed, which is shown again without being refused.
    pub fn note(&mut self, notes: Vec<String>) {
        self.notes = notes;
    }

    /// What is said about it.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Whether what was typed is shown again.
    pub fn is_shown_again(&self) -> bool {
        self.is_refused() || !self.notes.is_empty()
    }

    /// What was typed into a field, or nothing.
    pub fn value(&self, field: &str) -> String {
        self.values.iter().find(|(name, _)| *name == field).map(|(_, value)| value.clone()).unwrap_or_default()
    }

    /// What was typed into a field of a form that is shown again, or what stands there at first.
    pub fn value_or(&self, field: &str, first: impl Into<String>) -> String {
        if self.is_shown_again() { self.value(field) } else { first.into() }
    }

    /// The sentence beside a field.
    pub fn field_error(&self, field: &str) -> Option<String> {
        self.field_errors.iter().find(|(name, _)| *name == field).map(|(_, message)| message.clone())
    }

    /// The sentence above the form.
    pub fn error(&self) -> Option<String> {
        self.error.clone()
    }
}

/// Makes a form do once what it does, however often it is sent.
#[component]
pub(crate) fn OnceField() -> impl IntoView {
    view! { <input type="hidden" name="once" value=new_form_word() /> }
}

/// The refusal as a sentence for people: a capital first, a full stop last.
pub(crate) fn sentence_of(error: &Error) -> String {
    let text = match error {
        Error::Invalid { message, .. } => message.clone(),
        other => other.to_string(),
    };
    capitalised(&text)
}

/// A time as a field for times takes it, in UTC.
pub(crate) fn datetime_local(time: Option<Timestamp>) -> String {
    time.map(|time| format_timestamp(time).trim_end_matches('Z').trim_end_matches(".000").to_owned())
        .unwrap_or_default()
}

/// The text with a capital first.
pub(crate) fn with_capital(text: &str) -> String {
    let mut characters = text.chars();
    let first = characters.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}", characters.as_str())
}

fn capitalised(text: &str) -> String {
    let text = with_capital(text);
    if text.ends_with(['.', '!', '?']) { text } else { format!("{text}.") }
}

/// A credential that was just made, provided as context to the one page that shows it.
#[derive(Clone)]
pub struct ShownSecret {
    /// The whole secret; nothing when the same form made it before, for then it was shown.
    pub secret: Option<String>,
    /// What it belongs to.
    pub of: SecretOf,
}

/// What a shown secret belongs to.
#[derive(Clone)]
pub enum SecretOf {
    /// A new key.
    Key(KeyView),
    /// The successor of a rotated key.
    Rotation {
        /// The new key.
        successor: KeyView,
        /// The old key, with the end of its grace.
        predecessor: Box<KeyView>,
        /// Which nodes go by that.
        confirmed: Option<String>,
    },
    /// A new service token.
    Token(TokenView),
    /// The successor of a rotated service token.
    RotatedToken {
        /// The new token.
        successor: TokenView,
        /// The old one, with its end.
        predecessor: Box<TokenView>,
    },
}

/// How a form was answered, for the page that is rendered next.
#[derive(Clone)]
pub enum Answer {
    /// Refused: shown again.
    Refused(FormState),
    /// A secret was made: shown once.
    Secret(Box<ShownSecret>),
    /// A link was made: shown once.
    Link(Box<ShownLink>),
}
