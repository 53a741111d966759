//! What this process may spend of a total that is kept in Postgres: it reserves a block before it spends any of it, so that nobody
//! ever spends more than there is, whoever else does and whoever vanishes. Pure; a cell (`cell.rs`) keeps one in its words.

use tronch_core::{Cost, LimitTime, Span, Window, WindowKind, WindowState};

/// How long what was told of a total is believed where it refuses: somebody may have given some of it back.
const BELIEVED_MS: u64 = 1_000;

/// After how long a process that lets itself have something asks again.
const ASKED_AGAIN_MS: u64 = 500;

/// A block is this part of the total, where that is spent slowly.
const BLOCK_PART: u64 = 100;

/// After how long what nobody spends is given back, for others to spend.
const UNUSED_MS: u64 = 5_000;

/// A total of which less than this part is left is nearly used up.
const NEARLY_PART: u64 = 10;

/// What was told so long ago says nothing of what is left.
const FORGOTTEN_MS: u64 = 10_000;

/// What this process holds of a total, in the stretch that it knows of. The default knows of none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Share {
    /// When the stretch began, in seconds since 1970.
    pub(super) start_seconds: i64,
    /// What calls here spent in it.
    pub(super) used: u64,
    /// What was reserved for them in it.
    pub(super) allowed: u64,
    /// What all had reserved, as the last answer told.
    pub(super) taken: u64,
    /// What it told besides: of a window that slides what was taken in the stretch before, of credits what was added.
    pub(super) besides: u64,
    /// When that was, in milliseconds of the machine's clock.
    pub(super) asked_ms: u64,
    /// How fast it is spent.
    pub(super) pace: Pace,
    /// What this process let itself have while nobody answered, and has to make up for.
    pub(super) owed: u64,
    /// Whether somebody is asking for more.
    pub(super) is_asking: bool,
    /// Whether there is an answer of this stretch.
    pub(super) is_known: bool,
}

/// How much is reserved in a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Pace {
    /// In the last one that is over.
    pub(super) of_second: u32,
    /// Since `since_ms`.
    pub(super) of_now: u32,
    pub(super) since_ms: u64,
}

impl Pace {
    const SECOND_MS: u64 = 1_000;

    fn note(&mut self, units: u64, now_ms: u64) {
        let passed = now_ms.saturating_sub(self.since_ms);
        if passed >= Self::SECOND_MS {
            let rate = u64::from(self.of_now) * Self::SECOND_MS / passed;
            self.of_second = u32::try_from(rate).unwrap_or(u32::MAX);
            (self.of_now, self.since_ms) = (0, now_ms);
        }
        self.of_now = self.of_now.saturating_add(u32::try_from(units).unwrap_or(u32::MAX));
    }
}

/// What is left of a stretch that went by, to be given back to it or made up for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rest {
    /// When it began.
    pub(crate) start_seconds: i64,
    /// How much.
    pub(crate) units: u64,
}

impl Share {
    /// The total as far as it is known: what others hold counts as taken, what is held here and not spent does not. Nothing where this
    /// stretch is not known yet.
    pub(super) fn seen(&self, window: &Window, span: Span) -> Option<WindowState> {
        let is_current = self.is_known && self.start_seconds >= span.start_seconds;
        is_current.then(|| {
            let used = self.taken.saturating_sub(self.unspent());
            let (used_before, added) = match window.kind() {
                WindowKind::Credits { .. } => (0, self.besides),
                _ => (self.besides, 0),
            };
            WindowState { start_seconds: self.start_seconds, used, used_before, added }
        })
    }

    /// What may be spent without asking.
    pub(super) fn unspent(&self) -> u64 {
        self.allowed.saturating_sub(self.used)
    }

    /// Whether it is time to see whether somebody answers again, to make up for what is owed.
    pub(super) fn is_due(&self, time: LimitTime) -> bool {
        self.owed > 0 && !self.is_asking && time.passed_ms.saturating_sub(self.asked_ms) >= ASKED_AGAIN_MS
    }

    /// Whether a refusal by what is known needs no asking.
    pub(super) fn is_believed(&self, time: LimitTime) -> bool {
        self.is_known && time.passed_ms.saturating_sub(self.asked_ms) < BELIEVED_MS
    }

    /// Whether it is time to ask for more, before anybody has to wait for it.
    pub(super) fn is_low(&self, window: &Window) -> bool {
        let is_low = self.unspent() * 2 < self.block(window);
        is_low && !self.is_asking && self.owed == 0 && self.taken < window.total().saturating_add(self.besides)
    }

    /// What nobody here has needed for a while and others may: what is more than the smallest block, which is what a slow trickle of
    /// calls is held to, and all of it where so many share what is nearly used up, or may be.
    pub(super) fn take_unused(&mut self, window: &Window, time: LimitTime, nodes: u64) -> Option<Rest> {
        let unused_ms = time.passed_ms.saturating_sub(self.asked_ms);
        if self.is_asking || self.owed > 0 || unused_ms < UNUSED_MS {
            return None;
        }
        let total = window.total().saturating_add(self.besides);
        let is_nearly_used_up = total.saturating_sub(self.taken) < total / NEARLY_PART;
        let is_over = self.start_seconds < time.span.start_seconds;
        let may_others_need_it = nodes > 1 && (is_nearly_used_up || unused_ms > FORGOTTEN_MS);
        let kept = if is_over || may_others_need_it { 0 } else { (window.total() / BLOCK_PART).max(1) };
        let units = self.unspent().saturating_sub(kept);
        self.used += units;
        self.taken = self.taken.saturating_sub(units);
        (units > 0).then_some(Rest { start_seconds: self.start_seconds, units })
    }

