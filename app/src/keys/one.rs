//! One key: how it is, what it may, what happened to it, and what can be done with it.

use leptos::prelude::*;
use leptos_meta::Title;
use leptos_router::hooks::use_query_map;
use tronch_core::{
    CallsOfTheDay, KeyHealth, KeyState, KeyView, Permission, RotationView, UsagePoint, format_timestamp, key_health,
};
use tronch_engine::audit::{AuditFilter, list_audit_events};
use tronch_engine::usage::{Span, usage_of_key};
use tronch_engine::{Error, Tenant, keys};

use super::fields::{environment_badge, health_badge, is_rotating, key_id_of_address, whole_handle};
use super::health::health_words;
use super::list::time_or;
use crate::audit::Timeline;
use crate::confirmed::confirmed_sentence;
use crate::layout::TenantLayout;
use crate::limits::key_limits;
use crate::server_context::{form_state, now, page, tenant};
use crate::ui::button::{LinkButton, SubmitButton};
use crate::ui::icons::IconName;
use crate::ui::islands::{CopyButton, LocalTime};
use crate::ui::notice::{FormError, Notice};
use crate::ui::page_head::PageHead;
use crate::usage::{SpanLinks, Totals, UsageChart, span_of_address};

/// Events shown on the key's page; the audit log has them all.
const EVENTS: u32 = 10;

/// One key.
#[component]
pub(crate) fn KeyPage() -> impl IntoView {
    let (tenant, key_id, form, span) = (tenant(), key_id_of_address(), form_state(), span_of_address());
    let (did, confirmed) = use_query_map().with(|map| (map.get("did"), confirmed_sentence(map)));
    page(async move {
        let (tenant, key_id) = (tenant?, key_id?);
        let key = keys::get_key(&tenant, key_id).await?;
        let day = usage_in(&tenant, &key, Span::Day).await?;
        let calls = day.as_deref().map(CallsOfTheDay::of).unwrap_or_default();
        let health = key_health(&key, calls, now());
        let points = if span == Span::Day { day } else { usage_in(&tenant, &key, span).await? };
        let usage = points.map(|points| usage(&tenant, &key, points, span));
        let limits = key_limits(&tenant, &key, did.as_deref()).await?;
        let history = history(&tenant, &key).await?;
        let keys = format!("/t/{}/keys", tenant.slug());
        let (marks, marks_of) = (key.clone(), key.clone());
        let body = view! {
            <FormError message=form.error() />
            {did.as_deref().and_then(|did| said(did, &marks_of)).map(|said| view! { <Notice look="ok" role="status">{said} " " {confirmed}</Notice> })}
            {health_note(&tenant, &key, health, calls)}
            {rotation(&tenant, &key)}
            <div class="columns">
                <section aria-labelledby="facts"><h2 id="facts" class="visually-hidden">"Facts"</h2> {facts(&key)}</section>
                <section aria-labelledby="metadata">
                    <h2 id="metadata">"Metadata"</h2>
                    <pre class="code-plain" tabindex="0">{pretty(&key.metadata_json)}</pre>
                </section>
            </div>
            {usage}
            {limits}
            {history}
        };
        let actions = actions(&tenant, &key);
        Ok(view! {
            <Title text=key.name.to_string() />
            <TenantLayout here="keys">
                <PageHead
                    title=key.name.to_string()
                    crumbs=vec![(keys, "Keys".to_owned())]
                    beside=move || view! { {health_badge(health)} {environment_badge(marks.environment)} }
                >
                    {actions}
                </PageHead>
                {body}
            </TenantLayout>
        }
        .into_any())
    })
}

/// How calls about the key ended, for those who may see it.
async fn usage_in(tenant: &Tenant, key: &KeyView, span: Span) -> Result<Option<Vec<UsagePoint>>, Error> {
    if !tenant.allows(Permission::UsageRead) {
        return Ok(None);
    }
    usage_of_key(tenant, key.id, span).await.map(Some)
}

