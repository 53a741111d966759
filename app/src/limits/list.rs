//! The list of all limits, and how a limit's place is said.

use std::collections::HashMap;

use leptos::prelude::*;
use leptos_meta::Title;
use leptos_router::hooks::use_query_map;
use tronch_core::bounds::PAGE_SIZE_DEFAULT;
use tronch_core::{LimitId, LimitOn, LimitView, Permission, Reading, TenantSlug};
use tronch_engine::limits::{LimitFilter, list_limits};

use super::limit::left_words;
use crate::layout::TenantLayout;
use crate::server_context::{page, tenant};
use crate::ui::button::LinkButton;
use crate::ui::chart::grouped;
use crate::ui::empty::EmptyState;
use crate::ui::icons::IconName;
use crate::ui::notice::Notice;
use crate::ui::page_head::PageHead;
use crate::ui::table::{Pager, TableWrap};

/// The tenant's limits, the newest first.
#[component]
pub(crate) fn LimitsPage() -> impl IntoView {
    let tenant = tenant();
    let (cursor, did) = use_query_map().with(|map| (map.get("cursor"), map.get("did")));
    page(async move {
        let tenant = tenant?;
        let found = list_limits(&tenant, &LimitFilter::default(), cursor.as_deref(), PAGE_SIZE_DEFAULT).await?;
        let slug = tenant.slug().clone();
        let may_write = tenant.allows(Permission::LimitsWrite);
        let new = format!("/t/{slug}/limits/new");
        let create = may_write.then(|| {
            view! { <LinkButton href=new.clone() label="Set a limit" look="primary" icon=IconName::Plus /> }
        });
        let next = found.next_cursor.as_ref().map(|cursor| {
            let query = form_urlencoded::Serializer::new(String::new()).append_pair("cursor", cursor).finish();
            format!("/t/{slug}/limits?{query}")
        });
        let count = found.items.len();
        let list = if found.items.is_empty() && cursor.is_none() {
            view! {
                <EmptyState
                    icon=IconName::Clock
                    title="No limits yet"
                    sentence="Keys may be used as often as anybody likes. Set a limit on a project's keys, on an owner, or on the page of one key."
                    action=may_write.then(|| (new, "Set a limit".to_owned()))
                />
            }
            .into_any()
        } else {
            view! {
                <LimitTable slug=slug.clone() limits=found.items />
                <Pager rows=count of=("limit", "limits") begins=cursor.is_none() next />
            }
            .into_any()
        };
        Ok(view! {
            <Title text="Limits" />
            <TenantLayout here="limits">
                <PageHead title="Limits" subtitle="How much keys may be used, and whatever else services ask about.">{create}</PageHead>
                {did.as_deref().and_then(said).map(|said| view! { <Notice look="ok" role="status">{said}</Notice> })}
                {list}
            </TenantLayout>
        }
        .into_any())
    })
}

/// What a 303 came from.
pub(super) fn said(did: &str) -> Option<&'static str> {
    Some(match did {
        "limited" => "The limit is set.",
        "limit-changed" => "The limit is changed.",
        "limit-removed" => "The limit is removed.",
        "credited" => "The credits are added.",
        _ => return None,
    })
}

/// Some limits in a table.
#[component]
pub(super) fn LimitTable(
    slug: TenantSlug,
    limits: Vec<LimitView>,
    /// Of a key: what is left to it.
    #[prop(optional)]
    left: Option<HashMap<LimitId, Reading>>,
) -> impl IntoView {
    let shows_left = left.is_some();
    let rows: Vec<_> = limits
        .iter()
        .map(|limit| {
            let href = format!("/t/{slug}/limits/{}", limit.id);
            let charged = if limit.is_automatic { "each call" } else { "when named" };
            view! {
                <tr>
                    <td data-label="Limit"><a class="row-link mono" href=href>{limit.name.to_string()}</a></td>
                    <td data-label="Counts">{on_words(&slug, limit)}</td>
                    <td data-label="Rule" class="words">{limit.rule.to_string()}</td>
                    <td data-label="Charged">{charged}</td>
                    {left.as_ref().map(|left| view! { <td data-label="Left">{left_cell(limit, left)}</td> })}
                </tr>
            }
        })
        .collect();
    view! {
        <TableWrap label="Limits">
            <table class="table cards">
                <thead>
                    <tr>
                        <th scope="col">"Limit"</th>
                        <th scope="col">"Counts"</th>
                        <th scope="col">"Rule"</th>
                        <th scope="col">"Charged"</th>
                        {shows_left.then(|| view! { <th scope="col">"Left"</th> })}
                    </tr>
                </thead>
                <tbody>{rows}</tbody>
            </table>
        </TableWrap>
    }
}

/// What is left of a total; of a burst only verdicts tell.
fn left_cell(limit: &LimitView, left: &HashMap<LimitId, Reading>) -> AnyView {
    match (limit.rule.window(), left.get(&limit.id)) {
        (None, _) => view! { <span class="muted">"a burst"</span> }.into_any(),
        (Some(_), Some(reading)) => left_words(reading),
        (Some(window), None) => view! { <span>"all " {grouped(window.total())}</span> }.into_any(),
    }
}

/// Whose calls it counts, with the way there.
pub(super) fn on_words(slug: &TenantSlug, limit: &LimitView) -> AnyView {
    let href = place_of(slug, limit);
    match &limit.on {
        LimitOn::Key(_) => {
            let name = limit.key_name.as_ref().map_or_else(|| "one key".to_owned(), ToString::to_string);
            view! { <span>"the key " <a href=href>{name}</a></span> }.into_any()
        }
        LimitOn::Owner(owner) => {
            view! { <span>"all keys of " <a href=href><code>{owner.to_string()}</code></a> " together"</span> }
                .into_any()
        }
        LimitOn::Namespace { namespace, identifiers } if identifiers.as_str() == "*" => {
            view! { <span>"each identifier of " <code>{namespace.to_string()}</code></span> }.into_any()
        }
        LimitOn::Namespace { namespace, identifiers } => {
            let identifiers = view! { <code>{identifiers.to_string()}</code> };
            view! { <span>{identifiers} " of " <code>{namespace.to_string()}</code></span> }.into_any()
        }
        LimitOn::Project { project, environment } => {
            let environment = environment.map(|environment| format!(", {environment}"));
            view! { <span>"each key of " <a href=href><code>{project.to_string()}</code></a> {environment}</span> }
                .into_any()
        }
    }
}

/// Where that is shown.
pub(super) fn place_of(slug: &TenantSlug, limit: &LimitView) -> String {
    match &limit.on {
        LimitOn::Key(key_id) => format!("/t/{slug}/keys/{key_id}"),
        LimitOn::Project { project, .. } => format!("/t/{slug}/projects/{project}"),
        LimitOn::Namespace { .. } => format!("/t/{slug}/limits"),
        LimitOn::Owner(owner) => {
            let query = form_urlencoded::Serializer::new(String::new()).append_pair("owner", owner.as_str()).finish();
            format!("/t/{slug}/keys?{query}")
        }
    }
}
