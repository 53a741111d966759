//! The page of one limit: its rule, what it let pass and refused over time, who is close to its end, and adding to credits.

use leptos::prelude::*;
use leptos_meta::Title;
use leptos_router::hooks::{use_params_map, use_query_map};
use tronch_core::{
    LimitId, LimitOn, LimitView, Permission, Reading, TenantSlug, UsagePoint, WindowKind, format_timestamp,
};
use tronch_engine::Error;
use tronch_engine::limits::{self, LimitUse, uses_of_limit};
use tronch_engine::usage::{Span, usage_of_limit};

use super::list::{on_words, said};
use crate::form_state::{FormState, OnceField};
use crate::layout::TenantLayout;
use crate::server_context::{form_state, page, tenant};
use crate::ui::badge::Badge;
use crate::ui::button::{LinkButton, SubmitButton};
use crate::ui::chart::grouped;
use crate::ui::field::TextField;
use crate::ui::islands::LocalTime;
use crate::ui::notice::{FormError, Notice};
use crate::ui::page_head::PageHead;
use crate::ui::table::TableWrap;
use crate::usage::{SpanLinks, Totals, UsageChart, span_of_address};

/// The fields of the form that adds credits, in their order.
pub const CREDIT_FIELDS: [&str; 3] = ["add", "key", "identifier"];

/// Less than a tenth left is close to the end.
const CLOSE_PART: u64 = 10;

/// One limit.
#[component]
pub(crate) fn LimitPage() -> impl IntoView {
    let (tenant, form, span) = (tenant(), form_state(), span_of_address());
    let named = use_params_map().with(|params| params.get("limit"));
    let did = use_query_map().with(|map| map.get("did"));
    page(async move {
        let tenant = tenant?;
        let id: LimitId = named.and_then(|text| text.parse().ok()).ok_or(Error::NotFound { noun: "limit" })?;
        let limit = limits::get_limit(&tenant, id).await?;
        let uses = uses_of_limit(&tenant, id).await?;
        let calls = if tenant.allows(Permission::UsageRead) {
            said_to_calls(usage_of_limit(&tenant, id, span).await?, span, &format!("/t/{}/limits/{id}", tenant.slug()))
        } else {
            ().into_any()
        };
        let slug = tenant.slug().clone();
        let here = format!("/t/{slug}/limits/{id}");
        let may_write = tenant.allows(Permission::LimitsWrite);
        let change = may_write.then(|| view! { <LinkButton href=format!("{here}/edit") label="Change" /> });
        let charged = if limit.is_automatic { "Each call is charged." } else { "Only calls that name it are charged." };
        let exact = limit.is_exact.then_some(" Nodes agree on it call by call.");
        let add = (may_write && has_credits(&limit)).then(|| credits_form(&form, &limit, here.clone()));
        Ok(view! {
            <Title text=format!("Limit {}", limit.name) />
            <TenantLayout here="limits">
                <PageHead
                    title=format!("The limit {}", limit.name)
                    subtitle=limit.rule.to_string()
                    crumbs=vec![(format!("/t/{slug}/limits"), "Limits".to_owned())]
                >
                    {change}
                </PageHead>
                {did.as_deref().and_then(said).map(|said| view! { <Notice look="ok" role="status">{said}</Notice> })}
                <p>"It counts the calls of " {on_words(&slug, &limit)} ". " {charged} {exact}</p>
                {calls}
                {used(&slug, &limit, &uses)}
                {add}
            </TenantLayout>
        }
        .into_any())
    })
}

fn has_credits(limit: &LimitView) -> bool {
    limit.rule.window().is_some_and(|window| matches!(window.kind(), WindowKind::Credits { .. }))
}

/// How many calls it let pass and refused.
fn said_to_calls(points: Vec<UsagePoint>, span: Span, here: &str) -> AnyView {
    view! {
        <section class="section" aria-labelledby="calls">
            <div class="section-head">
                <h2 id="calls">"Calls"</h2>
                <SpanLinks span path=here />
            </div>
            <Totals points=points.clone() span of="charged to it, or refused by it" />
            <UsageChart title="What the limit said" points span passed="Passed" />
        </section>
    }
    .into_any()
}

