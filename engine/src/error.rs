//! Why a verb refused, each with its stable code, and the one translation from database errors. How an error looks to a
//! caller is the doors' business.

use diesel::result::{DatabaseErrorKind, Error as DieselError};
use tronch_core::{ErrorCode, KeyId};

/// What every verb returns when it does not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody has shown who they are, or what they showed has ended.
    #[error(
        "no valid credential came with this: sign in, or send a service token as Authorization: Bearer tronch_st_…"
    )]
    Unauthenticated,
    /// The caller is known and may see the place, but not do this.
    #[error("this needs the permission {permission}")]
    Forbidden {
        /// The missing permission in its wire form.
        permission: &'static str,
    },
    /// The service token is limited to one project or environment, and this lies outside.
    #[error("this service token is limited to one {what}, and this lies outside of it")]
    OutsideToken {
        /// `project` or `environment`.
        what: &'static str,
    },
    /// Absent, or another tenant's: the two are never told apart.
    #[error("there is no such {noun} here")]
    NotFound {
        /// What was looked for.
        noun: &'static str,
    },
    /// A value that parsed but cannot be taken, beside the field it came in.
    #[error("{field}: {message}")]
    Invalid {
        /// The field as the doors name it.
        field: &'static str,
        /// What is allowed, as a sentence.
        message: String,
    },
    /// The change does not fit what is already there.
    #[error("{message}")]
    Conflict {
        /// Which code.
        code: ErrorCode,
        /// What is in the way, as a sentence.
        message: String,
        /// The field to show it beside, where there is one.
        field: Option<&'static str>,
    },
    /// The key was rotated before; its successor is named.
    #[error("this key was rotated already; its successor is {successor_id}")]
    AlreadyRotated {
        /// The key that replaced it.
        successor_id: KeyId,
    },
    /// A form that cannot be read at all.
    #[error("this form cannot be read: {why}")]
    UnreadableForm {
        /// What is wrong with it.
        why: String,
    },
    /// A cursor that this list, in this order, did not give.
    #[error("this cursor is not of this list; begin with the first page")]
    InvalidCursor,
    /// Wrong e-mail or wrong password: one answer for both.
    #[error("e-mail or password is wrong")]
    SignInFailed,
    /// The setup code is not the one this installation printed.
    #[error("this is not the setup code")]
    SetupCodeInvalid,
    /// Somebody signed up before.
    #[error("this installation is set up already; sign in instead")]
    SetupClosed,
    /// The link was one of ours, and takes nobody in any more.
    #[error("this invitation cannot be used: {why}; ask whoever sent it for another")]
    InvitationOver {
        /// Why not.
        why: &'static str,
    },
    /// A link to another password that is none of ours, was used, or is too old: the three are never told apart.
    #[error("this link cannot be used any more: it works once, within an hour; ask for another")]
    ResetOver,
    /// So many unknown keys were asked about that this one is not looked up. Nothing of ours is wrong, so it is counted and
    /// not logged.
    #[error("too many unknown keys were asked about; ask again in a moment")]
    OverBudget,
    /// The caller's own limit: too many of one account, address or service token.
    #[error("too many; try again in {}", tronch_core::duration_words(whole_seconds(*retry_after)))]
    TooMany {
        /// What the limit is called.
        policy: String,
        /// After how long the same passes.
        retry_after: std::time::Duration,
    },
    /// Something of ours is down or full; the same request may succeed soon.
    #[error("{what} cannot be reached right now")]
    Unavailable {
        /// Which part.
        what: &'static str,
        /// Why, for the log.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// A defect of ours.
    #[error("something went wrong on our side")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Error {
    /// The stable code that clients match on.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Unauthenticated => ErrorCode::Unauthenticated,
            Self::Forbidden { .. } | Self::OutsideToken { .. } => ErrorCode::Forbidden,
            Self::NotFound { .. } => ErrorCode::NotFound,
            Self::Invalid { .. } => ErrorCode::InvalidField,
            Self::Conflict { code, .. } => *code,
            Self::AlreadyRotated { .. } => ErrorCode::AlreadyRotated,
            Self::UnreadableForm { .. } => ErrorCode::InvalidRequest,
            Self::InvalidCursor => ErrorCode::InvalidCursor,
            Self::SignInFailed => ErrorCode::SignInFailed,
            Self::SetupCodeInvalid => ErrorCode::SetupCodeInvalid,
            Self::SetupClosed => ErrorCode::SetupClosed,
            Self::InvitationOver { .. } => ErrorCode::InvitationOver,
            Self::ResetOver => ErrorCode::ResetOver,
            Self::TooMany { .. } => ErrorCode::TooManyRequests,
            Self::Unavailable { .. } | Self::OverBudget => ErrorCode::Unavailable,
            Self::Internal(_) => ErrorCode::Internal,
        }
    }

    /// The form field the sentence belongs beside, where it belongs beside one.
    pub fn field(&self) -> Option<&'static str> {
        match self {
            Self::Invalid { field, .. } => Some(field),
            Self::Conflict { field, .. } => *field,
            Self::SetupCodeInvalid => Some("setup_code"),
            _ => None,
        }
    }

    pub(crate) fn invalid(field: &'static str, message: impl ToString) -> Self {
        Self::Invalid { field, message: message.to_string() }
    }

    /// What is wrong with an end that has been.
    pub(crate) fn of_past_end(expires_at: Option<tronch_core::Timestamp>) -> Option<Self> {
        let past = expires_at.is_some_and(|end| end <= crate::clock::now());
        past.then(|| Self::invalid("expires_at", "this time is past already"))
    }

    /// Refuses a text that Postgres could not even compare with, before it is asked.
    pub(crate) fn refuse_nul(field: &'static str, text: Option<&str>) -> Result<(), Self> {
        match text {
            Some(text) if text.contains('\0') => Err(Self::invalid(field, "this cannot contain the character U+0000")),
            _ => Ok(()),
        }
    }

    /// Refuses a change by somebody who looked at `updated_at` of another time; pages know it to the millisecond.
    pub(crate) fn refuse_stale(
        noun: &str,
        seen: Option<tronch_core::Timestamp>,
        updated_at: tronch_core::Timestamp,
    ) -> Result<(), Self> {
        match seen {
            Some(seen) if seen.timestamp_millis() != updated_at.timestamp_millis() => Err(Self::Conflict {
                code: ErrorCode::Changed,
                message: format!(
                    "somebody changed this {noun} since you opened it; look at it again before you change it"
                ),
                field: None,
            }),
            _ => Ok(()),
        }
    }

    /// Writes down what is ours to mend, with its whole chain of causes: once, by whoever answers with it.
    pub fn log_if_ours(&self) {
        if matches!(self, Self::Internal(_) | Self::Unavailable { .. }) {
            tracing::error!(error.code = self.code().slug(), error.causes = ?self.causes(), "{self}");
        }
    }

    /// The chain of causes, the nearest first, for the log.
    pub(crate) fn causes(&self) -> Vec<String> {
        std::iter::successors(std::error::Error::source(self), |cause| cause.source())
            .map(ToString::to_string)
            .collect()
    }

    pub(crate) fn internal(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Internal(source.into())
    }

    pub(crate) fn database_unavailable(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Unavailable { what: "the database", source: Some(source.into()) }
    }
}

