//! The change log and the list of nodes, as SQL: one statement renews a lease and tells what has changed.

use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{Array, BigInt, Binary, Bool, Double, Nullable, Text, Untyped, Uuid as SqlUuid};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use uuid::Uuid;

use super::NodeName;
use super::lease::AWAY;
use crate::error::Error;
use crate::keyring::TagKeyId;

/// When so much has changed, it is cheaper to forget everything than to read what. An import may be one number and many rows.
const CHANGES_END: i64 = 1_001;

/// A node that was not heard of for so long is not counted among those that share what is left of limits.
pub(super) const HEARD_OF_SECONDS: f64 = 5.0;

/// As [`AWAY`](super::lease::AWAY).
const AWAY_SECONDS: f64 = AWAY.as_secs() as f64;

/// What a change is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// One key, by its handle.
    Key,
    /// One service token, by its handle.
    Token,
    /// All of a project.
    Project,
    /// All of an owner.
    Owner,
    /// All of a tenant.
    Tenant,
    /// Which projects a tenant has.
    Projects,
    /// What is no key, of one kind.
    Namespace,
}

impl Kind {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "key" => Self::Key,
            "token" => Self::Token,
            "project" => Self::Project,
            "owner" => Self::Owner,
            "tenant" => Self::Tenant,
            "projects" => Self::Projects,
            "namespace" => Self::Namespace,
            _ => return None,
        })
    }
}

/// What Postgres said to a renewal.
pub(super) struct Renewal {
    /// The number of the last change.
    pub(super) head: u64,
    /// Which database this is, on which of its timelines, and since which restore.
    pub(super) lineage: String,
    /// Its clock, in Unix milliseconds.
    pub(super) clock_ms: i64,
    /// The id of the master secret that is in use.
    pub(super) current_master: Vec<u8>,
    /// Whether this node is on the list.
    pub(super) is_known: bool,
    /// Whether it was not heard of for longer than [`AWAY`].
    pub(super) was_away: bool,
    /// How many nodes were heard of lately.
    pub(super) nodes: u64,
    /// What has changed since; nothing when that is not known any more.
    pub(super) changes: Option<Vec<Logged>>,
}

/// A change as it is logged.
pub(super) struct Logged {
    pub(super) number: u64,
    pub(super) kind: Kind,
    pub(super) subject: String,
    /// When it was committed, give or take, in Unix milliseconds of the database.
    pub(super) at_ms: i64,
}

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = BigInt)]
    head: i64,
    #[diesel(sql_type = BigInt)]
    pruned: i64,
    #[diesel(sql_type = Text)]
    lineage: String,
    #[diesel(sql_type = BigInt)]
    clock_ms: i64,
    #[diesel(sql_type = Nullable<Binary>)]
    current_master: Option<Vec<u8>>,
    #[diesel(sql_type = Bool)]
    is_known: bool,
    #[diesel(sql_type = Bool)]
    was_away: bool,
    #[diesel(sql_type = BigInt)]
    nodes: i64,
    #[diesel(sql_type = Nullable<BigInt>)]
    n: Option<i64>,
    #[diesel(sql_type = Nullable<Text>)]
    kind: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    subject: Option<String>,
    #[diesel(sql_type = Nullable<BigInt>)]
    at_ms: Option<i64>,
}

/// One statement, so that the head and the changes belong together; the log is looked at only when the head has moved, for
/// a large change that is still committing has many rows there that nobody may see yet. A server that only follows another
/// refuses: it may be behind.
///
/// Diesel's `sql_query` has each statement prepared anew, and all others on its connection wait meanwhile. Where Postgres is
/// far away, renewals would stand in line. This one is prepared once.
///
/// `known` is the database that `applied` is of: a number of another one's log means nothing in this one's.
struct Renew<'a> {
    node: Uuid,
    applied: i64,
    known: Option<&'a str>,
}

impl QueryFragment<Pg> for Renew<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("WITH asked (node, applied, known) AS (VALUES (");
        out.push_bind_param::<SqlUuid, _>(&self.node)?;
        out.push_sql(", ");
        out.push_bind_param::<BigInt, _>(&self.applied)?;
        out.push_sql(", ");
        out.push_bind_param::<Nullable<Text>, _>(&self.known)?;
        out.push_sql(
            ")), here (lineage) AS (SELECT (SELECT system_identifier FROM pg_control_system()) || '/' \
             || left(pg_walfile_name(pg_current_wal_lsn()), 8) || '/' || 'change_log_head'::regclass::oid || '/' \
             || (SELECT oid FROM pg_database WHERE datname = current_database())), \
             beat AS (UPDATE nodes SET renewed_at = clock_timestamp(), \
             applied = CASE WHEN asked.known IS NULL OR asked.known = here.lineage THEN asked.applied ELSE 0 END \
             FROM asked, here WHERE id = asked.node RETURNING id) \
             SELECT head.n AS head, head.pruned, (extract(epoch FROM clock_timestamp()) * 1000)::bigint AS clock_ms, \
             here.lineage, EXISTS (SELECT FROM beat) AS is_known, \
             coalesce((SELECT renewed_at < clock_timestamp() - make_interval(secs => ",
        );
        out.push_bind_param::<Double, _>(&AWAY_SECONDS)?;
        out.push_sql(
            ") FROM nodes WHERE id = (SELECT node FROM asked)), true) AS was_away, \
             (SELECT count(*) FROM nodes WHERE id = (SELECT node FROM asked) \
             OR renewed_at > clock_timestamp() - make_interval(secs => ",
        );
        out.push_bind_param::<Double, _>(&HEARD_OF_SECONDS)?;
        out.push_sql(
            ")) AS nodes, (SELECT id FROM master_keys WHERE current) AS current_master, log.n, log.kind, log.subject, \
             (extract(epoch FROM log.logged_at) * 1000)::bigint AS at_ms \
             FROM change_log_head AS head CROSS JOIN asked CROSS JOIN here \
             LEFT JOIN LATERAL (SELECT n, kind, subject, logged_at FROM change_log \
             WHERE head.n > asked.applied AND n > asked.applied AND head.pruned <= asked.applied LIMIT ",
        );
        out.push_bind_param::<BigInt, _>(&CHANGES_END)?;
        out.push_sql(") AS log ON true");
        Ok(())
    }
}

