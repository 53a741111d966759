//! Random bytes from the operating system. The only place that asks for them.

use rand::rngs::SysRng;
use rand::{Rng as _, TryRng as _};

use zeroize::Zeroizing;

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

/// Bytes that nobody else has, for what is no secret: without a call to the operating system each time.
pub(crate) fn unique_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    rand::rng().fill_bytes(&mut bytes);
    bytes
}

/// A number, each equally likely.
pub(crate) fn word() -> Result<u64, Error> {
    Ok(u64::from_be_bytes(bytes()?))
}

/// `N` base-62 digits in groups of `group`, for people to copy: `0aB3x-Y7…`.
pub(crate) fn grouped_digits<const N: usize>(group: usize) -> Result<Zeroizing<String>, Error> {
    const ALPHABET: [u8; 62] = *b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut text = Zeroizing::new(String::with_capacity(2 * N));
    for (index, digit) in base62_digits::<N>()?.into_iter().enumerate() {
        if index > 0 && index.is_multiple_of(group) {
            text.push('-');
        }
        text.push(char::from(ALPHABET[usize::from(digit)]));
    }
    Ok(text)
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
