//! The wall between tenants: a `Tenant` is the proof that a caller may be here, a `TenantTx` the only way to its rows.
//! Nothing here knows what a key is.

mod scoped;

use diesel_async::{AnsiTransactionManager, AsyncPgConnection, RunQueryDsl, TransactionManager as _};
use tronch_core::{PeopleRight, Permission, Role, TenantId, TenantName, TenantSlug};

use crate::Engine;
use crate::caller::{Caller, Grant, Identity, Scope};
use crate::db::Connection;
use crate::error::Error;
use crate::once::Once;
use crate::schema::tenants;
use crate::system;
use setting::set_config;

pub(crate) use scoped::Scoped;

type Transactions = AnsiTransactionManager;

/// One tenant, as seen by one caller who may be there. Every verb on tenant rows asks for it.
#[derive(Clone)]
pub struct Tenant {
    pub(crate) engine: Engine,
    pub(crate) id: TenantId,
    pub(crate) caller: Caller,
    pub(crate) scope: Scope,
    grant: Grant,
    slug: TenantSlug,
    name: TenantName,
    once: Option<Once>,
    /// Whether a person who calls has just given their password once more.
    confirmed: bool,
}

impl Engine {
    /// The only way to a [`Tenant`].
    ///
    /// # Errors
    /// `NotFound` both when there is no such tenant and when the caller has no place in it.
    pub async fn tenant(&self, caller: &Caller, slug: &TenantSlug) -> Result<Tenant, Error> {
        let not_found = || Error::NotFound { noun: "tenant" };
        let (id, name, grant, scope) = match &caller.identity {
            Identity::Member { user_id, .. } => {
                let (id, name, role) = system::membership(self, slug, *user_id).await?.ok_or_else(not_found)?;
                (id, name, Grant::Role(role), Scope::default())
            }
            Identity::ServiceToken { tenant_id, permissions, scope, .. } => {
                let (id, name) = system::tenant_by_slug(self, slug).await?.ok_or_else(not_found)?;
                if id != *tenant_id {
                    return Err(not_found());
                }
                (id, name, Grant::Permissions(permissions.clone()), *scope)
            }
            Identity::Operator => {
                let (id, name) = system::tenant_by_slug(self, slug).await?.ok_or_else(not_found)?;
                (id, name, Grant::Everything, Scope::default())
            }
        };
        Ok(Tenant {
            engine: self.clone(),
            id,
            caller: caller.clone(),
            scope,
            grant,
            slug: slug.clone(),
            name,
            once: None,
            confirmed: false,
        })
    }
}

impl Tenant {
    /// The part of addresses that names it.
    pub fn slug(&self) -> &TenantSlug {
        &self.slug
    }

    /// Its name for people.
    pub fn name(&self) -> &TenantName {
        &self.name
    }

    /// Whether the caller may; pages ask so as not to offer what would be refused. Verbs call `require`.
    pub fn allows(&self, permission: Permission) -> bool {
        self.grant.allows(permission)
    }

    /// The first line of every verb, and of every page that offers one.
    ///
    /// # Errors
    /// `Forbidden` when the caller does not hold it.
    pub fn require(&self, permission: Permission) -> Result<(), Error> {
        if self.grant.allows(permission) { Ok(()) } else { Err(Error::Forbidden { permission: permission.as_str() }) }
    }

    /// Whether the caller is a person who has the right here.
    pub fn has_right(&self, right: PeopleRight) -> bool {
        match &self.grant {
            Grant::Role(role) => tronch_core::has_right(*role, right),
            Grant::Permissions(_) => false,
            Grant::Everything => true,
        }
    }

    /// As [`Self::require`], for what service tokens never do.
    ///
    /// # Errors
    /// `Forbidden` when the caller does not have it.
    pub fn require_right(&self, right: PeopleRight) -> Result<(), Error> {
        if self.has_right(right) { Ok(()) } else { Err(Error::Forbidden { permission: right.as_str() }) }
    }

