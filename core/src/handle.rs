//! The public part of a credential, safe to show and log. It opens nothing.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use crate::base62;

/// Characters of T (8) and S (3) together.
pub const HANDLE_CHARACTERS: usize = 11;

/// The public part of a key or token: T and S, safe to show and log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Handle([u8; HANDLE_CHARACTERS]);

impl Handle {
    /// Takes characters that were checked before.
    pub(crate) fn of_digits(digits: [u8; HANDLE_CHARACTERS]) -> Self {
        Self(digits)
    }

    /// The 11 characters.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("a handle is made of base-62 characters only")
    }
}

impl fmt::Display for Handle {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

impl Serialize for Handle {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// The text was no handle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a handle is 11 characters of 0-9, A-Z, a-z")]
pub struct ParseHandleError;

impl FromStr for Handle {
    type Err = ParseHandleError;

    fn from_str(text: &str) -> Result<Self, ParseHandleError> {
        let bytes: [u8; HANDLE_CHARACTERS] = text.as_bytes().try_into().map_err(|_| ParseHandleError)?;
        if bytes.iter().all(|byte| base62::digit(*byte).is_some()) { Ok(Self(bytes)) } else { Err(ParseHandleError) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_is_eleven_digits_of_base_62() {
        for good in ["00000000000", "zzzzzzzzzzz", "0Uz3kQ9aB12"] {
            assert_eq!(good.parse::<Handle>().map(|handle| handle.to_string()).as_deref(), Ok(good));
        }
        for bad in ["", "0000000000", "000000000000", "0000000000-", " 0000000000", "é000000000", "0000000000\0"] {
            assert_eq!(bad.parse::<Handle>(), Err(ParseHandleError), "{bad:?}");
        }
    }
}
