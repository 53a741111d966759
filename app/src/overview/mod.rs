//! A tenant's first page.

use leptos::prelude::*;
use leptos_meta::Title;

use crate::layout::TenantLayout;
use crate::server_context::{page, tenant};

/// What happens in the tenant, at a glance.
#[component]
pub(crate) fn OverviewPage() -> impl IntoView {
    let tenant = tenant();
    page(async move {
        let tenant = tenant?;
        let name = tenant.name().to_string();
        Ok(view! {
            <Title text="Overview" />
            <TenantLayout here="overview">
                <header class="page-head">
                    <h1>"Overview"</h1>
                    <p class="muted">{name}</p>
                </header>
            </TenantLayout>
        }
        .into_any())
    })
}
