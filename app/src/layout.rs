//! The frame of a tenant's pages: top bar, navigation, content. What stands in it is the pages' business.

use leptos::prelude::*;
use tronch_core::{PeopleRight, Permission};

use crate::server_context::{Place, server_context};
use crate::ui::icons::{Icon, IconName};
use crate::ui::islands::{KeyboardShortcuts, ThemeToggle};

/// The frame. `here` names the entry of the navigation that is current.
#[component]
pub(crate) fn TenantLayout(here: &'static str, children: Children) -> impl IntoView {
    let context = server_context();
    view! {
        <div class="app">
            <header class="topbar">
                <a class="brand" href="/">"TRONCH"</a>
                {context.place.as_ref().map(tenant_switch)}
                {who()}
            </header>
            {context.place.as_ref().map(|place| navigation(place, here))}
            <main id="main" class="page">{children()}</main>
        </div>
    }
}

/// The frame of pages about whoever is signed in, which belong to no tenant.
#[component]
pub(crate) fn AccountLayout(children: Children) -> impl IntoView {
    view! {
        <div class="app alone">
            <header class="topbar">
                <a class="brand" href="/">"TRONCH"</a>
                {who()}
            </header>
            <main id="main" class="page">{children()}</main>
        </div>
    }
}

/// Who is signed in, and the way out.
fn who() -> impl IntoView {
    let context = server_context();
    let name = context.caller.as_ref().map(|caller| caller.display_name().to_owned()).unwrap_or_default();
    let email = context.caller.as_ref().and_then(|caller| caller.email()).unwrap_or_default().to_owned();
    view! {
        <div class="who">
            <a class="account" href="/account" title=email>
                <Icon name=IconName::Users /> <span class="truncate">{name}</span>
            </a>
            <KeyboardShortcuts />
            <ThemeToggle />
            <form method="post" action="/sign-out"><button class="button quiet small" type="submit">"Sign out"</button></form>
        </div>
    }
}

fn tenant_switch(place: &Place) -> impl IntoView + use<> {
    let current = place.tenant.slug().clone();
    let name = place.tenant.name().to_string();
    let others: Vec<_> = place
        .others
        .iter()
        .filter(|(slug, _)| *slug != current)
        .map(|(slug, name)| view! { <li><a href=format!("/t/{slug}/")>{name.clone()}</a></li> })
        .collect();
    if others.is_empty() {
        view! { <span class="tenant-name truncate">{name}</span> }.into_any()
    } else {
        view! {
            <details class="tenant-switch">
                <summary>{name}</summary>
                <ul>{others}</ul>
            </details>
        }
        .into_any()
    }
}

fn navigation(place: &Place, here: &'static str) -> impl IntoView + use<> {
    let slug = place.tenant.slug();
    let entries: Vec<_> = [
        ("overview", "Overview", "", IconName::Activity, None),
        ("keys", "Keys", "keys", IconName::Key, Some(Permission::KeysRead)),
        ("projects", "Projects", "projects", IconName::Folder, Some(Permission::ProjectsRead)),
        ("limits", "Limits", "limits", IconName::Clock, Some(Permission::LimitsRead)),
        ("tokens", "Service tokens", "tokens", IconName::Terminal, Some(Permission::TokensRead)),
        ("members", "Members", "members", IconName::Users, None),
        ("audit", "Audit log", "audit", IconName::List, Some(Permission::AuditRead)),
    ]
    .into_iter()
    .filter(|(.., permission)| permission.is_none_or(|permission| place.tenant.allows(permission)))
    .chain(place.tenant.has_right(PeopleRight::ManageOrganisation).then_some((
        "settings",
        "Organisation",
        "settings",
        IconName::Shield,
        None,
    )))
    .map(|(id, label, path, icon, _)| {
        let current = (id == here).then_some("page");
        view! { <li><a href=format!("/t/{slug}/{path}") aria-current=current><Icon name=icon />{label}</a></li> }
    })
    .collect();
    view! { <nav class="nav" aria-label="Organisation"><ul>{entries}</ul></nav> }
}
