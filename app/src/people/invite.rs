//! Asking somebody in: the form, and the page that shows the link.

use leptos::prelude::*;
use leptos_meta::Title;
use tronch_core::{InvitationView, PeopleRight, Role, format_timestamp};

use super::members::{given_by, owners_password, role_words};
use crate::layout::TenantLayout;
use crate::server_context::{form_state, page, server_context, tenant};
use crate::ui::button::{LinkButton, SubmitButton};
use crate::ui::email::Email;
use crate::ui::field::{SelectField, TextField};
use crate::ui::islands::{CloseGuard, CopyButton, LocalTime};
use crate::ui::notice::FormError;
use crate::ui::page_head::PageHead;

/// The fields of the form, in their order.
pub const INVITE_FIELDS: [&str; 2] = ["email", "role"];

/// An invitation whose link is shown once, provided as context to the page that does so.
#[derive(Clone)]
pub struct ShownLink {
    /// What was made.
    pub invitation: InvitationView,
    /// The whole address.
    pub link: String,
}

/// Invites somebody; the answer to the form is the page that shows the link.
#[component]
pub(crate) fn InvitePage() -> impl IntoView {
    if let Some(shown) = use_context::<ShownLink>() {
        return view! { <InvitedPage shown /> }.into_any();
    }
    let (tenant, form) = (tenant(), form_state());
    page(async move {
        let tenant = tenant?;
        tenant.require_right(PeopleRight::ManageMembers)?;
        let members = format!("/t/{}/members", tenant.slug());
        let acting = tenant.role().unwrap_or(Role::Owner);
        Ok(view! {
            <Title text="Invite somebody" />
            <TenantLayout here="members">
                <PageHead
                    title="Invite somebody"
                    subtitle="They get a link that takes them in, once, within a day."
                    crumbs=vec![(members.clone(), "Members".to_owned())]
                />
                <form class="form" method="post" action=format!("{members}/invite")>
                    <FormError message=form.error() />
                    <TextField
                        name="email"
                        label="E-mail"
                        value=form.value("email")
                        hint="Only this address can use the link. Whoever is invited again gets another; the first is dead then."
                        error=form.field_error("email")
                        input_type="email"
                        required=true
                    />
                    <SelectField
                        name="role"
                        label="Role"
                        value=form.value_or("role", Role::Developer.to_string())
                        options=given_by(acting)
                        error=form.field_error("role")
                    />
                    {owners_password(&form, acting)}
                    <div class="form-actions">
                        <SubmitButton label="Invite" />
                        <LinkButton href=members.clone() label="Cancel" look="quiet" />
                    </div>
                </form>
            </TenantLayout>
        }
        .into_any())
    })
    .into_any()
}

#[component]
fn InvitedPage(shown: ShownLink) -> impl IntoView {
    let slug = server_context().place.map(|place| place.tenant.slug().to_string()).unwrap_or_default();
    let ShownLink { invitation, link } = shown;
    view! {
        <Title text="Invited" />
        <TenantLayout here="members">
            <PageHead title="Invited" subtitle="Send them this link yourself: this installation sends no mail." />
            <section class="secret" aria-labelledby="secret-title">
                <h2 id="secret-title">"Copy it now: it is shown only this once"</h2>
                <code class="secret-value" tabindex="0">{link.clone()}</code>
                <CopyButton text=link label="Copy the link".to_owned() />
                <CloseGuard />
            </section>
            <dl class="kv">
                <dt>"E-mail"</dt><dd><Email address=invitation.email /></dd>
                <dt>"Role"</dt><dd>{role_words(invitation.role)}</dd>
                <dt>"Ends"</dt><dd><LocalTime iso=format_timestamp(invitation.expires_at) /></dd>
            </dl>
            <p class="form-actions">
                <LinkButton href=format!("/t/{slug}/members") label="Back to the members" look="primary" />
                <LinkButton href=format!("/t/{slug}/members/invite") label="Invite another" />
            </p>
        </TenantLayout>
    }
}
