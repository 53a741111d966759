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
use super::share::Share;

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
    share: Share,
    rate: RateShare,
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

/// What a half says.
enum Weighed {
    Says(Outcome),
    /// What it would say, and how much more has to be asked for.
    Lacks(Outcome, u64),
    /// Nobody knows how it stands.
    Unknown(u64),
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
            share: Share::default(),
            rate: RateShare::default(),
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
    pub(crate) fn outcome(&self) -> Option<Outcome> {
        self.outcome
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
    fn weigh(&mut self, beyond: Beyond) {
        let rate = self.rule.bucket().map(|bucket| self.weigh_rate(bucket, self.cost, beyond));
        let total = self.rule.window().map(|window| self.weigh_total(window, self.cost, beyond));
        self.lacks =
            Lacks { rate: rate.as_ref().and_then(Weighed::lacks), total: total.as_ref().and_then(Weighed::lacks) };
        self.is_unknown = [&rate, &total].into_iter().any(|half| matches!(half, Some(Weighed::Unknown(_))));
        let (rate, total) = (rate.and_then(Weighed::says), total.and_then(Weighed::says));
        self.outcome = (rate.is_some() || total.is_some()).then(|| LimitRule::told(rate, total));
    }

    fn weigh_rate(&mut self, bucket: &Bucket, cost: Cost, beyond: Beyond) -> Weighed {
        let passed = self.time.passed;
        let after = &mut self.bucket_after;
        let mut take = |bucket: &Bucket, state: BucketState| {
            let taken = bucket.take(state, passed, cost);
            taken.map(|(state, reading)| {
                *after = state;
                reading
            })
        };
        if self.ways.rate == Way::Local {
            let word = BucketState::from_ticks(self.word);
            // It was shared, until nobody else was left.
            let state = self.rate.taken_over(bucket, self.time).unwrap_or(word);
            return Weighed::Says(take(bucket, state));
        }
        if let Some(part) = self.rate.part(bucket) {
            let says = take(&part, BucketState::from_ticks(self.word));
            // Whoever is refused by a part looks whether there is more again.
            let asks = says.is_err() && beyond == Beyond::MayBe && self.rate.is_due(self.time);
            return if asks { Weighed::Lacks(says, cost.units()) } else { Weighed::Says(says) };
        }
        let Some(seen) = self.rate.seen(bucket, self.time) else {
            return if beyond == Beyond::MayBe {
                Weighed::Unknown(cost.units())
            } else {
                Weighed::Says(take(bucket, bucket.empty(passed)))
            };
        };
        let (says, unspent) = (take(bucket, seen), self.rate.unspent(self.time));
        let is_short = match says {
            Ok(_) => cost.units() > unspent,
            Err(_) => !self.rate.is_believed(self.time),
        };
        if is_short && beyond == Beyond::MayBe {
            Weighed::Lacks(says, cost.units().saturating_sub(unspent))
        } else {
            Weighed::Says(says)
        }
    }

    fn weigh_total(&mut self, window: &Window, cost: Cost, beyond: Beyond) -> Weighed {
        let (span, now) = (self.time.span, self.time.now);
        let take = |state| window.take(state, span, now, cost).map(|(_, reading)| reading);
        let Some(seen) = self.share.seen(window, span) else {
            let new = WindowState { start_seconds: span.start.timestamp(), ..WindowState::default() };
            return if beyond == Beyond::MayBe {
                Weighed::Unknown(cost.units())
            } else {
                Weighed::Says(take(all_taken(window, new, 0)))
            };
        };
        let (says, unspent) = (take(seen), self.share.unspent());
        let is_short = match says {
            Ok(_) => cost.units() > unspent,
            Err(_) => !self.share.is_believed(self.time),
        };
        match (is_short, beyond) {
            (false, _) => Weighed::Says(says),
            (true, Beyond::MayBe) => Weighed::Lacks(says, cost.units().saturating_sub(unspent)),
            (true, Beyond::Nothing) => Weighed::Says(take(all_taken(window, seen, unspent))),
        }
    }

    /// Others refused the call: this limit says what it would have said to nobody.
    #[cold]
    fn tell_what_is_left(&mut self) {
        if !matches!(self.outcome, Some(Ok(_))) {
            return;
        }
        let rate = self.rule.bucket().map(|bucket| self.weigh_rate(bucket, Cost::NOTHING, Beyond::Nothing));
        let total = self.rule.window().map(|window| self.weigh_total(window, Cost::NOTHING, Beyond::Nothing));
        self.outcome = Some(LimitRule::told(rate.and_then(Weighed::says), total.and_then(Weighed::says)));
    }

    /// Takes what was found to be there.
    fn take(&mut self) {
        let units = self.cost.units();
        if self.rule.bucket().is_some() && (self.ways.rate == Way::Local || self.rate.among > 0) {
            self.word = self.bucket_after.ticks();
            if self.ways.rate == Way::Local {
                self.rate = RateShare::default();
            } else {
                self.rate.owed += units;
                self.low.rate = self.rate.is_due(self.time);
            }
        } else if let Some(bucket) = self.rule.bucket() {
            self.rate.used += units;
            let is_low = self.ways.rate == Way::Fast && self.rate.is_low(bucket, self.time);
            self.low.rate = is_low || self.rate.is_due(self.time);
        }
        if self.rule.bucket().is_some() {
            self.rate.is_asking |= self.low.rate;
            self.cell.store_rate(&self.rate);
        }
        if let Some(window) = self.rule.window() {
            self.share.used += units;
            let is_low = self.ways.total == Way::Fast && self.share.is_low(window);
            self.low.total = is_low || self.share.is_due(self.time);
            self.share.is_asking |= self.low.total;
            self.cell.store_used(&self.share);
        }
    }
}

impl Weighed {
    fn says(self) -> Option<Outcome> {
        match self {
            Self::Says(says) | Self::Lacks(says, _) => Some(says),
            Self::Unknown(_) => None,
        }
    }

    fn lacks(&self) -> Option<u64> {
        match self {
            Self::Says(_) => None,
            Self::Lacks(_, units) | Self::Unknown(units) => Some(*units),
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
        && only.is_one_word()
    {
        return charge_one_word(only);
    }
    let mut held = Held { charges, count: 0 };
    held.begin();
    let (mut passes, mut is_short, mut is_unknown) = (true, false, false);
    for charge in held.charges.iter_mut() {
        charge.weigh(beyond);
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
            charge.share = charge.cell.load_total();
            charge.rate = charge.cell.load_rate();
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
        charge.weigh(Beyond::Nothing);
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
