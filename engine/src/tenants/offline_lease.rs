//! How long a tenant's keys are answered from memory while Postgres is out of reach.

use std::time::Duration;

use diesel::prelude::*;

use crate::audit::{self, Change};
use crate::error::Error;
use crate::schema::tenants;
use crate::tenancy::Tenant;

/// The longest; the schema has the same.
const SECONDS_MAX: u64 = 300;

/// Sets it, in whole seconds; nothing means that no key is answered without Postgres once a lease is over. Gives how long it
/// was before.
///
/// # Errors
/// `Forbidden` for anybody but the operator; `Invalid` for more than 300 seconds; `Unavailable`.
pub async fn set_offline_lease(tenant: &Tenant, lease: Duration) -> Result<Duration, Error> {
    tenant.caller.require_operator()?;
    if lease.as_secs() > SECONDS_MAX {
        return Err(Error::invalid("offline_lease", format!("at most {SECONDS_MAX} seconds")));
    }
    let seconds = i32::try_from(lease.as_secs()).map_err(Error::internal)?;
    let mut transaction = tenant.begin_change().await?;
    let before: i32 = transaction
        .of(tenants::table)
        .select(tenants::offline_lease_seconds)
        .for_update()
        .first(&mut transaction)
        .await?;
    if before != seconds {
        let set = transaction.of(tenants::table).set(tenants::offline_lease_seconds.eq(seconds));
        set.execute(&mut transaction).await?;
        let change = Change {
            action: "update_tenant",
            target_kind: "tenant",
            target_id: tenant.id.to_string(),
            target_name: tenant.slug().as_str(),
            before: Some(serde_json::json!({ "offline_lease_seconds": before })),
            after: Some(serde_json::json!({ "offline_lease_seconds": seconds })),
            reason: None,
        };
        audit::record(&mut transaction, &tenant.caller, change).await?;
    }
    transaction.commit(tenant.id.uuid()).await?;
    Ok(Duration::from_secs(u64::try_from(before).unwrap_or(0)))
}
