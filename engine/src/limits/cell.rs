//! What was taken of one limit, in words that calls on all threads change at once, without a lock that anybody could sleep with.
//!
//! Where one word holds all, a charge is one compare-and-swap. Where it does not, and where a call is charged to several limits,
//! the highest bit of the first word says that a change is going on: the bits are set in one order for all calls, all are
//! looked at, all are charged or none, and the bits are taken away again. Whoever changes a single word waits for that bit, too.

use tronch_core::{
    BucketState, Cost, LimitHalf, LimitRule, LimitState, LimitTime, Reading, Refusal, WindowKind, WindowState,
};

use super::atomics::{AtomicU64, Ordering, wait_a_moment};

/// A change is going on.
const CHANGING: u64 = 1 << 63;

/// Of a word that holds a window: how much was taken, and above it the number of the stretch, without its upper bits.
const USED_BITS: u32 = 41;
const STRETCH_BITS: u32 = 22;
const USED: u64 = (1 << USED_BITS) - 1;
const STRETCHES: i64 = 1 << STRETCH_BITS;

/// Where the calendar cuts time, it does so at whole minutes.
const CALENDAR_UNIT_SECONDS: i64 = 60;

/// What was taken of a limit. All bits nought are nothing, ever.
#[derive(Debug)]
pub(crate) struct Cell {
    /// The bucket, or the window where one word holds it and there is no bucket; and whether a change is going on.
    first: AtomicU64,
    /// The window beside a bucket, or one that slides.
    second: AtomicU64,
    /// What was taken in the stretch before, of one that slides.
    third: AtomicU64,
}

/// What one call takes of one limit.
pub(crate) struct Charge<'a> {
    rule: &'a LimitRule,
    cell: &'a Cell,
    time: LimitTime,
    cost: Cost,
    /// The first word: as it was found, and then as it is to be.
    word: u64,
    after: LimitState,
    outcome: Option<Outcome>,
}

pub(crate) type Outcome = Result<Reading, Refusal>;

impl<'a> Charge<'a> {
    pub(crate) fn new(rule: &'a LimitRule, cell: &'a Cell, time: LimitTime, cost: Cost) -> Self {
        Self { rule, cell, time, cost, word: 0, after: LimitState::default(), outcome: None }
    }

    /// The time in which as much as the limit may be used, in whole seconds.
    pub(crate) fn window_seconds(&self, half: LimitHalf) -> u64 {
        self.rule.window_seconds(half, self.time.span)
    }

    /// Others refused the call: this limit says what it would have said to nobody.
    fn tell_what_is_left(&mut self) {
        if let Some(Ok(_)) = self.outcome {
            let state = self.cell.read(self.word, self.rule, self.time);
            self.outcome = Some(self.rule.take(state, self.time, Cost::NOTHING).map(|(_, reading)| reading));
        }
    }

    /// What the limit says of it, once it was charged. Where others refused the call nothing was taken, and it says what is left.
    pub(crate) fn outcome(&self) -> Option<Outcome> {
        self.outcome
    }
}

/// How a state lies in the words.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Layout {
    /// The first word is the bucket.
    Bucket,
    /// The first word is the window.
    Count,
    /// All three are needed.
    Whole,
}

impl Layout {
    fn of(rule: &LimitRule) -> Self {
        match (rule.bucket(), rule.window().map(tronch_core::Window::kind)) {
            (Some(_), None) => Self::Bucket,
            (None, Some(WindowKind::Fixed { .. } | WindowKind::Calendar { .. })) => Self::Count,
            _ => Self::Whole,
        }
    }
}

