//! A token bucket, as the generic cell rate algorithm keeps it (ITU-T I.371): one number, the moment at which it will be full.

use std::time::Duration;

use super::{Cost, InvalidLimit, LimitHalf, Reading, Refusal};

/// The most that can be taken at once.
const CAPACITY_MAX: u64 = 1_000_000_000;
/// The most that comes back in a period.
const REFILL_MAX: u32 = 1_000_000;
/// The longest period.
const PERIOD_SECONDS_MAX: u32 = 24 * 3600;
/// The longest time to fill an empty one.
const FILL_SECONDS_MAX: u64 = 31 * 24 * 3600;

const MILLIS_OF_SECOND: u64 = 1_000;
/// All who hold tokens and have not spent them hold at most this part of a bucket: so much more than it says may pass at once.
const HELD_PART: u64 = 20;

/// Holds at most `capacity` tokens; `refill` come back in a period, evenly.
///
/// Time goes in milliseconds, and is counted in ticks of which a whole number makes a token and a whole number a millisecond. So
/// nothing is ever rounded: with 7 tokens in 3 seconds a millisecond is 7 ticks and a token 3 000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Bucket {
    capacity: u64,
    refill: u32,
    period_seconds: u32,
    ticks_of_token: u64,
    ticks_of_milli: u64,
}

/// When the bucket will be full, in its own ticks since the moment that times are counted from. The default is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BucketState(u64);

impl BucketState {
    /// As it was stored.
    pub fn from_ticks(ticks: u64) -> Self {
        Self(ticks)
    }

    /// To be stored: below 2⁶², for a hundred years after the moment that times are counted from.
    pub fn ticks(self) -> u64 {
        self.0
    }
}

/// What somebody asks of a bucket that several share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenWish {
    /// Fewer are of no use.
    pub need: u64,
    /// What is spent at once.
    pub at_once: u64,
    /// What is to be held besides, at most.
    pub more: u64,
    /// What all hold and have not spent.
    pub outstanding: u64,
}

impl Bucket {
    /// `capacity` in tokens, `refill` in tokens a period.
    ///
    /// # Errors
    /// `Capacity`, `Refill`, `RefillPeriod` out of bounds; `TooSlow` when an empty one takes more than 31 days to fill.
    pub fn new(capacity: u64, refill: u32, period_seconds: u32) -> Result<Self, InvalidLimit> {
        if !(1..=CAPACITY_MAX).contains(&capacity) {
            return Err(InvalidLimit::Capacity);
        }
        if !(1..=REFILL_MAX).contains(&refill) {
            return Err(InvalidLimit::Refill);
        }
        if !(1..=PERIOD_SECONDS_MAX).contains(&period_seconds) {
            return Err(InvalidLimit::RefillPeriod);
        }
        if capacity * u64::from(period_seconds) > FILL_SECONDS_MAX * u64::from(refill) {
            return Err(InvalidLimit::TooSlow);
        }
        let period_millis = u64::from(period_seconds) * MILLIS_OF_SECOND;
        let shared = greatest_common_divisor(period_millis, refill.into());
        let (ticks_of_token, ticks_of_milli) = (period_millis / shared, u64::from(refill) / shared);
        Ok(Self { capacity, refill, period_seconds, ticks_of_token, ticks_of_milli })
    }

    /// The most that it holds, in tokens.
    pub fn capacity(&self) -> u64 {
        self.capacity
    }

    /// Tokens that come back in a period.
    pub fn refill(&self) -> u32 {
        self.refill
    }

    /// The period, in seconds.
    pub fn period_seconds(&self) -> u32 {
        self.period_seconds
    }

    /// One that holds nothing, as after a stop of which nobody knows what was taken before it.
    pub fn empty(&self, now_ms: u64) -> BucketState {
        BucketState(self.ticks(now_ms) + self.full())
    }

    /// Takes `cost` if that much is there. `now_ms` never goes back.
    ///
    /// # Errors
    /// The refusal; nothing is taken.
    pub fn take(&self, state: BucketState, now_ms: u64, cost: Cost) -> Result<(BucketState, Reading), Refusal> {
        let now = self.ticks(now_ms);
        let debt = state.0.saturating_sub(now);
        if cost.is_nothing() {
            return Ok((state, self.reading(debt)));
        }
        let after = debt.saturating_add(cost.units() * self.ticks_of_token);
        if after <= self.full() {
            return Ok((BucketState(now + after), self.reading(after)));
        }
        let can_ever = cost.units() <= self.capacity;
        let retry_after_ms = can_ever.then(|| self.millis(after - self.full()));
        Err(Refusal { reading: self.reading(debt), retry_after_ms })
    }

