//! Limits: how much of something may be used, and what is left of it. A token bucket bounds bursts, a window bounds totals, and
//! a limit has either or both. Pure: state, rule and time come in, state and outcome go out. Where the state lies, and that
//! nobody else changes it meanwhile, is the engine's business.

mod bucket;
mod calendar;
#[cfg(test)]
mod calendar_tests;
mod sentence;
#[cfg(test)]
mod shared_tests;
mod simulate;
#[cfg(test)]
mod tests;
mod window;

pub use bucket::{Bucket, BucketState, TokenWish};
pub use calendar::{CalendarUnit, ParseCalendarUnitError, ParseTimeZoneError, TimeZone};
pub use simulate::{Simulated, simulate};
pub use window::{Refill, Span, Window, WindowKind, WindowState, Wish};

use crate::VerdictCode;
use crate::bounds::COST_MAX;
use crate::time::Timestamp;

/// What one call takes. A cost of nothing reads what is left and is never refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cost(u32);

impl Cost {
    /// To read what is left.
    pub const NOTHING: Self = Self(0);
    /// What a call takes when nothing is said.
    pub const ONE: Self = Self(1);

    /// # Errors
    /// `InvalidLimit::Cost` above [`COST_MAX`].
    pub fn new(units: u32) -> Result<Self, InvalidLimit> {
        if units <= COST_MAX { Ok(Self(units)) } else { Err(InvalidLimit::Cost) }
    }

    /// In units of the limit.
    pub fn units(self) -> u64 {
        self.0.into()
    }

    fn is_nothing(self) -> bool {
        self.0 == 0
    }
}

/// Of a limit that has both, the one that is meant. As wide as the numbers beside it in a [`Reading`]: one with a gap is copied in
/// small pieces, and whoever then reads a large one waits for all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u64)]
pub enum LimitHalf {
    /// The bucket: how fast.
    Rate,
    /// The window: how many.
    Total,
}

/// What a limit says after a call that passed, or of one that did not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// Which half says so: the one that whoever calls comes up against first.
    pub half: LimitHalf,
    /// The most that can be left.
    pub limit: u64,
    /// What is left.
    pub remaining: u64,
    /// Milliseconds until all of it is there again, if nobody takes anything meanwhile; nothing for what comes back by nobody's clock.
    pub reset_after_ms: Option<u64>,
}

/// A call that a limit does not let pass. It took nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// What is left, of the half that refuses for longer.
    pub reading: Reading,
    /// After how many milliseconds the same call passes, if nobody takes anything meanwhile; nothing when waiting does not help,
    /// because it asks for more than there can be, or for credits that are not filled up.
    pub retry_after_ms: Option<u64>,
}

/// Why numbers make no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidLimit {
    /// Nothing that could be charged.
    #[error("a limit needs a burst, a window, or both")]
    Empty,
    /// No burst at all.
    #[error("a burst must be a whole number from 1 to 1000000000")]
    Capacity,
    /// Nothing comes back.
    #[error("a refill must be a whole number from 1 to 1000000")]
    Refill,
    /// Too short or long a period.
    #[error("a refill's period must be from 1 second to 1 day")]
    RefillPeriod,
    /// So slow that it is no rate any more.
    #[error("an empty burst must be full again within 31 days; a window is what bounds totals")]
    TooSlow,
    /// No total at all.
    #[error("a window's total must be a whole number from 1 to 1000000000000")]
    Total,
    /// Too short or long a window.
    #[error("a window must be from 1 second to 31 days, or a calendar day, week or month")]
    WindowLength,
    /// More than a call may cost.
    #[error("a cost must be a whole number from 0 to 1000000")]
    Cost,
}

/// What a limit bounds: bursts, a total, or both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LimitRule {
    bucket: Option<Bucket>,
    window: Option<Window>,
}

/// What was taken of a limit. The default is nothing, ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LimitState {
    /// Of its bucket, if it has one.
    pub bucket: BucketState,
    /// Of its window, if it has one.
    pub window: WindowState,
}

/// What time it is for a limit, in numbers that take no finding out: each call is charged by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitTime {
    /// Milliseconds since any moment that stays the same for as long as a state is kept. Never goes back: it is what buckets go by.
    pub passed_ms: u64,
    /// The date, in milliseconds since 1970, which is what windows go by.
    pub now_ms: i64,
    /// The window's stretch that `now_ms` lies in, see [`LimitRule::span`].
    pub span: Span,
}

