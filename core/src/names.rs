//! Checked strings: whoever holds one knows that it was checked. What they are used for is not decided here.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a text was not taken. Each says what is allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing but spaces.
    #[error("this cannot be empty")]
    Empty,
    /// Too many characters.
    #[error("this has at most {characters_max} characters")]
    TooLong {
        /// The bound, in characters.
        characters_max: usize,
    },
    /// Line breaks, tabs and other invisible controls.
    #[error("this cannot contain control characters")]
    ControlCharacter,
    /// Not of the form of a slug.
    #[error("this has 2–39 small letters, digits and hyphens, begins with a letter and does not end with a hyphen")]
    NotASlug,
    /// A slug that addresses of ours use.
    #[error("this word is reserved; choose another")]
    Reserved,
    /// Not an e-mail address.
    #[error("this is no e-mail address, such as name@example.com")]
    NotAnEmail,
}

/// Words a tenant cannot take, because addresses of ours use them or may one day.
const RESERVED_TENANT_SLUGS: &[&str] = &[
    "account",
    "admin",
    "all",
    "api",
    "app",
    "assets",
    "auth",
    "billing",
    "dashboard",
    "docs",
    "health",
    "help",
    "invite",
    "livez",
    "login",
    "logout",
    "me",
    "metrics",
    "new",
    "none",
    "null",
    "openapi",
    "pkg",
    "public",
    "readyz",
    "root",
    "settings",
    "setup",
    "sign-in",
    "sign-out",
    "sign-up",
    "startupz",
    "static",
    "status",
    "support",
    "system",
    "tenants",
    "tronch",
    "undefined",
    "well-known",
    "www",
];

/// Words a project cannot take. Few: it stands under its tenant's, and `api` or `docs` are good names for one.
const RESERVED_PROJECT_SLUGS: &[&str] = &["all", "new", "none", "null", "settings", "undefined"];

fn text(text: &str, characters_max: usize) -> Result<String, NameError> {
    let text = text.trim();
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    if text.chars().count() > characters_max {
        return Err(NameError::TooLong { characters_max });
    }
    if text.chars().any(char::is_control) {
        return Err(NameError::ControlCharacter);
    }
    Ok(text.to_owned())
}

fn slug(text: &str, reserved: &[&str]) -> Result<String, NameError> {
    let text = text.trim();
    let bytes = text.as_bytes();
    let shaped = (2..=39).contains(&bytes.len())
        && bytes[0].is_ascii_lowercase()
        && bytes.iter().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-')
        && bytes.last() != Some(&b'-');
    if !shaped {
        return Err(NameError::NotASlug);
    }
    if reserved.contains(&text) {
        return Err(NameError::Reserved);
    }
    Ok(text.to_owned())
}

fn email(input: &str) -> Result<String, NameError> {
    let checked = text(input, 254)?;
    let (local, domain) = checked.rsplit_once('@').ok_or(NameError::NotAnEmail)?;
    let plain = checked.len() <= 254 && !checked.contains(char::is_whitespace) && !local.contains('@');
    let labels = domain.split('.').all(|label| !label.is_empty() && !label.starts_with('-') && !label.ends_with('-'));
    if plain && labels && (1..=64).contains(&local.len()) { Ok(checked) } else { Err(NameError::NotAnEmail) }
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $parse:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String")]
        pub struct $name(String);

        impl $name {
            /// Trims and checks.
            ///
            /// # Errors
            /// Says what is allowed.
            pub fn parse(input: &str) -> Result<Self, NameError> {
                let parse: fn(&str) -> Result<String, NameError> = $parse;
                parse(input).map(Self)
            }

            /// The checked text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;

            fn try_from(input: String) -> Result<Self, NameError> {
                Self::parse(&input)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.0)
            }
        }
    };
}

name!(/// A tenant in addresses: `[a-z][a-z0-9-]{1,38}`, some words reserved.
    TenantSlug, |input| slug(input, RESERVED_TENANT_SLUGS));
name!(/// A project in addresses and requests: like a tenant's, with other words reserved.
    ProjectSlug, |input| slug(input, RESERVED_PROJECT_SLUGS));
