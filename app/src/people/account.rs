//! The page of whoever is signed in: where else they are signed in, another password, their organisations.

use leptos::prelude::*;
use leptos_meta::Title;
use leptos_router::hooks::use_query_map;
use tronch_core::{SessionView, format_timestamp};
use tronch_engine::{Error, members, sessions, tenants};

use crate::form_state::FormState;
use crate::layout::AccountLayout;
use crate::server_context::{form_state, page, server_context};
use crate::ui::badge::Badge;
use crate::ui::button::{LinkButton, SubmitButton};
use crate::ui::field::{PasswordField, TextField};
use crate::ui::icons::IconName;
use crate::ui::islands::LocalTime;
use crate::ui::notice::{FormError, Notice};
use crate::ui::page_head::PageHead;
use crate::ui::table::TableWrap;

/// The fields of the form that makes an organisation.
pub const ORGANISATION_FIELDS: [&str; 2] = ["tenant_name", "tenant_slug"];

/// The caller's own account.
#[component]
pub(crate) fn AccountPage() -> impl IntoView {
    let (context, form) = (server_context(), form_state());
    let (did, ended) = use_query_map().with(|map| (map.get("did"), map.get("ended")));
    page(async move {
        let caller = context.caller.clone().ok_or(Error::Unauthenticated)?;
        let found = sessions::my_sessions(&context.engine, &caller).await?;
        let organisations = members::my_tenants(&context.engine, &caller).await?;
        let others = found.iter().filter(|session| !session.is_this).count();
        let rows: Vec<_> = found.iter().map(row).collect();
        let organisations: Vec<_> = organisations
            .into_iter()
            .map(|(slug, name)| view! { <li><a href=format!("/t/{slug}/")>{name.to_string()}</a></li> })
            .collect();
        let deleted = deleted_section(&tenants::my_deleted_tenants(&context.engine, &caller).await?);
        let everywhere = (others > 0).then(|| {
            view! {
                <form method="post" action="/account/sessions/end-others">
                    <SubmitButton label="Sign out everywhere else" />
                </form>
            }
        });
        Ok(view! {
            <Title text="Your account" />
            <AccountLayout>
                <PageHead
                    title=caller.display_name().to_owned()
                    subtitle=caller.email().unwrap_or_default().to_owned()
                />
                {did.as_deref().and_then(|did| said(did, ended.as_deref())).map(|said| view! { <Notice look="ok" role="status">{said}</Notice> })}
                <FormError message=form.error() />
                <section class="section" aria-labelledby="organisations">
                    <div class="section-head">
                        <h2 id="organisations">"Organisations"</h2>
                        <LinkButton href="/account/organisations/new" label="New organisation" look="small" icon=IconName::Plus />
                    </div>
                    <ul class="plain">{organisations}</ul>
                </section>
                {deleted}
                <section class="section" aria-labelledby="sessions">
                    <h2 id="sessions">"Signed in"</h2>
                    <p class="hint">"A session ends a day after it was last used, and a week after it began."</p>
                    <TableWrap label="Where you are signed in">
                        <table class="table cards">
                            <thead>
                                <tr>
                                    <th scope="col">"With"</th>
                                    <th scope="col">"From"</th>
                                    <th scope="col">"Since"</th>
                                    <th scope="col">"Last used"</th>
                                    <th scope="col"><span class="visually-hidden">"Actions"</span></th>
                                </tr>
                            </thead>
                            <tbody>{rows}</tbody>
                        </table>
                    </TableWrap>
                    {everywhere}
                </section>
                {password_form(&form)}
            </AccountLayout>
        }
        .into_any())
    })
}

/// Organisations that can be had back.
fn deleted_section(deleted: &[tenants::DeletedTenant]) -> impl IntoView + use<> {
    let rows: Vec<_> = deleted
        .iter()
        .map(|one| {
            let (name, label) = (one.name.to_string(), format!("Undo deleting {}", one.name));
            view! {
                <li class="row">
                    <span>{name} ", removed for ever " <LocalTime iso=format_timestamp(one.removed_at) /></span>
                    <form method="post" action=format!("/account/organisations/{}/restore", one.slug)>
                        <button class="button small" aria-label=label>"Undo"</button>
                    </form>
                </li>
            }
        })
        .collect();
    (!rows.is_empty()).then(|| {
        view! {
            <section class="section" aria-labelledby="deleted">
                <h2 id="deleted">"Deleted"</h2>
                <ul class="plain">{rows}</ul>
            </section>
        }
    })
}

/// What a 303 came from.
fn said(did: &str, ended: Option<&str>) -> Option<String> {
    let ended: usize = ended.and_then(|text| text.parse().ok()).unwrap_or(0);
    let sessions = match ended {
        0 => "No other session was open.".to_owned(),
        1 => "One other session has ended, on every node.".to_owned(),
        many => format!("{many} other sessions have ended, on every node."),
    };
    Some(match did {
        "ended" => "The session has ended, on every node.".to_owned(),
        "deleted" => "The organisation is deleted. For a week you can undo that here.".to_owned(),
        "ended-others" => sessions,
        "password" => format!("Your password is changed. {sessions}"),
        _ => return None,
    })
}

