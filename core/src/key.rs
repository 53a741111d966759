//! The form of keys and service tokens: 52 and 47 characters, fixed for ever. The gate needs a secret, so its value is
//! compared elsewhere.

use std::fmt;

use crate::base62;
use crate::environment::Environment;
use crate::handle::{HANDLE_CHARACTERS, Handle};
use crate::malformed::MalformedReason;

const T_DIGITS: usize = 8;
const S_DIGITS: usize = 3;
const K_DIGITS: usize = 22;
const M_DIGITS: usize = 4;
const BODY_CHARACTERS: usize = HANDLE_CHARACTERS + K_DIGITS + M_DIGITS;
/// 62⁴: the gate has this many values.
pub const GATE_VALUES: u32 = 14_776_336;

/// 2024-01-01T00:00:00Z in Unix milliseconds: no key is older than the format.
pub const CREATED_MS_MIN: u64 = 1_704_067_200_000;
/// 62⁷ in Unix milliseconds (2081): from then on the first digit of T is not `0`, which is reserved.
pub const CREATED_MS_END: u64 = 3_521_614_606_208;

/// What kind of credential a text claims to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CredentialKind {
    /// A key that a tenant hands to its customers.
    Key(Environment),
    /// A credential for our own API.
    ServiceToken,
}

impl CredentialKind {
    /// What the text begins with.
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Key(Environment::Test) => "tronch_sk_test_",
            Self::Key(Environment::Live) => "tronch_sk_live_",
            Self::ServiceToken => "tronch_st_",
        }
    }

    /// A handle as people meet it: with the prefix before it and an ellipsis where the secret was.
    pub fn display_handle(self, handle: Handle) -> String {
        format!("{}{handle}…", self.prefix())
    }
}

/// A text of the right form whose gate has not been compared yet. It does not print.
#[derive(Clone)]
struct Presented {
    kind: CredentialKind,
    text: String,
}

impl Presented {
    fn parse(text: &str, kinds: &[CredentialKind]) -> Result<Self, MalformedReason> {
        let prefix_characters = kinds[0].prefix().len();
        if text.len() != prefix_characters + BODY_CHARACTERS {
            return Err(MalformedReason::Length);
        }
        let kind = kinds.iter().copied().find(|kind| text.starts_with(kind.prefix())).ok_or(MalformedReason::Prefix)?;
        let body = &text.as_bytes()[prefix_characters..];
        let in_alphabet = |part: &[u8]| part.iter().all(|byte| base62::digit(*byte).is_some());
        let (t, rest) = body.split_at(T_DIGITS);
        let (random, m) = rest.split_at(S_DIGITS + K_DIGITS);
        if !in_alphabet(t) || !in_alphabet(m) {
            return Err(MalformedReason::Alphabet);
        }
        let presented = Self { kind, text: text.to_owned() };
        let in_range = t[0] == b'0' && in_alphabet(t) && decode_t(t) >= CREATED_MS_MIN;
        if !in_range {
            return Err(MalformedReason::Timestamp);
        }
        if !in_alphabet(random) {
            return Err(MalformedReason::Random);
        }
        Ok(presented)
    }

    fn body(&self) -> &[u8] {
        &self.text.as_bytes()[self.kind.prefix().len()..]
    }

    fn gate_input(&self) -> &str {
        &self.text[..self.text.len() - M_DIGITS]
    }

    fn gate_value(&self) -> u32 {
        let digits = &self.text[self.text.len() - M_DIGITS..];
        let value = base62::decode(digits).expect("parse checked the alphabet of M");
        u32::try_from(value).expect("62⁴ fits")
    }

    fn handle(&self) -> Handle {
        let mut bytes = [0; HANDLE_CHARACTERS];
        bytes.copy_from_slice(&self.body()[..HANDLE_CHARACTERS]);
        Handle::of_digits(bytes)
    }

    fn created_ms(&self) -> u64 {
        decode_t(&self.body()[..T_DIGITS])
    }
}

fn decode_t(t: &[u8]) -> u64 {
    t.iter().fold(0, |value, byte| value * 62 + base62::digit(*byte).map_or(0, u64::from))
}

