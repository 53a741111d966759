//! The line of a validation, written without the machinery that other lines go through: there is one for each, and
//! services wait for it. It reads as that of any other request; `request_log.rs` says what it holds.

use std::cell::RefCell;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use chrono::{DateTime, SecondsFormat};
use tracing::Level;
use tronch_core::{Handle, IdText, TenantSlug};

use super::numbered::Numbers;
use super::writer::Lines;
use crate::doors::REQUEST_TARGET;

/// Where such lines go, when they are JSON.
static DIRECTLY: OnceLock<(Lines, Arc<Numbers>)> = OnceLock::new();

/// Bytes that such a line stays below.
const LINE_BYTES: usize = 512;

/// From now on. Once in a process.
pub(super) fn write_directly(lines: Lines, numbers: Arc<Numbers>) {
    DIRECTLY.get_or_init(|| (lines, numbers));
}

/// What a validation leaves in the log.
pub(crate) struct RequestLine<'a> {
    pub(crate) request_id: &'a IdText,
    pub(crate) method: &'static str,
    pub(crate) route: &'static str,
    /// Nothing when nobody was answered.
    pub(crate) status: Option<u16>,
    pub(crate) outcome: &'static str,
    pub(crate) took: Duration,
    pub(crate) tenant: Option<&'a TenantSlug>,
    pub(crate) key: Option<Handle>,
    pub(crate) token: Option<Handle>,
}

/// Writes it, where lines of its level are wanted.
pub(crate) fn write_request(line: &RequestLine<'_>) {
    if !tracing::enabled!(target: REQUEST_TARGET, Level::INFO) {
        return;
    }
    match DIRECTLY.get() {
        Some((lines, numbers)) => TEXT.with_borrow_mut(|text| {
            text.clear();
            push_json(text, line, numbers);
            lines.push(text);
        }),
        None => write_as_others(line),
    }
}

/// Nothing in it needs to be escaped: words of ours, slugs, handles and ids.
fn push_json(text: &mut Vec<u8>, line: &RequestLine<'_>, numbers: &Numbers) {
    let RequestLine { request_id, method, route, status, outcome, took, tenant, key, token } = line;
    let mut digits = [itoa::Buffer::new(), itoa::Buffer::new()];
    let [first, second] = &mut digits;
    let (sequence, process_id) = (first.format(numbers.next()), second.format(numbers.process_id));
    push(text, ["{\"sequence\":", sequence, ",\"pid\":", process_id, ",\"timestamp\":\""]);
    push_now(text);
    push(text, ["\",\"level\":\"INFO\",\"fields\":{\"message\":\"request\",\"request.method\":\"", method]);
    push(text, ["\",\"request.route\":\"", route, "\""]);
    if let Some(status) = status {
        push(text, [",\"response.status\":", first.format(*status)]);
    }
    push(text, [",\"outcome\":\"", outcome, "\",\"latency_us\":", first.format(took.as_micros())]);
    if let Some(tenant) = tenant {
        push(text, [",\"tenant.slug\":\"", tenant.as_str(), "\""]);
    }
    for (name, handle) in [(",\"key.handle\":\"", key), (",\"token.handle\":\"", token)] {
        if let Some(handle) = handle {
            push(text, [name.as_bytes(), handle.as_bytes(), b"\""]);
        }
    }
    push(text, ["},\"target\":\"", REQUEST_TARGET, "\",\"span\":{\"request.id\":\""]);
    push(text, [request_id.as_bytes(), b"\",\"name\":\"request\"}}\n"]);
}

#[inline]
fn push<T: AsRef<[u8]>, const N: usize>(text: &mut Vec<u8>, parts: [T; N]) {
    parts.iter().for_each(|part| text.extend_from_slice(part.as_ref()));
}

