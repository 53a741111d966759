//! A service token as it is stored and as it is shown. Rows never leave this folder.

use diesel::prelude::*;
use serde_json::Value;
use tronch_core::{Permission, ProjectId, ProjectSlug, ServiceTokenId, Timestamp, TokenName, TokenView};
use uuid::Uuid;

use crate::error::Error;
use crate::schema::service_tokens;

#[derive(Queryable, Selectable, Clone)]
#[diesel(table_name = service_tokens)]
pub(crate) struct TokenRow {
    pub(crate) id: Uuid,
    pub(crate) project_id: Option<Uuid>,
    pub(crate) environment: Option<String>,
    pub(crate) handle: String,
    pub(crate) name: String,
    pub(crate) permissions: Vec<String>,
    pub(crate) created_at: Timestamp,
    pub(crate) expires_at: Option<Timestamp>,
    pub(crate) revoked_at: Option<Timestamp>,
    pub(crate) last_used_at: Option<Timestamp>,
    pub(crate) bootstrap: bool,
    pub(crate) successor_id: Option<Uuid>,
}

#[derive(Insertable)]
#[diesel(table_name = service_tokens)]
pub(super) struct NewTokenRow<'a> {
    pub(super) id: Uuid,
    pub(super) project_id: Option<Uuid>,
    pub(super) environment: Option<&'a str>,
    pub(super) handle: &'a str,
    pub(super) name: &'a str,
    pub(super) permissions: Vec<&'a str>,
    pub(super) kdf_phc: &'a str,
    pub(super) tag: &'a [u8],
    pub(super) tag_key: &'a [u8],
    pub(super) created_at: Timestamp,
    pub(super) expires_at: Option<Timestamp>,
    pub(super) bootstrap: bool,
}

impl TokenRow {
    pub(super) fn view(self, project: Option<&str>) -> Result<TokenView, Error> {
        let permissions: Result<Vec<Permission>, _> = self.permissions.iter().map(|text| text.parse()).collect();
        Ok(TokenView {
            id: ServiceTokenId::from_uuid(self.id),
            handle: self.handle.parse().map_err(Error::internal)?,
            name: TokenName::parse(&self.name).map_err(Error::internal)?,
            permissions: permissions.map_err(Error::internal)?,
            project: project.map(ProjectSlug::parse).transpose().map_err(Error::internal)?,
            environment: self.environment.as_deref().map(str::parse).transpose().map_err(Error::internal)?,
            created_at: self.created_at,
            expires_at: self.expires_at,
            revoked_at: self.revoked_at,
            last_used_at: self.last_used_at,
            successor_id: self.successor_id.map(ServiceTokenId::from_uuid),
        })
    }
}

/// What the audit log keeps: nothing secret.
pub(crate) fn audited(row: &TokenRow) -> Value {
    let time = |time: Option<Timestamp>| time.map(tronch_core::format_timestamp);
    serde_json::json!({
        "name": row.name,
        "permissions": row.permissions,
        "project": row.project_id.map(|id| ProjectId::from_uuid(id).to_string()),
        "environment": row.environment,
        "expires_at": time(row.expires_at),
        "revoked_at": time(row.revoked_at),
        "successor": row.successor_id.map(|id| ServiceTokenId::from_uuid(id).to_string()),
    })
}
