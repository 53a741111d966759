//! What the answers of both listeners tell the browser, whatever they are; a verdict, which no browser shows, tells it less.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;

const NOTHING: &str = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// What OWASP's REST Security Cheat Sheet has answers in JSON carry, and everything else carries, too.
const ALWAYS: [(HeaderName, HeaderValue); 4] = [
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    // Of what is no page nothing is ever run. Pages say what they need.
    (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(NOTHING)),
    // What may be kept says so itself.
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
];

/// What is about documents.
const OF_DOCUMENTS: [(HeaderName, HeaderValue); 5] = [
    (header::REFERRER_POLICY, HeaderValue::from_static("same-origin")),
    (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
    (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
    (
        HeaderName::from_static("permissions-policy"),
        HeaderValue::from_static("camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
    ),
    (HeaderName::from_static("x-permitted-cross-domain-policies"), HeaderValue::from_static("none")),
];

/// A year, as RFC 6797 suggests, for whatever may stand below the host as well: what came without TLS from there could plant cookies. Only
/// over https: browsers ignore it elsewhere.
const HSTS: HeaderValue = HeaderValue::from_static("max-age=31536000; includeSubDomains");

/// Adds what the answer does not say itself. `https` is whether people reach us that way.
pub(crate) async fn security_headers(State(https): State<bool>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    add_headers(response.headers_mut(), https);
    response
}

/// The same for an answer outside of that layer.
pub(crate) fn add_headers(headers: &mut HeaderMap, https: bool) {
    add_headers_of_verdict(headers, https);
    for (name, value) in OF_DOCUMENTS {
        headers.entry(name).or_insert(value);
    }
}

/// The part of them for JSON that nobody gets without a token in a header, so that no browser ever shows it. Services get one with every
/// request they serve: what is about documents was a quarter of it.
pub(crate) fn add_headers_of_verdict(headers: &mut HeaderMap, https: bool) {
    for (name, value) in ALWAYS {
        headers.entry(name).or_insert(value);
    }
    if https {
        headers.entry(header::STRICT_TRANSPORT_SECURITY).or_insert(HSTS);
    }
}
