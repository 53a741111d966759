//! Digits `0-9A-Za-z`, most significant first. Randomness comes in as bytes.

/// Digit 0 is `0`, digit 61 is `z`.
pub(crate) const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// The digit a character stands for.
pub(crate) fn digit(character: u8) -> Option<u8> {
    match character {
        b'0'..=b'9' => Some(character - b'0'),
        b'A'..=b'Z' => Some(character - b'A' + 10),
        b'a'..=b'z' => Some(character - b'a' + 36),
        _ => None,
    }
}

/// The number that at most ten digits write.
pub(crate) fn decode(digits: &str) -> Option<u64> {
    digits.bytes().try_fold(0_u64, |value, character| Some(value * 62 + u64::from(digit(character)?)))
}

/// Exactly `N` digits; digits beyond them are lost, so callers bound the value.
pub(crate) fn encode<const N: usize>(mut value: u64) -> [u8; N] {
    let mut digits = [b'0'; N];
    for slot in digits.iter_mut().rev() {
        *slot = ALPHABET[(value % 62) as usize];
        value /= 62;
    }
    digits
}

/// One equally likely digit out of a random byte: 248 = 4 × 62, so bytes from there on are refused.
pub fn random_digit(byte: u8) -> Option<u8> {
    (byte < 248).then_some(byte % 62)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_digit_is_equally_likely() {
        let mut counts = [0; 62];
        for digit in (0..=255).filter_map(random_digit) {
            counts[usize::from(digit)] += 1;
        }
        assert_eq!(counts, [4; 62]);
    }

    #[test]
    fn digits_and_numbers_agree() {
        for value in [0, 1, 61, 62, 3_843, 3_521_614_606_207, 218_340_105_584_895] {
            let digits = encode::<8>(value);
            assert_eq!(decode(std::str::from_utf8(&digits).expect("ASCII")), Some(value));
        }
        assert_eq!(decode("0-"), None);
    }
}