macro_rules! presented {
    ($(#[$doc:meta])* $name:ident, $kinds:expr) => {
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $name(Presented);

        impl $name {
            /// Checks the form, all but the gate.
            ///
            /// # Errors
            /// The first check that failed.
            pub fn parse(text: &str) -> Result<Self, MalformedReason> {
                Presented::parse(text, $kinds).map(Self)
            }

            /// What the gate is computed over: everything before M.
            pub fn gate_input(&self) -> &str {
                self.0.gate_input()
            }

            /// M as a number below 62⁴.
            pub fn gate_value(&self) -> u32 {
                self.0.gate_value()
            }

            /// The public part.
            pub fn handle(&self) -> Handle {
                self.0.handle()
            }

            /// T: Unix milliseconds of its making.
            pub fn created_ms(&self) -> u64 {
                self.0.created_ms()
            }

            /// The whole secret text, for computing its tag.
            pub fn expose(&self) -> &str {
                &self.0.text
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.0.kind.display_handle(self.handle()))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, concat!(stringify!($name), "({}…)"), self.handle())
            }
        }
    };
}

presented!(/// A key as somebody presented it, of the right form.
    PresentedKey, &[CredentialKind::Key(Environment::Live), CredentialKind::Key(Environment::Test)]);
presented!(/// A service token as somebody presented it, of the right form.
    PresentedToken, &[CredentialKind::ServiceToken]);

impl PresentedKey {
    /// The environment its prefix names.
    pub fn environment(&self) -> Environment {
        match self.0.kind {
            CredentialKind::Key(environment) => environment,
            CredentialKind::ServiceToken => unreachable!("a key is parsed with the kinds of keys alone"),
        }
    }
}

/// A credential in the making: all but its gate. It does not print.
pub struct KeyDraft {
    gate_input: String,
    prefix_characters: usize,
}

impl KeyDraft {
    /// `s` and `k` are random base-62 digits, 0 to 61 each; `created_ms` is inside the format's range.
    ///
    /// # Errors
    /// `Timestamp` outside that range: this machine's clock is wrong.
    pub fn new(kind: CredentialKind, created_ms: u64, s: [u8; 3], k: [u8; 22]) -> Result<Self, MalformedReason> {
        if !(CREATED_MS_MIN..CREATED_MS_END).contains(&created_ms) {
            return Err(MalformedReason::Timestamp);
        }
        let mut gate_input = String::with_capacity(kind.prefix().len() + BODY_CHARACTERS);
        gate_input.push_str(kind.prefix());
        gate_input.extend(base62::encode::<T_DIGITS>(created_ms).map(char::from));
        gate_input.extend(s.iter().chain(&k).map(|digit| char::from(base62::ALPHABET[usize::from(digit % 62)])));
        Ok(Self { gate_input, prefix_characters: kind.prefix().len() })
    }

    /// What the gate is computed over.
    pub fn gate_input(&self) -> &str {
        &self.gate_input
    }

    /// The public part, reserved before anything is computed.
    pub fn handle(&self) -> Handle {
        let text = &self.gate_input[self.prefix_characters..self.prefix_characters + HANDLE_CHARACTERS];
        text.parse().expect("a draft is made of base-62 digits")
    }

