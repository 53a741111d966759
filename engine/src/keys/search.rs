//! Finding keys by a part of their name, a whole owner or a handle. Row security lets an index be searched only with
//! operators that leak nothing about other tenants' rows, and LIKE is none: so a search walks the tenant's names, in an
//! index that holds all that it looks at.

use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use tronch_core::Handle;
use tronch_core::bounds::SEARCH_CHARACTERS_MAX;
use uuid::Uuid;

use super::sql::{KeyQuery, visible};
use crate::error::Error;
use crate::schema::keys;
use crate::tenancy::{TenantTx, set_config};

/// As long as no more keys match, they are fetched by their ids, in whatever order is asked for. When more match, a walk
/// in that order soon meets enough of them.
const FEW: usize = 1000;

diesel::define_sql_function! {
    /// Postgres's own.
    fn lower(text: diesel::sql_types::Text) -> diesel::sql_types::Text;
}

/// Which keys match.
pub(super) enum Found {
    /// These.
    Few(Vec<Uuid>),
    /// Too many to name.
    Many(String),
}

/// Looks for keys of the tenant, other filters apart.
pub(super) async fn find(transaction: &mut TenantTx, search: &str) -> Result<Found, Error> {
    if search.chars().count() > SEARCH_CHARACTERS_MAX {
        return Err(Error::invalid("search", format!("a search has at most {SEARCH_CHARACTERS_MAX} characters")));
    }
    plan(transaction, [("enable_seqscan", "off"), ("enable_bitmapscan", "off")]).await?;
    let mut ids: Vec<Uuid> = matching(visible(transaction), search)
        .order((keys::name_folded, keys::id))
        .limit(i64::try_from(FEW + 1).unwrap_or(i64::MAX))
        .select(keys::id)
        .load(transaction.connection())
        .await?;
    if ids.len() > FEW {
        plan(transaction, [("enable_bitmapscan", "off"), ("enable_sort", "off")]).await?;
        return Ok(Found::Many(search.to_owned()));
    }
    // A name may look like a handle, so both are looked for.
    if let Ok(handle) = search.parse::<Handle>() {
        let query = visible(transaction).filter(keys::handle.eq(handle.to_string())).select(keys::id);
        ids.extend(query.first::<Uuid>(transaction.connection()).await.optional()?);
    }
    plan(transaction, [("enable_bitmapscan", "on"), ("enable_indexscan", "off")]).await?;
    Ok(Found::Few(ids))
}

/// Only the keys that were found.
pub(super) fn among<'a>(query: KeyQuery<'a>, found: &Found) -> KeyQuery<'a> {
    match found {
        Found::Few(ids) => query.filter(keys::id.eq_any(ids.clone())),
        Found::Many(search) => matching(query, search),
    }
}

fn matching<'a>(query: KeyQuery<'a>, search: &str) -> KeyQuery<'a> {
    // Postgres folds both sides, so that its idea of small letters is the only one.
    let pattern = lower(format!("%{}%", escape_like(search)));
    query.filter(keys::name_folded.like(pattern).or(keys::owner_external_id.eq(search.to_owned())))
}

fn escape_like(text: &str) -> String {
    text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_")
}

/// Tells the planner how to go, for this transaction. By itself it takes the policy for one more condition that few rows
/// meet: it would read the table of all tenants from one end to the other, sort what it thinks are a handful of rows, or
/// walk an order from the beginning where it knows the ids.
async fn plan(transaction: &mut TenantTx, settings: [(&'static str, &'static str); 2]) -> Result<(), Error> {
    let [first, second] = settings.map(|(setting, value)| set_config(setting, value, true));
    let _settings: (String, String) = diesel::select((first, second)).get_result(transaction.connection()).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_means_something_to_like_is_looked_for_as_it_stands() {
        assert_eq!(escape_like(r"100%_\"), r"100\%\_\\");
    }
}
