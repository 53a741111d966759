//! Charging a call to limits: to all of them or to none.
//!
//! Of a bucket that this process has for itself one word holds all, and a charge is one compare-and-swap. Of what several share there
//! is more to know, and a call may be charged to several limits: there the bits that say that a change is going on are set in one
//! order for all calls, all are looked at, all are charged or none, and the bits are taken away again. Whoever changes a single word
//! waits for that bit, too.

use tronch_core::{
    Bucket, BucketState, Cost, LimitHalf, LimitRule, LimitTime, Reading, Refusal, VerdictCode, Window, WindowState,
};

use super::atomics::{Ordering, wait_a_moment};
use super::cell::{CHANGING, Cell};
use super::rate::RateShare;

/// How a half of a limit is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// Here alone.
    Local,
    /// In a store, of which some is held here to be spent without asking.
    Fast,
    /// In a store that is asked by each call.
    Exact,
}

/// How both are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ways {
    pub(crate) rate: Way,
    /// Never here alone: it outlives this process.
    pub(crate) total: Way,
}

/// How much more than is held here a call needs, of either half.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Lacks {
    pub(crate) rate: Option<u64>,
    pub(crate) total: Option<u64>,
}

/// Of which half more is to be asked for, before anybody has to wait for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Low {
    pub(crate) rate: bool,
    pub(crate) total: bool,
}

/// What one call takes of one limit.
pub(crate) struct Charge<'a> {
    rule: &'a LimitRule,
    cell: &'a Cell,
    ways: Ways,
    time: LimitTime,
    cost: Cost,
    /// The first word: as it was found, and then as it is to be.
    word: u64,
    bucket_after: BucketState,
    outcome: Option<Outcome>,
    lacks: Lacks,
    is_unknown: bool,
    low: Low,
}

pub(crate) type Outcome = Result<Reading, Refusal>;

