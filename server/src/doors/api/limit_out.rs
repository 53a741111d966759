//! A limit as the API shows it, who used most of it, and what one would have refused.

use serde::Serialize;
use tronch_core::{Bucket, LimitOn, LimitView, Reading, Refill, Window, WindowKind, format_timestamp};
use tronch_engine::limits::{LimitUse, Simulation};
use utoipa::ToSchema;

use super::confirm::ConfirmationOut;
use super::out::OwnerOut;

/// A limit.
#[derive(Serialize, ToSchema)]
pub(crate) struct LimitOut {
    id: String,
    name: String,
    /// The key whose calls it counts.
    key_id: Option<String>,
    /// The owner, the calls of all whose keys it counts together.
    owner: Option<OwnerOut>,
    /// The project of which it counts the calls of each key by itself.
    project: Option<String>,
    /// With `project`: of which environment, if only of one.
    environment: Option<String>,
    /// The namespace of which it counts the calls of each identifier by itself.
    namespace: Option<String>,
    /// With `namespace`: of which identifiers; `*` stands for any characters.
    identifier: Option<String>,
    /// Whether each validation is charged to it.
    automatic: bool,
    /// `fast` or `exact`: how nodes agree on it.
    mode: &'static str,
    burst: Option<BurstOut>,
    window: Option<WindowOut>,
    credits: Option<CreditsOut>,
    /// All of the rule, in words.
    #[schema(example = "100 calls at once, then 10 a second; at most 50 000 a day, Europe/Berlin")]
    sentence: String,
    created_at: String,
    updated_at: String,
    /// With `?wait=all`: which nodes go by the change.
    #[serde(skip_serializing_if = "Option::is_none")]
    confirmation: Option<ConfirmationOut>,
}

/// How many calls at once, and how fast that many come back.
#[derive(Serialize, ToSchema)]
pub(crate) struct BurstOut {
    capacity: u64,
    refill: u32,
    period_seconds: u32,
}

/// How many calls in a stretch of time.
#[derive(Serialize, ToSchema)]
pub(crate) struct WindowOut {
    total: u64,
    seconds: Option<u32>,
    sliding: bool,
    calendar: Option<&'static str>,
    time_zone: Option<&'static str>,
}

/// A balance.
#[derive(Serialize, ToSchema)]
pub(crate) struct CreditsOut {
    /// What there is at first, and again when it is filled up.
    amount: u64,
    refill: Option<RefillOut>,
}

/// When a balance is filled up.
#[derive(Serialize, ToSchema)]
pub(crate) struct RefillOut {
    /// `day`, `week` or `month`.
    every: &'static str,
    time_zone: &'static str,
}

impl From<&Bucket> for BurstOut {
    fn from(bucket: &Bucket) -> Self {
        Self { capacity: bucket.capacity(), refill: bucket.refill(), period_seconds: bucket.period_seconds() }
    }
}

/// A total is one of the two.
fn window_or_credits(window: &Window) -> (Option<WindowOut>, Option<CreditsOut>) {
    let total = window.total();
    let plain = WindowOut { total, seconds: None, sliding: false, calendar: None, time_zone: None };
    let window = match window.kind() {
        WindowKind::Fixed { seconds } => WindowOut { seconds: Some(seconds), ..plain },
        WindowKind::Sliding { seconds } => WindowOut { seconds: Some(seconds), sliding: true, ..plain },
        WindowKind::Calendar { unit, zone } => {
            WindowOut { calendar: Some(unit.as_str()), time_zone: Some(zone.as_str()), ..plain }
        }
        WindowKind::Credits { refill } => {
            let refill =
                refill.map(|Refill { unit, zone }| RefillOut { every: unit.as_str(), time_zone: zone.as_str() });
            return (None, Some(CreditsOut { amount: total, refill }));
        }
    };
    (Some(window), None)
}

impl LimitOut {
    pub(crate) fn with(self, confirmation: Option<ConfirmationOut>) -> Self {
        Self { confirmation, ..self }
    }
}

