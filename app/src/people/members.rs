//! Who is in the organisation, who is asked in, and the page of one member.

use leptos::prelude::*;
use leptos_meta::Title;
use leptos_router::hooks::{use_params_map, use_query_map};
use tronch_core::{
    InvitationView, MailState, MemberView, PeopleRight, Role, TenantSlug, UserId, format_timestamp, may_give,
};
use tronch_engine::{Error, Tenant, members};

use crate::form_state::FormState;
use crate::layout::TenantLayout;
use crate::server_context::{form_state, page, server_context, tenant};
use crate::ui::badge::Badge;
use crate::ui::button::{LinkButton, SubmitButton};
use crate::ui::email::Email;
use crate::ui::field::{PasswordField, SelectField};
use crate::ui::icons::IconName;
use crate::ui::islands::LocalTime;
use crate::ui::notice::{FormError, Notice};
use crate::ui::page_head::PageHead;
use crate::ui::table::TableWrap;

/// Who is in the tenant of the address.
#[component]
pub(crate) fn MembersPage() -> impl IntoView {
    let (tenant, form) = (tenant(), form_state());
    let did = use_query_map().with(|map| map.get("did"));
    let me = server_context().caller.and_then(|caller| caller.user_id());
    page(async move {
        let tenant = tenant?;
        let found = members::list_members(&tenant).await?;
        let manages = tenant.has_right(PeopleRight::ManageMembers);
        let open = if manages { members::list_invitations(&tenant).await? } else { Vec::new() };
        let slug = tenant.slug().clone();
        let invite = manages.then(|| {
            view! { <LinkButton href=format!("/t/{slug}/members/invite") label="Invite" look="primary" icon=IconName::Plus /> }
        });
        let rows: Vec<_> = found.iter().map(|member| row(&slug, member, Some(member.id) == me)).collect();
        let invitations = (!open.is_empty()).then(|| invitations(&tenant, &open));
        Ok(view! {
            <Title text="Members" />
            <TenantLayout here="members">
                <PageHead title="Members" subtitle="Who may work here, and as what.">{invite}</PageHead>
                <FormError message=form.error() />
                {did.as_deref().and_then(said).map(|said| view! { <Notice look="ok" role="status">{said}</Notice> })}
                <TableWrap label="Members">
                    <table class="table cards">
                        <thead>
                            <tr>
                                <th scope="col">"Name"</th>
                                <th scope="col">"E-mail"</th>
                                <th scope="col">"Role"</th>
                                <th scope="col">"Joined"</th>
                            </tr>
                        </thead>
                        <tbody>{rows}</tbody>
                    </table>
                </TableWrap>
                {invitations}
                {roles()}
            </TenantLayout>
        }
        .into_any())
    })
}

/// What a 303 came from.
fn said(did: &str) -> Option<&'static str> {
    Some(match did {
        "role" => "The role is changed. It counts from now on, on every node.",
        "removed" => "They are no member any more, on every node.",
        "transferred" => "The organisation has a new owner.",
        "invited" => "They are invited. A mail with their link is on its way.",
        "taken-back" => "The invitation is taken back; its link takes nobody in any more.",
        _ => return None,
    })
}

fn row(slug: &TenantSlug, member: &MemberView, is_me: bool) -> impl IntoView + use<> {
    let me = is_me.then(|| view! { " " <Badge label="you" look="muted" /> });
    view! {
        <tr>
            <td data-label="Name">
                <a class="row-link" href=format!("/t/{slug}/members/{}", member.id)>{member.name.clone()}</a> {me}
            </td>
            <td data-label="E-mail"><Email address=member.email.clone() /></td>
            <td data-label="Role">{role_words(member.role)}</td>
            <td data-label="Joined"><LocalTime iso=format_timestamp(member.joined_at) /></td>
        </tr>
    }
}

/// `owner` as "Owner".
pub(super) fn role_words(role: Role) -> &'static str {
    match role {
        Role::Owner => "Owner",
        Role::Admin => "Admin",
        Role::Developer => "Developer",
        Role::Viewer => "Viewer",
    }
}

