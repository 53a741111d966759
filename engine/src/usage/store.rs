//! Writing one batch of sums: all of it once, or nothing. Reading is in `series.rs`.

use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Text, Timestamptz, Uuid as SqlUuid};
use diesel_async::{AsyncConnection as _, RunQueryDsl};
use tronch_core::{Environment, Timestamp};
use uuid::Uuid;

use super::sums::Sums;
use super::uses::Due;
use crate::clock;
use crate::db::{Connection, Db};
use crate::error::Error;
use crate::schema::{usage_batches, usage_incarnations};

/// Keys whose time of last use is moved in one step.
const TOUCHED_AT_ONCE: usize = 200;

/// What a batch tells of its incarnation.
pub(super) struct BatchHead {
    pub(super) incarnation: Uuid,
    pub(super) started_at: Timestamp,
    pub(super) number: i64,
    pub(super) stored: i64,
    pub(super) dropped: i64,
}

/// Stores a batch, or finds that it is stored.
///
/// This crosses tenants because one batch holds what happened in all of them.
pub(super) async fn store(db: &Db, head: &BatchHead, sums: &Sums) -> Result<(), Error> {
    let mut connection = db.usage().await?;
    connection
        .transaction::<(), Error, _>(async |connection| {
            count_incarnation(connection, head).await?;
            if insert_batch(connection, head, sums).await? {
                add(connection, head, sums).await?;
            }
            Ok(())
        })
        .await
}

/// Writes that this process stopped in order and lost nothing it knew of.
pub(super) async fn close(db: &Db, head: &BatchHead) -> Result<(), Error> {
    let mut connection = db.usage().await?;
    diesel::update(usage_incarnations::table.find(head.incarnation))
        .set((
            usage_incarnations::closed_at.eq(clock::now()),
            usage_incarnations::offered.eq(head.stored + head.dropped),
            usage_incarnations::stored.eq(head.stored),
            usage_incarnations::dropped.eq(head.dropped),
        ))
        .execute(&mut connection)
        .await?;
    Ok(())
}

async fn count_incarnation(connection: &mut Connection, head: &BatchHead) -> Result<(), Error> {
    let totals = (
        usage_incarnations::last_stored_at.eq(clock::now()),
        usage_incarnations::offered.eq(head.stored + head.dropped),
        usage_incarnations::stored.eq(head.stored),
        usage_incarnations::dropped.eq(head.dropped),
    );
    diesel::insert_into(usage_incarnations::table)
        .values((
            usage_incarnations::id.eq(head.incarnation),
            usage_incarnations::started_at.eq(head.started_at),
            totals,
        ))
        .on_conflict(usage_incarnations::id)
        .do_update()
        .set(totals)
        .execute(connection)
        .await?;
    Ok(())
}

/// Whether the batch is new.
async fn insert_batch(connection: &mut Connection, head: &BatchHead, sums: &Sums) -> Result<bool, Error> {
    let inserted = diesel::insert_into(usage_batches::table)
        .values((
            usage_batches::incarnation_id.eq(head.incarnation),
            usage_batches::number.eq(head.number),
            usage_batches::stored_at.eq(clock::now()),
            usage_batches::events.eq(i64::try_from(sums.events).map_err(Error::internal)?),
        ))
        .on_conflict_do_nothing()
        .execute(connection)
        .await?;
    // Only the newest batch is ever sent again.
    diesel::delete(usage_batches::table)
        .filter(usage_batches::incarnation_id.eq(head.incarnation))
        .filter(usage_batches::number.lt(head.number))
        .execute(connection)
        .await?;
    Ok(inserted == 1)
}

