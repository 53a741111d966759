//! Listing keys: filters, orders and pages. Each page begins after the last row of the one before, never at an offset.

use chrono::TimeDelta;
use diesel::dsl::sql as raw;
use diesel::expression::SqlLiteral;
use diesel::prelude::*;
use diesel::sql_types::Timestamptz;
use tronch_core::bounds::{EXPIRES_SOON_DAYS, PAGE_SIZE_MAX, UNUSED_DAYS, UNUSED_FROM_THE_START_DAYS};
use tronch_core::{Environment, ExternalId, KeyState, KeyView, Page, Permission, PresentedKey, ProjectSlug, Timestamp};

use super::rows::KeyRow;
use super::search::{self, Found};
use super::sql::{self, KeyQuery};
use crate::clock;
use crate::cursor::Cursor;
use crate::error::Error;
use crate::schema::{keys, projects};
use crate::tenancy::{Tenant, TenantTx};

/// In which order keys are listed. The id decides between equals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KeyOrder {
    /// By when they were made.
    #[default]
    Created,
    /// By name, small and capital letters alike.
    Name,
    /// By last use; the unused count as used before all others.
    LastUsed,
    /// By their end; what never ends comes after all others.
    Ending,
}

impl KeyOrder {
    /// What cursors of the list in this order begin with.
    fn list(self) -> &'static str {
        match self {
            Self::Created => "keys-created",
            Self::Name => "keys-name",
            Self::LastUsed => "keys-used",
            Self::Ending => "keys-ends",
        }
    }
}

/// What to look for among the keys that work, beside their state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// Their own end is near.
    ExpiresSoon,
    /// They were replaced and still work, or would if they were enabled.
    Rotating,
    /// Nobody has used them for long.
    Unused,
}

/// Which keys are listed. Empty lists all.
#[derive(Debug, Clone, Default)]
pub struct KeyFilter {
    /// Only of this project.
    pub project: Option<ProjectSlug>,
    /// Only of this environment.
    pub environment: Option<Environment>,
    /// Only in this state.
    pub state: Option<KeyState>,
    /// Only those of which this holds.
    pub condition: Option<Condition>,
    /// Only issued to this owner.
    pub owner: Option<ExternalId>,
    /// Part of a name, an owner, a handle, or a whole key, of which only the handle is looked at.
    pub search: Option<String>,
    /// In which order.
    pub order: KeyOrder,
    /// The order turned round.
    pub descending: bool,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
    /// Rows of a page, 1–100.
    pub limit: u32,
}

/// One page of the tenant's keys.
///
/// # Errors
/// `Forbidden` without `keys.read`; `Invalid` for a limit, search or cursor that cannot be taken; `Unavailable`.
pub async fn list_keys(tenant: &Tenant, filter: &KeyFilter) -> Result<Page<KeyView>, Error> {
    tenant.require(Permission::KeysRead)?;
    if !(1..=PAGE_SIZE_MAX).contains(&filter.limit) {
        return Err(Error::invalid("limit", format!("a page has 1 to {PAGE_SIZE_MAX} rows")));
    }
    let search = filter.search.as_deref().map(str::trim).filter(|text| !text.is_empty());
    Error::refuse_nul("search", search)?;
    let mut transaction = tenant.begin().await?;
    let rows = match search.and_then(handle_of) {
        Some(handle) => sql::find_by_handle(&mut transaction, &handle).await?.into_iter().collect(),
        None => page(&mut transaction, filter, search).await?,
    };
    transaction.commit().await?;
    let limit = filter.limit as usize;
    let next_cursor = (rows.len() > limit).then(|| cursor_after(&rows[limit - 1].0, filter.order));
    let items: Result<Vec<KeyView>, Error> =
        rows.into_iter().take(limit).map(|(key, project)| key.view(tenant.slug(), &project)).collect();
    Ok(Page { items: items?, next_cursor })
}

/// The handle in a pasted key, or in a handle as it is shown (`tronch_sk_live_0abc…`).
fn handle_of(search: &str) -> Option<String> {
    if let Ok(key) = PresentedKey::parse(search) {
        return Some(key.handle().to_string());
    }
    let rest = ["tronch_sk_live_", "tronch_sk_test_"].iter().find_map(|prefix| search.strip_prefix(prefix))?;
    let handle: String = rest.trim_end_matches('…').chars().take(tronch_core::HANDLE_CHARACTERS).collect();
    handle.parse::<tronch_core::Handle>().ok().map(|handle| handle.to_string())
}

async fn page(
    transaction: &mut TenantTx,
    filter: &KeyFilter,
    search: Option<&str>,
) -> Result<Vec<(KeyRow, String)>, Error> {
    let found = match search {
        Some(search) => {
            let rare = filter.state.is_some_and(|state| state != KeyState::Active) || filter.condition.is_some();
            Some(search::find(transaction, search, rare || filter.owner.is_some()).await?)
        }
        None => None,
    };
    let query = narrowed(sql::visible(transaction), filter, found.as_ref());
    let query = after(query, filter)?;
    Ok(query.limit(i64::from(filter.limit) + 1).select((KeyRow::as_select(), projects::slug)).load(transaction).await?)
}