name!(/// A tenant's name for people, 1–100 characters.
    TenantName, |input| text(input, 100));
name!(/// A project's name for people, 1–100 characters.
    ProjectName, |input| text(input, 100));
name!(/// A person's name, 1–100 characters.
    PersonName, |input| text(input, 100));
name!(/// A key's name, 1–100 characters, not necessarily unique.
    KeyName, |input| text(input, 100));
name!(/// A service token's name, 1–100 characters.
    TokenName, |input| text(input, 100));
name!(/// Whom a key was issued to, in the tenant's own words, 1–255 characters.
    ExternalId, |input| text(input, 255));
name!(/// What a limit is called in requests and answers: like a project's slug, with no word reserved.
    LimitName, |input| slug(input, &[]));
name!(/// Of what kind something is that is limited and no key, such as `sign-ups`: formed like a limit's name.
    Namespace, |input| slug(input, &[]));
name!(/// Whose calls are counted in a namespace, in the service's own words, 1–255 characters.
    Identifier, |input| text(input, 255));
name!(/// Why a key was revoked, 1–500 characters.
    RevokeReason, |input| text(input, 500));
name!(/// An e-mail address, at most 254 bytes, as it was typed.
    EmailAddress, email);

impl EmailAddress {
    /// What stands before the last @.
    pub fn local_part(&self) -> &str {
        self.0.rsplit_once('@').map_or(self.0.as_str(), |(local, _)| local)
    }

    /// The form that is unique: small letters throughout. Strictly the local part may tell them apart; no provider does,
    /// and two accounts of one address would be a trap.
    pub fn normalized(&self) -> String {
        self.0.to_lowercase()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn slugs() {
        for good in ["ab", "acme", "a1", "a-b-c", &format!("a{}", "b".repeat(38))] {
            assert!(TenantSlug::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "a", "1a", "-a", "a-", "Acme", "a_b", "a b", "é1", "a/b", "a.b", &"a".repeat(40)] {
            assert_eq!(TenantSlug::parse(bad), Err(NameError::NotASlug), "{bad}");
        }
        for reserved in RESERVED_TENANT_SLUGS {
            assert_eq!(TenantSlug::parse(reserved), Err(NameError::Reserved), "{reserved}");
        }
        for reserved in RESERVED_PROJECT_SLUGS {
            assert_eq!(ProjectSlug::parse(reserved), Err(NameError::Reserved), "{reserved}");
        }
        for good in ["default", "api", "docs"] {
            assert!(ProjectSlug::parse(good).is_ok(), "{good}");
        }
    }

    #[test]
    fn names() {
        assert_eq!(
            KeyName::parse("  Zoë's <b>\"键\"</b> 🗝 ").map(|name| name.to_string()).as_deref(),
            Ok("Zoë's <b>\"键\"</b> 🗝")
        );
        assert_eq!(KeyName::parse("   "), Err(NameError::Empty));
        assert_eq!(KeyName::parse("a\nb"), Err(NameError::ControlCharacter));
        assert!(KeyName::parse(&"é".repeat(100)).is_ok());
        assert_eq!(KeyName::parse(&"é".repeat(101)), Err(NameError::TooLong { characters_max: 100 }));
    }

    #[test]
    fn emails() {
        for good in ["a@b", "ann@example.com", "Ann+tag@sub.example.com", "zoë@exämple.de"] {
            assert!(EmailAddress::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "ann",
            "@b",
            "a@",
            "a@@b",
            "a@b@c",
            "a b@c",
            "a@b..c",
            "a@-b",
            "a@.b",
            &format!("{}@b", "a".repeat(65)),
        ] {
            assert!(EmailAddress::parse(bad).is_err(), "{bad}");
        }
        let address = EmailAddress::parse("Ann@Example.com").expect("an address");
        assert_eq!((address.as_str(), address.normalized().as_str()), ("Ann@Example.com", "ann@example.com"));
    }

    proptest! {
        #[test]
        fn what_was_checked_once_passes_again(input in "\\PC{0,120}") {
            if let Ok(name) = KeyName::parse(&input) {
                prop_assert_eq!(KeyName::parse(name.as_str()), Ok(name));
            }
        }
    }
}
