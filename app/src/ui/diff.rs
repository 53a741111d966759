//! Before and after, side by side. What changed is marked by sign, by ground and by weight.

use leptos::prelude::*;

/// One field: its name, what it was, what it is; `None` where it did not exist.
pub type DiffRow = (String, Option<String>, Option<String>);

/// The table of differences.
#[component]
pub fn Diff(rows: Vec<DiffRow>) -> impl IntoView {
    let rows: Vec<_> = rows.into_iter().map(row).collect();
    view! {
        <div class="diff" role="region" aria-label="Before and after" tabindex="0">
            <table>
                <thead>
                    <tr><th scope="col">"Field"</th><th scope="col">"Before"</th><th scope="col">"After"</th></tr>
                </thead>
                <tbody>{rows}</tbody>
            </table>
        </div>
    }
}

fn row((field, before, after): DiffRow) -> impl IntoView {
    let changed = before != after;
    view! {
        <tr class=changed.then_some("diff-changed")>
            <th scope="row">{field}</th>
            {cell(before, changed.then_some("diff-before"))}
            {cell(after, changed.then_some("diff-after"))}
        </tr>
    }
}

fn cell(value: Option<String>, mark: Option<&'static str>) -> impl IntoView {
    match value {
        Some(value) => view! { <td class=mark>{value}</td> },
        None => view! { <td class=Some("diff-none")>{"—".to_owned()}</td> },
    }
}
