//! The forms that make a key and change its settings. Environment and project are chosen once.

use leptos::prelude::*;
use leptos_meta::Title;
use leptos_router::hooks::use_query_map;
use tronch_core::{Environment, KeyView, Permission, ProjectView, format_timestamp, searchable};
use tronch_engine::{keys, projects};

use super::fields::key_id_of_address;
use super::instead::{ClosedForm, in_place_of};
use super::secret_once::SecretOncePage;
use crate::form_state::{FormState, OnceField, ShownSecret, datetime_local};
use crate::layout::TenantLayout;
use crate::server_context::{form_state, page, tenant};
use crate::ui::button::{LinkButton, SubmitButton};
use crate::ui::field::{SelectField, TextArea, TextField, TimeField};
use crate::ui::notice::FormError;
use crate::ui::page_head::PageHead;

/// What stands in the fields at first. Where a key belongs is asked of a new one only.
#[derive(Default)]
struct First {
    project: Option<String>,
    environment: Option<String>,
    name: String,
    owner: String,
    permissions: String,
    metadata: String,
    expires_at: String,
}

impl First {
    /// What the address of a new key's form says of it.
    fn of_address() -> Self {
        use_query_map().with(|map| {
            let text = |name| map.get(name).unwrap_or_default();
            Self {
                project: map.get("project"),
                environment: map.get("environment"),
                owner: text("owner"),
                permissions: text("permissions"),
                ..Self::default()
            }
        })
    }
}

/// Where another key like this one is made: everything but its name, metadata and end. The secret is nowhere to be had,
/// and what somebody typed goes into an address as far as it may.
pub(super) fn address_of_another(slug: &str, key: &KeyView) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("project", key.project.as_str()).append_pair("environment", key.environment.as_str());
    if let Some(owner) = &key.owner {
        query.append_pair("owner", &searchable(owner.external_id.as_str()));
    }
    if !key.permissions.is_empty() {
        let permissions: Vec<String> = key.permissions.iter().map(|one| searchable(one.as_str())).collect();
        query.append_pair("permissions", &permissions.join(" "));
    }
    format!("/t/{slug}/keys/new?{}", query.finish())
}

/// Makes a key; the answer to the form is the page that shows its secret.
#[component]
pub(crate) fn NewKeyPage() -> impl IntoView {
    if let Some(shown) = use_context::<ShownSecret>() {
        return view! { <SecretOncePage shown /> }.into_any();
    }
    let (tenant, form, first) = (tenant(), form_state(), First::of_address());
    page(async move {
        let tenant = tenant?;
        tenant.require(Permission::KeysCreate)?;
        let slug = tenant.slug().clone();
        let projects = projects::list_open_projects(&tenant).await?;
        let keys = format!("/t/{slug}/keys");
        Ok(view! {
            <Title text="Create key" />
            <TenantLayout here="keys">
                <PageHead
                    title="Create key"
                    subtitle="Its secret is shown once, on the next page."
                    crumbs=vec![(keys.clone(), "Keys".to_owned())]
                />
                <form class="form" method="post" action=format!("{keys}/new")>
                    <OnceField />
                    <FormError message=form.error() />
                    {place_fields(&form, &projects, &first)}
                    {setting_fields(&form, first)}
                    <div class="form-actions">
                        <SubmitButton label="Create key" />
                        <LinkButton href=keys.clone() label="Cancel" look="quiet" />
                    </div>
                </form>
            </TenantLayout>
        }
        .into_any())
    })
    .into_any()
}

