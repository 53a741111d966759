//! The one page that shows a secret. It is an answer to a form and has no address of its own.

use leptos::prelude::*;
use leptos_meta::Title;
use tronch_core::{Environment, KeyState, KeyView, Permission, TokenView, format_timestamp};

use crate::form_state::{SecretOf, ShownSecret};
use crate::layout::TenantLayout;
use crate::server_context::server_context;
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
                <CloseGuard message="I have stored it".to_owned() />
            </section>
            {facts(&slug, &of)}
            {snippet.map(|(title, code)| view! { <section class="section"><h2>"Try it"</h2><CodeBlock code title /></section> })}
            <p class="form-actions">{next(&slug, &of, list)}</p>
        </TenantLayout>
    }
}

fn facts(slug: &str, of: &SecretOf) -> impl IntoView + use<> {
    match of {
        SecretOf::Rotation { predecessor, successor } => {
            let disabled = (successor.state == KeyState::Disabled).then(|| {
                view! {
                    <Notice look="warn" title="The new key is disabled,">
                        " as the old one is. Enable it on its page before you hand it over."
                    </Notice>
                }
            });
            view! { {disabled} {old_key(slug, predecessor)} }.into_any()
        }
        SecretOf::Key(_) | SecretOf::Token(_) => ().into_any(),
    }
}

fn old_key(slug: &str, predecessor: &KeyView) -> impl IntoView + use<> {
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
    view! { <Notice look="info" title="The old key">" " <a href=link><code>{handle}</code></a> {until}</Notice> }
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
        SecretOf::Token(token) => {
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
    format!(
        "export TRONCH_TOKEN={secret}\n\ncurl {public_url}/api/v1/keys/verify \\\n  \
         -H \"Authorization: Bearer $TRONCH_TOKEN\" \\\n  -H \"Content-Type: application/json\" \\\n  \
         -d '{{\"key\":\"tronch_sk_…\",\"environment\":\"{environment}\"}}'"
    )
}

fn next(slug: &str, of: &SecretOf, list: &str) -> impl IntoView + use<> {
    let to_key = match of {
        SecretOf::Key(key) | SecretOf::Rotation { successor: key, .. } => Some(key.id),
        SecretOf::Token(_) => None,
    };
    let tokens =
        to_key.map(|_| view! { <LinkButton href=format!("/t/{slug}/tokens") label="Service tokens" look="quiet" /> });
    view! {
        {to_key.map(|id| view! { <LinkButton href=format!("/t/{slug}/keys/{id}") label="Go to the key" look="primary" /> })}
        <LinkButton href=format!("/t/{slug}/{list}") label="Back to the list" />
        {tokens}
    }
}
