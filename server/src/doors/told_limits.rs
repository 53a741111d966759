//! What limits said of a call: in the verdict, and in headers that a service can pass on (draft-ietf-httpapi-ratelimit-headers,
//! RFC 9651, RFC 9110).

use std::cell::RefCell;
use std::time::Duration;

use axum::http::{HeaderName, HeaderValue};
use serde::{Serialize, Serializer};
use tronch_core::{LimitHalf, LimitName, Reading};
use tronch_engine::verify::{LimitTold, LimitsTold};
use utoipa::ToSchema;

use super::quick_json::{Quick, QuickJson, put_number};

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
        let (reading, refused) = reading_of(&told);
        Self {
            name: told.name,
            limit: reading.limit,
            remaining: reading.remaining,
            reset_after_ms: reading.reset_after_ms,
            exceeded: refused.is_some(),
            never: refused == Some(None),
        }
    }
}

/// What is left, and of a limit that was exceeded, after how many milliseconds the same call passes.
fn reading_of<'a>(told: &LimitTold<'a>) -> (&'a Reading, Option<Option<u64>>) {
    match told.outcome {
        Ok(reading) => (reading, None),
        Err(refusal) => (&refusal.reading, Some(refusal.retry_after_ms)),
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
    pub(super) policies: HeaderValue,
    pub(super) states: HeaderValue,
    /// In seconds.
    pub(super) retry_after: Option<u64>,
}

thread_local! {
    static FIELDS: RefCell<Fields> = const { RefCell::new(Fields { policies: Vec::new(), states: Vec::new() }) };
}

/// Where fields are put together: a value of just its length is made of each.
struct Fields {
    policies: Vec<u8>,
    states: Vec<u8>,
}

impl LimitHeaders {
    /// `t` is when all is there again, or when the call that was refused passes; `Retry-After` is never before that. Nothing
    /// where no limit was charged.
    pub(crate) fn of(limits: LimitsTold<'_>) -> Option<Self> {
        FIELDS.with_borrow_mut(|fields| {
            fields.policies.clear();
            fields.states.clear();
            let mut retry_after = Some(0);
            for told in limits {
                let (reading, refused) = reading_of(&told);
                match refused {
                    None => {}
                    Some(None) => retry_after = None,
                    Some(Some(wait)) => {
                        retry_after = retry_after.map(|longest: u64| longest.max(seconds_of(wait)).max(1));
                    }
                }
                let until = refused.flatten().or(reading.reset_after_ms).map(seconds_of);
                let name = name_of(&told, reading);
                put(&mut fields.policies, name, [(*b";q=", Some(reading.limit)), (*b";w=", told.window_seconds)]);
                put(&mut fields.states, name, [(*b";r=", Some(reading.remaining)), (*b";t=", until)]);
            }
            if fields.states.is_empty() {
                return None;
            }
            // A name of a limit has no character that a header must not have.
            let [policies, states] =
                [&fields.policies, &fields.states].map(|field| HeaderValue::from_bytes(field).ok());
            let (policies, states) = policies.zip(states)?;
            Some(Self { policies, states, retry_after: retry_after.filter(|seconds| *seconds > 0) })
        })
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

/// An item of a list, with the parameters that have a value. By hand: it is written for each call.
fn put(field: &mut Vec<u8>, name: [&str; 2], parameters: [([u8; 3], Option<u64>); 2]) {
    if !field.is_empty() {
        field.extend_from_slice(b", ");
    }
    field.push(b'"');
    name.into_iter().for_each(|part| field.extend_from_slice(part.as_bytes()));
    field.push(b'"');
    for (parameter, value) in parameters {
        if let Some(value) = value {
            field.extend_from_slice(&parameter);
            put_number(field, value);
        }
    }
}

/// Rounded up.
fn seconds_of(millis: u64) -> u64 {
    millis.div_ceil(1_000)
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
    fn whole_seconds_are_rounded_up() {
        for (nanos, more) in [(0, 0), (1, 1), (1_000_000, 1), (999_999_999, 1)] {
            assert_eq!(whole_seconds(Duration::new(7, nanos)), 7 + more);
        }
        assert_eq!([0, 1, 999, 1_000, 1_001].map(seconds_of), [0, 1, 1, 1, 2]);
    }

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
