//! Reading the query of an address strictly: what is unknown or stands twice is refused, never passed over.

use std::str::FromStr;

use axum::http::Uri;
use tronch_core::ErrorCode;
use tronch_core::bounds::{PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX};

use crate::doors::problem::Problem;

/// The fields of a query, each at most once.
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    /// # Errors
    /// `unknown_field`, and `invalid_field` for one that stands twice.
    pub(crate) fn read(uri: &Uri, known: &[&str]) -> Result<Self, Problem> {
        let mut fields: Vec<(String, String)> = Vec::new();
        for (name, value) in form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()) {
            if !known.contains(&name.as_ref()) {
                let detail = match known {
                    [] => "this address takes no query".to_owned(),
                    known => format!("no field of this name is known here; there is {}", known.join(", ")),
                };
                return Err(Problem::new(ErrorCode::UnknownField, detail).at_unknown(&name));
            }
            if fields.iter().any(|(before, _)| *before == name) {
                return Err(Problem::new(ErrorCode::InvalidField, "this field stands here twice").at(name));
            }
            fields.push((name.into_owned(), value.into_owned()));
        }
        Ok(Self(fields))
    }

    /// The text of a field.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str())
    }

    /// A field read by `parse`.
    pub(crate) fn field<T, E: ToString>(
        &self,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<Option<T>, Problem> {
        let refused = |error: E| Problem::new(ErrorCode::InvalidField, error.to_string()).at(name);
        self.text(name).map(parse).transpose().map_err(refused)
    }

    /// `limit`, 1–100.
    pub(crate) fn limit(&self) -> Result<u32, Problem> {
        let refused = || format!("a page has 1 to {PAGE_SIZE_MAX} rows");
        let limit = self.field("limit", |text| match u32::from_str(text) {
            Ok(limit) if (1..=PAGE_SIZE_MAX).contains(&limit) => Ok(limit),
            _ => Err(refused()),
        })?;
        Ok(limit.unwrap_or(PAGE_SIZE_DEFAULT))
    }

    /// `cursor`.
    pub(crate) fn cursor(&self) -> Option<String> {
        self.text("cursor").map(ToOwned::to_owned)
    }
}
