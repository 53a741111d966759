//! The forms of projects. Each calls one verb, and answers with a 303 or the form again.

use axum::extract::{Path, State};
use axum::response::Response;
use tronch_app::{FormState, Place};
use tronch_core::{ProjectName, ProjectSlug, ProjectView};
use tronch_engine::Error;
use tronch_engine::projects::{self, NewProject, ProjectChange, refusal_of_slug, refusals_of_change};

use super::sent::Sent;
use super::{Dashboard, Inside, see_other};

/// What the address of a project's form names.
type ProjectPath = Path<(String, String)>;

const SETTINGS: [&str; 5] = ["name", "default_grace_seconds", "max_grace_seconds", "auto_revoke", "seen"];

/// `POST /t/{tenant}/projects/new`.
pub(crate) async fn create(State(dashboard): State<Dashboard>, Inside(place): Inside, sent: Sent) -> Response {
    let mut state = sent.state(&["name", "slug"]);
    let name = state.take("name", ProjectName::parse(&sent.text("name")));
    let slug = state.take("slug", ProjectSlug::parse(&sent.text("slug")));
    let (Some(name), Some(slug)) = (name, slug.clone()) else {
        let rest = match &slug {
            Some(slug) => refusal_of_slug(&place.tenant, slug).await.map(|refusal| refusal.into_iter().collect()),
            None => Ok(Vec::new()),
        };
        return dashboard.refuse_all(sent.parts, place, state, None, rest).await;
    };
    let new_project = NewProject { slug, name };
    match async { projects::create_project(&sent.once(place.tenant.clone()).await?, new_project).await }.await {
        Ok(project) => see_other(&address(&place, &project, "created")),
        Err(error) => dashboard.refuse(sent.parts, place, state, error).await,
    }
}

/// `POST /t/{tenant}/projects/{project}/edit`.
pub(crate) async fn change(
    State(dashboard): State<Dashboard>,
    Inside(place): Inside,
    Path((_, project)): ProjectPath,
    sent: Sent,
) -> Response {
    let mut state = sent.state(&SETTINGS);
    let changed = async {
        let change = ProjectChange { unless_changed_since: sent.seen()?, ..settings(&sent, &mut state) };
        if state.is_refused() {
            return Ok(None);
        }
        projects::update_project(&place.tenant, &slug_of(&project)?, change).await.map(Some)
    }
    .await;
    let error = match changed {
        Ok(Some(project)) => return see_other(&address(&place, &project, "changed")),
        Ok(None) => None,
        Err(error) => Some(error),
    };
    let rest = async {
        let again = &mut FormState::default();
        let change = ProjectChange { unless_changed_since: sent.seen()?, ..settings(&sent, again) };
        refusals_of_change(&place.tenant, &slug_of(&project)?, &change).await
    }
    .await;
    dashboard.refuse_all(sent.on_page_above().parts, place, state, error, rest).await
}

/// `POST /t/{tenant}/projects/{project}/archive`.
pub(crate) async fn archive(
    State(dashboard): State<Dashboard>,
    Inside(place): Inside,
    Path((_, project)): ProjectPath,
    sent: Sent,
) -> Response {
    let archived = async { projects::archive_project(&place.tenant, &slug_of(&project)?).await }.await;
    answer(&dashboard, sent, place, FormState::default(), archived, "archived").await
}

/// `POST /t/{tenant}/projects/{project}/restore`.
pub(crate) async fn restore(
    State(dashboard): State<Dashboard>,
    Inside(place): Inside,
    Path((_, project)): ProjectPath,
    sent: Sent,
) -> Response {
    let restored = async { projects::restore_project(&place.tenant, &slug_of(&project)?).await }.await;
    answer(&dashboard, sent, place, FormState::default(), restored, "restored").await
}

/// Every field checked, so that all errors show at once; what cannot be taken is left out.
fn settings(sent: &Sent, state: &mut FormState) -> ProjectChange {
    let name = state.take("name", ProjectName::parse(&sent.text("name")));
    let mut seconds = |field| state.take(field, sent.text(field).parse().map_err(|_| "choose one of the list"));
    ProjectChange {
        name,
        default_grace_seconds: seconds("default_grace_seconds"),
        max_grace_seconds: seconds("max_grace_seconds"),
        auto_revoke: Some(sent.filled("auto_revoke").is_some()),
        unless_changed_since: None,
    }
}

fn slug_of(text: &str) -> Result<ProjectSlug, Error> {
    ProjectSlug::parse(text).map_err(|_| Error::NotFound { noun: "project" })
}

fn address(place: &Place, project: &ProjectView, did: &str) -> String {
    format!("/t/{}/projects/{}?did={did}", place.tenant.slug(), project.slug)
}

/// All forms of a project stand on its page.
async fn answer(
    dashboard: &Dashboard,
    sent: Sent,
    place: Place,
    state: FormState,
    outcome: Result<ProjectView, Error>,
    did: &str,
) -> Response {
    match outcome {
        Ok(project) => see_other(&address(&place, &project, did)),
        Err(error) => dashboard.refuse(sent.on_page_above().parts, place, state, error).await,
    }
}
