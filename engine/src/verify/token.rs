//! Letting a service token in: form, entry, tag, state. Never by a further token. What it may do afterwards is asked of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use diesel::dsl::sql as raw;
use diesel::prelude::*;
use diesel::sql_types::{Array, Text};
use diesel_async::RunQueryDsl;
use tokio::time::Instant;
use tronch_core::{
    Environment, Handle, Permission, PresentedToken, ProjectId, ProjectSlug, ServiceTokenId, TenantId, TenantSlug,
    Timestamp,
};
use uuid::Uuid;

use super::Verifier;
use super::budget::Budget;
use super::cache::Remembered;
use super::key::seconds;
use super::memory::{Facts, Found, Known, Presented};
use super::questions::Rows;
use super::recover::{Proof, Unproven};
use crate::Engine;
use crate::caller::{Caller, Identity, Origin, Scope};
use crate::clock;
use crate::error::Error;
use crate::keyring::{Tag, TagKeyId, TagLabel};
use crate::node::lease::Standing;
use crate::node::{Kind, Node};
use crate::schema::{change_log_head, projects, service_tokens, tenants};

/// Tokens that are remembered at most.
pub(super) const REMEMBERED_MAX: usize = 100_000;

/// Unknown keys that one token may have looked up a second.
const UNKNOWN_PER_SECOND: u32 = 20;

/// A service token that was let in.
#[derive(Clone)]
pub struct ServiceToken(Arc<Remembered<TokenFacts>>);

/// A service token as it is remembered.
pub(crate) struct TokenFacts {
    tenant_id: TenantId,
    id: ServiceTokenId,
    name: String,
    tenant: TenantSlug,
    offline_lease: Duration,
    permissions: Vec<Permission>,
    project_id: Option<ProjectId>,
    project: Option<ProjectSlug>,
    /// The tenant's, where it has only one that is open.
    only_project: Option<ProjectSlug>,
    environment: Option<Environment>,
    tag: Tag,
    tag_key: TagKeyId,
    expires_at: Option<Timestamp>,
    is_revoked: bool,
    unknown_keys: Arc<Budget>,
    /// The last minute of which its use was noted.
    noted_minute: AtomicI64,
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = service_tokens)]
struct TokenRow {
    id: Uuid,
    handle: String,
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

/// The token, its tenant's slug, how long it is let in without Postgres, whether that was deleted, the slug of its project, those of the
/// tenant's open ones, and the number of the last change.
type Row = (TokenRow, String, (i32, bool), Option<String>, Vec<String>, Option<i64>);

/// Two are as many as several.
const OPEN_PROJECTS: &str = "ARRAY(SELECT open.slug FROM projects AS open \
    WHERE open.tenant_id = service_tokens.tenant_id AND open.archived_at IS NULL LIMIT 2)";

impl Facts for TokenFacts {
    const KIND: Kind = Kind::Token;

    /// This crosses tenants because whose a token is becomes known only by reading it.
    async fn read(engine: &Engine, handles: &[Handle]) -> Result<Rows<Self>, Error> {
        let mut connection = engine.db().data_plane().await?;
        let rows: Vec<Row> = service_tokens::table
            .inner_join(tenants::table)
            .left_join(projects::table.on(service_tokens::project_id.eq(projects::id.nullable())))
            .filter(service_tokens::handle.eq_any(handles.iter().map(Handle::as_str)))
            .select((
                TokenRow::as_select(),
                tenants::slug,
                (tenants::offline_lease_seconds, tenants::deleted_at.is_not_null()),
                projects::slug.nullable(),
                raw::<Array<Text>>(OPEN_PROJECTS),
                change_log_head::table.select(change_log_head::n).single_value(),
            ))
            .load(&mut connection)
            .await?;
        let of_row = |row: Row| Ok((row.0.handle.parse().map_err(Error::internal)?, of_row(row)));
        rows.into_iter().map(of_row).collect()
    }

