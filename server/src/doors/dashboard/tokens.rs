//! The forms of service tokens.

use axum::extract::{Path, State};
use axum::response::Response;
use tronch_app::{FormState, Place, SecretOf, ShownSecret};
use tronch_core::{Environment, Grace, Permission, ProjectSlug, SecretOnce, Timestamp, TokenName};
use tronch_engine::Error;
use tronch_engine::tokens::{self, NewToken, refusals_of_new_token};

use super::sent::Sent;
use super::{Dashboard, Inside, confirmed, see_other};

/// `POST /t/{tenant}/tokens/new`.
pub(crate) async fn create(State(dashboard): State<Dashboard>, Inside(place): Inside, sent: Sent) -> Response {
    let mut state = sent.state(&["name", "permissions", "project", "environment", "expires_at"]);
    let made = async {
        let Some(new_token) = Typed::read(&sent, &mut state).whole() else { return Ok(None) };
        tokens::create_token(&sent.once(place.tenant.clone()).await?, new_token).await.map(Some)
    }
    .await;
    let error = match made {
        Ok(Some(made)) => {
            let secret = made.secret.map(SecretOnce::expose_once);
            let shown = ShownSecret { secret, of: SecretOf::Token(made.token) };
            return dashboard.show_secret(sent.parts, place, shown).await;
        }
        Ok(None) => None,
        Err(error) => Some(error),
    };
    let Typed { permissions, project, expires_at, .. } = Typed::read(&sent, &mut FormState::default());
    let (project, permissions) = (project.flatten(), permissions.unwrap_or_default());
    let rest = refusals_of_new_token(&place.tenant, project.as_ref(), &permissions, expires_at.flatten()).await;
    dashboard.refuse_all(sent.parts, place, state, error, rest).await
}

/// `POST /t/{tenant}/tokens/{token}/rotate`: the answer is the page that shows the successor's secret.
pub(crate) async fn rotate(
    State(dashboard): State<Dashboard>,
    Inside(place): Inside,
    Path((_, token)): Path<(String, String)>,
    sent: Sent,
) -> Response {
    let mut state = sent.state(&["grace"]);
    let grace = sent.filled("grace").map(|text| text.parse().map(Grace::Seconds).map_err(|_| "choose one of the list"));
    let Some(grace) = state.take("grace", grace.transpose()) else {
        return dashboard.form_again(at(sent, &place, "tokens").parts, place, state).await;
    };
    let rotated = async {
        let id = token.parse().map_err(|_| Error::NotFound { noun: "service token" })?;
        let tenant = sent.once(place.tenant.clone()).await?;
        tokens::rotate_token(&tenant, id, grace.unwrap_or(Grace::ProjectDefault), None).await
    };
    match rotated.await {
        Ok(rotated) => {
            let (successor, predecessor) = (rotated.successor, Box::new(rotated.predecessor));
            let secret = rotated.secret.map(SecretOnce::expose_once);
            let shown = ShownSecret { secret, of: SecretOf::RotatedToken { successor, predecessor } };
            let parts = at(sent, &place, "tokens/new").parts;
            dashboard.show_secret(parts, place, shown).await
        }
        Err(error) => dashboard.refuse(at(sent, &place, "tokens").parts, place, state, error).await,
    }
}

/// These forms stand on the list: no page has their address, so that of another is taken.
fn at(mut sent: Sent, place: &Place, page: &str) -> Sent {
    if let Ok(uri) = format!("/t/{}/{page}", place.tenant.slug()).parse() {
        sent.parts.uri = uri;
    }
    sent
}

/// `POST /t/{tenant}/tokens/{token}/revoke`.
pub(crate) async fn revoke(
    State(dashboard): State<Dashboard>,
    Inside(place): Inside,
    Path((_, token)): Path<(String, String)>,
    sent: Sent,
) -> Response {
    let revoked = async {
        let id = token.parse().map_err(|_| Error::NotFound { noun: "service token" })?;
        tokens::revoke_token(&place.tenant, id).await
    };
    match revoked.await {
        Ok(_) => {
            let confirmed = confirmed(&place.tenant).await;
            see_other(&format!("/t/{}/tokens?did=revoked{confirmed}", place.tenant.slug()))
        }
        Err(error) => dashboard.refuse(at(sent, &place, "tokens").parts, place, FormState::default(), error).await,
    }
}

/// Every field as far as it can be taken, so that all errors show at once.
struct Typed {
    name: Option<TokenName>,
    permissions: Option<Vec<Permission>>,
    project: Option<Option<ProjectSlug>>,
    environment: Option<Option<Environment>>,
    expires_at: Option<Option<Timestamp>>,
}

impl Typed {
    fn read(sent: &Sent, state: &mut FormState) -> Self {
        let permissions: Result<Vec<Permission>, _> = sent.all("permissions").map(str::parse).collect();
        let project = sent.filled("project").map(|text| ProjectSlug::parse(&text)).transpose();
        let environment = sent.filled("environment").map(|text| text.parse::<Environment>()).transpose();
        Self {
            name: state.take("name", TokenName::parse(&sent.text("name"))),
            permissions: state.take("permissions", permissions),
            project: state.take("project", project),
            environment: state.take("environment", environment),
            expires_at: sent.time("expires_at", state).ok(),
        }
    }

    fn whole(self) -> Option<NewToken> {
        Some(NewToken {
            name: self.name?,
            permissions: self.permissions?,
            project: self.project?,
            environment: self.environment?,
            expires_at: self.expires_at?,
        })
    }
}
