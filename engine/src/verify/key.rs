//! A key as validation knows it: all that a verdict and its answer need, read in one SELECT, and its limits in one more where its
//! tenant has set some.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use compact_str::CompactString;
use diesel::prelude::*;
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};
use smallvec::SmallVec;
use tronch_core::{
    Environment, ExternalId, Handle, KeyId, KeyName, KeyPermission, KeySnapshot, ProjectId, ProjectSlug, RotationView,
    TenantId, TenantSlug, Timestamp,
};
use uuid::Uuid;

use super::cache::Remembered;
use super::memory::{Facts, Found};
use super::questions::Rows;
use crate::Engine;
use crate::clock;
use crate::error::Error;
use crate::keyring::{Tag, TagKeyId};
use crate::keys::rows::revoked_at_beside_tenant;
use crate::limits::cells::KeyLimit;
use crate::limits::effective::{self, Limited};
use crate::node::{Kind, Node};
use crate::schema::{change_log_head, keys, projects, tenants};
use crate::usage::{Subject, Tallied, Tally};

/// What a service may know of a key that is its tenant's. Kept for each key that is asked about: every byte counts, and
/// every line of memory that a call has to fetch. So what a plain key has not stands apart, and what keys share is shared.
pub struct KeyFacts {
    pub(super) tag: Tag,
    pub(super) tag_key: TagKeyId,
    key_id: KeyId,
    environment: Environment,
    disabled: bool,
    /// In place, where it is short: a place of its own would be one more to wait for.
    name: CompactString,
    place: Arc<Place>,
    extras: Option<Box<Extras>>,
    /// How often it passed.
    tally: Tally,
}

/// What a key may have besides. Many have nothing of it but limits.
struct Extras {
    rare: Option<Box<Rare>>,
    /// In place, where they are few: a place of their own would be one more to wait for.
    limits: SmallVec<[KeyLimit; 2]>,
}

/// What few have.
struct Rare {
    revoked_at: Option<Timestamp>,
    expires_at: Option<Timestamp>,
    grace_ends_at: Option<Timestamp>,
    permissions: Box<[KeyPermission]>,
    owner: Option<Box<str>>,
    /// Nothing for an empty object.
    metadata: Option<Box<RawValue>>,
    rotation: Option<RotationView>,
}

impl Rare {
    fn has_any(&self) -> bool {
        let Self { revoked_at, expires_at, grace_ends_at, permissions, owner, metadata, rotation } = self;
        [revoked_at, expires_at, grace_ends_at].into_iter().any(Option::is_some)
            || !permissions.is_empty()
            || owner.is_some()
            || metadata.is_some()
            || rotation.is_some()
    }
}

impl Tallied for Remembered<KeyFacts> {
    fn tally(&self) -> &Tally {
        &self.facts.tally
    }

    fn subject(&self) -> Subject {
        let KeyFacts { key_id, environment, place, .. } = &self.facts;
        Subject::Key {
            tenant_id: place.tenant_id,
            key_id: *key_id,
            project_id: place.project_id,
            environment: *environment,
            last_used: clock::at(self.last_used()),
        }
    }
}

/// Whose keys, for which API: the same for many.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Place {
    tenant_id: TenantId,
    project_id: ProjectId,
    tenant: TenantSlug,
    project: ProjectSlug,
    offline_lease: Duration,
}

