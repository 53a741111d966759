//! `/api/v1/limits`: each handler reads its request, calls one verb and writes the answer.

use axum::Json;
use axum::extract::Path;
use axum::http::{StatusCode, Uri};
use serde::Deserialize;
use tronch_core::{
    Bucket, CalendarUnit, Environment, ErrorCode, ExternalId, Identifier, IdentifierPattern, InvalidLimit, KeyId,
    LimitId, LimitName, LimitOn, LimitRule, Namespace, Page, ProjectSlug, Refill, TimeZone, Window, WindowKind,
};
use tronch_engine::limits::{self, LimitChange, LimitFilter, NewLimit, Whom};
use utoipa::ToSchema;

use super::confirm::{WaitParameter, confirmation};
use super::idempotency::KeyParameter;
use super::json::{Body, given};
use super::keys::OwnerIn;
use super::limit_out::{LimitOut, LimitUseOut, SimulationOut};
use super::openapi::Refused;
use super::out::ListOut;
use super::query::Query;
use super::{Inside, id_of};
use crate::doors::problem::Problem;

/// How many calls at once, and how fast that many come back.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BurstIn {
    /// The most at once, 1–1 000 000 000.
    #[schema(example = 100)]
    capacity: u64,
    /// How many come back in a period, 1–1 000 000. An empty burst must be full again within 31 days.
    #[schema(example = 10)]
    refill: u32,
    /// The period, 1–86 400 seconds.
    #[serde(default = "one_second")]
    #[schema(example = 1)]
    period_seconds: u32,
}

fn one_second() -> u32 {
    1
}

/// How many calls in a stretch of time: of so many `seconds`, or of the `calendar`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct WindowIn {
    /// The most in a stretch, 1–1 000 000 000 000.
    #[schema(example = 50000)]
    total: u64,
    /// 1–2 678 400 (31 days).
    seconds: Option<u32>,
    /// Whether the last so many seconds count, instead of stretches one after the other.
    #[serde(default)]
    sliding: bool,
    /// `day`, `week` (from Monday) or `month`.
    #[schema(example = "day")]
    calendar: Option<String>,
    /// Where the calendar hangs: a name of the IANA database; `UTC` when left out.
    #[schema(example = "Europe/Berlin")]
    time_zone: Option<String>,
}

/// A balance: what is not taken stays. Of a limit on a project each key has one.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreditsIn {
    /// What there is at first, and again when it is filled up; 1–1 000 000 000 000.
    #[schema(example = 10000)]
    amount: u64,
    /// When it is filled up to `amount`, if it is lower; never when left out.
    refill: Option<RefillIn>,
}

/// When a balance is filled up: as a stretch of the calendar begins.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RefillIn {
    /// `day`, `week` (from Monday) or `month`.
    #[schema(example = "month")]
    every: String,
    /// A name of the IANA database; `UTC` when left out.
    #[schema(example = "Europe/Berlin")]
    time_zone: Option<String>,
}

/// A new limit: on one of `key_id`, `owner`, `project` and `namespace`; with a burst, with a window or credits, or with a burst and one of the two.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateLimitIn {
    /// 2–39 small letters, digits and hyphens. Of limits with one name a key is held to its own, else its owner's, else its
    /// project's.
    #[schema(value_type = String, example = "default")]
    name: LimitName,
    /// Of one key.
    key_id: Option<String>,
    /// Of all keys of an owner together.
    owner: Option<OwnerIn>,
    /// Of each key of a project by itself.
    #[schema(value_type = Option<String>)]
    project: Option<ProjectSlug>,
    /// With `project`: of keys of this environment alone.
    #[schema(value_type = Option<String>)]
    environment: Option<Environment>,
    /// Of what services ask `POST /api/v1/limits/check` about: 2–39 small letters, digits and hyphens.
    #[schema(value_type = Option<String>, example = "sign-ups")]
    namespace: Option<Namespace>,
    /// With `namespace`: of which identifiers, each by itself. `*` stands for any characters, once; all when left out. Of limits with
    /// one name an identifier is held to the one that leaves least open.
    #[schema(example = "198.51.100.*")]
    identifier: Option<String>,
    /// Whether each validation is charged to it; otherwise only one that names it.
    #[serde(default = "yes")]
    #[schema(default = true)]
    automatic: bool,
    /// Whether several nodes agree on it call by call, or each holds a little of it, so that most calls wait for nobody.
    #[serde(default)]
    mode: ModeIn,
    burst: Option<BurstIn>,
    window: Option<WindowIn>,
    /// Instead of a window.
    credits: Option<CreditsIn>,
}

/// How nodes agree on a limit.
#[derive(Deserialize, ToSchema, Clone, Copy, Default, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ModeIn {
    /// Each holds a little of it.
    #[default]
    Fast,
    /// Each call asks the store that they share.
    Exact,
}

