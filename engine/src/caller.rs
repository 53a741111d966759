//! Who is asking, proven. A `Caller` comes out of a session or a service token and cannot be built anywhere else.

use std::net::IpAddr;

use tronch_core::{Environment, Permission, ProjectId, RequestId, Role, SessionId, TenantId, UserId};

use crate::error::Error;

/// Where a request came from, for the audit log.
#[derive(Debug, Clone, Default)]
pub struct Origin {
    /// The client's address, resolved past trusted proxies.
    pub address: Option<IpAddr>,
    /// The `User-Agent` header, cut to 255 characters.
    pub user_agent: Option<String>,
    /// The id in the answer and in the log.
    pub request_id: Option<RequestId>,
}

/// The proven caller of a verb.
#[derive(Debug, Clone)]
pub struct Caller {
    pub(crate) identity: Identity,
    pub(crate) origin: Origin,
}

#[derive(Debug, Clone)]
pub(crate) enum Identity {
    Member {
        user_id: UserId,
        name: String,
        email: String,
        /// The session that it came in with, if any.
        session: Option<SessionId>,
    },
    ServiceToken {
        id: String,
        name: String,
        tenant_id: TenantId,
        permissions: Vec<Permission>,
        scope: Scope,
    },
    /// Whoever may run commands on the host, as its own words: it already holds the database and the master secret.
    Operator,
}

/// How a caller stands in the audit log.
#[derive(Clone)]
pub(crate) struct Actor {
    pub(crate) kind: &'static str,
    pub(crate) id: String,
    pub(crate) name: String,
}

/// What a caller may do in one tenant.
#[derive(Debug, Clone)]
pub(crate) enum Grant {
    Role(Role),
    Permissions(Vec<Permission>),
    Everything,
}

impl Grant {
    pub(crate) fn allows(&self, permission: Permission) -> bool {
        match self {
            Self::Role(role) => tronch_core::grants(*role, permission),
            Self::Permissions(held) => held.contains(&permission),
            Self::Everything => true,
        }
    }
}

/// The part of a tenant that a caller is limited to. Members see all of it, service tokens may be limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Scope {
    pub(crate) project: Option<ProjectId>,
    pub(crate) environment: Option<Environment>,
}

impl Scope {
    /// Refuses what lies outside, for whatever names a project and an environment. `None` stands for all of them.
    pub(crate) fn require(&self, project: Option<ProjectId>, environment: Option<Environment>) -> Result<(), Error> {
        if self.project.is_some() && self.project != project {
            return Err(Error::OutsideToken { what: "project" });
        }
        if self.environment.is_some() && self.environment != environment {
            return Err(Error::OutsideToken { what: "environment" });
        }
        Ok(())
    }
}

impl Caller {
    /// Whoever runs a command on the host.
    pub fn operator() -> Self {
        Self { identity: Identity::Operator, origin: Origin::default() }
    }

    /// The first line of verbs for the command line alone.
    pub(crate) fn require_operator(&self) -> Result<(), Error> {
        match self.identity {
            Identity::Operator => Ok(()),
            _ => Err(Error::Forbidden { permission: "operator" }),
        }
    }

    /// The signed-in member's name, for the top bar.
    pub fn display_name(&self) -> &str {
        match &self.identity {
            Identity::Member { name, .. } | Identity::ServiceToken { name, .. } => name,
            Identity::Operator => "operator",
        }
    }

    /// Who is signed in.
    pub fn user_id(&self) -> Option<UserId> {
        match &self.identity {
            Identity::Member { user_id, .. } => Some(*user_id),
            _ => None,
        }
    }

    /// The signed-in member's e-mail address.
    pub fn email(&self) -> Option<&str> {
        match &self.identity {
            Identity::Member { email, .. } => Some(email),
            _ => None,
        }
    }

    pub(crate) fn actor(&self) -> Actor {
        match &self.identity {
            Identity::Member { user_id, name, .. } => {
                Actor { kind: "member", id: user_id.to_string(), name: name.clone() }
            }
            Identity::ServiceToken { id, name, .. } => {
                Actor { kind: "service_token", id: id.clone(), name: name.clone() }
            }
            Identity::Operator => {
                Actor { kind: "operator", id: "operator".to_owned(), name: "Operator (command line)".to_owned() }
            }
        }
    }
}
