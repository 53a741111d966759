//! A tenant's first page: what happens in it at a glance, and at first the way to the first call.

mod first_steps;

use leptos::prelude::*;
use leptos_meta::Title;
use tronch_core::{Permission, UsagePoint, format_timestamp};
use tronch_engine::audit::{AuditFilter, list_audit_events};
use tronch_engine::tokens::expiring_tokens;
use tronch_engine::usage::{Span, usage_of_tenant};
use tronch_engine::{Error, Tenant};

use crate::audit::Timeline;
use crate::layout::TenantLayout;
use crate::server_context::{page, tenant};
use crate::ui::button::LinkButton;
use crate::ui::icons::IconName;
use crate::ui::islands::LocalTime;
use crate::ui::notice::Notice;
use crate::ui::page_head::PageHead;
use crate::usage::{SpanLinks, Totals, UsageChart, VerdictTable, span_of_address, total};
use first_steps::{FirstSteps, Steps};

/// Changes shown here; the audit log has them all.
const CHANGES: u32 = 6;

/// What happens in the tenant, at a glance.
#[component]
pub(crate) fn OverviewPage() -> impl IntoView {
    let (tenant, span) = (tenant(), span_of_address());
    page(async move {
        let tenant = tenant?;
        let usage = usage(&tenant, span).await?;
        let steps = match &usage {
            Some(points) if total(points) == 0 => Steps::of(&tenant).await?,
            _ => None,
        };
        let changes = changes(&tenant).await?;
        let expiring = expiring(&tenant).await?;
        let name = tenant.name().to_string();
        let keys = format!("/t/{}/keys/new", tenant.slug());
        let create = tenant
            .allows(Permission::KeysCreate)
            .then(|| view! { <LinkButton href=keys label="Create key" look="primary" icon=IconName::Plus /> });
        let path = format!("/t/{}/", tenant.slug());
        let body = view! {
            {expiring}
            {steps.map(|steps| view! { <FirstSteps steps /> })}
            {usage.map(|points| view! { <Usage points span path /> })}
            {changes}
        };
        Ok(view! {
            <Title text="Overview" />
            <TenantLayout here="overview">
                <PageHead title="Overview" subtitle=name>{create}</PageHead>
                {body}
            </TenantLayout>
        }
        .into_any())
    })
}

/// Nothing for those who may not see it.
async fn usage(tenant: &Tenant, span: Span) -> Result<Option<Vec<UsagePoint>>, Error> {
    if tenant.allows(Permission::UsageRead) { usage_of_tenant(tenant, span).await.map(Some) } else { Ok(None) }
}

#[component]
fn Usage(points: Vec<UsagePoint>, span: Span, path: String) -> impl IntoView {
    let verdicts = (total(&points) > 0).then(|| {
        let points = points.clone();
        view! {
            <section class="section" aria-labelledby="verdicts">
                <h2 id="verdicts" class="section-title">"How calls ended"</h2>
                <VerdictTable points />
            </section>
        }
    });
    view! {
        <section aria-labelledby="usage">
            <div class="section-head">
                <h2 id="usage">"Validation"</h2>
                <SpanLinks span path />
            </div>
            <Totals points=points.clone() span />
            <div class="card"><UsageChart title="Calls by verdict, UTC" points span /></div>
        </section>
        {verdicts}
    }
}

/// Which service tokens end soon: what calls with them stops working.
async fn expiring(tenant: &Tenant) -> Result<Option<AnyView>, Error> {
    if !tenant.allows(Permission::TokensRead) {
        return Ok(None);
    }
    let tokens = expiring_tokens(tenant).await?;
    let Some(next) = tokens.first() else { return Ok(None) };
    let title = match tokens.len() {
        1 => "A service token expires soon.".to_owned(),
        several => format!("{several} service tokens expire soon."),
    };
    let (name, end) = (next.name.to_string(), next.expires_at.map(format_timestamp));
    let when = end.map(|iso| view! { " ends " <LocalTime iso /> });
    let list = format!("/t/{}/tokens", tenant.slug());
    Ok(Some(
        view! { <Notice look="warn" title>" " <b>{name}</b> {when} ". " <a href=list>"Rotate in time"</a></Notice> }
            .into_any(),
    ))
}

/// What changed last, for those who may read the audit log.
async fn changes(tenant: &Tenant) -> Result<AnyView, Error> {
    if !tenant.allows(Permission::AuditRead) {
        return Ok(().into_any());
    }
    let filter = AuditFilter { limit: CHANGES, ..AuditFilter::default() };
    let events = list_audit_events(tenant, &filter).await?;
    let all = format!("/t/{}/audit", tenant.slug());
    Ok(view! {
        <section class="section" aria-labelledby="changes">
            <div class="section-head"><h2 id="changes">"Latest changes"</h2> <a href=all>"All in the audit log"</a></div>
            <Timeline events=events.items />
        </section>
    }
    .into_any())
}