fn yes() -> bool {
    true
}

/// What of a limit is to change; what is left out stays. Under another total the count goes on; under another burst, or another cut of time, it begins anew.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct UpdateLimitIn {
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    name: Option<LimitName>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<bool>)]
    automatic: Option<bool>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<ModeIn>)]
    mode: Option<ModeIn>,
    /// `null` takes it away.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<BurstIn>)]
    burst: Option<Option<BurstIn>>,
    /// `null` takes it away.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<WindowIn>)]
    window: Option<Option<WindowIn>>,
    /// Instead of a window; `null` takes whichever there is away.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<CreditsIn>)]
    credits: Option<Option<CreditsIn>>,
}

fn invalid(field: &str, detail: impl ToString) -> Problem {
    Problem::new(ErrorCode::InvalidField, detail.to_string()).at(field)
}

/// The field that each refusal of numbers is about.
fn at_its_field(error: InvalidLimit) -> Problem {
    let field = match error {
        InvalidLimit::Empty | InvalidLimit::TooSlow => "burst",
        InvalidLimit::Capacity => "burst.capacity",
        InvalidLimit::Refill => "burst.refill",
        InvalidLimit::RefillPeriod => "burst.period_seconds",
        InvalidLimit::Total => "window.total",
        InvalidLimit::WindowLength => "window.seconds",
        InvalidLimit::Cost => "cost",
    };
    invalid(field, error)
}

impl CreateLimitIn {
    fn new_limit(self) -> Result<NewLimit, Problem> {
        if self.environment.is_some() && self.project.is_none() {
            return Err(invalid("environment", "only a limit on a project is of one environment"));
        }
        if self.identifier.is_some() && self.namespace.is_none() {
            return Err(invalid("identifier", "only a limit on a namespace is of some identifiers"));
        }
        let on = match (self.key_id, self.owner, self.project, self.namespace) {
            (Some(key_id), None, None, None) => LimitOn::Key(id_of(&key_id, "key")?),
            (None, Some(owner), None, None) => LimitOn::Owner(owner.external_id),
            (None, None, Some(project), None) => LimitOn::Project { project, environment: self.environment },
            (None, None, None, Some(namespace)) => {
                let identifiers = IdentifierPattern::parse(self.identifier.as_deref().unwrap_or("*"));
                let identifiers = identifiers.map_err(|error| invalid("identifier", error))?;
                LimitOn::Namespace { namespace, identifiers }
            }
            _ => {
                let detail = "say whose calls it counts: key_id, owner, project or namespace, one of the four";
                return Err(invalid("key_id", detail));
            }
        };
        let bucket = self.burst.map(BurstIn::bucket).transpose()?;
        let window = total_of(Some(self.window), Some(self.credits))?.flatten();
        let rule = LimitRule::new(bucket, window).map_err(at_its_field)?;
        let is_exact = self.mode == ModeIn::Exact;
        Ok(NewLimit { on, name: self.name, is_automatic: self.automatic, is_exact, rule })
    }
}

impl BurstIn {
    fn bucket(self) -> Result<Bucket, Problem> {
        Bucket::new(self.capacity, self.refill, self.period_seconds).map_err(at_its_field)
    }
}

impl CreditsIn {
    fn window(self) -> Result<Window, Problem> {
        let refill = match self.refill {
            None => None,
            Some(RefillIn { every, time_zone }) => {
                let unit = every
                    .parse()
                    .map_err(|error: tronch_core::ParseCalendarUnitError| invalid("credits.refill.every", error))?;
                Some(Refill { unit, zone: zone_of(time_zone.as_deref(), "credits.refill.time_zone")? })
            }
        };
        let credits = Window::new(self.amount, WindowKind::Credits { refill });
        credits.map_err(|error| invalid("credits.amount", error))
    }
}

/// A window or credits, if either was given; `null` for either takes away what there is.
#[expect(clippy::option_option, reason = "left out, taken away, and given are three")]
fn total_of(
    window: Option<Option<WindowIn>>,
    credits: Option<Option<CreditsIn>>,
) -> Result<Option<Option<Window>>, Problem> {
    match (window, credits) {
        (Some(Some(_)), Some(Some(_))) => Err(invalid("credits", "a limit has a window or credits, not both")),
        (Some(Some(window)), _) => window.window().map(|window| Some(Some(window))),
        (_, Some(Some(credits))) => credits.window().map(|credits| Some(Some(credits))),
        (None, None) => Ok(None),
        _ => Ok(Some(None)),
    }
}

fn zone_of(name: Option<&str>, field: &str) -> Result<TimeZone, Problem> {
    let zone = name.map(str::parse).transpose();
    let zone = zone.map_err(|error: tronch_core::ParseTimeZoneError| invalid(field, error))?;
    Ok(zone.unwrap_or(TimeZone::UTC))
}

