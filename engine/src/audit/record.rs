//! Writing an audit event, in the transaction of the change it tells of. Reading them is in `list.rs`.

use chrono::Utc;
use diesel::prelude::*;
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use serde_json::Value;
use tronch_core::{AuditEventId, Timestamp};
use uuid::Uuid;

use crate::caller::{Actor, Caller, Origin};
use crate::clock;
use crate::error::Error;
use crate::schema::audit_events;
use crate::tenancy::TenantTx;

/// What happened to what. `before` and `after` are views: they never hold a secret.
pub(crate) struct Change<'a> {
    /// verb_noun, the same word as the verb's function and the API's operation.
    pub(crate) action: &'static str,
    pub(crate) target_kind: &'static str,
    pub(crate) target_id: String,
    pub(crate) target_name: &'a str,
    pub(crate) before: Option<Value>,
    pub(crate) after: Option<Value>,
    pub(crate) reason: Option<&'a str>,
}

#[derive(Insertable)]
#[diesel(table_name = audit_events)]
struct NewAuditEvent<'a> {
    id: Uuid,
    occurred_at: chrono::DateTime<Utc>,
    actor_kind: &'static str,
    actor_id: String,
    actor_name: String,
    action: &'static str,
    target_kind: &'static str,
    target_id: String,
    target_name: &'a str,
    before: Option<Value>,
    after: Option<Value>,
    reason: Option<&'a str>,
    address: Option<String>,
    user_agent: Option<&'a str>,
    request_id: Option<Uuid>,
}

/// Appends one event. Fails the surrounding transaction when it cannot: no change goes unrecorded.
pub(crate) async fn record(transaction: &mut TenantTx, caller: &Caller, change: Change<'_>) -> Result<(), Error> {
    record_of(transaction, caller.actor(), &caller.origin, change, clock::now()).await
}

/// The same of a time that has been, by somebody who is no caller: for what never happened, such as a demo's past.
pub(crate) async fn record_of(
    transaction: &mut TenantTx,
    actor: Actor,
    origin: &Origin,
    change: Change<'_>,
    occurred_at: Timestamp,
) -> Result<(), Error> {
    let event = event(actor, origin, change, occurred_at)?;
    transaction.insert(audit_events::table, event).execute(transaction).await?;
    Ok(())
}

/// The same, for a change to a person who is in several tenants.
///
/// This crosses tenants because one transaction changes the person and tells each tenant's log.
pub(crate) async fn record_in(
    tenant_id: Uuid,
    connection: &mut AsyncPgConnection,
    caller: &Caller,
    change: Change<'_>,
) -> Result<(), Error> {
    record_by(tenant_id, connection, (caller.actor(), &caller.origin), change).await
}

/// The same, of somebody who is no caller.
///
/// This crosses tenants because one transaction changes the person and tells each tenant's log.
pub(crate) async fn record_by(
    tenant_id: Uuid,
    connection: &mut AsyncPgConnection,
    (actor, origin): (Actor, &Origin),
    change: Change<'_>,
) -> Result<(), Error> {
    let values = (audit_events::tenant_id.eq(tenant_id), event(actor, origin, change, clock::now())?);
    diesel::insert_into(audit_events::table).values(values).execute(connection).await?;
    Ok(())
}

fn event<'a>(
    actor: Actor,
    origin: &'a Origin,
    change: Change<'a>,
    occurred_at: Timestamp,
) -> Result<NewAuditEvent<'a>, Error> {
    Ok(NewAuditEvent {
        id: AuditEventId::generate(occurred_at, crate::random::bytes()?).uuid(),
        occurred_at,
        actor_kind: actor.kind,
        actor_id: actor.id,
        actor_name: actor.name,
        action: change.action,
        target_kind: change.target_kind,
        target_id: change.target_id,
        target_name: change.target_name,
        before: change.before,
        after: change.after,
        reason: change.reason,
        address: origin.address.map(|address| address.to_string()),
        user_agent: origin.user_agent.as_deref(),
        request_id: origin.request_id.map(|id| id.uuid()),
    })
}
