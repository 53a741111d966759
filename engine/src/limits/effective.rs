//! Which limits a key is held to: its own, its owner's, and those of its project, the nearest of each name.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use diesel::prelude::*;
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use tronch_core::{KeyView, LimitId, LimitName, LimitView, Permission, TenantId};
use uuid::Uuid;

use super::cells::{Cells, KeyLimit};
use super::limit::Limit;
use super::rows::{LimitRow, RuleRow};
use crate::error::Error;
use crate::projects;
use crate::schema::limits;
use crate::tenancy::Tenant;

/// A key, as far as its limits depend on it.
pub(crate) struct Limited<'a> {
    pub(crate) key_id: Uuid,
    /// The first of its rotations: all of them are counted together.
    pub(crate) lineage_id: Uuid,
    pub(crate) tenant_id: Uuid,
    pub(crate) project_id: Uuid,
    pub(crate) environment: &'a str,
    pub(crate) owner: Option<&'a str>,
}

/// A limit, and where it was set.
#[derive(Queryable, Selectable)]
#[diesel(table_name = limits)]
pub(super) struct SetLimit {
    id: Uuid,
    tenant_id: Uuid,
    key_id: Option<Uuid>,
    owner_external_id: Option<String>,
    project_id: Option<Uuid>,
    environment: Option<String>,
    name: String,
    counts_as: Option<Uuid>,
    is_automatic: bool,
    is_exact: bool,
    #[diesel(embed)]
    rule: RuleRow,
}

/// How near to a key a limit was set; of two of one name the nearer counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Nearness {
    Project,
    Environment,
    Owner,
    Key,
}

impl SetLimit {
    pub(super) fn limit(&self) -> Result<Limit, Error> {
        let name = LimitName::parse(&self.name).map_err(Error::internal)?;
        let counts_as = LimitId::from_uuid(self.counts_as.unwrap_or(self.id));
        let tenant_id = TenantId::from_uuid(self.tenant_id);
        Ok(Limit::new(tenant_id, counts_as, name, (self.is_automatic, self.is_exact), self.rule.rule()?))
    }

    fn nearness(&self, key: &Limited<'_>) -> Option<Nearness> {
        let Self { key_id, owner_external_id, project_id, environment, .. } = self;
        if self.tenant_id == key.tenant_id {
            nearness(*key_id, owner_external_id.as_deref(), *project_id, environment.as_deref(), key)
        } else {
            None
        }
    }
}

fn nearness(
    key_id: Option<Uuid>,
    owner: Option<&str>,
    project_id: Option<Uuid>,
    environment: Option<&str>,
    key: &Limited<'_>,
) -> Option<Nearness> {
    match (key_id, owner, environment) {
        (Some(id), _, _) => (id == key.key_id).then_some(Nearness::Key),
        (_, Some(owner), _) => (Some(owner) == key.owner).then_some(Nearness::Owner),
        _ if project_id != Some(key.project_id) => None,
        (_, _, Some(environment)) => (environment == key.environment).then_some(Nearness::Environment),
        (_, _, None) => Some(Nearness::Project),
    }
}

/// The limits that a key is held to, by name.
///
/// # Errors
/// `Forbidden` without `limits.read`; `Unavailable`.
pub async fn limits_of_key(tenant: &Tenant, key: &KeyView) -> Result<Vec<LimitView>, Error> {
    tenant.require(Permission::LimitsRead)?;
    let mut transaction = tenant.begin().await?;
    let project = projects::find_project(&mut transaction, &key.project).await?;
    let owner = key.owner.as_ref().map(|owner| owner.external_id.as_str());
    let rows: Vec<LimitRow> = transaction
        .of(limits::table)
        .filter(limits::removed_at.is_null())
        .filter(
            limits::key_id
                .eq(key.id.uuid())
                .or(limits::owner_external_id.eq(owner))
                .or(limits::project_id.eq(project.id.uuid())),
        )
        .select(LimitRow::as_select())
        .load(&mut transaction)
        .await?;
    transaction.commit().await?;
    let limited = Limited {
        key_id: key.id.uuid(),
        // Nothing is counted here.
        lineage_id: key.id.uuid(),
        tenant_id: tenant.id.uuid(),
        project_id: project.id.uuid(),
        environment: key.environment.as_str(),
        owner,
    };
    let near = rows.into_iter().filter_map(|row| {
        let LimitRow { key_id, owner_external_id, project_id, environment, .. } = &row;
        let near = nearness(*key_id, owner_external_id.as_deref(), *project_id, environment.as_deref(), &limited)?;
        Some((row.name.clone(), near, row))
    });
    let view = |(_, row): (Nearness, LimitRow)| {
        let called = if row.key_id.is_some() { key.name.as_str() } else { project.slug.as_str() };
        row.view(Some(called))
    };
    nearest_of_each_name(near).into_values().map(view).collect()
}