impl KeyFacts {
    /// What a verdict depends on.
    pub(super) fn snapshot(&self) -> KeySnapshot<'_> {
        let rare = self.rare();
        KeySnapshot {
            key_id: self.key_id,
            tenant_id: self.place.tenant_id,
            project_id: self.place.project_id,
            environment: self.environment,
            disabled: self.disabled,
            revoked_at: rare.and_then(|rare| rare.revoked_at),
            expires_at: self.expires_at(),
            grace_ends_at: rare.and_then(|rare| rare.grace_ends_at),
            permissions: self.permissions().into(),
        }
    }

    fn rare(&self) -> Option<&Rare> {
        self.extras.as_ref()?.rare.as_deref()
    }

    /// Which key.
    pub fn key_id(&self) -> KeyId {
        self.key_id
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whose it is.
    pub(super) fn tenant_id(&self) -> TenantId {
        self.place.tenant_id
    }

    /// The same for people.
    pub fn tenant(&self) -> &TenantSlug {
        &self.place.tenant
    }

    /// For which API.
    pub fn project(&self) -> &ProjectSlug {
        &self.place.project
    }

    /// The same as an id.
    pub fn project_id(&self) -> ProjectId {
        self.place.project_id
    }

    /// Test or live.
    pub fn environment(&self) -> Environment {
        self.environment
    }

    /// Whom it was issued to.
    pub fn owner(&self) -> Option<&str> {
        self.rare()?.owner.as_deref()
    }

    /// The tenant's own data; nothing for an empty object.
    pub fn metadata(&self) -> Option<&RawValue> {
        self.rare()?.metadata.as_deref()
    }

    /// What it holds.
    pub fn permissions(&self) -> &[KeyPermission] {
        self.rare().map_or(&[], |rare| &rare.permissions)
    }

    /// When the clock ends it.
    pub fn expires_at(&self) -> Option<Timestamp> {
        self.rare()?.expires_at
    }

    /// What it is held to.
    pub(super) fn limits(&self) -> &[KeyLimit] {
        self.extras.as_ref().map_or(&[], |extras| &extras.limits)
    }

    /// Its place in a rotation.
    pub fn rotation(&self) -> Option<&RotationView> {
        self.rare()?.rotation.as_ref()
    }
}

impl std::fmt::Debug for KeyFacts {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "KeyFacts({})", self.key_id)
    }
}

/// Of a key's own row, what an answer needs; read beside its tenant's.
#[derive(Queryable, Selectable)]
#[diesel(table_name = keys)]
struct Columns {
    id: Uuid,
    tenant_id: Uuid,
    project_id: Uuid,
    environment: String,
    handle: String,
    name: String,
    owner_external_id: Option<String>,
    metadata: Value,
    permissions: Vec<String>,
    tag: Vec<u8>,
    tag_key: Vec<u8>,
    expires_at: Option<Timestamp>,
    disabled_at: Option<Timestamp>,
    #[diesel(select_expression = revoked_at_beside_tenant())]
    revoked_at: Option<Timestamp>,
    grace_ends_at: Option<Timestamp>,
    predecessor_id: Option<Uuid>,
    successor_id: Option<Uuid>,
    lineage_id: Option<Uuid>,
}

/// The key, its project's slug, its tenant's, how long it is answered without Postgres, whether the tenant has limits, and the
/// number of the last change.
type Row = (Columns, String, String, i32, bool, Option<i64>);

impl Facts for KeyFacts {
    const KIND: Kind = Kind::Key;

    /// This crosses tenants because whose a handle is becomes known only by reading it; the caller compares the tenant.
    async fn read(engine: &Engine, handles: &[Handle]) -> Result<Rows<Self>, Error> {
        let mut connection = engine.db().data_plane().await?;
        let rows: Vec<Row> = keys::table
            .inner_join(projects::table)
            .inner_join(tenants::table)
            .filter(keys::handle.eq_any(handles.iter().map(Handle::as_str)))
            .select((
                Columns::as_select(),
                projects::slug,
                tenants::slug,
                tenants::offline_lease_seconds,
                tenants::has_limits,
                change_log_head::table.select(change_log_head::n).single_value(),
            ))
            .load(&mut connection)
            .await?;
        let mut limits = read_limits(engine, &mut connection, &rows).await?;
        let of_row = |row: Row| {
            let limits = limits.remove(&row.0.id).unwrap_or_else(|| Ok(Box::default()));
            Ok((row.0.handle.parse().map_err(Error::internal)?, limits.and_then(|limits| of_row(engine, row, limits))))
        };
        rows.into_iter().map(of_row).collect()
    }

    fn shared(&self, node: &Node) -> [u64; 3] {
        let tenant_id = self.place.tenant_id.uuid();
        let project = node.hash_shared(Kind::Project, &self.place.project_id.uuid().to_string());
        let tenant = node.hash_shared(Kind::Tenant, &tenant_id.to_string());
        let owner = self.owner().map(|owner| node.hash_shared(Kind::Owner, &format!("{tenant_id}:{owner}")));
        [project, owner.unwrap_or(tenant), tenant]
    }

    fn offline_lease(&self) -> Duration {
        self.place.offline_lease
    }
}