    fn shared(&self, node: &Node) -> [u64; 3] {
        let tenant_id = self.tenant_id.uuid().to_string();
        let tenant = node.hash_shared(Kind::Tenant, &tenant_id);
        let project = self.project_id.map(|id| node.hash_shared(Kind::Project, &id.uuid().to_string()));
        [tenant, node.hash_shared(Kind::Projects, &tenant_id), project.unwrap_or(tenant)]
    }

    fn offline_lease(&self) -> Duration {
        self.offline_lease
    }
}

fn of_row(row: Row) -> Result<Found<TokenFacts>, Error> {
    let (row, tenant, (offline_lease_seconds, is_deleted), project, open, known) = row;
    let slug = |slug: &str| ProjectSlug::parse(slug).map_err(Error::internal);
    let permissions: Result<Vec<Permission>, _> = row.permissions.iter().map(|text| text.parse()).collect();
    let facts = TokenFacts {
        tenant_id: TenantId::from_uuid(row.tenant_id),
        id: ServiceTokenId::from_uuid(row.id),
        name: row.name,
        tenant: TenantSlug::parse(&tenant).map_err(Error::internal)?,
        offline_lease: seconds(offline_lease_seconds),
        permissions: permissions.map_err(Error::internal)?,
        project_id: row.project_id.map(ProjectId::from_uuid),
        project: project.as_deref().map(slug).transpose()?,
        only_project: match open.as_slice() {
            [only] => Some(slug(only)?),
            _ => None,
        },
        environment: row.environment.as_deref().map(str::parse).transpose().map_err(Error::internal)?,
        tag: Tag::of_stored(&row.tag)?,
        tag_key: TagKeyId::of_stored(&row.tag_key)?,
        expires_at: row.expires_at,
        is_revoked: row.revoked_at.is_some() || is_deleted,
        unknown_keys: Budget::new(UNKNOWN_PER_SECOND),
        noted_minute: AtomicI64::new(0),
    };
    Ok((facts, known.unwrap_or_default()))
}

impl Verifier {
    /// The service token behind a bearer text that has the form of one.
    ///
    /// # Errors
    /// `Unauthenticated` for whatever is no live service token; `Unavailable` when we cannot know.
    pub async fn authenticate(&self, presented: &PresentedToken) -> Result<ServiceToken, Error> {
        let mut waited_until = None;
        loop {
            let known = match self.tokens.recall(&self.node, presented.handle()) {
                Ok(known) => known,
                Err(_) => self.look_up_token(presented).await?,
            };
            let facts = &known.entry.facts;
            if facts.is_revoked || facts.expires_at.is_some_and(|end| clock::at(known.now) >= end) {
                return Err(Error::Unauthenticated);
            }
            let keyring = self.engine.keyring();
            let proof = match keyring.tag_with(facts.tag_key, TagLabel::Token, facts.tenant_id, presented.expose()) {
                Some(tag) if tag.matches(&facts.tag) => Proof::Right,
                None if self.passes_token_gate(presented) => {
                    Box::pin(self.recovery.prove(&self.engine, unproven_token(facts, presented))).await?
                }
                _ => Proof::Wrong,
            };
            match proof {
                Proof::Right => return Ok(ServiceToken(known.entry)),
                Proof::Wrong => return Err(Error::Unauthenticated),
                Proof::Proven | Proof::Busy => self.wait_for_proof(&mut waited_until).await?,
            }
        }
    }

    fn passes_token_gate(&self, presented: &PresentedToken) -> bool {
        self.engine.keyring().gate_value(presented.gate_input()) == presented.gate_value()
    }

    async fn look_up_token(&self, presented: &PresentedToken) -> Result<Known<TokenFacts>, Error> {
        if !self.passes_token_gate(presented) {
            return Err(Error::Unauthenticated);
        }
        let asked = Presented { handle: presented.handle(), created_ms: presented.created_ms() };
        let deadline = Instant::now() + self.patience;
        self.tokens.look_up(&self.engine, &self.node, asked, deadline, None).await?.ok_or(Error::Unauthenticated)
    }

