//! What limits said of a call: in the verdict, and in headers that a service can pass on (draft-ietf-httpapi-ratelimit-headers,
//! RFC 9651, RFC 9110).

use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use serde::Serialize;
use tronch_core::{LimitHalf, Reading};
use tronch_engine::verify::LimitTold;
use utoipa::ToSchema;

const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// What a limit said of the call.
#[derive(Serialize, ToSchema)]
pub(crate) struct LimitToldOut<'a> {
    #[schema(example = "default")]
    name: &'a str,
    /// The most that can be left.
    #[schema(example = 100)]
    limit: u64,
    /// What is left. Nothing was taken where any limit was exceeded.
    #[schema(example = 99)]
    remaining: u64,
    /// Until all of it is there again, if nobody takes anything meanwhile.
    #[schema(example = 600)]
    reset_after_ms: u64,
    /// Whether the call asked for more than was left.
    exceeded: bool,
    /// With `exceeded`: that the same call will never pass, because it asks for more than there can be.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    never: bool,
}

impl<'a> From<&'a LimitTold> for LimitToldOut<'a> {
    fn from(told: &'a LimitTold) -> Self {
        let (reading, refused) = reading_of(told);
        Self {
            name: told.name().as_str(),
            limit: reading.limit,
            remaining: reading.remaining,
            reset_after_ms: u64::try_from(reading.reset_after.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX),
            exceeded: refused.is_some(),
            never: refused == Some(None),
        }
    }
}

/// What is left, and of a limit that was exceeded, after how long the same call passes.
fn reading_of(told: &LimitTold) -> (Reading, Option<Option<Duration>>) {
    match told.outcome() {
        Ok(reading) => (reading, None),
        Err(refusal) => (refusal.reading, Some(refusal.retry_after)),
    }
}

/// Puts the fields of limits that were charged beside a verdict. `t` is when all is there again, or when the call that was refused
/// passes; `Retry-After` is never before that.
pub(crate) fn add_limit_headers(headers: &mut HeaderMap, limits: &[LimitTold]) {
    let (mut policies, mut states, mut retry) = (String::new(), String::new(), Some(0));
    for told in limits {
        let (reading, refused) = reading_of(told);
        let until = refused.map_or(reading.reset_after, |retry_after| retry_after.unwrap_or(reading.reset_after));
        let (name, half) = (told.name(), if reading.half == LimitHalf::Rate { "burst" } else { "window" });
        let separator = if policies.is_empty() { "" } else { ", " };
        // Of a limit with both, the one that is come up against first.
        let has_both = told.rule().bucket().is_some() && told.rule().window().is_some();
        let item = if has_both { format!("\"{name}.{half}\"") } else { format!("\"{name}\"") };
        let seconds = whole_seconds(until);
        policies += &format!("{separator}{item};q={};w={}", reading.limit, told.window_seconds());
        states += &format!("{separator}{item};r={};t={seconds}", reading.remaining);
        match refused {
            None => {}
            Some(None) => retry = None,
            Some(Some(_)) => retry = retry.map(|longest: u64| longest.max(seconds).max(1)),
        }
    }
    insert(headers, RATE_LIMIT_POLICY, &policies);
    insert(headers, RATE_LIMIT, &states);
    if let Some(seconds @ 1..) = retry {
        insert(headers, header::RETRY_AFTER, &seconds.to_string());
    }
}

/// Rounded up.
fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}
