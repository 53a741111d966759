//! What limits said of a call: in the verdict, and in headers that a service can pass on (draft-ietf-httpapi-ratelimit-headers,
//! RFC 9651, RFC 9110).

use std::cell::RefCell;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use serde::{Serialize, Serializer};
use tronch_core::{LimitHalf, LimitName, Reading};
use tronch_engine::verify::{LimitTold, LimitsTold};
use utoipa::ToSchema;

use super::headers::put;
use super::quick_json::{Quick, QuickJson};

pub(super) const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
pub(super) const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// What a limit said of the call.
#[derive(Serialize, ToSchema)]
pub(crate) struct LimitToldOut<'a> {
    #[schema(value_type = String, example = "default")]
    name: &'a LimitName,
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
            name: told.name,
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

thread_local! {
    /// Where a field is put together: a value of just its length is made of it.
    static FIELD: RefCell<String> = const { RefCell::new(String::new()) };
}

impl LimitHeaders {
    /// `t` is when all is there again, or when the call that was refused passes; `Retry-After` is never before that. Nothing
    /// where no limit was charged.
    pub(crate) fn of(limits: LimitsTold<'_>) -> Option<Self> {
        let policies =
            list(limits.clone(), |told, reading, _| [(";q=", Some(reading.limit)), (";w=", told.window_seconds)])?;
        let mut retry_after = Some(0);
        let states = list(limits, |_, reading, refused| {
            match refused {
                None => {}
                Some(None) => retry_after = None,
                Some(Some(wait)) => {
                    retry_after = retry_after.map(|longest: u64| longest.max(whole_seconds(wait)).max(1));
                }
            }
            let until = refused.flatten().or(reading.reset_after).map(whole_seconds);
            [(";r=", Some(reading.remaining)), (";t=", until)]
        })?;
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

/// An item for each limit, with the parameters that have a value. By hand: it is written for each call.
fn list<'a>(
    limits: LimitsTold<'a>,
    mut parameters: impl FnMut(&LimitTold<'a>, &Reading, Option<Option<Duration>>) -> [(&'static str, Option<u64>); 2],
) -> Option<HeaderValue> {
    FIELD.with_borrow_mut(|field| {
        field.clear();
        for told in limits {
            let (reading, refused) = reading_of(told);
            field.push_str(if field.is_empty() { "\"" } else { ", \"" });
            name_of(&told, &reading).into_iter().for_each(|part| field.push_str(part));
            field.push('"');
            for (parameter, value) in parameters(&told, &reading, refused) {
                if let Some(value) = value {
                    field.push_str(parameter);
                    field.push_str(itoa::Buffer::new().format(value));
                }
            }
        }
        // A name of a limit has no character that a header must not have.
        (!field.is_empty()).then(|| HeaderValue::from_str(field).ok()).flatten()
    })
}

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
        let name = LimitName::parse("a-limit-1").expect("a name");
        for (limit, remaining) in [(0, 0), (1, 1), (100, 99), (u64::MAX, u64::MAX)] {
            for reset_after_ms in [None, Some(0), Some(600), Some(u64::MAX)] {
                for (exceeded, never) in [(false, false), (true, false), (true, true)] {
                    let told = LimitToldOut { name: &name, limit, remaining, reset_after_ms, exceeded, never };
                    assert_written_alike(&told);
                }
            }
        }
    }
}
