//! Writing a demo down: every row of it in one transaction, which sees this tenant alone. What the rows are is decided
//! before.

use chrono::TimeDelta;
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Text, Timestamptz, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use serde_json::Value;
use tronch_core::{EmailAddress, InvitationId, PersonName, Role, Timestamp, UserId};
use uuid::Uuid;

use super::calls::{Calls, Counts};
use super::cast::{INVITED, PEOPLE, PROJECTS, TENANT_NAME};
use super::history::{Entry, History, LivedKey, joined_at};
use super::script::Script;
use crate::audit::{self, Change};
use crate::error::Error;
use crate::members;
use crate::schema::{invitations, keys, memberships, projects, service_tokens, tenants, users};
use crate::secret::Minted;
use crate::tenancy::TenantTx;
use crate::usage;

/// Rows of usage in one statement.
const CELLS_AT_ONCE: usize = 5_000;

/// Somebody who is to be in the demo.
pub(super) struct Newcomer {
    pub(super) email: EmailAddress,
    pub(super) name: PersonName,
    pub(super) phc: String,
}

/// Who is in the demo now.
pub(super) struct Arrived {
    pub(super) user_id: UserId,
    pub(super) email: String,
    pub(super) name: String,
    /// Somebody who existed keeps their name and password.
    pub(super) is_new: bool,
}

/// Inserts tenant, people and projects. Returns the people, in their order.
///
/// This leaves `Scoped` because people belong to no tenant, and because it has no word for ON CONFLICT.
pub(super) async fn found(
    transaction: &mut TenantTx,
    script: &Script,
    slug: &str,
    newcomers: &[Newcomer],
    project_ids: &[Uuid],
) -> Result<Vec<Arrived>, Error> {
    let tenant = (
        tenants::slug.eq(slug),
        tenants::name.eq(TENANT_NAME),
        tenants::created_at.eq(script.founded_at),
        tenants::demo.eq(true),
    );
    transaction.insert(tenants::table, tenant).execute(transaction).await?;
    let rows: Vec<_> = project_ids
        .iter()
        .zip(&PROJECTS)
        .map(|(id, project)| {
            (
                projects::id.eq(*id),
                projects::slug.eq(project.slug),
                projects::name.eq(project.name),
                projects::created_at.eq(script.founded_at),
            )
        })
        .collect();
    transaction.insert_all(projects::table, rows).execute(transaction).await?;
    // Somebody who was asked this morning; nobody has the link.
    let invited = (
        invitations::id.eq(InvitationId::generate(script.now, crate::random::bytes()?).uuid()),
        invitations::email.eq(INVITED),
        invitations::email_normalized.eq(INVITED),
        invitations::role.eq(Role::Viewer.as_str()),
        invitations::invited_by.eq(PEOPLE[0].name),
        invitations::created_at.eq(script.now - TimeDelta::hours(3)),
        invitations::expires_at.eq(script.now + TimeDelta::hours(21)),
    );
    transaction.insert(invitations::table, invited).execute(transaction).await?;
    let tenant_id = transaction.tenant_id();
    let connection = transaction.unscoped();
    // As whoever founds from the command line: it opens no sign-up any more.
    diesel::delete(crate::schema::setup_codes::table).execute(connection).await?;
    let mut arrived = Vec::with_capacity(newcomers.len());
    for (newcomer, person) in newcomers.iter().zip(&PEOPLE) {
        let inserted = members::insert_user(connection, &newcomer.email, &newcomer.name, &newcomer.phc).await?;
        let (id, email, name): (Uuid, String, String) = users::table
            .filter(users::email_normalized.eq(newcomer.email.normalized()))
            .select((users::id, users::email, users::name))
            .first(connection)
            .await?;
        diesel::insert_into(memberships::table)
            .values((
                memberships::tenant_id.eq(tenant_id),
                memberships::user_id.eq(id),
                memberships::role.eq(person.role.as_str()),
                memberships::created_at.eq(joined_at(script, person.joined_after_days)),
            ))
            // The owner may have been named by an address that is somebody else's in the demo.
            .on_conflict_do_nothing()
            .execute(connection)
            .await?;
        arrived.push(Arrived { user_id: UserId::from_uuid(id), email, name, is_new: inserted.is_some() });
    }
    Ok(arrived)
}

/// Inserts tokens, keys, audit events and usage.
pub(super) async fn fill(
    transaction: &mut TenantTx,
    history: History,
    minted: (&[Minted], &[Minted]),
    calls: &Calls,
) -> Result<(), Error> {
    let (minted_keys, minted_tokens) = minted;
    insert_tokens(transaction, &history, minted_tokens).await?;
    insert_keys(transaction, &history.keys, minted_keys, &calls.last_used).await?;
    for entry in history.entries {
        insert_entry(transaction, entry).await?;
    }
    let tables = calls.tables();
    // All of them first: whoever removes old ones waits for the whole of a table, and must not be waited for.
    for (table, counts) in tables {
        // This leaves `Scoped` because a partition is everybody's.
        usage::make_partitions(transaction.unscoped(), table, counts.keys().map(|cell| cell.at)).await?;
    }
    for (table, counts) in tables {
        insert_counts(transaction, table, counts).await?;
    }
    Ok(())
}

