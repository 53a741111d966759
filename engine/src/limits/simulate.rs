//! What a limit that is not set yet would have refused of the last week's calls.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use tronch_core::{
    Environment, KeyId, LimitName, LimitOn, LimitRule, Permission, ProjectId, Simulated, Timestamp, simulate,
};
use uuid::Uuid;

use crate::clock;
use crate::error::Error;
use crate::keys as key_verbs;
use crate::projects;
use crate::schema::keys;
use crate::tenancy::Tenant;

/// How far back it looks.
const DAYS: i64 = 7;

/// Keys that are looked at: as many as Postgres adds up the minutes of within its time.
const KEYS_MAX: i64 = 200;

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
    /// Whether there are so many keys that only those that were used last were looked at.
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
    #[diesel(sql_type = BigInt)]
    chosen: i64,
}

/// The calls by minute of the keys that the limit would count: those in its place that were used last and have no limit of the same
/// name that is nearer. Of their calls, those that passed all else.
const SQL: &str = "\
    WITH chosen AS MATERIALIZED ( \
        SELECT keys.id, CASE WHEN $3 IS NULL THEN coalesce(keys.lineage_id, keys.predecessor_id, keys.id) ELSE $1 END AS whose \
        FROM keys WHERE keys.tenant_id = $1 \
        AND ($3 IS NULL OR keys.owner_external_id = $3) \
        AND ($4 IS NULL OR coalesce(keys.lineage_id, keys.predecessor_id, keys.id) = ( \
            SELECT coalesce(one.lineage_id, one.predecessor_id, one.id) FROM keys AS one WHERE one.tenant_id = $1 AND one.id = $4)) \
        AND ($5 IS NULL OR keys.project_id = $5) AND ($6 IS NULL OR keys.environment = $6) \
        AND NOT EXISTS (SELECT FROM limits AS nearer WHERE nearer.tenant_id = $1 AND nearer.removed_at IS NULL AND nearer.name = $7 \
            AND $4 IS NULL AND (nearer.key_id = keys.id \
                OR ($5 IS NOT NULL AND nearer.owner_external_id = keys.owner_external_id) \
                OR ($5 IS NOT NULL AND $6 IS NULL AND nearer.project_id = $5 AND nearer.environment = keys.environment))) \
        ORDER BY keys.last_used_at DESC NULLS LAST LIMIT $8 \
    ) SELECT whose, at, sum(count)::bigint AS calls, (SELECT count(*) FROM chosen) AS chosen \
    FROM usage_minutes AS usage JOIN chosen ON chosen.id = usage.key_id \
    WHERE usage.tenant_id = $1 AND usage.at >= $2 AND usage.code IN ('VALID', 'RATE_LIMITED', 'QUOTA_EXCEEDED') \
    GROUP BY whose, at ORDER BY whose, at";

/// Whether a limit is too narrow shows before it is set. The limit begins unused, and each call is charged 1, whether or not it would
/// have named it.
///
/// # Errors
/// `Forbidden` without `usage.read`; `OutsideToken` outside a token's own limits; `NotFound` for a key or project that is not there;
/// `Unavailable`.
pub async fn simulate_limit(
    tenant: &Tenant,
    on: &LimitOn,
    name: &LimitName,
    rule: &LimitRule,
) -> Result<Simulation, Error> {
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
        LimitOn::Namespace { .. } => {
            return Err(Error::invalid("namespace", "calls are kept by key, so this can be tried on keys alone"));
        }
        LimitOn::Project { project, environment } => {
            let project = projects::find_project(&mut transaction, project).await?;
            tenant.scope.require(Some(project.id), *environment)?;
            project_id = Some(ProjectId::uuid(project.id));
            of_environment = environment.map(Environment::as_str);
        }
    }
    let from = clock::now() - TimeDelta::days(DAYS);
    // This leaves `Scoped` because it is SQL as text, narrowed by its first parameter.
    #[expect(clippy::disallowed_methods, reason = "Diesel cannot group by an expression of two tables")]
    let rows: Vec<MinuteRow> = diesel::sql_query(SQL)
        .bind::<SqlUuid, _>(transaction.tenant_id())
        .bind::<Timestamptz, _>(from)
        .bind::<Nullable<Text>, _>(owner)
        .bind::<Nullable<SqlUuid>, _>(key_id)
        .bind::<Nullable<SqlUuid>, _>(project_id)
        .bind::<Nullable<Text>, _>(of_environment)
        .bind::<Text, _>(name.as_str())
        .bind::<BigInt, _>(KEYS_MAX)
        .load(transaction.unscoped())
        .await?;
    transaction.commit().await?;
    let is_partial = rows.as_slice().first().is_some_and(|row| row.chosen >= KEYS_MAX);
    let rule = *rule;
    // It takes a while, and others wait for answers meanwhile.
    let replayed = tokio::task::spawn_blocking(move || replay(&rule, rows)).await.map_err(Error::internal)?;
    let (counted, total, refused) = replayed;
    let ids: Vec<Uuid> = refused.iter().map(|(whose, _)| *whose).collect();
    let mut transaction = tenant.begin().await?;
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
    Ok(Simulation { from, total, counted, refused, is_partial })
}

/// How many there are, all of them together, and those of which calls could have been refused, the most of them first.
fn replay(rule: &LimitRule, rows: Vec<MinuteRow>) -> (usize, Simulated, Vec<(Uuid, Simulated)>) {
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
    (minutes.len(), total, refused)
}
