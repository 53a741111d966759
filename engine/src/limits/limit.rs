//! A limit as calls are charged to it: its rule, what time it is for it, and how many calls it let pass.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tronch_core::{LimitId, LimitName, LimitRule, LimitTime, Refill, Span, TenantId, Timestamp, Window, WindowKind};

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
    /// The stretch of the calendar that was found last: its first minute since 1970, and the first of the next. To find one takes
    /// longer than all else that a charge does.
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
        self.time_on(now, clock::at(now))
    }

    /// The same, where the date is known already.
    pub(crate) fn time_on(&self, now: Moment, date: Timestamp) -> LimitTime {
        LimitTime { passed: Duration::from_nanos(now.as_nanos()), now: date, span: self.span(date) }
    }

    fn span(&self, at: Timestamp) -> Span {
        let of_calendar = matches!(
            self.rule.window().map(Window::kind),
            Some(WindowKind::Calendar { .. } | WindowKind::Credits { refill: Some(Refill { .. }) })
        );
        if !of_calendar {
            return self.rule.span(at);
        }
        let held = self.stretch.load(Ordering::Relaxed);
        let minutes = |minutes: u64| Timestamp::from_timestamp(i64::try_from(minutes).unwrap_or(0) * 60, 0);
        if let (Some(start), Some(end)) = (minutes(held >> 32), minutes(held & u64::from(u32::MAX)))
            && start <= at
            && at < end
        {
            return Span { start, end };
        }
        let span = self.rule.span(at);
        // In zones of today stretches begin at whole minutes; one that does not is found anew each time.
        let whole = |at: Timestamp| {
            let is_whole = at.timestamp() % 60 == 0 && at.timestamp_subsec_nanos() == 0;
            is_whole.then(|| u32::try_from(at.timestamp() / 60).ok()).flatten()
        };
        if let (Some(start), Some(end)) = (whole(span.start), whole(span.end)) {
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
    use uuid::Uuid;

    use super::*;

    /// The stretch that is kept is the one that would be found, over a year in which the clocks go forward and back.
    #[test]
    fn a_stretch_that_is_kept_is_the_right_one() {
        for zone in ["Europe/Berlin", "Asia/Kathmandu", "America/St_Johns"] {
            let kind =
                WindowKind::Calendar { unit: tronch_core::CalendarUnit::Day, zone: zone.parse().expect("a zone") };
            let rule = LimitRule::new(None, Some(Window::new(1, kind).expect("a window"))).expect("a rule");
            let id = LimitId::from_uuid(Uuid::from_u128(1));
            let tenant_id = TenantId::from_uuid(Uuid::from_u128(3));
            let limit = Limit::new(tenant_id, id, LimitName::parse("daily").expect("a name"), (true, false), rule);
            let mut at = tronch_core::parse_timestamp("2026-01-01T00:00:00Z").expect("a time");
            for step in 0..20_000 {
                assert_eq!(limit.span(at), rule.span(at), "{zone} {at}");
                at += TimeDelta::minutes(if step % 7 == 0 { -20 } else { 31 });
            }
        }
    }
}