impl LimitRule {
    /// # Errors
    /// `Empty` without either.
    pub fn new(bucket: Option<Bucket>, window: Option<Window>) -> Result<Self, InvalidLimit> {
        if bucket.is_none() && window.is_none() { Err(InvalidLimit::Empty) } else { Ok(Self { bucket, window }) }
    }

    /// What bounds bursts.
    pub fn bucket(&self) -> Option<&Bucket> {
        self.bucket.as_ref()
    }

    /// What bounds the total.
    pub fn window(&self) -> Option<&Window> {
        self.window.as_ref()
    }

    /// The stretch of its window that a moment lies in; none where it has none. It may be kept until its end.
    pub fn span(&self, at: Timestamp) -> Span {
        self.span_at(at.timestamp_millis())
    }

    /// The same, of a moment in milliseconds since 1970.
    pub fn span_at(&self, at_ms: i64) -> Span {
        let nothing = || Span { start_seconds: at_ms.div_euclid(1_000), end_seconds: at_ms.div_euclid(1_000) };
        self.window.map_or_else(nothing, |window| window.span_at(at_ms))
    }

    /// Takes `cost` from both halves, or from neither.
    ///
    /// # Errors
    /// The refusal, with the time after which both let it pass.
    pub fn take(&self, state: LimitState, time: LimitTime, cost: Cost) -> Result<(LimitState, Reading), Refusal> {
        let bucket = self.bucket.map(|bucket| bucket.take(state.bucket, time.passed_ms, cost));
        let window = self.window.map(|window| window.take(state.window, time.span, time.now_ms, cost));
        let told = Self::told(
            bucket.as_ref().map(|taken| taken.map(|(_, reading)| reading)),
            window.as_ref().map(|taken| taken.map(|(_, reading)| reading)),
        );
        let after = LimitState {
            bucket: bucket.and_then(Result::ok).map_or(state.bucket, |(bucket, _)| bucket),
            window: window.and_then(Result::ok).map_or(state.window, |(window, _)| window),
        };
        told.map(|reading| (after, reading))
    }

    /// What a limit says where its halves say this: of what is left, the half that whoever calls comes up against first; of refusals,
    /// the one that lasts longer. A limit has one half at least.
    ///
    /// # Errors
    /// The refusal.
    pub fn told(
        rate: Option<Result<Reading, Refusal>>,
        total: Option<Result<Reading, Refusal>>,
    ) -> Result<Reading, Refusal> {
        match (rate, total) {
            (None, None) => unreachable!("a rule has one of them"),
            (Some(told), None) | (None, Some(told)) => told,
            (Some(Ok(burst)), Some(Ok(total))) => Ok(tighter(burst, total)),
            (Some(Err(refusal)), Some(Ok(_))) | (Some(Ok(_)), Some(Err(refusal))) => Err(refusal),
            (Some(Err(burst)), Some(Err(total))) => Err(burst.or_longer(total)),
        }
    }

    /// The time in which as much as one half lets pass may be used, in whole seconds: the one that an empty bucket takes to fill, or
    /// the length of the window's stretch, if that ever ends.
    pub fn window_seconds(&self, half: LimitHalf, span: Span) -> Option<u64> {
        let seconds = match (self.bucket.filter(|_| half == LimitHalf::Rate), self.window) {
            (Some(bucket), _) => {
                (bucket.capacity() * u64::from(bucket.period_seconds())).div_ceil(bucket.refill().into())
            }
            (None, Some(window)) if !window.ends() => return None,
            (None, _) => span.seconds(),
        };
        Some(seconds.max(1))
    }

    /// Whether forgetting what was taken would change nothing.
    pub fn is_idle(&self, state: LimitState, time: LimitTime) -> bool {
        self.bucket.is_none_or(|bucket| bucket.is_idle(state.bucket, time.passed_ms))
            && self.window.is_none_or(|window| window.is_idle(state.window, time.span))
    }
}

impl Refusal {
    /// Of two refusals of one call, the one that lasts longer.
    pub fn or_longer(self, other: Self) -> Self {
        let longest = |refusal: Self| refusal.retry_after_ms.unwrap_or(u64::MAX);
        if longest(other) > longest(self) { other } else { self }
    }

    /// The verdict on a call that is refused so.
    pub fn code(&self) -> VerdictCode {
        match self.reading.half {
            LimitHalf::Rate => VerdictCode::RateLimited,
            LimitHalf::Total => VerdictCode::QuotaExceeded,
        }
    }
}

/// Of two readings, the one that whoever calls comes up against first.
fn tighter(burst: Reading, total: Reading) -> Reading {
    if total.remaining <= burst.remaining { total } else { burst }
}