/// What a person should look at; a rotation has a note of its own, and what has ended says so by its badge.
fn health_note(tenant: &Tenant, key: &KeyView, health: KeyHealth, calls: CallsOfTheDay) -> impl IntoView + use<> {
    matches!(health, KeyHealth::ExpiresSoon | KeyHealth::Limited | KeyHealth::ElevatedRefusals | KeyHealth::Unused)
        .then(|| {
            let words = health_words(tenant, key, health, calls);
            view! { <Notice look="warn" title=health.label()>". " {words}</Notice> }
        })
}

fn usage(tenant: &Tenant, key: &KeyView, points: Vec<UsagePoint>, span: Span) -> impl IntoView + use<> {
    let path = format!("/t/{}/keys/{}", tenant.slug(), key.id);
    view! {
        <section class="section" aria-labelledby="usage">
            <div class="section-head"><h2 id="usage">"Usage"</h2> <SpanLinks span path /></div>
            <Totals points=points.clone() span />
            <div class="card"><UsageChart title="Calls by verdict, UTC" points span /></div>
        </section>
    }
}

async fn history(tenant: &Tenant, key: &KeyView) -> Result<AnyView, Error> {
    if !tenant.allows(Permission::AuditRead) {
        return Ok(().into_any());
    }
    let filter = AuditFilter { target_id: Some(key.id.to_string()), limit: EVENTS, ..AuditFilter::default() };
    let events = list_audit_events(tenant, &filter).await?;
    let all = format!("/t/{}/audit?target={}", tenant.slug(), key.id);
    Ok(view! {
        <section class="section" aria-labelledby="history">
            <div class="section-head"><h2 id="history">"History"</h2> <a href=all>"All in the audit log"</a></div>
            <Timeline events=events.items />
        </section>
    }
    .into_any())
}

/// What a 303 came from, as far as it is still so; anything else in the address says nothing.
fn said(did: &str, key: &KeyView) -> Option<&'static str> {
    Some(match (did, key.state) {
        ("changed", _) => "The changes are saved.",
        ("disabled", KeyState::Disabled) => "The key is disabled: it is refused until somebody enables it.",
        ("enabled", KeyState::Active) => "The key is enabled.",
        ("revoked", KeyState::Revoked) => "The key is revoked, for ever.",
        ("finished", KeyState::Expired) => "The rotation is finished: the old key has ended.",
        _ => return None,
    })
}

fn actions(tenant: &Tenant, key: &KeyView) -> impl IntoView + use<> {
    let here = format!("/t/{}/keys/{}", tenant.slug(), key.id);
    let lives = !key.has_ended(now());
    let rotated = matches!(key.rotation, Some(RotationView::Predecessor { .. }));
    let may = |permission| tenant.allows(permission);
    let rotate = (lives && !rotated && may(Permission::KeysRotate)).then(|| {
        view! { <LinkButton href=format!("{here}/rotate") label="Rotate" look="primary" icon=IconName::Rotate /> }
    });
    let edit = (lives && may(Permission::KeysUpdate))
        .then(|| view! { <LinkButton href=format!("{here}/edit") label="Edit" /> });
    let switch = (lives && may(Permission::KeysUpdate)).then(|| {
        if key.disabled_at.is_some() {
            return view! {
                <form method="post" action=format!("{here}/enable")>
                    <SubmitButton label="Enable" look="" icon=IconName::Power />
                </form>
            }
            .into_any();
        }
        view! {
            <details class="confirm">
                <summary class="button">"Disable"</summary>
                <form method="post" action=format!("{here}/disable")>
                    <p class="small">"Every request with it is refused until somebody enables it."</p>
                    <SubmitButton label="Disable now" look="small" icon=IconName::Power />
                </form>
            </details>
        }
        .into_any()
    });
    let revoke = (key.state != KeyState::Revoked && may(Permission::KeysRevoke)).then(|| {
        view! { <LinkButton href=format!("{here}/revoke") label="Revoke" look="danger" icon=IconName::Ban /> }
    });
    view! { {rotate} {edit} {switch} {revoke} }
}

