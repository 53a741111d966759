//! Browsers in which somebody has signed in before. They have tries of their own: otherwise whoever knows an address could keep its
//! owner out, by wrong passwords without end (OWASP calls this a device cookie).

use subtle::ConstantTimeEq as _;
use tronch_core::EmailAddress;

use crate::Engine;
use crate::error::Error;

const KIND: &str = "known browser";

/// Digits of the part that tells one browser from another.
const NONCE_DIGITS: usize = 22;

/// What a browser keeps, for the account of that address: `nonce.mac`. It says nothing of whose it is, and lets nobody in.
///
/// # Errors
/// `Internal` where there is no randomness.
pub fn remember_browser(engine: &Engine, email: &str) -> Result<String, Error> {
    let email_normalized = EmailAddress::parse(email).map_err(Error::internal)?.normalized();
    let nonce = crate::random::grouped_digits::<NONCE_DIGITS>(NONCE_DIGITS)?;
    Ok(format!("{}.{}", *nonce, mac(engine, &nonce, &email_normalized)))
}

/// Whose tries those of this browser are, if somebody signed in to that account in it before.
pub(super) fn tries_of(engine: &Engine, kept: &str, email_normalized: &str) -> Option<String> {
    let (nonce, shown) = kept.split_once('.')?;
    let right = mac(engine, nonce, email_normalized);
    bool::from(shown.as_bytes().ct_eq(right.as_bytes())).then(|| format!("browser {nonce}"))
}

fn mac(engine: &Engine, nonce: &str, email_normalized: &str) -> String {
    let bound = format!("{nonce}\0{email_normalized}");
    engine.keyring().fingerprint(KIND, bound.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}
