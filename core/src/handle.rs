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

    /// The same, of which nobody has to look whether they are text: ASCII letters and digits.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
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

/// What of a typed text may stand in an address or a log: from a credential, whole or mistyped, only what is up to the
/// end of its handle.
pub fn searchable(text: &str) -> String {
    let text = text.trim();
    let start = ["tronch_sk_test_", "tronch_sk_live_", "tronch_st_"]
        .iter()
        .filter_map(|prefix| text.find(prefix).map(|at| (at, at + prefix.len())))
        .min();
    match start {
        None => without_long_runs(text),
        Some((at, end)) => {
            let handle = text[end..].chars().take(HANDLE_CHARACTERS).take_while(char::is_ascii_alphanumeric);
            text[at..end].chars().chain(handle).collect()
        }
    }
}

/// A key whose prefix was mistyped or left out is still a run of 37 letters and digits that begins with a time: as many of
/// them as a handle has are kept. Ids and hashes of other systems are left alone.
fn without_long_runs(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    for word in text.split_inclusive(|character: char| !character.is_ascii_alphanumeric()) {
        let run = word.trim_end_matches(|character: char| !character.is_ascii_alphanumeric());
        let end = if looks_like_a_secret(run) { HANDLE_CHARACTERS } else { run.len() };
        kept.push_str(&word[..end]);
        kept.push_str(&word[run.len()..]);
    }
    kept
}

fn looks_like_a_secret(run: &str) -> bool {
    /// A few of the 37 may have been lost on the way.
    const CHARACTERS_MIN: usize = 33;
    let begins_with_a_time = run.starts_with('0') && run[1..].starts_with(|second| ('U'..='z').contains(&second));
    run.len() >= CHARACTERS_MIN && begins_with_a_time && !run.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_credential_beyond_its_handle_is_searched_for() {
        let secret = "K".repeat(22);
        let table = [
            (format!("tronch_sk_live_0Uz3kQ9aB12{secret}0000"), "tronch_sk_live_0Uz3kQ9aB12"),
            (format!("my key: tronch_sk_test_0Uz3kQ9aB12{secret}, thanks"), "tronch_sk_test_0Uz3kQ9aB12"),
            (format!("tronch_st_0Uz3kQ9aB12{secret}"), "tronch_st_0Uz3kQ9aB12"),
            ("tronch_sk_live_0Uz3é".to_owned(), "tronch_sk_live_0Uz3"),
            ("  Zoë's key ".to_owned(), "Zoë's key"),
            ("tronch".to_owned(), "tronch"),
            (format!("tronch_ks_live_0Uz3kQ9aB12{secret}0000"), "tronch_ks_live_0Uz3kQ9aB12"),
            (format!("0Uz3kQ9aB12{secret}0000 é"), "0Uz3kQ9aB12 é"),
            ("0123456789abcdefghijklmnopqr".to_owned(), "0123456789abcdefghijklmnopqr"),
            (format!("0a{}", "5".repeat(62)), "0a55555555555555555555555555555555555555555555555555555555555555"),
            (format!("1a{secret}000000000000"), "1aKKKKKKKKKKKKKKKKKKKKKK000000000000"),
            ("key_01h455vb4pex5vsknk084sn02q".to_owned(), "key_01h455vb4pex5vsknk084sn02q"),
        ];
        for (text, expected) in table {
            assert_eq!(searchable(&text), expected, "{text}");
        }
    }

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
