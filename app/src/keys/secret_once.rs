//! The one page that shows a secret. It is an answer to a form and has no address of its own.

use leptos::prelude::*;
use leptos_meta::Title;
use tronch_core::{Environment, KeyState, KeyView, Permission, TokenView, format_timestamp};

use super::settings::address_of_another;
use crate::form_state::{SecretOf, ShownSecret};
use crate::layout::TenantLayout;
use crate::server_context::server_context;
use crate::tokens::address_of_another as address_of_another_token;
use crate::ui::button::LinkButton;
use crate::ui::code::CodeBlock;
use crate::ui::islands::{CloseGuard, CopyButton, LocalTime};
use crate::ui::notice::Notice;
use crate::ui::page_head::PageHead;

/// A key's or token's secret, and how to use it.
#[component]
pub(crate) fn SecretOncePage(shown: ShownSecret) -> impl IntoView {
    let context = server_context();
    let slug = context.place.map(|place| place.tenant.slug().to_string()).unwrap_or_default();
    let ShownSecret { secret, of } = shown;
    let (here, title, sentence, list) = match &of {
        SecretOf::Key(_) => {
            ("keys", "Key created", "Hand it to whom it is for. It is not kept anywhere in readable form.", "keys")
        }
        SecretOf::Rotation { .. } => (
            "keys",
            "Key rotated",
            "Hand the new key to whom it is for. It is not kept anywhere in readable form.",
            "keys",
        ),
        SecretOf::Token(_) => {
            ("tokens", "Service token created", "Put it where your service keeps its secrets.", "tokens")
        }
        SecretOf::RotatedToken { .. } => {
            ("tokens", "Service token rotated", "Put it where your service keeps the old one.", "tokens")
        }
    };
    let Some(secret) = secret else {
        return view! { <ShownBefore slug here title of list /> }.into_any();
    };
    let snippet = snippet(&context.public_url, &of, &secret);
    view! {
        <Title text=title />
        <TenantLayout here=here>
            <PageHead title=title subtitle=sentence />
            <section class="secret" aria-labelledby="secret-title">
                <h2 id="secret-title">"Copy it now: it is shown only this once"</h2>
                <code class="secret-value" tabindex="0">{secret.clone()}</code>
                <CopyButton text=secret label="Copy the secret".to_owned() />
                <CloseGuard />
            </section>
            {facts(&slug, &of)}
            {what(&of)}
            {snippet.map(|(title, code)| view! { <section class="section"><h2>"Try it"</h2><CodeBlock code title /></section> })}
            <p class="form-actions">{next(&slug, &of, list)}</p>
        </TenantLayout>
    }
    .into_any()
}

/// What a form that is sent again is answered with: what it made is there, its secret was shown then.
#[component]
fn ShownBefore(
    slug: String,
    here: &'static str,
    title: &'static str,
    of: SecretOf,
    list: &'static str,
) -> impl IntoView {
    let lost = match &of {
        SecretOf::Key(key) | SecretOf::Rotation { successor: key, .. } => {
            let rotate = format!("/t/{slug}/keys/{}/rotate", key.id);
            view! { " If nobody has it, " <a href=rotate>"rotate the key"</a> " to get another." }.into_any()
        }
        SecretOf::Token(token) | SecretOf::RotatedToken { successor: token, .. } => {
            let another = address_of_another_token(&slug, token);
            view! { " If nobody has it, revoke this token and " <a href=another>"create another"</a> "." }.into_any()
        }
    };
    view! {
        <Title text=title />
        <TenantLayout here=here>
            <PageHead title=title subtitle="This form was sent before; sending it again has changed nothing." />
            <Notice title="Its secret was shown the first time">" and is kept nowhere." {lost}</Notice>
            {what(&of)}
            <p class="form-actions">{next(&slug, &of, list)}</p>
        </TenantLayout>
    }
}

/// Which key or token this is about.
fn what(of: &SecretOf) -> impl IntoView + use<> {
    let (name, handle, environment, project, owner) = match of {
        SecretOf::Key(key) | SecretOf::Rotation { successor: key, .. } => (
            key.name.to_string(),
            key.display_handle.clone(),
            key.environment.to_string(),
            key.project.to_string(),
            key.owner.as_ref().map(|owner| owner.external_id.to_string()),
        ),
        SecretOf::Token(token) | SecretOf::RotatedToken { successor: token, .. } => (
            token.name.to_string(),
            tronch_core::CredentialKind::ServiceToken.display_handle(token.handle),
            token.environment.map_or_else(|| "both".to_owned(), |environment| environment.to_string()),
            token.project.as_ref().map_or_else(|| "all".to_owned(), ToString::to_string),
            None,
        ),
    };
    view! {
        <dl class="kv">
            <dt>"Name"</dt><dd>{name}</dd>
            <dt>"Handle"</dt><dd class="mono">{handle}</dd>
            <dt>"Environment"</dt><dd>{environment}</dd>
            <dt>"Project"</dt><dd>{project}</dd>
            {owner.map(|owner| view! { <dt>"Owner"</dt><dd><code>{owner}</code></dd> })}
        </dl>
    }
}

