//! A limit as it is stored and as it is shown. Rows never leave this folder.

use diesel::prelude::*;
use serde_json::{Value, json};
use tronch_core::{
    Bucket, CalendarUnit, ExternalId, IdentifierPattern, KeyId, KeyName, LimitId, LimitName, LimitOn, LimitRule,
    LimitView, Namespace, ProjectSlug, Refill, TimeZone, Timestamp, Window, WindowKind,
};
use uuid::Uuid;

use crate::error::Error;
use crate::schema::limits;

/// The kind of window that is a balance.
const CREDITS: &str = "credits";

/// Whose calls it counts, and by which rule.
#[derive(Queryable, Selectable, Clone)]
#[diesel(table_name = limits)]
pub(crate) struct LimitRow {
    pub(crate) id: Uuid,
    pub(crate) key_id: Option<Uuid>,
    pub(crate) owner_external_id: Option<String>,
    pub(crate) project_id: Option<Uuid>,
    pub(crate) environment: Option<String>,
    pub(crate) namespace: Option<String>,
    pub(crate) identifiers: Option<String>,
    pub(crate) name: String,
    pub(crate) counts_as: Option<Uuid>,
    pub(crate) is_automatic: bool,
    pub(crate) is_exact: bool,
    #[diesel(embed)]
    pub(crate) rule: RuleRow,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
    pub(crate) removed_at: Option<Timestamp>,
}

/// A rule in columns. What is left out of a change is taken away.
#[derive(Queryable, Selectable, Insertable, AsChangeset, Clone, PartialEq, Eq, Debug)]
#[diesel(table_name = limits, treat_none_as_null = true)]
pub(crate) struct RuleRow {
    capacity: Option<i64>,
    refill: Option<i32>,
    refill_seconds: Option<i32>,
    total: Option<i64>,
    window_kind: Option<String>,
    window_seconds: Option<i32>,
    time_zone: Option<String>,
    refilled: Option<String>,
}

#[derive(Insertable)]
#[diesel(table_name = limits)]
pub(super) struct NewLimitRow<'a> {
    pub(super) id: Uuid,
    pub(super) key_id: Option<Uuid>,
    pub(super) owner_external_id: Option<&'a str>,
    pub(super) project_id: Option<Uuid>,
    pub(super) environment: Option<&'a str>,
    pub(super) namespace: Option<&'a str>,
    pub(super) identifiers: Option<&'a str>,
    pub(super) name: &'a str,
    pub(super) counts_as: Option<Uuid>,
    pub(super) is_automatic: bool,
    pub(super) is_exact: bool,
    #[diesel(embed)]
    pub(super) rule: RuleRow,
    pub(super) created_at: Timestamp,
    pub(super) updated_at: Timestamp,
}

impl RuleRow {
    pub(crate) fn of(rule: &LimitRule) -> Self {
        let (bucket, window) = (rule.bucket(), rule.window());
        let (kind, seconds, zone, refilled) = match window.map(Window::kind) {
            None => (None, None, None, None),
            Some(WindowKind::Fixed { seconds }) => (Some("fixed"), Some(seconds), None, None),
            Some(WindowKind::Sliding { seconds }) => (Some("sliding"), Some(seconds), None, None),
            Some(WindowKind::Calendar { unit, zone }) => (Some(unit.as_str()), None, Some(zone.as_str()), None),
            Some(WindowKind::Credits { refill: None }) => (Some(CREDITS), None, None, None),
            Some(WindowKind::Credits { refill: Some(Refill { unit, zone }) }) => {
                (Some(CREDITS), None, Some(zone.as_str()), Some(unit.as_str()))
            }
        };
        // Bounds of the rules are far within these types.
        let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let small = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
        Self {
            capacity: bucket.map(|bucket| number(bucket.capacity())),
            refill: bucket.map(|bucket| small(bucket.refill())),
            refill_seconds: bucket.map(|bucket| small(bucket.period_seconds())),
            total: window.map(|window| number(window.total())),
            window_kind: kind.map(ToOwned::to_owned),
            window_seconds: seconds.map(small),
            time_zone: zone.map(ToOwned::to_owned),
            refilled: refilled.map(ToOwned::to_owned),
        }
    }

