//! What was taken of one limit, in words that calls on all threads change at once, without a lock that anybody could sleep with.
//!
//! Of a bucket alone one word holds all, and a charge is one compare-and-swap. Of a total there is more, and a call may be charged to
//! several limits: there the highest bit of the first word says that a change is going on. The bits are set in one order for all
//! calls, all are looked at, all are charged or none, and the bits are taken away again. Whoever changes a single word waits for
//! that bit, too.

use tronch_core::{
    BucketState, Cost, LimitHalf, LimitRule, LimitState, LimitTime, Reading, Refusal, Window, WindowState,
};

use super::atomics::{AtomicU64, Ordering, wait_a_moment};
use super::share::{Pace, Share};

/// A change is going on.
const CHANGING: u64 = 1 << 63;

/// Beside what was used: somebody asks for more; there is an answer.
const ASKING: u64 = 1 << 63;
const KNOWN: u64 = 1 << 62;

/// What was taken of a limit. All bits nought are nothing, ever, and of a total nothing that is known.
#[derive(Debug)]
pub(crate) struct Cell {
    /// The bucket, and whether a change is going on.
    first: AtomicU64,
    /// What is held of the total, each under a change only: the start of the stretch, used, allowed, taken, besides, asked, owed, its
    /// pace.
    share: [AtomicU64; 9],
}

/// What one call takes of one limit.
pub(crate) struct Charge<'a> {
    rule: &'a LimitRule,
    cell: &'a Cell,
    time: LimitTime,
    cost: Cost,
    /// The first word: as it was found, and then as it is to be.
    word: u64,
    share: Share,
    after: LimitState,
    outcome: Option<Outcome>,
    lacks: Option<u64>,
    is_unknown: bool,
    is_low: bool,
}

pub(crate) type Outcome = Result<Reading, Refusal>;

/// What became of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Charged {
    /// It was charged to all.
    Passed,
    /// It was charged to none.
    Refused,
    /// It was charged to none: of some totals there may be more than is held here, see [`Charge::lacks`].
    Short,
}

/// Whether more can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Beyond {
    /// What is held here is not all.
    MayBe,
    /// It is: nobody answers.
    Nothing,
}

impl<'a> Charge<'a> {
    pub(crate) fn new(rule: &'a LimitRule, cell: &'a Cell, time: LimitTime, cost: Cost) -> Self {
        let (share, after) = (Share::default(), LimitState::default());
        Self {
            rule,
            cell,
            time,
            cost,
            word: 0,
            share,
            after,
            outcome: None,
            lacks: None,
            is_unknown: false,
            is_low: false,
        }
    }

    /// The time in which as much as the limit may be used, in whole seconds.
    pub(crate) fn window_seconds(&self, half: LimitHalf) -> Option<u64> {
        self.rule.window_seconds(half, self.time.span)
    }

    /// What the limit says of it, once it was charged. Where others refused the call nothing was taken, and it says what is left.
    pub(crate) fn outcome(&self) -> Option<Outcome> {
        self.outcome
    }

    /// How much more than is held here the call needs.
    pub(crate) fn lacks(&self) -> Option<u64> {
        self.lacks
    }

    /// Whether it was this call that found little left of what is held here. Whoever hears so asks for more.
    pub(crate) fn is_low(&self) -> bool {
        self.is_low
    }

    fn state(&self, window: WindowState) -> LimitState {
        LimitState { bucket: BucketState::from_ticks(self.word), window }
    }

