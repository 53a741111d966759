//! What was used of a limit's total, as Postgres knows it: what nodes hold and have not spent yet counts as used. And adding to
//! credits.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use diesel::prelude::*;
use serde_json::json;
use tronch_core::bounds::CREDITS_ADDED_MAX;
use tronch_core::{
    Cost, Identifier, KeyId, KeyName, LimitId, LimitOn, LimitView, Permission, Reading, TenantId, Timestamp, Window,
    WindowKind, WindowState,
};
use uuid::Uuid;

use super::namespaces;
use super::rows::LimitRow;
use super::store::{Answer, Ask, Of, TotalAsk};
use super::totals::{self, Stored};
use super::{find, lock, made_before};
use crate::audit::{self, Change};
use crate::clock;
use crate::error::Error;
use crate::keys as key_verbs;
use crate::schema::{keys, limit_totals, limits};
use crate::tenancy::{Tenant, TenantTx};

/// Of those that used most of a total, how many are shown.
const SHOWN_MAX: i64 = 100;

/// What somebody used of a limit's total.
pub struct LimitUse {
    /// Whose calls: a key's, as its rotations began; nothing where an owner's keys are counted together.
    pub key: Option<(KeyId, KeyName)>,
    /// Of a namespace: which identifier's.
    pub identifier: Option<Identifier>,
    /// What is left, and of how much.
    pub reading: Reading,
    /// When all of it is there again; nothing for credits that nobody fills up.
    pub reset_at: Option<Timestamp>,
}

impl LimitUse {
    fn new(
        (key, identifier): (Option<(KeyId, KeyName)>, Option<Identifier>),
        reading: Reading,
        now: Timestamp,
    ) -> Self {
        let reset_at = reading.reset_after_ms.map(|after| now + Duration::from_millis(after));
        Self { key, identifier, reading, reset_at }
    }
}

/// Those who used most of a limit's total in the stretch of now, the ones that are closest to its end first. A limit without a
/// total has none.
///
/// # Errors
/// `Forbidden` without `limits.read`; `NotFound`; `Unavailable`.
pub async fn uses_of_limit(tenant: &Tenant, limit_id: LimitId) -> Result<Vec<LimitUse>, Error> {
    tenant.require(Permission::LimitsRead)?;
    let mut transaction = tenant.begin().await?;
    let (row, project) = find(&mut transaction, limit_id.uuid(), false).await?;
    let (counts_as, limit) = (row.counts_as.unwrap_or(row.id), row.view(project.as_deref())?);
    let Some(window) = limit.rule.window() else { return Ok(Vec::new()) };
    let now = clock::now();
    let rows: Vec<(Uuid, Option<String>, Stored)> = transaction
        .of(limit_totals::table)
        .filter(limit_totals::limit_id.eq(counts_as))
        .filter(limit_totals::stretches.eq(totals::stretches(window.kind())))
        .filter(limit_totals::over_at.gt(now))
        .order((limit_totals::used - limit_totals::added).desc())
        .limit(SHOWN_MAX)
        .select((limit_totals::whose, limit_totals::identifier, Stored::as_select()))
        .load(&mut transaction)
        .await?;
    let names = names(&mut transaction, rows.iter().map(|row| row.0)).await?;
    transaction.commit().await?;
    let mut uses: Vec<LimitUse> = rows
        .into_iter()
        .map(|(whose, identifier, stored)| {
            let identifier = identifier.and_then(|text| Identifier::parse(&text).ok());
            let whose = (names.get(&whose).cloned(), identifier);
            LimitUse::new(whose, reading(&limit, window, stored.state(), now), now)
        })
        .filter(|one| one.reading.remaining < one.reading.limit)
        .collect();
    uses.sort_by_key(|one| one.reading.remaining);
    Ok(uses)
}

