//! Revoking all keys of an owner, a project or an environment at once, or all there are: how many are hit, and the words to
//! type before it happens.

use leptos::prelude::*;
use leptos_meta::Title;
use leptos_router::hooks::use_query_map;
use tronch_core::Permission;
use tronch_engine::keys::{KeysOf, count_keys_of};

use super::bulk::confirmation_words;
use super::fields::{ConfirmationField, ReasonField};
use super::query::KeysQuery;
use crate::form_state::with_capital;
use crate::layout::TenantLayout;
use crate::people::OwnPasswordField;
use crate::server_context::{form_state, page, tenant};
use crate::ui::button::{LinkButton, SubmitButton};
use crate::ui::chart::grouped;
use crate::ui::icons::IconName;
use crate::ui::notice::{FormError, Notice};
use crate::ui::page_head::PageHead;

/// What the address of the page may say, the same words as of the list.
pub const REVOKE_ALL_FIELDS: [&str; 3] = ["owner", "project", "environment"];

/// Asks before many keys are revoked: `?owner=cus_42&project=billing&environment=live`, each of which may be left out.
#[component]
pub(crate) fn RevokeAllKeysPage() -> impl IntoView {
    let (tenant, form) = (tenant(), form_state());
    let query = use_query_map().with(|map| {
        let pairs: Vec<_> =
            REVOKE_ALL_FIELDS.iter().filter_map(|name| Some(((*name).to_owned(), map.get(name)?))).collect();
        KeysQuery::of_pairs(&pairs)
    });
    page(async move {
        let tenant = tenant?;
        tenant.require(Permission::KeysRevoke)?;
        let of = query.keys_of()?;
        let count = count_keys_of(&tenant, &of, None).await?;
        let list = query.address(tenant.slug());
        let title = with_capital(&format!("revoke {}", words_of(&of)));
        let body = if count == 0 {
            let sentence = " There is no such key, or all of them are revoked already. ";
            view! { <Notice title="Nothing to revoke.">{sentence} <a href=list>"Back to the keys"</a></Notice> }
                .into_any()
        } else {
            let words = confirmation_words("revoke", usize::try_from(count).unwrap_or(usize::MAX));
            let hidden = |name, value: &Option<String>| {
                value.clone().map(|value| view! { <input type="hidden" name=name value=value /> })
            };
            let hit = if count == 1 { "One key".to_owned() } else { format!("{} keys", grouped(count)) };
            let action = format!("/t/{}/keys/revoke", tenant.slug());
            let shown = list.clone();
            view! {
                <Notice look="warn" title="This cannot be undone.">
                    {format!(" {hit} will be refused for ever, whether used, disabled or expired. Keys that are made later work. ")}
                    <a href=shown>"Look at them"</a>
                </Notice>
                <form class="form" method="post" action=action>
                    <FormError message=form.error() />
                    {hidden("owner", &query.owner)}
                    {hidden("project", &query.project)}
                    {hidden("environment", &query.environment)}
                    <ReasonField form=form.clone() />
                    <ConfirmationField form=form.clone() words=words.clone() />
                    <OwnPasswordField form=form.clone() />
                    <div class="form-actions">
                        <SubmitButton label=with_capital(&words) look="danger" icon=IconName::Ban />
                        <LinkButton href=list label="Cancel" look="quiet" />
                    </div>
                </form>
            }
            .into_any()
        };
        let keys = format!("/t/{}/keys", tenant.slug());
        Ok(view! {
            <Title text=title.clone() />
            <TenantLayout here="keys">
                <PageHead title=title crumbs=vec![(keys, "Keys".to_owned())] />
                {body}
            </TenantLayout>
        }
        .into_any())
    })
}

/// Which keys, for people: "all live keys of the project billing issued to cus_42".
pub(super) fn words_of(of: &KeysOf) -> String {
    let environment = of.environment.map(|environment| format!(" {environment}")).unwrap_or_default();
    let project = of.project.as_ref().map(|project| format!(" of the project {project}")).unwrap_or_default();
    let owner = of.owner.as_ref().map(|owner| format!(" issued to {owner}")).unwrap_or_default();
    format!("all{environment} keys{project}{owner}")
}

/// The address that asks for what a list shows, where it shows all of something: a search or a status is no such thing.
pub(super) fn address_for(query: &KeysQuery, tenant: &tronch_core::TenantSlug) -> Option<String> {
    let named = [("owner", &query.owner), ("project", &query.project), ("environment", &query.environment)];
    if query.search.is_some() || query.status.is_some() || query.keys_of().is_err() {
        return None;
    }
    let pairs = named.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
    let text = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
    (!text.is_empty()).then(|| format!("/t/{tenant}/keys/revoke?{text}"))
}

#[cfg(test)]
mod tests {
    use tronch_core::TenantSlug;

    use super::*;

    fn query(pairs: &[(&str, &str)]) -> KeysQuery {
        let pairs: Vec<_> = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        KeysQuery::of_pairs(&pairs)
    }

    #[test]
    fn which_keys_are_meant_is_said_in_words() {
        for (pairs, words) in [
            (&[][..], "all keys"),
            (&[("owner", "cus 42")], "all keys issued to cus 42"),
            (
                &[("owner", "cus_42"), ("project", "billing"), ("environment", "live")],
                "all live keys of the project billing issued to cus_42",
            ),
        ] {
            assert_eq!(words_of(&query(pairs).keys_of().expect("keys")), words);
        }
    }

    #[test]
    fn only_a_list_of_all_of_something_leads_there() {
        let tenant = TenantSlug::parse("acme").expect("a slug");
        let address = |pairs: &[(&str, &str)]| address_for(&query(pairs), &tenant);
        assert_eq!(address(&[("owner", "a&b"), ("sort", "name")]).as_deref(), Some("/t/acme/keys/revoke?owner=a%26b"));
        for pairs in
            [&[][..], &[("q", "x"), ("owner", "a")], &[("owner", "a"), ("status", "active")], &[("project", "?")]]
        {
            assert_eq!(address(pairs), None, "{pairs:?}");
        }
    }
}
