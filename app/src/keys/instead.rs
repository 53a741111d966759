//! What stands in place of a key's form that could only be refused: why, and where to go on. What is refused is the
//! engine's to decide.

use leptos::prelude::*;
use leptos_meta::Title;
use tronch_core::{KeyState, KeyView, Permission, RotationView};
use tronch_engine::Tenant;

use super::list::time_or;
use super::settings::address_of_another;
use crate::layout::TenantLayout;
use crate::server_context::now;
use crate::ui::button::LinkButton;
use crate::ui::notice::Notice;
use crate::ui::page_head::PageHead;

/// The forms that a key's past can close.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ClosedForm {
    Edit,
    Rotate,
    Revoke,
}

impl ClosedForm {
    fn title(self) -> &'static str {
        match self {
            Self::Edit => "Edit key",
            Self::Rotate => "Rotate key",
            Self::Revoke => "Revoke key",
        }
    }

    /// Why the form could only be refused; nothing where it could be taken.
    fn why(self, key: &KeyView) -> Option<&'static str> {
        let revoked = key.state == KeyState::Revoked;
        match self {
            Self::Rotate if successor(key).is_some() => Some("This key was rotated already, and a key rotates once."),
            Self::Revoke => revoked.then_some("This key is revoked already, for ever."),
            _ if revoked => Some("This key is revoked, which is final."),
            _ if key.has_ended(now()) => Some("This key has expired, which is final."),
            _ => None,
        }
    }
}

fn successor(key: &KeyView) -> Option<tronch_core::KeyId> {
    match key.rotation {
        Some(RotationView::Predecessor { successor_id, .. }) => Some(successor_id),
        _ => None,
    }
}

/// The page in place of the form; nothing where the form could be taken.
pub(super) fn in_place_of(form: ClosedForm, tenant: &Tenant, key: &KeyView) -> Option<AnyView> {
    let why = form.why(key)?;
    let keys = format!("/t/{}/keys", tenant.slug());
    let here = format!("{keys}/{}", key.id);
    let since = key.revoked_at.map(|at| view! { " It was revoked at " {time_or(Some(at), "")} "." });
    let on = match successor(key) {
        Some(successor_id) => {
            let href = format!("{keys}/{successor_id}");
            view! { " Its successor is " <a href=href>"the newer key of this name"</a> "." }.into_any()
        }
        None if form != ClosedForm::Revoke && tenant.allows(Permission::KeysCreate) => {
            let href = address_of_another(tenant.slug().as_str(), key);
            view! { " You can " <a href=href>"create another"</a> " like it." }.into_any()
        }
        None => ().into_any(),
    };
    let (title, subtitle) = (form.title(), format!("{} ({})", key.name, key.display_handle));
    let crumbs = vec![(keys, "Keys".to_owned()), (here.clone(), key.name.to_string())];
    let page = view! {
        <Title text=title />
        <TenantLayout here="keys">
            <PageHead title=title subtitle=subtitle crumbs=crumbs />
            <Notice title=why>{since} {on}</Notice>
            <p class="form-actions"><LinkButton href=here label="Back to the key" /></p>
        </TenantLayout>
    };
    Some(page.into_any())
}
