//! The forms of keys. Each calls one verb, and answers with a 303, the form again, or the page that shows a secret once.

use axum::extract::{Path, State};
use axum::response::Response;
use tronch_app::{
    FormState, KeysQuery, Place, REVOKE_ALL_FIELDS, SecretOf, ShownSecret, address_of_list, confirmation_words,
    confirmed_words,
};
use tronch_core::{
    Environment, ExternalId, Grace, KeyId, KeyName, KeyPermission, KeyView, Permission, ProjectSlug, RevokeReason,
    SecretOnce, searchable,
};
use tronch_engine::keys::{self, KeyChange, ManyChange, Metadata, NewKey, refusals_of_change, refusals_of_new_key};
use tronch_engine::{Error, Tenant};

use super::sent::Sent;
use super::sign_in::OwnSession;
use super::{Dashboard, Inside, confirmation, confirmed, see_other};

/// What the address of a key's form names.
type KeyPath = Path<(String, String)>;

const SETTINGS: [&str; 6] = ["name", "owner", "permissions", "metadata", "expires_at", "seen"];

/// `POST /t/{tenant}/keys/search`: filters become an address, and a pasted key becomes its handle on the way.
pub(crate) async fn search(State(dashboard): State<Dashboard>, Inside(place): Inside, sent: Sent) -> Response {
    if let Err(error) = place.tenant.require(Permission::KeysRead) {
        return dashboard.refuse(sent.parts, place, FormState::default(), error).await;
    }
    let mut query = KeysQuery::of_pairs(&sent.pairs());
    query.search = query.search.map(|text| searchable(&text));
    query.owner = query.owner.map(|text| searchable(&text));
    see_other(&query.address(place.tenant.slug()))
}

/// `POST /t/{tenant}/keys/new`.
pub(crate) async fn create(State(dashboard): State<Dashboard>, Inside(place): Inside, sent: Sent) -> Response {
    let mut state = sent.state(&["name", "project", "environment", "owner", "permissions", "metadata", "expires_at"]);
    let made = async {
        let Some(new_key) = new_key(&sent, &mut state) else { return Ok(None) };
        keys::create_key(&sent.once(place.tenant.clone()).await?, new_key).await.map(Some)
    }
    .await;
    let error = match made {
        Ok(Some(made)) => {
            let secret = made.secret.map(SecretOnce::expose_once);
            let shown = ShownSecret { secret, of: SecretOf::Key(made.key) };
            return dashboard.show_secret(sent.parts, place, shown).await;
        }
        Ok(None) => None,
        Err(error) => Some(error),
    };
    let again = &mut FormState::default();
    let KeyChange { permissions, expires_at, .. } = settings(&sent, again);
    let (project, permissions) = (project(&sent, again), permissions.unwrap_or_default());
    let rest = refusals_of_new_key(&place.tenant, project.as_ref(), &permissions, expires_at.flatten()).await;
    dashboard.refuse_all(sent.parts, place, state, error, rest).await
}

/// `POST /t/{tenant}/keys/{key}/edit`.
pub(crate) async fn change(
    State(dashboard): State<Dashboard>,
    Inside(place): Inside,
    Path((_, key)): KeyPath,
    sent: Sent,
) -> Response {
    let mut state = sent.state(&SETTINGS);
    let changed = async {
        let change = KeyChange { unless_changed_since: sent.seen()?, ..settings(&sent, &mut state) };
        if state.is_refused() {
            return Ok(None);
        }
        keys::change_key(&place.tenant, key_id(&key)?, change).await.map(Some)
    }
    .await;
    let error = match changed {
        Ok(Some(key)) => return see_other(&key_address(&place.tenant, &key, "changed").await),
        Ok(None) => None,
        Err(error) => Some(error),
    };
    let rest = async {
        let change = KeyChange { unless_changed_since: sent.seen()?, ..settings(&sent, &mut FormState::default()) };
        refusals_of_change(&place.tenant, key_id(&key)?, &change).await
    }
    .await;
    dashboard.refuse_all(sent.parts, place, state, error, rest).await
}

