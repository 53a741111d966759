//! The chart of calls by verdict over time.

use leptos::prelude::*;
use tronch_core::{Timestamp, UsagePoint, VerdictCode};
use tronch_engine::usage::Span;

use super::span::words_of_span;
use crate::ui::chart::{Bucket, Series, StackedBars};

/// How calls ended over time; only verdicts that occurred have a colour in the legend.
#[component]
pub(crate) fn UsageChart(
    #[prop(into)] title: String,
    points: Vec<UsagePoint>,
    span: Span,
    /// How calls that passed are called, if not "Valid".
    #[prop(optional)]
    passed: Option<&'static str>,
) -> impl IntoView {
    let codes = occurred(&points);
    let named = |code: VerdictCode| match passed {
        Some(passed) if code.is_valid() => passed.to_owned(),
        _ => label(code),
    };
    let series = codes.iter().map(|code| Series { label: named(*code), class: class(*code) }).collect();
    let buckets = points
        .iter()
        .map(|point| Bucket {
            label: time_label(point.at, span),
            values: codes.iter().map(|code| count(point, *code)).collect(),
        })
        .collect();
    let no_data = format!("No call in {}.", words_of_span(span));
    view! { <StackedBars title series buckets no_data /> }
}

/// The verdicts that were given, VALID at the foot of each bar and the others in the order of the checks.
fn occurred(points: &[UsagePoint]) -> Vec<VerdictCode> {
    let mut codes: Vec<VerdictCode> = points.iter().flat_map(|point| &point.counts).map(|(code, _)| *code).collect();
    codes.sort_unstable_by_key(|code| (!code.is_valid(), *code));
    codes.dedup();
    codes
}

pub(super) fn count(point: &UsagePoint, code: VerdictCode) -> u64 {
    point.counts.iter().filter(|(counted, _)| *counted == code).map(|(_, count)| count).sum()
}

/// `RATE_LIMITED` as "Rate limited".
pub(super) fn label(code: VerdictCode) -> String {
    let words = code.as_str().replace('_', " ");
    let (first, rest) = words.split_at(1);
    format!("{first}{}", rest.to_lowercase())
}

/// The colour of a verdict, by its class in `style/06-data.css`.
pub(super) fn class(code: VerdictCode) -> &'static str {
    match code {
        VerdictCode::Malformed => "v-malformed",
        VerdictCode::NotFound => "v-not-found",
        VerdictCode::Revoked => "v-revoked",
        VerdictCode::Disabled => "v-disabled",
        VerdictCode::Expired => "v-expired",
        VerdictCode::EnvironmentMismatch => "v-environment-mismatch",
        VerdictCode::IpNotAllowed => "v-ip-not-allowed",
        VerdictCode::SignatureRequired => "v-signature-required",
        VerdictCode::SignatureInvalid => "v-signature-invalid",
        VerdictCode::InsufficientPermissions => "v-insufficient-permissions",
        VerdictCode::RateLimited => "v-rate-limited",
        VerdictCode::QuotaExceeded => "v-quota-exceeded",
        VerdictCode::Valid => "v-valid",
    }
}

/// Where a bar begins, in UTC, as short as the span allows.
fn time_label(at: Timestamp, span: Span) -> String {
    let form = match span {
        Span::Hour | Span::Day => "%H:%M",
        Span::Week => "%-d %b %H:%M",
        Span::Month => "%-d %b",
    };
    at.format(form).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        tronch_core::parse_timestamp(text).expect("a time")
    }

    #[test]
    fn a_bar_is_named_after_its_beginning() {
        let time = at("2027-02-03T06:05:00Z");
        let labels = Span::ALL.map(|span| time_label(time, span));
        assert_eq!(labels, ["06:05", "06:05", "3 Feb 06:05", "3 Feb"]);
    }

    #[test]
    fn valid_calls_stand_at_the_foot_and_what_did_not_occur_is_left_out() {
        let point =
            |counts: &[(VerdictCode, u64)]| UsagePoint { at: at("2027-02-03T06:05:00Z"), counts: counts.to_vec() };
        let points = [
            point(&[(VerdictCode::Revoked, 1), (VerdictCode::Valid, 2)]),
            point(&[(VerdictCode::Malformed, 4), (VerdictCode::Valid, 3)]),
        ];
        assert_eq!(occurred(&points), [VerdictCode::Valid, VerdictCode::Malformed, VerdictCode::Revoked]);
        assert_eq!(count(&points[1], VerdictCode::Malformed), 4);
        assert_eq!(count(&points[0], VerdictCode::Malformed), 0);
    }

    #[test]
    fn verdicts_are_words_for_people() {
        assert_eq!(label(VerdictCode::EnvironmentMismatch), "Environment mismatch");
        assert_eq!(label(VerdictCode::Valid), "Valid");
    }
}
