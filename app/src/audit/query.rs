//! The filters of the audit log as they stand in the address. Which events match is the engine's business.

use tronch_core::bounds::PAGE_SIZE_DEFAULT;
use tronch_core::{TenantSlug, Timestamp, parse_timestamp};
use tronch_engine::Error;
use tronch_engine::audit::AuditFilter;

use crate::form_state::datetime_local;

/// The query of `/t/{tenant}/audit`, in the order of the form.
pub(super) const FILTERS: [(&str, &str); 5] =
    [("action", "What"), ("actor", "By"), ("target", "About"), ("from", "From"), ("until", "Until")];

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
        // An id is looked for by an index, anything else as an id or in names; of a key that was pasted its handle is left.
        let handle = text("target").and_then(|text| text.strip_prefix("tronch_")?.rsplit('_').next()?.parse().ok());
        Ok(AuditFilter {
            action: text("action"),
            actor_id: text("actor").filter(|text| is_id(text)),
            actor: text("actor").filter(|text| !is_id(text)),
            target_id: text("target").filter(|text| is_id(text)),
            target: text("target").filter(|text| !is_id(text) && handle.is_none()),
            target_handle: handle,
            from: time("from", self.get("from"))?,
            until: end("until", self.get("until"))?,
            cursor: text("cursor"),
            limit: PAGE_SIZE_DEFAULT,
        })
    }
}

/// Whether a text looks like an id of ours, such as `key_01h2xcejqtf2nbrexx3vqjhp41`.
fn is_id(text: &str) -> bool {
    let is_digits =
        |id: &str| id.len() == 26 && id.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    text.split_once('_').is_some_and(|(kind, id)| kind.bytes().all(|byte| byte.is_ascii_lowercase()) && is_digits(id))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_an_id_or_a_key_is_one_and_all_else_is_a_name() {
        let filter = |text: &str| AuditQuery::read(|name| (name == "target").then(|| text.to_owned())).filter();
        let of = |text: &str| {
            let AuditFilter { target_id, target, target_handle, .. } = filter(text).expect("a filter");
            (target_id, target, target_handle.map(|handle| handle.to_string()))
        };
        let some = |text: &str| Some(text.to_owned());
        let id = "key_01h2xcejqtf2nbrexx3vqjhp41";
        assert_eq!(of(id), (some(id), None, None));
        for name in ["billing", "key_01", "Key_01h2xcejqtf2nbrexx3vqjhp41", "a_b", "tronch_sk_live_short"] {
            assert_eq!(of(name), (None, some(name), None));
        }
        assert_eq!(of("tronch_sk_live_0Uz3kQ9aB12"), (None, None, some("0Uz3kQ9aB12")));
    }
}
