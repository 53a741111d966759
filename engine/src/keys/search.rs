//! Finding keys by a part of their name, a whole owner or a handle. Row security lets an index be searched only with
//! operators that leak nothing about other tenants' rows, and LIKE is none: so a search walks the tenant's names, in an
//! index that holds all that it looks at; rows are read too where autovacuum has not come by since they changed.

use diesel::prelude::*;
use tronch_core::Handle;
use tronch_core::bounds::SEARCH_CHARACTERS_MAX;
use uuid::Uuid;

use super::sql::{KeyQuery, visible};
use crate::error::Error;
use crate::like::{holding, lower};
use crate::schema::keys;
use crate::tenancy::TenantTx;

/// As long as no more keys match, they are fetched by their ids, in whatever order is asked for. When more match, a walk
/// in that order soon meets enough of them.
const FEW: usize = 1000;

/// Which keys match.
pub(super) enum Found {
    /// These.
    Few(Vec<Uuid>),
    /// Too many to name.
    Many(Wanted),
}

/// What is looked for.
pub(super) struct Wanted {
    owner: String,
    /// For LIKE, in small letters, for which Postgres is asked once, not for each row.
    pattern: String,
}

/// Looks for keys of the tenant, other filters apart.
///
/// `narrowed` says that another filter leaves few keys: then those are read and sorted, even when many match.
pub(super) async fn find(transaction: &mut TenantTx, search: &str, narrowed: bool) -> Result<Found, Error> {
    if search.chars().count() > SEARCH_CHARACTERS_MAX {
        return Err(Error::invalid("search", format!("a search has at most {SEARCH_CHARACTERS_MAX} characters")));
    }
    // By itself the planner takes the policy for one more condition that few rows meet: it would read the table of all
    // tenants from one end to the other, sort what it thinks are a handful of rows, or walk an order from the beginning
    // where it knows the ids.
    transaction.plan([("seqscan", "off"), ("bitmapscan", "off")]).await?;
    let pattern: String = transaction.call(lower(holding(search))).get_result(transaction).await?;
    let wanted = Wanted { owner: search.to_owned(), pattern };
    // Nothing here that the index does not hold: then it alone is read, where all rows are old enough. What the caller may see is narrowed later.
    let mut ids: Vec<Uuid> = transaction
        .of(keys::table)
        .filter(keys::name_folded.like(&wanted.pattern).or(keys::owner_external_id.eq(&wanted.owner)))
        .order((keys::name_folded, keys::id))
        .limit(i64::try_from(FEW + 1).unwrap_or(i64::MAX))
        .select(keys::id)
        .load(transaction)
        .await?;
    if ids.len() > FEW {
        let sort = if narrowed { "on" } else { "off" };
        transaction.plan([("bitmapscan", sort), ("sort", sort)]).await?;
        return Ok(Found::Many(wanted));
    }
    // A name may look like a handle, so both are looked for.
    if let Ok(handle) = search.parse::<Handle>() {
        let query = visible(transaction).filter(keys::handle.eq(handle.to_string())).select(keys::id);
        ids.extend(query.first::<Uuid>(transaction).await.optional()?);
    }
    transaction.plan([("bitmapscan", "on"), ("indexscan", "off")]).await?;
    Ok(Found::Few(ids))
}

/// Only the keys that were found.
pub(super) fn among<'a>(query: KeyQuery<'a>, found: &Found) -> KeyQuery<'a> {
    match found {
        Found::Few(ids) => query.filter(keys::id.eq_any(ids.clone())),
        Found::Many(Wanted { owner, pattern }) => {
            query.filter(keys::name_folded.like(pattern.clone()).or(keys::owner_external_id.eq(owner.clone())))
        }
    }
}