    /// Looks whether the limit lets it pass; takes nothing.
    fn weigh(&mut self, beyond: Beyond) {
        let Some(window) = self.rule.window() else {
            self.weigh_with(WindowState::default());
            return;
        };
        self.share = self.cell.load();
        let unspent = self.share.unspent();
        match self.share.seen(window, self.time.span) {
            Some(seen) => {
                self.weigh_with(seen);
                let is_short = match self.outcome {
                    Some(Ok(_)) => self.cost.units() > unspent,
                    Some(Err(refusal)) => {
                        refusal.reading.half == LimitHalf::Total && !self.share.is_believed(self.time)
                    }
                    None => false,
                };
                if is_short && beyond == Beyond::MayBe {
                    self.lacks = Some(self.cost.units().saturating_sub(unspent));
                } else if is_short {
                    self.weigh_with(all_taken(window, seen, unspent));
                }
            }
            // Nothing is known of this stretch.
            None => {
                let new = WindowState { start_seconds: self.time.span.start.timestamp(), ..WindowState::default() };
                self.weigh_with(new);
                if beyond == Beyond::Nothing {
                    self.weigh_with(all_taken(window, new, 0));
                } else {
                    (self.lacks, self.is_unknown) = (Some(self.cost.units()), true);
                }
            }
        }
    }

    fn weigh_with(&mut self, window: WindowState) {
        let taken = self.rule.take(self.state(window), self.time, self.cost);
        self.outcome = Some(taken.map(|(after, reading)| {
            self.after = after;
            reading
        }));
    }

    /// Others refused the call: this limit says what it would have said to nobody.
    fn tell_what_is_left(&mut self) {
        if let Some(Ok(_)) = self.outcome {
            let seen = self.rule.window().and_then(|window| self.share.seen(window, self.time.span));
            let state = self.state(seen.unwrap_or_default());
            self.outcome = Some(self.rule.take(state, self.time, Cost::NOTHING).map(|(_, reading)| reading));
        }
    }

    /// Takes what was found to be there.
    fn take(&mut self) {
        if self.cost != Cost::NOTHING {
            if self.rule.bucket().is_some() {
                self.word = self.after.bucket.ticks();
            }
            self.share.used += self.cost.units();
        }
        let Some(window) = self.rule.window() else { return };
        self.is_low = self.share.is_low(window);
        self.share.is_asking |= self.is_low;
        if self.is_low || self.cost != Cost::NOTHING {
            self.cell.store(&self.share);
        }
    }
}

/// As if others had all but what is held here.
fn all_taken(window: &Window, seen: WindowState, unspent: u64) -> WindowState {
    let total = window.total().saturating_add(seen.added);
    WindowState { used: seen.used.max(total.saturating_sub(unspent)), ..seen }
}

/// Charges a call to all its limits, or to none of them; they stand in one order for all calls, each cell once.
pub(crate) fn charge(charges: &mut [Charge<'_>], beyond: Beyond) -> Charged {
    if let [only] = charges
        && only.rule.window().is_none()
    {
        return charge_bucket(only);
    }
    let mut held = Held { charges, count: 0 };
    held.begin();
    let (mut passes, mut is_short, mut is_unknown) = (true, false, false);
    for charge in held.charges.iter_mut() {
        charge.weigh(beyond);
        is_short |= charge.lacks.is_some();
        is_unknown |= charge.is_unknown;
        passes &= charge.lacks.is_some() || matches!(charge.outcome, Some(Ok(_)));
    }
    // Whatever others say, a limit tells how it stands.
    if is_unknown || (passes && is_short) {
        return Charged::Short;
    }
    for charge in held.charges.iter_mut() {
        if passes { charge.take() } else { charge.tell_what_is_left() }
    }
    if passes { Charged::Passed } else { Charged::Refused }
}

/// Changes that are going on. They are over with this value, however that comes to be.
struct Held<'h, 'a> {
    charges: &'h mut [Charge<'a>],
    count: usize,
}

impl Held<'_, '_> {
    fn begin(&mut self) {
        for charge in self.charges.iter_mut() {
            charge.word = charge.cell.hold();
            self.count += 1;
        }
    }
}

impl Drop for Held<'_, '_> {
    fn drop(&mut self) {
        for charge in self.charges.iter().take(self.count) {
            charge.cell.release(charge.word);
        }
    }
}