impl WindowIn {
    fn window(self) -> Result<Window, Problem> {
        let kind = match (self.seconds, self.calendar.as_deref()) {
            (Some(seconds), None) if self.sliding => WindowKind::Sliding { seconds },
            (Some(seconds), None) => WindowKind::Fixed { seconds },
            (None, Some(_)) if self.sliding => {
                return Err(invalid("window.sliding", "only a window of seconds slides"));
            }
            (None, Some(unit)) => {
                let unit: CalendarUnit = unit.parse().map_err(|error| invalid("window.calendar", error))?;
                WindowKind::Calendar { unit, zone: zone_of(self.time_zone.as_deref(), "window.time_zone")? }
            }
            _ => {
                return Err(invalid(
                    "window.seconds",
                    "say how long a stretch is: seconds or calendar, one of the two",
                ));
            }
        };
        if self.time_zone.is_some() && !matches!(kind, WindowKind::Calendar { .. }) {
            return Err(invalid("window.time_zone", "only a window of the calendar hangs anywhere"));
        }
        Window::new(self.total, kind).map_err(at_its_field)
    }
}

fn limit_id(text: &str) -> Result<LimitId, Problem> {
    id_of(text, "limit")
}

/// List the limits the token may see, the newest first.
#[utoipa::path(
    get, path = "/api/v1/limits", tag = "limits", operation_id = "list_limits",
    security(("service_token" = ["limits.read"])),
    params(
        ("key_id" = Option<String>, Query, description = "those set on this key"),
        ("owner" = Option<String>, Query, description = "those set on this owner, by `external_id`"),
        ("project" = Option<String>, Query, description = "those set on this project"),
        ("namespace" = Option<String>, Query, description = "those set on this namespace"),
        ("limit" = Option<u32>, Query, description = "rows of a page, 1–100; 25 when left out"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
    ),
    responses((status = 200, description = "One page", body = ListOut<LimitOut>), (status = "default", response = Refused))
)]
pub(crate) async fn list_limits(inside: Inside, uri: Uri) -> Result<Json<ListOut<LimitOut>>, Problem> {
    let query = Query::read(&uri, &["key_id", "owner", "project", "namespace", "limit", "cursor"])?;
    let filter = LimitFilter {
        key_id: query.field("key_id", str::parse::<KeyId>)?,
        owner: query.field("owner", ExternalId::parse)?,
        project: query.field("project", ProjectSlug::parse)?,
        namespace: query.field("namespace", Namespace::parse)?,
    };
    let page = limits::list_limits(&inside.tenant, &filter, query.text("cursor"), query.limit()?).await?;
    Ok(Json(ListOut::of(page, |limit| Ok(limit.into()))?))
}

/// Set a limit.
#[utoipa::path(
    post, path = "/api/v1/limits", tag = "limits", operation_id = "create_limit",
    security(("service_token" = ["limits.write"])), params(KeyParameter, WaitParameter), request_body = CreateLimitIn,
    responses((status = 201, description = "The limit", body = LimitOut), (status = "default", response = Refused))
)]
pub(crate) async fn create_limit(
    inside: Inside,
    uri: Uri,
    Body(asked): Body<CreateLimitIn>,
) -> Result<(StatusCode, Json<LimitOut>), Problem> {
    let limit = limits::create_limit(&inside.tenant, asked.new_limit()?).await?;
    let out = LimitOut::from(limit).with(confirmation(&inside.tenant, &uri).await?);
    Ok((StatusCode::CREATED, Json(out)))
}

/// Look what a limit would have refused of the last week's calls, without setting it.
#[utoipa::path(
    post, path = "/api/v1/limits/simulate", tag = "limits", operation_id = "simulate_limit",
    security(("service_token" = ["usage.read"])), request_body = CreateLimitIn,
    responses((status = 200, description = "What it would have refused", body = SimulationOut), (status = "default", response = Refused))
)]
pub(crate) async fn simulate_limit(
    inside: Inside,
    Body(asked): Body<CreateLimitIn>,
) -> Result<Json<SimulationOut>, Problem> {
    let limit = asked.new_limit()?;
    Ok(Json(limits::simulate_limit(&inside.tenant, &limit.on, &limit.name, &limit.rule).await?.into()))
}

/// Read a limit.
#[utoipa::path(
    get, path = "/api/v1/limits/{limit_id}", tag = "limits", operation_id = "get_limit",
    security(("service_token" = ["limits.read"])), params(("limit_id" = String, Path, description = "`lim_…`")),
    responses((status = 200, description = "The limit", body = LimitOut), (status = "default", response = Refused))
)]
pub(crate) async fn get_limit(inside: Inside, Path(id): Path<String>, uri: Uri) -> Result<Json<LimitOut>, Problem> {
    Query::read(&uri, &[])?;
    Ok(Json(limits::get_limit(&inside.tenant, limit_id(&id)?).await?.into()))
}

