//! Why a text is no key: the closed list, in the order of the checks. The checks are in `key.rs`.

use std::fmt;

use serde::Serialize;

/// Why a text is no key, in the order of the checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MalformedReason {
    /// Not exactly as long as a key.
    Length,
    /// Does not begin as a key does.
    Prefix,
    /// A character of T or M outside the alphabet.
    Alphabet,
    /// T before 2024 or in the reserved range.
    Timestamp,
    /// A character of S or K outside the alphabet.
    Random,
    /// The gate does not fit: a typing error or a forgery.
    Gate,
}

impl MalformedReason {
    /// Each, in the order of the checks.
    pub const ALL: [Self; 6] = [Self::Length, Self::Prefix, Self::Alphabet, Self::Timestamp, Self::Random, Self::Gate];

    /// The wire form.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Length => "length",
            Self::Prefix => "prefix",
            Self::Alphabet => "alphabet",
            Self::Timestamp => "timestamp",
            Self::Random => "random",
            Self::Gate => "gate",
        }
    }

    /// For people.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::Length => "A key has exactly 52 characters.",
            Self::Prefix => "A key begins with tronch_sk_test_ or tronch_sk_live_.",
            Self::Alphabet => "The time or the check part has a character other than 0-9, A-Z, a-z.",
            Self::Timestamp => "The time part is outside the range keys are made in.",
            Self::Random => "The random part has a character other than 0-9, A-Z, a-z.",
            Self::Gate => "The check part does not fit the rest: a typing error, or no key of this installation.",
        }
    }
}

impl fmt::Display for MalformedReason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}
