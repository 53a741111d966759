//! One project: how its keys are rotated, and putting it away.

use leptos::prelude::*;
use leptos_meta::Title;
use leptos_router::hooks::{use_params_map, use_query_map};
use tronch_core::{Permission, ProjectSlug, ProjectView, duration_words, format_timestamp};
use tronch_engine::projects::{count_working_keys, get_project};
use tronch_engine::{Error, Tenant};

use super::list::after_the_grace;
use crate::form_state::FormState;
use crate::keys::GRACES;
use crate::layout::TenantLayout;
use crate::limits::project_limits;
use crate::server_context::{form_state, page, tenant};
use crate::ui::badge::Badge;
use crate::ui::button::{LinkButton, SubmitButton};
use crate::ui::chart::grouped;
use crate::ui::field::{CheckboxField, SelectField, TextField};
use crate::ui::icons::IconName;
use crate::ui::islands::{CopyButton, LocalTime};
use crate::ui::notice::{FormError, Notice};
use crate::ui::page_head::PageHead;

/// One project, with its settings where the member may change them.
#[component]
pub(crate) fn ProjectPage() -> impl IntoView {
    let (tenant, form) = (tenant(), form_state());
    let did = use_query_map().with(|map| map.get("did"));
    let named = use_params_map().with(|params| params.get("project"));
    page(async move {
        let tenant = tenant?;
        let slug = named.and_then(|text| ProjectSlug::parse(&text).ok()).ok_or(Error::NotFound { noun: "project" })?;
        let project = get_project(&tenant, &slug).await?;
        let working = count_working_keys(&tenant, std::slice::from_ref(&project)).await?.of(project.id);
        let tenant_slug = tenant.slug().clone();
        let projects = format!("/t/{tenant_slug}/projects");
        let archived = project.archived_at.is_some();
        let may_write = tenant.allows(Permission::ProjectsWrite);
        let keys = (tenant.allows(Permission::KeysRead)).then(|| {
            view! { <LinkButton href=format!("/t/{tenant_slug}/keys?project={slug}") label="Its keys" icon=IconName::Key /> }
        });
        let limits = project_limits(&tenant, &project, did.as_deref()).await?;
        let said = did.as_deref().and_then(|did| said(did, archived));
        let settings = if may_write && !archived {
            view! { <Settings project=project.clone() tenant=tenant.clone() form=form.clone() /> }.into_any()
        } else {
            ().into_any()
        };
        let put_away = may_write.then(|| view! { <PutAway project=project.clone() tenant working /> });
        Ok(view! {
            <Title text=project.name.to_string() />
            <TenantLayout here="projects">
                <PageHead
                    title=project.name.to_string()
                    crumbs=vec![(projects, "Projects".to_owned())]
                    beside=move || archived.then(|| view! { <Badge label="Archived" look="muted" /> })
                >
                    {keys}
                </PageHead>
                <FormError message=form.error() />
                {said.map(|said| view! { <Notice look="ok" role="status">{said}</Notice> })}
                {facts(&project, working)}
                {settings}
                {limits}
                {put_away}
            </TenantLayout>
        }
        .into_any())
    })
}

/// What a 303 came from, as far as it is still so.
fn said(did: &str, archived: bool) -> Option<&'static str> {
    Some(match (did, archived) {
        ("created", false) => "The project is there. Create its keys, or choose its rules of rotation below.",
        ("changed", _) => "The changes are saved. They hold for rotations from now on.",
        ("archived", true) => "The project is archived: it takes no keys and is offered nowhere.",
        ("restored", false) => "The project is open again.",
        _ => return None,
    })
}

fn facts(project: &ProjectView, working: u64) -> impl IntoView + use<> {
    let slug = project.slug.to_string();
    let id = project.id.to_string();
    view! {
        <dl class="kv">
            <dt>"Slug"</dt>
            <dd><span class="row"><code>{slug.clone()}</code> <CopyButton text=slug label="Copy the slug".to_owned() /></span></dd>
            <dt>"Id"</dt>
            <dd><span class="row"><code>{id.clone()}</code> <CopyButton text=id label="Copy the id".to_owned() /></span></dd>
            <dt>"Working keys"</dt><dd>{grouped(working)}</dd>
            <dt>"Grace"</dt>
            <dd>
                {duration_words(project.default_grace_seconds)} " unless a rotation says otherwise, at most "
                {duration_words(project.max_grace_seconds)} "; then " {after_the_grace(project)}
            </dd>
            <dt>"Created"</dt><dd><LocalTime iso=format_timestamp(project.created_at) /></dd>
            {project.archived_at.map(|at| view! { <dt>"Archived"</dt><dd><LocalTime iso=format_timestamp(at) /></dd> })}
        </dl>
    }
}

