//! JSON for the answers that services wait for on every request they serve: the same bytes that `serde_json` writes of the same
//! struct, in less time, because most texts in them are ids, slugs and words that nobody has to look through for what must be escaped.

use std::io;

use serde::Serialize;
use tronch_core::{Handle, IdText, KeyPermission, LimitName, ProjectSlug, TenantSlug};

/// An object under construction, in the order in which its fields are written.
pub(super) struct QuickJson(Vec<u8>);

/// What writes itself that way. The description of the API is made of the same struct (`ToSchema`); its `Serialize` is what tests compare
/// this to, and nobody else writes it.
pub(super) trait Quick {
    /// Puts the whole value behind what is there.
    fn put(&self, json: &mut QuickJson) -> serde_json::Result<()>;
}

/// Ids, slugs and words, whose type says that nothing in them has to be escaped.
pub(super) trait Plain {
    /// Its characters.
    fn plain(&self) -> &[u8];
}

/// Words of ours. What somebody sent or chose lives shorter.
impl Plain for &'static str {
    fn plain(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl Plain for Handle {
    fn plain(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl Plain for IdText {
    fn plain(&self) -> &[u8] {
        self.as_bytes()
    }
}

macro_rules! plain {
    ($($name:ident),*) => { $(
        impl Plain for $name {
            fn plain(&self) -> &[u8] {
                self.as_str().as_bytes()
            }
        }
    )* };
}

plain!(KeyPermission, LimitName, ProjectSlug, TenantSlug);

impl QuickJson {
    pub(super) fn with_capacity(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes))
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// As it is: punctuation, names of fields, and JSON that was made elsewhere.
    #[inline]
    pub(super) fn raw(&mut self, text: &str) -> &mut Self {
        self.0.extend_from_slice(text.as_bytes());
        self
    }

    /// `true` or `false`.
    #[inline]
    pub(super) fn truth(&mut self, truth: bool) -> &mut Self {
        self.raw(if truth { "true" } else { "false" })
    }

    #[inline]
    pub(super) fn number(&mut self, number: u64) -> &mut Self {
        put_number(&mut self.0, number);
        self
    }

    /// Between quotes, as it is.
    #[inline]
    pub(super) fn word(&mut self, word: &impl Plain) -> &mut Self {
        let word = word.plain();
        debug_assert!(word.iter().all(|byte| is_plain(*byte) && byte.is_ascii()), "{word:?}");
        self.0.push(b'"');
        self.0.extend_from_slice(word);
        self.0.push(b'"');
        self
    }

    /// Between quotes, what has to be escaped (RFC 8259, section 7).
    pub(super) fn text(&mut self, text: &str) -> serde_json::Result<&mut Self> {
        if !text.bytes().all(is_plain) {
            return self.other(&text);
        }
        Ok(self.raw("\"").raw(text).raw("\""))
    }

    /// `null` for nothing.
    #[inline]
    pub(super) fn word_or_null(&mut self, word: Option<&impl Plain>) -> &mut Self {
        match word {
            Some(word) => self.word(word),
            None => self.raw("null"),
        }
    }

    /// Values with commas between them.
    pub(super) fn list<T>(
        &mut self,
        values: impl IntoIterator<Item = T>,
        mut put: impl FnMut(&mut Self, T) -> serde_json::Result<()>,
    ) -> serde_json::Result<&mut Self> {
        self.raw("[");
        for (index, value) in values.into_iter().enumerate() {
            if index > 0 {
                self.raw(",");
            }
            put(self, value)?;
        }
        Ok(self.raw("]"))
    }

    /// What is rare, the usual way.
    pub(super) fn other(&mut self, value: &impl Serialize) -> serde_json::Result<&mut Self> {
        serde_json::to_writer(io::Write::by_ref(&mut self.0), value)?;
        Ok(self)
    }
}

/// In decimal digits.
pub(super) fn put_number(text: &mut Vec<u8>, number: u64) {
    text.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Whether it stands for itself between quotes.
fn is_plain(byte: u8) -> bool {
    byte >= b' ' && byte != b'"' && byte != b'\\'
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// What is escaped, what looks as if it were, and what is not ASCII.
    pub(in crate::doors) const ODD_TEXTS: [&str; 12] = [
        "",
        "a key of 20 letters.",
        "\"",
        "\\",
        "a\\\"b",
        "\n\r\t\u{8}\u{c}",
        "\0\u{1f} \u{7f}\u{80}",
        "</script>&amp;'",
        "Żółw 🐢 \u{2028}\u{2029}",
        "\u{fffd}\u{10ffff}",
        "e\u{301}",
        "{\"valid\":true}",
    ];

    /// The same bytes, however it is written.
    pub(in crate::doors) fn assert_written_alike(out: &(impl Quick + Serialize)) {
        let mut quick = QuickJson::with_capacity(1);
        out.put(&mut quick).expect("JSON");
        let usual = serde_json::to_string(out).expect("JSON");
        assert_eq!(String::from_utf8(quick.into_bytes()).expect("text"), usual);
    }

    #[test]
    fn texts_are_escaped_where_they_must_be() {
        let each = |character: char| character.to_string();
        let of_one: Vec<String> = (0..=0x2030).filter_map(char::from_u32).map(each).collect();
        for text in ODD_TEXTS.into_iter().chain(of_one.iter().map(String::as_str)) {
            let mut json = QuickJson::with_capacity(8);
            json.text(text).expect("JSON");
            assert_eq!(json.into_bytes(), serde_json::to_vec(text).expect("JSON"), "{text:?}");
        }
    }
}
