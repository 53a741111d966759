//! Where a request came from: request id, client address past trusted proxies, user agent. Who is asking is decided
//! elsewhere.

use std::net::{IpAddr, SocketAddr};

use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;
use tracing::Instrument as _;
use tronch_engine::{Moment, Origin};

use crate::config::Cidr;

/// The header that carries the request's id in every answer.
pub(crate) static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Characters of the user agent that are kept.
const USER_AGENT_CHARACTERS_MAX: usize = 255;

/// Puts an [`Origin`] into the request and its id into the answer.
pub(crate) async fn origin_layer(
    State(trusted_proxies): State<std::sync::Arc<[Cidr]>>,
    mut request: Request,
    next: Next,
) -> Response {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip());
    let request_id = tronch_engine::new_request_id(Moment::now());
    let origin = Origin {
        address: peer.map(|peer| client_address(peer, request.headers(), &trusted_proxies)),
        user_agent: user_agent(request.headers()),
        request_id: Some(request_id),
    };
    request.extensions_mut().insert(origin);
    request.extensions_mut().insert(request_id);
    // Every line that is logged meanwhile carries the id.
    let span = tracing::error_span!("request", request.id = %request_id);
    let mut response = next.run(request).instrument(span).await;
    if let Ok(value) = HeaderValue::from_str(request_id.text().as_str()) {
        response.headers_mut().insert(&REQUEST_ID, value);
    }
    response
}

fn user_agent(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(header::USER_AGENT)?.to_str().ok()?;
    Some(text.chars().take(USER_AGENT_CHARACTERS_MAX).collect())
}

/// The right-most address of `X-Forwarded-For` that is no proxy of ours; the peer's own when it is not a proxy.
fn client_address(peer: IpAddr, headers: &HeaderMap, trusted_proxies: &[Cidr]) -> IpAddr {
    let trusted = |address: &IpAddr| trusted_proxies.iter().any(|network| network.contains(*address));
    if !trusted(&peer) {
        return peer;
    }
    let forwarded: Vec<&str> = headers
        .get_all("x-forwarded-for")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .collect();
    let mut client = peer;
    for text in forwarded.iter().rev() {
        // What cannot be read ends the chain: nothing left of it can be believed.
        let Ok(address) = text.trim().parse::<IpAddr>() else { break };
        client = address;
        if !trusted(&address) {
            break;
        }
    }
    client
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(peer: &str, forwarded: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append("x-forwarded-for", HeaderValue::from_str(value).expect("a header value"));
        }
        let trusted: Vec<Cidr> =
            ["10.0.0.0/8", "fd00::/8"].iter().map(|text| text.parse().expect("a network")).collect();
        client_address(peer.parse().expect("an address"), &headers, &trusted).to_string()
    }

    #[test]
    fn only_a_trusted_proxy_is_believed_and_only_up_to_the_first_stranger() {
        let table = [
            ("203.0.113.9", &["198.51.100.1"][..], "203.0.113.9"),
            ("10.0.0.1", &[][..], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.1"][..], "198.51.100.1"),
            ("10.0.0.1", &["1.2.3.4, 198.51.100.1, 10.9.9.9"][..], "198.51.100.1"),
            ("10.0.0.1", &["1.2.3.4", "198.51.100.1"][..], "198.51.100.1"),
            ("10.0.0.1", &["198.51.100.1, nonsense"][..], "10.0.0.1"),
            ("fd00::1", &["2001:db8::7"][..], "2001:db8::7"),
        ];
        for (peer, forwarded, expected) in table {
            assert_eq!(resolve(peer, forwarded), expected, "{peer} {forwarded:?}");
        }
    }
}
