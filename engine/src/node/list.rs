//! The processes that answer, for operators; and removing what is over: rows of those that are gone, and of the change log
//! that everybody has read.

use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use tronch_core::Timestamp;

use crate::Engine;
use crate::error::Error;
use crate::schema::{change_log_head, nodes};
use crate::system;

/// How long after its last renewal a process is taken off the list: by then nothing lets it answer any more.
const GONE_SECONDS: u32 = 305;

/// How long a change is kept in the log. A process that is further behind forgets everything.
const LOG_MINUTES: u32 = 60;

/// A process that answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeView {
    /// The machine's name and the port.
    pub name: String,
    /// Of the product.
    pub version: String,
    /// When it began.
    pub started_at: Timestamp,
    /// When it was last heard of.
    pub renewed_at: Timestamp,
    /// Changes that it had not taken in when it was last heard of.
    pub behind: u64,
    /// The database's clock when this was read.
    pub now: Timestamp,
}

/// Every process that answers, or may still. By name.
///
/// This crosses tenants because a process answers for all of them.
///
/// # Errors
/// `Unavailable` when Postgres is.
pub async fn list_nodes(engine: &Engine) -> Result<Vec<NodeView>, Error> {
    let mut connection = engine.db().system().await?;
    let head: i64 = change_log_head::table.select(change_log_head::n).first(&mut connection).await?;
    let clock = diesel::dsl::sql::<diesel::sql_types::Timestamptz>("clock_timestamp()");
    let rows: Vec<(String, String, Timestamp, Timestamp, i64, Timestamp)> = nodes::table
        .select((nodes::name, nodes::version, nodes::started_at, nodes::renewed_at, nodes::applied, clock))
        .filter(nodes::renewed_at.gt(crate::clock::now() - chrono::TimeDelta::seconds(GONE_SECONDS.into())))
        .order((nodes::name, nodes::id))
        .load(&mut connection)
        .await?;
    let view = |(name, version, started_at, renewed_at, applied, now)| NodeView {
        name,
        version,
        started_at,
        renewed_at,
        behind: u64::try_from(head - applied).unwrap_or(0),
        now,
    };
    Ok(rows.into_iter().map(view).collect())
}

/// Removes processes that are gone, and changes that are an hour old. Returns how many of both.
///
/// This crosses tenants because a process answers for all of them.
///
/// # Errors
/// `Unavailable` when Postgres is.
#[expect(clippy::disallowed_methods, reason = "the head must say what is removed before it is, in one statement")]
pub async fn forget_old_changes(engine: &Engine) -> Result<usize, Error> {
    let mut connection = engine.db().system().await?;
    let gone = format!("renewed_at < clock_timestamp() - make_interval(secs => {GONE_SECONDS})");
    let nodes = system::delete_in_portions(&mut connection, "nodes", &gone).await?;
    // First the head: who reads meanwhile sees rows that are there still, or is told that they are not.
    let old = format!("logged_at < clock_timestamp() - make_interval(mins => {LOG_MINUTES})");
    let sql = format!(
        "UPDATE change_log_head SET pruned = greatest(pruned, (SELECT max(n) FROM change_log WHERE {old})) \
         WHERE EXISTS (SELECT FROM change_log WHERE {old})"
    );
    diesel::sql_query(sql).execute(&mut connection).await?;
    let pruned = "n <= (SELECT pruned FROM change_log_head)";
    Ok(nodes + system::delete_in_portions(&mut connection, "change_log", pruned).await?)
}
