//! Writing an audit event, in the transaction of the change it tells of. Reading them is in `list.rs`.

use chrono::Utc;
use diesel::prelude::*;
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use serde_json::Value;
use tronch_core::{AuditEventId, Timestamp};
use uuid::Uuid;

use crate::caller::Caller;
use crate::error::Error;
use crate::schema::audit_events;

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
    tenant_id: Uuid,
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
pub(crate) async fn record(
    connection: &mut AsyncPgConnection,
    tenant_id: Uuid,
    caller: &Caller,
    change: Change<'_>,
) -> Result<(), Error> {
    record_of(connection, tenant_id, caller, change, Utc::now()).await
}

/// The same of a time that has been: for what never happened, such as a demo's past.
pub(crate) async fn record_of(
    connection: &mut AsyncPgConnection,
    tenant_id: Uuid,
    caller: &Caller,
    change: Change<'_>,
    occurred_at: Timestamp,
) -> Result<(), Error> {
    let actor = caller.actor();
    let event = NewAuditEvent {
        id: AuditEventId::generate(occurred_at, crate::random::bytes()?).uuid(),
        tenant_id,
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
        address: caller.origin.address.map(|address| address.to_string()),
        user_agent: caller.origin.user_agent.as_deref(),
        request_id: caller.origin.request_id.map(|id| id.uuid()),
    };
    diesel::insert_into(audit_events::table).values(event).execute(connection).await?;
    Ok(())
}
