//! Numbers that look thrown and are the same each time: SplitMix64 (Steele, Lea and Flood, 2014). Nothing secret comes
//! from here; that is `random`'s.

/// A small generator with a seed of its own.
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    fn throw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// At least 0, less than 1.
    pub(super) fn unit(&mut self) -> f64 {
        // 53 bits are what an f64 holds.
        (self.throw() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// At least `low`, less than `high`.
    pub(super) fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// Less than `bound`.
    pub(super) fn below(&mut self, bound: i64) -> i64 {
        (self.unit() * bound as f64) as i64
    }

    /// One of them.
    pub(super) fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[(self.unit() * of.len() as f64) as usize]
    }

    /// A whole number that is `expected` on average: the fraction is the chance of one more.
    pub(super) fn whole(&mut self, expected: f64) -> u64 {
        (expected + self.unit()) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_splitmix64() {
        // The first three numbers of the reference implementation for the seed 1234567.
        let mut dice = Dice::seeded(1_234_567);
        let thrown: [u64; 3] = std::array::from_fn(|_| dice.throw());
        assert_eq!(thrown, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    #[test]
    fn whole_numbers_keep_the_average_and_bounds_hold() {
        let mut dice = Dice::seeded(7);
        let sum: u64 = (0..10_000).map(|_| dice.whole(0.3)).sum();
        assert!((2_850..3_150).contains(&sum), "{sum}");
        assert!((0..10_000).all(|_| (2.0..3.0).contains(&dice.between(2.0, 3.0)) && (0..5).contains(&dice.below(5))));
    }
}
