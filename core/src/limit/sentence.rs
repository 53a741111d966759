//! A limit in a sentence that a person who has never seen one understands.

use std::fmt;

use super::{Bucket, LimitRule, Refill, Window, WindowKind};
use crate::time::duration_words;

/// "100 calls at once, then 10 a second; at most 50 000 a day, Europe/Berlin".
impl fmt::Display for LimitRule {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.bucket(), self.window()) {
            (Some(bucket), Some(window)) if matches!(window.kind(), WindowKind::Credits { .. }) => {
                write!(formatter, "{bucket}; {window}")
            }
            (Some(bucket), Some(window)) => write!(formatter, "{bucket}; at most {window}"),
            (Some(bucket), None) => write!(formatter, "{bucket}"),
            (None, Some(window)) if matches!(window.kind(), WindowKind::Credits { .. }) => {
                write!(formatter, "{window}")
            }
            (None, Some(window)) => write!(formatter, "At most {window}"),
            (None, None) => Ok(()),
        }
    }
}

impl fmt::Display for Bucket {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (capacity, refill) = (grouped(self.capacity()), grouped(self.refill().into()));
        let calls = if self.capacity() == 1 { "call" } else { "calls" };
        write!(formatter, "{capacity} {calls} at once, then {refill} {}", in_each(self.period_seconds()))
    }
}

impl fmt::Display for Window {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} ", grouped(self.total()))?;
        match self.kind() {
            WindowKind::Fixed { seconds } => formatter.write_str(&in_each(seconds)),
            WindowKind::Sliding { seconds } => write!(formatter, "in any {}", length(seconds)),
            WindowKind::Calendar { unit, zone } => write!(formatter, "a {}, {zone}", unit.as_str()),
            WindowKind::Credits { refill: None } => formatter.write_str("credits, then no more until some are added"),
            WindowKind::Credits { refill: Some(Refill { unit, zone }) } => {
                write!(formatter, "credits, filled up each {}, {zone}", unit.as_str())
            }
        }
    }
}

/// "a second", "every 90 seconds".
fn in_each(seconds: u32) -> String {
    match length(seconds).split_once(' ') {
        Some(_) => format!("every {}", length(seconds)),
        None if seconds == 3600 => "an hour".to_owned(),
        None => format!("a {}", length(seconds)),
    }
}

/// "second", "90 seconds".
fn length(seconds: u32) -> String {
    let words = duration_words(seconds);
    words.strip_prefix("1 ").map_or(words.clone(), ToOwned::to_owned)
}

/// "50 000", with spaces that do not break.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push('\u{a0}');
        }
        text.push(digit);
    }
    text
}
