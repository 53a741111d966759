//! The few reads and writes that cross tenants, each with its reason. Everything else goes through `tenancy`.

use diesel::prelude::*;
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use tronch_core::{Role, TenantId, TenantName, TenantSlug, UserId};

use crate::Engine;
use crate::error::Error;
use crate::schema::{memberships, tenants};

fn tenant_name(name: &str) -> Result<TenantName, Error> {
    TenantName::parse(name).map_err(Error::internal)
}

/// This crosses tenants because which tenant a slug names is not known before it is read.
pub(crate) async fn tenant_by_slug(
    engine: &Engine,
    slug: &TenantSlug,
) -> Result<Option<(TenantId, TenantName)>, Error> {
    let mut connection = engine.db().system().await?;
    let row: Option<(uuid::Uuid, String)> = tenants::table
        .filter(tenants::slug.eq(slug.as_str()))
        .filter(tenants::deleted_at.is_null())
        .select((tenants::id, tenants::name))
        .first(&mut connection)
        .await
        .optional()?;
    row.map(|(id, name)| Ok((TenantId::from_uuid(id), tenant_name(&name)?))).transpose()
}

/// This crosses tenants because membership is what lets a person into one.
pub(crate) async fn membership(
    engine: &Engine,
    slug: &TenantSlug,
    user_id: UserId,
) -> Result<Option<(TenantId, TenantName, Role)>, Error> {
    let mut connection = engine.db().system().await?;
    let row: Option<(uuid::Uuid, String, String)> = memberships::table
        .inner_join(tenants::table)
        .filter(tenants::slug.eq(slug.as_str()))
        .filter(tenants::deleted_at.is_null())
        .filter(memberships::user_id.eq(user_id.uuid()))
        .select((tenants::id, tenants::name, memberships::role))
        .first(&mut connection)
        .await
        .optional()?;
    row.map(|(id, name, role)| {
        Ok((TenantId::from_uuid(id), tenant_name(&name)?, role.parse::<Role>().map_err(Error::internal)?))
    })
    .transpose()
}

/// This crosses tenants because a person may be in several; ordered by slug.
pub(crate) async fn tenants_of(engine: &Engine, user_id: UserId) -> Result<Vec<(TenantSlug, TenantName)>, Error> {
    let mut connection = engine.db().system().await?;
    let rows: Vec<(String, String)> = memberships::table
        .inner_join(tenants::table)
        .filter(memberships::user_id.eq(user_id.uuid()))
        .filter(tenants::deleted_at.is_null())
        .select((tenants::slug, tenants::name))
        .order(tenants::slug)
        .limit(200)
        .load(&mut connection)
        .await?;
    rows.iter()
        .map(|(slug, name)| Ok((TenantSlug::parse(slug).map_err(Error::internal)?, tenant_name(name)?)))
        .collect()
}

/// Rows that one statement removes: short statements, so that nobody waits for a long one and none runs out of time.
const ROWS_AT_ONCE: i64 = 5_000;

/// Removes rows in portions, each committed by itself. Returns how many. `condition` is SQL of ours, with no text of others.
///
/// This crosses tenants because what is over is over in all of them; whoever means one tenant's rows says so.
#[expect(clippy::disallowed_methods, reason = "the tables are one statement, and Diesel knows no ctid")]
pub(crate) async fn delete_in_portions(
    connection: &mut AsyncPgConnection,
    table: &str,
    condition: &str,
) -> Result<usize, Error> {
    let rows = format!("SELECT ctid FROM {table} WHERE {condition} LIMIT {ROWS_AT_ONCE}");
    // The condition again, because the same place in another partition is another row.
    let sql = format!("DELETE FROM {table} WHERE ctid = ANY (ARRAY({rows})) AND ({condition})");
    let mut deleted = 0;
    loop {
        let portion = diesel::sql_query(&sql).execute(connection).await?;
        deleted += portion;
        if portion == 0 {
            return Ok(deleted);
        }
    }
}
