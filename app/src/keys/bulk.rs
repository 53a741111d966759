//! Changing several keys in one go: what will be hit, and the words to type before it happens. What happens is the
//! engine's.

use leptos::prelude::*;
use leptos_meta::Title;
use leptos_router::hooks::use_location;
use tronch_core::{KeyId, KeyState, KeyView, Permission, TenantSlug};
use tronch_engine::usage::{Span, usage_of_keys};
use tronch_engine::{Error, Tenant};

use super::fields::{ConfirmationField, ReasonField, environment_badge};
use super::list::time_or;
use crate::form_state::with_capital;
use crate::layout::TenantLayout;
use crate::people::OwnPasswordField;
use crate::server_context::{form_state, page, tenant};
use crate::ui::button::{LinkButton, SubmitButton};
use crate::ui::chart::grouped;
use crate::ui::notice::{FormError, Notice};
use crate::ui::page_head::PageHead;
use crate::ui::table::TableWrap;
use crate::usage::total;

/// What can be done to several keys: its word, what it takes, and what it means.
pub(super) const BULK_ACTIONS: [(&str, Permission, &str); 3] = [
    ("disable", Permission::KeysUpdate, "They are refused until somebody enables them."),
    ("enable", Permission::KeysUpdate, "They pass again, unless the clock has ended them."),
    ("revoke", Permission::KeysRevoke, "They are refused for ever. This cannot be undone."),
];

/// What has to be typed: what is done, to how many.
pub fn confirmation_words(action: &str, keys: usize) -> String {
    format!("{action} {keys} {}", if keys == 1 { "key" } else { "keys" })
}

/// Asks before several keys are changed: `?action=revoke&key=key_…&key=…`.
#[component]
pub(crate) fn ChangeKeysPage() -> impl IntoView {
    let (tenant, form) = (tenant(), form_state());
    let asked = use_location().search.get();
    page(async move {
        let tenant = tenant?;
        let Asked { action, key_ids, back } = asked_for(asked.trim_start_matches('?'))?;
        let (word, permission, means) = action;
        tenant.require(permission)?;
        let keys = format!("/t/{}/keys", tenant.slug());
        let back = address_of_list(tenant.slug(), back.as_deref()).unwrap_or_else(|| keys.clone());
        if key_ids.is_empty() {
            return Ok(nothing_chosen(word, back).into_any());
        }
        let chosen = tronch_engine::keys::get_keys(&tenant, &key_ids).await?;
        let calls = calls_of_the_day(&tenant, &key_ids).await?;
        let words = confirmation_words(word, chosen.len());
        let title = with_capital(&words);
        let rows: Vec<_> = chosen.iter().zip(&calls).map(|(key, calls)| row(&tenant, key, *calls)).collect();
        let hidden: Vec<_> =
            key_ids.iter().map(|id| view! { <input type="hidden" name="key" value=id.to_string() /> }).collect();
        let revokes = word == "revoke";
        let reason = revokes.then(|| view! { <ReasonField form=form.clone() /> });
        let password = revokes.then(|| view! { <OwnPasswordField form=form.clone() /> });
        let hit = hit(&chosen, calls.iter().sum(), tenant.allows(Permission::UsageRead));
        Ok(view! {
            <Title text=title.clone() />
            <TenantLayout here="keys">
                <PageHead title=title crumbs=vec![(back.clone(), "Keys".to_owned())] />
                <Notice look="warn" title=means>{hit}</Notice>
                <TableWrap label="Keys that are changed">
                    <table class="table cards">
                        <thead>
                            <tr>
                                <th scope="col">"Name"</th>
                                <th scope="col">"Now"</th>
                                <th scope="col">"Environment"</th>
                                <th scope="col">"Owner"</th>
                                <th scope="col">"Last used"</th>
                                <th scope="col" class="number">"Calls, 24 h"</th>
                            </tr>
                        </thead>
                        <tbody>{rows}</tbody>
                    </table>
                </TableWrap>
                <form class="form" method="post" action=format!("{keys}/bulk")>
                    <FormError message=form.error() />
                    <input type="hidden" name="back" value=back.clone() />
                    <input type="hidden" name="action" value=word />
                    {hidden}
                    {reason}
                    <ConfirmationField form=form.clone() words=words.clone() />
                    {password}
                    <div class="form-actions">
                        <SubmitButton label=with_capital(&words) look=if revokes { "danger" } else { "primary" } />
                        <LinkButton href=back.clone() label="Cancel" look="quiet" />
                    </div>
                </form>
            </TenantLayout>
        }
        .into_any())
    })
}

