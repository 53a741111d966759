//! The forms of limits. Each calls one verb, and answers with a 303 or the form again.

use axum::extract::{Path, State};
use axum::response::Response;
use tronch_app::{Answer, CREDIT_FIELDS, FormState, LIMIT_FIELDS, Place, simulation_words};
use tronch_core::{
    Bucket, CalendarUnit, Environment, ExternalId, Identifier, IdentifierPattern, InvalidLimit, KeyId, LimitId,
    LimitName, LimitOn, LimitRule, LimitView, Namespace, ProjectSlug, Refill, TimeZone, Window, WindowKind,
};
use tronch_engine::Error;
use tronch_engine::limits::{self, LimitChange, NewLimit, Whom};

use super::sent::Sent;
use super::{Dashboard, Inside, see_other};

/// What the address of a limit's form names.
type LimitPath = Path<(String, String)>;

/// `POST /t/{tenant}/limits/new`.
pub(crate) async fn create(State(dashboard): State<Dashboard>, Inside(place): Inside, sent: Sent) -> Response {
    let mut state = sent.state(&LIMIT_FIELDS);
    let on = place_of(&sent, &mut state);
    let name = state.take("name", LimitName::parse(&sent.text("name")));
    let rule = rule(&sent, &mut state);
    let (Some(on), Some(name), Some(rule)) = (on, name, rule) else {
        return dashboard.form_again(sent.parts, place, state).await;
    };
    if wants_simulation(&sent) {
        return simulated(&dashboard, sent, place, state, (&on, &name, &rule)).await;
    }
    let (is_automatic, is_exact) = (sent.filled("automatic").is_some(), sent.filled("exact").is_some());
    let new_limit = NewLimit { on, name, is_automatic, is_exact, rule };
    match async { limits::create_limit(&sent.once(place.tenant.clone()).await?, new_limit).await }.await {
        Ok(limit) => see_other(&address(&place, &limit, "limited")),
        Err(error) => refuse(&dashboard, sent, place, state, error).await,
    }
}

/// `POST /t/{tenant}/limits/{limit}/edit`.
pub(crate) async fn change(
    State(dashboard): State<Dashboard>,
    Inside(place): Inside,
    Path((_, limit)): LimitPath,
    sent: Sent,
) -> Response {
    let mut state = sent.state(&LIMIT_FIELDS);
    let name = state.take("name", LimitName::parse(&sent.text("name")));
    let rule = rule(&sent, &mut state);
    let (Some(name), Some(rule)) = (name, rule) else {
        return dashboard.form_again(sent.parts, place, state).await;
    };
    if wants_simulation(&sent) {
        return match async { limits::get_limit(&place.tenant, limit_id(&limit)?).await }.await {
            Ok(limit) => simulated(&dashboard, sent, place, state, (&limit.on, &name, &rule)).await,
            Err(error) => refuse(&dashboard, sent, place, state, error).await,
        };
    }
    let seen = match sent.seen() {
        Ok(seen) => seen,
        Err(error) => return dashboard.refuse(sent.parts, place, state, error).await,
    };
    let change = LimitChange {
        unless_changed_since: seen,
        name: Some(name),
        is_automatic: Some(sent.filled("automatic").is_some()),
        is_exact: Some(sent.filled("exact").is_some()),
        bucket: Some(rule.bucket().copied()),
        window: Some(rule.window().copied()),
    };
    match async { limits::update_limit(&place.tenant, limit_id(&limit)?, change).await }.await {
        Ok(limit) => see_other(&address(&place, &limit, "limit-changed")),
        Err(error) => refuse(&dashboard, sent, place, state, error).await,
    }
}