fn facts(slug: &str, of: &SecretOf) -> impl IntoView + use<> {
    match of {
        SecretOf::Rotation { predecessor, successor, confirmed } => {
            let disabled = (successor.state == KeyState::Disabled).then(|| {
                view! {
                    <Notice look="warn" title="The new key is disabled,">
                        " as the old one is. Enable it on its page before you hand it over."
                    </Notice>
                }
            });
            view! { {disabled} {old_key(slug, predecessor, confirmed.clone())} }.into_any()
        }
        SecretOf::RotatedToken { predecessor, .. } => {
            let (handle, end) = (predecessor.handle, predecessor.expires_at.map(format_timestamp));
            let until = end.map(|iso| view! { " expires " <LocalTime iso /> });
            let handle = tronch_core::CredentialKind::ServiceToken.display_handle(handle);
            view! { <Notice look="info" title="The old token">" " <code>{handle}</code> {until} "."</Notice> }
                .into_any()
        }
        SecretOf::Key(_) | SecretOf::Token(_) => ().into_any(),
    }
}

fn old_key(slug: &str, predecessor: &KeyView, confirmed: Option<String>) -> impl IntoView + use<> {
    let link = format!("/t/{slug}/keys/{}", predecessor.id);
    let handle = predecessor.display_handle.clone();
    let until = match predecessor.grace_ends_at {
        _ if predecessor.state == KeyState::Disabled => view! { " is disabled." }.into_any(),
        Some(end) if end > rotated_at(predecessor) => {
            view! { " keeps working until " <LocalTime iso=format_timestamp(end) /> "." }.into_any()
        }
        Some(_) => view! { " has ended." }.into_any(),
        None => view! { " keeps working until you finish the rotation." }.into_any(),
    };
    view! { <Notice look="info" title="The old key">" " <a href=link><code>{handle}</code></a> {until} " " {confirmed}</Notice> }
}

/// The moment of the rotation, which is when the old key was last changed.
fn rotated_at(predecessor: &KeyView) -> tronch_core::Timestamp {
    predecessor.updated_at
}

fn snippet(public_url: &str, of: &SecretOf, secret: &str) -> Option<(String, String)> {
    match of {
        SecretOf::Key(key) | SecretOf::Rotation { successor: key, .. } => {
            Some(("Ask about it, as your service does".to_owned(), verify_key(public_url, key, secret)))
        }
        SecretOf::Token(token) | SecretOf::RotatedToken { successor: token, .. } => {
            let ask = token.permissions.contains(&Permission::KeysVerify);
            ask.then(|| ("Ask about a key".to_owned(), verify_with(public_url, token, secret)))
        }
    }
}

fn verify_key(public_url: &str, key: &KeyView, secret: &str) -> String {
    format!(
        "curl {public_url}/api/v1/keys/verify \\\n  -H \"Authorization: Bearer $TRONCH_TOKEN\" \\\n  \
         -H \"Content-Type: application/json\" \\\n  \
         -d '{{\"key\":\"{secret}\",\"project\":\"{}\",\"environment\":\"{}\"}}'",
        key.project, key.environment
    )
}

fn verify_with(public_url: &str, token: &TokenView, secret: &str) -> String {
    let environment = token.environment.unwrap_or(Environment::Test);
    let project = token.project.as_ref().map_or("default", |project| project.as_str());
    format!(
        "export TRONCH_TOKEN={secret}\n\ncurl {public_url}/api/v1/keys/verify \\\n  \
         -H \"Authorization: Bearer $TRONCH_TOKEN\" \\\n  -H \"Content-Type: application/json\" \\\n  \
         -d '{{\"key\":\"tronch_sk_…\",\"project\":\"{project}\",\"environment\":\"{environment}\"}}'"
    )
}

fn next(slug: &str, of: &SecretOf, list: &str) -> impl IntoView + use<> {
    let (to_key, another) = match of {
        SecretOf::Key(key) => (Some(key.id), Some(address_of_another(slug, key))),
        SecretOf::Rotation { successor, .. } => (Some(successor.id), None),
        SecretOf::Token(token) | SecretOf::RotatedToken { successor: token, .. } => {
            (None, Some(address_of_another_token(slug, token)))
        }
    };
    let tokens =
        to_key.map(|_| view! { <LinkButton href=format!("/t/{slug}/tokens") label="Service tokens" look="quiet" /> });
    view! {
        {to_key.map(|id| view! { <LinkButton href=format!("/t/{slug}/keys/{id}") label="Go to the key" look="primary" /> })}
        {another.map(|href| view! { <LinkButton href label="Create another" /> })}
        <LinkButton href=format!("/t/{slug}/{list}") label="Back to the list" />
        {tokens}
    }
}
