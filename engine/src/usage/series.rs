//! Reading usage: counts by verdict over a span of time, for a tenant, one key or one limit.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use chrono::TimeDelta;
use diesel::sql_types::{Array, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use tronch_core::{Environment, KeyId, LimitId, Permission, ProjectId, Timestamp, UsagePoint};
use uuid::Uuid;

use super::roll_up::{DAYS, HOURS, MINUTES};
use crate::caller::Scope;
use crate::clock;
use crate::error::Error;
use crate::keys;
use crate::limits;
use crate::tenancy::{Tenant, TenantTx};

/// Which time is shown, and in how many steps. It ends with the step that is running.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Span {
    /// 60 minutes.
    Hour,
    /// 24 hours.
    #[default]
    Day,
    /// 28 steps of six hours.
    Week,
    /// 30 days.
    Month,
}

impl Span {
    /// Each, the shortest first.
    pub const ALL: [Self; 4] = [Self::Hour, Self::Day, Self::Week, Self::Month];

    /// Its word in addresses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hour => "1h",
            Self::Day => "24h",
            Self::Week => "7d",
            Self::Month => "30d",
        }
    }

    /// How long one step is.
    pub fn step(self) -> TimeDelta {
        self.steps().1
    }

    /// The table, how long a step is, and how many there are.
    fn steps(self) -> (&'static str, TimeDelta, i32) {
        match self {
            Self::Hour => (MINUTES, TimeDelta::minutes(1), 60),
            Self::Day => (HOURS, TimeDelta::hours(1), 24),
            Self::Week => (HOURS, TimeDelta::hours(6), 28),
            Self::Month => (DAYS, TimeDelta::days(1), 30),
        }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

/// The text names no span.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a span is 1h, 24h, 7d or 30d")]
pub struct ParseSpanError;

impl FromStr for Span {
    type Err = ParseSpanError;

    fn from_str(text: &str) -> Result<Self, ParseSpanError> {
        Self::ALL.into_iter().find(|span| span.as_str() == text).ok_or(ParseSpanError)
    }
}

/// How often which verdict was given in the tenant, calls about texts that were no key of it among them. One point a step,
/// the oldest first.
///
/// # Errors
/// `Forbidden` without `usage.read`; `OutsideToken` for a limited service token; `Unavailable`.
pub async fn usage_of_tenant(tenant: &Tenant, span: Span) -> Result<Vec<UsagePoint>, Error> {
    tenant.require(Permission::UsageRead)?;
    // What was no key of the tenant's belongs to no project.
    tenant.scope.require(None, None)?;
    Ok(series(tenant.begin().await?, &[Uuid::nil()], span).await?.remove(&Uuid::nil()).unwrap_or_default())
}

/// How often which verdict was given on one key.
///
/// # Errors
/// `Forbidden` without `usage.read`; `NotFound`; `Unavailable`.
pub async fn usage_of_key(tenant: &Tenant, key_id: KeyId, span: Span) -> Result<Vec<UsagePoint>, Error> {
    tenant.require(Permission::UsageRead)?;
    let mut transaction = tenant.begin().await?;
    keys::require_visible(&mut transaction, key_id).await?;
    Ok(series(transaction, &[key_id.uuid()], span).await?.remove(&key_id.uuid()).unwrap_or_default())
}

/// The same for several keys at once, each with its points. What the caller may not see has counted nothing.
///
/// # Errors
/// `Forbidden` without `usage.read`; `Unavailable`.
pub async fn usage_of_keys(
    tenant: &Tenant,
    key_ids: &[KeyId],
    span: Span,
) -> Result<BTreeMap<KeyId, Vec<UsagePoint>>, Error> {
    tenant.require(Permission::UsageRead)?;
    let ids: Vec<Uuid> = key_ids.iter().map(|id| id.uuid()).collect();
    let found = series(tenant.begin().await?, &ids, span).await?;
    Ok(found.into_iter().map(|(id, points)| (KeyId::from_uuid(id), points)).collect())
}

/// What one limit said: VALID counts the calls that it was charged with, the other codes those that it refused. A call that another
/// limit refused is in neither.
///
/// # Errors
/// `Forbidden` without `usage.read`; `NotFound`; `Unavailable`.
pub async fn usage_of_limit(tenant: &Tenant, limit_id: LimitId, span: Span) -> Result<Vec<UsagePoint>, Error> {
    tenant.require(Permission::UsageRead)?;
    let mut transaction = tenant.begin().await?;
    let counted = limits::require_visible(&mut transaction, limit_id).await?.uuid();
    // Whoever may see the limit may see what all calls met that it counts.
    let everywhere = Scope::default();
    Ok(series_within(transaction, &[counted], span, everywhere).await?.remove(&counted).unwrap_or_default())
}

#[derive(diesel::QueryableByName)]
struct StepRow {
    #[diesel(sql_type = SqlUuid)]
    key_id: Uuid,
    #[diesel(sql_type = Timestamptz)]
    step: Timestamp,
    #[diesel(sql_type = Text)]
    code: String,
    #[diesel(sql_type = diesel::sql_types::BigInt)]
    count: i64,
}

async fn series(transaction: TenantTx, key_ids: &[Uuid], span: Span) -> Result<BTreeMap<Uuid, Vec<UsagePoint>>, Error> {
    let scope = transaction.scope();
    series_within(transaction, key_ids, span, scope).await
}

/// This leaves `Scoped` because it is SQL as text, narrowed by its first parameter.
#[expect(clippy::disallowed_methods, reason = "Diesel knows no date_bin, and the three tables are one query")]
async fn series_within(
    mut transaction: TenantTx,
    key_ids: &[Uuid],
    span: Span,
    scope: Scope,
) -> Result<BTreeMap<Uuid, Vec<UsagePoint>>, Error> {
    let (table, step, steps) = span.steps();
    let seconds = step.num_seconds();
    let running = clock::now().timestamp().div_euclid(seconds) * seconds;
    let at = |unix: i64| Timestamp::from_timestamp(unix, 0).ok_or_else(|| Error::internal("a time out of range"));
    let first = at(running - seconds * i64::from(steps - 1))?;
    // Hours that are not added up yet, or not with all of their minutes, are taken from the minutes in the place of what
    // hours and days have of them.
    let of = |table: &str, count: &str, condition: &str| {
        format!(
            "SELECT key_id, at, code, {count} AS count FROM {table} WHERE tenant_id = $1 AND key_id = ANY($2) \
             AND at >= $3 AND ($4 IS NULL OR project_id = $4) AND ($5 IS NULL OR environment = $5) {condition}"
        )
    };
    let mut counts = of(table, "count", "");
    if table != MINUTES {
        let minutes = "AND at >= (SELECT min(at) FROM due) AND date_trunc('hour', at, 'UTC') IN (SELECT at FROM due)";
        counts = [counts, of(MINUTES, "count", minutes), of(HOURS, "-count", "AND at IN (SELECT at FROM due)")]
            .join(" UNION ALL ");
    }
    let sql = format!(
        "WITH due AS MATERIALIZED (SELECT DISTINCT at FROM usage_hours_due WHERE at >= $3) \
         SELECT key_id, date_bin(make_interval(secs => {seconds}), at, 'epoch'::timestamptz) AS step, code, \
         sum(count)::bigint AS count FROM ({counts}) AS counts GROUP BY 1, 2, 3 HAVING sum(count) > 0"
    );
    let rows: Vec<StepRow> = diesel::sql_query(sql)
        .bind::<SqlUuid, _>(transaction.tenant_id())
        .bind::<Array<SqlUuid>, _>(key_ids)
        .bind::<Timestamptz, _>(first)
        .bind::<Nullable<SqlUuid>, _>(scope.project.map(ProjectId::uuid))
        .bind::<Nullable<Text>, _>(scope.environment.map(Environment::as_str))
        .load(transaction.unscoped())
        .await?;
    transaction.commit().await?;
    let step_of = |index| first + TimeDelta::seconds(seconds * i64::from(index));
    let empty: Vec<UsagePoint> =
        (0..steps).map(|index| UsagePoint { at: step_of(index), counts: Vec::new() }).collect();
    let mut found: BTreeMap<Uuid, Vec<UsagePoint>> = key_ids.iter().map(|id| (*id, empty.clone())).collect();
    for row in rows {
        let count = u64::try_from(row.count).map_err(Error::internal)?;
        let points = found.entry(row.key_id).or_default();
        // What a node with a clock ahead of ours counted belongs to a step that has not begun.
        let Some(point) = points.iter_mut().find(|point| point.at == row.step) else { continue };
        point.counts.push((row.code.parse().map_err(Error::internal)?, count));
    }
    for point in found.values_mut().flatten() {
        point.counts.sort_unstable();
    }
    Ok(found)
}