/// Adds the counts to their minutes, and notes which hours have to be added up anew (`roll_up.rs`).
///
/// This crosses tenants because one batch holds what happened in all of them.
#[expect(
    clippy::disallowed_methods,
    reason = "Diesel cannot insert from unnest, and a bind for each value has a bound"
)]
async fn add(connection: &mut Connection, head: &BatchHead, sums: &Sums) -> Result<(), Error> {
    if sums.held() == 0 {
        return Ok(());
    }
    let cells = || sums.counts().map(|(cell, _)| cell);
    let counts: Result<Vec<i64>, _> = sums.counts().map(|(_, count)| i64::try_from(count)).collect();
    let counts = counts.map_err(Error::internal)?;
    diesel::sql_query(
        "WITH new AS MATERIALIZED (SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7) \
         AS new (tenant_id, key_id, at, project_id, environment, code, count)), \
         due AS (INSERT INTO usage_hours_due AS due (at, incarnation_id) \
         SELECT DISTINCT date_trunc('hour', at, 'UTC'), $8 FROM new ORDER BY 1 \
         ON CONFLICT (at, incarnation_id) DO UPDATE SET batches = due.batches + 1) \
         INSERT INTO usage_minutes AS stored (tenant_id, key_id, at, project_id, environment, code, count) \
         SELECT tenant_id, key_id, at, project_id, environment, code, sum(count)::bigint FROM new \
         GROUP BY 1, 2, 3, 4, 5, 6 ORDER BY 1, 2, 3, 4, 5, 6 \
         ON CONFLICT (tenant_id, key_id, at, project_id, environment, code) \
         DO UPDATE SET count = stored.count + excluded.count",
    )
    .bind::<Array<SqlUuid>, _>(cells().map(|cell| cell.tenant_id).collect::<Vec<_>>())
    .bind::<Array<SqlUuid>, _>(cells().map(|cell| cell.key_id).collect::<Vec<_>>())
    .bind::<Array<Timestamptz>, _>(cells().map(|cell| cell.at()).collect::<Vec<_>>())
    .bind::<Array<SqlUuid>, _>(cells().map(|cell| cell.project_id).collect::<Vec<_>>())
    .bind::<Array<Text>, _>(cells().map(|cell| cell.environment.map_or("", Environment::as_str)).collect::<Vec<_>>())
    .bind::<Array<Text>, _>(cells().map(|cell| cell.code.as_str()).collect::<Vec<_>>())
    .bind::<Array<BigInt>, _>(counts.as_slice())
    .bind::<SqlUuid, _>(head.incarnation)
    .execute(connection)
    .await?;
    Ok(())
}

/// Moves the times of last use forward, never back, and once in a minute of the clock, whichever process notes it first: each move
/// touches the index that lists are ordered by. In small steps, each for itself: a revocation must not wait long for a row that only
/// counting holds. A row that somebody else holds is passed over; its time is noted in the next minute of its use. What was noted is
/// taken off the list; what is left of it after an error was not.
///
/// This crosses tenants because one batch holds what happened in all of them.
#[expect(clippy::disallowed_methods, reason = "Diesel cannot update from unnest")]
pub(super) async fn touch(db: &Db, due: &mut Due) -> Result<(), Error> {
    if due.is_empty() {
        return Ok(());
    }
    let mut connection = db.usage().await?;
    // Tokens first: they are few.
    for (table, times) in [("service_tokens", &mut due.tokens), ("keys", &mut due.keys)] {
        let sql = format!(
            "WITH due AS (SELECT {table}.id, used.at FROM {table} JOIN unnest($1, $2) AS used (id, at) USING (id) \
             WHERE last_used_at IS NULL OR last_used_at < date_trunc('minute', used.at, 'UTC') \
             ORDER BY {table}.id FOR NO KEY UPDATE OF {table} SKIP LOCKED) \
             UPDATE {table} SET last_used_at = due.at FROM due WHERE {table}.id = due.id"
        );
        while !times.is_empty() {
            let rest = times.len().saturating_sub(TOUCHED_AT_ONCE);
            let (ids, moments): (Vec<Uuid>, Vec<Timestamp>) = times[rest..].iter().copied().unzip();
            diesel::sql_query(&sql)
                .bind::<Array<SqlUuid>, _>(ids)
                .bind::<Array<Timestamptz>, _>(moments)
                .execute(&mut connection)
                .await?;
            times.truncate(rest);
        }
    }
    Ok(())
}