fn row(session: &SessionView) -> impl IntoView + use<> {
    let device = device(session.user_agent.as_deref());
    let this = session.is_this.then(|| view! { " " <Badge label="this one" look="ok" /> });
    let end = (!session.is_this).then(|| {
        let label = format!("Sign out {device}");
        view! {
            <form method="post" action=format!("/account/sessions/{}/end", session.id)>
                <button class="button small" aria-label=label>"Sign out"</button>
            </form>
        }
    });
    view! {
        <tr>
            <td data-label="With"><span title=session.user_agent.clone()>{device}</span> {this}</td>
            <td data-label="From" class="mono small">{session.address.clone().unwrap_or_else(|| "unknown".to_owned())}</td>
            <td data-label="Since"><LocalTime iso=format_timestamp(session.began_at) /></td>
            <td data-label="Last used"><LocalTime iso=format_timestamp(session.last_used_at) /></td>
            <td data-label="">{end}</td>
        </tr>
    }
}

/// A browser and where it runs, as far as its words tell: "Firefox on macOS".
fn device(user_agent: Option<&str>) -> String {
    let Some(words) = user_agent else { return "an unknown browser".to_owned() };
    // Each of them names those before it.
    let browsers =
        [("Edg", "Edge"), ("OPR/", "Opera"), ("Firefox/", "Firefox"), ("Chrom", "Chrome"), ("Safari/", "Safari")];
    let systems = [
        ("Android", "Android"),
        ("iPhone", "iPhone"),
        ("iPad", "iPad"),
        ("Windows", "Windows"),
        ("Mac OS X", "macOS"),
        ("CrOS", "ChromeOS"),
        ("Linux", "Linux"),
    ];
    let find =
        |known: &[(&str, &'static str)]| known.iter().find(|(word, _)| words.contains(word)).map(|(_, name)| *name);
    match (find(&browsers), find(&systems)) {
        (Some(browser), Some(system)) => format!("{browser} on {system}"),
        (Some(browser), None) => browser.to_owned(),
        (None, Some(system)) => format!("a program on {system}"),
        (None, None) => words.chars().take(40).collect(),
    }
}

fn password_form(form: &FormState) -> impl IntoView + use<> {
    view! {
        <section class="section" aria-labelledby="password">
            <h2 id="password-title">"Change the password"</h2>
            <form class="form" method="post" action="/account/password">
                <PasswordField
                    name="password"
                    label="Your password now"
                    error=form.field_error("password")
                    autocomplete="current-password"
                />
                <PasswordField
                    name="new_password"
                    label="Another password"
                    hint="At least 12 characters, any of them; nothing that is guessed first. It signs you out everywhere else."
                    error=form.field_error("new_password")
                    autocomplete="new-password"
                />
                <div class="form-actions"><SubmitButton label="Change password" /></div>
            </form>
        </section>
    }
}

/// Makes a further organisation.
#[component]
pub(crate) fn NewOrganisationPage() -> impl IntoView {
    let form = form_state();
    view! {
        <Title text="New organisation" />
        <AccountLayout>
            <PageHead
                title="New organisation"
                subtitle="You will be its owner. It has members, projects and keys of its own."
                crumbs=vec![("/account".to_owned(), "Your account".to_owned())]
            />
            <form class="form" method="post" action="/account/organisations/new">
                <FormError message=form.error() />
                <TextField
                    name="tenant_name"
                    label="Organisation"
                    value=form.value("tenant_name")
                    error=form.field_error("tenant_name")
                    autocomplete="organization"
                    required=true
                />
                <TextField
                    name="tenant_slug"
                    label="Address of the organisation"
                    hint="2–39 small letters, digits and hyphens. It is part of every address and never changes."
                    value=form.value("tenant_slug")
                    error=form.field_error("tenant_slug")
                    mono=true
                    required=true
                />
                <div class="form-actions">
                    <SubmitButton label="Create the organisation" />
                    <LinkButton href="/account" label="Cancel" look="quiet" />
                </div>
            </form>
        </AccountLayout>
    }
}

#[cfg(test)]
mod tests {
    use super::device;

    #[test]
    fn browsers_are_told_by_their_own_words() {
        let table = [
            (
                "Mozilla/5.0 (Macintosh; Intel Mac OS X 10.15; rv:145.0) Gecko/20100101 Firefox/145.0",
                "Firefox on macOS",
            ),
            (
                "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0 Safari/537.36",
                "Chrome on Linux",
            ),
            (
                "Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 Chrome/141.0 Safari/537.36 Edg/141.0",
                "Edge on Windows",
            ),
            (
                "Mozilla/5.0 (iPhone; CPU iPhone OS 19_0 like Mac OS X) AppleWebKit/605 Version/19 Safari/604",
                "Safari on iPhone",
            ),
            ("curl/8.5.0", "curl/8.5.0"),
        ];
        for (words, expected) in table {
            assert_eq!(device(Some(words)), expected);
        }
        assert_eq!(device(None), "an unknown browser");
    }
}
