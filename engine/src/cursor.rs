//! Where a page ended: the ordering value and id of its last row. To callers it is opaque.

use std::fmt;

use tronch_core::Timestamp;
use uuid::Uuid;

use crate::error::Error;

/// The list and its order, then `t<microseconds>.<id>`, `n.<id>` for no time, or `s<hex of text>.<id>`.
pub(crate) struct Cursor {
    /// Which list in which order: one list's cursor says nothing in another.
    list: &'static str,
    value: Value,
    id: Uuid,
}

enum Value {
    Time(Option<Timestamp>),
    Text(String),
}

/// The year 10000: no time of ours lies beyond, and Postgres takes few that do.
const MICROS_END: i64 = 253_402_300_800_000_000;

fn invalid() -> Error {
    Error::InvalidCursor
}

impl Cursor {
    pub(crate) fn of_time(list: &'static str, time: Option<Timestamp>, id: Uuid) -> Self {
        Self { list, value: Value::Time(time), id }
    }

    pub(crate) fn of_text(list: &'static str, text: &str, id: Uuid) -> Self {
        Self { list, value: Value::Text(text.to_owned()), id }
    }

    pub(crate) fn parse(list: &'static str, text: &str) -> Result<Self, Error> {
        let rest = text.strip_prefix(list).and_then(|rest| rest.strip_prefix('.')).ok_or_else(invalid)?;
        let (value, id) = rest.split_once('.').ok_or_else(invalid)?;
        let id = Uuid::try_parse(id).map_err(|_| invalid())?;
        let value = match value.split_at_checked(1).ok_or_else(invalid)? {
            ("n", "") => Value::Time(None),
            ("t", digits) => {
                let micros: u64 = digits.parse().map_err(|_| invalid())?;
                let micros = i64::try_from(micros).ok().filter(|micros| *micros < MICROS_END).ok_or_else(invalid)?;
                Value::Time(Some(Timestamp::from_timestamp_micros(micros).ok_or_else(invalid)?))
            }
            ("s", digits) => Value::Text(text_of(digits).ok_or_else(invalid)?),
            _ => return Err(invalid()),
        };
        Ok(Self { list, value, id })
    }

    pub(crate) fn time_and_id(self) -> Result<(Option<Timestamp>, Uuid), Error> {
        match self.value {
            Value::Time(time) => Ok((time, self.id)),
            Value::Text(_) => Err(invalid()),
        }
    }

    pub(crate) fn text_and_id(self) -> Result<(String, Uuid), Error> {
        match self.value {
            Value::Text(text) => Ok((text, self.id)),
            Value::Time(_) => Err(invalid()),
        }
    }
}

fn text_of(digits: &str) -> Option<String> {
    let bytes: Option<Vec<u8>> =
        digits.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect();
    String::from_utf8(bytes?).ok().filter(|text| !text.contains('\0'))
}

impl fmt::Display for Cursor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = self.id.simple();
        write!(formatter, "{}.", self.list)?;
        match &self.value {
            Value::Time(None) => write!(formatter, "n.{id}"),
            Value::Time(Some(time)) => write!(formatter, "t{}.{id}", time.timestamp_micros()),
            Value::Text(text) => write!(formatter, "s{}.{id}", crate::keyring::hex(text.as_bytes())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_survives_its_text_form_and_strange_ones_are_refused() {
        let id = Uuid::from_u128(7);
        let time = Timestamp::from_timestamp_micros(1_800_000_000_123_456);
        let text = Cursor::of_time("list", time, id).to_string();
        assert_eq!(Cursor::parse("list", &text).and_then(Cursor::time_and_id).ok(), Some((time, id)));
        assert!(Cursor::parse("lis", &text).is_err() && Cursor::parse("other", &text).is_err());
        let text = Cursor::of_text("list", "zoë's", id).to_string();
        assert_eq!(Cursor::parse("list", &text).and_then(Cursor::text_and_id).ok(), Some(("zoë's".to_owned(), id)));
        assert!(Cursor::parse("list", &text).and_then(Cursor::time_and_id).is_err());
        assert!(Cursor::parse("list", "").is_err() && Cursor::parse("list", "list").is_err());
        for text in [
            "",
            ".",
            "n",
            "x.00",
            "t.0",
            "é.1",
            "t99999999999999999999.7",
            "t253402300800000000.00000000000000000000000000000007",
            "t-1.00000000000000000000000000000007",
            "s0.7",
            "s00.00000000000000000000000000000007",
        ] {
            assert!(Cursor::parse("list", &format!("list.{text}")).is_err(), "{text}");
        }
    }
}
