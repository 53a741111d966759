//! The form that rotates a key: how long the old one keeps working.

use leptos::prelude::*;
use leptos_meta::Title;
use tronch_core::{KeyState, Permission, ProjectView, duration_words};
use tronch_engine::{keys, projects};

use super::fields::key_id_of_address;
use super::instead::{ClosedForm, in_place_of};
use super::secret_once::SecretOncePage;
use crate::form_state::{OnceField, ShownSecret};
use crate::layout::TenantLayout;
use crate::server_context::{form_state, page, tenant};
use crate::ui::button::{LinkButton, SubmitButton};
use crate::ui::field::{SelectField, TimeField};
use crate::ui::icons::IconName;
use crate::ui::notice::{FormError, Notice};
use crate::ui::page_head::PageHead;

/// What the list offers, in seconds; a project may allow less.
pub(crate) const GRACES: [(u32, &str); 7] = [
    (0, "not at all: it ends now"),
    (15 * 60, "for 15 minutes"),
    (3600, "for 1 hour"),
    (6 * 3600, "for 6 hours"),
    (24 * 3600, "for 24 hours"),
    (7 * 86_400, "for 7 days"),
    (30 * 86_400, "for 30 days"),
];

/// Rotates a key; the answer to the form is the page that shows the successor's secret.
#[component]
pub(crate) fn RotateKeyPage() -> impl IntoView {
    if let Some(shown) = use_context::<ShownSecret>() {
        return view! { <SecretOncePage shown /> }.into_any();
    }
    let (tenant, key_id, form) = (tenant(), key_id_of_address(), form_state());
    page(async move {
        let (tenant, key_id) = (tenant?, key_id?);
        tenant.require(Permission::KeysRotate)?;
        let key = keys::get_key(&tenant, key_id).await?;
        if let Some(instead) = in_place_of(ClosedForm::Rotate, &tenant, &key) {
            return Ok(instead);
        }
        let project = projects::get_project(&tenant, &key.project).await?;
        let keys = format!("/t/{}/keys", tenant.slug());
        let here = format!("{keys}/{key_id}");
        let first = project.default_grace_seconds.to_string();
        Ok(view! {
            <Title text="Rotate key" />
            <TenantLayout here="keys">
                <PageHead
                    title="Rotate key"
                    subtitle=format!("{} ({})", key.name, key.display_handle)
                    crumbs=vec![(keys, "Keys".to_owned()), (here.clone(), key.name.to_string())]
                />
                <Notice title="A new key takes over.">
                    " It gets this key's name, owner, permissions, metadata and expiry. During the grace both work; then the old one ends by the clock."
                </Notice>
                {(key.state == KeyState::Disabled).then(|| view! {
                    <Notice look="warn" title="This key is disabled.">
                        " So will be the new one: enable it before you hand it over."
                    </Notice>
                })}
                <form class="form" method="post" action=format!("{here}/rotate")>
                    <OnceField />
                    <FormError message=form.error() />
                    <SelectField
                        name="grace"
                        label="The old key keeps working"
                        value=form.value_or("grace", first)
                        options=graces(&project)
                        error=form.field_error("grace")
                    />
                    <TimeField
                        name="grace_until"
                        label="Until"
                        value=form.value("grace_until")
                        hint="Only with the last choice."
                        error=form.field_error("grace_until")
                    />
                    <div class="form-actions">
                        <SubmitButton label="Rotate key" icon=IconName::Rotate />
                        <LinkButton href=here.clone() label="Cancel" look="quiet" />
                    </div>
                </form>
            </TenantLayout>
        }
        .into_any())
    })
    .into_any()
}

/// What the project allows, its own default among them.
fn graces(project: &ProjectView) -> Vec<(String, String)> {
    let mut options: Vec<(u32, String)> = GRACES
        .iter()
        .filter(|(seconds, _)| *seconds <= project.max_grace_seconds)
        .map(|(seconds, label)| (*seconds, (*label).to_owned()))
        .collect();
    let default = project.default_grace_seconds;
    if options.iter().all(|(seconds, _)| *seconds != default) {
        options.push((default, format!("for {}, the project's default", duration_words(default))));
        options.sort_unstable();
    }
    let mut options: Vec<_> = options.into_iter().map(|(seconds, label)| (seconds.to_string(), label)).collect();
    options.push(("until".to_owned(), "until a date, below".to_owned()));
    options
}
