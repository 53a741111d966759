//! What this process may spend of a bucket that several share: tokens that a store has handed out, for a while, and its own part of
//! the bucket while the store does not answer. Pure; a cell (`cell.rs`) keeps one in its words.

use std::time::Duration;

use tronch_core::{Bucket, BucketState, LimitTime};

/// How long what was told of a bucket is believed where it refuses: somebody may have given some of it back.
const BELIEVED_MS: u64 = 1_000;

/// How long tokens that are held are good for, at most: those of a process that vanished keep others from holding some for so long.
const HELD_MAX: Duration = Duration::from_secs(30);
const HELD_MIN: Duration = Duration::from_secs(1);

/// After how long a process that goes by its part asks again.
const ASKED_AGAIN_MS: u64 = 500;

/// Of a bucket, all processes together hold a twentieth at most.
const HELD_PART: u64 = 20;

/// What this process holds of a bucket. The default is nothing, and nothing is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct RateShare {
    /// What calls here spent of what was handed out.
    pub(super) used: u64,
    /// What was handed out.
    pub(super) allowed: u64,
    /// When the bucket will be full, as it was told last, in its ticks of the machine's clock. What anybody holds counts as taken.
    pub(super) full_at: u64,
    /// When what is held is not good any more, in milliseconds of that clock.
    pub(super) ends_ms: u64,
    /// When it was told.
    pub(super) asked_ms: u64,
    /// What this process let pass without having asked, and has to make up for.
    pub(super) owed: u64,
    /// Among how many it goes by its part, because nobody answers; none if somebody does.
    pub(super) among: u32,
    /// Whether somebody is asking for more.
    pub(super) is_asking: bool,
    /// Whether there is an answer.
    pub(super) is_known: bool,
}

impl RateShare {
    /// How long tokens are good for: as long as it takes to fill the bucket, within bounds; where each call asks for its own, until
    /// whoever asked has certainly gone.
    pub(crate) fn held_for(bucket: &Bucket, is_exact: bool) -> Duration {
        let most = if is_exact { HELD_MIN } else { HELD_MAX };
        bucket.fill_time().clamp(HELD_MIN, most)
    }

    /// Whether it is time to see whether somebody answers again.
    pub(super) fn is_due(&self, time: LimitTime) -> bool {
        let is_behind = self.among > 0 || self.owed > 0;
        is_behind && !self.is_asking && time.passed_ms.saturating_sub(self.asked_ms) >= ASKED_AGAIN_MS
    }

    /// The bucket as far as it is known: what others hold counts as taken, what is held here and not spent does not.
    pub(super) fn seen(&self, bucket: &Bucket, time: LimitTime) -> Option<BucketState> {
        let full_at = BucketState::from_ticks(self.full_at);
        self.is_known.then(|| bucket.give_back(full_at, self.unspent(time)))
    }

    /// What may be spent without asking.
    pub(super) fn unspent(&self, time: LimitTime) -> u64 {
        if time.passed_ms < self.ends_ms { self.allowed.saturating_sub(self.used) } else { 0 }
    }

    /// Whether a refusal by what is known needs no asking.
    pub(super) fn is_believed(&self, time: LimitTime) -> bool {
        self.is_known && time.passed_ms.saturating_sub(self.asked_ms) < BELIEVED_MS
    }

    /// Whether it is time to ask for more, before anybody has to wait for it.
    pub(super) fn is_low(&self, bucket: &Bucket, time: LimitTime) -> bool {
        let left =
            bucket.capacity().saturating_sub(bucket.missing(BucketState::from_ticks(self.full_at), time.passed_ms));
        let is_low = self.unspent(time) * 2 < bucket.capacity() / HELD_PART && left > 0;
        is_low && !self.is_asking && self.among == 0
    }

    /// How much more to ask for.
    pub(super) fn room(&self, bucket: &Bucket, time: LimitTime) -> u64 {
        (bucket.capacity() / HELD_PART).saturating_sub(self.unspent(time))
    }

    /// What has to be made up for; it is about to be.
    pub(super) fn take_owed(&mut self) -> u64 {
        std::mem::take(&mut self.owed)
    }

    /// All that is held and not spent; it is as if it had been.
    pub(super) fn take_unspent(&mut self, time: LimitTime) -> u64 {
        let units = self.unspent(time);
        self.used = self.allowed;
        units
    }

    /// Takes in an answer to a question of `sent`: how the bucket stands, and how much of it is ours now, for how long.
    pub(super) fn granted(
        &mut self,
        bucket: &Bucket,
        (debt_ticks, granted): (u64, u64),
        held_for: Duration,
        (sent, now): (LimitTime, LimitTime),
    ) {
        if now.passed_ms >= self.ends_ms {
            (self.used, self.allowed) = (0, 0);
        }
        // An answer that came late, after this process had gone on without: what it brought was spent already.
        let spent = granted.min(self.owed);
        self.owed -= spent;
        self.allowed += granted - spent;
        self.full_at = bucket.in_debt(debt_ticks, now.passed_ms).ticks();
        let held_for = u64::try_from(held_for.as_millis()).unwrap_or(u64::MAX);
        // From the moment of asking: it ends here before it does there.
        self.ends_ms = sent.passed_ms.saturating_add(held_for);
        (self.asked_ms, self.is_asking, self.is_known, self.among) = (now.passed_ms, false, true, 0);
    }

    /// Nobody answers: this process goes by its part of the bucket, among so many, until somebody does. Gives how its part begins,
    /// if it did not yet.
    pub(super) fn stand_in(&mut self, bucket: &Bucket, time: LimitTime, nodes: u64) -> Option<BucketState> {
        (self.is_asking, self.asked_ms) = (false, time.passed_ms);
        if self.among > 0 {
            return None;
        }
        self.among = u32::try_from(nodes).unwrap_or(u32::MAX).max(1);
        let seen = self.seen(bucket, time).unwrap_or_default();
        let left = bucket.capacity().saturating_sub(bucket.missing(seen, time.passed_ms));
        // What is held was handed out already, and is not spent beside this.
        self.used = self.allowed;
        let part = bucket.divided(self.among);
        let missing = part.capacity().saturating_sub(left.div_ceil(self.among.into()));
        Some(part.lacking(missing, time.passed_ms))
    }

    /// What this process took of the bucket while it had that for itself, if it is shared from now on.
    pub(super) fn hand_over(&self, first: &mut BucketState, bucket: &Bucket, time: LimitTime) -> Option<u64> {
        let was_own = !self.is_known && self.among == 0;
        was_own.then(|| bucket.missing(std::mem::take(first), time.passed_ms))
    }

    /// How the bucket stands once this process has it for itself; nothing where it was not shared.
    pub(super) fn taken_over(&self, bucket: &Bucket, time: LimitTime) -> Option<BucketState> {
        let was_shared = self.is_known || self.among > 0;
        was_shared.then(|| bucket.make_up(self.seen(bucket, time).unwrap_or_default(), time.passed_ms, self.owed))
    }

    /// The bucket that this process goes by while nobody answers.
    pub(super) fn part(&self, bucket: &Bucket) -> Option<Bucket> {
        (self.among > 0).then(|| bucket.divided(self.among))
    }

    /// Whether nothing would be lost with it.
    pub(super) fn is_idle(&self, time: LimitTime) -> bool {
        !self.is_asking && self.owed == 0 && self.unspent(time) == 0
    }
}
