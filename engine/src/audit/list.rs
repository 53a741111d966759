//! Reading the audit log, the newest first. Writing it is in `record.rs`.

use std::time::Duration;

use diesel::prelude::*;
use serde_json::Value;
use tokio::sync::{Semaphore, SemaphorePermit};
use tronch_core::bounds::PAGE_SIZE_MAX;
use tronch_core::{
    AuditEventId, AuditEventView, Handle, KeyId, Page, Permission, RequestId, ServiceTokenId, Timestamp,
};
use uuid::Uuid;

use crate::cursor::Cursor;
use crate::error::Error;
use crate::like::{holding, lower};
use crate::schema::{audit_events, keys, service_tokens};
use crate::tenancy::Tenant;

/// What cursors of this list begin with.
const LIST: &str = "audit";

/// Characters of what is looked up: as many as an owner's id has.
const LOOKED_UP_MAX: usize = 255;

/// How many look names up at once in this process, and how long others wait.
static LOOK_UPS: Semaphore = Semaphore::const_new(2);
const LOOK_UP_WAIT: Duration = Duration::from_secs(3);

/// Which events are listed. Empty lists all.
#[derive(Debug, Clone, Default)]
pub struct AuditFilter {
    /// Only this action, such as `rotate_key`.
    pub action: Option<String>,
    /// Only by this actor: its id.
    pub actor_id: Option<String>,
    /// Only by actors with this id, or whose names hold it.
    pub actor: Option<String>,
    /// Only on this target: its id.
    pub target_id: Option<String>,
    /// Only on targets with this id, or whose names hold it.
    pub target: Option<String>,
    /// Only on the key or service token with this handle.
    pub target_handle: Option<Handle>,
    /// Only from then on.
    pub from: Option<Timestamp>,
    /// Only before then.
    pub until: Option<Timestamp>,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
    /// Rows of a page, 1–100.
    pub limit: u32,
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = audit_events)]
struct AuditRow {
    id: Uuid,
    occurred_at: Timestamp,
    actor_kind: String,
    actor_id: String,
    actor_name: String,
    action: String,
    target_kind: String,
    target_id: String,
    target_name: String,
    before: Option<Value>,
    after: Option<Value>,
    reason: Option<String>,
    address: Option<String>,
    user_agent: Option<String>,
    request_id: Option<Uuid>,
}

impl AuditRow {
    fn view(self) -> AuditEventView {
        AuditEventView {
            id: AuditEventId::from_uuid(self.id),
            occurred_at: self.occurred_at,
            actor_kind: self.actor_kind,
            actor_id: self.actor_id,
            actor_name: self.actor_name,
            action: self.action,
            target_kind: self.target_kind,
            target_id: self.target_id,
            target_name: self.target_name,
            before_json: self.before.map(|value| value.to_string()),
            after_json: self.after.map(|value| value.to_string()),
            address: self.address,
            user_agent: self.user_agent,
            request_id: self.request_id.map(RequestId::from_uuid),
            reason: self.reason,
        }
    }
}

async fn turn_to_look_up() -> Result<SemaphorePermit<'static>, Error> {
    match tokio::time::timeout(LOOK_UP_WAIT, LOOK_UPS.acquire()).await {
        Ok(Ok(turn)) => Ok(turn),
        _ => Err(Error::Unavailable { what: "looking names up in the log", source: None }),
    }
}