type BulkAction = (&'static str, Permission, &'static str);

/// What the address asks for, and the list it came from.
struct Asked {
    action: BulkAction,
    key_ids: Vec<KeyId>,
    back: Option<String>,
}

/// The address of a list of the tenant's keys, where it is one: what else stands in an address leads nowhere.
pub fn address_of_list(tenant: &TenantSlug, address: Option<&str>) -> Option<String> {
    let list = format!("/t/{tenant}/keys");
    let rest = address?.strip_prefix(&list)?;
    let plain = rest.bytes().all(|byte| byte.is_ascii_graphic());
    (plain && (rest.is_empty() || rest.starts_with('?'))).then(|| format!("{list}{rest}"))
}

fn asked_for(query: &str) -> Result<Asked, Error> {
    let mut back = None;
    let mut action = Some(BULK_ACTIONS[0]);
    let mut key_ids: Vec<KeyId> = Vec::new();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match &*name {
            "action" => action = BULK_ACTIONS.into_iter().find(|(word, ..)| *word == value),
            "key" => {
                let id = value.parse().map_err(|_| Error::NotFound { noun: "key" })?;
                if !key_ids.contains(&id) {
                    key_ids.push(id);
                }
            }
            "back" => back = Some(value.into_owned()),
            _ => {}
        }
    }
    Ok(Asked { action: action.ok_or(Error::NotFound { noun: "page" })?, key_ids, back })
}

fn nothing_chosen(word: &str, back: String) -> impl IntoView + use<> {
    let title = with_capital(&format!("{word} keys"));
    view! {
        <Title text=title.clone() />
        <TenantLayout here="keys">
            <PageHead title=title crumbs=vec![(back.clone(), "Keys".to_owned())] />
            <Notice title="No key is chosen.">" Tick the keys in the list first. " <a href=back>"Back to the keys"</a></Notice>
        </TenantLayout>
    }
}

/// All calls about each of the keys in the last 24 hours, in the keys' order.
async fn calls_of_the_day(tenant: &Tenant, key_ids: &[KeyId]) -> Result<Vec<u64>, Error> {
    if !tenant.allows(Permission::UsageRead) {
        return Ok(vec![0; key_ids.len()]);
    }
    let usage = usage_of_keys(tenant, key_ids, Span::Day).await?;
    Ok(key_ids.iter().map(|id| usage.get(id).map_or(0, |points| total(points))).collect())
}

/// What stops or begins: how much is called, for how many owners.
fn hit(chosen: &[KeyView], calls: u64, knows_calls: bool) -> String {
    let mut owners: Vec<String> =
        chosen.iter().filter_map(|key| key.owner.as_ref()).map(|owner| owner.external_id.to_string()).collect();
    owners.sort_unstable();
    owners.dedup();
    let called = match (knows_calls, calls) {
        (false, _) => String::new(),
        (true, 0) => " They were not called in the last 24 hours.".to_owned(),
        (true, 1) => " They were called once in the last 24 hours.".to_owned(),
        (true, calls) => format!(" They were called {} times in the last 24 hours.", grouped(calls)),
    };
    let issued = match owners.as_slice() {
        [] => String::new(),
        [one] => format!(" They were issued to {one}."),
        several => format!(" They were issued to {} owners.", several.len()),
    };
    let revoked = chosen.iter().filter(|key| key.state == KeyState::Revoked).count();
    let stay = match revoked {
        0 => String::new(),
        1 => " One is revoked already and stays so.".to_owned(),
        some => format!(" {some} are revoked already and stay so."),
    };
    format!("{called}{issued}{stay}")
}

fn row(tenant: &Tenant, key: &KeyView, calls: u64) -> impl IntoView + use<> {
    let href = format!("/t/{}/keys/{}", tenant.slug(), key.id);
    view! {
        <tr>
            <td data-label="Name">
                <a class="row-link" href=href>{key.name.to_string()}</a>
                <div class="mono muted small truncate">{key.display_handle.clone()}</div>
            </td>
            <td data-label="Now">{with_capital(key.state.as_str())}</td>
            <td data-label="Environment">{environment_badge(key.environment)}</td>
            <td data-label="Owner">{key.owner.as_ref().map_or_else(|| "—".to_owned(), |owner| owner.external_id.to_string())}</td>
            <td data-label="Last used">{time_or(key.last_used_at, "never")}</td>
            <td data-label="Calls, 24 h" class="number">{grouped(calls)}</td>
        </tr>
    }
}
