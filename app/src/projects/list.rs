//! The list of projects, each with its keys that work and its rules of rotation.

use leptos::prelude::*;
use leptos_meta::Title;
use leptos_router::hooks::use_query_map;
use tronch_core::bounds::PAGE_SIZE_DEFAULT;
use tronch_core::{Permission, ProjectView, TenantSlug, duration_words};
use tronch_engine::projects::{WorkingKeys, count_working_keys, list_projects};

use crate::layout::TenantLayout;
use crate::server_context::{page, tenant};
use crate::ui::badge::Badge;
use crate::ui::button::LinkButton;
use crate::ui::chart::grouped;
use crate::ui::icons::IconName;
use crate::ui::page_head::PageHead;
use crate::ui::table::{Pager, TableWrap};

/// The tenant's projects.
#[component]
pub(crate) fn ProjectsPage() -> impl IntoView {
    let tenant = tenant();
    let cursor = use_query_map().with(|map| map.get("cursor"));
    page(async move {
        let tenant = tenant?;
        let found = list_projects(&tenant, cursor.as_deref(), PAGE_SIZE_DEFAULT).await?;
        let working = count_working_keys(&tenant, &found.items).await?;
        let slug = tenant.slug().clone();
        let create = tenant.allows(Permission::ProjectsWrite).then(|| {
            view! { <LinkButton href=format!("/t/{slug}/projects/new") label="Create project" look="primary" icon=IconName::Plus /> }
        });
        let next = found.next_cursor.as_ref().map(|cursor| {
            let query = form_urlencoded::Serializer::new(String::new()).append_pair("cursor", cursor).finish();
            format!("/t/{slug}/projects?{query}")
        });
        let rows: Vec<_> = found.items.iter().map(|project| row(&slug, project, &working)).collect();
        Ok(view! {
            <Title text="Projects" />
            <TenantLayout here="projects">
                <PageHead title="Projects" subtitle="One for each API of yours: its keys, and how they are rotated.">
                    {create}
                </PageHead>
                <TableWrap label="Projects">
                    <table class="table cards">
                        <thead>
                            <tr>
                                <th scope="col">"Project"</th>
                                <th scope="col">"Status"</th>
                                <th scope="col" class="number">"Working keys"</th>
                                <th scope="col">"Grace"</th>
                                <th scope="col">"Longest grace"</th>
                                <th scope="col">"After the grace"</th>
                            </tr>
                        </thead>
                        <tbody>{rows}</tbody>
                    </table>
                </TableWrap>
                <Pager rows=found.items.len() of=("project", "projects") begins=cursor.is_none() next />
            </TenantLayout>
        }
        .into_any())
    })
}

fn row(slug: &TenantSlug, project: &ProjectView, working: &WorkingKeys) -> impl IntoView + use<> {
    let (label, look) = if project.archived_at.is_some() { ("Archived", "muted") } else { ("Open", "ok") };
    view! {
        <tr>
            <td data-label="Project">
                <a class="row-link" href=format!("/t/{slug}/projects/{}", project.slug)>{project.name.to_string()}</a>
                <div class="mono muted small">{project.slug.to_string()}</div>
            </td>
            <td data-label="Status"><Badge label look /></td>
            <td data-label="Working keys" class="number">{grouped(working.of(project.id))}</td>
            <td data-label="Grace">{duration_words(project.default_grace_seconds)}</td>
            <td data-label="Longest grace">{duration_words(project.max_grace_seconds)}</td>
            <td data-label="After the grace">{after_the_grace(project)}</td>
        </tr>
    }
}

/// What happens to an old key when its grace is over.
pub(super) fn after_the_grace(project: &ProjectView) -> &'static str {
    if project.auto_revoke { "the old key ends" } else { "somebody ends the old key" }
}