/// What became of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Charged {
    /// It was charged to all.
    Passed,
    /// It was charged to none.
    Refused,
    /// It was charged to none: of some there may be more than is held here, see [`Charge::lacks`].
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
    pub(crate) fn new(rule: &'a LimitRule, cell: &'a Cell, ways: Ways, time: LimitTime, cost: Cost) -> Self {
        Self {
            rule,
            cell,
            ways,
            time,
            cost,
            word: 0,
            bucket_after: BucketState::default(),
            outcome: None,
            lacks: Lacks::default(),
            is_unknown: false,
            low: Low::default(),
        }
    }

    /// How its halves are kept.
    pub(crate) fn ways(&self) -> Ways {
        self.ways
    }

    /// The time in which as much as the limit may be used, in whole seconds.
    pub(crate) fn window_seconds(&self, half: LimitHalf) -> Option<u64> {
        self.rule.window_seconds(half, self.time.span)
    }

    /// What the limit says of it, once it was charged. Where others refused the call nothing was taken, and it says what is left.
    pub(crate) fn outcome(&self) -> Option<&Outcome> {
        self.outcome.as_ref()
    }

    /// What is to be counted for the limit: that it was charged, or what it refused the call with. Nothing where another limit refused
    /// the call, or it asked for nothing.
    pub(crate) fn counts(&self, charged: Charged) -> Option<VerdictCode> {
        match (charged, self.outcome) {
            _ if self.cost == Cost::NOTHING => None,
            (Charged::Passed, _) => Some(VerdictCode::Valid),
            (Charged::Refused, Some(Err(refusal))) => Some(refusal.code()),
            (Charged::Refused | Charged::Short, _) => None,
        }
    }

    /// How much more than is held here the call needs.
    pub(crate) fn lacks(&self) -> Lacks {
        self.lacks
    }

    /// Whether it was this call that found little left of what is held here. Whoever hears so asks for more.
    pub(crate) fn low(&self) -> Low {
        self.low
    }

    /// Whether the call costs nothing: it only asks how it stands.
    pub(crate) fn only_reads(&self) -> bool {
        self.cost.units() == 0
    }

    /// Whether one word is all that there is to change.
    fn is_one_word(&self) -> bool {
        self.rule.window().is_none() && self.ways.rate == Way::Local && self.cell.rate.get().is_none()
    }

    /// Looks whether the limit lets it pass; takes nothing.
    fn weigh(&mut self, shared: &RateShare, beyond: Beyond) {
        // Most have one half, and what that says is not carried about.
        match (self.rule.bucket(), self.rule.window()) {
            (Some(bucket), None) => self.outcome = self.weigh_rate(bucket, shared, self.cost, beyond),
            (None, Some(window)) => self.outcome = self.weigh_total(window, self.cost, beyond),
            (Some(bucket), Some(window)) => {
                let rate = self.weigh_rate(bucket, shared, self.cost, beyond);
                let total = self.weigh_total(window, self.cost, beyond);
                self.is_unknown = rate.is_none() || total.is_none();
                self.outcome = (rate.is_some() || total.is_some()).then(|| LimitRule::told(rate, total));
            }
            (None, None) => {}
        }
        self.is_unknown |= self.outcome.is_none();
    }

    /// What the bucket says; nothing where nobody knows how it stands. Notes how much more has to be asked for.
    fn weigh_rate(&mut self, bucket: &Bucket, shared: &RateShare, cost: Cost, beyond: Beyond) -> Option<Outcome> {
        let (time, word) = (self.time, BucketState::from_ticks(self.word));
        let after = &mut self.bucket_after;
        let mut take = |bucket: &Bucket, state: BucketState| {
            let taken = bucket.take(state, time.passed_ms, cost);
            taken.map(|(state, reading)| {
                *after = state;
                reading
            })
        };
        if self.ways.rate == Way::Local {
            // It was shared, until nobody else was left.
            return Some(take(bucket, shared.taken_over(bucket, time).unwrap_or(word)));
        }
        if let Some(part) = shared.part(bucket) {
            let says = take(&part, word);
            // Whoever is refused by a part looks whether there is more again.
            if says.is_err() && beyond == Beyond::MayBe && shared.is_due(time) {
                self.lacks.rate = Some(cost.units());
            }
            return Some(says);
        }
        let Some(seen) = shared.seen(bucket, time) else {
            if beyond == Beyond::MayBe {
                self.lacks.rate = Some(cost.units());
                return None;
            }
            return Some(take(bucket, bucket.empty(time.passed_ms)));
        };
        let (says, unspent) = (take(bucket, seen), shared.unspent(time));
        let is_short = match says {
            Ok(_) => cost.units() > unspent,
            Err(_) => !shared.is_believed(time),
        };
        if is_short && beyond == Beyond::MayBe {
            self.lacks.rate = Some(cost.units().saturating_sub(unspent));
        }
        Some(says)
    }

    /// The same of the total.
    fn weigh_total(&mut self, window: &Window, cost: Cost, beyond: Beyond) -> Option<Outcome> {
        let (time, share) = (self.time, self.cell.load_total());
        let take = |state| window.take(state, time.span, time.now_ms, cost).map(|(_, reading)| reading);
        let Some(seen) = share.seen(window, time.span) else {
            if beyond == Beyond::MayBe {
                self.lacks.total = Some(cost.units());
                return None;
            }
            let new = WindowState { start_seconds: time.span.start_seconds, ..WindowState::default() };
            return Some(take(all_taken(window, new, 0)));
        };
        let (says, unspent) = (take(seen), share.unspent());
        let is_short = match says {
            Ok(_) => cost.units() > unspent,
            Err(_) => !share.is_believed(time),
        };
        match (is_short, beyond) {
            (false, _) => {}
            (true, Beyond::MayBe) => self.lacks.total = Some(cost.units().saturating_sub(unspent)),
            (true, Beyond::Nothing) => return Some(take(all_taken(window, seen, unspent))),
        }
        Some(says)
    }

    /// Others refused the call: this limit says what it would have said to nobody.
    #[cold]
    fn tell_what_is_left(&mut self) {
        if !matches!(self.outcome, Some(Ok(_))) {
            return;
        }
        let (rule, shared) = (self.rule, self.cell.load_rate());
        let rate = rule.bucket().and_then(|bucket| self.weigh_rate(bucket, &shared, Cost::NOTHING, Beyond::Nothing));
        let total = rule.window().and_then(|window| self.weigh_total(window, Cost::NOTHING, Beyond::Nothing));
        self.outcome = Some(LimitRule::told(rate, total));
    }

    /// Takes what was found to be there.
    fn take(&mut self) {
        if let Some(bucket) = self.rule.bucket() {
            self.take_rate(bucket);
        }
        if let Some(window) = self.rule.window() {
            let mut share = self.cell.load_total();
            share.used += self.cost.units();
            let is_low = self.ways.total == Way::Fast && share.is_low(window);
            self.low.total = is_low || share.is_due(self.time);
            share.is_asking |= self.low.total;
            self.cell.store_used(&share);
        }
    }

    fn take_rate(&mut self, bucket: &Bucket) {
        if self.ways.rate == Way::Local {
            self.word = self.bucket_after.ticks();
            self.cell.store_rate(&RateShare::default());
            return;
        }
        let mut shared = self.cell.load_rate();
        if shared.among > 0 {
            self.word = self.bucket_after.ticks();
            shared.owed += self.cost.units();
            self.low.rate = shared.is_due(self.time);
        } else {
            shared.used += self.cost.units();
            let is_low = self.ways.rate == Way::Fast && shared.is_low(bucket, self.time);
            self.low.rate = is_low || shared.is_due(self.time);
        }
        shared.is_asking |= self.low.rate;
        self.cell.store_rate(&shared);
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
        && only.is_one_word()
    {
        return charge_one_word(only);
    }
    let mut held = Held { charges, count: 0 };
    held.begin();
    let (mut passes, mut is_short, mut is_unknown) = (true, false, false);
    for charge in held.charges.iter_mut() {
        charge.weigh(&charge.cell.load_rate(), beyond);
        let lacks = charge.lacks.rate.is_some() || charge.lacks.total.is_some();
        is_short |= lacks;
        is_unknown |= charge.is_unknown;
        passes &= lacks || matches!(charge.outcome, Some(Ok(_)));
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

fn charge_one_word(charge: &mut Charge<'_>) -> Charged {
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
        charge.weigh(&RateShare::default(), Beyond::Nothing);
        if !matches!(charge.outcome, Some(Ok(_))) {
            return Charged::Refused;
        }
        if charge.cost == Cost::NOTHING {
            return Charged::Passed;
        }
        let after = charge.bucket_after.ticks();
        match first.compare_exchange_weak(word, after, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => return Charged::Passed,
            Err(changed) => word = changed,
        }
    }
}
