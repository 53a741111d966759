//! The form that makes a service token: what it may do, and for what.

use leptos::prelude::*;
use leptos_meta::Title;
use leptos_router::hooks::use_query_map;
use tronch_core::{Environment, Permission, TokenView};
use tronch_engine::projects::list_open_projects;

use crate::form_state::{OnceField, ShownSecret};
use crate::keys::SecretOncePage;
use crate::layout::TenantLayout;
use crate::server_context::{form_state, page, tenant};
use crate::ui::button::{LinkButton, SubmitButton};
use crate::ui::field::{CheckboxField, SelectField, TextField, TimeField};
use crate::ui::notice::FormError;
use crate::ui::page_head::PageHead;

/// Where another token like this one is made: everything but its name and end. The secret is nowhere to be had.
pub(crate) fn address_of_another(slug: &str, token: &TokenView) -> String {
    let permissions: Vec<&str> = token.permissions.iter().map(|one| one.as_str()).collect();
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("permissions", &permissions.join(" "));
    if let Some(project) = &token.project {
        query.append_pair("project", project.as_str());
    }
    if let Some(environment) = token.environment {
        query.append_pair("environment", environment.as_str());
    }
    format!("/t/{slug}/tokens/new?{}", query.finish())
}

/// Makes a service token; the answer to the form is the page that shows its secret.
#[component]
pub(crate) fn NewTokenPage() -> impl IntoView {
    if let Some(shown) = use_context::<ShownSecret>() {
        return view! { <SecretOncePage shown /> }.into_any();
    }
    let (tenant, form) = (tenant(), form_state());
    let [permissions, project, environment] =
        use_query_map().with(|map| ["permissions", "project", "environment"].map(|name| map.get(name)));
    page(async move {
        let tenant = tenant?;
        tenant.require(Permission::TokensWrite)?;
        let tokens = format!("/t/{}/tokens", tenant.slug());
        let mut projects = vec![(String::new(), "All projects".to_owned())];
        projects
            .extend(list_open_projects(&tenant).await?.iter().map(|one| (one.slug.to_string(), one.name.to_string())));
        let mut environments = vec![(String::new(), "Both environments".to_owned())];
        environments.extend(Environment::ALL.iter().map(|one| (one.to_string(), one.to_string())));
        let first = permissions.unwrap_or_else(|| Permission::KeysVerify.as_str().to_owned());
        let chosen = form.value_or("permissions", first);
        let boxes: Vec<_> = Permission::ALL
            .into_iter()
            .filter(|permission| tenant.allows(*permission))
            .map(|permission| {
                let checked = chosen.split(' ').any(|word| word == permission.as_str());
                view! {
                    <CheckboxField
                        name="permissions"
                        label=permission.as_str()
                        value=permission.as_str()
                        hint=permission.sentence().to_owned()
                        checked
                    />
                }
            })
            .collect();
        let refused = form.field_error("permissions");
        Ok(view! {
            <Title text="Create service token" />
            <TenantLayout here="tokens">
                <PageHead
                    title="Create service token"
                    subtitle="Give it only what it needs. Its secret is shown once, on the next page."
                    crumbs=vec![(tokens.clone(), "Service tokens".to_owned())]
                />
                <form class="form" method="post" action=format!("{tokens}/new")>
                    <OnceField />
                    <FormError message=form.error() />
                    <TextField
                        name="name"
                        label="Name"
                        value=form.value("name")
                        hint="Which service or script it is for."
                        error=form.field_error("name")
                        maxlength=100
                        required=true
                    />
                    <fieldset class="fieldset">
                        <legend>"Permissions"</legend>
                        {refused.map(|sentence| view! { <p class="field-error" id="permissions-error">{sentence}</p> })}
                        <div class="checks">{boxes}</div>
                    </fieldset>
                    <SelectField
                        name="project"
                        label="Only for the project"
                        value=form.value_or("project", project.unwrap_or_default())
                        options=projects
                        error=form.field_error("project")
                    />
                    <SelectField
                        name="environment"
                        label="Only for the environment"
                        value=form.value_or("environment", environment.unwrap_or_default())
                        options=environments
                        error=form.field_error("environment")
                    />
                    <TimeField
                        name="expires_at"
                        label="Expires"
                        value=form.value("expires_at")
                        hint="Empty: never."
                        error=form.field_error("expires_at")
                    />
                    <div class="form-actions">
                        <SubmitButton label="Create token" />
                        <LinkButton href=tokens.clone() label="Cancel" look="quiet" />
                    </div>
                </form>
            </TenantLayout>
        }
        .into_any())
    })
    .into_any()
}
