//! A window: at most so much in each stretch of time. Stretches are cut where the clock or the calendar cuts them, or slide. Credits
//! are a window as well: what is left of them goes on into the next stretch.

use super::calendar::{CalendarUnit, TimeZone};
use super::{Cost, InvalidLimit, LimitHalf, Reading, Refusal};
use crate::time::Timestamp;

/// The greatest total.
const TOTAL_MAX: u64 = 1_000_000_000_000;
/// The longest stretch that is no calendar's.
const LENGTH_SECONDS_MAX: u32 = 31 * 24 * 3600;
/// The end of what has none: the first second of the year 10000.
const FOREVER_SECONDS: i64 = 253_402_300_800;

const MILLIS_OF_SECOND: i64 = 1_000;

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
    /// A balance: what was not taken stays.
    Credits {
        /// When it is filled up to the total again, if it is lower.
        refill: Option<Refill>,
    },
}

/// When credits are filled up: as a stretch of the calendar begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Refill {
    /// Of which stretch.
    pub unit: CalendarUnit,
    /// Where.
    pub zone: TimeZone,
}

/// At most `total` in a stretch of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Window {
    total: u64,
    kind: WindowKind,
}

/// A stretch of time: from its start until just before its end. All of them begin at whole seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Its first moment, in seconds since 1970.
    pub start_seconds: i64,
    /// The first moment of the next.
    pub end_seconds: i64,
}

impl Span {
    /// From the second of `start` to that of `end`.
    pub fn between(start: Timestamp, end: Timestamp) -> Self {
        Self { start_seconds: start.timestamp(), end_seconds: end.timestamp() }
    }

    /// Its first moment.
    pub fn start(self) -> Timestamp {
        of_seconds(self.start_seconds)
    }

    /// The first moment of the next.
    pub fn end(self) -> Timestamp {
        of_seconds(self.end_seconds)
    }

    /// Whether a moment lies in it, in milliseconds since 1970.
    pub fn holds(self, at_ms: i64) -> bool {
        let second = at_ms.div_euclid(MILLIS_OF_SECOND);
        self.start_seconds <= second && second < self.end_seconds
    }

