//! Removing a demo and everything of it but its handles, which are never given out again. Of any other tenant nothing is
//! removed here.

use std::time::Duration;

use diesel::prelude::*;
use diesel_async::{AsyncConnection as _, AsyncPgConnection, RunQueryDsl};
use tronch_core::{ErrorCode, TenantSlug};
use uuid::Uuid;

use crate::Engine;
use crate::caller::Caller;
use crate::error::Error;
use crate::schema::{tenants, users};
use crate::system;
use crate::tenants::{IN_PORTIONS, close_doors, remove_rest};

/// How long a running server may still store the calls of a token that has gone: it does so every second, as long as
/// Postgres takes them. What comes later belongs to nobody and is seen by nobody.
const LAST_CALLS: Duration = Duration::from_secs(2);

/// What went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RemovedDemo {
    /// Keys, in whatever state.
    pub keys: usize,
    /// People who were in no other tenant.
    pub people: usize,
    /// Counts of usage and audit events.
    pub rows: usize,
    /// Whether anybody is left in this installation.
    pub anybody_left: bool,
}

/// Removes a demo. Broken off half way, it is gone on with by calling it again.
///
/// This crosses tenants because whether somebody is in another tenant decides whether they go, and because only the
/// system may remove from the audit log.
///
/// # Errors
/// `Forbidden` for anybody but the operator; `NotFound` when there is no such tenant; `Conflict` when it is no demo;
/// `Unavailable`.
pub async fn remove_demo(engine: &Engine, caller: &Caller, slug: &TenantSlug) -> Result<RemovedDemo, Error> {
    caller.require_operator()?;
    let mut connection = engine.db().system().await?;
    let (tenant_id, people) = connection
        .transaction::<_, Error, _>(async |connection| {
            let tenant_id = lock(connection, slug).await?;
            Ok((tenant_id, close_doors(connection, tenant_id).await?))
        })
        .await?;
    tokio::time::sleep(LAST_CALLS).await;
    let mut removed = RemovedDemo { people, ..RemovedDemo::default() };
    let its_rows = format!("tenant_id = '{tenant_id}'");
    for table in IN_PORTIONS {
        removed.rows += system::delete_in_portions(&mut connection, table, &its_rows).await?;
    }
    let (rows, keys) = connection
        .transaction::<_, Error, _>(async |connection| {
            // Nothing can be added to a tenant whose row is locked, so what is removed now is the rest.
            let tenant_id = lock(connection, slug).await?;
            remove_rest(connection, tenant_id).await
        })
        .await?;
    removed.rows += rows;
    removed.keys = keys;
    let anybody = diesel::dsl::exists(users::table.select(users::id));
    removed.anybody_left = diesel::select(anybody).get_result(&mut connection).await?;
    Ok(removed)
}

/// The tenant's id, locked, when it is a demo.
///
/// This crosses tenants because [`remove_demo`] does.
async fn lock(connection: &mut AsyncPgConnection, slug: &TenantSlug) -> Result<Uuid, Error> {
    let row: Option<(Uuid, bool)> = tenants::table
        .filter(tenants::slug.eq(slug.as_str()))
        .select((tenants::id, tenants::demo))
        .for_update()
        .first(connection)
        .await
        .optional()?;
    match row {
        None => Err(Error::NotFound { noun: "tenant" }),
        Some((tenant_id, true)) => Ok(tenant_id),
        Some((_, false)) => Err(Error::Conflict {
            code: ErrorCode::Conflict,
            message: format!("{slug} is no demo, so it is not removed"),
            field: Some("tenant"),
        }),
    }
}
