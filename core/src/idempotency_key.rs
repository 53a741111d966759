//! The word a caller gives a write so that sending it twice does it once. What is remembered of it is the engine's
//! business.

use std::fmt;

/// 1–255 visible ASCII characters, chosen by the caller
/// ([draft-ietf-httpapi-idempotency-key-header](https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/)).
///
/// Whoever knows it could learn what a write made, so it does not print.
#[derive(Clone, PartialEq, Eq)]
pub struct IdempotencyKey(String);

/// The text is no idempotency key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an idempotency key has 1–255 visible ASCII characters; a random UUID serves well")]
pub struct ParseIdempotencyKeyError;

const CHARACTERS_MAX: usize = 255;

impl IdempotencyKey {
    /// Takes the text as it is: no character is trimmed or folded.
    ///
    /// # Errors
    /// [`ParseIdempotencyKeyError`] for any other text.
    pub fn parse(text: &str) -> Result<Self, ParseIdempotencyKeyError> {
        let fits = (1..=CHARACTERS_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        if fits { Ok(Self(text.to_owned())) } else { Err(ParseIdempotencyKeyError) }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for IdempotencyKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("IdempotencyKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_visible_ascii_of_a_bounded_length() {
        let long = "x".repeat(255);
        for good in ["a", "0193-ab", "~!\"quoted\"", long.as_str()] {
            assert!(IdempotencyKey::parse(good).is_ok(), "{good}");
        }
        let too_long = "x".repeat(256);
        for bad in ["", " ", "a b", "é", "a\n", too_long.as_str()] {
            assert!(IdempotencyKey::parse(bad).is_err(), "{bad}");
        }
    }
}