fn rotation(tenant: &Tenant, key: &KeyView) -> impl IntoView + use<> {
    let keys = format!("/t/{}/keys", tenant.slug());
    match key.rotation {
        None => ().into_any(),
        Some(RotationView::Successor { predecessor_id }) => {
            let href = format!("{keys}/{predecessor_id}");
            view! { <Notice title="A successor.">" It replaced " <a href=href>"an older key"</a> "."</Notice> }
                .into_any()
        }
        Some(RotationView::Predecessor { grace_ends_at, successor_id }) => {
            let running = is_rotating(key);
            let end = match (key.state, grace_ends_at) {
                (KeyState::Active, Some(end)) => {
                    view! { " This one works until " <LocalTime iso=format_timestamp(end) /> "." }.into_any()
                }
                (KeyState::Active, None) => {
                    view! { " This one works until somebody finishes the rotation." }.into_any()
                }
                (KeyState::Disabled, Some(end)) if end > now() => {
                    view! { " This one is disabled, and ends at " <LocalTime iso=format_timestamp(end) /> "." }
                        .into_any()
                }
                (KeyState::Expired | KeyState::Disabled, Some(end)) if end <= now() => {
                    view! { " Its grace ended at " <LocalTime iso=format_timestamp(end) /> "." }.into_any()
                }
                _ => ().into_any(),
            };
            let finish = (running && tenant.allows(Permission::KeysRotate)).then(|| {
                view! {
                    <details class="confirm">
                        <summary class="button small">"End the old key now"</summary>
                        <form method="post" action=format!("{keys}/{}/finish", key.id)>
                            <p class="small">"Whoever still uses it is refused. This cannot be undone."</p>
                            <SubmitButton label="End it for ever" look="danger small" />
                        </form>
                    </details>
                }
            });
            view! {
                <Notice look=if running { "warn" } else { "info" } title="Replaced.">
                    " Its successor is " <a href=format!("{keys}/{successor_id}")>"the newer key of this name"</a> "." {end} {finish}
                </Notice>
            }
            .into_any()
        }
    }
}

fn facts(key: &KeyView) -> impl IntoView + use<> {
    let permissions: Vec<_> =
        key.permissions.iter().map(|one| view! { <li><code>{one.to_string()}</code></li> }).collect();
    let permissions = if permissions.is_empty() {
        view! { <span class="muted">"none"</span> }.into_any()
    } else {
        view! { <ul class="plain">{permissions}</ul> }.into_any()
    };
    let owner = key.owner.as_ref().map(|owner| owner.external_id.to_string());
    let revoked = key.revoked_at.map(|at| {
        let reason = key.revoke_reason.as_ref().map(|reason| view! { <p>{reason.to_string()}</p> });
        view! { <dt>"Revoked"</dt><dd><LocalTime iso=format_timestamp(at) /> {reason}</dd> }
    });
    let disabled =
        key.disabled_at.map(|at| view! { <dt>"Disabled"</dt><dd><LocalTime iso=format_timestamp(at) /></dd> });
    let id = key.id.to_string();
    view! {
        <dl class="kv">
            <dt>"Handle"</dt>
            <dd>
                <span class="row nowrap">
                    <code>{key.display_handle.clone()}</code>
                    <CopyButton text=whole_handle(key) label="Copy the handle".to_owned() />
                </span>
            </dd>
            <dt>"Id"</dt>
            <dd><span class="row nowrap"><code>{id.clone()}</code> <CopyButton text=id label="Copy the id".to_owned() /></span></dd>
            <dt>"Project"</dt><dd>{key.project.to_string()}</dd>
            <dt>"Owner"</dt>
            <dd>{owner.map_or_else(|| view! { <span class="muted">"none"</span> }.into_any(), |owner| view! { <code>{owner}</code> }.into_any())}</dd>
            <dt>"Permissions"</dt><dd>{permissions}</dd>
            <dt>"Created"</dt><dd>{time_or(Some(key.created_at), "")}</dd>
            <dt>"Last used"</dt><dd>{time_or(key.last_used_at, "never")}</dd>
            <dt>"Expires"</dt><dd>{time_or(key.expires_at, "never")}</dd>
            {disabled}
            {revoked}
        </dl>
    }
}

/// JSON text on several lines; nothing for an empty object.
pub(super) fn pretty(json: &str) -> String {
    let value: serde_json::Value = serde_json::from_str(json).unwrap_or_default();
    match &value {
        serde_json::Value::Object(object) if object.is_empty() => String::new(),
        _ => serde_json::to_string_pretty(&value).unwrap_or_default(),
    }
}
