//! A key as it is stored and as it is shown. Rows never leave this folder.

use diesel::dsl::{auto_type, case_when};
use diesel::prelude::*;
use diesel::sql_types::{Nullable, Text, Timestamptz, Uuid as SqlUuid};
use serde_json::Value;
use tronch_core::{
    CredentialKind, Environment, ExternalId, Handle, KeyId, KeyName, KeyPermission, KeySnapshot, KeyView, OwnerView,
    ProjectId, ProjectSlug, RevokeReason, RotationView, TenantId, TenantSlug, Timestamp, state,
};
use uuid::Uuid;

use crate::clock;
use crate::error::Error;
use crate::schema::{keys, tenants};

diesel::define_sql_function! {
    /// Postgres's own, of two times.
    #[sql_name = "coalesce"]
    fn first_given(a: Nullable<Timestamptz>, b: Nullable<Timestamptz>) -> Nullable<Timestamptz>;
}

diesel::define_sql_function! {
    /// Of the schema: when a key was revoked with others, if it was.
    fn tronch_key_cut_off_at(
        tenant_id: SqlUuid, project_id: SqlUuid, environment: Text, owner: Nullable<Text>, created_at: Timestamptz,
    ) -> Nullable<Timestamptz>;
}

/// When a key was revoked: alone, or with others by a cut-off that its own row does not tell of yet. The latter is asked for
/// only of keys that are older than their tenant's latest cut-off.
macro_rules! revoked_at {
    ($visibility:vis fn $name:ident, $($latest:tt)+) => {
        #[auto_type]
        $visibility fn $name() -> _ {
            let cut_off_at = tronch_key_cut_off_at(
                keys::tenant_id,
                keys::project_id,
                keys::environment,
                keys::owner_external_id,
                keys::created_at,
            );
            let latest = $($latest)+;
            first_given(keys::revoked_at, case_when(keys::created_at.nullable().lt(latest), cut_off_at))
        }
    };
}

// This leaves `Scoped` because it is no query but a column of one, and whoever asks for it has begun with the tenant.
revoked_at!(
    fn revoked_at,
    tenants::table.filter(tenants::id.eq(keys::tenant_id)).select(tenants::latest_key_cutoff).single_value()
);
// Where the query reads the tenant anyway.
revoked_at!(pub(crate) fn revoked_at_beside_tenant, tenants::latest_key_cutoff);

/// All that verbs and views need of a key; not its hash and tag.
#[derive(Queryable, Selectable, Clone)]
#[diesel(table_name = keys)]
pub(crate) struct KeyRow {
    pub(crate) id: Uuid,
    pub(crate) tenant_id: Uuid,
    pub(crate) project_id: Uuid,
    pub(crate) environment: String,
    pub(crate) handle: String,
    pub(crate) name: String,
    pub(crate) name_folded: String,
    pub(crate) owner_external_id: Option<String>,
    pub(crate) metadata: Value,
    pub(crate) permissions: Vec<String>,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
    pub(crate) expires_at: Option<Timestamp>,
    pub(crate) disabled_at: Option<Timestamp>,
    #[diesel(select_expression = revoked_at())]
    pub(crate) revoked_at: Option<Timestamp>,
    pub(crate) revoke_reason: Option<String>,
    pub(crate) grace_ends_at: Option<Timestamp>,
    pub(crate) predecessor_id: Option<Uuid>,
    pub(crate) successor_id: Option<Uuid>,
    pub(crate) lineage_id: Option<Uuid>,
    pub(crate) last_used_at: Option<Timestamp>,
}

#[derive(Insertable)]
#[diesel(table_name = keys)]
pub(super) struct NewKeyRow<'a> {
    pub(super) id: Uuid,
    pub(super) project_id: Uuid,
    pub(super) environment: &'a str,
    pub(super) handle: &'a str,
    pub(super) name: &'a str,
    pub(super) owner_external_id: Option<&'a str>,
    pub(super) metadata: &'a Value,
    pub(super) permissions: Vec<&'a str>,
    pub(super) kdf_phc: &'a str,
    pub(super) tag: &'a [u8],
    pub(super) tag_key: &'a [u8],
    pub(super) created_at: Timestamp,
    pub(super) updated_at: Timestamp,
    pub(super) expires_at: Option<Timestamp>,
    pub(super) disabled_at: Option<Timestamp>,
    pub(super) predecessor_id: Option<Uuid>,
    pub(super) lineage_id: Option<Uuid>,
}

