//! The form that makes a project.

use leptos::prelude::*;
use leptos_meta::Title;
use tronch_core::Permission;

use crate::form_state::OnceField;
use crate::layout::TenantLayout;
use crate::server_context::{form_state, page, tenant};
use crate::ui::button::{LinkButton, SubmitButton};
use crate::ui::field::TextField;
use crate::ui::notice::{FormError, Notice};
use crate::ui::page_head::PageHead;

/// Makes a project; its settings are on its own page.
#[component]
pub(crate) fn NewProjectPage() -> impl IntoView {
    let (tenant, form) = (tenant(), form_state());
    page(async move {
        let tenant = tenant?;
        tenant.require(Permission::ProjectsWrite)?;
        let projects = format!("/t/{}/projects", tenant.slug());
        Ok(view! {
            <Title text="Create project" />
            <TenantLayout here="projects">
                <PageHead
                    title="Create project"
                    subtitle="Keys of one project are unknown to the services of another."
                    crumbs=vec![(projects.clone(), "Projects".to_owned())]
                />
                <Notice title="From the second project on,">
                    " each call that asks about a key has to say which project it expects, or come with a service token that is limited to one. Calls that say neither are answered 422."
                </Notice>
                <form class="form" method="post" action=format!("{projects}/new")>
                    <OnceField />
                    <FormError message=form.error() />
                    <TextField
                        name="name"
                        label="Name"
                        value=form.value("name")
                        placeholder="Payments"
                        error=form.field_error("name")
                        maxlength=100
                        required=true
                        autofocus=true
                    />
                    <TextField
                        name="slug"
                        label="Slug"
                        value=form.value("slug")
                        placeholder="payments"
                        hint="What your services send as project. Small letters, digits and hyphens; it never changes and is never given to another project."
                        error=form.field_error("slug")
                        maxlength=39
                        required=true
                        mono=true
                    />
                    <div class="form-actions">
                        <SubmitButton label="Create project" />
                        <LinkButton href=projects.clone() label="Cancel" look="quiet" />
                    </div>
                </form>
            </TenantLayout>
        }
        .into_any())
    })
}