/// `POST /t/{tenant}/limits/{limit}`.
pub(crate) async fn add_credits(
    State(dashboard): State<Dashboard>,
    Inside(place): Inside,
    Path((_, limit)): LimitPath,
    sent: Sent,
) -> Response {
    let mut state = sent.state(&CREDIT_FIELDS);
    let units = number(&sent, &mut state, "add");
    let key =
        sent.filled("key").map(|text| text.trim().parse::<KeyId>().map_err(|_| "this is no key's id")).transpose();
    let identifier = sent.filled("identifier").map(|text| Identifier::parse(&text)).transpose();
    let (key, identifier) = (state.take("key", key), state.take("identifier", identifier));
    let (Some(units), Some(key), Some(identifier)) = (units, key, identifier) else {
        return dashboard.form_again(sent.parts, place, state).await;
    };
    let whom = identifier.map(Whom::Identifier).or_else(|| key.map(Whom::Key)).unwrap_or_default();
    let added = async {
        limits::add_credits(&sent.once(place.tenant.clone()).await?, limit_id(&limit)?, &whom, units).await?;
        Ok(format!("/t/{}/limits/{limit}?did=credited", place.tenant.slug()))
    };
    match added.await {
        Ok(address) => see_other(&address),
        Err(Error::NotFound { noun: "key" }) => {
            state.refuse("key", "There is no such key in the project.");
            dashboard.form_again(sent.parts, place, state).await
        }
        Err(Error::NotFound { noun: "identifier" }) => {
            state.refuse("identifier", "The limit is not for this identifier.");
            dashboard.form_again(sent.parts, place, state).await
        }
        Err(Error::Invalid { field: "key_id", message }) => {
            state.refuse("key", message);
            dashboard.form_again(sent.parts, place, state).await
        }
        Err(error) => refuse(&dashboard, sent, place, state, error).await,
    }
}

/// `POST /t/{tenant}/limits/{limit}/remove`.
pub(crate) async fn remove(
    State(dashboard): State<Dashboard>,
    Inside(place): Inside,
    Path((_, limit)): LimitPath,
    sent: Sent,
) -> Response {
    match async { limits::remove_limit(&place.tenant, limit_id(&limit)?).await }.await {
        Ok(limit) => see_other(&address(&place, &limit, "limit-removed")),
        // No form stands at this address.
        Err(error) => dashboard.pages.refusal_in(sent.parts, &dashboard.engine, Some(place), error).await,
    }
}

fn wants_simulation(sent: &Sent) -> bool {
    sent.text("then") == "simulate"
}

/// The form again, with what the limit would have done; nothing is set.
async fn simulated(
    dashboard: &Dashboard,
    sent: Sent,
    place: Place,
    mut state: FormState,
    (on, name, rule): (&LimitOn, &LimitName, &LimitRule),
) -> Response {
    match limits::simulate_limit(&place.tenant, on, name, rule).await {
        Ok(simulation) => {
            state.note(simulation_words(&simulation));
            let answer = Some(Answer::Refused(state));
            dashboard.pages.render(sent.parts, &dashboard.engine, Some(place), answer).await
        }
        Err(error) => refuse(dashboard, sent, place, state, error).await,
    }
}

/// What is not there at all is a page of its own, but for what the form names.
async fn refuse(dashboard: &Dashboard, sent: Sent, place: Place, mut state: FormState, error: Error) -> Response {
    match &error {
        Error::NotFound { noun: "project" } => {
            state.refuse("project", "There is no such project.");
            dashboard.form_again(sent.parts, place, state).await
        }
        _ => dashboard.refuse(sent.parts, place, state, error).await,
    }
}

fn limit_id(text: &str) -> Result<LimitId, Error> {
    text.parse().map_err(|_| Error::NotFound { noun: "limit" })
}

/// Whose calls it is to count: those of the key in the address, or of what the form names.
fn place_of(sent: &Sent, state: &mut FormState) -> Option<LimitOn> {
    let query = sent.parts.uri.query().unwrap_or_default();
    if let Some((_, key)) = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "key") {
        return state.take("key", key.parse().map_err(|_| "this is no key")).map(LimitOn::Key);
    }
    match (sent.filled("project"), sent.filled("owner"), sent.filled("namespace")) {
        (Some(project), None, None) => {
            let environment = sent.filled("environment").map(|text| text.parse::<Environment>()).transpose();
            let environment = state.take("environment", environment);
            let project = state.take("project", ProjectSlug::parse(&project));
            Some(LimitOn::Project { project: project?, environment: environment? })
        }
        (None, Some(owner), None) => state.take("owner", ExternalId::parse(&owner)).map(LimitOn::Owner),
        (None, None, Some(namespace)) => {
            let namespace = state.take("namespace", Namespace::parse(&namespace));
            let identifiers = sent.filled("identifier").unwrap_or_else(|| "*".to_owned());
            let identifiers = state.take("identifier", IdentifierPattern::parse(&identifiers));
            Some(LimitOn::Namespace { namespace: namespace?, identifiers: identifiers? })
        }
        (None, None, None) => {
            state.refuse("owner", "Choose a project, or name an owner or a namespace.");
            None
        }
        _ => {
            let field = if sent.filled("namespace").is_some() { "namespace" } else { "owner" };
            state.refuse(field, "A limit is on a project, an owner or a namespace: leave the others open.");
            None
        }
    }
}

