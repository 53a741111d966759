//! A service token was let in by a verifier: nobody makes one up, or reads or widens what it may do.

use tronch_engine::verify::{ServiceToken, Verifier};
use tronch_engine::{Caller, Error, Origin};

pub async fn let_in(verifier: &Verifier, origin: Origin) -> Result<Caller, Error> {
    let mut token: ServiceToken = verifier.authenticate("a text").await?;
    let _ = (token.tenant(), token.project(), token.environment());
    let _ = ServiceToken { ..token.clone() }; //~ E0451 private
    let _ = ServiceToken::default(); //~ E0599 default
    token.tenant_id = token.tenant_id; //~ E0616 private
    token.permissions.clear(); //~ E0616 private
    let _: Caller = token.clone().into(); //~ E0277 Caller
    Ok(verifier.caller(token, origin))
}
