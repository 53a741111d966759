//! The closed list of error codes: wire word, HTTP status, title. Their sentences are made where they arise.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

/// What a client matches on. Codes are added, never renamed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// The request cannot be read: malformed JSON, bad UTF-8, an unreadable form.
    InvalidRequest,
    /// No credential, or one that does not count.
    Unauthenticated,
    /// The credential counts, but not for this.
    Forbidden,
    /// Absent, or another tenant's.
    NotFound,
    /// The address exists, for another method.
    MethodNotAllowed,
    /// A unique name is taken.
    NameTaken,
    /// The key has a successor already.
    AlreadyRotated,
    /// The key is revoked or expired, so this cannot be done to it.
    KeyNotActive,
    /// Somebody else changed it since the caller looked.
    Changed,
    /// The same write is being done right now.
    IdempotencyInProgress,
    /// The project is archived.
    ProjectArchived,
    /// The change does not fit what is there, in a way that has no code of its own.
    Conflict,
    /// Somebody signed up before.
    SetupClosed,
    /// The invitation was used, taken back, or is too old.
    InvitationOver,
    /// The link to another password was used, or is too old.
    ResetOver,
    /// The body is over its bound.
    BodyTooLarge,
    /// The body is not of a type this address takes.
    UnsupportedMediaType,
    /// A field that this address does not know.
    UnknownField,
    /// A field whose value cannot be taken.
    InvalidField,
    /// The idempotency key was used before, for something else.
    IdempotencyKeyReused,
    /// A cursor that this list did not give.
    InvalidCursor,
    /// Wrong e-mail or password.
    SignInFailed,
    /// Not the setup code.
    SetupCodeInvalid,
    /// The caller's own limit.
    TooManyRequests,
    /// A defect of ours.
    Internal,
    /// Something of ours is down or full; try again.
    Unavailable,
}

impl ErrorCode {
    /// Each, by status.
    pub const ALL: [Self; 26] = [
        Self::InvalidRequest,
        Self::Unauthenticated,
        Self::Forbidden,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::NameTaken,
        Self::AlreadyRotated,
        Self::KeyNotActive,
        Self::Changed,
        Self::IdempotencyInProgress,
        Self::ProjectArchived,
        Self::Conflict,
        Self::SetupClosed,
        Self::InvitationOver,
        Self::ResetOver,
        Self::BodyTooLarge,
        Self::UnsupportedMediaType,
        Self::UnknownField,
        Self::InvalidField,
        Self::IdempotencyKeyReused,
        Self::InvalidCursor,
        Self::SignInFailed,
        Self::SetupCodeInvalid,
        Self::TooManyRequests,
        Self::Internal,
        Self::Unavailable,
    ];

