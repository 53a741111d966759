//! What a form sent: its fields, read once, with everything a page needs to be shown again. What fields mean is the
//! handlers' business.

use axum::extract::{Form, FromRequest, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::Response;
use tronch_app::FormState;
use tronch_core::{IdempotencyKey, Timestamp, parse_timestamp};
use tronch_engine::{Error, SentWrite, Tenant, members};
use zeroize::Zeroizing;

use super::Dashboard;

/// A form's fields and the request they came in.
pub(crate) struct Sent {
    pub(crate) parts: Parts,
    fields: Vec<(String, String)>,
}

impl FromRequest<Dashboard> for Sent {
    type Rejection = Response;

    async fn from_request(request: Request, dashboard: &Dashboard) -> Result<Self, Response> {
        let (parts, body) = request.into_parts();
        let request = Request::from_parts(parts.clone(), body);
        match Form::<Vec<(String, String)>>::from_request(request, dashboard).await {
            Ok(Form(fields)) => Ok(Self { parts, fields }),
            Err(rejection) => {
                let error = Error::UnreadableForm { why: rejection.body_text() };
                let mut response = dashboard.pages.refusal(parts, &dashboard.engine, error).await;
                // 413 for what is too large, 415 for what is no form, 400 for what cannot be read.
                *response.status_mut() = match rejection.status() {
                    StatusCode::UNPROCESSABLE_ENTITY => StatusCode::BAD_REQUEST,
                    status => status,
                };
                Err(response)
            }
        }
    }
}

impl Sent {
    /// The first field of a name, as it was typed; empty when there is none. Browsers end lines with CR LF.
    pub(crate) fn text(&self, name: &str) -> String {
        let value = self.fields.iter().find(|(field, _)| field == name);
        value.map(|(_, value)| value.replace("\r\n", "\n")).unwrap_or_default()
    }

    /// A password, byte for byte; empty when there is none.
    pub(crate) fn password(&self, name: &str) -> Zeroizing<String> {
        let value = self.fields.iter().find(|(field, _)| field == name);
        Zeroizing::new(value.map(|(_, value)| value.clone()).unwrap_or_default())
    }

    /// Every field as it was sent.
    pub(crate) fn pairs(&self) -> Vec<(String, String)> {
        self.fields.clone()
    }

    /// As [`Self::text`], nothing where nothing but spaces was typed.
    pub(crate) fn filled(&self, name: &str) -> Option<String> {
        Some(self.text(name)).filter(|text| !text.trim().is_empty())
    }

    /// Every field of a name.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.fields.iter().filter(move |(field, _)| field == name).map(|(_, value)| value.as_str())
    }

    /// The fields to show again if the form is refused; several of one name are joined by spaces.
    pub(crate) fn state(&self, names: &[&'static str]) -> FormState {
        FormState::with_values(names.iter().map(|name| (*name, self.all(name).collect::<Vec<_>>().join(" "))).collect())
    }

    /// The same place, once whoever is signed in has given their password again.
    pub(crate) async fn confirmed(&self, tenant: Tenant) -> Result<Tenant, Error> {
        members::confirm(tenant, self.password("password")).await
    }

    /// The tenant, in which this form does once what it does, however often it is sent: a reload sends it again.
    ///
    /// # Errors
    /// `Unavailable`.
    pub(crate) async fn once(&self, tenant: Tenant) -> Result<Tenant, Error> {
        let Ok(key) = IdempotencyKey::parse(&self.text("once")) else { return Ok(tenant) };
        // Whoever goes back and types something else wants something else, so what was typed is part of the route.
        let typed = form_urlencoded::Serializer::new(String::new()).extend_pairs(&self.fields).finish();
        let route = format!("{} {} {typed}", self.parts.method, self.parts.uri.path());
        tenant.once(&SentWrite { door: "dashboard", route: &route, key: &key, body: &[] }).await
    }

    /// As if it had been sent to the page above: for a form that stands there and has no address of its own to be shown
    /// again at.
    pub(crate) fn on_page_above(mut self) -> Self {
        if let Some(uri) = self.parts.uri.path().rsplit_once('/').and_then(|(page, _)| page.parse().ok()) {
            self.parts.uri = uri;
        }
        self
    }

    /// As if its page had been asked for with these fields: shown again, a page reads from its address what it is about.
    pub(crate) fn at_address_of(&mut self, names: &[&str]) {
        let asked = self.fields.iter().filter(|(name, _)| names.contains(&name.as_str()));
        let asked = form_urlencoded::Serializer::new(String::new()).extend_pairs(asked).finish();
        if let Ok(uri) = format!("{}?{asked}", self.parts.uri.path()).parse() {
            self.parts.uri = uri;
        }
    }

    /// When what the form changes was last changed, as far as whoever fills it in has seen.
    ///
    /// # Errors
    /// `UnreadableForm`: the field is the page's own, so nobody mistyped it, and to go on without it would overwrite what
    /// nobody has seen.
    pub(crate) fn seen(&self) -> Result<Option<Timestamp>, Error> {
        let seen = self.filled("seen").map(|text| parse_timestamp(&text)).transpose();
        seen.map_err(|error| Error::UnreadableForm { why: format!("its field seen {error}") })
    }

    /// A time typed into a `datetime-local` field, which is UTC on these pages. A sentence beside the field otherwise.
    pub(crate) fn time(&self, name: &'static str, state: &mut FormState) -> Result<Option<Timestamp>, ()> {
        let Some(text) = self.filled(name) else { return Ok(None) };
        parse_local(text.trim()).map(Some).ok_or_else(|| {
            state.refuse(name, "Write a day and a time in UTC, such as 2027-01-31T12:00.");
        })
    }
}

/// `2027-01-31T12:00`, with or without seconds, `Z` or an offset; a blank may stand for the T.
fn parse_local(text: &str) -> Option<Timestamp> {
    let text = text.replacen(' ', "T", 1);
    [text.clone(), format!("{text}Z"), format!("{text}:00Z")].iter().find_map(|text| parse_timestamp(text).ok())
}

#[cfg(test)]
mod tests {
    use tronch_core::format_timestamp;

    use super::*;

    #[test]
    fn times_are_utc_unless_they_say_otherwise() {
        let table = [
            ("2027-01-31T12:00", Some("2027-01-31T12:00:00.000Z")),
            ("2027-01-31 12:00", Some("2027-01-31T12:00:00.000Z")),
            ("2027-01-31T12:00:05", Some("2027-01-31T12:00:05.000Z")),
            ("2027-01-31T12:00:05.25", Some("2027-01-31T12:00:05.250Z")),
            ("2027-01-31T12:00:05Z", Some("2027-01-31T12:00:05.000Z")),
            ("2027-01-31T12:00:05+01:00", Some("2027-01-31T11:00:05.000Z")),
            ("2027-02-31T12:00", None),
            ("tomorrow", None),
        ];
        for (text, expected) in table {
            assert_eq!(parse_local(text).map(format_timestamp).as_deref(), expected, "{text}");
        }
    }
}
