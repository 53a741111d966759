//! Removing everything of a tenant but its handles, which are never given out again. Whether it may be is decided by whoever calls.

use diesel::prelude::*;
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use uuid::Uuid;

use crate::error::Error;
use crate::schema::{
    audit_events, idempotency_keys, invitations, key_cutoffs, keys, limit_totals, limits, memberships, projects,
    service_tokens, sessions, tenants, users,
};

/// Where nothing stands in the way of a row's going, so that it may go in portions.
pub(crate) const IN_PORTIONS: [&str; 4] = ["usage_minutes", "usage_hours", "usage_days", "audit_events"];

/// Removes tokens and people, so that nobody comes in any more. Returns how many people.
///
/// This crosses tenants because whether somebody is in another tenant decides whether they go.
pub(crate) async fn close_doors(connection: &mut AsyncPgConnection, tenant_id: Uuid) -> Result<usize, Error> {
    diesel::delete(service_tokens::table.filter(service_tokens::tenant_id.eq(tenant_id))).execute(connection).await?;
    let elsewhere = diesel::alias!(memberships as elsewhere);
    let member_ids = memberships::table.filter(memberships::tenant_id.eq(tenant_id)).select(memberships::user_id);
    // Locked first, so that nobody of them signs in or joins another tenant meanwhile.
    let leaving: Vec<Uuid> = users::table
        .filter(users::id.eq_any(member_ids))
        .filter(diesel::dsl::not(diesel::dsl::exists(
            elsewhere
                .filter(elsewhere.field(memberships::user_id).eq(users::id))
                .filter(elsewhere.field(memberships::tenant_id).ne(tenant_id))
                .select(elsewhere.field(memberships::user_id)),
        )))
        .select(users::id)
        .order(users::id)
        .for_update()
        .load(connection)
        .await?;
    diesel::delete(memberships::table.filter(memberships::tenant_id.eq(tenant_id))).execute(connection).await?;
    let mut people = 0;
    for user_id in leaving {
        // Whoever joined another tenant in the moment before the lock stays.
        let stays: bool = diesel::select(diesel::dsl::exists(
            memberships::table.filter(memberships::user_id.eq(user_id)).select(memberships::user_id),
        ))
        .get_result(connection)
        .await?;
        if !stays {
            diesel::delete(sessions::table.filter(sessions::user_id.eq(user_id))).execute(connection).await?;
            people += diesel::delete(users::table.find(user_id)).execute(connection).await?;
        }
    }
    Ok(people)
}

/// Returns how many audit events and how many keys.
///
/// This crosses tenants because whether somebody is in another tenant decides whether they go.
pub(crate) async fn remove_rest(connection: &mut AsyncPgConnection, tenant_id: Uuid) -> Result<(usize, usize), Error> {
    let events =
        diesel::delete(audit_events::table.filter(audit_events::tenant_id.eq(tenant_id))).execute(connection).await?;
    // Before the keys, each of which would look for its own among them.
    diesel::delete(limit_totals::table.filter(limit_totals::tenant_id.eq(tenant_id))).execute(connection).await?;
    diesel::delete(limits::table.filter(limits::tenant_id.eq(tenant_id))).execute(connection).await?;
    let keys = diesel::delete(keys::table.filter(keys::tenant_id.eq(tenant_id))).execute(connection).await?;
    diesel::delete(service_tokens::table.filter(service_tokens::tenant_id.eq(tenant_id))).execute(connection).await?;
    let writes = idempotency_keys::table.filter(idempotency_keys::tenant_id.eq(tenant_id));
    diesel::delete(writes).execute(connection).await?;
    diesel::delete(memberships::table.filter(memberships::tenant_id.eq(tenant_id))).execute(connection).await?;
    diesel::delete(invitations::table.filter(invitations::tenant_id.eq(tenant_id))).execute(connection).await?;
    diesel::delete(key_cutoffs::table.filter(key_cutoffs::tenant_id.eq(tenant_id))).execute(connection).await?;
    diesel::delete(projects::table.filter(projects::tenant_id.eq(tenant_id))).execute(connection).await?;
    diesel::delete(tenants::table.find(tenant_id)).execute(connection).await?;
    Ok((events, keys))
}
