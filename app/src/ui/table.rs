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

/// How many rows there are, as far as one page knows, and the way to the pages before and after.
#[component]
pub fn Pager(
    /// Rows of this page.
    rows: usize,
    /// What they are: one, and several.
    of: (&'static str, &'static str),
    /// Whether the list begins with this page.
    begins: bool,
    #[prop(default = None)] previous: Option<String>,
    #[prop(default = None)] next: Option<String>,
) -> impl IntoView {
    let summary = how_many(rows, of, begins, next.is_some());
    let links = (previous.is_some() || next.is_some()).then(|| {
        view! {
            <nav aria-label="Pages">
                {previous.map(|href| view! { <a class="button small" rel="prev" href=href>"Previous"</a> })}
                {next.map(|href| view! { <a class="button small" rel="next" href=href>"Next"</a> })}
            </nav>
        }
    });
    view! { <div class="pager"><span>{summary}</span> {links}</div> }
}

/// A list that is read page by page is never counted, so only one that fits on its first page has a whole number.
fn how_many(rows: usize, (one, several): (&str, &str), begins: bool, goes_on: bool) -> String {
    let noun = if rows == 1 { one } else { several };
    match (begins, goes_on) {
        (true, false) => format!("{rows} {noun}"),
        (_, true) => format!("{rows} {noun} on this page, more follow"),
        (false, false) => format!("{rows} {noun} on this page, which is the last"),
    }
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

#[cfg(test)]
mod tests {
    use super::how_many;

    #[test]
    fn only_a_list_on_one_page_has_a_whole_number() {
        let table = [
            (1, true, false, "1 key"),
            (7, true, false, "7 keys"),
            (25, true, true, "25 keys on this page, more follow"),
            (25, false, true, "25 keys on this page, more follow"),
            (1, false, false, "1 key on this page, which is the last"),
        ];
        for (rows, begins, goes_on, expected) in table {
            assert_eq!(how_many(rows, ("key", "keys"), begins, goes_on), expected);
        }
    }
}