fn invitations(tenant: &Tenant, open: &[InvitationView]) -> impl IntoView + use<> {
    let slug = tenant.slug();
    let rows: Vec<_> = open
        .iter()
        .map(|one| {
            let may_take_back = tenant.role().is_none_or(|role| may_give(role, one.role));
            let email = one.email.clone();
            let take_back = may_take_back.then(|| {
                view! {
                    <form method="post" action=format!("/t/{slug}/invitations/{}/revoke", one.id)>
                        <button class="button small" aria-label=format!("Take back the invitation of {email}")>"Take back"</button>
                    </form>
                }
            });
            view! {
                <tr>
                    <td data-label="E-mail"><Email address=one.email.clone() /></td>
                    <td data-label="Role">{role_words(one.role)}</td>
                    <td data-label="Invited by">{one.invited_by.clone()}</td>
                    <td data-label="Mail">{mail(one.mail.as_ref())}</td>
                    <td data-label="Ends"><LocalTime iso=format_timestamp(one.expires_at) /></td>
                    <td data-label="">{take_back}</td>
                </tr>
            }
        })
        .collect();
    view! {
        <section class="section" aria-labelledby="invitations">
            <h2 id="invitations">"Invited"</h2>
            <TableWrap label="Open invitations">
                <table class="table cards">
                    <thead>
                        <tr>
                            <th scope="col">"E-mail"</th>
                            <th scope="col">"Role"</th>
                            <th scope="col">"Invited by"</th>
                            <th scope="col">"Mail"</th>
                            <th scope="col">"Ends"</th>
                            <th scope="col"><span class="visually-hidden">"Actions"</span></th>
                        </tr>
                    </thead>
                    <tbody>{rows}</tbody>
                </table>
            </TableWrap>
        </section>
    }
}

/// What has become of the mail.
fn mail(state: Option<&MailState>) -> AnyView {
    match state {
        None => view! { <span class="muted">"by a link of yours"</span> }.into_any(),
        Some(MailState::Sent(at)) => view! { "sent " <LocalTime iso=format_timestamp(*at) /> }.into_any(),
        Some(MailState::Waits { error: None, .. }) => view! { <span>"waits"</span> }.into_any(),
        Some(MailState::Waits { attempts, error: Some(error) }) => {
            let label =
                if *attempts == 1 { "not sent, 1 try".to_owned() } else { format!("not sent, {attempts} tries") };
            view! { <Badge label look="warn" /> " " <span class="small wrap">{error.clone()}</span> }.into_any()
        }
    }
}

/// What each role may.
fn roles() -> impl IntoView {
    let lines: Vec<_> =
        Role::ALL.into_iter().map(|role| view! { <dt>{role_words(role)}</dt><dd>{role.sentence()} "."</dd> }).collect();
    view! {
        <section class="section" aria-labelledby="roles">
            <h2 id="roles">"Roles"</h2>
            <dl class="kv">{lines}</dl>
        </section>
    }
}

/// One member: their role, and what may be done about it.
#[component]
pub(crate) fn MemberPage() -> impl IntoView {
    let (tenant, form) = (tenant(), form_state());
    let named = use_params_map().with(|params| params.get("member"));
    let me = server_context().caller.and_then(|caller| caller.user_id());
    page(async move {
        let tenant = tenant?;
        let not_found = || Error::NotFound { noun: "member" };
        let id: UserId = named.and_then(|text| text.parse().ok()).ok_or_else(not_found)?;
        let member =
            members::list_members(&tenant).await?.into_iter().find(|one| one.id == id).ok_or_else(not_found)?;
        let (slug, is_me) = (tenant.slug().clone(), Some(id) == me);
        let acting = tenant.role().unwrap_or(Role::Owner);
        let may_change = !is_me && may_give(acting, member.role);
        let here = format!("/t/{slug}/members/{id}");
        let change = may_change.then(|| change_form(&form, &member, acting, &here));
        let hand_over = (!is_me && tenant.has_right(PeopleRight::ManageOrganisation))
            .then(|| hand_over_form(&form, &member, &here));
        let leave = is_me.then(|| {
            view! {
                <OneButton
                    id="leave"
                    title="Leave"
                    sentence="You see nothing of this organisation any more, until somebody invites you again."
                    action=format!("/t/{slug}/members/leave")
                    label="Leave the organisation"
                />
            }
        });
        let remove = may_change.then(|| {
            view! {
                <OneButton
                    id="remove"
                    title="Remove"
                    sentence="They see nothing of this organisation any more. Service tokens and keys that they made stay: look through them."
                    action=format!("{here}/remove")
                    label="Remove from the organisation"
                />
            }
        });
        Ok(view! {
            <Title text=member.name.clone() />
            <TenantLayout here="members">
                <PageHead
                    title=member.name.clone()
                    subtitle=member.email.clone()
                    crumbs=vec![(format!("/t/{slug}/members"), "Members".to_owned())]
                />
                <FormError message=form.error() />
                <dl class="kv">
                    <dt>"Role"</dt>
                    <dd>{role_words(member.role)} <span class="muted">" " {member.role.sentence()} "."</span></dd>
                    <dt>"Joined"</dt>
                    <dd><LocalTime iso=format_timestamp(member.joined_at) /></dd>
                </dl>
                {change}
                {hand_over}
                {leave}
                {remove}
            </TenantLayout>
        }
        .into_any())
    })
}

