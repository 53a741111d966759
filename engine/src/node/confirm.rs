//! Waiting until every process that may answer has taken a change in.

use std::time::Duration;

use chrono::TimeDelta;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use tokio::time::Instant;
use tronch_core::Timestamp;

use super::lease::{AWAY, LEASE, PATIENCE};
use crate::clock;
use crate::db::Connection;
use crate::error::Error;
use crate::schema::{change_log, change_log_head, nodes, tenants};
use crate::tenancy::Tenant;

/// How long whoever waits for all of them waits.
const CONFIRM_MAX: Duration = Duration::from_secs(1);

/// How soon they are looked at again, and how seldom at last.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);
const LOOK_INTERVAL_MAX: Duration = Duration::from_millis(80);

/// The longest that a tenant's keys may be answered without Postgres; the schema has the same.
const OFFLINE_LEASE_MAX: TimeDelta = TimeDelta::seconds(300);

/// What the processes that may answer about a tenant's keys know of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confirmation {
    /// Those that go by it, by name.
    pub confirmed: Vec<String>,
    /// Those of which that is not known.
    pub unconfirmed: Vec<Unconfirmed>,
    /// How long that took, from when they were asked.
    pub took: Duration,
}

/// A process that could not be heard of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unconfirmed {
    /// By name.
    pub node: String,
    /// Until when it may answer as if nothing had changed, should it be cut off from Postgres.
    pub may_answer_until: Timestamp,
}

#[derive(Queryable)]
struct NodeRow {
    name: String,
    applied: i64,
    renewed_at: Timestamp,
    /// What the database's clock said when the row was read.
    now: Timestamp,
}

/// Waits until every process that may answer goes by whatever was committed in the tenant before this call, for at most a
/// second. The change is made whatever comes of this.
///
/// # Errors
/// `Unavailable` when Postgres is.
pub async fn confirm_changes(tenant: &Tenant) -> Result<Confirmation, Error> {
    let asked = Instant::now();
    let mut connection = tenant.engine.db().system().await?;
    let (number, offline_lease) = number_and_lease(&mut connection, tenant.id.uuid()).await?;
    drop(connection);
    let mut pause = LOOK_INTERVAL;
    loop {
        // One look, one connection: others wait for theirs meanwhile.
        let mut connection = tenant.engine.db().system().await?;
        let rows = live_nodes(&mut connection, offline_lease).await?;
        drop(connection);
        let took = asked.elapsed();
        let all = rows.iter().all(|row| row.applied >= number);
        if all || took >= CONFIRM_MAX {
            let (confirmed, others): (Vec<NodeRow>, Vec<NodeRow>) =
                rows.into_iter().partition(|row| row.applied >= number);
            let unconfirmed = others
                .into_iter()
                .map(|row| Unconfirmed { may_answer_until: row.renewed_at + offline_lease, node: row.name });
            return Ok(Confirmation {
                confirmed: confirmed.into_iter().map(|row| row.name).collect(),
                unconfirmed: unconfirmed.collect(),
                took,
            });
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LOOK_INTERVAL_MAX);
    }
}

/// The number of the last change, and how long after its last renewal a process may answer about the tenant's keys: one that is
/// under way right now may have looked before the change, and is heard of later.
///
/// This crosses tenants because the change log is one for all of them.
async fn number_and_lease(connection: &mut Connection, tenant_id: uuid::Uuid) -> Result<(i64, TimeDelta), Error> {
    let number = change_log_head::table.select(change_log_head::n).first(connection).await?;
    let seconds: i32 = tenants::table.find(tenant_id).select(tenants::offline_lease_seconds).first(connection).await?;
    // One that was cut off before its tenant was changed goes by what was said then.
    let recent = change_log::table
        .filter(change_log::kind.eq("tenant"))
        .filter(change_log::subject.eq(tenant_id.to_string()))
        .filter(change_log::logged_at.gt(clock::now() - OFFLINE_LEASE_MAX - TimeDelta::seconds(10)));
    let was_changed: bool = diesel::select(diesel::dsl::exists(recent)).get_result(connection).await?;
    let [lease, under_way] =
        [LEASE, AWAY + PATIENCE].map(|time| TimeDelta::from_std(time).unwrap_or(TimeDelta::zero()));
    let offline_lease = if was_changed { OFFLINE_LEASE_MAX } else { TimeDelta::seconds(seconds.into()) };
    Ok((number, offline_lease.max(lease) + under_way))
}

/// The processes that may still answer: the lease of all others is over.
///
/// This crosses tenants because a process answers for all of them.
async fn live_nodes(connection: &mut Connection, offline_lease: TimeDelta) -> Result<Vec<NodeRow>, Error> {
    let clock = diesel::dsl::sql::<diesel::sql_types::Timestamptz>("clock_timestamp()");
    let mut rows: Vec<NodeRow> = nodes::table
        .select((nodes::name, nodes::applied, nodes::renewed_at, clock))
        .order((nodes::name, nodes::id))
        .load(connection)
        .await?;
    rows.retain(|row| row.now < row.renewed_at + offline_lease);
    Ok(rows)
}
