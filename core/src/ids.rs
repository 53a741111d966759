//! One newtype per noun, in the text form of TypeID 0.3: prefix, `_`, 26 digits of base 32. Bytes and clock come in as
//! arguments.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use uuid::Uuid;

use crate::time::Timestamp;

/// Crockford's alphabet, lower case, as TypeID has it.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const TEXT_DIGITS: usize = 26;

/// The text was no id of the kind that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is no id of the form {prefix}_ and 26 digits")]
pub struct ParseIdError {
    /// The prefix that was expected.
    pub prefix: &'static str,
}

/// Characters of an id: a prefix of three, `_` and the digits.
const TEXT_CHARACTERS: usize = 4 + TEXT_DIGITS;

/// Bits of as many digits as fit into 64, for arithmetic on 128 is slow.
const BITS_AT_ONCE: u32 = 60;

/// An id as text.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct IdText([u8; TEXT_CHARACTERS]);

impl IdText {
    fn of(prefix: &'static str, uuid: Uuid) -> Self {
        let mut text = [b'_'; TEXT_CHARACTERS];
        text[..3].copy_from_slice(&prefix.as_bytes()[..3]);
        let mut value = uuid.as_u128();
        for digits in text[4..].rchunks_mut((BITS_AT_ONCE / 5) as usize) {
            let mut part = (value & ((1 << BITS_AT_ONCE) - 1)) as u64;
            value >>= BITS_AT_ONCE;
            for digit in digits.iter_mut().rev() {
                *digit = ALPHABET[(part & 31) as usize];
                part >>= 5;
            }
        }
        Self(text)
    }

    /// The characters.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("prefixes and the alphabet are ASCII")
    }

    /// The same, of which nobody has to look whether they are text: ASCII letters, digits and `_`.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Serialize for IdText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

fn decode(digits: &str) -> Option<Uuid> {
    // 26 digits hold 130 bits; the first may use only three of its five.
    if digits.len() != TEXT_DIGITS || digits.as_bytes()[0] > b'7' {
        return None;
    }
    let mut value: u128 = 0;
    for byte in digits.bytes() {
        let digit = ALPHABET.iter().position(|letter| *letter == byte)?;
        value = (value << 5) | digit as u128;
    }
    Some(Uuid::from_u128(value))
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            /// What the text form begins with.
            pub const PREFIX: &'static str = $prefix;

            /// Names an existing row.
            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// The text form, without an allocation.
            pub fn text(self) -> IdText {
                IdText::of(Self::PREFIX, self.0)
            }

            /// The 128 bits.
            pub fn uuid(self) -> Uuid {
                self.0
            }

            /// A new id: UUIDv7 (RFC 9562) of `now` and ten random bytes.
            pub fn generate(now: Timestamp, random: [u8; 10]) -> Self {
                let unix_ms = u64::try_from(now.timestamp_millis()).unwrap_or(0);
                Self(uuid::Builder::from_unix_timestamp_millis(unix_ms, &random).into_uuid())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(self.text().as_str())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, formatter)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                let error = ParseIdError { prefix: Self::PREFIX };
                let digits = text.strip_prefix(Self::PREFIX).and_then(|rest| rest.strip_prefix('_')).ok_or(error)?;
                decode(digits).map(Self).ok_or(error)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.text().as_str())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
            }
        }
    };
}

id!(/// A customer organisation.
    TenantId, "ten");
id!(/// A person.
    UserId, "usr");
id!(/// A group of keys for one API.
    ProjectId, "prj");
id!(/// A key.
    KeyId, "key");
id!(/// A service token.
    ServiceTokenId, "stk");
id!(/// A limit.
    LimitId, "lim");
id!(/// Somebody who is asked into a tenant.
    InvitationId, "inv");
id!(/// An audit event.
    AuditEventId, "aud");
id!(/// One request to us.
    RequestId, "req");
id!(/// A browser session.
    SessionId, "ses");

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn text_form_is_the_one_of_the_typeid_specification() {
        // The specification's own valid vectors, under our prefixes.
        let table = [
            (0, "key_00000000000000000000000000"),
            (1, "key_00000000000000000000000001"),
            (10, "key_0000000000000000000000000a"),
            (16, "key_0000000000000000000000000g"),
            (32, "key_00000000000000000000000010"),
            (u128::MAX, "key_7zzzzzzzzzzzzzzzzzzzzzzzzz"),
        ];
        for (value, text) in table {
            assert_eq!(KeyId::from_uuid(Uuid::from_u128(value)).to_string(), text);
            assert_eq!(text.parse(), Ok(KeyId::from_uuid(Uuid::from_u128(value))));
        }
    }

    #[test]
    fn another_kind_of_id_is_refused() {
        let error = Err(ParseIdError { prefix: "key" });
        for text in [
            "",
            "key",
            "key_",
            "usr_00000000000000000000000000",
            "key_8zzzzzzzzzzzzzzzzzzzzzzzzz",
            "key_0000000000000000000000000",
            "key_000000000000000000000000000",
            "KEY_00000000000000000000000000",
            "key_0000000000000000000000000O",
            "key_0000000000000000000000000i",
            "key_é0000000000000000000000000",
        ] {
            assert_eq!(text.parse::<KeyId>(), error, "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_id_survives_its_text_form(value: u128) {
            let id = TenantId::from_uuid(Uuid::from_u128(value));
            prop_assert_eq!(id.to_string().parse(), Ok(id));
        }

        #[test]
        fn later_ids_sort_later(first in 0_i64..4_000_000_000_000, gap in 1_i64..1_000_000, random: [u8; 10]) {
            let at = |ms| Timestamp::from_timestamp_millis(ms).expect("in range");
            prop_assert!(KeyId::generate(at(first), random) < KeyId::generate(at(first + gap), [0; 10]));
        }
    }
}