/// The time as RFC 3339 has it, to the microsecond.
fn push_now(text: &mut Vec<u8>) {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    SECOND.with_borrow_mut(|(second, head)| {
        if *second != since.as_secs() {
            *second = since.as_secs();
            head.clear();
            let at = DateTime::from_timestamp(since.as_secs().cast_signed(), 0).unwrap_or_default();
            head.push_str(at.to_rfc3339_opts(SecondsFormat::Secs, true).trim_end_matches('Z'));
        }
        text.extend_from_slice(head.as_bytes());
    });
    // The leading one keeps the zeros, and gives its place to the point.
    push(text, [".", &itoa::Buffer::new().format(1_000_000 + since.subsec_micros())[1..], "Z"]);
}

thread_local! {
    /// Where a line is put together: one for each thread, so that none has to be made and overwritten again.
    static TEXT: RefCell<Vec<u8>> = RefCell::new(Vec::with_capacity(LINE_BYTES));

    /// The last second that was written, and how: taking a time apart costs more than the rest of a line.
    static SECOND: RefCell<(u64, String)> = const { RefCell::new((0, String::new())) };
}

fn write_as_others(line: &RequestLine<'_>) {
    let span = tracing::error_span!("request", request.id = %line.request_id.as_str());
    let _inside = span.enter();
    tracing::event!(
        target: REQUEST_TARGET,
        Level::INFO,
        request.method = line.method,
        request.route = line.route,
        response.status = line.status,
        outcome = line.outcome,
        latency_us = u64::try_from(line.took.as_micros()).unwrap_or(u64::MAX),
        tenant.slug = line.tenant.map(TenantSlug::as_str),
        key.handle = line.key.as_ref().map(Handle::as_str),
        token.handle = line.token.as_ref().map(Handle::as_str),
        "request"
    );
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tronch_core::RequestId;

    use super::*;

    fn line_of(line: &RequestLine<'_>, numbers: &Numbers) -> String {
        let mut text = Vec::new();
        push_json(&mut text, line, numbers);
        String::from_utf8(text).expect("text")
    }

    #[test]
    fn it_is_one_line_of_json_with_what_is_known() {
        let numbers = Numbers::of_this_process();
        let handle: Handle = "0Uz3kQ9aB12".parse().expect("a handle");
        let tenant = TenantSlug::parse("acme").expect("a slug");
        let request_id = RequestId::from_uuid(uuid::Uuid::from_u128(7)).text();
        let whole = RequestLine {
            request_id: &request_id,
            method: "POST",
            route: "/api/v1/keys/verify",
            status: Some(200),
            outcome: "VALID",
            took: Duration::from_micros(77),
            tenant: Some(&tenant),
            key: Some(handle),
            token: Some(handle),
        };
        let line = line_of(&whole, &numbers);
        assert_eq!(line.matches('\n').count(), 1);
        let read: Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!((&read["sequence"], &read["pid"]), (&json!(1), &json!(std::process::id())));
        let told = read["timestamp"].as_str().expect("a time");
        let age = chrono::Utc::now() - told.parse::<DateTime<chrono::Utc>>().expect("RFC 3339");
        assert!(age.num_seconds() < 5 && told.len() == "2026-11-26T10:00:00.000000Z".len(), "{told}");
        assert_eq!((&read["level"], &read["target"]), (&json!("INFO"), &json!(REQUEST_TARGET)));
        assert_eq!(read["span"], json!({ "request.id": request_id.as_str(), "name": "request" }));
        assert_eq!(
            read["fields"],
            json!({
                "message": "request", "request.method": "POST", "request.route": "/api/v1/keys/verify",
                "response.status": 200, "outcome": "VALID", "latency_us": 77, "tenant.slug": "acme",
                "key.handle": "0Uz3kQ9aB12", "token.handle": "0Uz3kQ9aB12",
            })
        );
        let little = RequestLine { status: None, tenant: None, key: None, token: None, outcome: "cut_off", ..whole };
        let read: Value = serde_json::from_str(&line_of(&little, &numbers)).expect("JSON");
        assert_eq!(read["sequence"], 2);
        assert_eq!(read["fields"].as_object().map(serde_json::Map::len), Some(5));
    }
}
