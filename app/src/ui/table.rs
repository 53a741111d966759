//! What surrounds the rows of a table: its scrolling frame, heads that sort, the way to other pages.

use leptos::prelude::*;

use super::icons::{Icon, IconName};

/// The frame around a table; reachable by keyboard because it may scroll sideways.
#[component]
pub fn TableWrap(#[prop(into)] label: String, children: Children) -> impl IntoView {
    view! { <div class="table-wrap" role="region" aria-label=label tabindex="0">{children()}</div> }
}

/// How a column is sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SortDirection {
    Ascending,
    Descending,
}

/// The head of a column that sorts: a link to the address that `href` makes of column and direction.
#[component]
pub fn SortHead(
    #[prop(into)] label: String,
    column: &'static str,
    /// The column sorted by now, and how.
    current: (String, SortDirection),
    /// What a first click asks for; a second turns it round.
    #[prop(default = SortDirection::Ascending)]
    first: SortDirection,
    #[prop(into)] href: Callback<(&'static str, SortDirection), String>,
    /// `number`, or nothing.
    #[prop(default = "")]
    class: &'static str,
) -> impl IntoView {
    let sorted = (current.0 == column).then_some(current.1);
    let next = match sorted {
        Some(SortDirection::Ascending) => SortDirection::Descending,
        Some(SortDirection::Descending) => SortDirection::Ascending,
        None => first,
    };
    let state = sorted.map(|direction| match direction {
        SortDirection::Ascending => "ascending",
        SortDirection::Descending => "descending",
    });
    view! { <th scope="col" class=class aria-sort=state><a class="sort" href=href.run((column, next))>{label}</a></th> }
}

/// To the pages before and after; nothing where there is only one.
#[component]
pub fn Pager(
    #[prop(default = None)] previous: Option<String>,
    #[prop(default = None)] next: Option<String>,
    /// How much is shown, such as "50 of 1 204".
    #[prop(optional, into)]
    summary: Option<String>,
) -> impl IntoView {
    (previous.is_some() || next.is_some() || summary.is_some()).then(|| {
        view! {
            <nav class="pager" aria-label="Pages">
                <span>{summary}</span>
                {previous.map(|href| view! { <a class="button small" rel="prev" href=href>"Previous"</a> })}
                {next.map(|href| view! { <a class="button small" rel="next" href=href>"Next"</a> })}
            </nav>
        }
    })
}

/// A filter that is on: what it is, its value, and the address without it.
#[component]
pub fn Chip(
    #[prop(into)] label: String,
    #[prop(into)] value: String,
    #[prop(into)] remove_href: String,
) -> impl IntoView {
    let remove = format!("Remove the filter {label} {value}");
    view! {
        <a class="chip" href=remove_href aria-label=remove>
            <span>{label}</span>
            " " <b class="truncate">{value}</b>
            <Icon name=IconName::X />
        </a>
    }
}