/// `POST /t/{tenant}/keys/{key}/revoke`.
pub(crate) async fn revoke(
    State(dashboard): State<Dashboard>,
    Inside(place): Inside,
    Path((_, key)): KeyPath,
    sent: Sent,
) -> Response {
    let mut state = sent.state(&["reason"]);
    let reason = match sent.filled("reason").map(|text| RevokeReason::parse(&text)).transpose() {
        Ok(reason) => reason,
        Err(error) => {
            state.take::<(), _>("reason", Err(error));
            return dashboard.form_again(sent.parts, place, state).await;
        }
    };
    let revoked = async { keys::revoke_key(&place.tenant, key_id(&key)?, reason).await }.await;
    answer(&dashboard, sent, place, state, revoked, "revoked").await
}

/// `POST /t/{tenant}/keys/{key}/disable`.
pub(crate) async fn disable(
    State(dashboard): State<Dashboard>,
    Inside(place): Inside,
    Path((_, key)): KeyPath,
    sent: Sent,
) -> Response {
    let disabled = async { keys::disable_key(&place.tenant, key_id(&key)?).await }.await;
    answer_from_key_page(&dashboard, sent, place, disabled, "disabled").await
}

/// `POST /t/{tenant}/keys/{key}/enable`.
pub(crate) async fn enable(
    State(dashboard): State<Dashboard>,
    Inside(place): Inside,
    Path((_, key)): KeyPath,
    sent: Sent,
) -> Response {
    let enabled = async { keys::enable_key(&place.tenant, key_id(&key)?).await }.await;
    answer_from_key_page(&dashboard, sent, place, enabled, "enabled").await
}

/// `POST /t/{tenant}/keys/bulk`: the same to several keys, once its words were typed.
pub(crate) async fn change_many(
    State(dashboard): State<Dashboard>,
    Inside(place): Inside,
    session: OwnSession,
    mut sent: Sent,
) -> Response {
    let mut state = sent.state(&["reason", "confirmation"]);
    let action = sent.text("action");
    let asked = match action.as_str() {
        "disable" => Ok((ManyChange::Disable, "disabled")),
        "enable" => Ok((ManyChange::Enable, "enabled")),
        "revoke" => Ok((ManyChange::Revoke(None), "revoked")),
        _ => Err(Error::NotFound { noun: "page" }),
    };
    let (mut change, done) = match asked.and_then(|(change, done)| {
        place.tenant.require(change.permission())?;
        Ok((change, done))
    }) {
        Ok(asked) => asked,
        Err(error) => return dashboard.refuse(sent.parts, place, state, error).await,
    };
    sent.at_address_of(&["action", "key", "back"]);
    let ids: Result<Vec<KeyId>, Error> = sent.all("key").map(key_id).collect();
    let reason = state.take("reason", sent.filled("reason").map(|text| RevokeReason::parse(&text)).transpose());
    let words = confirmation_words(&action, ids.as_ref().map_or(0, Vec::len));
    require_words(&sent, &mut state, &words);
    if state.is_refused() {
        return dashboard.form_again(sent.parts, place, state).await;
    }
    if let ManyChange::Revoke(given) = &mut change {
        *given = reason.flatten();
    }
    let changed = async {
        let tenant = match change {
            ManyChange::Revoke(_) => sent.confirmed(place.tenant.clone()).await?,
            ManyChange::Disable | ManyChange::Enable => place.tenant.clone(),
        };
        let changed = keys::change_keys(&tenant, &ids?, &change).await?;
        session.renew_if(tenant.is_confirmed(), &dashboard).await;
        Ok(changed)
    };
    match changed.await {
        Ok(changed) => {
            let slug = place.tenant.slug();
            let list = address_of_list(slug, Some(&sent.text("back"))).unwrap_or_else(|| format!("/t/{slug}/keys"));
            to_list(&place.tenant, &list, &format!("{done}-{changed}")).await
        }
        Err(error) => dashboard.refuse(sent.parts, place, state, error).await,
    }
}

