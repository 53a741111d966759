//! What is done with stored counts afterwards: minutes are added up to hours and days once their hour is over, partitions
//! are made before they are needed, and what is too old goes.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{NaiveDate, NaiveTime, TimeDelta};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Text, Timestamptz};
use diesel_async::{AsyncConnection as _, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection as _};
use tronch_core::Timestamp;

use crate::Engine;
use crate::clock;
use crate::db::Db;
use crate::error::Error;
use crate::schema::usage_hours_due;

/// The tables.
pub(crate) const MINUTES: &str = "usage_minutes";
pub(crate) const HOURS: &str = "usage_hours";
pub(crate) const DAYS: &str = "usage_days";

/// How long after its end an hour is added up: by then nearly all of its batches are stored. Later ones have it added up
/// again.
const SETTLED_AFTER: TimeDelta = TimeDelta::minutes(2);

/// One process at a time adds up; any number serves.
const ROLL_UP_LOCK: i64 = 0x0075_7361_6765;

/// Adding up an hour of very many keys takes longer than any call may.
const ROLL_UP_MAX: Duration = Duration::from_secs(60);

/// How far ahead there are partitions: a weekend, and the next month and year in time.
const AHEAD: TimeDelta = TimeDelta::days(3);

/// For how many days counts are kept, by how fine they are.
#[derive(Debug, Clone, Copy)]
pub struct UsageRetention {
    /// Of minutes.
    pub minutes: u32,
    /// Of hours.
    pub hours: u32,
    /// Of days.
    pub days: u32,
}

/// Adds up every hour that is over and has counts which are not in it yet. Gives how many hours.
///
/// This crosses tenants because time passes for all of them.
///
/// # Errors
/// `Unavailable` when Postgres is. An hour that cannot be added up is logged and tried again with the next call.
pub async fn roll_up_usage(engine: &Engine) -> Result<usize, Error> {
    let mut connection = engine.db().system().await?;
    let over = clock::now() - SETTLED_AFTER - TimeDelta::hours(1);
    let due: Vec<Timestamp> = usage_hours_due::table
        .filter(usage_hours_due::at.le(over))
        .select(usage_hours_due::at)
        .distinct()
        .order(usage_hours_due::at)
        .load(&mut connection)
        .await?;
    let mut hours = 0;
    for hour in due {
        match roll_up_hour(&mut connection, hour).await {
            Ok(is_ours) => hours += usize::from(is_ours),
            // Others are not to wait for one that fails; its minutes are kept until it succeeds.
            Err(error) => {
                let causes = error.causes();
                tracing::warn!(%hour, error.causes = ?causes, "an hour of usage could not be added up: {error}");
            }
        }
    }
    Ok(hours)
}

/// Whether nobody else was at it.
///
/// This crosses tenants because time passes for all of them.
#[expect(clippy::disallowed_methods, reason = "locks and functions of the schema's own have no words in Diesel")]
async fn roll_up_hour(connection: &mut AsyncPgConnection, hour: Timestamp) -> Result<bool, Error> {
    #[derive(QueryableByName)]
    struct Locked {
        #[diesel(sql_type = Bool)]
        is_ours: bool,
    }
    connection
        .transaction::<bool, Error, _>(async |connection| {
            connection.batch_execute(&format!("SET LOCAL statement_timeout = {}", ROLL_UP_MAX.as_millis())).await?;
            let locked: Locked = diesel::sql_query("SELECT pg_try_advisory_xact_lock($1) AS is_ours")
                .bind::<BigInt, _>(ROLL_UP_LOCK)
                .get_result(connection)
                .await?;
            if locked.is_ours {
                diesel::sql_query("SELECT tronch_roll_up_usage($1)")
                    .bind::<Timestamptz, _>(hour)
                    .execute(connection)
                    .await?;
            }
            Ok(locked.is_ours)
        })
        .await
}

/// Makes the partitions that will be needed and removes those that hold nothing but what is too old. Gives how many went.
///
/// # Errors
/// `Unavailable` when Postgres is.
pub async fn keep_usage(engine: &Engine, kept: UsageRetention) -> Result<u64, Error> {
    let now = clock::now();
    let mut connection = engine.db().system().await?;
    let mut removed = 0;
    for (parent, days) in [(MINUTES, kept.minutes), (HOURS, kept.hours), (DAYS, kept.days)] {
        let ahead = (0..=AHEAD.num_days()).map(|days| now + TimeDelta::days(days));
        make_partitions(&mut connection, parent, ahead).await?;
        removed += drop_older(&mut connection, parent, now - TimeDelta::days(days.into())).await?;
    }
    Ok(removed)
}

/// Makes the partitions of minutes for a batch that could not be stored, should they be what it lacked.
pub(super) async fn make_room(db: &Db, times: impl Iterator<Item = Timestamp>) -> Result<(), Error> {
    make_partitions(&mut *db.usage().await?, MINUTES, times).await
}

/// Makes the partitions of one of the three tables that hold these times, unless they are there.
///
/// This crosses tenants because a partition is everybody's.
#[expect(clippy::disallowed_methods, reason = "functions of the schema's own have no words in Diesel")]
pub(crate) async fn make_partitions(
    connection: &mut AsyncPgConnection,
    parent: &str,
    times: impl Iterator<Item = Timestamp>,
) -> Result<(), Error> {
    let days: BTreeSet<NaiveDate> = times.map(|at| at.date_naive()).collect();
    for day in days {
        diesel::sql_query("SELECT tronch_make_usage_partition($1, $2)")
            .bind::<Text, _>(parent)
            .bind::<Timestamptz, _>(day.and_time(NaiveTime::MIN).and_utc())
            .execute(connection)
            .await?;
    }
    Ok(())
}

/// This crosses tenants because a partition is everybody's.
#[expect(clippy::disallowed_methods, reason = "functions of the schema's own have no words in Diesel")]
async fn drop_older(connection: &mut AsyncPgConnection, parent: &str, before: Timestamp) -> Result<u64, Error> {
    #[derive(QueryableByName)]
    struct Dropped {
        #[diesel(sql_type = BigInt)]
        partitions: i64,
    }
    let dropped: Dropped = diesel::sql_query("SELECT tronch_drop_old_usage($1, $2) AS partitions")
        .bind::<Text, _>(parent)
        .bind::<Timestamptz, _>(before)
        .get_result(connection)
        .await?;
    u64::try_from(dropped.partitions).map_err(Error::internal)
}