/// One page of the tenant's audit log, the newest first.
///
/// # Errors
/// `Forbidden` without `audit.read`; `OutsideToken` for a limited service token; `Invalid` for a limit, `InvalidCursor` for a cursor that cannot be taken;
/// `Unavailable`.
pub async fn list_audit_events(tenant: &Tenant, filter: &AuditFilter) -> Result<Page<AuditEventView>, Error> {
    tenant.require(Permission::AuditRead)?;
    // Events tell of every project: whoever is limited to one may not read them.
    tenant.scope.require(None, None)?;
    if !(1..=PAGE_SIZE_MAX).contains(&filter.limit) {
        return Err(Error::invalid("limit", format!("a page has 1 to {PAGE_SIZE_MAX} rows")));
    }
    for (field, text) in [
        ("action", &filter.action),
        ("actor_id", &filter.actor_id),
        ("actor", &filter.actor),
        ("target_id", &filter.target_id),
        ("target", &filter.target),
    ] {
        Error::refuse_nul(field, text.as_deref())?;
    }
    for (field, text) in [("actor", &filter.actor), ("target", &filter.target)] {
        if text.as_ref().is_some_and(|text| text.chars().count() > LOOKED_UP_MAX) {
            return Err(Error::invalid(field, format!("it has at most {LOOKED_UP_MAX} characters")));
        }
    }
    // What is looked up by a part of a name may be the whole log of a tenant; others need the connections as well.
    let _turn = if filter.actor.is_some() || filter.target.is_some() { Some(turn_to_look_up().await?) } else { None };
    let mut transaction = tenant.begin().await?;
    let mut target_id = filter.target_id.clone();
    if let Some(handle) = &filter.target_handle {
        let key = transaction.of(keys::table).filter(keys::handle.eq(handle.to_string())).select(keys::id);
        let key: Option<Uuid> = key.first(&mut transaction).await.optional()?;
        let of_token = service_tokens::handle.eq(handle.to_string());
        let token = transaction.of(service_tokens::table).filter(of_token).select(service_tokens::id);
        let token: Option<Uuid> = token.first(&mut transaction).await.optional()?;
        let key = key.map(|id| KeyId::from_uuid(id).to_string());
        // Where there is neither nothing is about it.
        target_id = key.or(token.map(|id| ServiceTokenId::from_uuid(id).to_string())).or(Some(String::new()));
    }
    let mut query = transaction.of(audit_events::table).into_boxed();
    if let Some(action) = &filter.action {
        query = query.filter(audit_events::action.eq(action));
    }
    if let Some(actor_id) = &filter.actor_id {
        query = query.filter(audit_events::actor_id.eq(actor_id));
    }
    if let Some(text) = &filter.actor {
        let named = lower(audit_events::actor_name).like(lower(holding(text)));
        query = query.filter(audit_events::actor_id.eq(text).or(named));
    }
    if let Some(target_id) = target_id {
        query = query.filter(audit_events::target_id.eq(target_id));
    }
    if let Some(text) = &filter.target {
        let named = lower(audit_events::target_name).like(lower(holding(text)));
        query = query.filter(audit_events::target_id.eq(text).or(named));
    }
    if let Some(from) = filter.from {
        query = query.filter(audit_events::occurred_at.ge(from));
    }
    if let Some(until) = filter.until {
        query = query.filter(audit_events::occurred_at.lt(until));
    }
    if let Some(cursor) = filter.cursor.as_deref() {
        let (at, id) = Cursor::parse(LIST, cursor)?.time_and_id()?;
        let at = at.ok_or(Error::InvalidCursor)?;
        query = query
            .filter(audit_events::occurred_at.le(at))
            .filter(audit_events::occurred_at.lt(at).or(audit_events::id.lt(id)));
    }
    let rows: Vec<AuditRow> = query
        .order((audit_events::occurred_at.desc(), audit_events::id.desc()))
        .limit(i64::from(filter.limit) + 1)
        .select(AuditRow::as_select())
        .load(&mut transaction)
        .await?;
    transaction.commit().await?;
    let limit = filter.limit as usize;
    let next_cursor = (rows.len() > limit)
        .then(|| Cursor::of_time(LIST, Some(rows[limit - 1].occurred_at), rows[limit - 1].id).to_string());
    Ok(Page { items: rows.into_iter().take(limit).map(AuditRow::view).collect(), next_cursor })
}
