//! The document around every page, and which page stands at which address. Pages are in their noun's folder.

use std::sync::Arc;

use leptos::hydration::HydrationScripts;
use leptos::nonce::use_nonce;
use leptos::prelude::*;
use leptos_axum::ResponseOptions;
use leptos_meta::{MetaTags, Title, provide_meta_context};
use leptos_router::components::{Route, Router, Routes};
use leptos_router::path;
use tronch_engine::Error;

use crate::audit::AuditPage;
use crate::error_page::ErrorPage;
use crate::keys::{
    ChangeKeysPage, EditKeyPage, KeyPage, KeysPage, NewKeyPage, RevokeAllKeysPage, RevokeKeyPage, RotateKeyPage,
};
use crate::limits::{EditLimitPage, LimitPage, LimitsPage, NewLimitPage};
use crate::overview::OverviewPage;
use crate::people::{
    AccountPage, ForgotPage, InvitePage, JoinPage, MemberPage, MembersPage, NewOrganisationPage, ResetPage,
    SettingsPage, SignInPage, SignUpPage,
};
use crate::projects::{NewProjectPage, ProjectPage, ProjectsPage};
use crate::server_context::{Refusal, server_context};
use crate::tokens::{NewTokenPage, TokensPage};
use crate::ui::escape::escaped;

/// Where the browser part is served from: `/{folder}/tronch.js`, `tronch_bg.wasm`, `tronch.css`.
#[derive(Debug, Clone)]
pub struct Assets {
    /// Folder without slashes at its ends; its name holds a hash of what is in it.
    pub folder: String,
}

/// What the page may load and run: files of this host, and in the page those scripts alone that carry this answer's number. Whoever has yet
/// to sign in loads no file to run. (`'strict-dynamic'` would do without this host's files, but what Leptos has preloaded carries no number.)
fn set_content_security_policy() {
    let scripts = match (use_nonce(), server_context().caller) {
        (Some(nonce), Some(_)) => format!("'nonce-{nonce}' 'self' 'wasm-unsafe-eval'"),
        (Some(nonce), None) => format!("'nonce-{nonce}'"),
        (None, _) => "'none'".to_owned(),
    };
    let policy = format!(
        "default-src 'none'; script-src {scripts}; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; \
         base-uri 'none'; frame-ancestors 'none'"
    );
    if let Ok(policy) = http::HeaderValue::from_str(&policy) {
        expect_context::<ResponseOptions>().insert_header(http::header::CONTENT_SECURITY_POLICY, policy);
    }
}

/// The whole document.
pub fn shell(assets: &Assets) -> impl IntoView + use<> {
    provide_meta_context();
    set_content_security_policy();
    let options = LeptosOptions::builder().output_name("tronch").site_pkg_dir(assets.folder.clone()).build();
    let stylesheet = format!("/{}/tronch.css", assets.folder);
    // Nothing but islands ever wakes. `HydrationScripts` says the same, but is not on every page.
    if let Some(shared) = Owner::current_shared_context() {
        shared.set_is_hydrating(false);
    }
    // Islands stand in the frame of whoever is signed in; whoever has yet to sign in loads no script.
    let scripts = server_context().caller.map(|_| view! { <HydrationScripts options islands=true /> });
    view! {
        <!DOCTYPE html>
        <html lang="en">
            <head>
                <meta charset="utf-8" />
                <meta name="viewport" content="width=device-width, initial-scale=1" />
                <meta name="color-scheme" content="light dark" />
                <link rel="icon" href=format!("/{}/icon.svg", assets.folder) type="image/svg+xml" />
                <link rel="stylesheet" href=stylesheet />
                {scripts}
                <MetaTags />
            </head>
            <body>
                <App />
            </body>
        </html>
    }
}

#[component]
fn App() -> impl IntoView {
    let insecure = server_context().insecure_http;
    view! {
        <Title formatter=|title: String| format!("{} · TRONCH", escaped(&title)) />
        <a class="skip-link" href="#main">"Skip to the content"</a>
        <Show when=move || insecure>
            <p class="banner" role="status">
                "This site is served over plain HTTP: passwords and keys can be read on the way. Put a proxy with TLS in front."
            </p>
        </Show>
        {match use_context::<Refusal>() {
            Some(Refusal(error)) => view! { <ErrorPage error /> }.into_any(),
            None => view! { <Pages /> }.into_any(),
        }}
    }
}

/// The route table. Every address here stands in the door's table too.
#[component]
fn Pages() -> impl IntoView {
    let nothing = || view! { <ErrorPage error=Arc::new(Error::NotFound { noun: "page" }) /> };
    view! {
        <Router>
            <Routes fallback=nothing>
                <Route path=path!("/sign-up") view=SignUpPage />
                <Route path=path!("/sign-in") view=SignInPage />
                <Route path=path!("/t/:tenant") view=OverviewPage />
                <Route path=path!("/t/:tenant/keys") view=KeysPage />
                <Route path=path!("/t/:tenant/keys/new") view=NewKeyPage />
                <Route path=path!("/t/:tenant/keys/bulk") view=ChangeKeysPage />
                <Route path=path!("/t/:tenant/keys/revoke") view=RevokeAllKeysPage />
                <Route path=path!("/t/:tenant/keys/:key") view=KeyPage />
                <Route path=path!("/t/:tenant/keys/:key/edit") view=EditKeyPage />
                <Route path=path!("/t/:tenant/keys/:key/rotate") view=RotateKeyPage />
                <Route path=path!("/t/:tenant/keys/:key/revoke") view=RevokeKeyPage />
                <Route path=path!("/t/:tenant/projects") view=ProjectsPage />
                <Route path=path!("/t/:tenant/projects/new") view=NewProjectPage />
                <Route path=path!("/t/:tenant/projects/:project") view=ProjectPage />
                <Route path=path!("/t/:tenant/limits") view=LimitsPage />
                <Route path=path!("/t/:tenant/limits/new") view=NewLimitPage />
                <Route path=path!("/t/:tenant/limits/:limit") view=LimitPage />
                <Route path=path!("/t/:tenant/limits/:limit/edit") view=EditLimitPage />
                <Route path=path!("/t/:tenant/tokens") view=TokensPage />
                <Route path=path!("/t/:tenant/tokens/new") view=NewTokenPage />
                <Route path=path!("/t/:tenant/members") view=MembersPage />
                <Route path=path!("/t/:tenant/members/invite") view=InvitePage />
                <Route path=path!("/t/:tenant/members/:member") view=MemberPage />
                <Route path=path!("/invitations/:token") view=JoinPage />
                <Route path=path!("/t/:tenant/settings") view=SettingsPage />
                <Route path=path!("/forgot") view=ForgotPage />
                <Route path=path!("/reset/:token") view=ResetPage />
                <Route path=path!("/account") view=AccountPage />
                <Route path=path!("/account/organisations/new") view=NewOrganisationPage />
                <Route path=path!("/t/:tenant/audit") view=AuditPage />
            </Routes>
        </Router>
    }
}
