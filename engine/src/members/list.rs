//! Who is in a tenant, and who is asked in.

use diesel::prelude::*;
use tronch_core::{InvitationId, InvitationView, MailState, MemberView, PeopleRight, Role, Timestamp, UserId};
use uuid::Uuid;

use crate::clock;
use crate::error::Error;
use crate::schema::{invitations, memberships, users};
use crate::tenancy::Tenant;

/// As many as a page can show; nobody has more.
const SHOWN_MAX: i64 = 1_000;

/// The members of a tenant, the mightiest first, then by name.
///
/// # Errors
/// `Forbidden` for service tokens; `Unavailable`.
pub async fn list_members(tenant: &Tenant) -> Result<Vec<MemberView>, Error> {
    tenant.require_right(PeopleRight::SeeMembers)?;
    let mut transaction = tenant.begin().await?;
    let rows: Vec<(Uuid, String, String, String, Timestamp)> = transaction
        .of(memberships::table)
        .inner_join(users::table.on(memberships::user_id.eq(users::id)))
        .select((users::id, users::name, users::email, memberships::role, memberships::created_at))
        .limit(SHOWN_MAX)
        .load(&mut transaction)
        .await?;
    transaction.commit().await?;
    let view = |(id, name, email, role, joined_at): (Uuid, String, String, String, Timestamp)| {
        let role: Role = role.parse().map_err(Error::internal)?;
        Ok(MemberView { id: UserId::from_uuid(id), name, email, role, joined_at })
    };
    let mut members: Vec<MemberView> = rows.into_iter().map(view).collect::<Result<_, Error>>()?;
    members.sort_by(|one, other| (one.role, &one.name, &one.email).cmp(&(other.role, &other.name, &other.email)));
    Ok(members)
}

/// Invitations that can still be used, the newest first.
///
/// # Errors
/// `Forbidden` unless the caller manages members; `Unavailable`.
pub async fn list_invitations(tenant: &Tenant) -> Result<Vec<InvitationView>, Error> {
    tenant.require_right(PeopleRight::ManageMembers)?;
    let mut transaction = tenant.begin().await?;
    let rows: Vec<InvitationRow> = transaction
        .of(invitations::table)
        .filter(invitations::accepted_at.is_null())
        .filter(invitations::revoked_at.is_null())
        .filter(invitations::expires_at.gt(clock::now()))
        .order((invitations::created_at.desc(), invitations::id))
        .limit(SHOWN_MAX)
        .select(InvitationRow::as_select())
        .load(&mut transaction)
        .await?;
    transaction.commit().await?;
    rows.into_iter().map(InvitationRow::view).collect()
}

/// An invitation as it is stored.
#[derive(Queryable, Selectable)]
#[diesel(table_name = invitations)]
pub(super) struct InvitationRow {
    pub(super) id: Uuid,
    pub(super) tenant_id: Uuid,
    pub(super) email: String,
    pub(super) email_normalized: String,
    pub(super) role: String,
    pub(super) invited_by: String,
    pub(super) created_at: Timestamp,
    pub(super) expires_at: Timestamp,
    pub(super) accepted_at: Option<Timestamp>,
    pub(super) revoked_at: Option<Timestamp>,
    mail_due_at: Option<Timestamp>,
    mail_attempts: i32,
    mail_error: Option<String>,
    mail_sent_at: Option<Timestamp>,
}

impl InvitationRow {
    pub(super) fn view(self) -> Result<InvitationView, Error> {
        Ok(InvitationView {
            id: InvitationId::from_uuid(self.id),
            role: self.role()?,
            mail: match (self.mail_sent_at, self.mail_due_at) {
                (Some(at), _) => Some(MailState::Sent(at)),
                (None, Some(_)) => {
                    let attempts = u32::try_from(self.mail_attempts).unwrap_or(0);
                    Some(MailState::Waits { attempts, error: self.mail_error })
                }
                (None, None) => None,
            },
            email: self.email,
            invited_by: self.invited_by,
            created_at: self.created_at,
            expires_at: self.expires_at,
        })
    }

    pub(super) fn role(&self) -> Result<Role, Error> {
        self.role.parse().map_err(Error::internal)
    }

    /// Refuses one that takes nobody in any more.
    pub(super) fn require_open(&self) -> Result<(), Error> {
        let why = match (self.accepted_at, self.revoked_at) {
            (Some(_), _) => "it was used already",
            (None, Some(_)) => "it was taken back",
            (None, None) if self.expires_at <= clock::now() => "it is older than a day",
            (None, None) => return Ok(()),
        };
        Err(Error::InvitationOver { why })
    }
}
