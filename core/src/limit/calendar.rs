//! Days, weeks and months as the clocks on a zone's walls say. Where those jump, a day is shorter or longer; no moment is in two
//! stretches or in none.

use std::fmt;
use std::str::FromStr;

use chrono::{Datelike as _, Days, Months, NaiveDate, TimeDelta, TimeZone as _, Utc};

use super::window::Span;
use crate::time::Timestamp;

/// A stretch of the calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CalendarUnit {
    /// From midnight.
    Day,
    /// From Monday.
    Week,
    /// From the first.
    Month,
}

impl CalendarUnit {
    /// Each.
    pub const ALL: [Self; 3] = [Self::Day, Self::Week, Self::Month];

    /// The wire form.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
        }
    }

    fn first_day(self, date: NaiveDate) -> NaiveDate {
        let first = match self {
            Self::Day => Some(date),
            Self::Week => date.checked_sub_days(Days::new(date.weekday().num_days_from_monday().into())),
            Self::Month => date.with_day(1),
        };
        first.unwrap_or(date)
    }

    fn next_first_day(self, first: NaiveDate) -> NaiveDate {
        let next = match self {
            Self::Day => first.succ_opt(),
            Self::Week => first.checked_add_days(Days::new(7)),
            Self::Month => first.checked_add_months(Months::new(1)),
        };
        next.unwrap_or(first)
    }
}

/// The text is no unit of the calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a unit of the calendar is day, week or month")]
pub struct ParseCalendarUnitError;

impl FromStr for CalendarUnit {
    type Err = ParseCalendarUnitError;

    fn from_str(text: &str) -> Result<Self, ParseCalendarUnitError> {
        Self::ALL.into_iter().find(|unit| unit.as_str() == text).ok_or(ParseCalendarUnitError)
    }
}

/// A time zone of the IANA database, such as `Europe/Berlin`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TimeZone(chrono_tz::Tz);

impl TimeZone {
    /// Where days are days of UTC.
    pub const UTC: Self = Self(chrono_tz::Tz::UTC);

    /// Its name.
    pub fn as_str(self) -> &'static str {
        self.0.name()
    }

    /// The stretch that a moment lies in.
    pub(super) fn span(self, unit: CalendarUnit, at: Timestamp) -> Span {
        let first = unit.first_day(at.with_timezone(&self.0).date_naive());
        let start = self.begin_of(first);
        // Where the clocks go back over midnight, the day before goes on for a while on a day that had begun.
        if at < start {
            let earlier = unit.first_day(first.pred_opt().unwrap_or(first));
            return Span::between(self.begin_of(earlier), start);
        }
        let end = self.begin_of(unit.next_first_day(first));
        if at < end {
            Span::between(start, end)
        } else {
            Span::between(end, self.begin_of(unit.next_first_day(unit.next_first_day(first))))
        }
    }

    /// The first moment of a day: of two midnights the first, and where there is none, the first moment after it.
    fn begin_of(self, date: NaiveDate) -> Timestamp {
        let midnight = date.and_time(chrono::NaiveTime::MIN);
        // Clocks have never jumped by more than a day.
        let later = (0..=24 * 4).map(|quarters| midnight + TimeDelta::minutes(15 * quarters));
        let exists = |local| self.0.from_local_datetime(&local).earliest();
        let Some(found) = later.clone().find_map(exists) else { return Utc.from_utc_datetime(&midnight) };
        found.with_timezone(&Utc)
    }
}

impl fmt::Display for TimeZone {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

/// The text names no time zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a time zone is a name of the IANA database, such as Europe/Berlin or UTC")]
pub struct ParseTimeZoneError;

impl FromStr for TimeZone {
    type Err = ParseTimeZoneError;

    fn from_str(text: &str) -> Result<Self, ParseTimeZoneError> {
        text.parse().map(Self).map_err(|_| ParseTimeZoneError)
    }
}
