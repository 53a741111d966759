//! What a span of usage adds up to: a row of figures, and a table that says what each verdict means.

use leptos::prelude::*;
use tronch_core::{UsagePoint, VerdictCode};
use tronch_engine::usage::Span;

use super::chart::{class, count, label};
use crate::ui::chart::{ColourKey, grouped};
use crate::ui::table::TableWrap;

/// All calls, those that passed, those that were refused, and the busiest step.
#[component]
pub(crate) fn Totals(
    points: Vec<UsagePoint>,
    span: Span,
    /// Which calls, if not all about keys.
    #[prop(default = "keys asked about")]
    of: &'static str,
) -> impl IntoView {
    let all = total(&points);
    let valid: u64 = points.iter().map(|point| count(point, VerdictCode::Valid)).sum();
    let peak = points.iter().map(|point| total(std::slice::from_ref(point))).max().unwrap_or(0);
    let step = match span {
        Span::Hour => "in one minute",
        Span::Day => "in one hour",
        Span::Week => "in six hours",
        Span::Month => "in one day",
    };
    view! {
        <ul class="stats">
            <Stat label="Calls" value=all note=of.to_owned() />
            <Stat label="Passed" value=valid note=format!("{} of all calls", percent(valid, all)) />
            <Stat label="Refused" value=all - valid note=format!("{} of all calls", percent(all - valid, all)) />
            <Stat label="Peak" value=peak note=step.to_owned() />
        </ul>
    }
}

#[component]
fn Stat(label: &'static str, value: u64, note: String) -> impl IntoView {
    view! {
        <li class="stat">
            <span class="stat-label">{label}</span>
            <span class="stat-value">{grouped(value)}</span>
            <span class="stat-note">{note}</span>
        </li>
    }
}

/// Each verdict that was given: what it means, how often, and its share. The most frequent first.
#[component]
pub(crate) fn VerdictTable(points: Vec<UsagePoint>) -> impl IntoView {
    let all = total(&points);
    let mut counts: Vec<(VerdictCode, u64)> = VerdictCode::ALL
        .into_iter()
        .map(|code| (code, points.iter().map(|point| count(point, code)).sum()))
        .filter(|(_, count)| *count > 0)
        .collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let rows: Vec<_> = counts
        .into_iter()
        .map(|(code, count)| {
            view! {
                <tr>
                    <td data-label="Verdict">
                        <span class="row nowrap"><ColourKey class=class(code) /> <b>{label(code)}</b></span>
                    </td>
                    <td data-label="Means">{code.sentence()}</td>
                    <td data-label="Calls" class="number">{grouped(count)}</td>
                    <td data-label="Share" class="number">{percent(count, all)}</td>
                </tr>
            }
        })
        .collect();
    view! {
        <TableWrap label="How calls ended">
            <table class="table cards">
                <thead>
                    <tr>
                        <th scope="col">"Verdict"</th>
                        <th scope="col">"Means"</th>
                        <th scope="col" class="number">"Calls"</th>
                        <th scope="col" class="number">"Share"</th>
                    </tr>
                </thead>
                <tbody>{rows}</tbody>
            </table>
        </TableWrap>
    }
}

/// All calls of all points.
pub(crate) fn total(points: &[UsagePoint]) -> u64 {
    points.iter().flat_map(|point| &point.counts).map(|(_, count)| count).sum()
}

/// Rounded to one decimal. What is not all is never shown as 100 %, what is not nothing never as 0 %.
fn percent(part: u64, whole: u64) -> String {
    let (part, whole) = (u128::from(part), u128::from(whole.max(1)));
    let permille = (part * 2000 + whole) / (whole * 2);
    let permille = if part < whole { permille.min(999) } else { permille };
    match permille {
        0 if part > 0 => "< 0.1 %".to_owned(),
        0 => "0 %".to_owned(),
        1000 => "100 %".to_owned(),
        _ => format!("{}.{} %", permille / 10, permille % 10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_rounded_and_never_hides_what_there_is() {
        let table = [
            (0, 0, "0 %"),
            (0, 7, "0 %"),
            (1, 100_000, "< 0.1 %"),
            (1, 3, "33.3 %"),
            (2, 3, "66.7 %"),
            (999_999, 1_000_000, "99.9 %"),
            (7, 7, "100 %"),
            (u64::MAX, u64::MAX, "100 %"),
        ];
        for (part, whole, expected) in table {
            assert_eq!(percent(part, whole), expected, "{part} of {whole}");
        }
    }
}