/// Of limits with one name the nearest.
fn nearest_of_each_name<N: Ord, L>(near: impl Iterator<Item = (N, Nearness, L)>) -> BTreeMap<N, (Nearness, L)> {
    let mut nearest: BTreeMap<N, (Nearness, L)> = BTreeMap::new();
    for (name, nearness, limit) in near {
        if nearest.get(&name).is_none_or(|(held, _)| *held < nearness) {
            nearest.insert(name, (nearness, limit));
        }
    }
    nearest
}

/// The limits of each of several keys, in an order that is the same for all keys. What is wrong with one keeps only those who are held to it
/// from being answered.
///
/// This crosses tenants because keys of several are looked up in one question; each limit is held against its key's tenant.
pub(crate) async fn read_limits(
    connection: &mut AsyncPgConnection,
    cells: &Cells,
    keys: &[Limited<'_>],
) -> Result<Vec<Result<Box<[KeyLimit]>, Error>>, Error> {
    let tenants: Vec<Uuid> = keys.iter().map(|key| key.tenant_id).collect();
    let ids: Vec<Uuid> = keys.iter().map(|key| key.key_id).collect();
    let owners: Vec<&str> = keys.iter().filter_map(|key| key.owner).collect();
    let projects: Vec<Uuid> = keys.iter().map(|key| key.project_id).collect();
    let rows: Vec<SetLimit> = limits::table
        .filter(limits::removed_at.is_null())
        .filter(
            limits::key_id
                .eq_any(ids)
                .or(limits::owner_external_id.eq_any(owners).and(limits::tenant_id.eq_any(tenants)))
                .or(limits::project_id.eq_any(projects)),
        )
        .select(SetLimit::as_select())
        .load(connection)
        .await?;
    let known = rows.iter().map(|row| (row.id, row.limit().map(|limit| cells.limit(limit)))).collect();
    Ok(keys.iter().map(|key| of_key(key, &rows, &known, cells)).collect())
}

type Known = HashMap<Uuid, Result<Arc<Limit>, Error>>;

fn of_key(key: &Limited<'_>, rows: &[SetLimit], known: &Known, cells: &Cells) -> Result<Box<[KeyLimit]>, Error> {
    let near = rows.iter().filter_map(|row| Some((row.name.as_str(), row.nearness(key)?, row)));
    let mut found = Vec::new();
    for (nearness, row) in nearest_of_each_name(near).into_values() {
        let Some(Ok(limit)) = known.get(&row.id) else {
            return Err(Error::internal(format!("limit {} cannot be read", LimitId::from_uuid(row.id))));
        };
        // The keys of an owner are counted together, those of a project each for itself, with those it replaced.
        let whose = if nearness == Nearness::Owner { row.id } else { key.lineage_id };
        found.push(cells.of(limit, whose));
    }
    // By what they count, which a successor shares with its predecessor: two calls that hold the same cells must not hold them in
    // two orders, nor one call hold one twice.
    found.sort_unstable_by_key(KeyLimit::counts_as);
    found.dedup_by_key(|found| found.counts_as());
    Ok(found.into())
}

#[cfg(test)]
mod tests {
    use tronch_core::{Bucket, LimitRule};

    use super::*;

    fn set(id: u128, key: u128, name: &str, counts_as: Option<u128>) -> SetLimit {
        let rule = LimitRule::new(Some(Bucket::new(5, 1, 1).expect("a bucket")), None).expect("a rule");
        SetLimit {
            id: Uuid::from_u128(id),
            tenant_id: Uuid::from_u128(1),
            key_id: Some(Uuid::from_u128(key)),
            owner_external_id: None,
            project_id: None,
            environment: None,
            name: name.to_owned(),
            counts_as: counts_as.map(Uuid::from_u128),
            is_automatic: true,
            is_exact: false,
            rule: RuleRow::of(&rule),
        }
    }

    /// The copies of a successor were given ids in another order than those that they go on counting for.
    #[test]
    fn keys_of_one_line_hold_the_same_cells_in_the_same_order() {
        let rows = [
            set(10, 2, "first", None),
            set(11, 2, "second", None),
            set(20, 3, "second", Some(11)),
            set(21, 3, "first", Some(10)),
        ];
        let known: Known = rows.iter().map(|row| (row.id, row.limit().map(Arc::new))).collect();
        let cells = Cells::default();
        let [old, new] = [2, 3].map(|key| {
            let limited = Limited {
                key_id: Uuid::from_u128(key),
                lineage_id: Uuid::from_u128(2),
                tenant_id: Uuid::from_u128(1),
                project_id: Uuid::from_u128(9),
                environment: "live",
                owner: None,
            };
            of_key(&limited, &rows, &known, &cells).expect("limits")
        });
        assert_eq!((old.len(), new.len()), (2, 2));
        for (old, new) in old.iter().zip(&new) {
            assert!(Arc::ptr_eq(&old.count, &new.count) && old.limit.name == new.limit.name);
        }
    }
}
