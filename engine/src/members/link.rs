//! The part of a link that nobody can guess.

use zeroize::Zeroizing;

use crate::Engine;
use crate::error::Error;

/// 43 base-62 characters, 256 bits. It prints only on purpose.
pub struct LinkToken(Zeroizing<String>);

impl LinkToken {
    pub(crate) fn generate() -> Result<Self, Error> {
        Ok(Self(crate::random::grouped_digits::<43>(43)?))
    }

    /// The text, for the link.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// As it is stored: what it is for goes in, so that a link of one kind is none of another.
    pub(crate) fn hash(&self, engine: &Engine, what: &str) -> Vec<u8> {
        Self::hash_of(engine, what, &self.0)
    }

    pub(crate) fn hash_of(engine: &Engine, what: &str, token: &str) -> Vec<u8> {
        engine.keyring().fingerprint(what, token.trim().as_bytes()).to_vec()
    }
}
