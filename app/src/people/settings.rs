//! The page of the organisation itself: what there is of it to take along, and its end.

use leptos::prelude::*;
use leptos_meta::Title;
use tronch_core::PeopleRight;

use crate::layout::TenantLayout;
use crate::server_context::{form_state, page, tenant};
use crate::ui::button::{LinkButton, SubmitButton};
use crate::ui::field::{PasswordField, TextField};
use crate::ui::notice::FormError;
use crate::ui::page_head::PageHead;

/// The fields of the form that deletes it; the password is never shown again.
pub const DELETE_FIELDS: [&str; 1] = ["confirmation"];

/// The tenant of the address, as its owners see it.
#[component]
pub(crate) fn SettingsPage() -> impl IntoView {
    let (tenant, form) = (tenant(), form_state());
    page(async move {
        let tenant = tenant?;
        tenant.require_right(PeopleRight::ManageOrganisation)?;
        let (slug, name) = (tenant.slug().to_string(), tenant.name().to_string());
        let export = format!("/t/{slug}/settings/export");
        Ok(view! {
            <Title text="Organisation" />
            <TenantLayout here="settings">
                <PageHead title=name.clone() subtitle="The organisation itself." />
                <section class="section" aria-labelledby="export">
                    <h2 id="export">"Take it along"</h2>
                    <p>"Projects, members, keys without their secrets, and the whole audit log: a file with one JSON object a line."</p>
                    <p class="form-actions"><LinkButton href=export label="Download" /></p>
                </section>
                <section class="section" aria-labelledby="delete">
                    <h2 id="delete">"Delete"</h2>
                    <p>
                        "Nobody comes in any more, and its service tokens stop working, so no key of it is found valid. For a week any owner can undo that \
                        on the page of their account. Then all of it is removed for ever, the audit log too."
                    </p>
                    <form class="form" method="post" action=format!("/t/{slug}/settings/delete")>
                        <FormError message=form.error() />
                        <TextField
                            name="confirmation"
                            label=format!("Type {slug}")
                            value=form.value("confirmation")
                            error=form.field_error("confirmation")
                            required=true
                            mono=true
                        />
                        <PasswordField
                            name="password"
                            label="Your password"
                            error=form.field_error("password")
                            autocomplete="current-password"
                        />
                        <div class="form-actions"><SubmitButton label="Delete the organisation" look="danger" /></div>
                    </form>
                </section>
            </TenantLayout>
        }
        .into_any())
    })
}
