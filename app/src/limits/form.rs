//! The form that sets a limit, and the one that changes it. What its fields say is read by the server's door.

use leptos::prelude::*;
use leptos_meta::Title;
use leptos_router::hooks::{use_params_map, use_query_map};
use tronch_core::{
    Bucket, Environment, KeyId, LimitId, LimitOn, LimitView, Permission, Refill, Simulated, Window, WindowKind,
    format_timestamp,
};
use tronch_engine::limits::{SimulatedKey, Simulation};
use tronch_engine::projects::list_open_projects;
use tronch_engine::{Error, Tenant, keys, limits};

use super::list::{on_words, place_of};
use crate::form_state::{FormState, OnceField};
use crate::layout::TenantLayout;
use crate::server_context::{form_state, page, tenant};
use crate::ui::button::{LinkButton, SubmitButton};
use crate::ui::chart::grouped;
use crate::ui::field::{CheckboxField, SelectField, TextField};
use crate::ui::notice::{FormError, Notice};
use crate::ui::page_head::PageHead;

/// The fields of a limit's form, in their order.
pub const LIMIT_FIELDS: [&str; 15] = [
    "owner",
    "project",
    "environment",
    "namespace",
    "identifier",
    "name",
    "capacity",
    "refill",
    "period",
    "total",
    "window",
    "time_zone",
    "automatic",
    "exact",
    "seen",
];

/// In what a burst comes back: seconds, and the word for them.
const PERIODS: [(u32, &str); 4] = [(1, "second"), (60, "minute"), (3_600, "hour"), (86_400, "day")];

/// What a total may be of: how a form says it, and how people do.
const WINDOWS: [(&str, &str); 11] = [
    ("day", "a day"),
    ("week", "a week, from Monday"),
    ("month", "a month"),
    ("fixed:60", "a minute"),
    ("fixed:3600", "an hour"),
    ("sliding:3600", "any 60 minutes"),
    ("sliding:86400", "any 24 hours"),
    ("credits:month", "credits a month"),
    ("credits:week", "credits a week"),
    ("credits:day", "credits a day"),
    ("credits", "credits, once"),
];

/// Sets a limit: on the key of the address, or on whatever the form names.
#[component]
pub(crate) fn NewLimitPage() -> impl IntoView {
    let (tenant, form) = (tenant(), form_state());
    let [key, project, owner] = use_query_map().with(|map| ["key", "project", "owner"].map(|name| map.get(name)));
    page(async move {
        let tenant = tenant?;
        tenant.require(Permission::LimitsWrite)?;
        let slug = tenant.slug().clone();
        let key = match key {
            None => None,
            Some(text) => {
                let key_id: KeyId = text.parse().map_err(|_| Error::NotFound { noun: "key" })?;
                Some(keys::get_key(&tenant, key_id).await?)
            }
        };
        let (action, back, whose) = match &key {
            Some(key) => {
                let whose =
                    view! { <p>"It counts the calls of the key " <strong>{key.name.to_string()}</strong> "."</p> };
                let back = format!("/t/{slug}/keys/{}", key.id);
                (format!("/t/{slug}/limits/new?key={}", key.id), back, whose.into_any())
            }
            None => {
                let first = (project.unwrap_or_default(), owner.unwrap_or_default());
                let back = format!("/t/{slug}/limits");
                (format!("/t/{slug}/limits/new"), back, whose(&tenant, &form, first).await?)
            }
        };
        Ok(view! {
            <Title text="Set a limit" />
            <TenantLayout here=if key.is_some() { "keys" } else { "limits" }>
                <PageHead
                    title="Set a limit"
                    subtitle="A burst says how fast, a total how many. Either is enough; with both, a call has to fit both."
                    crumbs=vec![(back.clone(), key.map_or_else(|| "Limits".to_owned(), |key| key.name.to_string()))]
                />
                <form class="form" method="post" action=action>
                    <OnceField />
                    <FormError message=form.error() />
                    {whose}
                    <RuleFields form=form.clone() limit=None />
                    {simulated(&form)}
                    <div class="form-actions">
                        <SubmitButton label="Set limit" />
                        {simulate_button(&tenant)}
                        <LinkButton href=back label="Cancel" look="quiet" />
                    </div>
                </form>
            </TenantLayout>
        }
        .into_any())
    })
}

