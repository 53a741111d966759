//! What a limit that is not set yet would have refused of the last week's calls.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use tronch_core::{Environment, KeyId, LimitOn, LimitRule, Permission, ProjectId, Simulated, Timestamp, simulate};
use uuid::Uuid;

use crate::clock;
use crate::error::Error;
use crate::keys as key_verbs;
use crate::projects;
use crate::schema::keys;
use crate::tenancy::Tenant;

/// How far back it looks.
const DAYS: i64 = 7;

/// Minutes with calls that are looked at, over all keys.
const MINUTES_MAX: usize = 300_000;

/// What the last week's calls would have met.
pub struct Simulation {
    /// Since when.
    pub from: Timestamp,
    /// All calls that the limit would have counted.
    pub total: Simulated,
    /// Keys with such calls; one for all keys of an owner, which are counted together.
    pub counted: usize,
    /// Those of them of which calls could have been refused, the most of them first.
    pub refused: Vec<SimulatedKey>,
    /// Whether there were so many calls that some keys were left out.
    pub is_partial: bool,
}

/// A key of which calls could have been refused.
pub struct SimulatedKey {
    /// Which, as it began; nothing where an owner's keys are counted together.
    pub key_id: Option<KeyId>,
    /// What it is called.
    pub name: String,
    /// How many.
    pub simulated: Simulated,
}

#[derive(QueryableByName)]
struct MinuteRow {
    #[diesel(sql_type = SqlUuid)]
    whose: Uuid,
    #[diesel(sql_type = Timestamptz)]
    at: Timestamp,
    #[diesel(sql_type = BigInt)]
    calls: i64,
}

/// Calls that a limit would have been charged with: those that passed all else.
const SQL: &str = "\
    SELECT whose, at, sum(count)::bigint AS calls FROM ( \
        SELECT CASE WHEN $3 IS NULL THEN coalesce(keys.lineage_id, keys.id) ELSE $1 END AS whose, usage.at, usage.count \
        FROM usage_minutes AS usage JOIN keys ON keys.tenant_id = usage.tenant_id AND keys.id = usage.key_id \
        WHERE usage.tenant_id = $1 AND usage.at >= $2 AND usage.code IN ('VALID', 'RATE_LIMITED', 'QUOTA_EXCEEDED') \
        AND ($3 IS NULL OR keys.owner_external_id = $3) \
        AND ($4 IS NULL OR coalesce(keys.lineage_id, keys.id) \
            = (SELECT coalesce(one.lineage_id, one.id) FROM keys AS one WHERE one.tenant_id = $1 AND one.id = $4)) \
        AND ($5 IS NULL OR keys.project_id = $5) AND ($6 IS NULL OR keys.environment = $6) \
    ) AS counted GROUP BY whose, at ORDER BY whose, at LIMIT $7";

/// Whether a limit is too narrow shows before it is set. The limit begins unused, and each call costs 1.
///
/// # Errors
/// `Forbidden` without `usage.read`; `OutsideToken` outside a token's own limits; `NotFound` for a key or project that is not there;
/// `Unavailable`.
pub async fn simulate_limit(tenant: &Tenant, on: &LimitOn, rule: &LimitRule) -> Result<Simulation, Error> {
    tenant.require(Permission::UsageRead)?;
    let mut transaction = tenant.begin().await?;
    let (mut owner, mut key_id, mut project_id, mut of_environment) = (None, None, None, None);
    match on {
        LimitOn::Key(key) => {
            key_verbs::require_visible(&mut transaction, *key).await?;
            key_id = Some(key.uuid());
        }
        LimitOn::Owner(external_id) => {
            Error::refuse_nul("owner", Some(external_id.as_str()))?;
            tenant.scope.require(None, None)?;
            owner = Some(external_id.as_str());
        }
        LimitOn::Project { project, environment } => {
            let project = projects::find_project(&mut transaction, project).await?;
            tenant.scope.require(Some(project.id), *environment)?;
            project_id = Some(ProjectId::uuid(project.id));
            of_environment = environment.map(Environment::as_str);
        }
    }
    let from = clock::now() - TimeDelta::days(DAYS);
    let limit = i64::try_from(MINUTES_MAX).unwrap_or(i64::MAX);
    // This leaves `Scoped` because it is SQL as text, narrowed by its first parameter.
    #[expect(clippy::disallowed_methods, reason = "Diesel cannot group by an expression of two tables")]
    let rows: Vec<MinuteRow> = diesel::sql_query(SQL)
        .bind::<SqlUuid, _>(transaction.tenant_id())
        .bind::<Timestamptz, _>(from)
        .bind::<Nullable<Text>, _>(owner)
        .bind::<Nullable<SqlUuid>, _>(key_id)
        .bind::<Nullable<SqlUuid>, _>(project_id)
        .bind::<Nullable<Text>, _>(of_environment)
        .bind::<BigInt, _>(limit)
        .load(transaction.unscoped())
        .await?;
    let is_partial = rows.len() >= MINUTES_MAX;
    let mut minutes: BTreeMap<Uuid, Vec<(Timestamp, u64)>> = BTreeMap::new();
    for row in rows {
        minutes.entry(row.whose).or_default().push((row.at, u64::try_from(row.calls).unwrap_or(0)));
    }
    let mut total = Simulated::default();
    let mut refused = Vec::new();
    for (whose, minutes) in &minutes {
        let simulated = simulate(rule, minutes);
        total.calls += simulated.calls;
        total.least += simulated.least;
        total.most += simulated.most;
        if simulated.most > 0 {
            refused.push((*whose, simulated));
        }
    }
    refused.sort_by_key(|(whose, simulated)| (std::cmp::Reverse(simulated.most), *whose));
    let ids: Vec<Uuid> = refused.iter().map(|(whose, _)| *whose).collect();
    let names: Vec<(Uuid, String)> = transaction
        .of(keys::table)
        .filter(keys::id.eq_any(ids))
        .select((keys::id, keys::name))
        .load(&mut transaction)
        .await?;
    transaction.commit().await?;
    let names: BTreeMap<Uuid, String> = names.into_iter().collect();
    let refused = refused
        .into_iter()
        .map(|(whose, simulated)| {
            let name = names.get(&whose).cloned().or_else(|| owner.map(ToOwned::to_owned)).unwrap_or_default();
            SimulatedKey { key_id: owner.is_none().then(|| KeyId::from_uuid(whose)), name, simulated }
        })
        .collect();
    Ok(Simulation { from, total, counted: minutes.len(), refused, is_partial })
}
