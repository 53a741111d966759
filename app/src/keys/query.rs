//! What the table of keys shows, as its address says it. Every filter, order and page is a link.

use tronch_core::bounds::PAGE_SIZE_DEFAULT;
use tronch_core::{Environment, ExternalId, KeyState, ProjectSlug, TenantSlug};
use tronch_engine::Error;
use tronch_engine::keys::{Condition, KeyFilter, KeyOrder, KeysOf};

use crate::ui::table::SortDirection;

/// The query of `/t/{tenant}/keys`, as text: what cannot be taken is refused when it becomes a filter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeysQuery {
    /// Part of a name, or an owner, or a handle.
    pub search: Option<String>,
    /// A project's slug.
    pub project: Option<String>,
    /// `test` or `live`.
    pub environment: Option<String>,
    /// A word of [`STATUSES`].
    pub status: Option<String>,
    /// An owner's external id.
    pub owner: Option<String>,
    /// `created`, `name`, `used` or `ends`; with a minus before it, the last first.
    pub sort: Option<String>,
    /// Where the page begins.
    pub cursor: Option<String>,
    /// Where the pages before this one began, joined by commas; the first page has none.
    pub before: Option<String>,
}

const NEWEST_FIRST: &str = "-created";

/// What a status filter looks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    State(KeyState),
    Condition(Condition),
}

/// Every status there is to filter by: its word in the address, and for people.
pub(super) const STATUSES: [(&str, &str, Status); 7] = [
    ("active", "Active", Status::State(KeyState::Active)),
    ("expires-soon", "Expires soon", Status::Condition(Condition::ExpiresSoon)),
    ("rotating", "Rotating", Status::Condition(Condition::Rotating)),
    ("unused", "Unused", Status::Condition(Condition::Unused)),
    ("disabled", "Disabled", Status::State(KeyState::Disabled)),
    ("revoked", "Revoked", Status::State(KeyState::Revoked)),
    ("expired", "Expired", Status::State(KeyState::Expired)),
];

fn status_of(text: &str) -> Result<Status, &'static str> {
    let found = STATUSES.iter().find(|(word, ..)| *word == text);
    found.map(|(.., status)| *status).ok_or("a status is one of the list")
}

impl KeysQuery {
    /// Reads decoded pairs; what is empty or not known is left out.
    pub fn of_pairs(pairs: &[(String, String)]) -> Self {
        let mut query = Self::default();
        for (name, value) in pairs.iter().filter(|(_, value)| !value.trim().is_empty()) {
            if let Some(field) = query.field(name) {
                *field = Some(value.trim().to_owned());
            }
        }
        query
    }

    fn field(&mut self, name: &str) -> Option<&mut Option<String>> {
        Some(match name {
            "q" => &mut self.search,
            "project" => &mut self.project,
            "environment" => &mut self.environment,
            "status" => &mut self.status,
            "owner" => &mut self.owner,
            "sort" => &mut self.sort,
            "cursor" => &mut self.cursor,
            "before" => &mut self.before,
            _ => return None,
        })
    }

