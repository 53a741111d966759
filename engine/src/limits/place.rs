//! Where a limit is to be: looked up, within the caller's reach, with room for one more, and with a name that frees no key from
//! what the caller may not change.

use diesel::prelude::*;
use tronch_core::bounds::{LIMITS_OF_NAMESPACE_MAX, LIMITS_ON_ONE_MAX, NAMES_OF_NAMESPACE_MAX};
use tronch_core::{Environment, ErrorCode, LimitName, LimitOn};
use uuid::Uuid;

use crate::error::Error;
use crate::once::ChangeTx;
use crate::schema::{keys, limits};
use crate::tenancy::Tenant;
use crate::{keys as key_verbs, projects};

/// Where a new limit is to be, looked up.
#[derive(Default)]
pub(crate) struct Place {
    pub(crate) key_id: Option<Uuid>,
    pub(crate) owner: Option<String>,
    pub(crate) project_id: Option<Uuid>,
    /// The project's slug, or the key's name.
    pub(crate) called: Option<String>,
    pub(crate) environment: Option<Environment>,
    /// With the pattern of identifiers.
    pub(crate) namespace: Option<(String, String)>,
}

pub(super) async fn place(tenant: &Tenant, transaction: &mut ChangeTx, on: &LimitOn) -> Result<Place, Error> {
    match on {
        LimitOn::Key(key_id) => {
            let name = key_verbs::require_working(transaction, *key_id).await?;
            Ok(Place { key_id: Some(key_id.uuid()), called: Some(name), ..Place::default() })
        }
        LimitOn::Owner(owner) => {
            Error::refuse_nul("owner", Some(owner.as_str()))?;
            // It counts calls of keys of every project.
            tenant.scope.require(None, None)?;
            Ok(Place { owner: Some(owner.as_str().to_owned()), ..Place::default() })
        }
        LimitOn::Namespace { namespace, identifiers } => {
            // It belongs to no project.
            tenant.scope.require(None, None)?;
            let namespace = Some((namespace.as_str().to_owned(), identifiers.as_str().to_owned()));
            Ok(Place { namespace, ..Place::default() })
        }
        LimitOn::Project { project, environment } => {
            let project = projects::find_open_project(transaction, project).await?;
            tenant.scope.require(Some(project.id), *environment)?;
            Ok(Place {
                project_id: Some(project.id.uuid()),
                called: Some(project.slug.as_str().to_owned()),
                environment: *environment,
                ..Place::default()
            })
        }
    }
}

/// Of limits with one name the nearest counts. So a limited token may give none the name of one that is farther from its keys and
/// that it could not change: it would free them from that.
pub(super) async fn refuse_shadow(
    tenant: &Tenant,
    transaction: &mut ChangeTx,
    place: &Place,
    name: &LimitName,
) -> Result<(), Error> {
    if tenant.scope.project.is_none() && tenant.scope.environment.is_none() {
        return Ok(());
    }
    let of_key: Option<(Uuid, Option<String>)> = match place.key_id {
        None => None,
        Some(key_id) => transaction
            .of(keys::table)
            .filter(keys::id.eq(key_id))
            .select((keys::project_id, keys::owner_external_id))
            .first(transaction)
            .await
            .optional()?,
    };
    // An owner's limit is farther than a key's, and a project's in both environments than one in one of them.
    let owner = of_key.as_ref().and_then(|(_, owner)| owner.clone());
    let project_id = of_key.map(|(project_id, _)| project_id).or(place.project_id);
    let project_id = project_id.filter(|_| tenant.scope.environment.is_some());
    let farther: i64 = transaction
        .of(limits::table)
        .filter(limits::removed_at.is_null())
        .filter(limits::name.eq(name.as_str()))
        .filter(
            limits::owner_external_id
                .eq(owner)
                .or(limits::project_id.eq(project_id).and(limits::environment.is_null())),
        )
        .count()
        .get_result(transaction)
        .await?;
    if farther == 0 {
        return Ok(());
    }
    Err(Error::Conflict {
        code: ErrorCode::NameTaken,
        message: "a limit of this name counts more than this token reaches; choose another name".to_owned(),
        field: Some("name"),
    })
}

/// Refuses one limit more than there may be in a place.
pub(super) async fn require_room(transaction: &mut ChangeTx, place: &Place, name: &LimitName) -> Result<(), Error> {
    require_names(transaction, place, name).await?;
    let (namespace, identifiers) = place.namespace.as_ref().map(|(one, other)| (one.as_str(), other.as_str())).unzip();
    if let Some(namespace) = namespace {
        let of_all = transaction
            .of(limits::table)
            .filter(limits::removed_at.is_null())
            .filter(limits::namespace.eq(namespace.to_owned()))
            .count()
            .get_result::<i64>(transaction)
            .await?;
        if of_all >= LIMITS_OF_NAMESPACE_MAX {
            return Err(no_room(format!("the namespace has {LIMITS_OF_NAMESPACE_MAX} limits")));
        }
    }
    let there: i64 = transaction
        .of(limits::table)
        .filter(limits::removed_at.is_null())
        .filter(limits::key_id.is_not_distinct_from(place.key_id))
        .filter(limits::owner_external_id.is_not_distinct_from(place.owner.clone()))
        .filter(limits::project_id.is_not_distinct_from(place.project_id))
        .filter(limits::environment.is_not_distinct_from(place.environment.map(Environment::as_str)))
        .filter(limits::namespace.is_not_distinct_from(namespace.map(ToOwned::to_owned)))
        .filter(limits::identifiers.is_not_distinct_from(identifiers.map(ToOwned::to_owned)))
        .count()
        .get_result(transaction)
        .await?;
    if there < LIMITS_ON_ONE_MAX { Ok(()) } else { Err(no_room(format!("there are {LIMITS_ON_ONE_MAX} limits here"))) }
}

/// An identifier is held to one limit of each name of its namespace: names are what bounds how many.
pub(super) async fn require_names(transaction: &mut ChangeTx, place: &Place, name: &LimitName) -> Result<(), Error> {
    let Some((namespace, _)) = &place.namespace else { return Ok(()) };
    let names: Vec<String> = transaction
        .of(limits::table)
        .filter(limits::removed_at.is_null())
        .filter(limits::namespace.eq(namespace.clone()))
        .select(limits::name)
        .load(transaction)
        .await?;
    let mut names: std::collections::BTreeSet<&str> = names.iter().map(String::as_str).collect();
    names.insert(name.as_str());
    if names.len() <= NAMES_OF_NAMESPACE_MAX {
        return Ok(());
    }
    let message = format!("the limits of one namespace have {NAMES_OF_NAMESPACE_MAX} names at most");
    Err(Error::Conflict { code: ErrorCode::Conflict, message, field: Some("name") })
}

fn no_room(there: String) -> Error {
    let message = there + ", which is as many as there may be; remove one first";
    Error::Conflict { code: ErrorCode::Conflict, message, field: None }
}