    /// A token as the caller of a verb; that is a use of it.
    ///
    /// # Errors
    /// `Unavailable` while Postgres is out of reach: a token that was revoked meanwhile must change nothing.
    pub fn caller(&self, token: &ServiceToken, origin: Origin) -> Result<Caller, Error> {
        if !matches!(self.node.standing(), Standing::Live { .. }) {
            return Err(Error::Unavailable { what: "the database", source: None });
        }
        let token = token.facts();
        self.engine.usage().token_used(token.id, clock::now());
        let identity = Identity::ServiceToken {
            id: token.id.to_string(),
            name: token.name.clone(),
            tenant_id: token.tenant_id,
            permissions: token.permissions.clone(),
            scope: Scope { project: token.project_id, environment: token.environment },
        };
        Ok(Caller { identity, origin })
    }
}

fn unproven_token<'a>(facts: &TokenFacts, presented: &'a PresentedToken) -> Unproven<'a> {
    Unproven {
        label: TagLabel::Token,
        id: facts.id.uuid(),
        handle: presented.handle(),
        tenant_id: facts.tenant_id,
        tag_key: facts.tag_key,
        text: presented.expose(),
    }
}

impl ServiceToken {
    fn facts(&self) -> &TokenFacts {
        &self.0.facts
    }

    pub(super) fn tenant_id(&self) -> TenantId {
        self.facts().tenant_id
    }

    pub(crate) fn id(&self) -> ServiceTokenId {
        self.facts().id
    }

    /// Whether this is its first use in this minute.
    pub(super) fn is_used_anew(&self, at: Timestamp) -> bool {
        let minute = at.timestamp().div_euclid(60);
        let noted = &self.facts().noted_minute;
        // Most calls find the minute noted already, and leave the line to other cores.
        noted.load(Ordering::Relaxed) < minute && noted.fetch_max(minute, Ordering::Relaxed) < minute
    }

    pub(super) fn unknown_keys(&self) -> &Arc<Budget> {
        &self.facts().unknown_keys
    }

    /// The tenant it belongs to.
    pub fn tenant(&self) -> &TenantSlug {
        &self.facts().tenant
    }

    /// The one project it is for, if only one.
    pub fn project(&self) -> Option<&ProjectSlug> {
        self.facts().project.as_ref()
    }

    /// The one environment it is for, if only one.
    pub fn environment(&self) -> Option<Environment> {
        self.facts().environment
    }

    /// What it may do is what it holds.
    ///
    /// # Errors
    /// `Forbidden` when it does not hold it.
    pub fn require(&self, permission: Permission) -> Result<(), Error> {
        if self.facts().permissions.contains(&permission) {
            Ok(())
        } else {
            Err(Error::Forbidden { permission: permission.as_str() })
        }
    }

    /// How long what its tenant has is answered about without Postgres.
    pub(super) fn offline_lease(&self) -> Duration {
        self.facts().offline_lease
    }

    /// For what belongs to no project and no environment.
    ///
    /// # Errors
    /// `OutsideToken` when it is limited to one.
    pub(super) fn require_unlimited(&self) -> Result<(), Error> {
        let Self(token) = self;
        Scope { project: token.facts.project_id, environment: token.facts.environment }.require(None, None)
    }

    /// The token's own, else what is asked for, else live.
    pub(super) fn expected_environment(&self, asked: Option<Environment>) -> Result<Environment, Error> {
        match (self.environment(), asked) {
            (Some(own), Some(asked)) if own != asked => Err(Error::OutsideToken { what: "environment" }),
            (own, asked) => Ok(own.or(asked).unwrap_or(Environment::Live)),
        }
    }

    /// The token's own, else what is asked for, else the tenant's only one.
    pub(super) fn expected_project<'a>(&'a self, asked: Option<&'a ProjectSlug>) -> Result<&'a ProjectSlug, Error> {
        match (self.project(), asked) {
            (Some(own), Some(asked)) if own != asked => Err(Error::OutsideToken { what: "project" }),
            (Some(project), _) | (None, Some(project)) => Ok(project),
            (None, None) => self.facts().only_project.as_ref().ok_or_else(|| {
                Error::invalid("project", "this tenant has several projects: say which one the key must belong to")
            }),
        }
    }
}

impl std::fmt::Debug for ServiceToken {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "ServiceToken({})", self.facts().id)
    }
}
