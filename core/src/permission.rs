//! What may be done, and which role may do it. One exhaustive match; where it is asked is the verbs' business.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// One thing that may be done in a tenant. Service tokens carry a choice of them; a role stands for several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "&'static str", try_from = "String")]
pub enum Permission {
    /// See keys.
    KeysRead,
    /// Make keys.
    KeysCreate,
    /// Change, disable and enable keys.
    KeysUpdate,
    /// Rotate keys.
    KeysRotate,
    /// Revoke keys.
    KeysRevoke,
    /// Ask whether a key is valid.
    KeysVerify,
    /// See projects.
    ProjectsRead,
    /// Make and change projects.
    ProjectsWrite,
    /// See service tokens.
    TokensRead,
    /// Make, rotate and revoke service tokens.
    TokensWrite,
    /// Read the audit log.
    AuditRead,
    /// See usage.
    UsageRead,
    /// See limits.
    LimitsRead,
    /// Make and change limits.
    LimitsWrite,
    /// See health in detail.
    HealthRead,
}

impl Permission {
    /// Each, in the order they are shown in.
    pub const ALL: [Self; 15] = [
        Self::KeysRead,
        Self::KeysCreate,
        Self::KeysUpdate,
        Self::KeysRotate,
        Self::KeysRevoke,
        Self::KeysVerify,
        Self::ProjectsRead,
        Self::ProjectsWrite,
        Self::TokensRead,
        Self::TokensWrite,
        Self::AuditRead,
        Self::UsageRead,
        Self::LimitsRead,
        Self::LimitsWrite,
        Self::HealthRead,
    ];

    /// The wire form.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::KeysRead => "keys.read",
            Self::KeysCreate => "keys.create",
            Self::KeysUpdate => "keys.update",
            Self::KeysRotate => "keys.rotate",
            Self::KeysRevoke => "keys.revoke",
            Self::KeysVerify => "keys.verify",
            Self::ProjectsRead => "projects.read",
            Self::ProjectsWrite => "projects.write",
            Self::TokensRead => "tokens.read",
            Self::TokensWrite => "tokens.write",
            Self::AuditRead => "audit.read",
            Self::UsageRead => "usage.read",
            Self::LimitsRead => "limits.read",
            Self::LimitsWrite => "limits.write",
            Self::HealthRead => "health.read",
        }
    }

    /// For people.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::KeysRead => "List keys and look at them",
            Self::KeysCreate => "Create keys",
            Self::KeysUpdate => "Change, disable and enable keys",
            Self::KeysRotate => "Rotate keys",
            Self::KeysRevoke => "Revoke keys",
            Self::KeysVerify => "Ask whether a key is valid",
            Self::ProjectsRead => "List projects",
            Self::ProjectsWrite => "Create and change projects",
            Self::TokensRead => "List service tokens",
            Self::TokensWrite => "Create, rotate and revoke service tokens",
            Self::AuditRead => "Read the audit log",
            Self::UsageRead => "Read usage",
            Self::LimitsRead => "List limits",
            Self::LimitsWrite => "Create and change limits",
            Self::HealthRead => "Read the health report in detail",
        }
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

impl From<Permission> for &'static str {
    fn from(permission: Permission) -> Self {
        permission.as_str()
    }
}

/// The text is not on the closed list. It is not repeated: people paste secrets into the wrong field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "this is no permission; the permissions are keys.read, keys.create, keys.update, keys.rotate, keys.revoke, \
     keys.verify, projects.read, projects.write, tokens.read, tokens.write, audit.read, usage.read, limits.read, \
     limits.write and health.read"
)]
pub struct ParsePermissionError;

impl FromStr for Permission {
    type Err = ParsePermissionError;

    fn from_str(text: &str) -> Result<Self, ParsePermissionError> {
        Self::ALL.into_iter().find(|permission| permission.as_str() == text).ok_or(ParsePermissionError)
    }
}

impl TryFrom<String> for Permission {
    type Error = ParsePermissionError;

    fn try_from(text: String) -> Result<Self, ParsePermissionError> {
        text.parse()
    }
}

/// What a member is in a tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Everything, the organisation itself included.
    Owner,
    /// Everything but the organisation itself.
    Admin,
    /// Keys, and looking at the rest.
    Developer,
    /// Looking.
    Viewer,
}

impl Role {
    /// Each, the mightiest first.
    pub const ALL: [Self; 4] = [Self::Owner, Self::Admin, Self::Developer, Self::Viewer];

    /// The wire form.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Admin => "admin",
            Self::Developer => "developer",
            Self::Viewer => "viewer",
        }
    }

    /// For people.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::Owner => "May do everything, and hand over or delete the organisation",
            Self::Admin => "May do everything but change the organisation itself",
            Self::Developer => "Works with keys and sees the rest",
            Self::Viewer => "Sees keys, projects, usage and limits, and changes nothing",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

/// The text names no role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a role is owner, admin, developer or viewer")]
pub struct ParseRoleError;

impl FromStr for Role {
    type Err = ParseRoleError;

    fn from_str(text: &str) -> Result<Self, ParseRoleError> {
        Self::ALL.into_iter().find(|role| role.as_str() == text).ok_or(ParseRoleError)
    }
}

/// Whether a role may do a thing. The whole table.
pub fn grants(role: Role, permission: Permission) -> bool {
    use Permission as P;
    match role {
        Role::Owner | Role::Admin => true,
        Role::Developer => match permission {
            P::KeysRead | P::KeysCreate | P::KeysUpdate | P::KeysRotate | P::KeysRevoke | P::KeysVerify => true,
            P::ProjectsRead | P::TokensRead | P::AuditRead | P::UsageRead | P::LimitsRead => true,
            P::ProjectsWrite | P::TokensWrite | P::LimitsWrite | P::HealthRead => false,
        },
        Role::Viewer => match permission {
            P::KeysRead | P::ProjectsRead | P::UsageRead | P::LimitsRead => true,
            P::KeysCreate | P::KeysUpdate | P::KeysRotate | P::KeysRevoke | P::KeysVerify => false,
            P::ProjectsWrite | P::TokensRead | P::TokensWrite | P::AuditRead => false,
            P::LimitsWrite | P::HealthRead => false,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_permission_survives_its_wire_form() {
        for permission in Permission::ALL {
            assert_eq!(permission.as_str().parse(), Ok(permission));
        }
        assert!("keys".parse::<Permission>().is_err());
    }

    #[test]
    fn a_mightier_role_may_all_that_a_lesser_one_may() {
        for permission in Permission::ALL {
            for pair in Role::ALL.windows(2) {
                assert!(grants(pair[0], permission) || !grants(pair[1], permission), "{permission} {pair:?}");
            }
        }
    }

    #[test]
    fn who_may_what() {
        let mut table = String::new();
        for permission in Permission::ALL {
            let roles: Vec<&str> =
                Role::ALL.into_iter().filter(|role| grants(*role, permission)).map(Role::as_str).collect();
            table.push_str(&format!("{permission:<15} {}\n", roles.join(" ")));
        }
        insta::assert_snapshot!(table, @r"
        keys.read       owner admin developer viewer
        keys.create     owner admin developer
        keys.update     owner admin developer
        keys.rotate     owner admin developer
        keys.revoke     owner admin developer
        keys.verify     owner admin developer
        projects.read   owner admin developer viewer
        projects.write  owner admin
        tokens.read     owner admin developer
        tokens.write    owner admin
        audit.read      owner admin developer
        usage.read      owner admin developer viewer
        limits.read     owner admin developer viewer
        limits.write    owner admin
        health.read     owner admin
        ");
    }
}