impl From<LimitView> for LimitOut {
    fn from(view: LimitView) -> Self {
        let (mut key_id, mut owner, mut project, mut environment) = (None, None, None, None);
        let (mut namespace, mut identifier) = (None, None);
        match view.on {
            LimitOn::Key(key) => key_id = Some(key.to_string()),
            LimitOn::Owner(external_id) => owner = Some(OwnerOut::of(&external_id)),
            LimitOn::Project { project: slug, environment: of } => {
                project = Some(slug.to_string());
                environment = of.map(|of| of.to_string());
            }
            LimitOn::Namespace { namespace: of, identifiers } => {
                (namespace, identifier) = (Some(of.to_string()), Some(identifiers.to_string()));
            }
        }
        let (window, credits) = view.rule.window().map(window_or_credits).unwrap_or_default();
        Self {
            id: view.id.to_string(),
            name: view.name.to_string(),
            key_id,
            owner,
            project,
            environment,
            namespace,
            identifier,
            automatic: view.is_automatic,
            mode: if view.is_exact { "exact" } else { "fast" },
            burst: view.rule.bucket().map(BurstOut::from),
            window,
            credits,
            sentence: view.rule.to_string(),
            created_at: format_timestamp(view.created_at),
            updated_at: format_timestamp(view.updated_at),
            confirmation: None,
        }
    }
}

/// What somebody used of a limit's total.
#[derive(Serialize, ToSchema)]
pub(crate) struct LimitUseOut {
    /// Whose calls, as its rotations began; `null` where an owner's keys are counted together.
    key_id: Option<String>,
    key_name: Option<String>,
    /// Of a namespace: whose calls.
    identifier: Option<String>,
    /// The most that can be left.
    limit: u64,
    remaining: u64,
    /// Until all of it is there again; `null` for credits that nobody fills up.
    reset_after_ms: Option<u64>,
}

impl From<LimitUse> for LimitUseOut {
    fn from(one: LimitUse) -> Self {
        let (key_id, key_name) = one.key.map(|(id, name)| (id.to_string(), name.to_string())).unzip();
        let Reading { limit, remaining, reset_after_ms, .. } = one.reading;
        let identifier = one.identifier.map(|identifier| identifier.to_string());
        Self { key_id, key_name, identifier, limit, remaining, reset_after_ms }
    }
}

/// Keys that an answer names.
const SIMULATED_KEYS: usize = 100;

/// What a limit would have refused of the last week's calls.
#[derive(Serialize, ToSchema)]
pub(crate) struct SimulationOut {
    /// Since when calls are looked at.
    from: String,
    /// All that the limit would have counted.
    calls: u64,
    /// How many would have been refused if those of a minute came evenly.
    refused_least: u64,
    /// How many if those of a minute came at once.
    refused_most: u64,
    /// Keys with calls; one for all keys of an owner.
    keys: usize,
    /// How many of them could have been refused.
    keys_refused: usize,
    /// At most 100 of those, the ones with most refusals first.
    refused: Vec<SimulatedKeyOut>,
    /// Whether there are so many keys that only the 200 that were used last were looked at.
    partial: bool,
}

/// A key of which calls could have been refused.
#[derive(Serialize, ToSchema)]
pub(crate) struct SimulatedKeyOut {
    /// Which, as its rotations began; `null` where an owner's keys are counted together.
    key_id: Option<String>,
    name: String,
    calls: u64,
    refused_least: u64,
    refused_most: u64,
}

impl From<Simulation> for SimulationOut {
    fn from(simulation: Simulation) -> Self {
        let keys_refused = simulation.refused.len();
        let refused = simulation.refused.into_iter().take(SIMULATED_KEYS).map(|key| SimulatedKeyOut {
            key_id: key.key_id.map(|key_id| key_id.to_string()),
            name: key.name,
            calls: key.simulated.calls,
            refused_least: key.simulated.least,
            refused_most: key.simulated.most,
        });
        Self {
            from: format_timestamp(simulation.from),
            calls: simulation.total.calls,
            refused_least: simulation.total.least,
            refused_most: simulation.total.most,
            keys: simulation.counted,
            keys_refused,
            refused: refused.collect(),
            partial: simulation.is_partial,
        }
    }
}
