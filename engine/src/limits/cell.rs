//! What was taken of one limit, in words that calls on all threads change at once, without a lock that anybody could sleep with. The
//! highest bit of the first word says that a change is going on; what belongs to it is held by whoever set it. How a call is charged
//! stands in `charge.rs`.

use std::sync::OnceLock;

use tronch_core::{Bucket, BucketState, LimitRule, LimitTime};

use super::atomics::{AtomicU64, Ordering, wait_a_moment};
use super::rate::RateShare;
use super::share::{Pace, Share};

/// A change is going on.
pub(super) const CHANGING: u64 = 1 << 63;

/// Beside what was used: somebody asks for more; there is an answer.
const ASKING: u64 = 1 << 63;
const KNOWN: u64 = 1 << 62;

/// What was taken of a limit. All bits nought are nothing, ever, and of what is shared nothing that is known.
#[derive(Debug)]
pub(crate) struct Cell {
    /// The bucket, or this process's part of it while nobody answers; and whether a change is going on.
    pub(super) first: AtomicU64,
    /// What is held of the total, each under a change only: the start of the stretch, used, allowed, taken, besides, asked, owed, its
    /// pace.
    total: Option<Box<[AtomicU64; 9]>>,
    /// What is held of a bucket that is shared, each under a change only: used, allowed, when it is full, when that ends, asked, owed,
    /// among how many.
    pub(super) rate: OnceLock<Box<[AtomicU64; 7]>>,
}

impl Cell {
    /// With a bucket that stands like this, and of what is shared nothing that is known.
    pub(crate) fn new(rule: &LimitRule, bucket: BucketState) -> Self {
        let total = rule.window().map(|_| Box::new(std::array::from_fn(|_| AtomicU64::new(0))));
        Self { first: AtomicU64::new(bucket.ticks()), total, rate: OnceLock::new() }
    }

    /// Whether nothing of it counts any more. It may be forgotten if nobody else can charge it.
    pub(crate) fn is_idle(&self, rule: &LimitRule, time: LimitTime) -> bool {
        let word = self.hold();
        let (share, rate) = (self.load_total(), self.load_rate());
        self.release(word);
        let is_full = |bucket: &Bucket| bucket.is_idle(BucketState::from_ticks(word), time.passed_ms);
        rule.bucket().is_none_or(is_full) && share.is_idle(time.span) && rate.is_idle(time)
    }

    /// Changes what is held of the total.
    pub(crate) fn change_total<T>(&self, change: impl FnOnce(&mut Share) -> T) -> T {
        let word = self.hold();
        let mut share = self.load_total();
        let changed = change(&mut share);
        self.store_total(&share);
        self.release(word);
        changed
    }

    /// Changes what is held of the bucket, and the bucket that this process goes by while it is alone or nobody answers.
    pub(crate) fn change_rate<T>(&self, change: impl FnOnce(&mut RateShare, &mut BucketState) -> T) -> T {
        let word = self.hold();
        let (mut rate, mut bucket) = (self.load_rate(), BucketState::from_ticks(word));
        let changed = change(&mut rate, &mut bucket);
        self.store_rate(&rate);
        self.release(bucket.ticks());
        changed
    }

    /// Begins a change; gives the first word.
    pub(super) fn hold(&self) -> u64 {
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
    pub(super) fn release(&self, word: u64) {
        self.first.store(word, Ordering::Release);
    }

    pub(super) fn load_total(&self) -> Share {
        let Some(words) = &self.total else { return Share::default() };
        let [start, used, allowed, taken, besides, asked_ms, owed, since_ms, pace] =
            std::array::from_fn(|place| words[place].load(Ordering::Relaxed));
        Share {
            start_seconds: start.cast_signed(),
            used: used & !(ASKING | KNOWN),
            allowed,
            taken,
            besides,
            asked_ms,
            owed,
            pace: Pace { of_second: upper_half(pace), of_now: lower_half(pace), since_ms },
            is_asking: used & ASKING != 0,
            is_known: used & KNOWN != 0,
        }
    }

    /// What a call changes of it.
    pub(super) fn store_used(&self, share: &Share) {
        if let Some(words) = &self.total {
            words[1].store(with_flags(share.used, share.is_asking, share.is_known), Ordering::Relaxed);
        }
    }

    pub(super) fn store_total(&self, share: &Share) {
        let Some(words) = &self.total else { return };
        let Share { start_seconds, used, allowed, taken, besides, asked_ms, owed, pace, is_asking, is_known } = *share;
        let used = with_flags(used, is_asking, is_known);
        let halves = (u64::from(pace.of_second) << 32) | u64::from(pace.of_now);
        let start = start_seconds.cast_unsigned();
        let values = [start, used, allowed, taken, besides, asked_ms, owed, pace.since_ms, halves];
        for (word, value) in words.iter().zip(values) {
            word.store(value, Ordering::Relaxed);
        }
    }

    pub(super) fn load_rate(&self) -> RateShare {
        let Some(words) = self.rate.get() else { return RateShare::default() };
        let [used, allowed, full_at, ends_ms, asked_ms, owed, among] =
            std::array::from_fn(|place| words[place].load(Ordering::Relaxed));
        RateShare {
            used: used & !(ASKING | KNOWN),
            allowed,
            full_at,
            ends_ms,
            asked_ms,
            owed,
            among: lower_half(among),
            is_asking: used & ASKING != 0,
            is_known: used & KNOWN != 0,
        }
    }

    pub(super) fn store_rate(&self, rate: &RateShare) {
        if self.rate.get().is_none() && *rate == RateShare::default() {
            return;
        }
        let words = self.rate.get_or_init(|| Box::new(std::array::from_fn(|_| AtomicU64::new(0))));
        let RateShare { used, allowed, full_at, ends_ms, asked_ms, owed, among, is_asking, is_known } = *rate;
        let used = with_flags(used, is_asking, is_known);
        for (word, value) in words.iter().zip([used, allowed, full_at, ends_ms, asked_ms, owed, among.into()]) {
            word.store(value, Ordering::Relaxed);
        }
    }
}

fn with_flags(used: u64, is_asking: bool, is_known: bool) -> u64 {
    used | flag(is_asking, ASKING) | flag(is_known, KNOWN)
}

fn flag(is_set: bool, bit: u64) -> u64 {
    if is_set { bit } else { 0 }
}

fn upper_half(word: u64) -> u32 {
    lower_half(word >> 32)
}

fn lower_half(word: u64) -> u32 {
    u32::try_from(word & u64::from(u32::MAX)).unwrap_or(u32::MAX)
}
