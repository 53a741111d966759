//! A project as it is stored and as it is shown. Rows never leave this folder.

use diesel::prelude::*;
use serde_json::Value;
use tronch_core::{ProjectId, ProjectName, ProjectSlug, ProjectView, Timestamp};
use uuid::Uuid;

use crate::error::Error;
use crate::schema::projects;

#[derive(Queryable, Selectable, Clone)]
#[diesel(table_name = projects)]
pub(super) struct ProjectRow {
    pub(super) id: Uuid,
    pub(super) slug: String,
    pub(super) name: String,
    pub(super) grace_default_seconds: i32,
    pub(super) grace_max_seconds: i32,
    pub(super) auto_revoke: bool,
    pub(super) created_at: Timestamp,
    pub(super) updated_at: Timestamp,
    pub(super) archived_at: Option<Timestamp>,
}

impl ProjectRow {
    pub(super) fn view(self) -> Result<ProjectView, Error> {
        Ok(ProjectView {
            id: ProjectId::from_uuid(self.id),
            slug: ProjectSlug::parse(&self.slug).map_err(Error::internal)?,
            name: ProjectName::parse(&self.name).map_err(Error::internal)?,
            default_grace_seconds: u32::try_from(self.grace_default_seconds).map_err(Error::internal)?,
            max_grace_seconds: u32::try_from(self.grace_max_seconds).map_err(Error::internal)?,
            auto_revoke: self.auto_revoke,
            created_at: self.created_at,
            updated_at: self.updated_at,
            archived_at: self.archived_at,
        })
    }
}

/// What the audit log keeps.
pub(super) fn audited(row: &ProjectRow) -> Value {
    serde_json::json!({
        "slug": row.slug,
        "name": row.name,
        "default_grace_seconds": row.grace_default_seconds,
        "max_grace_seconds": row.grace_max_seconds,
        "auto_revoke": row.auto_revoke,
        "archived_at": row.archived_at.map(tronch_core::format_timestamp),
    })
}