/// The limits of those keys that may have some, by the key's id.
async fn read_limits(
    engine: &Engine,
    connection: &mut AsyncPgConnection,
    rows: &[Row],
) -> Result<HashMap<Uuid, Result<Box<[KeyLimit]>, Error>>, Error> {
    let limited: Vec<Limited<'_>> = rows
        .iter()
        .filter(|row| row.4)
        .map(|(row, ..)| Limited {
            key_id: row.id,
            // One that was made before lines were noted goes on with its predecessor.
            lineage_id: row.lineage_id.or(row.predecessor_id).unwrap_or(row.id),
            tenant_id: row.tenant_id,
            project_id: row.project_id,
            environment: &row.environment,
            owner: row.owner_external_id.as_deref(),
        })
        .collect();
    if limited.is_empty() {
        return Ok(HashMap::new());
    }
    let found = effective::read_limits(connection, engine.cells(), &limited).await?;
    Ok(limited.iter().map(|key| key.key_id).zip(found).collect())
}

fn of_row(engine: &Engine, row: Row, limits: Box<[KeyLimit]>) -> Result<Found<KeyFacts>, Error> {
    let (row, project, tenant, offline_lease_seconds, _, known) = row;
    let project_id = ProjectId::from_uuid(row.project_id);
    let place = Place {
        tenant_id: TenantId::from_uuid(row.tenant_id),
        project_id,
        tenant: TenantSlug::parse(&tenant).map_err(Error::internal)?,
        project: ProjectSlug::parse(&project).map_err(Error::internal)?,
        offline_lease: seconds(offline_lease_seconds),
    };
    let owner = row.owner_external_id.as_deref().map(ExternalId::parse).transpose().map_err(Error::internal)?;
    let name = KeyName::parse(&row.name).map_err(Error::internal)?;
    let permissions: Result<Box<[KeyPermission]>, _> =
        row.permissions.iter().map(|text| KeyPermission::parse(text)).collect();
    let rare = Rare {
        revoked_at: row.revoked_at,
        expires_at: row.expires_at,
        grace_ends_at: row.grace_ends_at,
        permissions: permissions.map_err(Error::internal)?,
        owner: owner.map(|owner| owner.as_str().into()),
        metadata: metadata(&row.metadata)?,
        rotation: RotationView::of(
            row.predecessor_id.map(KeyId::from_uuid),
            row.successor_id.map(KeyId::from_uuid),
            row.grace_ends_at,
        ),
    };
    let rare = rare.has_any().then(|| Box::new(rare));
    let extras =
        (rare.is_some() || !limits.is_empty()).then(|| Box::new(Extras { rare, limits: limits.into_iter().collect() }));
    let facts = KeyFacts {
        tag: Tag::of_stored(&row.tag)?,
        tag_key: TagKeyId::of_stored(&row.tag_key)?,
        key_id: KeyId::from_uuid(row.id),
        environment: row.environment.parse().map_err(Error::internal)?,
        disabled: row.disabled_at.is_some(),
        name: CompactString::new(name.as_str()),
        place: engine.places().share(project_id, place),
        extras,
        tally: Tally::default(),
    };
    Ok((facts, known.unwrap_or_default()))
}

fn metadata(value: &Value) -> Result<Option<Box<RawValue>>, Error> {
    match value {
        Value::Object(object) if object.is_empty() => Ok(None),
        value => to_raw_value(value).map(Some).map_err(Error::internal),
    }
}

pub(super) fn seconds(seconds: i32) -> Duration {
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

/// From so many on, those that no key is of are looked for.
const PLACES_MAX: usize = 10_000;

/// The places that keys in memory are of, each once.
#[derive(Default)]
pub(crate) struct Places(std::sync::Mutex<HashMap<ProjectId, Arc<Place>>>);

impl Places {
    fn share(&self, project_id: ProjectId, place: Place) -> Arc<Place> {
        let mut places = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match places.get(&project_id) {
            Some(held) if **held == place => Arc::clone(held),
            _ => {
                if places.len() >= PLACES_MAX {
                    // Those of keys that were pushed out.
                    places.retain(|_, held| Arc::strong_count(held) > 1);
                }
                let place = Arc::new(place);
                places.insert(project_id, Arc::clone(&place));
                place
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A hundred thousand keys are read from memory at random: what an entry takes is what a call waits for.
    #[test]
    fn a_plain_key_takes_few_lines_of_memory() {
        assert!(size_of::<Remembered<KeyFacts>>() <= 144, "{}", size_of::<Remembered<KeyFacts>>());
    }
}