#[component]
fn Settings(project: ProjectView, tenant: Tenant, form: FormState) -> impl IntoView {
    let action = format!("/t/{}/projects/{}/edit", tenant.slug(), project.slug);
    // A box that is not ticked is not sent, so what was typed tells of it only together with the rest of the form.
    let auto_revoke = if form.is_refused() { form.value("auto_revoke") == "on" } else { project.auto_revoke };
    view! {
        <section class="section" aria-labelledby="settings">
            <h2 id="settings">"Settings"</h2>
            <form class="form" method="post" action=action>
                <input type="hidden" name="seen" value=form.value_or("seen", format_timestamp(project.updated_at)) />
                <TextField
                    name="name"
                    label="Name"
                    value=form.value_or("name", project.name.to_string())
                    error=form.field_error("name")
                    maxlength=100
                    required=true
                />
                <SelectField
                    name="default_grace_seconds"
                    label="Grace of a rotation"
                    value=form.value_or("default_grace_seconds", project.default_grace_seconds.to_string())
                    options=graces(project.default_grace_seconds)
                    hint="How long the old key keeps working beside its successor, unless whoever rotates says otherwise."
                    error=form.field_error("default_grace_seconds")
                />
                <SelectField
                    name="max_grace_seconds"
                    label="Longest grace"
                    value=form.value_or("max_grace_seconds", project.max_grace_seconds.to_string())
                    options=graces(project.max_grace_seconds)
                    hint="Nobody can choose a longer one."
                    error=form.field_error("max_grace_seconds")
                />
                <CheckboxField
                    name="auto_revoke"
                    label="End the old key when its grace is over"
                    checked=auto_revoke
                    hint="Otherwise it keeps working until somebody finishes the rotation."
                />
                <div class="form-actions"><SubmitButton label="Save changes" /></div>
            </form>
        </section>
    }
}

/// What the lists offer, what is set now among it.
fn graces(current: u32) -> Vec<(String, String)> {
    let mut seconds: Vec<u32> = GRACES.iter().map(|(seconds, _)| *seconds).chain([current]).collect();
    seconds.sort_unstable();
    seconds.dedup();
    let words =
        |seconds| if seconds == 0 { "none: the old key ends at once".to_owned() } else { duration_words(seconds) };
    seconds.into_iter().map(|seconds| (seconds.to_string(), words(seconds))).collect()
}

#[component]
fn PutAway(project: ProjectView, tenant: Tenant, working: u64) -> impl IntoView {
    let here = format!("/t/{}/projects/{}", tenant.slug(), project.slug);
    let (title, body) = if project.archived_at.is_some() {
        let restore = view! {
            <p>"It takes no keys and is offered nowhere. Its keys have ended; their history stays."</p>
            <form method="post" action=format!("{here}/restore")><SubmitButton label="Restore project" look="" /></form>
        };
        ("Archived", restore.into_any())
    } else if working > 0 {
        let keys = format!("/t/{}/keys/revoke?project={}", tenant.slug(), project.slug);
        let sentence =
            if working == 1 { "One key works".to_owned() } else { format!("{} keys work", grouped(working)) };
        let wait = view! { <p>{sentence} " or could be enabled again. " <a href=keys>"Revoke them all"</a> " first; then the project can be archived."</p> };
        ("Archive", wait.into_any())
    } else {
        let archive = view! {
            <p>"No key of it works. Archived, it takes no keys and is offered nowhere; it can be restored."</p>
            <form method="post" action=format!("{here}/archive")><SubmitButton label="Archive project" look="danger" /></form>
        };
        ("Archive", archive.into_any())
    };
    view! { <section class="section" aria-labelledby="archive"><h2 id="archive">{title}</h2> {body}</section> }
}
