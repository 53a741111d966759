//! Letting a service token in: form, gate, entry, tag, state. Never by a further token.

use chrono::Utc;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use tronch_core::{
    Environment, Permission, PresentedToken, ProjectId, ProjectSlug, ServiceTokenId, TenantId, TenantSlug, Timestamp,
};
use uuid::Uuid;

use super::Verifier;
use crate::Engine;
use crate::caller::{Caller, Identity, Origin, Scope};
use crate::error::Error;
use crate::keyring::TagLabel;
use crate::schema::{projects, service_tokens, tenants};

/// A service token that was let in.
#[derive(Debug, Clone)]
pub struct ServiceToken {
    pub(super) tenant_id: TenantId,
    pub(super) id: ServiceTokenId,
    name: String,
    tenant: TenantSlug,
    permissions: Vec<Permission>,
    project_id: Option<ProjectId>,
    project: Option<ProjectSlug>,
    environment: Option<Environment>,
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = service_tokens)]
struct TokenRow {
    id: Uuid,
    tenant_id: Uuid,
    project_id: Option<Uuid>,
    environment: Option<String>,
    name: String,
    permissions: Vec<String>,
    tag: Vec<u8>,
    tag_key: Vec<u8>,
    expires_at: Option<Timestamp>,
    revoked_at: Option<Timestamp>,
}

impl Verifier {
    /// The service token behind a bearer text.
    ///
    /// # Errors
    /// `Unauthenticated` for whatever is no live service token; `Unavailable` when we cannot know.
    pub async fn authenticate(&self, bearer: &str) -> Result<ServiceToken, Error> {
        let presented = PresentedToken::parse(bearer).map_err(|_| Error::Unauthenticated)?;
        let keyring = self.engine.keyring();
        if keyring.gate_value(presented.gate_input()) != presented.gate_value() {
            return Err(Error::Unauthenticated);
        }
        let (row, tenant, project) =
            find(&self.engine, presented.handle().as_str()).await?.ok_or(Error::Unauthenticated)?;
        let tenant_id = TenantId::from_uuid(row.tenant_id);
        let tag = keyring
            .tag_with(&row.tag_key, TagLabel::Token, tenant_id, presented.expose())
            .ok_or(Error::Unavailable { what: "the master secret this token was made with", source: None })?;
        let live = row.revoked_at.is_none() && row.expires_at.is_none_or(|end| Utc::now() < end);
        if !tag.matches(&row.tag) || !live {
            return Err(Error::Unauthenticated);
        }
        let permissions: Result<Vec<Permission>, _> = row.permissions.iter().map(|text| text.parse()).collect();
        Ok(ServiceToken {
            tenant_id,
            id: ServiceTokenId::from_uuid(row.id),
            name: row.name,
            tenant: TenantSlug::parse(&tenant).map_err(Error::internal)?,
            permissions: permissions.map_err(Error::internal)?,
            project_id: row.project_id.map(ProjectId::from_uuid),
            project: project.as_deref().map(ProjectSlug::parse).transpose().map_err(Error::internal)?,
            environment: row.environment.as_deref().map(str::parse).transpose().map_err(Error::internal)?,
        })
    }

    /// A token as the caller of a verb; that is a use of it.
    pub fn caller(&self, token: ServiceToken, origin: Origin) -> Caller {
        self.engine.usage().token_used(token.id, Utc::now());
        let identity = Identity::ServiceToken {
            id: token.id.to_string(),
            name: token.name,
            tenant_id: token.tenant_id,
            permissions: token.permissions,
            scope: Scope { project: token.project_id, environment: token.environment },
        };
        Caller { identity, origin }
    }
}

/// This crosses tenants because whose a token is becomes known only by reading it.
async fn find(engine: &Engine, handle: &str) -> Result<Option<(TokenRow, String, Option<String>)>, Error> {
    let mut connection = engine.db().data_plane().await?;
    Ok(service_tokens::table
        .inner_join(tenants::table)
        .left_join(projects::table.on(service_tokens::project_id.eq(projects::id.nullable())))
        .filter(service_tokens::handle.eq(handle))
        .select((TokenRow::as_select(), tenants::slug, projects::slug.nullable()))
        .first(&mut connection)
        .await
        .optional()?)
}

impl ServiceToken {
    /// The tenant it belongs to.
    pub fn tenant(&self) -> &TenantSlug {
        &self.tenant
    }

    /// The one project it is for, if only one.
    pub fn project(&self) -> Option<&ProjectSlug> {
        self.project.as_ref()
    }

    /// The one environment it is for, if only one.
    pub fn environment(&self) -> Option<Environment> {
        self.environment
    }

    /// What it may do is what it holds.
    ///
    /// # Errors
    /// `Forbidden` when it does not hold it.
    pub fn require(&self, permission: Permission) -> Result<(), Error> {
        if self.permissions.contains(&permission) {
            Ok(())
        } else {
            Err(Error::Forbidden { permission: permission.as_str() })
        }
    }

    /// The token's own, else what is asked for, else live.
    pub(super) fn expected_environment(&self, asked: Option<Environment>) -> Result<Environment, Error> {
        match (self.environment, asked) {
            (Some(own), Some(asked)) if own != asked => Err(Error::OutsideToken { what: "environment" }),
            (own, asked) => Ok(own.or(asked).unwrap_or(Environment::Live)),
        }
    }

    /// The token's own, else what is asked for, else the tenant's only one.
    pub(super) async fn expected_project(
        &self,
        engine: &Engine,
        asked: Option<&ProjectSlug>,
    ) -> Result<ProjectSlug, Error> {
        match (&self.project, asked) {
            (Some(own), Some(asked)) if own != asked => Err(Error::OutsideToken { what: "project" }),
            (Some(project), _) | (None, Some(project)) => Ok(project.clone()),
            (None, None) => only_project(engine, self.tenant_id).await,
        }
    }
}

/// This crosses tenants because the data plane has no tenant's transaction; the tenant is the token's own.
async fn only_project(engine: &Engine, tenant_id: TenantId) -> Result<ProjectSlug, Error> {
    let mut connection = engine.db().data_plane().await?;
    let slugs: Vec<String> = projects::table
        .filter(projects::tenant_id.eq(tenant_id.uuid()))
        .filter(projects::archived_at.is_null())
        .select(projects::slug)
        .limit(2)
        .load(&mut connection)
        .await?;
    match slugs.as_slice() {
        [only] => ProjectSlug::parse(only).map_err(Error::internal),
        _ => Err(Error::invalid("project", "this tenant has several projects: say which one the key must belong to")),
    }
}
