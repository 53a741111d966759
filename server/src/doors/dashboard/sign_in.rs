//! Signing in and out. Sessions get a new id at sign-in, and when the password was given again; `members::sign_in` decides who comes
//! in, and by what the browser keeps whose tries they are.

use std::convert::Infallible;

use axum::Extension;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue};
use axum::response::Response;
use tower_cookies::cookie::SameSite;
use tower_cookies::cookie::time::{Duration, OffsetDateTime};
use tower_cookies::{Cookie, Cookies};
use tower_sessions::Session;
use tower_sessions::session::Id;
use tronch_core::{Timestamp, UserId};
use tronch_engine::{Error, Origin, members, sessions, tenants};

use super::sent::Sent;
use super::session_store::{ADDRESS, USER_AGENT, USER_ID, session_bytes};
use super::{Dashboard, SESSION_HOURS, Who, see_other, session_cookie};

const CLEAR_SITE_DATA: HeaderName = HeaderName::from_static("clear-site-data");

/// For how long a browser keeps that somebody signed in there.
const KNOWN_FOR: Duration = Duration::days(365);

/// The page; while nobody exists there is nobody to sign in, so sign-up is shown instead.
pub(crate) async fn page(
    State(dashboard): State<Dashboard>,
    Extension(who): Extension<Who>,
    request: Request,
) -> Response {
    if who.0.is_some() {
        // Signed in meanwhile, in another tab: on to where they were going.
        let query = request.uri().query().unwrap_or_default();
        let next = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "next").map(|(_, next)| next);
        return see_other(own_address(&next.unwrap_or_default()));
    }
    let (parts, _) = request.into_parts();
    match tenants::is_set_up(&dashboard.engine).await {
        Ok(true) => dashboard.pages.render(parts, &dashboard.engine, None, None).await,
        Ok(false) => see_other("/sign-up"),
        Err(error) => dashboard.pages.refusal(parts, &dashboard.engine, error).await,
    }
}

pub(crate) async fn submit(
    State(dashboard): State<Dashboard>,
    Extension(origin): Extension<Origin>,
    Extension(cookies): Extension<Cookies>,
    session: Session,
    sent: Sent,
) -> Response {
    let mut state = sent.state(&["email", "next"]);
    let known = cookies.get(dashboard.known_browser());
    let kept = known.as_ref().map(Cookie::value);
    let begun = async {
        let (email, password) = (sent.text("email"), sent.password("password"));
        let signed_in = members::sign_in(&dashboard.engine, &email, password, kept, origin.clone()).await?;
        begin_session(&session, signed_in.user_id, &origin).await?;
        let noted = members::note_sign_in(&dashboard.engine, &signed_in.password, origin.clone()).await;
        if noted.is_err() {
            session.flush().await.map_err(store_is_away)?;
        }
        noted.map(|_| signed_in.keep)
    };
    match begun.await {
        Ok(keep) => {
            if let Some(keep) = keep {
                dashboard.remember_browser(&cookies, keep);
            }
            see_other(own_address(&sent.text("next")))
        }
        Err(error) => {
            error.log_if_ours();
            state.refuse_with(&error);
            dashboard.pages.refused_form(sent.parts, &dashboard.engine, None, state, error.code()).await
        }
    }
}

/// The session that a request came in with, which may be given another id.
pub(crate) struct OwnSession {
    id: Option<Id>,
    cookies: Option<Cookies>,
}

impl FromRequestParts<Dashboard> for OwnSession {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &Dashboard) -> Result<Self, Infallible> {
        let id = parts.extensions.get::<Session>().and_then(Session::id);
        Ok(Self { id, cookies: parts.extensions.get::<Cookies>().cloned() })
    }
}

impl OwnSession {
    /// Gives whoever has just shown the password again, and done what it was for, a new session id. Where that cannot be, they go on under the
    /// old one; where it was ended or renewed meanwhile, by another click, it stays so.
    pub(crate) async fn renew_if(&self, confirmed: bool, dashboard: &Dashboard) {
        let (true, Some(id), Some(cookies)) = (confirmed, self.id, &self.cookies) else { return };
        let (next, lives) = (Id::default(), Duration::hours(SESSION_HOURS));
        let until = OffsetDateTime::now_utc() + lives;
        let Some(until) = Timestamp::from_timestamp(until.unix_timestamp(), 0) else { return };
        match sessions::renew_session(&dashboard.engine, &session_bytes(id), &session_bytes(next), until).await {
            Ok(true) => {
                let cookie = Cookie::build((session_cookie(dashboard.secure), next.to_string()))
                    .path("/")
                    .secure(dashboard.secure)
                    .http_only(true)
                    .same_site(SameSite::Lax)
                    .max_age(lives);
                cookies.add(cookie.build());
            }
            Ok(false) => {}
            Err(error) => error.log_if_ours(),
        }
    }
}

impl Dashboard {
    fn known_browser(&self) -> &'static str {
        if self.secure { "__Host-tronch-known" } else { "tronch-known" }
    }

    /// Has the browser keep what gives it tries of its own, the next time somebody signs in to that account there.
    pub(super) fn remember_browser(&self, cookies: &Cookies, keep: String) {
        let cookie = Cookie::build((self.known_browser(), keep))
            .path("/")
            .secure(self.secure)
            .http_only(true)
            .same_site(SameSite::Strict)
            .max_age(KNOWN_FOR);
        cookies.add(cookie.build());
    }
}

/// A path of ours, or `/`: another host's address would make this form a stepping stone.
fn own_address(next: &str) -> &str {
    let plain = next.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    let is_page = ["/t/", "/invitations/", "/account"].iter().any(|page| next.starts_with(page));
    if is_page && plain { next } else { "/" }
}

/// Gives the browser a new session id, so that one planted before sign-in is worthless.
pub(crate) async fn begin_session(session: &Session, user_id: UserId, origin: &Origin) -> Result<(), Error> {
    let begun = async {
        session.cycle_id().await?;
        session.insert(USER_ID, user_id).await?;
        session.insert(USER_AGENT, &origin.user_agent).await?;
        session.insert(ADDRESS, origin.address).await?;
        session.save().await
    };
    begun.await.map_err(store_is_away)
}

fn store_is_away(error: tower_sessions::session::Error) -> Error {
    Error::Unavailable { what: "the session store", source: Some(error.into()) }
}

/// Ends this session, here and in the database.
pub(crate) async fn sign_out(State(dashboard): State<Dashboard>, session: Session, request: Request) -> Response {
    match session.flush().await {
        Ok(()) => {
            let mut response = see_other("/sign-in");
            // What other tabs and the way back still hold of it.
            response.headers_mut().insert(CLEAR_SITE_DATA, HeaderValue::from_static("\"cache\", \"storage\""));
            response
        }
        Err(error) => {
            let (parts, _) = request.into_parts();
            dashboard.pages.refusal(parts, &dashboard.engine, store_is_away(error)).await
        }
    }
}

#[cfg(test)]
mod tests {
    use super::own_address;

    #[test]
    fn the_way_back_is_never_another_hosts() {
        let table = [
            ("/t/acme/keys", "/t/acme/keys"),
            ("", "/"),
            ("//evil.example/", "/"),
            ("https://evil.example/", "/"),
            ("/\\evil.example", "/"),
            ("/t/\\evil.example", "/"),
            ("/t/a\r\nset-cookie: x", "/"),
            ("javascript:alert(1)", "/"),
        ];
        for (next, expected) in table {
            assert_eq!(own_address(next), expected, "{next:?}");
        }
    }
}