    /// Takes tokens that somebody is to spend: what he spends at once, as far as it is there, and more to hold, as far as that leaves no
    /// more than a twentieth of the bucket with all who hold some. Gives how many; none where less than he needs is there.
    pub fn reserve(&self, state: BucketState, now_ms: u64, wish: TokenWish) -> (BucketState, u64) {
        let now = self.ticks(now_ms);
        let debt = state.0.saturating_sub(now);
        let there = self.full().saturating_sub(debt) / self.ticks_of_token;
        if there < wish.need {
            return (state, 0);
        }
        let room = (self.capacity / HELD_PART).saturating_sub(wish.outstanding);
        let at_once = wish.at_once.max(wish.need).min(there);
        let granted = at_once + wish.more.min(there - at_once).min(room);
        if granted == 0 { (state, 0) } else { (BucketState(now + debt + granted * self.ticks_of_token), granted) }
    }

    /// Takes back tokens that were reserved and not spent.
    pub fn give_back(&self, state: BucketState, units: u64) -> BucketState {
        BucketState(state.0.saturating_sub(units.saturating_mul(self.ticks_of_token)))
    }

    /// Takes tokens that were spent without having been reserved, whether or not they were there; it is never more than empty.
    pub fn make_up(&self, state: BucketState, now_ms: u64, units: u64) -> BucketState {
        let now = self.ticks(now_ms);
        let debt = state.0.saturating_sub(now).saturating_add(units.saturating_mul(self.ticks_of_token));
        BucketState(now + debt.min(self.full()))
    }

    /// How many are missing to a full one, rounded up.
    pub fn missing(&self, state: BucketState, now_ms: u64) -> u64 {
        state.0.saturating_sub(self.ticks(now_ms)).div_ceil(self.ticks_of_token)
    }

    /// One that so many are missing to, or as many as it has.
    pub fn lacking(&self, missing: u64, now_ms: u64) -> BucketState {
        BucketState(self.ticks(now_ms) + missing.min(self.capacity) * self.ticks_of_token)
    }

    /// When it will be full, in ticks after `now`: what the time is counted from makes no difference.
    pub fn debt_ticks(&self, state: BucketState, now_ms: u64) -> u64 {
        state.0.saturating_sub(self.ticks(now_ms))
    }

    /// One that will be full so many ticks after `now`.
    pub fn in_debt(&self, debt_ticks: u64, now_ms: u64) -> BucketState {
        BucketState(self.ticks(now_ms) + debt_ticks.min(self.full()))
    }

    /// Ticks that make a token, and that make a millisecond.
    pub fn units(&self) -> (u64, u64) {
        (self.ticks_of_token, self.ticks_of_milli)
    }

    /// The time in which an empty one fills.
    pub fn fill_time(&self) -> Duration {
        Duration::from_millis(self.millis(self.full()))
    }

    /// The part of one of so many who do not hear of each other: together they let pass no more than this one does, but for rounding
    /// up.
    pub fn divided(&self, among: u32) -> Self {
        let period_millis = u64::from(self.period_seconds) * u64::from(among.max(1)) * MILLIS_OF_SECOND;
        let shared = greatest_common_divisor(period_millis, self.refill.into());
        Self {
            capacity: self.capacity.div_ceil(among.max(1).into()),
            refill: self.refill,
            period_seconds: self.period_seconds.saturating_mul(among.max(1)),
            ticks_of_token: period_millis / shared,
            ticks_of_milli: u64::from(self.refill) / shared,
        }
    }

    /// Whether it is full, so that forgetting it changes nothing.
    pub fn is_idle(&self, state: BucketState, now_ms: u64) -> bool {
        state.0 <= self.ticks(now_ms)
    }

    fn reading(&self, debt: u64) -> Reading {
        let remaining = self.full().saturating_sub(debt) / self.ticks_of_token;
        Reading { half: LimitHalf::Rate, limit: self.capacity, remaining, reset_after_ms: Some(self.millis(debt)) }
    }

    fn full(&self) -> u64 {
        self.capacity * self.ticks_of_token
    }

    fn ticks(&self, millis: u64) -> u64 {
        millis.saturating_mul(self.ticks_of_milli)
    }

    /// Rounded up: what is told must be long enough.
    fn millis(&self, ticks: u64) -> u64 {
        ticks.div_ceil(self.ticks_of_milli)
    }
}

fn greatest_common_divisor(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}
