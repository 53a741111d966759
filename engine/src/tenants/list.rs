//! Which tenants there are, for the operator.

use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use tronch_core::TenantSlug;

use crate::Engine;
use crate::caller::Caller;
use crate::error::Error;
use crate::schema::tenants;

/// Every tenant of this installation, by its slug.
///
/// This crosses tenants because the operator answers for all of them.
///
/// # Errors
/// `Forbidden` for anybody but the operator; `Unavailable`.
pub async fn list_tenants(engine: &Engine, caller: &Caller) -> Result<Vec<TenantSlug>, Error> {
    caller.require_operator()?;
    let mut connection = engine.db().system().await?;
    let slugs: Vec<String> = tenants::table.select(tenants::slug).order(tenants::slug).load(&mut connection).await?;
    slugs.iter().map(|slug| TenantSlug::parse(slug).map_err(Error::internal)).collect()
}