    fn pairs(&self) -> [(&'static str, &Option<String>); 8] {
        [
            ("q", &self.search),
            ("project", &self.project),
            ("environment", &self.environment),
            ("status", &self.status),
            ("owner", &self.owner),
            ("sort", &self.sort),
            ("cursor", &self.cursor),
            ("before", &self.before),
        ]
    }

    /// The address that shows this.
    pub fn address(&self, tenant: &TenantSlug) -> String {
        let mut text = form_urlencoded::Serializer::new(String::new());
        for (name, value) in self.pairs() {
            if let Some(value) = value {
                text.append_pair(name, value);
            }
        }
        match text.finish() {
            text if text.is_empty() => format!("/t/{tenant}/keys"),
            text => format!("/t/{tenant}/keys?{text}"),
        }
    }

    /// The same filters and order from the first page on.
    pub(super) fn first_page(&self) -> Self {
        Self { cursor: None, before: None, ..self.clone() }
    }

    pub(super) fn without(&self, name: &str) -> Self {
        let mut query = self.first_page();
        if let Some(field) = query.field(name) {
            *field = None;
        }
        query
    }

    pub(super) fn sorted_by(&self, column: &str, direction: SortDirection) -> Self {
        let sign = if direction == SortDirection::Descending { "-" } else { "" };
        let sort = format!("{sign}{column}");
        Self { sort: (sort != NEWEST_FIRST).then_some(sort), ..self.first_page() }
    }

    /// The page that begins at `cursor`, remembering the way back.
    pub(super) fn next_page(&self, cursor: String) -> Self {
        let here = self.cursor.clone().unwrap_or_default();
        let before = match &self.before {
            Some(before) => format!("{before},{here}"),
            None => here,
        };
        let before = if before.is_empty() { "first".to_owned() } else { before };
        Self { cursor: Some(cursor), before: Some(before), ..self.clone() }
    }

    /// The page before this one, where there is one.
    pub(super) fn previous_page(&self) -> Option<Self> {
        let before = self.before.as_deref()?;
        let (earlier, cursor) = match before.rsplit_once(',') {
            Some((earlier, cursor)) => (Some(earlier.to_owned()), Some(cursor.to_owned())),
            None => (None, (before != "first").then(|| before.to_owned())),
        };
        Some(Self { cursor, before: earlier, ..self.clone() })
    }

    /// The column sorted by, and how.
    pub(super) fn sorting(&self) -> (String, SortDirection) {
        let sort = self.sort.as_deref().unwrap_or(NEWEST_FIRST);
        match sort.strip_prefix('-') {
            Some(column) => (column.to_owned(), SortDirection::Descending),
            None => (sort.to_owned(), SortDirection::Ascending),
        }
    }

    /// Whether anything is hidden by a filter.
    pub(super) fn is_filtered(&self) -> bool {
        self.pairs().iter().take(5).any(|(_, value)| value.is_some())
    }

    /// All keys of the owner, project and environment it names, whatever else it says.
    ///
    /// # Errors
    /// `Invalid` for a value that cannot be one.
    pub fn keys_of(&self) -> Result<KeysOf, Error> {
        Ok(KeysOf {
            project: parsed("project", self.project.as_deref(), ProjectSlug::parse)?,
            environment: parsed("environment", self.environment.as_deref(), str::parse::<Environment>)?,
            owner: parsed("owner", self.owner.as_deref(), ExternalId::parse)?,
        })
    }

    /// What the engine is asked.
    ///
    /// # Errors
    /// `Invalid` for a value that is on no list.
    pub(super) fn filter(&self) -> Result<KeyFilter, Error> {
        let (column, direction) = self.sorting();
        let order = match column.as_str() {
            "created" => KeyOrder::Created,
            "name" => KeyOrder::Name,
            "used" => KeyOrder::LastUsed,
            "ends" => KeyOrder::Ending,
            _ => return Err(invalid("sort", "keys are sorted by created, name, used or ends")),
        };
        let status = parsed("status", self.status.as_deref(), status_of)?;
        let (state, condition) = match status {
            None => (None, None),
            Some(Status::State(state)) => (Some(state), None),
            Some(Status::Condition(condition)) => (None, Some(condition)),
        };
        let KeysOf { project, environment, owner } = self.keys_of()?;
        Ok(KeyFilter {
            project,
            environment,
            state,
            condition,
            owner,
            search: self.search.clone(),
            order,
            descending: direction == SortDirection::Descending,
            cursor: self.cursor.clone(),
            limit: PAGE_SIZE_DEFAULT,
        })
    }
}

fn invalid(field: &'static str, message: impl ToString) -> Error {
    Error::Invalid { field, message: message.to_string() }
}

fn parsed<T, E: std::fmt::Display>(
    field: &'static str,
    text: Option<&str>,
    parse: impl Fn(&str) -> Result<T, E>,
) -> Result<Option<T>, Error> {
    text.map(|text| parse(text).map_err(|error| invalid(field, error))).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant() -> TenantSlug {
        TenantSlug::parse("acme").expect("a slug")
    }

    #[test]
    fn an_address_says_what_is_shown_and_only_that() {
        assert_eq!(KeysQuery::default().address(&tenant()), "/t/acme/keys");
        let pairs = [("q", " Zoë & co "), ("status", "active"), ("owner", ""), ("colour", "red")];
        let pairs: Vec<_> = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let query = KeysQuery::of_pairs(&pairs);
        assert_eq!(query.address(&tenant()), "/t/acme/keys?q=Zo%C3%AB+%26+co&status=active");
        assert!(query.is_filtered() && !query.without("q").without("status").is_filtered());
    }

    #[test]
    fn pages_know_the_way_back() {
        let first = KeysQuery { status: Some("active".to_owned()), ..KeysQuery::default() };
        assert_eq!(first.previous_page(), None);
        let second = first.next_page("b".to_owned());
        let third = second.next_page("c".to_owned());
        let fourth = third.next_page("d".to_owned());
        assert_eq!(fourth.previous_page().as_ref(), Some(&third));
        assert_eq!(third.previous_page().as_ref(), Some(&second));
        assert_eq!(second.previous_page(), Some(first));
    }

    #[test]
    fn what_is_on_no_list_is_refused() {
        let refused = |name: &str, value: &str| {
            let query = KeysQuery::of_pairs(&[(name.to_owned(), value.to_owned())]);
            query.filter().err().and_then(|error| error.field())
        };
        assert_eq!(refused("status", "sleeping"), Some("status"));
        assert_eq!(refused("environment", "production"), Some("environment"));
        assert_eq!(refused("sort", "colour"), Some("sort"));
        assert_eq!(refused("sort", "-used"), None);
    }
}