/// The roles that somebody may give, as a list shows them.
pub(super) fn given_by(acting: Role) -> Vec<(String, String)> {
    let given = Role::ALL.into_iter().filter(|role| may_give(acting, *role));
    given.map(|role| (role.to_string(), format!("{}: {}", role_words(role), role.sentence()))).collect()
}

/// Whoever makes somebody an owner gives their password once more. Shown where that is chosen, and always where a browser cannot tell.
pub(super) fn owners_password(form: &FormState, acting: Role) -> Option<AnyView> {
    let field = || {
        view! {
            <div class="of-owner">
                <PasswordField
                    name="password"
                    id="owners-password"
                    label="Your password"
                    hint="To make somebody an owner."
                    error=of_this_form(form, true)
                    required=false
                    autocomplete="current-password"
                />
            </div>
        }
    };
    may_give(acting, Role::Owner).then(|| field().into_any())
}

/// What is wrong with the password of a form: of the one with a role, or of the other.
fn of_this_form(form: &FormState, has_role: bool) -> Option<String> {
    form.field_error("password").filter(|_| form.value("role").is_empty() != has_role)
}

/// The password of whoever is signed in, before what is dangerous.
#[component]
pub(crate) fn OwnPasswordField(form: FormState) -> impl IntoView {
    view! {
        <PasswordField
            name="password"
            label="Your password"
            hint="Once more, so that nobody does this with a browser that was left open."
            error=form.field_error("password")
            autocomplete="current-password"
        />
    }
}

fn change_form(form: &FormState, member: &MemberView, acting: Role, here: &str) -> impl IntoView + use<> {
    view! {
        <section class="section" aria-labelledby="change">
            <h2 id="change">"Change the role"</h2>
            <form class="form" method="post" action=format!("{here}/role")>
                <SelectField
                    name="role"
                    label="Role"
                    value=form.value_or("role", member.role.to_string())
                    options=given_by(acting)
                    error=form.field_error("role")
                />
                {owners_password(form, acting)}
                <div class="form-actions"><SubmitButton label="Change role" /></div>
            </form>
        </section>
    }
}

fn hand_over_form(form: &FormState, member: &MemberView, here: &str) -> impl IntoView + use<> {
    let name = member.name.clone();
    view! {
        <section class="section" aria-labelledby="hand-over">
            <h2 id="hand-over">"Hand over the organisation"</h2>
            <p>{name} " becomes an owner, and you an admin. Only an owner can undo that."</p>
            <form class="form" method="post" action=format!("{here}/owner")>
                <PasswordField
                    name="password"
                    label="Your password"
                    error=of_this_form(form, false)
                    autocomplete="current-password"
                />
                <div class="form-actions"><SubmitButton label="Hand over" look="danger" /></div>
            </form>
        </section>
    }
}

/// A step that takes nothing but a button.
#[component]
fn OneButton(
    id: &'static str,
    title: &'static str,
    sentence: &'static str,
    action: String,
    label: &'static str,
) -> impl IntoView {
    view! {
        <section class="section" aria-labelledby=id>
            <h2 id=id>{title}</h2>
            <p>{sentence}</p>
            <form method="post" action=action>
                <SubmitButton label look="danger" />
            </form>
        </section>
    }
}
