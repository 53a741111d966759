//! Reading a key by its handle: all that a verdict and its answer need, in one SELECT.

use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use tronch_core::{
    Environment, ExternalId, Handle, KeyId, KeyName, KeyPermission, KeySnapshot, ProjectId, ProjectSlug, RotationView,
    TenantSlug, Timestamp,
};

use crate::Engine;
use crate::error::Error;
use crate::keys::rows::KeyRow;
use crate::schema::{keys, projects, tenants};

/// What a service may know of a key that is its tenant's.
#[derive(Debug, Clone)]
pub struct KeyFacts {
    /// Which key.
    pub key_id: KeyId,
    /// Its public part.
    pub handle: Handle,
    /// What it is called.
    pub name: KeyName,
    /// Whose it is.
    pub tenant: TenantSlug,
    /// For which API.
    pub project: ProjectSlug,
    /// The same as an id.
    pub project_id: ProjectId,
    /// Test or live.
    pub environment: Environment,
    /// Whom it was issued to.
    pub owner: Option<ExternalId>,
    /// The tenant's own data, as JSON text.
    pub metadata_json: String,
    /// What it holds.
    pub permissions: Vec<KeyPermission>,
    /// When the clock ends it.
    pub expires_at: Option<Timestamp>,
    /// Its place in a rotation.
    pub rotation: Option<RotationView>,
}

/// A key as it is stored, with what proves it.
pub(super) struct StoredKey {
    pub(super) snapshot: KeySnapshot,
    pub(super) facts: KeyFacts,
    pub(super) tag: Vec<u8>,
    pub(super) tag_key: Vec<u8>,
}

/// The key, its tag, the id of the pepper behind that, its project's slug and its tenant's.
type Row = (KeyRow, Vec<u8>, Vec<u8>, String, String);

/// This crosses tenants because whose a handle is becomes known only by reading it; the caller compares the tenant.
pub(super) async fn find(engine: &Engine, handle: Handle) -> Result<Option<StoredKey>, Error> {
    let mut connection = engine.db().data_plane().await?;
    let row: Option<Row> = keys::table
        .inner_join(projects::table)
        .inner_join(tenants::table)
        .filter(keys::handle.eq(handle.as_str()))
        .select((KeyRow::as_select(), keys::tag, keys::tag_key, projects::slug, tenants::slug))
        .first(&mut connection)
        .await
        .optional()?;
    let Some((row, tag, tag_key, project, tenant)) = row else { return Ok(None) };
    let snapshot = row.snapshot()?;
    let facts = KeyFacts {
        key_id: snapshot.key_id,
        handle,
        name: KeyName::parse(&row.name).map_err(Error::internal)?,
        tenant: TenantSlug::parse(&tenant).map_err(Error::internal)?,
        project: ProjectSlug::parse(&project).map_err(Error::internal)?,
        project_id: snapshot.project_id,
        environment: snapshot.environment,
        owner: row.owner_external_id.as_deref().map(ExternalId::parse).transpose().map_err(Error::internal)?,
        metadata_json: row.metadata.to_string(),
        permissions: snapshot.permissions.clone(),
        expires_at: snapshot.expires_at,
        rotation: row.rotation(),
    };
    Ok(Some(StoredKey { snapshot, facts, tag, tag_key }))
}