    /// Its length.
    pub fn seconds(self) -> u64 {
        self.end_seconds.abs_diff(self.start_seconds)
    }
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
    /// Of credits, what there is on top of the total. Others have none.
    pub added: u64,
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
        self.span_at(at.timestamp_millis())
    }

    /// The same, of a moment in milliseconds since 1970.
    pub fn span_at(&self, at_ms: i64) -> Span {
        match self.kind {
            WindowKind::Fixed { seconds } | WindowKind::Sliding { seconds } => {
                let length = i64::from(seconds);
                let start = at_ms.div_euclid(MILLIS_OF_SECOND).div_euclid(length) * length;
                Span { start_seconds: start, end_seconds: start + length }
            }
            WindowKind::Calendar { unit, zone } | WindowKind::Credits { refill: Some(Refill { unit, zone }) } => {
                zone.span(unit, Timestamp::from_timestamp_millis(at_ms).unwrap_or_default())
            }
            WindowKind::Credits { refill: None } => Span { start_seconds: 0, end_seconds: FOREVER_SECONDS },
        }
    }

    /// Whether stretches ever end.
    pub fn ends(&self) -> bool {
        !matches!(self.kind, WindowKind::Credits { refill: None })
    }

    /// Whether what happened in one stretch counts in the next.
    pub fn goes_on(&self) -> bool {
        matches!(self.kind, WindowKind::Sliding { .. } | WindowKind::Credits { .. })
    }

    /// Takes `cost` if that much is left. `now_ms`, in milliseconds since 1970, lies in `span`. Should the clock have gone back into
    /// an earlier one, the one that has begun goes on: nothing is ever counted anew.
    ///
    /// # Errors
    /// The refusal; nothing is taken.
    pub fn take(
        &self,
        state: WindowState,
        span: Span,
        now_ms: i64,
        cost: Cost,
    ) -> Result<(WindowState, Reading), Refusal> {
        let left = self.left(self.carried_over(state, span), span, now_ms);
        if cost.is_nothing() {
            return Ok((state, left.reading(left.state.used)));
        }
        left.take(cost)
    }

    /// What is left, of a state that is of `span` or a later one.
    fn left(&self, state: WindowState, span: Span, now_ms: i64) -> Left {
        let length_ms = span.seconds().saturating_mul(MILLIS_OF_SECOND.unsigned_abs());
        // Behind the stretch's own start only where the clock went back.
        let start_ms = state.start_seconds.saturating_mul(MILLIS_OF_SECOND);
        let since = |earlier: i64, later: i64| later.saturating_sub(earlier).max(0).unsigned_abs();
        let (elapsed_ms, behind_ms) = (since(start_ms, now_ms).min(length_ms), since(now_ms, start_ms));
        Left { window: *self, state, elapsed_ms, length_ms, behind_ms }
    }

    /// Takes out of a total what somebody is to spend later in the same stretch: as much as `wish` says and there is. Gives how
    /// much; nothing where less than it needs is left.
    pub fn reserve(&self, state: WindowState, span: Span, now_ms: i64, wish: Wish) -> (WindowState, u64) {
        let state = self.carried_over(state, span);
        let left = self.left(state, span, now_ms).units();
        let granted = if left < wish.need {
            0
        } else {
            // The last of it is handed out in small portions, so that nobody holds much of what others wait for.
            let share = if wish.sharers > 1 { left.div_ceil(2 * wish.sharers) } else { left };
            wish.most.min(share).max(wish.need).min(left)
        };
        (WindowState { used: state.used + granted, ..state }, granted)
    }

    /// Takes back what was reserved in the stretch that began then and not spent.
    pub fn give_back(&self, state: WindowState, start_seconds: i64, units: u64) -> WindowState {
        if matches!(self.kind, WindowKind::Credits { .. }) {
            // A balance: of which stretch it was makes no difference.
            let rest = units.saturating_sub(state.used);
            return WindowState { used: state.used.saturating_sub(units), added: state.added + rest, ..state };
        }
        let before = |length: u32| state.start_seconds - i64::from(length);
        match self.kind {
            _ if start_seconds == state.start_seconds => {
                WindowState { used: state.used.saturating_sub(units), ..state }
            }
            WindowKind::Sliding { seconds } if start_seconds == before(seconds) => {
                WindowState { used_before: state.used_before.saturating_sub(units), ..state }
            }
            _ => state,
        }
    }

    /// Charges what was spent in the stretch that began then without having been reserved.
    pub fn make_up(&self, state: WindowState, start_seconds: i64, units: u64) -> WindowState {
        let before = |length: u32| state.start_seconds - i64::from(length);
        match self.kind {
            _ if start_seconds == state.start_seconds => WindowState { used: state.used + units, ..state },
            WindowKind::Sliding { seconds } if start_seconds == before(seconds) => {
                WindowState { used_before: state.used_before + units, ..state }
            }
            _ => state,
        }
    }

    /// Adds to credits; nothing else can be added to.
    pub fn top_up(&self, state: WindowState, span: Span, units: u64) -> WindowState {
        let state = self.carried_over(state, span);
        if matches!(self.kind, WindowKind::Credits { .. }) {
            WindowState { added: state.added.saturating_add(units), ..state }
        } else {
            state
        }
    }

    /// Whether nothing of it counts any more, so that forgetting it changes nothing.
    pub fn is_idle(&self, state: WindowState, span: Span) -> bool {
        let state = self.carried_over(state, span);
        state.used == 0 && state.used_before == 0 && state.added == 0
    }

    fn slides(&self) -> bool {
        matches!(self.kind, WindowKind::Sliding { .. })
    }

    /// What of it counts in `span`.
    fn carried_over(&self, state: WindowState, span: Span) -> WindowState {
        let start_seconds = span.start_seconds;
        if state.start_seconds >= start_seconds {
            return state;
        }
        if matches!(self.kind, WindowKind::Credits { .. }) {
            // What was never touched has nothing but the total. Filled up; what is above the total stays.
            let above = state.added.saturating_sub(state.used);
            return WindowState { start_seconds, used: 0, used_before: 0, added: above };
        }
        let is_next = state.start_seconds.saturating_add_unsigned(span.seconds()) == start_seconds;
        let used_before = if self.slides() && is_next { state.used } else { 0 };
        WindowState { start_seconds, used: 0, used_before, added: 0 }
    }
}