/// What is left to a key of the limits it is held to, those with totals; of what was never used nothing is said.
///
/// # Errors
/// `Forbidden` without `limits.read`; `NotFound`; `Unavailable`.
pub async fn left_to_key(
    tenant: &Tenant,
    key_id: KeyId,
    held_to: &[LimitView],
) -> Result<HashMap<LimitId, Reading>, Error> {
    tenant.require(Permission::LimitsRead)?;
    let mut transaction = tenant.begin().await?;
    let (line, ..) = key_verbs::line_of(&mut transaction, key_id).await?;
    let ids: Vec<Uuid> = held_to.iter().map(|limit| limit.id.uuid()).collect();
    let counted: Vec<(Uuid, Option<Uuid>)> = transaction
        .of(limits::table)
        .filter(limits::id.eq_any(ids.clone()))
        .select((limits::id, limits::counts_as))
        .load(&mut transaction)
        .await?;
    let counted: HashMap<Uuid, Uuid> = counted.into_iter().map(|(id, other)| (id, other.unwrap_or(id))).collect();
    let whose: Vec<Uuid> = ids.into_iter().chain([line]).collect();
    let rows: Vec<(Uuid, Uuid, String, Stored)> = transaction
        .of(limit_totals::table)
        .filter(limit_totals::limit_id.eq_any(counted.values().copied().collect::<Vec<_>>()))
        .filter(limit_totals::whose.eq_any(whose))
        .select((limit_totals::limit_id, limit_totals::whose, limit_totals::stretches, Stored::as_select()))
        .load(&mut transaction)
        .await?;
    transaction.commit().await?;
    let now = clock::now();
    let left = held_to.iter().filter_map(|limit| {
        let window = limit.rule.window()?;
        let whose = if matches!(limit.on, LimitOn::Owner(_)) { limit.id.uuid() } else { line };
        let place = (*counted.get(&limit.id.uuid())?, whose, totals::stretches(window.kind()));
        let (.., stored) = rows.iter().find(|row| (row.0, row.1) == (place.0, place.1) && row.2 == place.2)?;
        Some((limit.id, reading(limit, window, stored.state(), now)))
    });
    Ok(left.collect())
}

/// Whose balance is meant, where a limit has several.
#[derive(Debug, Clone, Default)]
pub enum Whom {
    /// There is only one.
    #[default]
    Its,
    /// A key's, of those of a project.
    Key(KeyId),
    /// An identifier's, of those of a namespace.
    Identifier(Identifier),
}

/// Adds to a balance: of a limit on a project, to that of one of its keys; of one on a namespace, to that of an identifier.
///
/// # Errors
/// `Forbidden` without `limits.write`; `NotFound` for a limit or a key that is not there; `Invalid` where there are no credits, for a
/// number out of bounds, and where somebody must be named or must not be; `Unavailable`.
pub async fn add_credits(tenant: &Tenant, limit_id: LimitId, whom: &Whom, units: u64) -> Result<LimitUse, Error> {
    tenant.require(Permission::LimitsWrite)?;
    if !(1..=CREDITS_ADDED_MAX).contains(&units) {
        return Err(Error::invalid("add", format!("give a whole number from 1 to {CREDITS_ADDED_MAX}")));
    }
    if made_before(tenant).await?.is_some() {
        let mut transaction = tenant.begin().await?;
        let found = find(&mut transaction, limit_id.uuid(), true).await?;
        return add(&mut transaction, found, whom, 0).await.map(|(_, balance)| balance);
    }
    let mut transaction = tenant.begin_change().await?;
    let found = lock(&mut transaction, limit_id).await?;
    let (limit, balance) = add(&mut transaction, found, whom, units).await?;
    let of_key = balance.key.as_ref().map(|(key_id, _)| key_id.to_string());
    let change = Change {
        action: "add_credits",
        target_kind: "limit",
        target_id: limit.id.to_string(),
        target_name: limit.name.as_str(),
        before: None,
        after: Some(json!({
            "added": units,
            "key": of_key,
            "identifier": balance.identifier.as_ref().map(Identifier::as_str),
            "left": balance.reading.remaining,
        })),
        reason: None,
    };
    audit::record(&mut transaction, &tenant.caller, change).await?;
    transaction.commit(limit_id.uuid()).await?;
    Ok(balance)
}

