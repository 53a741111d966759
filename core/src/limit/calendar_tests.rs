//! The calendar: no moment is in two stretches or in none, and the stretches are those on the wall.

use chrono::TimeDelta;
use proptest::prelude::*;

use super::tests::{at, zone};
use super::{CalendarUnit, Span};
use crate::time::Timestamp;

proptest! {
    /// Every moment is in one stretch, and the stretches follow each other.
    #[test]
    fn no_moment_is_in_two_stretches_or_in_none(place in 0..chrono_tz::TZ_VARIANTS.len(), unit in 0..3_usize, second in 0..4_000_000_000_i64) {
        let zone = zone(chrono_tz::TZ_VARIANTS[place].name());
        let now = Timestamp::from_timestamp(second, 0).expect("a time");
        let span = |at| zone.span(CalendarUnit::ALL[unit], at);
        let this = span(now);
        prop_assert!(this.start() <= now && now < this.end(), "{zone}: {this:?} at {now}");
        let instant = TimeDelta::microseconds(1);
        for at in [this.start(), this.end() - instant] {
            prop_assert_eq!(span(at), this);
        }
        prop_assert_eq!(span(this.end()).start(), this.end());
        prop_assert_eq!(span(this.start() - instant).end(), this.start());
    }
}

/// Thirty years of some zones whose clocks have jumped at midnight, by half hours, and by a day.
#[test]
fn the_stretches_of_odd_zones_follow_each_other() {
    for name in
        ["America/Sao_Paulo", "Asia/Beirut", "Pacific/Apia", "Australia/Lord_Howe", "America/St_Johns", "Africa/Cairo"]
    {
        for unit in CalendarUnit::ALL {
            let mut at = at("2000-01-01T12:00:00Z");
            while at < self::at("2030-01-01T00:00:00Z") {
                let span = zone(name).span(unit, at);
                assert!(span.start() <= at && at < span.end(), "{name} {span:?}");
                assert!(span.holds(at.timestamp_millis()) && span.seconds() >= 22 * 3_600, "{name} {span:?}");
                assert_eq!(zone(name).span(unit, span.end()).start(), span.end(), "{name}");
                at = span.end();
            }
        }
    }
}

#[test]
fn the_calendar_is_the_one_on_the_wall() {
    let span = |zone_name: &str, unit, text: &str| {
        let span: Span = zone(zone_name).span(unit, at(text));
        [span.start(), span.end()].map(crate::time::format_timestamp)
    };
    for (name, unit, now, start, end) in [
        (
            "Europe/Berlin",
            CalendarUnit::Day,
            "2026-03-29T12:00:00Z",
            "2026-03-28T23:00:00.000Z",
            "2026-03-29T22:00:00.000Z",
        ),
        (
            "Europe/Berlin",
            CalendarUnit::Day,
            "2026-10-25T12:00:00Z",
            "2026-10-24T22:00:00.000Z",
            "2026-10-25T23:00:00.000Z",
        ),
        (
            "Europe/Berlin",
            CalendarUnit::Week,
            "2026-11-26T12:00:00Z",
            "2026-11-22T23:00:00.000Z",
            "2026-11-29T23:00:00.000Z",
        ),
        ("UTC", CalendarUnit::Month, "2028-02-29T23:59:59Z", "2028-02-01T00:00:00.000Z", "2028-03-01T00:00:00.000Z"),
        (
            "America/New_York",
            CalendarUnit::Month,
            "2026-12-01T04:59:59Z",
            "2026-11-01T04:00:00.000Z",
            "2026-12-01T05:00:00.000Z",
        ),
        // The thirtieth never came.
        (
            "Pacific/Apia",
            CalendarUnit::Day,
            "2011-12-30T09:00:00Z",
            "2011-12-29T10:00:00.000Z",
            "2011-12-30T10:00:00.000Z",
        ),
        (
            "Pacific/Apia",
            CalendarUnit::Day,
            "2011-12-30T10:00:00Z",
            "2011-12-30T10:00:00.000Z",
            "2011-12-31T10:00:00.000Z",
        ),
    ] {
        assert_eq!(span(name, unit, now), [start, end], "{name} {now}");
    }
}
