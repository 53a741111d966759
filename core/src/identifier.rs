//! Whom a limit of a namespace is for: one identifier, or all that a pattern fits.

use std::fmt;

use crate::names::{Identifier, NameError};

/// Stands for any characters, or none.
const ANY: char = '*';

/// An identifier, or one with a `*` that stands for any characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct IdentifierPattern(Identifier);

/// How near a pattern is to the identifiers that it fits: the identifier itself is nearest, then whatever leaves least open, and of
/// two that leave as much open the one that begins with more. Two that fit one identifier are never equally near.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PatternNearness {
    is_exact: bool,
    characters: usize,
    first_characters: usize,
}

/// The text is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Nor an identifier.
    #[error(transparent)]
    Text(#[from] NameError),
    /// More than one `*`.
    #[error("a pattern has one * at most")]
    SeveralStars,
}

impl IdentifierPattern {
    /// Trims and checks.
    ///
    /// # Errors
    /// Says what is allowed.
    pub fn parse(input: &str) -> Result<Self, PatternError> {
        let text = Identifier::parse(input)?;
        if text.as_str().matches(ANY).count() > 1 { Err(PatternError::SeveralStars) } else { Ok(Self(text)) }
    }

    /// The checked text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// Whether it is one identifier.
    pub fn is_exact(&self) -> bool {
        !self.as_str().contains(ANY)
    }

    /// How near it is to an identifier, if it fits it.
    pub fn nearness(&self, identifier: &Identifier) -> Option<PatternNearness> {
        let (pattern, text) = (self.as_str(), identifier.as_str());
        let Some((first, last)) = pattern.split_once(ANY) else {
            let nearness = PatternNearness { is_exact: true, characters: 0, first_characters: 0 };
            return (pattern == text).then_some(nearness);
        };
        let fits = text.strip_prefix(first).is_some_and(|rest| rest.ends_with(last));
        let (first, last) = (first.chars().count(), last.chars().count());
        fits.then_some(PatternNearness { is_exact: false, characters: first + last, first_characters: first })
    }
}

impl fmt::Display for IdentifierPattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pattern(text: &str) -> IdentifierPattern {
        IdentifierPattern::parse(text).expect("a pattern")
    }

    fn identifier(text: &str) -> Identifier {
        Identifier::parse(text).expect("an identifier")
    }

    #[test]
    fn a_star_stands_for_any_characters() {
        let table = [
            ("*", "ada", true),
            ("ada", "ada", true),
            ("ada", "adam", false),
            ("ad*", "ada", true),
            ("ada*", "ada", true),
            ("*@example.com", "ada@example.com", true),
            ("*@example.com", "ada@example.org", false),
            ("198.51.100.*", "198.51.100.7", true),
            ("a*a", "a", false),
            ("a*a", "aa", true),
            ("ä*", "äda", true),
            ("x*", "*", false),
        ];
        for (text, whom, fits) in table {
            assert_eq!(pattern(text).nearness(&identifier(whom)).is_some(), fits, "{text} and {whom}");
        }
    }

    #[test]
    fn the_nearest_is_what_leaves_least_open() {
        let whom = identifier("user_42@example.com");
        let from_far =
            ["*", "u*", "*.com", "user_*", "user_*.com", "*@example.com", "user_42@example.*", whom.as_str()];
        let nearness = from_far.map(|text| pattern(text).nearness(&whom).expect(text));
        assert!(nearness.is_sorted_by(|near, nearer| near < nearer), "{nearness:?}");
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        assert_eq!(IdentifierPattern::parse("a*b*"), Err(PatternError::SeveralStars));
        assert_eq!(IdentifierPattern::parse(" "), Err(PatternError::Text(NameError::Empty)));
        let long = "x".repeat(256);
        assert!(IdentifierPattern::parse(&long).is_err() && IdentifierPattern::parse(&long[1..]).is_ok());
    }

    proptest! {
        /// Otherwise which of two counts would be chance.
        #[test]
        fn two_that_fit_are_never_equally_near(whom in "[ab]{1,6}", one in "[ab*]{1,6}", other in "[ab*]{1,6}") {
            let (Ok(one), Ok(other)) = (IdentifierPattern::parse(&one), IdentifierPattern::parse(&other)) else {
                return Ok(());
            };
            let whom = identifier(&whom);
            if let (Some(near), Some(far)) = (one.nearness(&whom), other.nearness(&whom)) {
                prop_assert_eq!(near == far, one == other);
            }
        }

        /// A plain reading of what a star means.
        #[test]
        fn fitting_is_as_one_would_try_it(whom in "[ab]{1,6}", text in "[ab]{0,3}[*]?[ab]{0,3}") {
            let Ok(parsed) = IdentifierPattern::parse(&text) else { return Ok(()) };
            let tried = (0..=whom.len()).any(|from| (from..=whom.len()).any(|until| text.replace('*', &whom[from..until]) == whom));
            prop_assert_eq!(parsed.nearness(&identifier(&whom)).is_some(), tried);
        }
    }
}
