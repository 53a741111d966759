//! The filters of the audit log as they stand in the address. Which events match is the engine's business.

use tronch_core::bounds::PAGE_SIZE_DEFAULT;
use tronch_core::{TenantSlug, Timestamp, parse_timestamp};
use tronch_engine::Error;
use tronch_engine::audit::AuditFilter;

use crate::form_state::datetime_local;

/// The query of `/t/{tenant}/audit`, in the order of the form.
pub(super) const FILTERS: [(&str, &str); 5] =
    [("action", "Action"), ("actor", "Actor"), ("target", "Target"), ("from", "From"), ("until", "Until")];

/// What the address asks for, as text.
#[derive(Clone)]
pub struct AuditQuery(Vec<(&'static str, String)>);

impl AuditQuery {
    /// Takes what an address or a form says; what is empty is not there.
    pub fn read(get: impl Fn(&str) -> Option<String>) -> Self {
        let filled = FILTERS.iter().map(|(name, _)| *name).chain(["cursor"]).filter_map(|name| {
            let value = get(name)?.trim().to_owned();
            (!value.is_empty()).then_some((name, value))
        });
        Self(filled.collect())
    }

    /// The page that shows this.
    pub fn address(&self, tenant: &TenantSlug) -> String {
        self.address_with(tenant, |_| true, None)
    }

    pub(super) fn is_filtered(&self) -> bool {
        !self.0.is_empty()
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(field, _)| *field == name).map(|(_, value)| value.as_str())
    }

    /// The same with some of it left out and one thing added.
    pub(super) fn address_with(
        &self,
        tenant: &TenantSlug,
        keep: impl Fn(&str) -> bool,
        add: Option<(&str, &str)>,
    ) -> String {
        let mut text = form_urlencoded::Serializer::new(String::new());
        for (name, value) in self.0.iter().filter(|(name, _)| keep(name)) {
            text.append_pair(name, value);
        }
        if let Some((name, value)) = add {
            text.append_pair(name, value);
        }
        format!("/t/{tenant}/audit?{}", text.finish())
    }

    /// From when until when, as fields for times take it; what is no time is left out.
    pub(super) fn span(&self) -> (String, String) {
        let field = |time: Result<Option<Timestamp>, Error>| datetime_local(time.unwrap_or_default());
        (field(time("from", self.get("from"))), field(end("until", self.get("until"))))
    }

    pub(super) fn filter(&self) -> Result<AuditFilter, Error> {
        let text = |name| self.get(name).map(ToOwned::to_owned);
        Ok(AuditFilter {
            action: text("action"),
            actor_id: text("actor"),
            target_id: text("target"),
            from: time("from", self.get("from"))?,
            until: end("until", self.get("until"))?,
            cursor: text("cursor"),
            limit: PAGE_SIZE_DEFAULT,
        })
    }
}

/// A day through its end, or a day and a time.
fn end(field: &'static str, text: Option<&str>) -> Result<Option<Timestamp>, Error> {
    let is_day = text.is_some_and(|text| text.len() == "2027-01-31".len());
    let day = if is_day { std::time::Duration::from_secs(86_400) } else { std::time::Duration::ZERO };
    Ok(time(field, text)?.map(|time| time + day))
}

/// A day, or a day and a time, in UTC.
fn time(field: &'static str, text: Option<&str>) -> Result<Option<Timestamp>, Error> {
    let Some(text) = text else { return Ok(None) };
    let forms = [text.to_owned(), format!("{text}Z"), format!("{text}:00Z"), format!("{text}T00:00:00Z")];
    let parsed = forms.iter().find_map(|text| parse_timestamp(text).ok());
    let message = "write a day, such as 2027-01-31, or a day and a time".to_owned();
    parsed.map(Some).ok_or(Error::Invalid { field, message })
}
