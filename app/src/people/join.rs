//! The page behind an invitation's link.

use leptos::prelude::*;
use leptos_meta::Title;
use leptos_router::hooks::use_params_map;
use tronch_engine::members::{ShownInvitation, look_at_invitation};

use super::members::role_words;
use crate::form_state::FormState;
use crate::server_context::{form_state, page, server_context};
use crate::ui::button::SubmitButton;
use crate::ui::field::{PasswordField, TextField};
use crate::ui::notice::FormError;

/// The fields of the form that makes an account; passwords are never shown again.
pub const JOIN_FIELDS: [&str; 1] = ["name"];

/// What somebody is invited to, and the way in: to join, to sign in first, or to make an account.
#[component]
pub(crate) fn JoinPage() -> impl IntoView {
    let (context, form) = (server_context(), form_state());
    let token = use_params_map().with(|params| params.get("token")).unwrap_or_default();
    page(async move {
        let shown = look_at_invitation(&context.engine, &token, context.address).await?;
        let signed_in = context.caller.as_ref().and_then(|caller| caller.email()).map(ToOwned::to_owned);
        let (organisation, role) = (shown.tenant.1.to_string(), role_words(shown.invitation.role));
        let (inviter, here) = (shown.invitation.invited_by.clone(), format!("/invitations/{token}"));
        let way_in = match signed_in {
            Some(email) if email.eq_ignore_ascii_case(&shown.invitation.email) => join(&here, &organisation),
            Some(email) => somebody_else(&email, &shown),
            None if shown.has_account => sign_in_first(&here, &shown),
            None => make_account(&form, &here, &shown),
        };
        Ok(view! {
            <Title text=format!("Join {organisation}") />
            <main id="main" class="auth">
                <div class="auth-card">
                    <p class="brand">"TRONCH"</p>
                    <h1>"Join " {organisation.clone()}</h1>
                    <p>{inviter} " invites you to " <strong>{organisation}</strong> " as " {role} "."</p>
                    <FormError message=form.error() />
                    {way_in}
                </div>
            </main>
        }
        .into_any())
    })
}

fn join(here: &str, organisation: &str) -> AnyView {
    view! {
        <form method="post" action=here.to_owned()>
            <SubmitButton label=format!("Join {organisation}") />
        </form>
    }
    .into_any()
}

fn somebody_else(email: &str, shown: &ShownInvitation) -> AnyView {
    view! {
        <p>"The invitation is for " <strong>{shown.invitation.email.clone()}</strong> ", and you are signed in as " {email.to_owned()} "."</p>
        <p>"Sign out, and open the link again."</p>
        <form method="post" action="/sign-out"><SubmitButton label="Sign out" /></form>
    }
    .into_any()
}

fn sign_in_first(here: &str, shown: &ShownInvitation) -> AnyView {
    let next: String = form_urlencoded::byte_serialize(here.as_bytes()).collect();
    view! {
        <p>"There is an account of " <strong>{shown.invitation.email.clone()}</strong> " already: sign in with it to join."</p>
        <p class="form-actions"><a class="button primary" href=format!("/sign-in?next={next}")>"Sign in"</a></p>
    }
    .into_any()
}

fn make_account(form: &FormState, here: &str, shown: &ShownInvitation) -> AnyView {
    view! {
        <form method="post" action=here.to_owned()>
            <p class="muted">"You will sign in as " <strong>{shown.invitation.email.clone()}</strong> "."</p>
            <TextField
                name="name"
                label="Your name"
                value=form.value("name")
                error=form.field_error("name")
                autocomplete="name"
                required=true
                autofocus=true
            />
            <PasswordField
                name="password"
                label="Password"
                hint="At least 12 characters, any of them; nothing that is guessed first."
                error=form.field_error("password")
                autocomplete="new-password"
            />
            <SubmitButton label="Make an account and join" />
        </form>
    }
    .into_any()
}
