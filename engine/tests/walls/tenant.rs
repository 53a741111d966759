//! Without a tenant there is no verb, and the one way to a tenant asks who is there.

use tronch_core::{KeyId, TenantSlug};
use tronch_engine::{Caller, Engine, Error, Tenant, keys};

pub async fn enter(engine: &Engine, caller: &Caller, slug: &TenantSlug, key_id: KeyId) -> Result<(), Error> {
    let tenant: Tenant = engine.tenant(caller, slug).await?;
    let _ = keys::get_key(&tenant, key_id).await?;
    let _ = keys::get_key(engine, key_id).await?; //~ E0308 Tenant
    let _ = keys::get_key(caller, key_id).await?; //~ E0308 Tenant
    let _ = keys::get_key(slug, key_id).await?; //~ E0308 Tenant
    let _ = keys::get_key(key_id).await?; //~ E0061 argument
    let _ = engine.tenant(slug).await?; //~ E0061 argument
    let _ = Tenant { ..tenant.clone() }; //~ E0451 private
    let _ = Tenant::default(); //~ E0599 default
    let _ = tenant.id; //~ E0616 private
    let _ = tenant.engine; //~ E0616 private
    let _ = tenant.grant; //~ E0616 private
    let _ = tenant.begin(); //~ E0624 private
    let _ = tenant.begin_change(); //~ E0624 private
    Ok(())
}
