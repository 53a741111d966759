//! What limits said of a call: in the verdict, and in headers that a service can pass on (draft-ietf-httpapi-ratelimit-headers,
//! RFC 9651, RFC 9110).

use std::time::Duration;

use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use serde::{Serialize, Serializer};
use tronch_core::{LimitHalf, Reading};
use tronch_engine::verify::{LimitTold, LimitsTold};
use utoipa::ToSchema;

use super::headers::put;
use super::quick_json::{Quick, QuickJson};

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

impl Quick for LimitToldOut<'_> {
    fn put(&self, json: &mut QuickJson) -> serde_json::Result<()> {
        json.raw("{\"name\":").word(self.name);
        json.raw(",\"limit\":").number(self.limit).raw(",\"remaining\":").number(self.remaining);
        match self.reset_after_ms {
            Some(after) => json.raw(",\"reset_after_ms\":").number(after),
            None => json.raw(",\"reset_after_ms\":null"),
        };
        json.raw(",\"exceeded\":").truth(self.exceeded).raw(if self.never { ",\"never\":true}" } else { "}" });
        Ok(())
    }
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

/// What each limit said of a call, in its verdict: read as it is written, so that nothing is put aside for it.
pub(crate) struct LimitsToldOut<'a>(pub(crate) LimitsTold<'a>);

impl<'a> LimitsToldOut<'a> {
    fn each(&self) -> impl Iterator<Item = LimitToldOut<'a>> {
        self.0.clone().map(LimitToldOut::from)
    }
}

impl Serialize for LimitsToldOut<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.each())
    }
}

impl Quick for LimitsToldOut<'_> {
    fn put(&self, json: &mut QuickJson) -> serde_json::Result<()> {
        json.list(self.each(), |json, told| told.put(json)).map(drop)
    }
}

/// The fields of limits that were charged, beside a verdict.
pub(crate) struct LimitHeaders {
    policies: HeaderValue,
    states: HeaderValue,
    retry_after: Option<u64>,
}

impl LimitHeaders {
    /// `t` is when all is there again, or when the call that was refused passes; `Retry-After` is never before that. Nothing
    /// where no limit was charged.
    pub(crate) fn of(limits: LimitsTold<'_>) -> Option<Self> {
        let mut retry_after = Some(0);
        // Both fields are parts of one piece of memory.
        let mut fields = String::with_capacity(FIELDS_BYTES);
        for told in limits.clone() {
            let (reading, refused) = reading_of(told);
            let parameters = [(";q=", Some(reading.limit)), (";w=", told.window_seconds)];
            write_item(&mut fields, 0, name_of(&told, &reading), parameters);
            match refused {
                None => {}
                Some(None) => retry_after = None,
                Some(Some(wait)) => {
                    retry_after = retry_after.map(|longest: u64| longest.max(whole_seconds(wait)).max(1));
                }
            }
        }
        if fields.is_empty() {
            return None;
        }
        let begin = fields.len();
        for told in limits {
            let (reading, refused) = reading_of(told);
            let until = refused.flatten().or(reading.reset_after).map(whole_seconds);
            write_item(
                &mut fields,
                begin,
                name_of(&told, &reading),
                [(";r=", Some(reading.remaining)), (";t=", until)],
            );
        }
        let fields = Bytes::from(fields);
        // A name of a limit has no character that a header must not have.
        let value = |part: Bytes| HeaderValue::from_maybe_shared(part).ok();
        let (policies, states) = (value(fields.slice(..begin))?, value(fields.slice(begin..))?);
        Some(Self { policies, states, retry_after: retry_after.filter(|seconds| *seconds > 0) })
    }

    pub(crate) fn add_to(self, headers: &mut HeaderMap) {
        put(headers, &RATE_LIMIT_POLICY, self.policies);
        put(headers, &RATE_LIMIT, self.states);
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
    }
}

/// Of a limit with both halves, the one that is come up against first.
fn name_of<'a>(told: &LimitTold<'a>, reading: &Reading) -> [&'a str; 2] {
    let half = match (told.rule.bucket(), told.rule.window(), reading.half) {
        (Some(_), Some(_), LimitHalf::Rate) => ".burst",
        (Some(_), Some(_), LimitHalf::Total) => ".window",
        _ => "",
    };
    [told.name.as_str(), half]
}

/// One more item of the list that begins there. By hand: it is written for each call.
fn write_item(field: &mut String, begin: usize, name: [&str; 2], parameters: [(&str, Option<u64>); 2]) {
    if field.len() > begin {
        field.push_str(", ");
    }
    let mut push = |text: &str| field.push_str(text);
    push("\"");
    name.into_iter().for_each(&mut push);
    push("\"");
    for (parameter, value) in parameters {
        if let Some(value) = value {
            push(parameter);
            push(itoa::Buffer::new().format(value));
        }
    }
}

/// Room for both fields about two limits.
const FIELDS_BYTES: usize = 192;

/// Rounded up.
pub(crate) fn whole_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

/// Rounded up.
pub(crate) fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use super::super::quick_json::tests::assert_written_alike;
    use super::*;

    #[test]
    fn what_a_limit_said_is_written_as_it_is_described() {
        for (limit, remaining) in [(0, 0), (1, 1), (100, 99), (u64::MAX, u64::MAX)] {
            for reset_after_ms in [None, Some(0), Some(600), Some(u64::MAX)] {
                for (exceeded, never) in [(false, false), (true, false), (true, true)] {
                    let told = LimitToldOut { name: "a.limit-1", limit, remaining, reset_after_ms, exceeded, never };
                    assert_written_alike(&told);
                }
            }
        }
    }
}
