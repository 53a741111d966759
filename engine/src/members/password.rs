//! A password that is long enough to be one. Hashing is `argon`'s.

use tronch_core::bounds::{PASSWORD_BYTES_MAX, PASSWORD_CHARACTERS_MIN};
use zeroize::Zeroizing;

use crate::error::Error;

/// Of zxcvbn's five scores those below are what lists and rules guess first.
const GUESSABLE: zxcvbn::Score = zxcvbn::Score::Two;

/// What passwords for it are made of.
const PRODUCT: &str = "tronch api keys";

/// At least 12 characters, at most 1024 bytes, no composition rules (NIST SP 800-63B), and not one of the first that are guessed. It does
/// not print.
pub struct Password(Zeroizing<String>);

impl Password {
    /// # Errors
    /// `Invalid` on the field `password`, saying what is allowed.
    ///
    /// `about` is what anybody may know of whose it is: their names and addresses are guessed first.
    pub fn parse(text: Zeroizing<String>, about: &[&str]) -> Result<Self, Error> {
        if text.chars().count() < PASSWORD_CHARACTERS_MIN {
            let message = format!("a password has at least {PASSWORD_CHARACTERS_MIN} characters");
            return Err(Error::invalid("password", message));
        }
        if text.len() > PASSWORD_BYTES_MAX {
            let message = format!("a password has at most {PASSWORD_BYTES_MAX} bytes");
            return Err(Error::invalid("password", message));
        }
        let words =
            |text: &str| -> Vec<String> { text.split(|one: char| !one.is_alphanumeric()).map(str::to_owned).collect() };
        let parts = |text: &&str| -> Vec<String> {
            let local = text.split('@').next().unwrap_or_default();
            [vec![(*text).to_owned(), local.to_owned()], words(text)].concat()
        };
        let about: Vec<String> =
            about.iter().chain(&[PRODUCT]).flat_map(parts).filter(|word| word.chars().count() > 2).collect();
        let about: Vec<&str> = about.iter().map(String::as_str).collect();
        let estimate = zxcvbn::zxcvbn(&text, &about);
        if estimate.score() < GUESSABLE {
            let why = estimate.feedback().and_then(zxcvbn::feedback::Feedback::warning);
            let why = why.map_or_else(|| "It is easy to guess.".to_owned(), |warning| warning.to_string());
            return Err(Error::invalid("password", format!("this is among the first that are guessed: {why}")));
        }
        Ok(Self(text))
    }

    /// The same, once more is known of whose it is.
    ///
    /// # Errors
    /// As of [`Self::parse`].
    pub(crate) fn avoiding(self, about: &[&str]) -> Result<Self, Error> {
        Self::parse(self.0, about)
    }

    pub(crate) fn into_inner(self) -> Zeroizing<String> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(text: &str) -> bool {
        Password::parse(Zeroizing::new(text.to_owned()), &["ada.lovelace@example.com", "Analytical Engines"]).is_ok()
    }

    #[test]
    fn what_is_guessed_first_is_refused_and_nothing_else_is_asked_for() {
        for guessed in ["passwordpassword", "123456789012", "qwertyuiopas", "ada.lovelace", "aaaaaaaaaaaaaaaa"] {
            assert!(!taken(guessed), "{guessed}");
        }
        let long: String = (0..200).map(|number| format!("{} ", number * 7_919 % 997)).collect();
        for fine in ["correct horse battery", "pferd batterie klammer", "ünïcödé im winter", &long] {
            assert!(taken(fine), "{fine}");
        }
        assert!(!taken("elf zeichen"), "too short");
    }
}
