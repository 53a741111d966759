//! The audit log: filters in the address, an event a line, before and after side by side inside it.

use leptos::prelude::*;
use leptos_meta::Title;
use leptos_router::hooks::use_query_map;
use tronch_core::{AuditEventView, TenantSlug, format_timestamp};
use tronch_engine::Error;
use tronch_engine::audit::list_audit_events;

use super::query::{AuditQuery, FILTERS};
use super::words::{ACTIONS, differences, title, verb};
use crate::form_state::sentence_of;
use crate::layout::TenantLayout;
use crate::server_context::{page, tenant};
use crate::ui::button::SubmitButton;
use crate::ui::diff::Diff;
use crate::ui::empty::EmptyState;
use crate::ui::field::{SelectField, TextField, TimeField};
use crate::ui::icons::IconName;
use crate::ui::islands::LocalTime;
use crate::ui::notice::Notice;
use crate::ui::page_head::PageHead;
use crate::ui::table::{Chip, Pager};

/// Who changed what.
#[component]
pub(crate) fn AuditPage() -> impl IntoView {
    let tenant = tenant();
    let query = use_query_map().with(|map| AuditQuery::read(|name| map.get(name)));
    page(async move {
        let tenant = tenant?;
        let found = match query.filter() {
            Ok(filter) => list_audit_events(&tenant, &filter).await,
            Err(error) => Err(error),
        };
        let slug = tenant.slug().clone();
        let rows = match found {
            Ok(found) if found.items.is_empty() => nothing(&slug, &query).into_any(),
            Ok(found) => {
                let shown = found.items.len();
                let events: Vec<_> = found.items.iter().map(|event| entry(&slug, &query, event)).collect();
                let next = found
                    .next_cursor
                    .map(|cursor| query.address_with(&slug, |name| name != "cursor", Some(("cursor", &cursor))));
                let first = query.get("cursor").map(|_| query.address_with(&slug, |name| name != "cursor", None));
                view! {
                    <div class="folds">{events}</div>
                    <Pager rows=shown of=("event", "events") begins=first.is_none() next />
                    {first.map(|href| view! { <p><a href=href>"Back to the newest"</a></p> })}
                }
                .into_any()
            }
            Err(error @ (Error::Invalid { .. } | Error::InvalidCursor)) => {
                view! { <Notice look="bad" role="alert">{sentence_of(&error)}</Notice> }.into_any()
            }
            Err(error) => return Err(error),
        };
        Ok(view! {
            <Title text="Audit log" />
            <TenantLayout here="audit">
                <PageHead title="Audit log" subtitle="Who changed what, from where, and how it was before." />
                {filters(&slug, &query)}
                {chips(&slug, &query)}
                {rows}
            </TenantLayout>
        }
        .into_any())
    })
}

fn filters(slug: &TenantSlug, query: &AuditQuery) -> impl IntoView + use<> {
    let value = |name: &str| query.get(name).unwrap_or_default().to_owned();
    let mut actions = vec![(String::new(), "Any".to_owned())];
    actions.extend(ACTIONS.iter().map(|(action, _, title)| ((*action).to_owned(), (*title).to_owned())));
    let (from, until) = query.span();
    view! {
        <form class="filters" method="post" action=format!("/t/{slug}/audit/search") role="search">
            <TextField name="actor" label="By" value=value("actor") placeholder="a name" />
            <SelectField name="action" label="What" value=value("action") options=actions />
            <TextField name="target" label="About" value=value("target") placeholder="a name, an id, a key" />
            <TimeField name="from" label="From" value=from />
            <TimeField name="until" label="Until" value=until />
            <SubmitButton label="Search" look="" icon=IconName::Search />
        </form>
    }
}

fn chips(slug: &TenantSlug, query: &AuditQuery) -> impl IntoView + use<> {
    let chips: Vec<_> = FILTERS
        .into_iter()
        .filter_map(|(name, label)| {
            let value = query.get(name)?;
            let value = if name == "action" { title(value) } else { value.to_owned() };
            let remove_href = query.address_with(slug, |other| other != name && other != "cursor", None);
            Some(view! { <Chip label value remove_href /> })
        })
        .collect();
    (!chips.is_empty()).then(|| view! { <div class="chips">{chips}</div> })
}

fn entry(slug: &TenantSlug, query: &AuditQuery, event: &AuditEventView) -> impl IntoView + use<> {
    let only = |name: &'static str, value: &str| {
        query.address_with(slug, move |other| other != name && other != "cursor", Some((name, value)))
    };
    let (by_actor, on_target) = (only("actor", &event.actor_id), only("target", &event.target_id));
    let target = if event.target_kind == "key" {
        view! { <a href=format!("/t/{slug}/keys/{}", event.target_id)><code>{event.target_id.clone()}</code></a> }
            .into_any()
    } else {
        view! { <code>{event.target_id.clone()}</code> }.into_any()
    };
    let actor = match event.actor_kind.as_str() {
        "service_token" => "Service token ",
        _ => "",
    };
    let fact = |label: &'static str, value: Option<String>| {
        value.map(|value| view! { <dt>{label}</dt><dd class="wrap">{value}</dd> })
    };
    view! {
        <details class="fold">
            <summary>
                <span class="wrap">{actor} <b>{event.actor_name.clone()}</b> " " {verb(event)} " " <b>{event.target_name.clone()}</b></span>
                <span class="muted"><LocalTime iso=format_timestamp(event.occurred_at) /></span>
            </summary>
            <div class="fold-body">
                <dl class="kv">
                    <dt>"Actor"</dt>
                    <dd><code>{event.actor_id.clone()}</code> " " <a href=by_actor>"everything by them"</a></dd>
                    <dt>"Target"</dt>
                    <dd>{target} " " <a href=on_target>"everything about it"</a></dd>
                    <dt>"At"</dt>
                    <dd>{format_timestamp(event.occurred_at)}</dd>
                    {fact("Reason", event.reason.clone())}
                    {fact("Address", event.address.clone())}
                    {fact("Agent", event.user_agent.clone())}
                    {fact("Request", event.request_id.map(|id| id.to_string()))}
                </dl>
                <Diff rows=differences(event) />
            </div>
        </details>
    }
}

fn nothing(slug: &TenantSlug, query: &AuditQuery) -> impl IntoView + use<> {
    let all = query.is_filtered().then(|| (format!("/t/{slug}/audit"), "Show everything".to_owned()));
    view! {
        <EmptyState
            icon=IconName::Search
            title="No event matches"
            sentence="Every change leaves an event here. Take a filter away to see more."
            action=all
            no_match=true
        />
    }
}
