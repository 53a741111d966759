//! What limits said of a call: in the verdict, and in headers that a service can pass on (draft-ietf-httpapi-ratelimit-headers,
//! RFC 9651, RFC 9110).

use std::time::Duration;

use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use serde::Serialize;
use tronch_core::{LimitHalf, Reading};
use tronch_engine::verify::LimitTold;
use utoipa::ToSchema;

use super::headers::put;

pub(super) const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
pub(super) const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

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
    /// Until all of it is there again, if nobody takes anything meanwhile; `null` for credits that nobody fills up.
    #[schema(example = 600)]
    reset_after_ms: Option<u64>,
    /// Whether the call asked for more than was left.
    exceeded: bool,
    /// With `exceeded`: that waiting does not help, because the call asks for more than there can be, or for credits that nobody
    /// fills up.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    never: bool,
}

impl<'a> From<LimitTold<'a>> for LimitToldOut<'a> {
    fn from(told: LimitTold<'a>) -> Self {
        let (reading, refused) = reading_of(told);
        Self {
            name: told.name.as_str(),
            limit: reading.limit,
            remaining: reading.remaining,
            reset_after_ms: reading.reset_after.map(whole_millis),
            exceeded: refused.is_some(),
            never: refused == Some(None),
        }
    }
}

/// What is left, and of a limit that was exceeded, after how long the same call passes.
fn reading_of(told: LimitTold<'_>) -> (Reading, Option<Option<Duration>>) {
    match told.outcome {
        Ok(reading) => (reading, None),
        Err(refusal) => (refusal.reading, Some(refusal.retry_after)),
    }
}

/// The fields of limits that were charged, beside a verdict.
pub(crate) struct LimitHeaders {
    policies: String,
    states: String,
    retry_after: Option<u64>,
}

impl LimitHeaders {
    /// `t` is when all is there again, or when the call that was refused passes; `Retry-After` is never before that. Nothing
    /// where no limit was charged.
    pub(crate) fn of<'a>(limits: impl Iterator<Item = LimitTold<'a>>) -> Option<Self> {
        let mut limits = limits.peekable();
        limits.peek()?;
        let (mut policies, mut states) = (String::with_capacity(FIELD_BYTES), String::with_capacity(FIELD_BYTES));
        let mut retry_after = Some(0);
        for told in limits {
            let (reading, refused) = reading_of(told);
            let until = refused.flatten().or(reading.reset_after).map(whole_seconds);
            // Of a limit with both, the one that is come up against first.
            let half = match (told.rule.bucket(), told.rule.window(), reading.half) {
                (Some(_), Some(_), LimitHalf::Rate) => ".burst",
                (Some(_), Some(_), LimitHalf::Total) => ".window",
                _ => "",
            };
            let name = [told.name.as_str(), half];
            write_item(&mut policies, name, [(";q=", Some(reading.limit)), (";w=", told.window_seconds)]);
            write_item(&mut states, name, [(";r=", Some(reading.remaining)), (";t=", until)]);
            match refused {
                None => {}
                Some(None) => retry_after = None,
                Some(Some(wait)) => {
                    retry_after = retry_after.map(|longest: u64| longest.max(whole_seconds(wait)).max(1));
                }
            }
        }
        let retry_after = retry_after.filter(|seconds| *seconds > 0);
        Some(Self { policies, states, retry_after })
    }

    pub(crate) fn add_to(self, headers: &mut HeaderMap) {
        put_text(headers, RATE_LIMIT_POLICY, self.policies);
        put_text(headers, RATE_LIMIT, self.states);
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
    }
}

/// One more item of a list. By hand: it is written for each call.
fn write_item(field: &mut String, name: [&str; 2], parameters: [(&str, Option<u64>); 2]) {
    if !field.is_empty() {
        field.push_str(", ");
    }
    field.push('"');
    name.into_iter().for_each(|part| field.push_str(part));
    field.push('"');
    for (parameter, value) in parameters {
        if let Some(value) = value {
            field.push_str(parameter);
            field.push_str(itoa::Buffer::new().format(value));
        }
    }
}

/// Room for a field about two limits.
const FIELD_BYTES: usize = 96;

/// Rounded up.
pub(crate) fn whole_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

/// Rounded up.
pub(crate) fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

fn put_text(headers: &mut HeaderMap, name: HeaderName, value: String) {
    match HeaderValue::from_maybe_shared(Bytes::from(value)) {
        Ok(value) => put(headers, &name, value),
        // A name of a limit has no character that a header must not have.
        Err(_) => drop(headers.remove(name)),
    }
}
