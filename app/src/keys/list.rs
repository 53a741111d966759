//! The table of keys: filters, search, orders and pages, all in the address.

use std::collections::BTreeMap;

use leptos::prelude::*;
use leptos_meta::Title;
use leptos_router::hooks::use_query_map;
use tronch_core::{
    CallsOfTheDay, Environment, KeyId, KeyView, Page, Permission, ProjectView, TenantSlug, Timestamp, UsagePoint,
    key_health,
};
use tronch_engine::usage::{Span, usage_of_keys};
use tronch_engine::{Error, Tenant, keys, projects};

use super::bulk::BULK_ACTIONS;
use super::fields::{environment_badge, health_badge, whole_handle};
use super::health::health_words;
use super::query::{KeysQuery, STATUSES};
use super::revoke_all::address_for;
use crate::confirmed::confirmed_sentence;
use crate::form_state::sentence_of;
use crate::layout::TenantLayout;
use crate::server_context::{now, page, tenant};
use crate::ui::button::{LinkButton, SubmitButton};
use crate::ui::chart::{MiniBars, grouped};
use crate::ui::empty::EmptyState;
use crate::ui::field::{SelectField, TextField};
use crate::ui::icons::IconName;
use crate::ui::islands::{ChooseAll, CopyButton, LocalTime};
use crate::ui::notice::Notice;
use crate::ui::page_head::PageHead;
use crate::ui::table::{Chip, Pager, SortDirection, SortHead, TableWrap};

/// All keys, or those the address asks for.
#[component]
pub(crate) fn KeysPage() -> impl IntoView {
    let tenant = tenant();
    let (did, confirmed) = use_query_map().with(|map| (map.get("did"), confirmed_sentence(map)));
    let query = use_query_map().with(|map| {
        let names = ["q", "project", "environment", "status", "owner", "sort", "cursor", "before"];
        let pairs: Vec<_> = names.iter().filter_map(|name| Some(((*name).to_owned(), map.get(name)?))).collect();
        KeysQuery::of_pairs(&pairs)
    });
    page(async move {
        let tenant = tenant?;
        let projects =
            if tenant.allows(Permission::ProjectsRead) { projects::list_open_projects(&tenant).await? } else { vec![] };
        let found = listed(&tenant, &query).await?;
        let slug = tenant.slug().clone();
        let new_key = tenant.allows(Permission::KeysCreate).then(|| {
            view! { <LinkButton href=format!("/t/{slug}/keys/new") label="Create key" look="primary" icon=IconName::Plus /> }
        });
        let rows = match found {
            Ok(found) => {
                let usage = usage_of_page(&tenant, &found).await?;
                results(&tenant, &query, found, &usage, projects.len() > 1).into_any()
            }
            Err(sentence) => {
                let all = format!("/t/{slug}/keys");
                view! { <Notice look="bad" role="alert">{sentence} " " <a href=all>"Show all keys"</a></Notice> }
                    .into_any()
            }
        };
        Ok(view! {
            <Title text="Keys" />
            <TenantLayout here="keys">
                <PageHead title="Keys" subtitle="What you hand to your customers.">{new_key}</PageHead>
                {did.as_deref().and_then(said).map(|said| view! { <Notice look="ok" role="status">{said} " " {confirmed}</Notice> })}
                {filters(&slug, &query, &projects)}
                {chips(&slug, &query)}
                {rows}
            </TenantLayout>
        }
        .into_any())
    })
}

/// What a 303 from a change of several keys came from, such as `revoked-3`; anything else says nothing.
fn said(did: &str) -> Option<String> {
    let (done, count) = did.split_once('-')?;
    let count: usize = count.parse().ok()?;
    let keys = match count {
        0 => "No key was".to_owned(),
        1 => "One key was".to_owned(),
        count => format!("{count} keys were"),
    };
    match done {
        "disabled" | "enabled" | "revoked" => Some(format!("{keys} {done}.")),
        _ => None,
    }
}

/// A filter that cannot be taken is a sentence above an empty table, not another page.
async fn listed(tenant: &Tenant, query: &KeysQuery) -> Result<Result<Page<KeyView>, String>, Error> {
    let outcome = match query.filter() {
        Ok(filter) => keys::list_keys(tenant, &filter).await,
        Err(error) => Err(error),
    };
    match outcome {
        Ok(found) => Ok(Ok(found)),
        Err(error @ (Error::Invalid { .. } | Error::InvalidCursor)) => Ok(Err(sentence_of(&error))),
        Err(error) => Err(error),
    }
}

