//! Tenants: the first sign-up, making further ones, taking one along, and its end. Who is in a tenant is `members`' business.

mod deletion;
mod export;
mod list;
mod offline_lease;
mod removal;
mod setup;
mod sql;

use tronch_core::{EmailAddress, PersonName, TenantId, TenantName, TenantSlug, UserId};
use zeroize::Zeroizing;

use crate::Engine;
use crate::caller::{Caller, Identity, Origin};
use crate::error::Error;
use crate::members::Password;

pub use deletion::{DeletedTenant, delete_tenant, my_deleted_tenants, remove_deleted_tenants, restore_tenant};
pub use export::Export;
pub use list::list_tenants;
pub use offline_lease::set_offline_lease;
pub(crate) use removal::{IN_PORTIONS, close_doors, remove_rest};
pub use setup::{SetupCode, check_setup_code, is_set_up, renew_setup_code};

/// The slug of the project every tenant begins with.
pub const FIRST_PROJECT: &str = "default";

/// What the first sign-up asks for.
pub struct SignUp {
    /// Who signs up; becomes the owner.
    pub name: PersonName,
    /// How they sign in.
    pub email: EmailAddress,
    /// Their password.
    pub password: Password,
    /// The organisation's name for people.
    pub tenant_name: TenantName,
    /// The organisation's name in addresses.
    pub tenant_slug: TenantSlug,
}

/// Makes the first user, their tenant and its `default` project, and uses up the setup code: all or nothing.
///
/// # Errors
/// `SetupClosed` once anybody exists; `SetupCodeInvalid`; `Conflict` when the slug is taken; `Unavailable`.
pub async fn sign_up(engine: &Engine, code: &str, sign_up: SignUp, origin: Origin) -> Result<UserId, Error> {
    check_setup_code(engine, code, origin.address).await?;
    let phc = engine.passwords().hash(sign_up.password.into_inner()).await?;
    let founding = sql::Founding {
        email: &sign_up.email,
        person: &sign_up.name,
        phc: &phc,
        tenant_slug: &sign_up.tenant_slug,
        tenant_name: &sign_up.tenant_name,
    };
    let (user_id, _) = sql::found(engine, Some(code), &founding, |user_id| Caller {
        identity: Identity::Member {
            user_id,
            name: sign_up.name.as_str().to_owned(),
            email: sign_up.email.as_str().to_owned(),
            session: None,
        },
        origin,
    })
    .await?;
    Ok(user_id)
}

/// Makes a further tenant, of which the caller is the owner.
///
/// # Errors
/// `Unauthenticated` for anybody but a member; `Conflict` when the slug is taken, or they own as many as anybody may; `Unavailable`.
pub async fn create_tenant(
    engine: &Engine,
    caller: &Caller,
    name: &TenantName,
    slug: &TenantSlug,
) -> Result<(), Error> {
    let Identity::Member { user_id, .. } = caller.identity else { return Err(Error::Unauthenticated) };
    sql::found_another(engine, caller, user_id, (name, slug)).await
}

/// What `bootstrap` found or made.
pub struct Founded {
    /// The owner.
    pub user_id: UserId,
    /// The tenant.
    pub tenant_id: TenantId,
}

/// Makes sure that the tenant exists with this owner. Repeated, it changes nothing, the password least of all.
///
/// # Errors
/// `Conflict` when the tenant exists without this person in it; `Unavailable`.
pub async fn found_tenant(
    engine: &Engine,
    email: &EmailAddress,
    tenant_slug: &TenantSlug,
    password: Zeroizing<String>,
) -> Result<Founded, Error> {
    if let Some(founded) = sql::find_founded(engine, email, tenant_slug).await? {
        return Ok(founded);
    }
    let phc = engine
        .passwords()
        .hash(Password::parse(password, &[email.as_str(), tenant_slug.as_str()])?.into_inner())
        .await?;
    let founding = sql::Founding {
        email,
        person: &PersonName::parse(email.local_part()).map_err(|error| Error::invalid("email", error))?,
        phc: &phc,
        tenant_slug,
        tenant_name: &TenantName::parse(tenant_slug.as_str()).map_err(|error| Error::invalid("tenant", error))?,
    };
    let (user_id, tenant_id) = sql::found(engine, None, &founding, |_| Caller::operator()).await?;
    Ok(Founded { user_id, tenant_id })
}
