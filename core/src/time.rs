//! Time in text: RFC 3339, UTC, milliseconds. What time it is comes in as an argument, never from here.

use chrono::{DateTime, Datelike as _, SecondsFormat, Utc};

/// An instant, UTC.
pub type Timestamp = DateTime<Utc>;

/// `2026-11-23T09:30:00.000Z`: always three digits of a second, always `Z`.
pub fn format_timestamp(timestamp: Timestamp) -> String {
    timestamp.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// Parses RFC 3339 with any offset, which must be present. What is finer than a millisecond is cut off and a leap second
/// becomes the one after it, so that what is stored is what is shown.
///
/// # Errors
/// A sentence that says what is allowed.
pub fn parse_timestamp(text: &str) -> Result<Timestamp, ParseTimestampError> {
    let parsed = DateTime::parse_from_rfc3339(text.trim()).map_err(|_| ParseTimestampError)?;
    let timestamp = DateTime::from_timestamp_millis(parsed.timestamp_millis()).ok_or(ParseTimestampError)?;
    // An offset can push a year that has four digits out of them, and then the text form is no RFC 3339 any more.
    if (0..=9999).contains(&timestamp.year()) { Ok(timestamp) } else { Err(ParseTimestampError) }
}

/// A length of time in the largest unit that fits without a remainder: "30 days", "90 minutes", "0 seconds".
pub fn duration_words(seconds: u32) -> String {
    let units = [(86_400, "day"), (3600, "hour"), (60, "minute"), (1, "second")];
    let fits = |unit: u32| seconds >= unit && seconds.is_multiple_of(unit);
    let (unit, name) = units.into_iter().find(|(unit, _)| fits(*unit)).unwrap_or((1, "second"));
    let count = seconds / unit;
    format!("{count} {name}{}", if count == 1 { "" } else { "s" })
}

/// The text was no RFC 3339 time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a time is RFC 3339 with its offset, such as 2027-01-31T12:00:00Z")]
pub struct ParseTimestampError;

/// `#[serde(with = "…")]` for a [`Timestamp`].
pub mod serde_timestamp {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    use super::{Timestamp, format_timestamp, parse_timestamp};

    /// Writes the text form.
    #[expect(clippy::missing_errors_doc, reason = "the serializer's own")]
    pub fn serialize<S: Serializer>(timestamp: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format_timestamp(*timestamp))
    }

    /// Reads the text form.
    #[expect(clippy::missing_errors_doc, reason = "the deserializer's own")]
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        parse_timestamp(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// `#[serde(with = "…")]` for an optional [`Timestamp`]; absent is `null`.
pub mod serde_timestamp_option {
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer, de::Error as _};

    use super::{Timestamp, format_timestamp, parse_timestamp};

    /// Writes the text form or `null`.
    #[expect(clippy::missing_errors_doc, reason = "the serializer's own")]
    pub fn serialize<S: Serializer>(timestamp: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
        timestamp.map(format_timestamp).serialize(serializer)
    }

    /// Reads the text form or `null`.
    #[expect(clippy::missing_errors_doc, reason = "the deserializer's own")]
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| parse_timestamp(&text).map_err(D::Error::custom)).transpose()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lengths_of_time_are_words() {
        let table = [
            (0, "0 seconds"),
            (1, "1 second"),
            (90, "90 seconds"),
            (900, "15 minutes"),
            (5400, "90 minutes"),
            (3600, "1 hour"),
            (86_400, "1 day"),
            (2_592_000, "30 days"),
        ];
        for (seconds, words) in table {
            assert_eq!(duration_words(seconds), words);
        }
    }

    #[test]
    fn text_form_is_utc_with_milliseconds() {
        let table = [
            ("2026-11-23T09:30:00Z", "2026-11-23T09:30:00.000Z"),
            ("2026-11-23T10:30:00.1239+01:00", "2026-11-23T09:30:00.123Z"),
            (" 2026-11-23T09:30:00.5z ", "2026-11-23T09:30:00.500Z"),
            ("2016-12-31T23:59:60Z", "2017-01-01T00:00:00.000Z"),
            ("9999-12-31T23:59:59.999Z", "9999-12-31T23:59:59.999Z"),
        ];
        for (text, expected) in table {
            assert_eq!(parse_timestamp(text).map(format_timestamp).as_deref(), Ok(expected));
        }
        for text in
            ["", "2026-11-23", "2026-11-23T09:30:00", "yesterday", "2026-13-01T00:00:00Z", "9999-12-31T23:59:59-01:00"]
        {
            assert_eq!(parse_timestamp(text), Err(ParseTimestampError), "{text}");
        }
    }

    #[test]
    fn the_serde_forms_are_the_text_form_and_null() {
        #[derive(Debug, serde::Serialize)]
        struct Times {
            #[serde(with = "serde_timestamp")]
            at: Timestamp,
            #[serde(with = "serde_timestamp_option")]
            end: Option<Timestamp>,
            #[serde(with = "serde_timestamp_option")]
            never: Option<Timestamp>,
        }
        let at = Timestamp::from_timestamp_millis(1_800_000_000_001).expect("in range");
        insta::assert_compact_json_snapshot!(Times { at, end: Some(at), never: None }, @r#"{"at": "2027-01-15T08:00:00.001Z", "end": "2027-01-15T08:00:00.001Z", "never": null}"#);
    }

    proptest! {
        #[test]
        fn every_time_of_the_product_survives_its_text_form(unix_ms in 0_i64..253_402_300_800_000) {
            let timestamp = Timestamp::from_timestamp_millis(unix_ms).expect("in range");
            prop_assert_eq!(parse_timestamp(&format_timestamp(timestamp)), Ok(timestamp));
        }

        #[test]
        fn no_text_makes_parsing_panic(text in "[0-9TZ:.+ -]{0,40}|\\PC{0,40}") {
            if let Ok(timestamp) = parse_timestamp(&text) {
                prop_assert_eq!(parse_timestamp(&format_timestamp(timestamp)), Ok(timestamp));
            }
        }
    }
}