/// What somebody asks of a total that several share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wish {
    /// Less is of no use.
    pub need: u64,
    /// More is not wanted, unless it is needed.
    pub most: u64,
    /// How many ask.
    pub sharers: u64,
}

/// A window at a moment.
struct Left {
    window: Window,
    state: WindowState,
    elapsed_ms: u64,
    length_ms: u64,
    /// How far the clock has to go to be in the stretch that counts.
    behind_ms: u64,
}

impl Left {
    fn take(&self, cost: Cost) -> Result<(WindowState, Reading), Refusal> {
        if cost.units() <= self.units() {
            let used = self.state.used + cost.units();
            return Ok((WindowState { used, ..self.state }, self.reading(used)));
        }
        let can_ever = cost.units() <= self.window.total && self.window.ends();
        let retry_after_ms = can_ever.then(|| self.behind_ms + self.wait(cost.units()));
        Err(Refusal { reading: self.reading(self.state.used), retry_after_ms })
    }

    /// How much is left.
    fn units(&self) -> u64 {
        self.total().saturating_sub(self.state.used + self.carried())
    }

    /// The most that there can be in this stretch.
    fn total(&self) -> u64 {
        self.window.total.saturating_add(self.state.added)
    }

    /// What was taken in the stretch before and still counts; rounded up.
    fn carried(&self) -> u64 {
        weighed(self.state.used_before, self.rest(), self.length_ms)
    }

    /// Milliseconds to the end of the stretch.
    fn rest(&self) -> u64 {
        self.length_ms - self.elapsed_ms
    }

    fn reading(&self, used: u64) -> Reading {
        let taken = used + self.carried();
        // What was taken in this stretch counts until the end of the next, if it slides.
        let reset_after_ms = match self.window.kind {
            _ if taken == 0 => Some(0),
            WindowKind::Credits { refill: None } => None,
            WindowKind::Sliding { .. } if used > 0 => Some(self.behind_ms + self.rest() + self.length_ms),
            _ => Some(self.behind_ms + self.rest()),
        };
        let remaining = self.total().saturating_sub(taken);
        Reading { half: LimitHalf::Total, limit: self.window.total.max(remaining), remaining, reset_after_ms }
    }

    /// Until so much is left, which is no more than the total.
    fn wait(&self, cost: u64) -> u64 {
        let rest = self.rest();
        let room = self.window.total - cost;
        if !self.window.slides() {
            return rest;
        }
        if let Some(room) = room.checked_sub(self.state.used) {
            // As soon as little enough of the stretch before is covered.
            let covered = most_covered(self.state.used_before, room, self.length_ms);
            return rest.saturating_sub(covered);
        }
        // In the next stretch, as soon as little enough of this one is.
        rest + (self.length_ms - most_covered(self.state.used, room, self.length_ms))
    }
}

/// `used × part ÷ whole`, rounded up.
pub(super) fn weighed(used: u64, part: u64, whole: u64) -> u64 {
    // Most windows do not slide, and a division of 128 bits is not for nothing.
    if used == 0 {
        return 0;
    }
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

/// A second from which stretches count, always a moment: before the year 10001.
fn of_seconds(seconds: i64) -> Timestamp {
    Timestamp::from_timestamp(seconds, 0).unwrap_or_default()
}
