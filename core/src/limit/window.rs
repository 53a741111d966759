//! A window: at most so much in each stretch of time. Stretches are cut where the clock or the calendar cuts them, or slide.

use std::time::Duration;

use chrono::TimeDelta;

use super::calendar::{CalendarUnit, TimeZone};
use super::{Cost, InvalidLimit, LimitHalf, Reading, Refusal};
use crate::time::Timestamp;

/// The greatest total.
const TOTAL_MAX: u64 = 1_000_000_000_000;
/// The longest stretch that is no calendar's.
const LENGTH_SECONDS_MAX: u32 = 31 * 24 * 3600;

const MICROS_OF_SECOND: i64 = 1_000_000;

/// How time is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WindowKind {
    /// Stretches of so many seconds, counted from 1970-01-01 UTC.
    Fixed {
        /// Its length.
        seconds: u32,
    },
    /// The last so many seconds: what was taken in the stretch before counts by how much of it they still cover, as if it had
    /// been taken evenly.
    Sliding {
        /// Its length.
        seconds: u32,
    },
    /// Days, weeks from Monday or months, as the clocks on a zone's walls say.
    Calendar {
        /// Which.
        unit: CalendarUnit,
        /// Where.
        zone: TimeZone,
    },
}

/// At most `total` in a stretch of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Window {
    total: u64,
    kind: WindowKind,
}

/// A stretch of time: from its start until just before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Its first moment.
    pub start: Timestamp,
    /// The first moment of the next.
    pub end: Timestamp,
}

/// What was taken. The default is nothing, ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WindowState {
    /// The start of the stretch that `used` is of, in seconds since 1970.
    pub start_seconds: i64,
    /// What was taken in it.
    pub used: u64,
    /// What was taken in the one before it; a window that does not slide has no use for it.
    pub used_before: u64,
}

impl Window {
    /// # Errors
    /// `Total` and `WindowLength` out of bounds.
    pub fn new(total: u64, kind: WindowKind) -> Result<Self, InvalidLimit> {
        if !(1..=TOTAL_MAX).contains(&total) {
            return Err(InvalidLimit::Total);
        }
        match kind {
            WindowKind::Fixed { seconds } | WindowKind::Sliding { seconds }
                if !(1..=LENGTH_SECONDS_MAX).contains(&seconds) =>
            {
                Err(InvalidLimit::WindowLength)
            }
            _ => Ok(Self { total, kind }),
        }
    }

    /// The most in a stretch.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// How time is cut.
    pub fn kind(&self) -> WindowKind {
        self.kind
    }

    /// The stretch that a moment lies in. Finding a calendar's takes a look into the zone's history: keep it until its end.
    pub fn span(&self, at: Timestamp) -> Span {
        match self.kind {
            WindowKind::Fixed { seconds } | WindowKind::Sliding { seconds } => {
                let length = i64::from(seconds);
                let start = at.timestamp().div_euclid(length) * length;
                Span { start: of_seconds(start, at), end: of_seconds(start + length, at) }
            }
            WindowKind::Calendar { unit, zone } => zone.span(unit, at),
        }
    }

    /// Takes `cost` if that much is left. `span` is the one that `now` lies in. Should the clock have gone back into an earlier
    /// one, the one that has begun goes on: nothing is ever counted anew.
    ///
    /// # Errors
    /// The refusal; nothing is taken.
    pub fn take(
        &self,
        state: WindowState,
        span: Span,
        now: Timestamp,
        cost: Cost,
    ) -> Result<(WindowState, Reading), Refusal> {
        let (stored, state) = (state, self.carried_over(state, span));
        let length = (span.end - span.start).num_microseconds().unwrap_or(i64::MAX);
        // Behind the stretch's own start only where the clock went back.
        let start = of_seconds(state.start_seconds, span.start);
        let elapsed = (now - start).num_microseconds().unwrap_or(0).clamp(0, length);
        let left = Left { window: *self, state, elapsed: elapsed.unsigned_abs(), length: length.unsigned_abs() };
        let behind = (start - now).max(TimeDelta::zero()).to_std().unwrap_or_default();
        if cost.is_nothing() {
            return Ok((stored, left.reading(state.used, behind)));
        }
        left.take(cost, behind)
    }

