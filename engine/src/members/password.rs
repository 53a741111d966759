//! A password that is long enough to be one. Hashing is `argon`'s.

use tronch_core::bounds::{PASSWORD_BYTES_MAX, PASSWORD_CHARACTERS_MIN};
use zeroize::Zeroizing;

use crate::error::Error;

/// At least 12 characters, at most 1024 bytes, no composition rules (NIST SP 800-63B). It does not print.
pub struct Password(Zeroizing<String>);

impl Password {
    /// # Errors
    /// `Invalid` on the field `password`, saying what is allowed.
    pub fn parse(text: Zeroizing<String>) -> Result<Self, Error> {
        if text.chars().count() < PASSWORD_CHARACTERS_MIN {
            let message = format!("a password has at least {PASSWORD_CHARACTERS_MIN} characters");
            return Err(Error::invalid("password", message));
        }
        if text.len() > PASSWORD_BYTES_MAX {
            let message = format!("a password has at most {PASSWORD_BYTES_MAX} bytes");
            return Err(Error::invalid("password", message));
        }
        Ok(Self(text))
    }

    pub(crate) fn into_inner(self) -> Zeroizing<String> {
        self.0
    }
}
