//! What the demo's keys are held to: each project's keys by themselves, and one customer for what costs most.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use tronch_core::{
    Bucket, CalendarUnit, ExternalId, LimitId, LimitName, LimitOn, LimitRule, ProjectSlug, TimeZone, Timestamp,
    VerdictCode, Window, WindowKind,
};
use uuid::Uuid;

use super::calls::{Calls, Cell, Counts, NIL};
use super::cast::PROJECTS;
use super::history::Doer;
use super::script::Script;
use super::store;
use crate::audit::{self, Change};
use crate::error::Error;
use crate::limits::{self, NewLimit, Place, audited, totals};
use crate::tenancy::TenantTx;

/// The first key of each key's rotations.
pub(super) type Lines = BTreeMap<Uuid, Uuid>;

/// How long after its beginning the organisation thought of it.
const SET_AFTER: TimeDelta = TimeDelta::days(2);

/// What is used of a total, so that something is seen.
const USED_TENTHS: u64 = 7;

/// How calls ended that limits had a say in.
const LIMITED: [VerdictCode; 2] = [VerdictCode::Valid, VerdictCode::RateLimited];

/// Whom the demo's invoices come from most.
const HEAVY_CUSTOMER: &str = "cus_1001";

/// What a limit of a project said of its keys' calls since it was set.
fn counted(calls: &Counts, project_id: Uuid, limit_id: LimitId, since: Timestamp) -> Counts {
    let mut counted = Counts::new();
    for (cell, count) in calls {
        let is_of_key = cell.project_id == project_id && cell.key_id != NIL;
        if is_of_key && cell.at >= since && LIMITED.map(VerdictCode::as_str).contains(&cell.code) {
            let of_limit = Cell { key_id: limit_id.uuid(), project_id: NIL, environment: "", ..*cell };
            *counted.entry(of_limit).or_default() += count;
        }
    }
    counted
}

/// How much the keys of a project used since then, with those that they replaced.
fn used(calls: &Calls, lines: &Lines, project_id: Uuid, since: Timestamp) -> BTreeMap<Uuid, u64> {
    let mut used = BTreeMap::new();
    for (cell, count) in &calls.hours {
        let is_valid = cell.code == VerdictCode::Valid.as_str();
        if let Some(line) = lines.get(&cell.key_id)
            && cell.project_id == project_id
            && cell.at >= since
            && is_valid
        {
            *used.entry(*line).or_default() += count;
        }
    }
    used
}

/// Sets them, as somebody did then.
pub(super) async fn set(
    transaction: &mut TenantTx,
    script: &Script,
    project_ids: &[Uuid],
    doer: &Doer,
    (calls, lines): (&Calls, &Lines),
) -> Result<(), Error> {
    let daily =
        WindowKind::Calendar { unit: CalendarUnit::Day, zone: "Europe/Berlin".parse().map_err(Error::internal)? };
    let monthly = WindowKind::Calendar { unit: CalendarUnit::Month, zone: TimeZone::UTC };
    let rules = [
        LimitRule::new(Some(Bucket::new(100, 20, 1).map_err(Error::internal)?), None),
        LimitRule::new(
            Some(Bucket::new(50, 10, 1).map_err(Error::internal)?),
            Some(Window::new(20_000, daily).map_err(Error::internal)?),
        ),
        LimitRule::new(None, Some(Window::new(1_000, monthly).map_err(Error::internal)?)),
    ];
    for (number, rule) in rules.into_iter().enumerate() {
        let rule = rule.map_err(Error::internal)?;
        let (place, on) = match (project_ids.get(number), PROJECTS.get(number)) {
            (Some(id), Some(project)) => {
                let slug = ProjectSlug::parse(project.slug).map_err(Error::internal)?;
                let called = Some(project.slug.to_owned());
                let place = Place { project_id: Some(*id), called, ..Place::default() };
                (place, LimitOn::Project { project: slug, environment: None })
            }
            _ => {
                let owner = ExternalId::parse(HEAVY_CUSTOMER).map_err(Error::internal)?;
                (Place { owner: Some(HEAVY_CUSTOMER.to_owned()), ..Place::default() }, LimitOn::Owner(owner))
            }
        };
        let is_automatic = place.owner.is_none();
        let name = if is_automatic { "default" } else { "exports" };
        let name = LimitName::parse(name).map_err(Error::internal)?;
        let at = script.founded_at + SET_AFTER;
        let limit =
            limits::insert(transaction, &place, &NewLimit { on, name, is_automatic, is_exact: false, rule }, at)
                .await?;
        let change = Change {
            action: "create_limit",
            target_kind: "limit",
            target_id: limit.id.to_string(),
            target_name: limit.name.as_str(),
            before: None,
            after: Some(audited(&limit)),
            reason: None,
        };
        audit::record_of(transaction, doer.actor.clone(), &doer.origin, change, at).await?;
        if let Some(project_id) = place.project_id {
            for (table, counts) in calls.tables() {
                store::insert_counts(transaction, table, &counted(counts, project_id, limit.id, at)).await?;
            }
        }
        if let (Some(project_id), Some(window)) = (place.project_id, limit.rule.window()) {
            for (whose, used) in used(calls, lines, project_id, window.span(script.now).start()) {
                totals::insert_used(transaction, limit.id, whose, window, used.min(window.total())).await?;
            }
        }
        if let (LimitOn::Owner(_), Some(window)) = (&limit.on, limit.rule.window()) {
            let used = window.total() / 10 * USED_TENTHS;
            totals::insert_used(transaction, limit.id, limit.id.uuid(), window, used).await?;
        }
    }
    Ok(())
}
