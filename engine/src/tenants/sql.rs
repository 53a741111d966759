//! The SQL that makes a tenant. It runs once a tenant, in one transaction.

use diesel::prelude::*;
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use tronch_core::{EmailAddress, ErrorCode, PersonName, ProjectId, Role, TenantId, TenantName, TenantSlug, UserId};
use uuid::Uuid;

use super::{FIRST_PROJECT, Founded, setup};
use crate::Engine;
use crate::audit::{self, Change};
use crate::caller::{Caller, Scope};
use crate::clock;
use crate::error::Error;
use crate::members;
use crate::schema::{memberships, projects, tenants, users};
use crate::tenancy::TenantTx;

/// What a tenant begins with.
pub(super) struct Founding<'a> {
    pub(super) email: &'a EmailAddress,
    pub(super) person: &'a PersonName,
    pub(super) phc: &'a str,
    pub(super) tenant_slug: &'a TenantSlug,
    pub(super) tenant_name: &'a TenantName,
}

/// Inserts user, tenant, ownership and the `default` project, with their audit event.
///
/// This leaves `Scoped` because a person and the setup code belong to no tenant.
pub(super) async fn found(
    engine: &Engine,
    setup_code: Option<&str>,
    founding: &Founding<'_>,
    caller: impl FnOnce(UserId) -> Caller,
) -> Result<(UserId, TenantId), Error> {
    let tenant_id = TenantId::generate(clock::now(), crate::random::bytes()?);
    let mut transaction = TenantTx::begin(engine.db().tenant().await?, tenant_id, Scope::default()).await?;
    let connection = transaction.unscoped();
    match setup_code {
        Some(code) => setup::consume(engine, connection, code).await?,
        // Whoever founds from the command line needs no code, and leaves none behind.
        None => {
            diesel::delete(crate::schema::setup_codes::table).execute(connection).await?;
        }
    }
    let user_id = match members::insert_user(connection, founding.email, founding.person, founding.phc).await? {
        Some(user_id) => user_id,
        None => existing_user(connection, founding.email).await?,
    };
    let named = (founding.tenant_name, founding.tenant_slug);
    begin_tenant(&mut transaction, user_id, named, founding.email.as_str(), &caller(user_id)).await?;
    transaction.commit().await?;
    Ok((user_id, tenant_id))
}

/// Tenants that one person may own, so that nobody fills the installation.
const OWNED_MAX: i64 = 50;

/// A further tenant of somebody who exists.
///
/// This crosses tenants because how many somebody owns is counted over all of them.
pub(super) async fn found_another(
    engine: &Engine,
    caller: &Caller,
    user_id: UserId,
    named: (&TenantName, &TenantSlug),
) -> Result<(), Error> {
    let mut connection = engine.db().system().await?;
    let owned: i64 = memberships::table
        .filter(memberships::user_id.eq(user_id.uuid()))
        .filter(memberships::role.eq(Role::Owner.as_str()))
        .count()
        .get_result(&mut connection)
        .await?;
    drop(connection);
    if owned >= OWNED_MAX {
        let message = format!("you own {OWNED_MAX} organisations, which is as many as anybody may");
        return Err(Error::Conflict { code: ErrorCode::Conflict, message, field: None });
    }
    let tenant_id = TenantId::generate(clock::now(), crate::random::bytes()?);
    let mut transaction = TenantTx::begin(engine.db().tenant().await?, tenant_id, Scope::default()).await?;
    begin_tenant(&mut transaction, user_id, named, caller.email().unwrap_or_default(), caller).await?;
    transaction.commit().await
}

/// Tenant, ownership and the `default` project, with their audit event.
///
/// This leaves `Scoped` because it has no word for ON CONFLICT.
async fn begin_tenant(
    transaction: &mut TenantTx,
    user_id: UserId,
    (name, slug): (&TenantName, &TenantSlug),
    owner: &str,
    caller: &Caller,
) -> Result<(), Error> {
    let tenant_id = TenantId::from_uuid(transaction.tenant_id());
    let tenant = (tenants::slug.eq(slug.as_str()), tenants::name.eq(name.as_str()));
    transaction.insert(tenants::table, tenant).execute(transaction).await?;
    members::upsert_membership(transaction.unscoped(), tenant_id, user_id, Role::Owner).await?;
    let project_id = ProjectId::generate(clock::now(), crate::random::bytes()?);
    let project = (projects::id.eq(project_id.uuid()), projects::slug.eq(FIRST_PROJECT), projects::name.eq("Default"));
    transaction.insert(projects::table, project).execute(transaction).await?;
    let change = Change {
        action: "create_tenant",
        target_kind: "tenant",
        target_id: tenant_id.to_string(),
        target_name: name.as_str(),
        before: None,
        after: Some(serde_json::json!({
            "slug": slug.as_str(),
            "name": name.as_str(),
            "owner": owner,
            "project": FIRST_PROJECT,
        })),
        reason: None,
    };
    audit::record(transaction, caller, change).await
}

async fn existing_user(connection: &mut AsyncPgConnection, email: &EmailAddress) -> Result<UserId, Error> {
    let id: Uuid =
        users::table.filter(users::email_normalized.eq(email.normalized())).select(users::id).first(connection).await?;
    Ok(UserId::from_uuid(id))
}

/// The tenant, when this person owns it already.
///
/// This crosses tenants because the command line names a tenant it has not entered yet.
pub(super) async fn find_founded(
    engine: &Engine,
    email: &EmailAddress,
    slug: &TenantSlug,
) -> Result<Option<Founded>, Error> {
    let mut connection = engine.db().system().await?;
    let row: Option<(Uuid, Uuid)> = memberships::table
        .inner_join(tenants::table)
        .inner_join(users::table)
        .filter(tenants::slug.eq(slug.as_str()))
        .filter(users::email_normalized.eq(email.normalized()))
        .filter(memberships::role.eq(Role::Owner.as_str()))
        .select((users::id, tenants::id))
        .first(&mut connection)
        .await
        .optional()?;
    Ok(row.map(|(user_id, tenant_id)| Founded {
        user_id: UserId::from_uuid(user_id),
        tenant_id: TenantId::from_uuid(tenant_id),
    }))
}