/// `POST /t/{tenant}/keys/revoke`: all keys of an owner, a project or an environment, once its words were typed.
pub(crate) async fn revoke_all(
    State(dashboard): State<Dashboard>,
    Inside(place): Inside,
    session: OwnSession,
    mut sent: Sent,
) -> Response {
    let mut state = sent.state(&["reason", "confirmation"]);
    sent.at_address_of(&REVOKE_ALL_FIELDS);
    let query = KeysQuery::of_pairs(&sent.pairs());
    let counted = async {
        let of = query.keys_of()?;
        let count = keys::count_keys_of(&place.tenant, &of, None).await?;
        Ok((of, count))
    };
    let (of, count) = match counted.await {
        Ok(counted) => counted,
        Err(error) => return dashboard.refuse(sent.parts, place, state, error).await,
    };
    let reason = state.take("reason", sent.filled("reason").map(|text| RevokeReason::parse(&text)).transpose());
    require_words(&sent, &mut state, &confirmation_words("revoke", usize::try_from(count).unwrap_or(usize::MAX)));
    if state.is_refused() {
        return dashboard.form_again(sent.parts, place, state).await;
    }
    let revoked = async {
        let tenant = sent.confirmed(place.tenant.clone()).await?;
        let revoked = keys::revoke_keys_of(&tenant, of, None, reason.flatten()).await?;
        session.renew_if(tenant.is_confirmed(), &dashboard).await;
        Ok(revoked)
    };
    match revoked.await {
        Ok(what) => {
            to_list(&place.tenant, &query.address(place.tenant.slug()), &format!("revoked-{}", what.revoked)).await
        }
        Err(error) => dashboard.refuse(sent.parts, place, state, error).await,
    }
}

fn require_words(sent: &Sent, state: &mut FormState, words: &str) {
    if sent.text("confirmation").trim().to_lowercase() != words {
        state.refuse("confirmation", format!("Type \u{201c}{words}\u{201d}, so that nothing happens by mistake."));
    }
}

/// A list of keys, which says what was done, and which nodes go by it.
async fn to_list(tenant: &Tenant, list: &str, did: &str) -> Response {
    let separator = if list.contains('?') { '&' } else { '?' };
    see_other(&format!("{list}{separator}did={did}{}", confirmed(tenant).await))
}

/// `POST /t/{tenant}/keys/{key}/finish`: ends a grace now.
pub(crate) async fn finish(
    State(dashboard): State<Dashboard>,
    Inside(place): Inside,
    Path((_, key)): KeyPath,
    sent: Sent,
) -> Response {
    let finished = async { keys::finish_rotation(&place.tenant, key_id(&key)?).await }.await;
    answer_from_key_page(&dashboard, sent, place, finished, "finished").await
}

/// `POST /t/{tenant}/keys/{key}/rotate`.
pub(crate) async fn rotate(
    State(dashboard): State<Dashboard>,
    Inside(place): Inside,
    Path((_, key)): KeyPath,
    sent: Sent,
) -> Response {
    let mut state = sent.state(&["grace", "grace_until"]);
    let Some(grace) = grace(&sent, &mut state) else {
        return dashboard.form_again(sent.parts, place, state).await;
    };
    let rotated = async { keys::rotate_key(&sent.once(place.tenant.clone()).await?, key_id(&key)?, grace).await }.await;
    match rotated {
        Ok(rotated) => {
            let confirmed = confirmation(&place.tenant).await.map(|confirmation| confirmed_words(&confirmation));
            let (successor, predecessor) = (rotated.successor, Box::new(rotated.predecessor));
            let of = SecretOf::Rotation { successor, predecessor, confirmed };
            let shown = ShownSecret { secret: rotated.secret.map(SecretOnce::expose_once), of };
            dashboard.show_secret(sent.parts, place, shown).await
        }
        Err(error) => dashboard.refuse(sent.parts, place, state, error).await,
    }
}

