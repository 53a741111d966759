//! What the configuration holds back: the master keys and the database's address with its password. Where the keys are
//! kept is the data directory's business.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MasterKeySource {
    /// From `TRONCH_MASTER_KEY`, in the order given; never empty.
    Given(Vec<MasterKey>),
    /// From `TRONCH_MASTER_KEY_FILE`; the file must exist.
    File(PathBuf),
    /// `master-key` in the data directory; the first start creates it.
    InDataDir(PathBuf),
}

/// The 32 bytes of one master key; `Debug` does not print them.
#[derive(Clone, PartialEq, Eq)]
pub struct MasterKey([u8; 32]);

impl MasterKey {
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("MasterKey([redacted])")
    }
}

impl FromStr for MasterKey {
    type Err = String;

    fn from_str(text: &str) -> Result<MasterKey, String> {
        let digits: Option<Vec<u8>> = text.chars().map(|c| c.to_digit(16).map(|digit| digit as u8)).collect();
        let digits = digits
            .filter(|digits| digits.len() == 64)
            .ok_or("must be 64 hex digits, or several such keys separated by commas")?;
        let mut key = [0; 32];
        for (byte, pair) in key.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = pair[0] << 4 | pair[1];
        }
        Ok(MasterKey(key))
    }
}

/// A text with a password in it; `Debug` does not print it and there is no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct Redacted(String);

impl Redacted {
    pub fn new(text: impl Into<String>) -> Redacted {
        Redacted(text.into())
    }

    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Redacted {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("[redacted]")
    }
}