#[derive(Insertable)]
#[diesel(table_name = keys)]
struct OldKeyRow<'a> {
    id: Uuid,
    project_id: Uuid,
    environment: &'a str,
    handle: &'a str,
    name: &'a str,
    owner_external_id: Option<&'a str>,
    metadata: &'a Value,
    permissions: &'a [String],
    kdf_phc: &'a str,
    tag: &'a [u8],
    tag_key: &'a [u8],
    created_at: Timestamp,
    updated_at: Timestamp,
    expires_at: Option<Timestamp>,
    disabled_at: Option<Timestamp>,
    revoked_at: Option<Timestamp>,
    revoke_reason: Option<&'a str>,
    grace_ends_at: Option<Timestamp>,
    predecessor_id: Option<Uuid>,
    successor_id: Option<Uuid>,
    last_used_at: Option<Timestamp>,
}

async fn insert_keys(
    transaction: &mut TenantTx,
    lived: &[LivedKey],
    minted: &[Minted],
    last_used: &[Option<Timestamp>],
) -> Result<(), Error> {
    let rows: Vec<OldKeyRow<'_>> = lived
        .iter()
        .zip(minted)
        .zip(last_used)
        .map(|((key, minted), last_used_at)| OldKeyRow {
            id: key.row.id,
            project_id: key.row.project_id,
            environment: &key.row.environment,
            handle: minted.handle.as_str(),
            name: &key.row.name,
            owner_external_id: key.row.owner_external_id.as_deref(),
            metadata: &key.row.metadata,
            permissions: &key.row.permissions,
            kdf_phc: &minted.kdf_phc,
            tag: minted.tag.as_bytes(),
            tag_key: minted.tag_key.as_bytes(),
            created_at: key.row.created_at,
            updated_at: key.row.updated_at,
            expires_at: key.row.expires_at,
            disabled_at: key.row.disabled_at,
            revoked_at: key.row.revoked_at,
            revoke_reason: key.row.revoke_reason.as_deref(),
            grace_ends_at: key.row.grace_ends_at,
            predecessor_id: key.row.predecessor_id,
            successor_id: key.row.successor_id,
            last_used_at: *last_used_at,
        })
        .collect();
    transaction.insert_all(keys::table, rows).execute(transaction).await?;
    Ok(())
}

async fn insert_tokens(transaction: &mut TenantTx, history: &History, minted: &[Minted]) -> Result<(), Error> {
    let rows: Vec<_> = history
        .tokens
        .iter()
        .zip(minted)
        .map(|(token, minted)| {
            (
                service_tokens::id.eq(token.id),
                service_tokens::project_id.eq(token.project_id),
                service_tokens::environment.eq(&token.environment),
                service_tokens::handle.eq(&token.handle),
                service_tokens::name.eq(&token.name),
                service_tokens::permissions.eq(&token.permissions),
                service_tokens::kdf_phc.eq(&minted.kdf_phc),
                service_tokens::tag.eq(minted.tag.as_bytes()),
                service_tokens::tag_key.eq(minted.tag_key.as_bytes()),
                service_tokens::created_at.eq(token.created_at),
                service_tokens::expires_at.eq(token.expires_at),
                service_tokens::revoked_at.eq(token.revoked_at),
                service_tokens::last_used_at.eq(token.last_used_at),
            )
        })
        .collect();
    transaction.insert_all(service_tokens::table, rows).execute(transaction).await?;
    Ok(())
}

async fn insert_entry(transaction: &mut TenantTx, entry: Entry) -> Result<(), Error> {
    let change = Change {
        action: entry.action,
        target_kind: entry.target_kind,
        target_id: entry.target_id,
        target_name: &entry.target_name,
        before: entry.before,
        after: entry.after,
        reason: entry.reason,
    };
    audit::record_of(transaction, entry.doer.actor, &entry.doer.origin, change, entry.at).await
}

/// This leaves `Scoped` because it is SQL as text; its first parameter is the tenant.
#[expect(
    clippy::disallowed_methods,
    reason = "Diesel cannot insert from unnest, and a bind for each value has a bound"
)]
pub(super) async fn insert_counts(transaction: &mut TenantTx, table: &str, counts: &Counts) -> Result<(), Error> {
    let sql = format!(
        "INSERT INTO {table} (tenant_id, key_id, at, project_id, environment, code, count) \
         SELECT $1, * FROM unnest($2, $3, $4, $5, $6, $7)"
    );
    let cells: Vec<_> = counts.keys().collect();
    let numbers: Result<Vec<i64>, _> = counts.values().map(|count| i64::try_from(*count)).collect();
    let numbers = numbers.map_err(Error::internal)?;
    let tenant_id = transaction.tenant_id();
    for (cells, numbers) in cells.chunks(CELLS_AT_ONCE).zip(numbers.chunks(CELLS_AT_ONCE)) {
        diesel::sql_query(&sql)
            .bind::<SqlUuid, _>(tenant_id)
            .bind::<Array<SqlUuid>, _>(cells.iter().map(|cell| cell.key_id).collect::<Vec<_>>())
            .bind::<Array<Timestamptz>, _>(cells.iter().map(|cell| cell.at).collect::<Vec<_>>())
            .bind::<Array<SqlUuid>, _>(cells.iter().map(|cell| cell.project_id).collect::<Vec<_>>())
            .bind::<Array<Text>, _>(cells.iter().map(|cell| cell.environment).collect::<Vec<_>>())
            .bind::<Array<Text>, _>(cells.iter().map(|cell| cell.code).collect::<Vec<_>>())
            .bind::<Array<BigInt>, _>(numbers)
            .execute(transaction.unscoped())
            .await?;
    }
    Ok(())
}