/// Who used most of the total.
fn used(slug: &TenantSlug, limit: &LimitView, uses: &[LimitUse]) -> AnyView {
    if limit.rule.window().is_none() {
        return view! { <p class="muted">"A burst fills again by itself: what is left of it, each verdict says."</p> }
            .into_any();
    }
    let rows: Vec<_> = uses
        .iter()
        .map(|one| {
            let whose = match (&one.key, &one.identifier) {
                (_, Some(identifier)) => view! { <code>{identifier.to_string()}</code> }.into_any(),
                (Some((key_id, name)), _) => {
                    view! { <a class="row-link" href=format!("/t/{slug}/keys/{key_id}")>{name.to_string()}</a> }
                        .into_any()
                }
                (None, None) => view! { <span>"all of them together"</span> }.into_any(),
            };
            let reset = match one.reset_at {
                Some(at) => view! { <LocalTime iso=format_timestamp(at) /> }.into_any(),
                None => view! { <span class="muted">"never"</span> }.into_any(),
            };
            view! {
                <tr>
                    <td data-label="Calls of">{whose}</td>
                    <td data-label="Left">{left_words(&one.reading)}</td>
                    <td data-label="All there again">{reset}</td>
                </tr>
            }
        })
        .collect();
    let table = if rows.is_empty() {
        view! { <p class="muted">"Nothing is used of it."</p> }.into_any()
    } else {
        view! {
            <TableWrap label="Who is closest to the end">
                <table class="table cards">
                    <thead>
                        <tr>
                            <th scope="col">"Calls of"</th>
                            <th scope="col">"Left"</th>
                            <th scope="col">"All there again"</th>
                        </tr>
                    </thead>
                    <tbody>{rows}</tbody>
                </table>
            </TableWrap>
        }
        .into_any()
    };
    view! {
        <section class="section" aria-labelledby="used">
            <h2 id="used">"Closest to the end"</h2>
            <p class="hint">"What a node has set aside and not let pass yet counts as used, at most a hundredth or a second of calls."</p>
            {table}
        </section>
    }
    .into_any()
}

/// How much is left, and whether that is little.
pub(super) fn left_words(reading: &Reading) -> AnyView {
    let words = format!("{} of {}", grouped(reading.remaining), grouped(reading.limit));
    match reading.remaining {
        0 => view! { <Badge label=words look="bad" /> }.into_any(),
        left if left < reading.limit / CLOSE_PART => view! { <Badge label=words look="warn" /> }.into_any(),
        _ => view! { <span>{words}</span> }.into_any(),
    }
}

fn credits_form(form: &FormState, limit: &LimitView, here: String) -> impl IntoView + use<> {
    let of_each = matches!(limit.on, LimitOn::Project { .. });
    let key = of_each.then(|| {
        view! {
            <TextField
                name="key"
                label="To the key"
                value=form.value("key")
                hint="Each key of the project has a balance of its own: the id of the one that is meant."
                error=form.field_error("key")
                placeholder="key_…"
                maxlength=40
                required=true
                mono=true
            />
        }
    });
    let identifier = matches!(limit.on, LimitOn::Namespace { .. }).then(|| {
        view! {
            <TextField
                name="identifier"
                label="To the identifier"
                value=form.value("identifier")
                hint="Each identifier has a balance of its own: the one that is meant."
                error=form.field_error("identifier")
                maxlength=255
                required=true
                mono=true
            />
        }
    });
    view! {
        <section class="section" aria-labelledby="credits">
            <h2 id="credits">"Add credits"</h2>
            <form class="form" method="post" action=here>
                <OnceField />
                <FormError message=form.error() />
                <TextField
                    name="add"
                    label="How many"
                    value=form.value("add")
                    hint="They are there within a second, and stay until they are used."
                    error=form.field_error("add")
                    input_type="number"
                    required=true
                />
                {key}
                {identifier}
                <div class="form-actions"><SubmitButton label="Add credits" /></div>
            </form>
        </section>
    }
}
