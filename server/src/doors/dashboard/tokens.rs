//! The forms of service tokens.

use axum::extract::{Path, State};
use axum::response::Response;
use tronch_app::{FormState, SecretOf, ShownSecret};
use tronch_core::{Environment, Permission, ProjectSlug, SecretOnce, TokenName};
use tronch_engine::Error;
use tronch_engine::tokens::{self, NewToken};

use super::sent::Sent;
use super::{Dashboard, Inside, see_other};

/// `POST /t/{tenant}/tokens/new`.
pub(crate) async fn create(State(dashboard): State<Dashboard>, Inside(place): Inside, sent: Sent) -> Response {
    let mut state = sent.state(&["name", "permissions", "project", "environment", "expires_at"]);
    let Some(new_token) = new_token(&sent, &mut state) else {
        return dashboard.form_again(sent.parts, place, state).await;
    };
    match async { tokens::create_token(&sent.once(place.tenant.clone()).await?, new_token).await }.await {
        Ok(made) => {
            let secret = made.secret.map(SecretOnce::expose_once);
            let shown = ShownSecret { secret, of: SecretOf::Token(made.token) };
            dashboard.show_secret(sent.parts, place, shown).await
        }
        Err(error) => dashboard.refuse(sent.parts, place, state, error).await,
    }
}

/// `POST /t/{tenant}/tokens/{token}/revoke`.
pub(crate) async fn revoke(
    State(dashboard): State<Dashboard>,
    Inside(place): Inside,
    Path((_, token)): Path<(String, String)>,
    mut sent: Sent,
) -> Response {
    let revoked = async {
        let id = token.parse().map_err(|_| Error::NotFound { noun: "service token" })?;
        tokens::revoke_token(&place.tenant, id).await
    };
    match revoked.await {
        Ok(_) => see_other(&format!("/t/{}/tokens?did=revoked", place.tenant.slug())),
        Err(error) => {
            // The form stands on the list's page and has no address of its own to be shown again at.
            if let Ok(uri) = format!("/t/{}/tokens", place.tenant.slug()).parse() {
                sent.parts.uri = uri;
            }
            dashboard.refuse(sent.parts, place, FormState::default(), error).await
        }
    }
}

fn new_token(sent: &Sent, state: &mut FormState) -> Option<NewToken> {
    let name = state.take("name", TokenName::parse(&sent.text("name")));
    let permissions: Result<Vec<Permission>, _> = sent.all("permissions").map(str::parse).collect();
    let permissions = state.take("permissions", permissions);
    let project = state.take("project", sent.filled("project").map(|text| ProjectSlug::parse(&text)).transpose());
    let environment = sent.filled("environment").map(|text| text.parse::<Environment>()).transpose();
    let environment = state.take("environment", environment);
    let expires_at = sent.time("expires_at", state);
    Some(NewToken {
        name: name?,
        permissions: permissions?,
        project: project?,
        environment: environment?,
        expires_at: expires_at.ok()?,
    })
}