    /// The whole text.
    pub fn finish(self, gate_value: u32) -> String {
        let mut text = self.gate_input;
        text.extend(base62::encode::<M_DIGITS>(u64::from(gate_value % GATE_VALUES)).map(char::from));
        text
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIVE: CredentialKind = CredentialKind::Key(Environment::Live);

    fn key() -> String {
        KeyDraft::new(LIVE, 1_795_000_000_000, [1, 2, 3], [61; 22]).expect("in range").finish(14_776_335)
    }

    fn with(at: usize, character: &str) -> String {
        let mut text = key();
        text.replace_range(at..at + character.len(), character);
        text
    }

    #[test]
    fn a_key_has_52_characters_and_a_token_47() {
        let token =
            KeyDraft::new(CredentialKind::ServiceToken, CREATED_MS_MIN, [0; 3], [0; 22]).expect("in range").finish(0);
        assert_eq!((key().len(), token.len()), (52, 47));
        assert_eq!(&key()[..15], "tronch_sk_live_");
        let presented = PresentedKey::parse(&key()).expect("a key");
        assert_eq!(presented.handle().as_str(), &key()[15..26]);
    }

    #[test]
    fn each_reason_is_found_in_its_order() {
        let table = [
            (String::new(), MalformedReason::Length),
            ("x".to_owned(), MalformedReason::Length),
            (format!("{} ", key()), MalformedReason::Length),
            (key()[..51].to_owned(), MalformedReason::Length),
            ("é".repeat(52), MalformedReason::Length),
            ("é".repeat(26), MalformedReason::Prefix),
            (with(10, "beta"), MalformedReason::Prefix),
            (with(0, "T"), MalformedReason::Prefix),
            (with(16, "-"), MalformedReason::Alphabet),
            (with(51, "_"), MalformedReason::Alphabet),
            (with(15, "1"), MalformedReason::Timestamp),
            (with(15, "00000000"), MalformedReason::Timestamp),
            (with(23, "."), MalformedReason::Random),
            (with(47, "é"), MalformedReason::Alphabet),
            (with(46, "é"), MalformedReason::Random),
            (with(26, "\0"), MalformedReason::Random),
        ];
        for (text, reason) in table {
            assert_eq!(PresentedKey::parse(&text).err(), Some(reason), "{text:?}");
        }
    }

    #[test]
    fn no_text_is_two_kinds() {
        let token =
            KeyDraft::new(CredentialKind::ServiceToken, CREATED_MS_MIN, [0; 3], [0; 22]).expect("in range").finish(0);
        assert_eq!(PresentedKey::parse(&token).err(), Some(MalformedReason::Length));
        assert_eq!(PresentedToken::parse(&key()).err(), Some(MalformedReason::Length));
        assert_eq!(PresentedToken::parse(&key()[..47]).err(), Some(MalformedReason::Prefix));
    }

    #[test]
    fn the_range_of_t_ends_where_its_first_digit_would_change() {
        let draft = |ms| KeyDraft::new(LIVE, ms, [0; 3], [0; 22]).map(|draft| draft.finish(0));
        assert!(PresentedKey::parse(&draft(CREATED_MS_MIN).expect("in range")).is_ok());
        assert!(PresentedKey::parse(&draft(CREATED_MS_END - 1).expect("in range")).is_ok());
        assert_eq!(draft(CREATED_MS_END), Err(MalformedReason::Timestamp));
        assert_eq!(draft(CREATED_MS_MIN - 1), Err(MalformedReason::Timestamp));
    }

    #[test]
    fn a_presented_key_does_not_print_its_secret() {
        let text = key();
        let presented = PresentedKey::parse(&text).expect("a key");
        let printed = format!("{presented:?} {presented}");
        assert!(!printed.contains(&text[26..]) && printed.contains(&text[15..26]), "{printed}");
    }

    #[test]
    fn a_wrong_clock_makes_no_key_and_a_wrong_digit_no_panic() {
        let draft = KeyDraft::new(LIVE, CREATED_MS_MIN, [255; 3], [62; 22]).expect("in range");
        assert!(PresentedKey::parse(&draft.finish(u32::MAX)).is_ok());
        assert!(KeyDraft::new(LIVE, 0, [0; 3], [0; 22]).is_err());
        assert!(KeyDraft::new(LIVE, u64::MAX, [0; 3], [0; 22]).is_err());
    }

    proptest! {
        /// The gate sees each character: a change either fails the form or changes what the gate compares.
        #[test]
        fn no_one_character_change_goes_unseen(at in 0_usize..52, character in "[ -~]") {
            let (text, changed) = (key(), with(at, &character));
            prop_assume!(text != changed);
            let presented = PresentedKey::parse(&text).expect("a key");
            if let Ok(other) = PresentedKey::parse(&changed) {
                let seen = (other.gate_input(), other.gate_value()) != (presented.gate_input(), presented.gate_value());
                prop_assert!(seen);
            }
        }

        #[test]
        fn what_is_made_parses_back(
            created_ms in CREATED_MS_MIN..CREATED_MS_END, s in prop::array::uniform3(0_u8..62),
            k in prop::array::uniform22(0_u8..62), gate in 0..GATE_VALUES, live: bool,
        ) {
            let environment = if live { Environment::Live } else { Environment::Test };
            let draft = KeyDraft::new(CredentialKind::Key(environment), created_ms, s, k).expect("in range");
            let (handle, gate_input) = (draft.handle(), draft.gate_input().to_owned());
            let text = draft.finish(gate);
            let presented = PresentedKey::parse(&text).expect("a key");
            prop_assert_eq!(presented.handle(), handle);
            prop_assert_eq!(presented.gate_input(), gate_input);
            prop_assert_eq!(presented.gate_value(), gate);
            prop_assert_eq!(presented.created_ms(), created_ms);
            prop_assert_eq!(presented.environment(), environment);
            prop_assert_eq!(presented.expose(), text);
        }

        #[test]
        fn no_text_makes_parsing_panic(text in "\\PC{0,60}|tronch_sk_live_\\PC{37}|tronch_st_0[0-9A-Za-zé-]{36}") {
            prop_assert!(PresentedKey::parse(&text).is_err());
            if let Ok(token) = PresentedToken::parse(&text) {
                prop_assert_eq!(token.expose(), text);
            }
        }
    }
}