fn filters(slug: &TenantSlug, query: &KeysQuery, projects: &[ProjectView]) -> impl IntoView + use<> {
    let any = |label: &str| vec![(String::new(), label.to_owned())];
    let chosen = |value: &Option<String>| value.clone().unwrap_or_default();
    let mut environments = any("Any");
    environments.extend(Environment::ALL.iter().map(|one| (one.as_str().to_owned(), one.as_str().to_owned())));
    let mut states = any("Any");
    states.extend(STATUSES.iter().map(|(word, label, _)| ((*word).to_owned(), (*label).to_owned())));
    let project = (projects.len() > 1).then(|| {
        let mut options = any("Any");
        options.extend(projects.iter().map(|one| (one.slug.to_string(), one.name.to_string())));
        view! { <SelectField name="project" label="Project" value=chosen(&query.project) options /> }
    });
    view! {
        <form class="filters" method="post" action=format!("/t/{slug}/keys/search") role="search">
            <input type="hidden" name="sort" value=query.sort.clone() />
            <TextField
                name="q"
                label="Search"
                value=chosen(&query.search)
                input_type="search"
                placeholder="Name, owner, handle or a pasted key"
                required=false
            />
            {project}
            <SelectField name="environment" label="Environment" value=chosen(&query.environment) options=environments />
            <SelectField name="status" label="Status" value=chosen(&query.status) options=states />
            <TextField name="owner" label="Owner" value=chosen(&query.owner) placeholder="cus_42" />
            <SubmitButton label="Search" look="" icon=IconName::Search />
        </form>
    }
}

fn chips(slug: &TenantSlug, query: &KeysQuery) -> impl IntoView + use<> {
    let chips: Vec<_> = [
        ("q", "Search", &query.search),
        ("project", "Project", &query.project),
        ("environment", "Environment", &query.environment),
        ("status", "Status", &query.status),
        ("owner", "Owner", &query.owner),
    ]
    .into_iter()
    .filter_map(|(name, label, value)| {
        let value = value.clone()?;
        Some(view! { <Chip label=label value remove_href=query.without(name).address(slug) /> })
    })
    .collect();
    (!chips.is_empty()).then(|| view! { <div class="chips">{chips}</div> })
}

/// How the calls about each key of a page ended in the last 24 hours, for those who may see it.
async fn usage_of_page(tenant: &Tenant, found: &Page<KeyView>) -> Result<KeysUsage, Error> {
    if !tenant.allows(Permission::UsageRead) || found.items.is_empty() {
        return Ok(KeysUsage::new());
    }
    let ids: Vec<KeyId> = found.items.iter().map(|key| key.id).collect();
    usage_of_keys(tenant, &ids, Span::Day).await
}

type KeysUsage = BTreeMap<KeyId, Vec<UsagePoint>>;

fn results(
    tenant: &Tenant,
    query: &KeysQuery,
    found: Page<KeyView>,
    usage: &KeysUsage,
    several: bool,
) -> impl IntoView + use<> {
    let slug = tenant.slug().clone();
    if found.items.is_empty() {
        return nothing(tenant, query).into_any();
    }
    let current = query.sorting();
    let sorted = query.clone();
    let tenant_slug = slug.clone();
    let href = Callback::new(move |(column, direction): (&'static str, _)| {
        sorted.sorted_by(column, direction).address(&tenant_slug)
    });
    let next = found.next_cursor.map(|cursor| query.next_page(cursor).address(&slug));
    let previous = query.previous_page().map(|page| page.address(&slug));
    let all = tenant.allows(Permission::KeysRevoke).then(|| address_for(query, &slug)).flatten();
    let all = all.map(|href| view! { <LinkButton href label="Revoke all of these…" look="small quiet" /> });
    let bulk: Vec<_> = BULK_ACTIONS
        .into_iter()
        .filter(|(_, permission, _)| tenant.allows(*permission))
        .map(|(word, ..)| {
            let (label, look) = match word {
                "disable" => ("Disable", "small"),
                "enable" => ("Enable", "small"),
                _ => ("Revoke", "small danger"),
            };
            view! { <SubmitButton label look sends=Some(("action", word.to_owned())) /> }
        })
        .collect();
    let choose = !bulk.is_empty();
    let bar = choose.then(|| {
        view! {
            <div class="bulk" role="group" aria-label="With the chosen keys">
                <span class="muted small">"With the chosen:"</span> {bulk} {all}
            </div>
        }
    });
    let (shown, begins) = (found.items.len(), query.cursor.is_none());
    let now = now();
    let rows: Vec<_> =
        found.items.iter().map(|key| row(tenant, key, usage.get(&key.id), Shown { choose, several }, now)).collect();
    view! {
        <form method="get" action=format!("/t/{slug}/keys/bulk")>
            <input type="hidden" name="back" value=query.address(&slug) />
            {bar}
            <TableWrap label="Keys">
                <table class="table cards">
                    <thead>
                        <tr>
                            {choose.then(|| view! { <th scope="col" class="pick"><span class="visually-hidden">"Choose"</span> <ChooseAll /></th> })}
                            <SortHead label="Name" column="name" current=current.clone() href />
                            <th scope="col">"Status"</th>
                            <th scope="col">"Environment"</th>
                            <th scope="col">"Owner"</th>
                            <th scope="col">"Calls, 24 h"</th>
                            <SortHead label="Last used" column="used" current=current.clone() first=SortDirection::Descending href />
                            <SortHead label="Created" column="created" current=current.clone() first=SortDirection::Descending href />
                            <SortHead label="Ends" column="ends" current=current href />
                        </tr>
                    </thead>
                    <tbody>{rows}</tbody>
                </table>
            </TableWrap>
        </form>
        <Pager rows=shown of=("key", "keys") begins previous next />
    }
    .into_any()
}

