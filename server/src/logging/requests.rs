//! The line of a validation, written without the machinery that other lines go through: there is one for each, and
//! services wait for it. It reads as that of any other request; `request_log.rs` says what it holds.

use std::fmt::Write as _;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use chrono::{DateTime, SecondsFormat, Utc};
use tracing::Level;
use tronch_core::{Handle, RequestId, TenantSlug};

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
    pub(crate) request_id: RequestId,
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
        Some((lines, numbers)) => lines.push(json(line, numbers).as_bytes()),
        None => write_as_others(line),
    }
}

/// Nothing in it needs to be escaped: words of ours, slugs, handles and ids.
fn json(line: &RequestLine<'_>, numbers: &Numbers) -> String {
    let now: DateTime<Utc> = SystemTime::now().into();
    let (sequence, process_id) = (numbers.next(), numbers.process_id);
    let mut text = String::with_capacity(LINE_BYTES);
    let RequestLine { request_id, method, route, status, outcome, took, tenant, key, token } = line;
    let written = write!(
        text,
        "{{\"sequence\":{sequence},\"pid\":{process_id},\"timestamp\":\"{}\",\"level\":\"INFO\",\"fields\":{{\
         \"message\":\"request\",\"request.method\":\"{method}\",\"request.route\":\"{route}\"",
        now.to_rfc3339_opts(SecondsFormat::Micros, true)
    )
    .and_then(|()| status.map_or(Ok(()), |status| write!(text, ",\"response.status\":{status}")))
    .and_then(|()| write!(text, ",\"outcome\":\"{outcome}\",\"latency_us\":{}", took.as_micros()))
    .and_then(|()| tenant.map_or(Ok(()), |tenant| write!(text, ",\"tenant.slug\":\"{tenant}\"")))
    .and_then(|()| key.map_or(Ok(()), |handle| write!(text, ",\"key.handle\":\"{handle}\"")))
    .and_then(|()| token.map_or(Ok(()), |handle| write!(text, ",\"token.handle\":\"{handle}\"")))
    .and_then(|()| {
        let target = REQUEST_TARGET;
        writeln!(text, "}},\"target\":\"{target}\",\"span\":{{\"request.id\":\"{request_id}\",\"name\":\"request\"}}}}")
    });
    written.expect("a String takes whatever is written");
    text
}

fn write_as_others(line: &RequestLine<'_>) {
    let span = tracing::error_span!("request", request.id = %line.request_id);
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