    pub(crate) fn rule(&self) -> Result<LimitRule, Error> {
        let number = |number: i64| u64::try_from(number).map_err(Error::internal);
        let small = |number: i32| u32::try_from(number).map_err(Error::internal);
        let bucket = match (self.capacity, self.refill, self.refill_seconds) {
            (Some(capacity), Some(refill), Some(seconds)) => {
                Some(Bucket::new(number(capacity)?, small(refill)?, small(seconds)?).map_err(Error::internal)?)
            }
            _ => None,
        };
        let window = match (self.total, self.window_kind.as_deref()) {
            (Some(total), Some(kind)) => Some(Window::new(number(total)?, self.kind(kind)?).map_err(Error::internal)?),
            _ => None,
        };
        LimitRule::new(bucket, window).map_err(Error::internal)
    }

    fn zone(&self) -> Result<TimeZone, Error> {
        self.time_zone.as_deref().unwrap_or("UTC").parse().map_err(Error::internal)
    }

    fn kind(&self, kind: &str) -> Result<WindowKind, Error> {
        let seconds = u32::try_from(self.window_seconds.unwrap_or(0)).map_err(Error::internal)?;
        match kind {
            "fixed" => Ok(WindowKind::Fixed { seconds }),
            "sliding" => Ok(WindowKind::Sliding { seconds }),
            CREDITS => {
                let refill = match self.refilled.as_deref() {
                    None => None,
                    Some(unit) => Some(Refill { unit: parse(unit)?, zone: self.zone()? }),
                };
                Ok(WindowKind::Credits { refill })
            }
            unit => Ok(WindowKind::Calendar { unit: parse(unit)?, zone: self.zone()? }),
        }
    }
}

fn parse(unit: &str) -> Result<CalendarUnit, Error> {
    unit.parse().map_err(Error::internal)
}

impl LimitRow {
    fn on_namespace(&self) -> Result<LimitOn, Error> {
        let (namespace, identifiers) = (self.namespace.as_deref(), self.identifiers.as_deref());
        Ok(LimitOn::Namespace {
            namespace: Namespace::parse(namespace.unwrap_or_default()).map_err(Error::internal)?,
            identifiers: IdentifierPattern::parse(identifiers.unwrap_or_default()).map_err(Error::internal)?,
        })
    }

    /// `of` is the slug of its project, if it is a project's, or the name of its key, if it is a key's.
    pub(super) fn view(self, of: Option<&str>) -> Result<LimitView, Error> {
        let (key_name, project) = if self.key_id.is_some() { (of, None) } else { (None, of) };
        let on = match (self.key_id, self.owner_external_id.as_deref(), project) {
            _ if self.namespace.is_some() => self.on_namespace()?,
            (Some(key_id), _, _) => LimitOn::Key(KeyId::from_uuid(key_id)),
            (_, Some(owner), _) => LimitOn::Owner(ExternalId::parse(owner).map_err(Error::internal)?),
            (_, _, Some(project)) => LimitOn::Project {
                project: ProjectSlug::parse(project).map_err(Error::internal)?,
                environment: self.environment.as_deref().map(str::parse).transpose().map_err(Error::internal)?,
            },
            _ => return Err(Error::internal("a limit on nothing")),
        };
        Ok(LimitView {
            id: LimitId::from_uuid(self.id),
            on,
            key_name: key_name.map(KeyName::parse).transpose().map_err(Error::internal)?,
            name: LimitName::parse(&self.name).map_err(Error::internal)?,
            is_automatic: self.is_automatic,
            is_exact: self.is_exact,
            rule: self.rule.rule()?,
            created_at: self.created_at,
            updated_at: self.updated_at,
        })
    }
}

/// What the audit log keeps: the rule in words, which is what a person compares.
pub(crate) fn audited(view: &LimitView) -> Value {
    let on = match &view.on {
        LimitOn::Key(key_id) => json!({ "key": key_id.to_string() }),
        LimitOn::Owner(owner) => json!({ "owner": owner.as_str() }),
        LimitOn::Project { project, environment } => {
            json!({ "project": project.as_str(), "environment": environment.map(tronch_core::Environment::as_str) })
        }
        LimitOn::Namespace { namespace, identifiers } => {
            json!({ "namespace": namespace.as_str(), "identifier": identifiers.as_str() })
        }
    };
    json!({ "name": view.name.as_str(), "on": on, "rule": view.rule.to_string(), "automatic": view.is_automatic, "exact": view.is_exact })
}
