//! What a key, or each key of a project, is held to: a section of their pages.

use leptos::prelude::*;
use tronch_core::{KeyView, Permission, ProjectView};
use tronch_engine::limits::{LimitFilter, left_to_key, limits_of_key, list_limits};
use tronch_engine::{Error, Tenant};

use super::list::{LimitTable, said};
use crate::server_context::now;
use crate::ui::button::LinkButton;
use crate::ui::icons::IconName;
use crate::ui::notice::Notice;

/// Of a key, with those of its owner and its project.
pub(crate) async fn key_limits(tenant: &Tenant, key: &KeyView, did: Option<&str>) -> Result<AnyView, Error> {
    if !tenant.allows(Permission::LimitsRead) {
        return Ok(().into_any());
    }
    let limits = limits_of_key(tenant, key).await?;
    let (slug, may_write) = (tenant.slug().clone(), tenant.allows(Permission::LimitsWrite));
    let new = (may_write && !key.has_ended(now())).then(|| format!("/t/{slug}/limits/new?key={}", key.id));
    let body = if limits.is_empty() {
        view! { <p class="muted">"None: it may be used as often as anybody likes."</p> }.into_any()
    } else {
        let left = left_to_key(tenant, key.id, &limits).await?;
        view! { <LimitTable slug limits left /> }.into_any()
    };
    Ok(section(new, did, body))
}

/// Of a project, for each of its keys.
pub(crate) async fn project_limits(
    tenant: &Tenant,
    project: &ProjectView,
    did: Option<&str>,
) -> Result<AnyView, Error> {
    if !tenant.allows(Permission::LimitsRead) {
        return Ok(().into_any());
    }
    let filter = LimitFilter { project: Some(project.slug.clone()), ..LimitFilter::default() };
    let limits = list_limits(tenant, &filter, None, tronch_core::bounds::PAGE_SIZE_MAX).await?.items;
    let (slug, may_write) = (tenant.slug().clone(), tenant.allows(Permission::LimitsWrite));
    let new =
        (may_write && project.archived_at.is_none()).then(|| format!("/t/{slug}/limits/new?project={}", project.slug));
    let body = if limits.is_empty() {
        view! { <p class="muted">"None: its keys are held to limits of their own or of their owners alone."</p> }
            .into_any()
    } else {
        view! { <LimitTable slug limits /> }.into_any()
    };
    Ok(section(new, did, body))
}

fn section(new: Option<String>, did: Option<&str>, body: AnyView) -> AnyView {
    let said = did.and_then(said).map(|said| view! { <Notice look="ok" role="status">{said}</Notice> });
    let new = new.map(|href| view! { <LinkButton href label="Set a limit" look="small" icon=IconName::Plus /> });
    view! {
        <section class="section" aria-labelledby="limits">
            <div class="section-head"><h2 id="limits">"Limits"</h2> {new}</div>
            {said}
            {body}
        </section>
    }
    .into_any()
}