/// The rule, with every error beside its field.
fn rule(sent: &Sent, state: &mut FormState) -> Option<LimitRule> {
    let bucket = bucket(sent, state);
    let window = window(sent, state);
    let rule = LimitRule::new(bucket?, window?);
    state.take("capacity", rule.map_err(|_| "give a burst, a total, or both"))
}

/// Nothing where nothing was typed; `None` when what was typed cannot be taken.
#[expect(clippy::option_option, reason = "refused, left out, and given are three")]
fn bucket(sent: &Sent, state: &mut FormState) -> Option<Option<Bucket>> {
    if sent.filled("capacity").is_none() && sent.filled("refill").is_none() {
        return Some(None);
    }
    let capacity = number(sent, state, "capacity");
    let refill = number(sent, state, "refill");
    let period = number(sent, state, "period");
    let bucket = Bucket::new(capacity?, small(refill?), small(period?));
    bucket.map_err(|error| refuse_at_its_field(state, error)).ok().map(Some)
}

#[expect(clippy::option_option, reason = "refused, left out, and given are three")]
fn window(sent: &Sent, state: &mut FormState) -> Option<Option<Window>> {
    if sent.filled("total").is_none() {
        return Some(None);
    }
    let total = number(sent, state, "total");
    let kind = match sent.text("window").split_once(':') {
        Some((kind @ ("fixed" | "sliding"), seconds)) => {
            let seconds = state.take("window", seconds.parse().map_err(|_| "choose one of the list"))?;
            Some(if kind == "fixed" { WindowKind::Fixed { seconds } } else { WindowKind::Sliding { seconds } })
        }
        Some(("credits", unit)) => {
            calendar(sent, state, unit).map(|(unit, zone)| WindowKind::Credits { refill: Some(Refill { unit, zone }) })
        }
        None if sent.text("window") == "credits" => Some(WindowKind::Credits { refill: None }),
        _ => calendar(sent, state, &sent.text("window")).map(|(unit, zone)| WindowKind::Calendar { unit, zone }),
    };
    let window = Window::new(total?, kind?);
    window.map_err(|error| refuse_at_its_field(state, error)).ok().map(Some)
}

fn calendar(sent: &Sent, state: &mut FormState, unit: &str) -> Option<(CalendarUnit, TimeZone)> {
    let unit = state.take("window", unit.parse::<CalendarUnit>().map_err(|_| "choose one of the list"));
    let zone = sent.filled("time_zone").map_or(Ok(TimeZone::UTC), |text| text.trim().parse());
    unit.zip(state.take("time_zone", zone))
}

fn number(sent: &Sent, state: &mut FormState, field: &'static str) -> Option<u64> {
    // People group digits by spaces, as we do.
    let digits: String = sent.text(field).chars().filter(|character| !character.is_whitespace()).collect();
    state.take(field, digits.parse::<u64>().map_err(|_| "give a whole number"))
}

/// What does not fit is far beyond every bound.
fn small(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn refuse_at_its_field(state: &mut FormState, error: InvalidLimit) {
    let field = match error {
        InvalidLimit::Refill => "refill",
        InvalidLimit::RefillPeriod => "period",
        InvalidLimit::Total => "total",
        InvalidLimit::WindowLength => "window",
        InvalidLimit::Empty | InvalidLimit::Capacity | InvalidLimit::TooSlow | InvalidLimit::Cost => "capacity",
    };
    state.take::<(), _>(field, Err(error));
}

/// Where the limit is seen: on the page of its key or project, or in the list.
fn address(place: &Place, limit: &LimitView, did: &str) -> String {
    let slug = place.tenant.slug();
    match &limit.on {
        LimitOn::Key(key_id) => format!("/t/{slug}/keys/{key_id}?did={did}#limits"),
        LimitOn::Project { project, .. } => format!("/t/{slug}/projects/{project}?did={did}#limits"),
        LimitOn::Owner(_) | LimitOn::Namespace { .. } => format!("/t/{slug}/limits?did={did}"),
    }
}