fn narrowed<'a>(mut query: KeyQuery<'a>, filter: &'a KeyFilter, found: Option<&Found>) -> KeyQuery<'a> {
    if let Some(project) = &filter.project {
        query = query.filter(projects::slug.eq(project.as_str()));
    }
    if let Some(environment) = filter.environment {
        query = query.filter(keys::environment.eq(environment.as_str()));
    }
    if let Some(owner) = &filter.owner {
        query = query.filter(keys::owner_external_id.eq(owner.as_str()));
    }
    let now = clock::now();
    query = match filter.state {
        None => query,
        Some(KeyState::Revoked) => query.filter(keys::revoked_at.is_not_null()),
        Some(KeyState::Disabled) => query.filter(keys::revoked_at.is_null()).filter(keys::disabled_at.is_not_null()),
        Some(KeyState::Expired) => {
            query.filter(keys::revoked_at.is_null()).filter(keys::disabled_at.is_null()).filter(keys::ends_at.le(now))
        }
        Some(KeyState::Active) => {
            query.filter(keys::revoked_at.is_null()).filter(keys::disabled_at.is_null()).filter(keys::ends_at.gt(now))
        }
    };
    query = match filter.condition {
        None => query,
        Some(condition) => meeting(query, condition, now),
    };
    if let Some(found) = found {
        query = search::among(query, found);
    }
    query
}

fn meeting(query: KeyQuery<'_>, condition: Condition, now: Timestamp) -> KeyQuery<'_> {
    let ago = |days| now - TimeDelta::days(days);
    let query = query.filter(keys::revoked_at.is_null()).filter(keys::ends_at.gt(now));
    match condition {
        Condition::ExpiresSoon => {
            let soon = now + TimeDelta::days(EXPIRES_SOON_DAYS);
            query.filter(keys::disabled_at.is_null()).filter(keys::ends_at.le(soon)).filter(keys::expires_at.le(soon))
        }
        Condition::Rotating => query.filter(keys::successor_id.is_not_null()),
        Condition::Unused => query.filter(keys::disabled_at.is_null()).filter(
            keys::used_at
                .le(ago(UNUSED_DAYS))
                .and(keys::last_used_at.is_not_null().or(keys::created_at.le(ago(UNUSED_FROM_THE_START_DAYS)))),
        ),
    }
}

/// Skips to where the last page ended; the first comparison is the one an index can use.
macro_rules! seek {
    ($query:expr, $column:expr, $value:expr, $id:expr, $descending:expr) => {
        if $descending {
            $query.filter($column.le($value)).filter($column.lt($value).or(keys::id.lt($id)))
        } else {
            $query.filter($column.ge($value)).filter($column.gt($value).or(keys::id.gt($id)))
        }
    };
}

macro_rules! ordered {
    ($query:expr, $column:expr, $descending:expr) => {
        if $descending {
            $query.order(($column.desc(), keys::id.desc()))
        } else {
            $query.order(($column.asc(), keys::id.asc()))
        }
    };
}

/// Orders the rows, beginning after the cursor.
fn after<'a>(query: KeyQuery<'a>, filter: &KeyFilter) -> Result<KeyQuery<'a>, Error> {
    let cursor = filter.cursor.as_deref().map(|text| Cursor::parse(filter.order.list(), text)).transpose()?;
    let down = filter.descending;
    Ok(match filter.order {
        KeyOrder::Created => {
            let query = match cursor.map(Cursor::time_and_id).transpose()? {
                None => query,
                Some((at, id)) => {
                    let at = at.ok_or(Error::InvalidCursor)?;
                    seek!(query, keys::created_at, at, id, down)
                }
            };
            ordered!(query, keys::created_at, down)
        }
        KeyOrder::LastUsed => {
            let query = match cursor.map(Cursor::time_and_id).transpose()? {
                None => query,
                Some((Some(at), id)) => seek!(query, keys::used_at, at, id, down),
                Some((None, id)) => seek!(query, keys::used_at, never_used(), id, down),
            };
            ordered!(query, keys::used_at, down)
        }
        KeyOrder::Ending => {
            let query = match cursor.map(Cursor::time_and_id).transpose()? {
                None => query,
                Some((Some(at), id)) => seek!(query, keys::ends_at, at, id, down),
                Some((None, id)) => seek!(query, keys::ends_at, never_ends(), id, down),
            };
            ordered!(query, keys::ends_at, down)
        }
        KeyOrder::Name => {
            let query = match cursor.map(Cursor::text_and_id).transpose()? {
                None => query,
                Some((name, id)) => seek!(query, keys::name_folded, name.clone(), id, down),
            };
            ordered!(query, keys::name_folded, down)
        }
    })
}

/// How `used_at` says "never"; chrono has no such time.
fn never_used() -> SqlLiteral<Timestamptz> {
    raw("'-infinity'::timestamptz")
}

/// How `ends_at` says "never".
fn never_ends() -> SqlLiteral<Timestamptz> {
    raw("'infinity'::timestamptz")
}

fn cursor_after(row: &KeyRow, order: KeyOrder) -> String {
    match order {
        KeyOrder::Created => Cursor::of_time(order.list(), Some(row.created_at), row.id),
        KeyOrder::LastUsed => Cursor::of_time(order.list(), row.last_used_at, row.id),
        KeyOrder::Ending => {
            let end = [row.expires_at, row.grace_ends_at].into_iter().flatten().min();
            Cursor::of_time(order.list(), end, row.id)
        }
        KeyOrder::Name => Cursor::of_text(order.list(), &row.name_folded, row.id),
    }
    .to_string()
}
