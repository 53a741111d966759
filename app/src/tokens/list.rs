//! The list of service tokens, each with what it may do and the buttons that rotate and end it.

use leptos::prelude::*;
use leptos_meta::Title;
use leptos_router::hooks::use_query_map;
use tronch_core::bounds::PAGE_SIZE_DEFAULT;
use tronch_core::{Permission, Timestamp, TokenState, TokenView, format_timestamp, token_state};
use tronch_engine::Tenant;
use tronch_engine::tokens::list_tokens;

use crate::confirmed::confirmed_sentence;
use crate::form_state::OnceField;
use crate::layout::TenantLayout;
use crate::server_context::{form_state, now, page, tenant};
use crate::ui::badge::Badge;
use crate::ui::button::{LinkButton, SubmitButton};
use crate::ui::empty::EmptyState;
use crate::ui::icons::IconName;
use crate::ui::islands::LocalTime;
use crate::ui::notice::{FormError, Notice};
use crate::ui::page_head::PageHead;
use crate::ui::table::{Pager, TableWrap};

/// What the list offers, in seconds.
const GRACES: [(u32, &str); 5] = [
    (0, "not at all"),
    (3600, "for an hour"),
    (GRACE_SECONDS, "for a day"),
    (604_800, "for a week"),
    (2_592_000, "for 30 days"),
];

/// The one that is chosen at first: a day.
const GRACE_SECONDS: u32 = 86_400;

/// The tenant's service tokens.
#[component]
pub(crate) fn TokensPage() -> impl IntoView {
    let (tenant, form) = (tenant(), form_state());
    let (cursor, did, confirmed) =
        use_query_map().with(|map| (map.get("cursor"), map.get("did"), confirmed_sentence(map)));
    page(async move {
        let tenant = tenant?;
        let found = list_tokens(&tenant, cursor.as_deref(), PAGE_SIZE_DEFAULT).await?;
        let slug = tenant.slug().clone();
        let may_write = tenant.allows(Permission::TokensWrite);
        let create = may_write.then(|| {
            view! { <LinkButton href=format!("/t/{slug}/tokens/new") label="Create token" look="primary" icon=IconName::Plus /> }
        });
        let next = found.next_cursor.as_ref().map(|cursor| {
            let query = form_urlencoded::Serializer::new(String::new()).append_pair("cursor", cursor).finish();
            format!("/t/{slug}/tokens?{query}")
        });
        let rows: Vec<_> = found.items.iter().map(|token| row(&tenant, token, may_write, now())).collect();
        let table = if rows.is_empty() {
            let action = may_write.then(|| (format!("/t/{slug}/tokens/new"), "Create the first token".to_owned()));
            view! {
                <EmptyState
                    icon=IconName::Terminal
                    title="No service tokens yet"
                    sentence="With a service token your services and scripts call the API: to ask about keys, or to manage them."
                    action
                />
            }
            .into_any()
        } else {
            view! {
                <TableWrap label="Service tokens">
                    <table class="table cards">
                        <thead>
                            <tr>
                                <th scope="col">"Name"</th>
                                <th scope="col">"Status"</th>
                                <th scope="col">"May"</th>
                                <th scope="col">"Only for"</th>
                                <th scope="col">"Created"</th>
                                <th scope="col">"Last used"</th>
                                <th scope="col">"Ends"</th>
                                <th scope="col"><span class="visually-hidden">"Actions"</span></th>
                            </tr>
                        </thead>
                        <tbody>{rows}</tbody>
                    </table>
                </TableWrap>
                <Pager rows=found.items.len() of=("service token", "service tokens") begins=cursor.is_none() next />
            }
            .into_any()
        };
        Ok(view! {
            <Title text="Service tokens" />
            <TenantLayout here="tokens">
                <PageHead title="Service tokens" subtitle="What your services and scripts call the API with.">{create}</PageHead>
                <FormError message=form.error().or_else(|| form.field_error("grace")) />
                {(did.as_deref() == Some("revoked"))
                    .then(|| view! { <Notice look="ok" role="status">"The service token is revoked, for ever. " {confirmed}</Notice> })}
                {table}
            </TenantLayout>
        }
        .into_any())
    })
}

fn row(tenant: &Tenant, token: &TokenView, may_write: bool, now: Timestamp) -> impl IntoView + use<> {
    let slug = tenant.slug();
    let state = token_state(token, now);
    let look = match state {
        TokenState::Revoked => "bad",
        TokenState::Expired => "muted",
        TokenState::Rotating | TokenState::ExpiresSoon => "warn",
        TokenState::Active => "ok",
    };
    let permissions: Vec<&str> = token.permissions.iter().map(|one| one.as_str()).collect();
    let permissions = if permissions.len() == Permission::ALL.len() {
        view! { "everything" }.into_any()
    } else {
        view! { <span class="mono small wrap">{permissions.join(" ")}</span> }.into_any()
    };
    let limits: Vec<String> = token
        .project
        .iter()
        .map(ToString::to_string)
        .chain(token.environment.iter().map(ToString::to_string))
        .collect();
    let limits = if limits.is_empty() { "everything".to_owned() } else { limits.join(", ") };
    let time = |time: Option<Timestamp>| match time {
        Some(time) => view! { <LocalTime iso=format_timestamp(time) /> }.into_any(),
        None => view! { <span class="muted">"never"</span> }.into_any(),
    };
    let name = token.name.to_string();
    // Nobody hands out what he may not do himself.
    let is_held = token.permissions.iter().all(|one| tenant.allows(*one));
    let rotate = (may_write && is_held && state.is_rotatable()).then(|| {
        let id = format!("grace-{}", token.id);
        view! {
            <details class="confirm">
                <summary class="button small" aria-label=format!("Rotate {name}")>"Rotate"</summary>
                <form method="post" action=format!("/t/{slug}/tokens/{}/rotate", token.id)>
                    <OnceField />
                    <label class="small" for=id.clone()>"The old token keeps working"</label>
                    <select id=id name="grace" class="select">
                        {GRACES.map(|(seconds, label)| view! {
                            <option value=seconds.to_string() selected=seconds == GRACE_SECONDS>{label}</option>
                        })}
                    </select>
                    <SubmitButton label="Rotate" look="primary small" />
                </form>
            </details>
        }
    });
    let revoke = (may_write && token.revoked_at.is_none()).then(|| {
        view! {
            <details class="confirm">
                <summary class="button small danger" aria-label=format!("Revoke {name}")>"Revoke"</summary>
                <form method="post" action=format!("/t/{slug}/tokens/{}/revoke", token.id)>
                    <p class="small">"Whatever uses it stops working. This cannot be undone."</p>
                    <SubmitButton label="Revoke for ever" look="danger small" />
                </form>
            </details>
        }
    });
    view! {
        <tr>
            <td data-label="Name">
                <b>{name.clone()}</b>
                <div class="mono muted small">{format!("tronch_st_{}…", token.handle)}</div>
            </td>
            <td data-label="Status"><Badge label=state.label() look /></td>
            <td data-label="May">{permissions}</td>
            <td data-label="Only for" class="words">{limits}</td>
            <td data-label="Created">{time(Some(token.created_at))}</td>
            <td data-label="Last used">{time(token.last_used_at)}</td>
            <td data-label="Ends">{time(token.expires_at)}</td>
            <td data-label=""><div class="row-actions">{rotate} {revoke}</div></td>
        </tr>
    }
}