/// Fields that name whose calls are counted.
async fn whose(tenant: &Tenant, form: &FormState, first: (String, String)) -> Result<AnyView, Error> {
    let mut projects = vec![(String::new(), "no project".to_owned())];
    projects.extend(list_open_projects(tenant).await?.iter().map(|one| (one.slug.to_string(), one.name.to_string())));
    let mut environments = vec![(String::new(), "Both environments".to_owned())];
    environments.extend(Environment::ALL.iter().map(|one| (one.to_string(), one.to_string())));
    let owners = !first.1.is_empty();
    let first_project = if first.0.is_empty() && !owners {
        projects.get(1).map(|(slug, _)| slug.clone()).unwrap_or_default()
    } else {
        first.0
    };
    Ok(view! {
        <SelectField
            name="project"
            label="Each key of the project"
            value=form.value_or("project", first_project)
            options=projects
            hint="Every key by itself, unless it or its owner has a limit of the same name."
            error=form.field_error("project")
        />
        <SelectField
            name="environment"
            label="In the environment"
            value=form.value_or("environment", "")
            options=environments
            error=form.field_error("environment")
        />
        <TextField
            name="owner"
            label="Or all keys of one owner together"
            value=form.value_or("owner", first.1)
            hint="The owner as your keys name it. Choose no project then."
            error=form.field_error("owner")
            maxlength=255
            mono=true
        />
        <fieldset class="fieldset">
            <legend>"Or what is no key"</legend>
            <div class="fields-beside">
                <TextField
                    name="namespace"
                    label="Namespace"
                    value=form.value("namespace")
                    placeholder="sign-ups"
                    error=form.field_error("namespace")
                    maxlength=39
                    mono=true
                />
                <TextField
                    name="identifier"
                    label="Identifiers"
                    value=form.value("identifier")
                    placeholder="198.51.100.*"
                    error=form.field_error("identifier")
                    maxlength=255
                    mono=true
                />
            </div>
            <p class="hint">"Each identifier by itself, as services name it when they ask. * stands for any characters; all when left open. \
            Of limits with one name the one that leaves least open counts. Choose no project then."</p>
        </fieldset>
    }
    .into_any())
}

/// Changes a limit, or takes it away.
#[component]
pub(crate) fn EditLimitPage() -> impl IntoView {
    let (tenant, form) = (tenant(), form_state());
    let named = use_params_map().with(|params| params.get("limit"));
    page(async move {
        let tenant = tenant?;
        tenant.require(Permission::LimitsWrite)?;
        let id: LimitId = named.and_then(|text| text.parse().ok()).ok_or(Error::NotFound { noun: "limit" })?;
        let limit = limits::get_limit(&tenant, id).await?;
        let here = format!("/t/{}/limits/{id}", tenant.slug());
        let back = place_of(tenant.slug(), &limit);
        let whose = on_words(tenant.slug(), &limit);
        // Calls are kept by key.
        let has_keys = !matches!(limit.on, LimitOn::Namespace { .. });
        let here_in_navigation = if matches!(limit.on, LimitOn::Key(_)) { "keys" } else { "limits" };
        Ok(view! {
            <Title text="Change a limit" />
            <TenantLayout here=here_in_navigation>
                <PageHead
                    title=format!("The limit {}", limit.name)
                    subtitle=limit.rule.to_string()
                    crumbs=vec![(format!("/t/{}/limits", tenant.slug()), "Limits".to_owned())]
                />
                <form class="form" method="post" action=format!("{here}/edit")>
                    <FormError message=form.error() />
                    <input type="hidden" name="seen" value=form.value_or("seen", format_timestamp(limit.updated_at)) />
                    <p>"It counts the calls of " {whose} "."</p>
                    <RuleFields form=form.clone() limit=Some(limit.clone()) />
                    {simulated(&form)}
                    <Notice title="Under another total the count goes on.">" Under another burst, or within another time, it begins anew."</Notice>
                    <div class="form-actions">
                        <SubmitButton label="Save changes" />
                        {has_keys.then(|| simulate_button(&tenant))}
                        <LinkButton href=back label="Cancel" look="quiet" />
                    </div>
                </form>
                <section class="section" aria-labelledby="remove">
                    <h2 id="remove">"Remove"</h2>
                    <p>"Nobody is held to it any more, on every node within a second."</p>
                    <form method="post" action=format!("{here}/remove")><SubmitButton label="Remove limit" look="danger" /></form>
                </section>
            </TenantLayout>
        }
        .into_any())
    })
}