impl KeyRow {
    pub(crate) fn key_id(&self) -> KeyId {
        KeyId::from_uuid(self.id)
    }

    fn permissions(&self) -> Result<Vec<KeyPermission>, Error> {
        self.permissions.iter().map(|text| KeyPermission::parse(text).map_err(Error::internal)).collect()
    }

    fn environment(&self) -> Result<Environment, Error> {
        self.environment.parse().map_err(Error::internal)
    }

    /// What a verdict depends on.
    pub(crate) fn snapshot(&self) -> Result<KeySnapshot<'static>, Error> {
        Ok(KeySnapshot {
            key_id: self.key_id(),
            tenant_id: TenantId::from_uuid(self.tenant_id),
            project_id: ProjectId::from_uuid(self.project_id),
            environment: self.environment()?,
            disabled: self.disabled_at.is_some(),
            revoked_at: self.revoked_at,
            expires_at: self.expires_at,
            grace_ends_at: self.grace_ends_at,
            permissions: self.permissions()?.into(),
        })
    }

    pub(crate) fn rotation(&self) -> Option<RotationView> {
        RotationView::of(
            self.predecessor_id.map(KeyId::from_uuid),
            self.successor_id.map(KeyId::from_uuid),
            self.grace_ends_at,
        )
    }

    /// What pages and the API show.
    pub(crate) fn view(self, tenant: &TenantSlug, project: &str) -> Result<KeyView, Error> {
        let snapshot = self.snapshot()?;
        let rotation = self.rotation();
        let handle: Handle = self.handle.parse().map_err(Error::internal)?;
        let owner = self.owner_external_id.as_deref().map(ExternalId::parse).transpose().map_err(Error::internal)?;
        let reason = self.revoke_reason.as_deref().map(RevokeReason::parse).transpose().map_err(Error::internal)?;
        Ok(KeyView {
            id: snapshot.key_id,
            handle,
            display_handle: CredentialKind::Key(snapshot.environment).display_handle(handle),
            name: KeyName::parse(&self.name).map_err(Error::internal)?,
            tenant: tenant.clone(),
            project: ProjectSlug::parse(project).map_err(Error::internal)?,
            environment: snapshot.environment,
            owner: owner.map(|external_id| OwnerView { external_id }),
            metadata_json: self.metadata.to_string(),
            state: state(&snapshot, clock::now()),
            permissions: snapshot.permissions.into_owned(),
            created_at: self.created_at,
            updated_at: self.updated_at,
            expires_at: self.expires_at,
            disabled_at: self.disabled_at,
            revoked_at: self.revoked_at,
            revoke_reason: reason,
            rotation,
            grace_ends_at: self.grace_ends_at,
            last_used_at: self.last_used_at,
        })
    }
}

/// What the audit log keeps of a key before or after a change: all that can be changed, nothing secret.
pub(crate) fn audited(row: &KeyRow) -> Value {
    let time = |time: Option<Timestamp>| time.map(tronch_core::format_timestamp);
    serde_json::json!({
        "name": row.name,
        "environment": row.environment,
        "owner": row.owner_external_id,
        "metadata": row.metadata,
        "permissions": row.permissions,
        "expires_at": time(row.expires_at),
        "disabled_at": time(row.disabled_at),
        "revoked_at": time(row.revoked_at),
        "revoke_reason": row.revoke_reason,
        "grace_ends_at": time(row.grace_ends_at),
        "predecessor_id": row.predecessor_id.map(|id| KeyId::from_uuid(id).to_string()),
        "successor_id": row.successor_id.map(|id| KeyId::from_uuid(id).to_string()),
    })
}
