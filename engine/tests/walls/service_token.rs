//! A service token was let in by a verifier: nobody makes one up, or reads or widens what it may do.

use tronch_core::PresentedToken;
use tronch_engine::verify::{ServiceToken, Verifier};
use tronch_engine::{Caller, Error, Origin};

pub async fn let_in(verifier: &Verifier, presented: &PresentedToken, origin: Origin) -> Result<Caller, Error> {
    let token: ServiceToken = verifier.authenticate(presented).await?;
    let _ = (token.tenant(), token.project(), token.environment());
    let _ = ServiceToken::default(); //~ E0599 default
    let _ = token.0; //~ E0616 private
    let _ = token.facts(); //~ E0624 private
    let _: Caller = token.clone().into(); //~ E0277 Caller
    verifier.caller(&token, origin)
}