/// Asks what the limit would have done, instead of setting it.
fn simulate_button(tenant: &Tenant) -> impl IntoView + use<> {
    tenant.allows(Permission::UsageRead).then(|| {
        view! { <button class="button" name="then" value="simulate">"Try it on last week"</button> }
    })
}

/// What came of that.
fn simulated(form: &FormState) -> impl IntoView + use<> {
    let notes = form.notes().to_vec();
    let (sentence, keys) = notes.split_first().map(|(sentence, keys)| (sentence.clone(), keys.to_vec()))?;
    let keys: Vec<_> = keys.into_iter().map(|key| view! { <li>{key}</li> }).collect();
    let list = (!keys.is_empty()).then(|| view! { <ul class="plain">{keys}</ul> });
    Some(view! { <Notice title="Last week." role="status">" " {sentence} {list}</Notice> })
}

/// Keys that a simulation names.
const NAMED_KEYS: usize = 10;

/// A simulation in words: a sentence, and a line for each key that would have been refused most.
pub fn simulation_words(simulation: &Simulation) -> Vec<String> {
    let Simulation { total, counted, refused, is_partial, .. } = simulation;
    if total.calls == 0 {
        return vec!["There were no calls that it would have counted.".to_owned()];
    }
    let range = |simulated: &Simulated| match (simulated.least, simulated.most) {
        (least, most) if least == most => grouped(most),
        (least, most) => format!("{} to {}", grouped(least), grouped(most)),
    };
    let calls = grouped(total.calls);
    let keys = grouped(*counted as u64);
    let mut sentence = if total.most == 0 {
        format!("It would have let all {calls} calls pass.")
    } else {
        let depending = if total.least == total.most { "" } else { ", depending on how they lay inside their minutes" };
        let keys_refused = grouped(refused.len() as u64);
        format!("It would have refused {} of {calls} calls, of {keys_refused} of {keys} keys{depending}.", range(total))
    };
    if *is_partial {
        sentence += " Only the 200 keys that were used last were looked at.";
    }
    let named = refused.iter().take(NAMED_KEYS);
    let line =
        |key: &SimulatedKey| format!("{}: {} of {}", key.name, range(&key.simulated), grouped(key.simulated.calls));
    [sentence].into_iter().chain(named.map(line)).collect()
}