impl QueryId for Renew<'_> {
    type QueryId = Renew<'static>;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl Query for Renew<'_> {
    type SqlType = Untyped;
}

/// This crosses tenants because a process answers for all of them.
///
/// Tells Postgres that everything up to `applied` in the log of the database `known` is taken in, and asks what came after.
pub(super) async fn renew(
    mut connection: &AsyncPgConnection,
    node: Uuid,
    applied: u64,
    known: Option<&str>,
) -> Result<Renewal, Error> {
    let applied = number_in(applied);
    let rows: Vec<Row> = Renew { node, applied, known }.load(&mut connection).await?;
    let first = rows.as_slice().first().ok_or_else(|| Error::internal("the change log has no head"))?;
    let (head, pruned, clock_ms) = (first.head, first.pruned, first.clock_ms);
    let (is_known, was_away) = (first.is_known, first.was_away);
    let nodes = number_out(first.nodes);
    let (lineage, current_master) = (first.lineage.clone(), first.current_master.clone().unwrap_or_default());
    let is_readable = pruned <= applied && i64::try_from(rows.len()).is_ok_and(|count| count < CHANGES_END);
    let changes = if is_readable { rows.into_iter().filter_map(change).collect() } else { None };
    Ok(Renewal { head: number_out(head), lineage, clock_ms, current_master, is_known, was_away, nodes, changes })
}

/// `None` inside for a kind that a newer version has brought: what it means for us, only forgetting covers.
fn change(row: Row) -> Option<Option<Logged>> {
    let (n, kind, subject, at_ms) = (row.n?, row.kind?, row.subject?, row.at_ms?);
    Some(Kind::parse(&kind).map(|kind| Logged { number: number_out(n), kind, subject, at_ms }))
}

/// Puts a process on the list; gives how far in the log it is. A new one has read nothing yet, and is as far as anybody. One that
/// comes back says with its next renewal how far it is, and in which log: until then nobody knows.
///
/// This crosses tenants because a process answers for all of them.
#[expect(clippy::disallowed_methods, reason = "Diesel cannot insert what a query gives beside values")]
pub(super) async fn insert_node(
    mut connection: &AsyncPgConnection,
    id: Uuid,
    name: &NodeName,
    master_ids: &[TagKeyId],
    comes_back: bool,
) -> Result<u64, Error> {
    #[derive(QueryableByName)]
    struct Inserted {
        #[diesel(sql_type = BigInt)]
        applied: i64,
    }
    let inserted: Inserted = diesel::sql_query(
        "INSERT INTO nodes (id, name, version, applied, master_ids) SELECT $1, $2, $3, CASE WHEN $5 THEN 0 ELSE n END, $4 \
         FROM change_log_head RETURNING applied",
    )
    .bind::<SqlUuid, _>(id)
    .bind::<Text, _>(&name.name)
    .bind::<Text, _>(name.version)
    .bind::<Array<Binary>, _>(master_ids.iter().map(TagKeyId::as_bytes).collect::<Vec<_>>())
    .bind::<Bool, _>(comes_back)
    .get_result(&mut connection)
    .await?;
    Ok(number_out(inserted.applied))
}

/// How many other processes on the list have been heard of since one was put there, and know of it, and how many have not.
///
/// This crosses tenants because a process answers for all of them.
pub(super) async fn count_others(connection: &mut AsyncPgConnection, since: Uuid) -> Result<(i64, i64), Error> {
    use crate::schema::nodes;
    let others = diesel::alias!(nodes as others);
    let began = nodes::table.find(since).select(nodes::started_at).single_value();
    let all = || others.filter(others.field(nodes::id).ne(since));
    let heard = all().filter(others.field(nodes::renewed_at).nullable().gt(began)).count();
    let heard: i64 = heard.get_result(&mut *connection).await?;
    let count: i64 = all().count().get_result(connection).await?;
    Ok((heard, count - heard))
}

/// Takes a process off the list.
///
/// This crosses tenants because a process answers for all of them.
pub(super) async fn delete_node(connection: &mut AsyncPgConnection, id: Uuid) -> Result<(), Error> {
    use crate::schema::nodes;
    diesel::delete(nodes::table.find(id)).execute(connection).await?;
    Ok(())
}

fn number_in(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn number_out(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
