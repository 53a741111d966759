//! A limit as calls are charged to it: its rule, what time it is for it, and how many calls it let pass.

use std::sync::atomic::{AtomicU64, Ordering};

use tronch_core::{LimitId, LimitName, LimitRule, LimitTime, Span, TenantId};

use crate::clock::{self, Moment};
use crate::usage::{Subject, Tallied, Tally};

/// A limit as calls are charged to it.
#[derive(Debug)]
pub(crate) struct Limit {
    pub(crate) tenant_id: TenantId,
    pub(crate) name: LimitName,
    pub(crate) is_automatic: bool,
    /// Whether each call asks the store that several processes share.
    pub(crate) is_exact: bool,
    pub(crate) rule: LimitRule,
    /// The limit whose count this one goes on with; itself, unless its key is a successor.
    counts_as: LimitId,
    /// The stretch of its window that was found last: its first minute since 1970, and the first of the next. To find one of the
    /// calendar takes longer than all else that a charge does.
    stretch: AtomicU64,
    /// Calls that were charged to it. All who are held to it count here: there is one of each limit.
    tally: Tally,
}

impl Limit {
    pub(crate) fn new(
        tenant_id: TenantId,
        counts_as: LimitId,
        name: LimitName,
        (is_automatic, is_exact): (bool, bool),
        rule: LimitRule,
    ) -> Self {
        Self {
            tenant_id,
            name,
            is_automatic,
            is_exact,
            rule,
            counts_as,
            stretch: AtomicU64::new(0),
            tally: Tally::default(),
        }
    }

    /// Whether it is the same limit, and was not changed in between.
    pub(super) fn is(&self, other: &Self) -> bool {
        let parts = |limit: &Self| (limit.tenant_id, limit.counts_as, limit.is_automatic, limit.is_exact, limit.rule);
        parts(self) == parts(other) && self.name == other.name
    }

    /// The limit whose count this one goes on with; itself, unless its key is a successor.
    pub(crate) fn counts_as(&self) -> LimitId {
        self.counts_as
    }

    /// What time it is for it.
    pub(crate) fn time(&self, now: Moment) -> LimitTime {
        self.time_on(now, clock::millis_at(now))
    }

    /// The same, where the date is known already.
    #[inline]
    pub(crate) fn time_on(&self, now: Moment, now_ms: i64) -> LimitTime {
        LimitTime { passed_ms: now.passed_ms(), now_ms, span: self.span(now_ms) }
    }

    #[inline]
    fn span(&self, at_ms: i64) -> Span {
        if self.rule.window().is_none() {
            return self.rule.span_at(at_ms);
        }
        let held = self.stretch.load(Ordering::Relaxed);
        let seconds = |minutes: u64| minutes.cast_signed() * 60;
        let kept = Span { start_seconds: seconds(held >> 32), end_seconds: seconds(held & u64::from(u32::MAX)) };
        if kept.holds(at_ms) { kept } else { self.find_span(at_ms) }
    }

    #[inline(never)]
    fn find_span(&self, at_ms: i64) -> Span {
        let span = self.rule.span_at(at_ms);
        // Those of the calendar begin at whole minutes in zones of today. One that does not is found anew each time.
        let minutes = |seconds: i64| (seconds % 60 == 0).then(|| u32::try_from(seconds / 60).ok()).flatten();
        if let (Some(start), Some(end)) = (minutes(span.start_seconds), minutes(span.end_seconds)) {
            self.stretch.store((u64::from(start) << 32) | u64::from(end), Ordering::Relaxed);
        }
        span
    }
}

impl Tallied for Limit {
    fn tally(&self) -> &Tally {
        &self.tally
    }

    fn subject(&self) -> Subject {
        Subject::Limit { tenant_id: self.tenant_id, limit_id: self.counts_as }
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use tronch_core::{Bucket, CalendarUnit, Refill, Window, WindowKind};
    use uuid::Uuid;

    use super::*;

    /// The stretch that is kept is the one that would be found, over a year in which the clocks go forward and back.
    #[test]
    fn a_stretch_that_is_kept_is_the_right_one() {
        let zone = |name: &str| name.parse().expect("a zone");
        let unit = CalendarUnit::Day;
        let days = ["Europe/Berlin", "Asia/Kathmandu", "America/St_Johns"]
            .map(|name| WindowKind::Calendar { unit, zone: zone(name) });
        let refilled = WindowKind::Credits { refill: Some(Refill { unit, zone: zone("Europe/Berlin") }) };
        let seconds = [45, 90, 3_600, 86_400];
        let kinds = seconds.map(|seconds| WindowKind::Fixed { seconds }).into_iter();
        let kinds = kinds.chain(seconds.map(|seconds| WindowKind::Sliding { seconds }));
        let kinds = kinds.chain(days).chain([refilled, WindowKind::Credits { refill: None }]);
        let of_window = |kind| LimitRule::new(None, Some(Window::new(1, kind).expect("a window"))).expect("a rule");
        let only_bucket = LimitRule::new(Some(Bucket::new(1, 1, 1).expect("a bucket")), None).expect("a rule");
        for rule in kinds.map(of_window).chain([only_bucket]) {
            let id = LimitId::from_uuid(Uuid::from_u128(1));
            let tenant_id = TenantId::from_uuid(Uuid::from_u128(3));
            let limit = Limit::new(tenant_id, id, LimitName::parse("daily").expect("a name"), (true, false), rule);
            let mut at = tronch_core::parse_timestamp("2026-01-01T00:00:00Z").expect("a time");
            for step in 0..20_000 {
                assert_eq!(limit.span(at.timestamp_millis()), rule.span(at), "{rule} {at}");
                at += TimeDelta::milliseconds(if step % 7 == 0 { -1_200_000 } else { 1_859_999 });
            }
        }
    }
}