    /// The wire word and metric label.
    pub fn slug(self) -> &'static str {
        self.row().0
    }

    /// The HTTP status.
    pub fn status(self) -> u16 {
        self.row().1
    }

    /// RFC 9457's `title`: the same for every occurrence.
    pub fn title(self) -> &'static str {
        self.row().2
    }

    fn row(self) -> (&'static str, u16, &'static str) {
        match self {
            Self::InvalidRequest => ("invalid_request", 400, "The request cannot be read"),
            Self::Unauthenticated => ("unauthenticated", 401, "A valid credential is needed"),
            Self::Forbidden => ("forbidden", 403, "This credential may not do that"),
            Self::NotFound => ("not_found", 404, "There is no such thing here"),
            Self::MethodNotAllowed => ("method_not_allowed", 405, "This address takes another method"),
            Self::NameTaken => ("name_taken", 409, "This name is taken"),
            Self::AlreadyRotated => ("already_rotated", 409, "This key was rotated already"),
            Self::KeyNotActive => ("key_not_active", 409, "This key is revoked or expired"),
            Self::Changed => ("changed", 409, "It was changed meanwhile"),
            Self::IdempotencyInProgress => ("idempotency_in_progress", 409, "This write is being done right now"),
            Self::ProjectArchived => ("project_archived", 409, "This project is archived"),
            Self::Conflict => ("conflict", 409, "The change does not fit what is there"),
            Self::SetupClosed => ("setup_closed", 409, "This installation is set up already"),
            Self::InvitationOver => ("invitation_over", 410, "This invitation takes nobody in any more"),
            Self::ResetOver => ("reset_over", 410, "This link cannot be used any more"),
            Self::BodyTooLarge => ("body_too_large", 413, "The body is too large"),
            Self::UnsupportedMediaType => ("unsupported_media_type", 415, "The body is of another type"),
            Self::UnknownField => ("unknown_field", 422, "A field is not known here"),
            Self::InvalidField => ("invalid_field", 422, "A field's value cannot be taken"),
            Self::IdempotencyKeyReused => {
                ("idempotency_key_reused", 422, "This idempotency key was used for something else")
            }
            Self::InvalidCursor => ("invalid_cursor", 422, "The cursor is not of this list"),
            Self::SignInFailed => ("sign_in_failed", 422, "E-mail or password is wrong"),
            Self::SetupCodeInvalid => ("setup_code_invalid", 422, "This is not the setup code"),
            Self::TooManyRequests => ("too_many_requests", 429, "Too many requests"),
            Self::Internal => ("internal", 500, "Something went wrong on our side"),
            Self::Unavailable => ("unavailable", 503, "Not available right now"),
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.slug())
    }
}

impl Serialize for ErrorCode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.slug())
    }
}

/// The text is on no list of error codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is no error code, such as not_found")]
pub struct ParseErrorCodeError;

impl FromStr for ErrorCode {
    type Err = ParseErrorCodeError;

    fn from_str(text: &str) -> Result<Self, ParseErrorCodeError> {
        Self::ALL.into_iter().find(|code| code.slug() == text).ok_or(ParseErrorCodeError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_distinct_words_ordered_by_status() {
        let mut slugs: Vec<&str> = ErrorCode::ALL.iter().map(|code| code.slug()).collect();
        assert!(ErrorCode::ALL.is_sorted_by_key(|code| code.status()));
        slugs.sort_unstable();
        slugs.dedup();
        assert_eq!(slugs.len(), ErrorCode::ALL.len());
    }

    /// Clients match on these words: a changed line here breaks somebody's program.
    #[test]
    fn the_list() {
        let mut table = String::new();
        for code in ErrorCode::ALL {
            assert_eq!(code.slug().parse(), Ok(code));
            table.push_str(&format!("{code:<23} {} {}\n", code.status(), code.title()));
        }
        insta::assert_snapshot!(table, @r"
        invalid_request         400 The request cannot be read
        unauthenticated         401 A valid credential is needed
        forbidden               403 This credential may not do that
        not_found               404 There is no such thing here
        method_not_allowed      405 This address takes another method
        name_taken              409 This name is taken
        already_rotated         409 This key was rotated already
        key_not_active          409 This key is revoked or expired
        changed                 409 It was changed meanwhile
        idempotency_in_progress 409 This write is being done right now
        project_archived        409 This project is archived
        conflict                409 The change does not fit what is there
        setup_closed            409 This installation is set up already
        invitation_over         410 This invitation takes nobody in any more
        reset_over              410 This link cannot be used any more
        body_too_large          413 The body is too large
        unsupported_media_type  415 The body is of another type
        unknown_field           422 A field is not known here
        invalid_field           422 A field's value cannot be taken
        idempotency_key_reused  422 This idempotency key was used for something else
        invalid_cursor          422 The cursor is not of this list
        sign_in_failed          422 E-mail or password is wrong
        setup_code_invalid      422 This is not the setup code
        too_many_requests       429 Too many requests
        internal                500 Something went wrong on our side
        unavailable             503 Not available right now
        ");
    }
}
