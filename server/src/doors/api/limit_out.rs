//! A limit as the API shows it.

use serde::Serialize;
use tronch_core::{Bucket, LimitOn, LimitView, Window, WindowKind, format_timestamp};
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
    /// Whether each validation is charged to it.
    automatic: bool,
    burst: Option<BurstOut>,
    window: Option<WindowOut>,
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

impl From<&Bucket> for BurstOut {
    fn from(bucket: &Bucket) -> Self {
        Self { capacity: bucket.capacity(), refill: bucket.refill(), period_seconds: bucket.period_seconds() }
    }
}

impl From<&Window> for WindowOut {
    fn from(window: &Window) -> Self {
        let total = window.total();
        match window.kind() {
            WindowKind::Fixed { seconds } => {
                Self { total, seconds: Some(seconds), sliding: false, calendar: None, time_zone: None }
            }
            WindowKind::Sliding { seconds } => {
                Self { total, seconds: Some(seconds), sliding: true, calendar: None, time_zone: None }
            }
            WindowKind::Calendar { unit, zone } => Self {
                total,
                seconds: None,
                sliding: false,
                calendar: Some(unit.as_str()),
                time_zone: Some(zone.as_str()),
            },
        }
    }
}

impl LimitOut {
    pub(crate) fn with(self, confirmation: Option<ConfirmationOut>) -> Self {
        Self { confirmation, ..self }
    }
}

impl From<LimitView> for LimitOut {
    fn from(view: LimitView) -> Self {
        let (mut key_id, mut owner, mut project, mut environment) = (None, None, None, None);
        match view.on {
            LimitOn::Key(key) => key_id = Some(key.to_string()),
            LimitOn::Owner(external_id) => owner = Some(OwnerOut::of(&external_id)),
            LimitOn::Project { project: slug, environment: of } => {
                project = Some(slug.to_string());
                environment = of.map(|of| of.to_string());
            }
        }
        Self {
            id: view.id.to_string(),
            name: view.name.to_string(),
            key_id,
            owner,
            project,
            environment,
            automatic: view.is_automatic,
            burst: view.rule.bucket().map(BurstOut::from),
            window: view.rule.window().map(WindowOut::from),
            sentence: view.rule.to_string(),
            created_at: format_timestamp(view.created_at),
            updated_at: format_timestamp(view.updated_at),
            confirmation: None,
        }
    }
}
