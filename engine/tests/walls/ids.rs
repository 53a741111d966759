//! The id of one noun is not the id of another.

use tronch_core::{KeyId, ProjectId, ServiceTokenId};
use tronch_engine::{Error, Tenant, keys, tokens};

pub async fn mix(tenant: &Tenant, key_id: KeyId, project_id: ProjectId, token_id: ServiceTokenId) -> Result<(), Error> {
    let _ = keys::get_key(tenant, key_id).await?;
    let _ = tokens::revoke_token(tenant, token_id).await?;
    let _ = keys::get_key(tenant, project_id).await?; //~ E0308 KeyId
    let _ = tokens::revoke_token(tenant, key_id).await?; //~ E0308 ServiceTokenId
    let _ = key_id == project_id; //~ E0308 KeyId
    let _: KeyId = project_id.into(); //~ E0277 KeyId
    let _ = KeyId(project_id.uuid()); //~ E0423 private
    Ok(())
}