/// Changes a key's settings.
#[component]
pub(crate) fn EditKeyPage() -> impl IntoView {
    let (tenant, key_id, form) = (tenant(), key_id_of_address(), form_state());
    page(async move {
        let (tenant, key_id) = (tenant?, key_id?);
        tenant.require(Permission::KeysUpdate)?;
        let key = keys::get_key(&tenant, key_id).await?;
        if let Some(instead) = in_place_of(ClosedForm::Edit, &tenant, &key) {
            return Ok(instead);
        }
        let keys = format!("/t/{}/keys", tenant.slug());
        let here = format!("{keys}/{key_id}");
        let permissions: Vec<_> = key.permissions.iter().map(ToString::to_string).collect();
        let first = First {
            name: key.name.to_string(),
            owner: key.owner.as_ref().map(|owner| owner.external_id.to_string()).unwrap_or_default(),
            permissions: permissions.join("\n"),
            metadata: super::one::pretty(&key.metadata_json),
            expires_at: datetime_local(key.expires_at),
            ..First::default()
        };
        Ok(view! {
            <Title text="Edit key" />
            <TenantLayout here="keys">
                <PageHead
                    title="Edit key"
                    subtitle=format!("{} ({}). It keeps its secret, project and environment.", key.name, key.display_handle)
                    crumbs=vec![(keys, "Keys".to_owned()), (here.clone(), key.name.to_string())]
                />
                <form class="form" method="post" action=format!("{here}/edit")>
                    <input type="hidden" name="seen" value=form.value_or("seen", format_timestamp(key.updated_at)) />
                    <FormError message=form.error() />
                    {form.error().map(|_| {
                        let anew = format!("{here}/edit");
                        view! { <p><a href=anew>"Open this form anew, with the key as it is now"</a></p> }
                    })}
                    {setting_fields(&form, first)}
                    <div class="form-actions">
                        <SubmitButton label="Save changes" />
                        <LinkButton href=here.clone() label="Cancel" look="quiet" />
                    </div>
                </form>
            </TenantLayout>
        }
        .into_any())
    })
}

fn place_fields(form: &FormState, projects: &[ProjectView], first: &First) -> impl IntoView + use<> {
    let environments = vec![
        (Environment::Test.as_str().to_owned(), "test: for trying things out".to_owned()),
        (Environment::Live.as_str().to_owned(), "live: for real traffic".to_owned()),
    ];
    let or = |first: &Option<String>, otherwise: &str| first.clone().unwrap_or_else(|| otherwise.to_owned());
    let project = (projects.len() > 1 || form.field_error("project").is_some()).then(|| {
        let options = projects.iter().map(|one| (one.slug.to_string(), one.name.to_string())).collect();
        view! {
            <SelectField
                name="project"
                label="Project"
                value=form.value_or("project", or(&first.project, "default"))
                options
                error=form.field_error("project")
            />
        }
    });
    view! {
        {project}
        <SelectField
            name="environment"
            label="Environment"
            value=form.value_or("environment", or(&first.environment, "test"))
            options=environments
            hint="A key belongs to one environment and never leaves it."
            error=form.field_error("environment")
        />
    }
}

fn setting_fields(form: &FormState, first: First) -> impl IntoView + use<> {
    view! {
        <TextField
            name="name"
            label="Name"
            value=form.value_or("name", first.name)
            hint="What you will find it by, such as the customer and what it is for."
            error=form.field_error("name")
            maxlength=100
            required=true
        />
        <TextField
            name="owner"
            label="Owner"
            value=form.value_or("owner", first.owner)
            hint="Whom you issue it to, in your own ids. Your services get it with each answer."
            error=form.field_error("owner")
            placeholder="cus_42"
            maxlength=255
            mono=true
        />
        <TextArea
            name="permissions"
            label="Permissions"
            value=form.value_or("permissions", first.permissions)
            hint="Words of your own, apart by spaces, commas or lines. A trailing * stands for all below: invoices.*"
            error=form.field_error("permissions")
            rows=3
            placeholder="invoices.read invoices.write"
            mono=true
        />
        <TimeField
            name="expires_at"
            label="Expires"
            value=form.value_or("expires_at", first.expires_at)
            hint="Empty: never."
            error=form.field_error("expires_at")
        />
        <TextArea
            name="metadata"
            label="Metadata"
            value=form.value_or("metadata", first.metadata)
            hint="A JSON object of at most 8 KiB. Your services get it with each answer."
            error=form.field_error("metadata")
            rows=4
            placeholder="{\"plan\": \"pro\"}"
            mono=true
        />
    }
}