/// Change a limit.
#[utoipa::path(
    patch, path = "/api/v1/limits/{limit_id}", tag = "limits", operation_id = "update_limit",
    security(("service_token" = ["limits.write"])), params(("limit_id" = String, Path, description = "`lim_…`"), KeyParameter, WaitParameter),
    request_body = UpdateLimitIn,
    responses((status = 200, description = "The limit as it is now", body = LimitOut), (status = "default", response = Refused))
)]
pub(crate) async fn update_limit(
    inside: Inside,
    Path(id): Path<String>,
    uri: Uri,
    Body(asked): Body<UpdateLimitIn>,
) -> Result<Json<LimitOut>, Problem> {
    let change = LimitChange {
        name: asked.name,
        is_automatic: asked.automatic,
        is_exact: asked.mode.map(|mode| mode == ModeIn::Exact),
        bucket: asked.burst.map(|burst| burst.map(BurstIn::bucket).transpose()).transpose()?,
        window: total_of(asked.window, asked.credits)?,
        unless_changed_since: None,
    };
    let limit = limits::update_limit(&inside.tenant, limit_id(&id)?, change).await?;
    Ok(Json(LimitOut::from(limit).with(confirmation(&inside.tenant, &uri).await?)))
}

/// Credits to be added.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AddCreditsIn {
    /// 1–1 000 000 000 000.
    #[schema(example = 500)]
    add: u64,
    /// Of a limit on a project: to which key's balance.
    key_id: Option<String>,
    /// Of a limit on a namespace: to which identifier's balance.
    #[schema(value_type = Option<String>)]
    identifier: Option<Identifier>,
}

/// See who used most of a limit's total, the ones closest to its end first; at most 100. What nodes have set aside and not let pass
/// yet counts as used. Of a burst only verdicts tell.
#[utoipa::path(
    get, path = "/api/v1/limits/{limit_id}/uses", tag = "limits", operation_id = "list_limit_uses",
    security(("service_token" = ["limits.read"])), params(("limit_id" = String, Path, description = "`lim_…`")),
    responses((status = 200, description = "All of them", body = ListOut<LimitUseOut>), (status = "default", response = Refused))
)]
pub(crate) async fn list_limit_uses(
    inside: Inside,
    Path(id): Path<String>,
    uri: Uri,
) -> Result<Json<ListOut<LimitUseOut>>, Problem> {
    Query::read(&uri, &[])?;
    let items = limits::uses_of_limit(&inside.tenant, limit_id(&id)?).await?;
    Ok(Json(ListOut::of(Page { items, next_cursor: None }, |one| Ok(one.into()))?))
}

/// Add to the balance of a limit with credits.
#[utoipa::path(
    post, path = "/api/v1/limits/{limit_id}/credits", tag = "limits", operation_id = "add_credits",
    security(("service_token" = ["limits.write"])), params(("limit_id" = String, Path, description = "`lim_…`"), KeyParameter),
    request_body = AddCreditsIn,
    responses((status = 200, description = "What is left now", body = LimitUseOut), (status = "default", response = Refused))
)]
pub(crate) async fn add_credits(
    inside: Inside,
    Path(id): Path<String>,
    Body(asked): Body<AddCreditsIn>,
) -> Result<Json<LimitUseOut>, Problem> {
    let whom = match (asked.key_id.as_deref(), asked.identifier) {
        (None, None) => Whom::Its,
        (Some(key_id), None) => Whom::Key(id_of(key_id, "key")?),
        (None, Some(identifier)) => Whom::Identifier(identifier),
        (Some(_), Some(_)) => return Err(invalid("identifier", "name a key or an identifier, not both")),
    };
    Ok(Json(limits::add_credits(&inside.tenant, limit_id(&id)?, &whom, asked.add).await?.into()))
}

/// Take a limit away.
#[utoipa::path(
    delete, path = "/api/v1/limits/{limit_id}", tag = "limits", operation_id = "remove_limit",
    security(("service_token" = ["limits.write"])), params(("limit_id" = String, Path, description = "`lim_…`"), KeyParameter, WaitParameter),
    responses((status = 200, description = "The limit as it was", body = LimitOut), (status = "default", response = Refused))
)]
pub(crate) async fn remove_limit(inside: Inside, Path(id): Path<String>, uri: Uri) -> Result<Json<LimitOut>, Problem> {
    let limit = limits::remove_limit(&inside.tenant, limit_id(&id)?).await?;
    Ok(Json(LimitOut::from(limit).with(confirmation(&inside.tenant, &uri).await?)))
}
