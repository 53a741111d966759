//! Random bytes from the operating system. The only place that asks for them.

use rand::TryRng as _;
use rand::rngs::SysRng;

use crate::error::Error;

/// Fills an array, or says that the operating system would not; there is no fallback to anything weaker.
pub(crate) fn bytes<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    SysRng.try_fill_bytes(&mut bytes).map_err(|error| Error::Unavailable {
        what: "the operating system's random numbers",
        source: Some(error.to_string().into()),
    })?;
    Ok(bytes)
}

/// `N` base-62 digits, each equally likely: bytes of 248 and more are refused (`tronch_core::random_digit`).
pub(crate) fn base62_digits<const N: usize>() -> Result<[u8; N], Error> {
    let mut digits = [0; N];
    let mut filled = 0;
    while filled < N {
        for byte in bytes::<32>()? {
            if let Some(digit) = tronch_core::random_digit(byte)
                && filled < N
            {
                digits[filled] = digit;
                filled += 1;
            }
        }
    }
    Ok(digits)
}