/// Adds to a balance, and tells how it stands.
async fn add(
    transaction: &mut TenantTx,
    (row, project): (LimitRow, Option<String>),
    whom: &Whom,
    units: u64,
) -> Result<(LimitView, LimitUse), Error> {
    let (tenant_id, counts_as, project_id) = (transaction.tenant_id(), row.counts_as.unwrap_or(row.id), row.project_id);
    let limit = row.view(project.as_deref())?;
    let Some(window) = limit.rule.window().filter(|window| matches!(window.kind(), WindowKind::Credits { .. })) else {
        return Err(Error::invalid("add", "this limit has no credits; a window cannot be added to"));
    };
    let whose = whose(transaction, &limit, project_id, whom).await?;
    let identifier = match whom {
        Whom::Identifier(identifier) => Some(identifier.clone()),
        Whom::Its | Whom::Key(_) => None,
    };
    let key = names(transaction, [whose]).await?.remove(&whose);
    let ask = Ask {
        tenant_id: TenantId::from_uuid(tenant_id),
        limit_id: LimitId::from_uuid(counts_as),
        whose,
        identifier: identifier.clone().map(Arc::new),
        of: Of::Total(TotalAsk { added: units, ..TotalAsk::about(*window) }),
    };
    let now = clock::now();
    // This leaves `Scoped` because the row is found by what belongs to a limit of the tenant; row security holds as well.
    let Answer::Total { state, .. } = totals::reserve_within(transaction.unscoped(), ask, now).await? else {
        return Err(Error::internal("a total was asked about"));
    };
    let reading = reading(&limit, window, state, now);
    Ok((limit, LimitUse::new((key, identifier), reading, now)))
}

/// Whose balance is meant.
async fn whose(
    transaction: &mut TenantTx,
    limit: &LimitView,
    project_id: Option<Uuid>,
    whom: &Whom,
) -> Result<Uuid, Error> {
    match (&limit.on, whom) {
        (LimitOn::Namespace { identifiers, .. }, Whom::Identifier(identifier)) => {
            let fits = identifiers.nearness(identifier).is_some();
            if fits { Ok(namespaces::whose(identifier)) } else { Err(Error::NotFound { noun: "identifier" }) }
        }
        (LimitOn::Namespace { .. }, _) => {
            Err(Error::invalid("identifier", "each identifier has a balance of its own; say which"))
        }
        (_, Whom::Identifier(_)) => Err(Error::invalid("identifier", "only a limit of a namespace has identifiers")),
        (LimitOn::Owner(_), Whom::Its) => Ok(limit.id.uuid()),
        (LimitOn::Owner(_), Whom::Key(_)) => {
            Err(Error::invalid("key_id", "the keys of an owner have one balance together; name none"))
        }
        (LimitOn::Key(own), Whom::Key(named)) if named != own => Err(Error::NotFound { noun: "key" }),
        (LimitOn::Key(own), _) => key_verbs::line_of(transaction, *own).await.map(|(line, ..)| line),
        (LimitOn::Project { .. }, Whom::Its) => {
            Err(Error::invalid("key_id", "each key of the project has a balance of its own; say which"))
        }
        (LimitOn::Project { environment, .. }, Whom::Key(named)) => {
            let (line, of_project, of_environment) = key_verbs::line_of(transaction, *named).await?;
            let is_there = Some(of_project) == project_id
                && environment.is_none_or(|environment| environment.as_str() == of_environment);
            if is_there { Ok(line) } else { Err(Error::NotFound { noun: "key" }) }
        }
    }
}

async fn names(
    transaction: &mut TenantTx,
    ids: impl IntoIterator<Item = Uuid>,
) -> Result<HashMap<Uuid, (KeyId, KeyName)>, Error> {
    let rows: Vec<(Uuid, String)> = transaction
        .of(keys::table)
        .filter(keys::id.eq_any(ids.into_iter().collect::<Vec<_>>()))
        .select((keys::id, keys::name))
        .load(transaction)
        .await?;
    let named =
        |(id, name): (Uuid, String)| Ok((id, (KeyId::from_uuid(id), KeyName::parse(&name).map_err(Error::internal)?)));
    rows.into_iter().map(named).collect()
}

/// What is left of the total; of the bucket only nodes know.
fn reading(limit: &LimitView, window: &Window, state: WindowState, now: Timestamp) -> Reading {
    let taken = window.take(state, window.span(now), now.timestamp_millis(), Cost::NOTHING);
    debug_assert!(taken.is_ok(), "reading {} is never refused", limit.name);
    match taken {
        Ok((_, reading)) => reading,
        Err(refusal) => refusal.reading,
    }
}