/// What a row has beside the key's own facts: a box to choose it by, and its project where there are several.
#[derive(Clone, Copy)]
struct Shown {
    choose: bool,
    several: bool,
}

fn row(
    tenant: &Tenant,
    key: &KeyView,
    points: Option<&Vec<UsagePoint>>,
    Shown { choose, several }: Shown,
    now: Timestamp,
) -> impl IntoView + use<> {
    let slug = tenant.slug();
    let ends = key.revoked_at.or_else(|| [key.expires_at, key.grace_ends_at].into_iter().flatten().min());
    let calls = points.map(|points| CallsOfTheDay::of(points)).unwrap_or_default();
    let health = key_health(key, calls, now);
    let (id, name) = (key.id.to_string(), key.name.to_string());
    let choice = choose.then(|| {
        view! {
            <td class="pick">
                <input type="checkbox" name="key" value=id.clone() aria-label=format!("Choose {name}") />
            </td>
        }
    });
    view! {
        <tr>
            {choice}
            <td data-label="Name">
                <a class="row-link" href=format!("/t/{slug}/keys/{id}")>{name.clone()}</a>
                <div class="row nowrap">
                    <span class="mono muted small truncate">{key.display_handle.clone()}</span>
                    <CopyButton text=whole_handle(key) label=format!("Copy the handle of {name}") />
                </div>
            </td>
            <td data-label="Status">
                {health_badge(health)}
                <div class="muted small">{health_words(tenant, key, health, calls)}</div>
            </td>
            <td data-label="Environment">
                {environment_badge(key.environment)}
                {several.then(|| view! { <div class="muted small">{key.project.to_string()}</div> })}
            </td>
            <td data-label="Owner"><span class="truncate owner">{key.owner.as_ref().map(|owner| owner.external_id.to_string()).unwrap_or_else(|| "—".to_owned())}</span></td>
            <td data-label="Calls, 24 h" class="nowrap">{bars(points, calls)}</td>
            <td data-label="Last used">{time_or(key.last_used_at, "never")}</td>
            <td data-label="Created" class="nowrap">{day(key.created_at)}</td>
            <td data-label="Ends" class="nowrap">
                {ends.map_or_else(|| view! { <span class="muted">"never"</span> }.into_any(), |end| day(end).into_any())}
            </td>
        </tr>
    }
}

/// The last day hour by hour, and as numbers for those who cannot see it.
fn bars(points: Option<&Vec<UsagePoint>>, calls: CallsOfTheDay) -> AnyView {
    let Some(points) = points else { return ().into_any() };
    if calls.all == 0 {
        return view! { <span class="muted">"none"</span> }.into_any();
    }
    let hours: Vec<(u64, u64)> = points
        .iter()
        .map(|point| CallsOfTheDay::of(std::slice::from_ref(point)))
        .map(|hour| (hour.all - hour.refused, hour.refused))
        .collect();
    let label = format!("{} calls in 24 hours, {} of them refused", grouped(calls.all), grouped(calls.refused));
    view! { <MiniBars label bars=hours below="v-valid" above="v-revoked" /> <span class="small">{grouped(calls.all)}</span> }
        .into_any()
}

/// The day alone, for the columns whose hour nobody looks for in a list; the exact time for those who point at it.
fn day(time: Timestamp) -> impl IntoView {
    let exact = tronch_core::format_timestamp(time);
    let day = time.format("%Y-%m-%d").to_string();
    view! { <time datetime=exact.clone() title=exact>{day}</time> }
}

pub(super) fn time_or(time: Option<tronch_core::Timestamp>, otherwise: &'static str) -> impl IntoView + use<> {
    match time {
        Some(time) => view! { <LocalTime iso=tronch_core::format_timestamp(time) /> }.into_any(),
        None => view! { <span class="muted">{otherwise}</span> }.into_any(),
    }
}

fn nothing(tenant: &Tenant, query: &KeysQuery) -> impl IntoView + use<> {
    let slug = tenant.slug();
    if query.is_filtered() || query.cursor.is_some() {
        let all = (format!("/t/{slug}/keys"), "Show all keys".to_owned());
        return view! {
            <EmptyState
                icon=IconName::Search
                title="No key matches"
                sentence="A search looks at names, whole owners and handles. Take a filter away, or search for less."
                action=Some(all)
                no_match=true
            />
        }
        .into_any();
    }
    let create = tenant
        .allows(Permission::KeysCreate)
        .then(|| (format!("/t/{slug}/keys/new"), "Create the first key".to_owned()));
    view! {
        <EmptyState
            icon=IconName::Key
            title="No keys yet"
            sentence="A key is what you hand to a customer. Your services ask TRONCH about it on each request."
            action=create
        />
    }
    .into_any()
}
