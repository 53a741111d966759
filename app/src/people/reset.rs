//! The pages of whoever forgot their password.

use leptos::prelude::*;
use leptos_meta::Title;
use leptos_router::hooks::{use_params_map, use_query_map};
use tronch_engine::members::look_at_reset;

use crate::server_context::{form_state, page, server_context};
use crate::ui::button::SubmitButton;
use crate::ui::field::{PasswordField, TextField};
use crate::ui::notice::{FormError, Notice};

/// Asks for the address.
#[component]
pub(crate) fn ForgotPage() -> impl IntoView {
    let (context, form) = (server_context(), form_state());
    let asked = use_query_map().with(|map| map.get("did")).is_some_and(|did| did == "asked");
    let body = if !context.engine.sends_mail() {
        view! {
            <p>"This installation sends no mail. Whoever runs this server can set a new password: " <code>"tronch member password"</code></p>
        }
        .into_any()
    } else if asked {
        view! {
            <Notice look="ok" role="status" title="If there is an account with this address,">
                " a link to choose another password is on its way. It works once, within an hour."
            </Notice>
            <p><a href="/forgot">"No mail? Ask again."</a></p>
        }
        .into_any()
    } else {
        view! {
            <FormError message=form.error() />
            <form method="post" action="/forgot">
                <TextField
                    name="email"
                    label="E-mail"
                    value=form.value("email")
                    error=form.field_error("email")
                    input_type="email"
                    autocomplete="username"
                    required=true
                    autofocus=true
                />
                <SubmitButton label="Send a link" />
            </form>
        }
        .into_any()
    };
    view! {
        <Title text="Forgot the password" />
        <main id="main" class="auth">
            <div class="auth-card">
                <p class="brand">"TRONCH"</p>
                <h1>"Forgot the password"</h1>
                {body}
                <p class="muted"><a href="/sign-in">"Back to signing in"</a></p>
            </div>
        </main>
    }
}

/// The page behind the link.
#[component]
pub(crate) fn ResetPage() -> impl IntoView {
    let (context, form) = (server_context(), form_state());
    let token = use_params_map().with(|params| params.get("token")).unwrap_or_default();
    page(async move {
        look_at_reset(&context.engine, &token, context.address).await?;
        Ok(view! {
            <Title text="Choose another password" />
            <main id="main" class="auth">
                <div class="auth-card">
                    <p class="brand">"TRONCH"</p>
                    <h1>"Choose another password"</h1>
                    <FormError message=form.error() />
                    <form method="post" action=format!("/reset/{token}")>
                        <PasswordField
                            name="password"
                            label="Password"
                            hint="At least 12 characters, any of them; nothing that is guessed first. It signs you out everywhere."
                            error=form.field_error("password")
                            autocomplete="new-password"
                        />
                        <SubmitButton label="Change password" />
                    </form>
                </div>
            </main>
        }
        .into_any())
    })
}