    /// The next line of verbs that are dangerous in the hands of whoever finds a browser open. Service tokens and the operator have
    /// nothing more to show.
    pub(crate) fn require_confirmed(&self) -> Result<(), Error> {
        match self.caller.identity {
            Identity::Member { .. } if !self.confirmed => {
                Err(Error::invalid("password", "give your password once more"))
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn into_confirmed(self) -> Self {
        Self { confirmed: true, ..self }
    }

    /// Whether whoever calls has just given their password once more.
    pub fn is_confirmed(&self) -> bool {
        self.confirmed
    }

    /// What the caller is here, if a member.
    pub fn role(&self) -> Option<Role> {
        match &self.grant {
            Grant::Role(role) => Some(*role),
            Grant::Permissions(_) | Grant::Everything => None,
        }
    }

    pub(crate) fn once_of(&self) -> Option<&Once> {
        self.once.as_ref()
    }

    pub(crate) fn with_once(self, once: Once) -> Self {
        Self { once: Some(once), ..self }
    }

    /// Begins a transaction that sees this tenant's rows and no others.
    pub(crate) async fn begin(&self) -> Result<TenantTx, Error> {
        let connection = self.engine.db().tenant().await?;
        TenantTx::begin(connection, self.id, self.scope).await
    }
}

/// Only here: whoever can set `tronch.tenant` is in any tenant.
mod setting {
    diesel::define_sql_function! {
        /// Postgres's own; with `local`, the setting ends with the transaction.
        fn set_config(setting: diesel::sql_types::Text, value: diesel::sql_types::Text, local: diesel::sql_types::Bool)
            -> diesel::sql_types::Text;
    }
}

/// A transaction bound to one tenant by row security. Dropped without `commit`, it is rolled back.
pub(crate) struct TenantTx {
    connection: Option<Connection>,
    tenant_id: TenantId,
    scope: Scope,
}

impl TenantTx {
    pub(crate) async fn begin(mut connection: Connection, tenant_id: TenantId, scope: Scope) -> Result<Self, Error> {
        Transactions::begin_transaction(&mut *connection).await?;
        let mut transaction = Self { connection: Some(connection), tenant_id, scope };
        let _setting: String = diesel::select(set_config("tronch.tenant", tenant_id.uuid().to_string(), true))
            .get_result(transaction.connection())
            .await?;
        Ok(transaction)
    }

    pub(crate) fn tenant_id(&self) -> uuid::Uuid {
        self.tenant_id.uuid()
    }

    /// What the caller is limited to inside the tenant; queries on what lies in projects narrow themselves by it.
    pub(crate) fn scope(&self) -> Scope {
        self.scope
    }

    /// Tells the planner which ways to take until the transaction ends: `("seqscan", "off")`.
    pub(crate) async fn plan(&mut self, ways: [(&'static str, &'static str); 2]) -> Result<(), Error> {
        // With its prefix, so that no other setting can be named here: the tenant is one.
        let [first, second] = ways.map(|(way, value)| set_config(format!("enable_{way}"), value, true));
        let _settings: (String, String) = self.call((first, second)).get_result(self).await?;
        Ok(())
    }

    /// The connection itself, for what [`Scoped`] has no words for. Each caller says "This leaves `Scoped` because".
    pub(crate) fn unscoped(&mut self) -> &mut AsyncPgConnection {
        self.connection()
    }

    fn connection(&mut self) -> &mut AsyncPgConnection {
        self.connection.as_mut().expect("taken only by commit and drop, which consume the transaction")
    }

    /// Makes whatever asks for it in the same tenant wait for one another until their transactions end.
    pub(crate) async fn lock_tenant(&mut self) -> Result<(), Error> {
        let tenant = self.of(tenants::table).select(tenants::id).for_no_key_update();
        let _locked: uuid::Uuid = tenant.first(self).await?;
        Ok(())
    }

    pub(crate) async fn commit(mut self) -> Result<(), Error> {
        if let Some(mut connection) = self.connection.take() {
            Transactions::commit_transaction(&mut *connection).await?;
        }
        Ok(())
    }
}

impl Drop for TenantTx {
    fn drop(&mut self) {
        // A verb that returns early leaves its transaction open. Rolling back keeps the connection; if the runtime is
        // gone the pool closes it instead, which rolls back as well.
        let Some(mut connection) = self.connection.take() else { return };
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if let Err(error) = Transactions::rollback_transaction(&mut *connection).await {
                    tracing::debug!(%error, "a transaction could not be rolled back; its connection is closed");
                }
            });
        }
    }
}
