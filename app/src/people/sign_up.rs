//! The first sign-up: the page that a fresh installation shows.

use leptos::prelude::*;
use leptos_meta::Title;

use crate::server_context::form_state;
use crate::ui::button::SubmitButton;
use crate::ui::field::{PasswordField, TextField};
use crate::ui::notice::FormError;

/// Asks for the setup code, a person and their organisation.
#[component]
pub(crate) fn SignUpPage() -> impl IntoView {
    let form = form_state();
    let text = move |name: &'static str| (form.value(name), form.field_error(name));
    let form = form_state();
    let (code, code_error) = text("setup_code");
    let (name, name_error) = text("name");
    let (email, email_error) = text("email");
    let (tenant_name, tenant_name_error) = text("tenant_name");
    let (tenant_slug, tenant_slug_error) = text("tenant_slug");
    view! {
        <Title text="Set up TRONCH" />
        <main id="main" class="auth">
            <div class="auth-card">
                <p class="brand">"TRONCH"</p>
                <h1>"Set up this installation"</h1>
                <p class="muted">"You will be the owner of the first organisation. This page closes when you are done."</p>
                <FormError message=form.error() />
                <form method="post" action="/sign-up">
                    <TextField
                        name="setup_code"
                        label="Setup code"
                        hint="Printed by the server when it started, and in the file setup-code in its data directory."
                        value=code
                        error=code_error
                        autocomplete="off"
                        mono=true
                        required=true
                    />
                    <TextField name="name" label="Your name" value=name error=name_error autocomplete="name" required=true />
                    <TextField
                        name="email"
                        label="E-mail"
                        value=email
                        error=email_error
                        input_type="email"
                        autocomplete="username"
                        required=true
                    />
                    <PasswordField
                        name="password"
                        label="Password"
                        hint="At least 12 characters, any of them; nothing that is guessed first."
                        error=form.field_error("password")
                        autocomplete="new-password"
                    />
                    <TextField
                        name="tenant_name"
                        label="Organisation"
                        value=tenant_name
                        error=tenant_name_error
                        autocomplete="organization"
                        required=true
                    />
                    <TextField
                        name="tenant_slug"
                        label="Address of the organisation"
                        hint="2–39 small letters, digits and hyphens. It is part of every address and never changes."
                        value=tenant_slug
                        error=tenant_slug_error
                        autocomplete="off"
                        mono=true
                        required=true
                    />
                    <SubmitButton label="Create the organisation" />
                </form>
            </div>
        </main>
    }
}