/// Name and rule. Of a new limit the fields are empty, of another as it is now.
#[component]
fn RuleFields(form: FormState, limit: Option<LimitView>) -> impl IntoView {
    let (bucket, window) =
        limit.as_ref().map_or((None, None), |limit| (limit.rule.bucket().copied(), limit.rule.window().copied()));
    let number = |number: Option<u64>| number.map(|number| number.to_string()).unwrap_or_default();
    let name = limit.as_ref().map_or_else(|| "default".to_owned(), |limit| limit.name.to_string());
    let is_automatic = limit.as_ref().is_none_or(|limit| limit.is_automatic);
    // A box that is not ticked is not sent.
    let automatic = if form.is_shown_again() { form.value("automatic") == "on" } else { is_automatic };
    let is_exact = limit.as_ref().is_some_and(|limit| limit.is_exact);
    let exact = if form.is_shown_again() { form.value("exact") == "on" } else { is_exact };
    let period = bucket.as_ref().map_or(1, Bucket::period_seconds);
    let (window_value, zone) = window.as_ref().map_or(("day".to_owned(), "UTC"), window_value);
    view! {
        <TextField
            name="name"
            label="Name"
            value=form.value_or("name", name)
            hint="Small letters, digits and hyphens. Of limits with one name a key is held to its own, else its owner's, else its project's."
            error=form.field_error("name")
            maxlength=39
            required=true
            mono=true
        />
        <fieldset class="fieldset">
            <legend>"Burst: how fast"</legend>
            <div class="fields-beside">
                <TextField
                    name="capacity"
                    label="Calls at once"
                    value=form.value_or("capacity", number(bucket.as_ref().map(Bucket::capacity)))
                    error=form.field_error("capacity")
                    input_type="number"
                />
                <TextField
                    name="refill"
                    label="Then calls"
                    value=form.value_or("refill", number(bucket.as_ref().map(|bucket| bucket.refill().into())))
                    error=form.field_error("refill")
                    input_type="number"
                />
                <SelectField
                    name="period"
                    label="Every"
                    value=form.value_or("period", period.to_string())
                    options=periods(period)
                    error=form.field_error("period")
                />
            </div>
        </fieldset>
        <fieldset class="fieldset">
            <legend>"Total: how many"</legend>
            <div class="fields-beside">
                <TextField
                    name="total"
                    label="Calls at most"
                    value=form.value_or("total", number(window.as_ref().map(Window::total)))
                    error=form.field_error("total")
                    input_type="number"
                />
                <SelectField
                    name="window"
                    label="Within"
                    value=form.value_or("window", window_value.clone())
                    options=windows(&window_value)
                    error=form.field_error("window")
                />
                <TextField
                    name="time_zone"
                    label="Time zone"
                    value=form.value_or("time_zone", zone)
                    placeholder="Europe/Berlin"
                    error=form.field_error("time_zone")
                    maxlength=60
                />
            </div>
            <p class="hint">"Days, weeks and months are those of the time zone. Any 24 hours are the last ones, whenever they began. \
            Credits are a balance: what is not used stays, and is filled up as the next begins."</p>
        </fieldset>
        <CheckboxField
            name="automatic"
            label="Charge every call"
            checked=automatic
            hint="Otherwise only one that names this limit."
        />
        <CheckboxField
            name="exact"
            label="Exact across nodes"
            checked=exact
            hint="Each call then waits for the store that nodes share. Otherwise each node holds a little of it: a burst may let a twentieth more pass at once, a total never."
        />
    }
}

/// What the list offers, what is set now among it.
fn periods(current: u32) -> Vec<(String, String)> {
    let mut periods: Vec<(String, String)> =
        PERIODS.iter().map(|(seconds, words)| (seconds.to_string(), (*words).to_owned())).collect();
    if !PERIODS.iter().any(|(seconds, _)| *seconds == current) {
        periods.push((current.to_string(), tronch_core::duration_words(current)));
    }
    periods
}

fn windows(current: &str) -> Vec<(String, String)> {
    let mut windows: Vec<(String, String)> =
        WINDOWS.iter().map(|(value, words)| ((*value).to_owned(), (*words).to_owned())).collect();
    if !windows.iter().any(|(value, _)| value == current)
        && let Some((kind, seconds)) = current.split_once(':')
    {
        let words = tronch_core::duration_words(seconds.parse().unwrap_or(0));
        let words = if kind == "sliding" { format!("any {words}") } else { words };
        windows.push((current.to_owned(), words));
    }
    windows
}

/// How the form says a window.
fn window_value(window: &Window) -> (String, &'static str) {
    match window.kind() {
        WindowKind::Fixed { seconds } => (format!("fixed:{seconds}"), "UTC"),
        WindowKind::Sliding { seconds } => (format!("sliding:{seconds}"), "UTC"),
        WindowKind::Calendar { unit, zone } => (unit.as_str().to_owned(), zone.as_str()),
        WindowKind::Credits { refill: None } => ("credits".to_owned(), "UTC"),
        WindowKind::Credits { refill: Some(Refill { unit, zone }) } => {
            (format!("credits:{}", unit.as_str()), zone.as_str())
        }
    }
}