fn charge_bucket(charge: &mut Charge<'_>) -> Charged {
    let first = &charge.cell.first;
    let (mut word, mut waited) = (first.load(Ordering::Acquire), 0);
    loop {
        if word & CHANGING != 0 {
            wait_a_moment(waited);
            waited += 1;
            word = first.load(Ordering::Acquire);
            continue;
        }
        charge.word = word;
        charge.weigh_with(WindowState::default());
        if let Some(Err(_)) = charge.outcome {
            return Charged::Refused;
        }
        if charge.cost == Cost::NOTHING {
            return Charged::Passed;
        }
        let after = charge.after.bucket.ticks();
        match first.compare_exchange_weak(word, after, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => return Charged::Passed,
            Err(changed) => word = changed,
        }
    }
}

impl Cell {
    /// With a bucket that stands like this, and a total of which nothing is known.
    pub(crate) fn new(bucket: BucketState) -> Self {
        Self { first: AtomicU64::new(bucket.ticks()), share: std::array::from_fn(|_| AtomicU64::new(0)) }
    }

    /// Whether nothing of it counts any more. It may be forgotten if nobody else can charge it.
    pub(crate) fn is_idle(&self, rule: &LimitRule, time: LimitTime) -> bool {
        let word = self.hold();
        let share = self.load();
        self.release(word);
        rule.bucket().is_none_or(|bucket| bucket.is_idle(BucketState::from_ticks(word), time.passed))
            && rule.window().is_none_or(|_| share.is_idle(time.span))
    }

    /// Changes what is held of the total.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut Share) -> T) -> T {
        let word = self.hold();
        let mut share = self.load();
        let changed = change(&mut share);
        self.store(&share);
        self.release(word);
        changed
    }

    /// Begins a change; gives the first word.
    fn hold(&self) -> u64 {
        let mut waited = 0;
        loop {
            let word = self.first.load(Ordering::Relaxed);
            let is_free = word & CHANGING == 0;
            // What was written before by whoever held it is seen from here on.
            let held =
                |word| self.first.compare_exchange_weak(word, word | CHANGING, Ordering::Acquire, Ordering::Relaxed);
            if is_free && held(word).is_ok() {
                return word;
            }
            wait_a_moment(waited);
            waited += 1;
        }
    }

    /// Ends it, with this as the first word.
    fn release(&self, word: u64) {
        self.first.store(word, Ordering::Release);
    }

    /// What is held of the total, while a change is going on.
    fn load(&self) -> Share {
        let [start, used, allowed, taken, besides, asked, owed, since, pace] =
            std::array::from_fn(|place| self.share[place].load(Ordering::Relaxed));
        Share {
            start_seconds: start.cast_signed(),
            used: used & !(ASKING | KNOWN),
            allowed,
            taken,
            besides,
            asked_ms: asked,
            owed,
            pace: Pace { of_second: upper_half(pace), of_now: lower_half(pace), since_ms: since },
            is_asking: used & ASKING != 0,
            is_known: used & KNOWN != 0,
        }
    }

    fn store(&self, share: &Share) {
        let flag = |is_set: bool, bit: u64| if is_set { bit } else { 0 };
        let used = share.used | flag(share.is_asking, ASKING) | flag(share.is_known, KNOWN);
        let Share { start_seconds, allowed, taken, besides, asked_ms, owed, .. } = *share;
        let pace = (u64::from(share.pace.of_second) << 32) | u64::from(share.pace.of_now);
        let words =
            [start_seconds.cast_unsigned(), used, allowed, taken, besides, asked_ms, owed, share.pace.since_ms, pace];
        for (word, value) in self.share.iter().zip(words) {
            word.store(value, Ordering::Relaxed);
        }
    }
}

fn upper_half(word: u64) -> u32 {
    lower_half(word >> 32)
}

fn lower_half(word: u64) -> u32 {
    u32::try_from(word & u64::from(u32::MAX)).unwrap_or(u32::MAX)
}