/// Charges a call to all its limits, or to none of them; they stand in one order for all calls, each cell once. Whether it passed.
pub(crate) fn charge(charges: &mut [Charge<'_>]) -> bool {
    if let [only] = charges
        && Layout::of(only.rule) != Layout::Whole
    {
        return charge_one_word(only);
    }
    let mut held = Held { charges, count: 0 };
    held.begin();
    let mut passes = true;
    for charge in held.charges.iter_mut() {
        let before = charge.cell.read(charge.word, charge.rule, charge.time);
        let taken = charge.rule.take(before, charge.time, charge.cost);
        passes &= taken.is_ok();
        charge.outcome = Some(taken.map(|(after, reading)| {
            charge.after = after;
            reading
        }));
    }
    for charge in held.charges.iter_mut() {
        if !passes {
            charge.tell_what_is_left();
        } else if charge.cost != Cost::NOTHING {
            charge.word = charge.cell.write(charge.rule, charge.after);
        }
    }
    passes
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

fn charge_one_word(charge: &mut Charge<'_>) -> bool {
    let first = &charge.cell.first;
    let (mut word, mut waited) = (first.load(Ordering::Acquire), 0);
    loop {
        if word & CHANGING != 0 {
            wait_a_moment(waited);
            waited += 1;
            word = first.load(Ordering::Acquire);
            continue;
        }
        let before = charge.cell.read(word, charge.rule, charge.time);
        let after = match charge.rule.take(before, charge.time, charge.cost) {
            Ok((after, reading)) => {
                charge.outcome = Some(Ok(reading));
                after
            }
            Err(refused) => {
                charge.outcome = Some(Err(refused));
                return false;
            }
        };
        if charge.cost == Cost::NOTHING {
            return true;
        }
        match first.compare_exchange_weak(word, first_word(charge.rule, after), Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => return true,
            Err(changed) => word = changed,
        }
    }
}

impl Cell {
    pub(crate) fn new() -> Self {
        Self { first: AtomicU64::new(0), second: AtomicU64::new(0), third: AtomicU64::new(0) }
    }

    /// Forgets what does not count any more. Whether all of it does not.
    pub(crate) fn forget_idle(&self, rule: &LimitRule, time: LimitTime) -> bool {
        let mut one = [Charge::new(rule, self, time, Cost::NOTHING)];
        let mut held = Held { charges: &mut one, count: 0 };
        held.begin();
        let [charge] = held.charges else { return false };
        let is_idle = rule.is_idle(self.read(charge.word, rule, time), time);
        if is_idle {
            charge.word = self.write(rule, LimitState::default());
        }
        is_idle
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

    fn read(&self, first: u64, rule: &LimitRule, time: LimitTime) -> LimitState {
        match Layout::of(rule) {
            Layout::Bucket => LimitState { bucket: BucketState::from_ticks(first), window: WindowState::default() },
            Layout::Count => LimitState { bucket: BucketState::default(), window: unpacked(first, 0, rule, time) },
            Layout::Whole => {
                let (second, third) = (self.second.load(Ordering::Relaxed), self.third.load(Ordering::Relaxed));
                LimitState { bucket: BucketState::from_ticks(first), window: unpacked(second, third, rule, time) }
            }
        }
    }

    /// Writes the second and third words, while a change is going on; gives the first.
    fn write(&self, rule: &LimitRule, state: LimitState) -> u64 {
        if Layout::of(rule) == Layout::Whole {
            self.second.store(packed(rule, state.window), Ordering::Relaxed);
            self.third.store(state.window.used_before, Ordering::Relaxed);
        }
        first_word(rule, state)
    }
}

fn first_word(rule: &LimitRule, state: LimitState) -> u64 {
    match Layout::of(rule) {
        Layout::Count => packed(rule, state.window),
        Layout::Bucket | Layout::Whole => state.bucket.ticks(),
    }
}

/// Stretches begin at whole multiples of this.
fn unit_seconds(rule: &LimitRule) -> i64 {
    match rule.window().map(tronch_core::Window::kind) {
        Some(WindowKind::Fixed { seconds } | WindowKind::Sliding { seconds }) => seconds.into(),
        Some(WindowKind::Calendar { .. }) | None => CALENDAR_UNIT_SECONDS,
    }
}

/// How far ahead the next stretch may begin, in units, with much to spare; the product's time never goes back.
fn ahead_max(rule: &LimitRule) -> i64 {
    match rule.window().map(tronch_core::Window::kind) {
        Some(WindowKind::Calendar { .. }) => STRETCHES / 4,
        _ => 64,
    }
}

fn packed(rule: &LimitRule, state: WindowState) -> u64 {
    let number = state.start_seconds.div_euclid(unit_seconds(rule)).rem_euclid(STRETCHES);
    (number.unsigned_abs() << USED_BITS) | state.used.min(USED)
}

/// The number's upper bits are such that it is before the stretch that the call sees, or a little after it: a call may have looked
/// at the clock before another that was faster. What does not count any more is forgotten long before that is wrong, see
/// [`Cell::forget_idle`]: with stretches of a second in 48 days.
fn unpacked(word: u64, used_before: u64, rule: &LimitRule, time: LimitTime) -> WindowState {
    if word == 0 && used_before == 0 {
        return WindowState::default();
    }
    let unit = unit_seconds(rule);
    let seen = time.span.start.timestamp().div_euclid(unit);
    let number = i64::try_from((word >> USED_BITS) & ((1 << STRETCH_BITS) - 1)).unwrap_or(0);
    let mut ahead = (number - seen).rem_euclid(STRETCHES);
    if ahead > ahead_max(rule) {
        ahead -= STRETCHES;
    }
    WindowState { start_seconds: (seen + ahead) * unit, used: word & USED, used_before }
}
