//! The way to the first call, shown until a call is counted: a key, a service token, and the call itself.

use leptos::prelude::*;
use tronch_core::bounds::PAGE_SIZE_MAX;
use tronch_core::{Environment, KeyState, Permission, Timestamp, TokenView};
use tronch_engine::keys::{KeyFilter, list_keys};
use tronch_engine::tokens::list_tokens;
use tronch_engine::usage::{Span, usage_of_tenant};
use tronch_engine::{Error, Tenant};

use crate::server_context::{now, server_context};
use crate::ui::button::LinkButton;
use crate::ui::code::CodeBlock;
use crate::usage::total;

/// How far a tenant has come.
#[derive(Clone)]
pub(super) struct Steps {
    slug: String,
    key: bool,
    token: bool,
    may_make_tokens: bool,
    environment: Environment,
}

impl Steps {
    /// Nothing when a call was counted in the last month, or for those who could not go the way.
    pub(super) async fn of(tenant: &Tenant) -> Result<Option<Self>, Error> {
        let needed = [Permission::KeysCreate, Permission::KeysRead, Permission::TokensRead, Permission::UsageRead];
        if !needed.into_iter().all(|permission| tenant.allows(permission)) {
            return Ok(None);
        }
        if total(&usage_of_tenant(tenant, Span::Month).await?) > 0 {
            return Ok(None);
        }
        let newest = KeyFilter { state: Some(KeyState::Active), descending: true, limit: 1, ..KeyFilter::default() };
        let keys = list_keys(tenant, &newest).await?;
        let tokens = list_tokens(tenant, None, PAGE_SIZE_MAX).await?;
        Ok(Some(Self {
            slug: tenant.slug().to_string(),
            environment: keys.items.first().map_or(Environment::Test, |key| key.environment),
            key: !keys.items.is_empty(),
            token: tokens.items.iter().any(|token| verifies(token, now())),
            may_make_tokens: tenant.allows(Permission::TokensWrite),
        }))
    }
}

fn verifies(token: &TokenView, now: Timestamp) -> bool {
    let lives = token.revoked_at.is_none() && token.expires_at.is_none_or(|end| now < end);
    lives && token.permissions.contains(&Permission::KeysVerify)
}

/// Three steps; what is done is ticked, and the next one has the button.
#[component]
pub(super) fn FirstSteps(steps: Steps) -> impl IntoView {
    let Steps { slug, key, token, may_make_tokens, environment } = steps;
    let call = call(&server_context().public_url, environment);
    let (to_key, to_token) = (format!("/t/{slug}/keys/new"), format!("/t/{slug}/tokens/new"));
    view! {
        <section class="card first-steps" aria-labelledby="first-steps">
            <h2 id="first-steps">"Three steps to the first call"</h2>
            <ol class="steps">
                <Step title="Create a key" done=key>
                    <p>"A key is what you hand to a customer. It is shown once, when it is made."</p>
                    {(!key).then(|| view! { <LinkButton href=to_key label="Create a key" /> })}
                </Step>
                <Step title="Create a service token" done=token>
                    <p>"Your service calls TRONCH with it. The permission " <code>"keys.verify"</code> " is all it needs."</p>
                    {(!token && may_make_tokens)
                        .then(|| view! { <LinkButton href=to_token label="Create a service token" /> })}
                    {(!token && !may_make_tokens)
                        .then(|| view! { <p>"Ask an owner or admin of this organisation for one."</p> })}
                </Step>
                <Step title="Ask about the key" done=false>
                    <p>"Put both into the first two lines. A second or two later the call stands in the chart."</p>
                    <CodeBlock code=call title="Shell" />
                </Step>
            </ol>
        </section>
    }
}

#[component]
fn Step(title: &'static str, done: bool, children: Children) -> impl IntoView {
    view! {
        <li class=if done { "step done" } else { "step" }>
            <h3>{title} {done.then(|| view! { <span class="visually-hidden">" (done)"</span> })}</h3>
            {children()}
        </li>
    }
}

fn call(public_url: &str, environment: Environment) -> String {
    format!(
        "export TRONCH_TOKEN=tronch_st_…\nexport KEY=tronch_sk_{environment}_…\n\ncurl {public_url}/api/v1/keys/verify \\\n  -H \"Authorization: Bearer $TRONCH_TOKEN\" \\\n  \
         -H \"Content-Type: application/json\" \\\n  -d '{{\"key\":\"'$KEY'\",\"environment\":\"{environment}\"}}'"
    )
}
