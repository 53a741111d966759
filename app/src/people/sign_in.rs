//! The sign-in page.

use leptos::prelude::*;
use leptos_meta::Title;
use leptos_router::hooks::use_query_map;

use crate::server_context::form_state;
use crate::ui::button::SubmitButton;
use crate::ui::field::{PasswordField, TextField};
use crate::ui::notice::{FormError, Notice};

/// E-mail and password; a refusal keeps the e-mail.
#[component]
pub(crate) fn SignInPage() -> impl IntoView {
    let form = form_state();
    let was_reset = use_query_map().with(|query| query.get("did")).is_some_and(|did| did == "reset");
    let reset = was_reset.then(|| {
        view! { <Notice look="ok" role="status">"Your password is changed. Sign in with it."</Notice> }
    });
    let next = use_query_map().with(|query| query.get("next").unwrap_or_default());
    let next = form.value_or("next", next);
    view! {
        <Title text="Sign in" />
        <main id="main" class="auth">
            <div class="auth-card">
                <p class="brand">"TRONCH"</p>
                <h1>"Sign in"</h1>
                {reset}
                <FormError message=form.error() />
                <form method="post" action="/sign-in">
                    <input type="hidden" name="next" value=next />
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
                    <PasswordField
                        name="password"
                        label="Password"
                        error=form.field_error("password")
                        autocomplete="current-password"
                    />
                    <SubmitButton label="Sign in" />
                </form>
                <p class="muted"><a href="/forgot">"Forgot your password?"</a></p>
            </div>
        </main>
    }
}