fn key_id(text: &str) -> Result<KeyId, Error> {
    text.parse().map_err(|_| Error::NotFound { noun: "key" })
}

/// The key's page, which says what was done, and which nodes go by it.
async fn key_address(tenant: &Tenant, key: &KeyView, did: &str) -> String {
    format!("/t/{}/keys/{}?did={did}{}", tenant.slug(), key.id, confirmed(tenant).await)
}

async fn answer(
    dashboard: &Dashboard,
    sent: Sent,
    place: Place,
    state: FormState,
    outcome: Result<KeyView, Error>,
    did: &str,
) -> Response {
    match outcome {
        Ok(key) => see_other(&key_address(&place.tenant, &key, did).await),
        Err(error) => dashboard.refuse(sent.parts, place, state, error).await,
    }
}

/// A form that stands on the key's page has no address of its own to be shown again at.
async fn answer_from_key_page(
    dashboard: &Dashboard,
    sent: Sent,
    place: Place,
    outcome: Result<KeyView, Error>,
    did: &str,
) -> Response {
    answer(dashboard, sent.on_page_above(), place, FormState::default(), outcome, did).await
}

/// Every field checked, so that all errors show at once; what cannot be taken is left out.
fn settings(sent: &Sent, state: &mut FormState) -> KeyChange {
    let name = state.take("name", KeyName::parse(&sent.text("name")));
    let owner = state.take("owner", sent.filled("owner").map(|text| ExternalId::parse(&text)).transpose());
    let typed = sent.text("permissions");
    let permissions: Result<Vec<KeyPermission>, _> = typed
        .split(|character: char| character == ',' || character.is_whitespace())
        .filter(|text| !text.is_empty())
        .map(KeyPermission::parse)
        .collect();
    let permissions = state.take("permissions", permissions);
    let metadata = Metadata::parse(&sent.text("metadata")).map_err(|error| state.refuse_with(&error)).ok();
    let expires_at = sent.time("expires_at", state).ok();
    KeyChange { name, owner, metadata, permissions, expires_at, unless_changed_since: None }
}

fn new_key(sent: &Sent, state: &mut FormState) -> Option<NewKey> {
    let KeyChange { name, owner, metadata, permissions, expires_at, .. } = settings(sent, state);
    let project = project(sent, state);
    let environment = state.take("environment", sent.text("environment").parse::<Environment>());
    Some(NewKey {
        name: name?,
        project: project?,
        environment: environment?,
        owner: owner?,
        metadata: metadata?,
        permissions: permissions?,
        expires_at: expires_at?,
    })
}

fn project(sent: &Sent, state: &mut FormState) -> Option<ProjectSlug> {
    let project = sent.filled("project").unwrap_or_else(|| "default".to_owned());
    state.take("project", ProjectSlug::parse(&project))
}

fn grace(sent: &Sent, state: &mut FormState) -> Option<Grace> {
    if sent.text("grace") != "until" && sent.filled("grace_until").is_some() {
        state.refuse(
            "grace_until",
            "A date counts only with the choice \u{201c}until a date\u{201d}. Choose that, or empty this field.",
        );
        return None;
    }
    match sent.text("grace").as_str() {
        "until" => match sent.time("grace_until", state) {
            Ok(Some(end)) => Some(Grace::Until(end)),
            Ok(None) => {
                state.refuse("grace_until", "Say until when the old key keeps working.");
                None
            }
            Err(()) => None,
        },
        "" => Some(Grace::ProjectDefault),
        seconds => state.take("grace", seconds.parse().map(Grace::Seconds).map_err(|_| "choose one of the list")),
    }
}