/// Constraint names are part of the schema's contract: a renamed one falls through to `Internal` and a test sees it.
pub(crate) fn on_constraint(constraint: &str) -> Option<Error> {
    let taken = |field, message: &str| Error::Conflict {
        code: ErrorCode::NameTaken,
        message: message.to_owned(),
        field: Some(field),
    };
    match constraint {
        "users_email_unique" => Some(taken("email", "somebody with this e-mail address exists already")),
        "tenants_slug_unique" => Some(taken("tenant_slug", "this address is taken; choose another")),
        "limits_name_unique" => Some(taken("name", "there is a limit of this name here already")),
        "projects_slug_unique" => Some(taken("slug", "a project with this slug exists already")),
        _ => None,
    }
}

impl From<DieselError> for Error {
    fn from(error: DieselError) -> Self {
        match &error {
            DieselError::DatabaseError(
                DatabaseErrorKind::UniqueViolation | DatabaseErrorKind::ForeignKeyViolation,
                information,
            ) => match information.constraint_name().and_then(on_constraint) {
                Some(conflict) => conflict,
                None => Self::internal(error),
            },
            DieselError::DatabaseError(
                DatabaseErrorKind::ClosedConnection
                | DatabaseErrorKind::UnableToSendCommand
                | DatabaseErrorKind::SerializationFailure
                | DatabaseErrorKind::ReadOnlyTransaction,
                _,
            )
            | DieselError::BrokenTransactionManager => Self::database_unavailable(error),
            DieselError::DatabaseError(_, information) if means_unavailable(information.message()) => {
                Self::database_unavailable(error)
            }
            _ => Self::internal(error),
        }
    }
}

/// Diesel folds SQLSTATE classes 53, 57 and 58 into `Unknown`, so the server's own words have to do.
fn means_unavailable(message: &str) -> bool {
    [
        "terminating connection",
        "shutting down",
        "starting up",
        "in recovery mode",
        "too many clients",
        "statement timeout",
        "lock timeout",
        "connection closed",
        "No space left",
        "could not extend file",
    ]
    .iter()
    .any(|words| message.contains(words))
}

/// Rounded up, and no less than one.
fn whole_seconds(duration: std::time::Duration) -> u32 {
    let seconds = duration.as_secs() + u64::from(duration.subsec_nanos() > 0);
    u32::try_from(seconds).unwrap_or(u32::MAX).max(1)
}
