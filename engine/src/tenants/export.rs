//! Everything of a tenant that people may see, to take along: a JSON object a line, page by page.

use serde_json::{Value, json};
use tronch_core::bounds::PAGE_SIZE_MAX;
use tronch_core::{PeopleRight, format_timestamp};

use crate::audit::{self, AuditFilter, Change, list_audit_events};
use crate::clock;
use crate::error::Error;
use crate::keys::{KeyFilter, list_keys};
use crate::members::list_members;
use crate::projects::list_projects;
use crate::tenancy::Tenant;

/// What comes next.
enum Part {
    Head,
    Projects(Option<String>),
    Keys(Option<String>),
    Events(Option<String>),
    Nothing,
}

/// An export that is being read.
pub struct Export {
    tenant: Tenant,
    part: Part,
}

impl Export {
    /// Begins one, which the tenant's log is told of.
    ///
    /// # Errors
    /// `Forbidden` unless the caller is an owner; `Unavailable`.
    pub async fn begin(tenant: &Tenant) -> Result<Self, Error> {
        tenant.require_right(PeopleRight::ManageOrganisation)?;
        let mut transaction = tenant.begin().await?;
        let change = Change {
            action: "export_tenant",
            target_kind: "tenant",
            target_id: tenant.id.to_string(),
            target_name: tenant.name().as_str(),
            before: None,
            after: None,
            reason: None,
        };
        audit::record(&mut transaction, &tenant.caller, change).await?;
        transaction.commit().await?;
        Ok(Self { tenant: tenant.clone(), part: Part::Head })
    }

    /// Some lines more, until there are none.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn next(&mut self) -> Result<Option<String>, Error> {
        let part = std::mem::replace(&mut self.part, Part::Nothing);
        let (lines, next) = match part {
            Part::Head => (self.head().await?, Part::Projects(None)),
            Part::Projects(cursor) => {
                let page = list_projects(&self.tenant, cursor.as_deref(), PAGE_SIZE_MAX).await?;
                let next = page.next_cursor.map_or(Part::Keys(None), |cursor| Part::Projects(Some(cursor)));
                (lines_of("project", &page.items)?, next)
            }
            Part::Keys(cursor) => {
                let filter = KeyFilter { cursor, limit: PAGE_SIZE_MAX, ..KeyFilter::default() };
                let page = list_keys(&self.tenant, &filter).await?;
                let next = page.next_cursor.map_or(Part::Events(None), |cursor| Part::Keys(Some(cursor)));
                (lines_of("key", &page.items)?, next)
            }
            Part::Events(cursor) => {
                // The newest come first, so that what is written meanwhile is before the pages yet to come.
                let filter = AuditFilter { cursor, limit: PAGE_SIZE_MAX, ..AuditFilter::default() };
                let page = list_audit_events(&self.tenant, &filter).await?;
                let next = page.next_cursor.map_or(Part::Nothing, |cursor| Part::Events(Some(cursor)));
                (lines_of("audit_event", &page.items)?, next)
            }
            Part::Nothing => return Ok(None),
        };
        self.part = next;
        Ok(Some(lines))
    }

    async fn head(&self) -> Result<String, Error> {
        let tenant = json!({ "tenant": {
            "id": self.tenant.id.to_string(),
            "slug": self.tenant.slug().as_str(),
            "name": self.tenant.name().as_str(),
            "exported_at": format_timestamp(clock::now()),
        }});
        let members = list_members(&self.tenant).await?.into_iter().map(|member| {
            json!({ "member": {
                "id": member.id.to_string(),
                "name": member.name,
                "email": member.email,
                "role": member.role.as_str(),
                "joined_at": format_timestamp(member.joined_at),
            }})
        });
        Ok([tenant].into_iter().chain(members).map(|line| format!("{line}\n")).collect())
    }
}

fn lines_of<T: serde::Serialize>(what: &str, items: &[T]) -> Result<String, Error> {
    let line = |item: &T| {
        let item: Value = serde_json::to_value(item).map_err(Error::internal)?;
        Ok(format!("{}\n", json!({ what: item })))
    };
    items.iter().map(line).collect()
}