    /// Whether nothing of it counts any more, so that forgetting it changes nothing.
    pub fn is_idle(&self, state: WindowState, span: Span) -> bool {
        let state = self.carried_over(state, span);
        state.used == 0 && state.used_before == 0
    }

    fn slides(&self) -> bool {
        matches!(self.kind, WindowKind::Sliding { .. })
    }

    /// What of it counts in `span`.
    fn carried_over(&self, state: WindowState, span: Span) -> WindowState {
        let start_seconds = span.start.timestamp();
        if state.start_seconds >= start_seconds {
            return state;
        }
        let is_next = state.start_seconds + (span.end - span.start).num_seconds() == start_seconds;
        let used_before = if self.slides() && is_next { state.used } else { 0 };
        WindowState { start_seconds, used: 0, used_before }
    }
}

/// A window at a moment. Times are in microseconds.
struct Left {
    window: Window,
    state: WindowState,
    elapsed: u64,
    length: u64,
}

impl Left {
    /// `behind` is how far the clock has to go to be in the stretch that counts.
    fn take(&self, cost: Cost, behind: Duration) -> Result<(WindowState, Reading), Refusal> {
        let taken = self.state.used + self.carried(self.elapsed);
        if taken + cost.units() <= self.window.total {
            let used = self.state.used + cost.units();
            return Ok((WindowState { used, ..self.state }, self.reading(used, behind)));
        }
        let can_ever = cost.units() <= self.window.total;
        let retry_after = can_ever.then(|| behind + Duration::from_micros(self.wait(cost.units())));
        Err(Refusal { reading: self.reading(self.state.used, behind), retry_after })
    }

    /// What was taken in the stretch before and still counts so long after the start of this one; rounded up.
    fn carried(&self, elapsed: u64) -> u64 {
        weighed(self.state.used_before, self.length - elapsed, self.length)
    }

    fn reading(&self, used: u64, behind: Duration) -> Reading {
        let taken = used + self.carried(self.elapsed);
        let rest = self.length - self.elapsed;
        // What was taken in this stretch counts until the end of the next, if it slides.
        let reset = if taken == 0 {
            0
        } else if self.window.slides() && used > 0 {
            rest + self.length
        } else {
            rest
        };
        Reading {
            half: LimitHalf::Total,
            limit: self.window.total,
            remaining: self.window.total.saturating_sub(taken),
            reset_after: if reset == 0 { Duration::ZERO } else { behind + Duration::from_micros(reset) },
        }
    }

    /// Until so much is left, which is no more than the total.
    fn wait(&self, cost: u64) -> u64 {
        let rest = self.length - self.elapsed;
        let room = self.window.total - cost;
        if !self.window.slides() {
            return rest;
        }
        if let Some(room) = room.checked_sub(self.state.used) {
            // As soon as little enough of the stretch before is covered.
            let covered = most_covered(self.state.used_before, room, self.length);
            return rest.saturating_sub(covered);
        }
        // In the next stretch, as soon as little enough of this one is.
        rest + (self.length - most_covered(self.state.used, room, self.length))
    }
}

/// `used × part ÷ whole`, rounded up.
pub(super) fn weighed(used: u64, part: u64, whole: u64) -> u64 {
    let weighed = (u128::from(used) * u128::from(part)).div_ceil(u128::from(whole));
    u64::try_from(weighed).unwrap_or(u64::MAX)
}

/// The greatest part of `whole` of which `used`, weighed by it, is within `room`.
fn most_covered(used: u64, room: u64, whole: u64) -> u64 {
    if used == 0 {
        return whole;
    }
    let covered = u128::from(room) * u128::from(whole) / u128::from(used);
    u64::try_from(covered).unwrap_or(u64::MAX).min(whole)
}

/// `near` where the number is no moment, which it always is.
fn of_seconds(seconds: i64, near: Timestamp) -> Timestamp {
    Timestamp::from_timestamp_micros(seconds.saturating_mul(MICROS_OF_SECOND)).unwrap_or(near)
}
