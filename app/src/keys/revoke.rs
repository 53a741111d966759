//! The form that revokes a key: what it hits, and why it is done.

use leptos::prelude::*;
use leptos_meta::Title;
use tronch_core::{Permission, format_timestamp};
use tronch_engine::keys;

use super::fields::{ReasonField, key_id_of_address};
use super::instead::{ClosedForm, in_place_of};
use crate::layout::TenantLayout;
use crate::server_context::{form_state, page, tenant};
use crate::ui::button::{LinkButton, SubmitButton};
use crate::ui::icons::IconName;
use crate::ui::islands::LocalTime;
use crate::ui::notice::{FormError, Notice};
use crate::ui::page_head::PageHead;

/// Revokes a key.
#[component]
pub(crate) fn RevokeKeyPage() -> impl IntoView {
    let (tenant, key_id, form) = (tenant(), key_id_of_address(), form_state());
    page(async move {
        let (tenant, key_id) = (tenant?, key_id?);
        tenant.require(Permission::KeysRevoke)?;
        let key = keys::get_key(&tenant, key_id).await?;
        if let Some(instead) = in_place_of(ClosedForm::Revoke, &tenant, &key) {
            return Ok(instead);
        }
        let keys = format!("/t/{}/keys", tenant.slug());
        let here = format!("{keys}/{key_id}");
        let used = match key.last_used_at {
            Some(at) => view! { " It was last used at " <LocalTime iso=format_timestamp(at) /> "." }.into_any(),
            None => view! { " It was never used." }.into_any(),
        };
        let owner = key.owner.as_ref().map(|owner| format!(" It was issued to {}.", owner.external_id));
        Ok(view! {
            <Title text="Revoke key" />
            <TenantLayout here="keys">
                <PageHead
                    title="Revoke key"
                    subtitle=format!("{} ({})", key.name, key.display_handle)
                    crumbs=vec![(keys, "Keys".to_owned()), (here.clone(), key.name.to_string())]
                />
                <Notice look="warn" title="This cannot be undone.">
                    " Every request with this key is refused from now on." {owner} {used}
                </Notice>
                <form class="form" method="post" action=format!("{here}/revoke")>
                    <FormError message=form.error() />
                    <ReasonField form=form.clone() />
                    <div class="form-actions">
                        <SubmitButton label="Revoke for ever" look="danger" icon=IconName::Ban />
                        <LinkButton href=here.clone() label="Cancel" look="quiet" />
                    </div>
                </form>
            </TenantLayout>
        }
        .into_any())
    })
}