    /// Whether nobody here has needed it for a while.
    pub(super) fn is_unused(&self, time: LimitTime) -> bool {
        time.passed_ms.saturating_sub(self.asked_ms) >= UNUSED_MS
    }

    /// How much more to ask for: no more than a block is ever held.
    pub(super) fn room(&self, window: &Window) -> u64 {
        self.block(window).saturating_sub(self.unspent())
    }

    /// A part of the total, or what was used here in a second, if that is more: a process that vanishes takes no more than that along.
    fn block(&self, window: &Window) -> u64 {
        (window.total() / BLOCK_PART).max(self.pace.of_second.into()).max(1)
    }

    /// What is held of a stretch that went by; it is not held any more.
    pub(super) fn take_past(&mut self, span: Span) -> Option<Rest> {
        (self.start_seconds < span.start_seconds).then(|| self.take_unspent()).flatten()
    }

    /// All that is held and not spent; it is as if it had been. What nobody handed out is not given back, but owed no more.
    pub(super) fn take_unspent(&mut self) -> Option<Rest> {
        let unspent = self.unspent();
        let own = unspent.min(self.owed);
        self.owed -= own;
        let units = unspent - own;
        self.used = self.allowed;
        // What is given back can be reserved again.
        self.taken = self.taken.saturating_sub(units);
        (units > 0).then_some(Rest { start_seconds: self.start_seconds, units })
    }

    /// What has to be made up for; it is about to be.
    pub(super) fn take_owed(&mut self) -> Option<Rest> {
        let units = std::mem::take(&mut self.owed);
        (units > 0).then_some(Rest { start_seconds: self.start_seconds, units })
    }

    /// Nobody answered whether it was made up for.
    pub(super) fn owe_again(&mut self, owed: Rest) {
        if owed.start_seconds == self.start_seconds {
            self.owed += owed.units;
        }
    }

    /// Takes in an answer: how all stands, and how much of it is ours now. Gives what is held of another stretch.
    pub(super) fn granted(
        &mut self,
        window: &Window,
        state: WindowState,
        granted: u64,
        time: LimitTime,
    ) -> Option<Rest> {
        let now_ms = time.passed_ms;
        if self.is_known && state.start_seconds < self.start_seconds {
            // An answer of a stretch that is over, late.
            self.is_asking = false;
            return (granted > 0).then_some(Rest { start_seconds: state.start_seconds, units: granted });
        }
        let is_same = self.is_known && self.start_seconds == state.start_seconds;
        self.pace.note(granted, now_ms);
        let rest = if is_same { None } else { self.take_unspent() };
        if !is_same {
            (self.used, self.allowed, self.owed) = (0, 0, 0);
        }
        self.start_seconds = state.start_seconds;
        // An answer that came late, after this process had gone on without: what it brought was spent already.
        let spent = granted.min(self.owed);
        self.owed -= spent;
        self.allowed += granted - spent;
        self.taken = state.used;
        self.besides =
            if matches!(window.kind(), WindowKind::Credits { .. }) { state.added } else { state.used_before };
        (self.asked_ms, self.is_asking, self.is_known) = (now_ms, false, true);
        rest
    }

    /// Nobody answers: lets this process have its part of what was left, what it holds included, among so many, once in a stretch. Not of credits, which
    /// are somebody's money. Whether it may.
    pub(crate) fn stand_in(&mut self, window: &Window, time: LimitTime, nodes: u64) -> bool {
        self.is_asking = false;
        if matches!(window.kind(), WindowKind::Credits { .. }) {
            return false;
        }
        let start_seconds = time.span.start_seconds;
        let is_current = self.is_known && self.start_seconds >= start_seconds;
        let left = self.left(window, time);
        if !is_current {
            *self = Self { start_seconds, pace: self.pace, is_known: true, ..Self::default() };
        }
        if self.owed == 0 {
            self.owed = left.div_ceil(nodes.max(1)).saturating_sub(self.unspent());
            self.allowed += self.owed;
        }
        // As if others had all the rest, of the stretch before as well.
        (self.taken, self.besides) = (self.taken.max(window.total()), 0);
        self.asked_ms = time.passed_ms;
        true
    }

    /// What of the total is left, as far as is known, with what is held here.
    fn left(&self, window: &Window, time: LimitTime) -> u64 {
        let Some(seen) = self.seen(window, time.span) else { return window.total() };
        match window.take(seen, time.span, time.now_ms, Cost::NOTHING) {
            Ok((_, reading)) => reading.remaining,
            Err(_) => 0,
        }
    }

    /// Whether nothing would be lost with it.
    pub(super) fn is_idle(&self, span: Span) -> bool {
        let is_over = self.start_seconds < span.start_seconds;
        !self.is_asking && self.unspent() == 0 && (self.owed == 0 || is_over)
    }
}
