//! What a key holds, in the tenant's own words, and the query that asks for it. What members and service tokens may do
//! is another list.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::bounds::{PERMISSION_CHARACTERS_MAX, QUERY_BYTES_MAX, QUERY_DEPTH_MAX, QUERY_TERMS_MAX};

/// One permission a key holds: `invoices.read`, or `invoices.*` for all that begin so.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct KeyPermission(String);

/// The text cannot be a key's permission.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyPermissionError {
    /// Another length or another character.
    #[error("a permission has 1–{PERMISSION_CHARACTERS_MAX} characters of A-Z a-z 0-9 . _ : / - and may end in *")]
    Form,
    /// No query could ever ask for it.
    #[error("AND and OR are words of the permission query; choose another")]
    Keyword,
}

impl KeyPermission {
    /// Checks it. Letters keep their case, and it counts.
    ///
    /// # Errors
    /// Says what is allowed.
    pub fn parse(text: &str) -> Result<Self, KeyPermissionError> {
        let stem = text.strip_suffix('*').unwrap_or(text);
        let in_bounds = (1..=PERMISSION_CHARACTERS_MAX).contains(&text.len());
        if !in_bounds || !stem.bytes().all(is_term_character) {
            return Err(KeyPermissionError::Form);
        }
        if Keyword::of(text).is_some() {
            return Err(KeyPermissionError::Keyword);
        }
        Ok(Self(text.to_owned()))
    }

    /// The checked text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether holding this is holding `term`.
    fn covers(&self, term: &str) -> bool {
        match self.0.strip_suffix('*') {
            Some(stem) => term.starts_with(stem),
            None => self.0 == term,
        }
    }
}

impl fmt::Display for KeyPermission {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.0)
    }
}

impl FromStr for KeyPermission {
    type Err = KeyPermissionError;

    fn from_str(text: &str) -> Result<Self, KeyPermissionError> {
        Self::parse(text)
    }
}

impl TryFrom<String> for KeyPermission {
    type Error = KeyPermissionError;

    fn try_from(text: String) -> Result<Self, KeyPermissionError> {
        Self::parse(&text)
    }
}

/// `invoices.read AND (invoices.write OR admin)`, parsed. `AND` binds tighter than `OR`; both are read in any case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PermissionQuery {
    expression: Expression,
}

/// Where and why a query cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}, at byte {at} of the query")]
pub struct QueryError {
    /// Bytes before the place, from 0.
    pub at: usize,
    /// What is wrong there, without a full stop.
    pub message: String,
}

/// No deeper than twice [`QUERY_DEPTH_MAX`], so walking and dropping it is safe on any stack.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Expression {
    Term(String),
    All(Vec<Expression>),
    Any(Vec<Expression>),
}

impl PermissionQuery {
    /// Reads a query of at most [`QUERY_BYTES_MAX`] bytes, [`QUERY_TERMS_MAX`] permissions and [`QUERY_DEPTH_MAX`]
    /// parentheses inside each other.
    ///
    /// # Errors
    /// The first place that cannot be read.
    pub fn parse(text: &str) -> Result<Self, QueryError> {
        if text.len() > QUERY_BYTES_MAX {
            return Err(refusal(QUERY_BYTES_MAX, format!("a query has at most {QUERY_BYTES_MAX} bytes")));
        }
        let mut parser = Parser { tokens: tokens(text)?, next: 0, end: text.len(), depth: 0 };
        let expression = parser.any()?;
        match parser.peek() {
            None => Ok(Self { expression }),
            Some(Token::Close) => Err(parser.refusal("this ) closes nothing")),
            Some(_) => Err(parser.refusal("AND or OR is missing here")),
        }
    }

    /// Whether a key that holds these may do what the query asks for.
    pub fn allows(&self, held: &[KeyPermission]) -> bool {
        self.expression.allows(held)
    }
}

impl FromStr for PermissionQuery {
    type Err = QueryError;

    fn from_str(text: &str) -> Result<Self, QueryError> {
        Self::parse(text)
    }
}

impl fmt::Display for PermissionQuery {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.expression.fmt(formatter)
    }
}

impl Expression {
    fn allows(&self, held: &[KeyPermission]) -> bool {
        match self {
            Self::Term(term) => held.iter().any(|permission| permission.covers(term)),
            Self::All(parts) => parts.iter().all(|part| part.allows(held)),
            Self::Any(parts) => parts.iter().any(|part| part.allows(held)),
        }
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (parts, word) = match self {
            Self::Term(term) => return formatter.write_str(term),
            Self::All(parts) => (parts, " AND "),
            Self::Any(parts) => (parts, " OR "),
        };
        for (index, part) in parts.iter().enumerate() {
            formatter.write_str(if index == 0 { "" } else { word })?;
            match part {
                Self::Term(term) => formatter.write_str(term)?,
                Self::All(_) | Self::Any(_) => write!(formatter, "({part})")?,
            }
        }
        Ok(())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keyword {
    And,
    Or,
}

impl Keyword {
    fn of(word: &str) -> Option<Self> {
        if word.eq_ignore_ascii_case("and") {
            Some(Self::And)
        } else if word.eq_ignore_ascii_case("or") {
            Some(Self::Or)
        } else {
            None
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token<'a> {
    Open,
    Close,
    Keyword(Keyword),
    Term(&'a str),
}

fn is_term_character(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"._:/-".contains(&byte)
}

fn refusal(at: usize, message: impl Into<String>) -> QueryError {
    QueryError { at, message: message.into() }
}

/// Cuts a query into tokens, each with the bytes before it.
fn tokens(text: &str) -> Result<Vec<(usize, Token<'_>)>, QueryError> {
    let mut tokens = Vec::new();
    let mut terms = 0;
    let mut at = 0;
    while let Some(byte) = text.as_bytes().get(at).copied() {
        match byte {
            b' ' | b'\t' | b'\r' | b'\n' => at += 1,
            b'(' | b')' => {
                tokens.push((at, if byte == b'(' { Token::Open } else { Token::Close }));
                at += 1;
            }
            _ if is_term_character(byte) => {
                let length = text[at..].bytes().take_while(|byte| is_term_character(*byte)).count();
                let word = &text[at..at + length];
                let token = Keyword::of(word).map_or(Token::Term(word), Token::Keyword);
                if let Token::Term(_) = token {
                    terms += 1;
                    check_term(at, length, terms)?;
                }
                tokens.push((at, token));
                at += length;
            }
            b'*' => return Err(refusal(at, "a * belongs to what a key holds, not to a query")),
            _ => return Err(refusal(at, "a permission has characters of A-Z a-z 0-9 . _ : / - only")),
        }
    }
    Ok(tokens)
}

fn check_term(at: usize, characters: usize, terms: usize) -> Result<(), QueryError> {
    if characters > PERMISSION_CHARACTERS_MAX {
        return Err(refusal(at, format!("a permission has at most {PERMISSION_CHARACTERS_MAX} characters")));
    }
    if terms > QUERY_TERMS_MAX {
        return Err(refusal(at, format!("a query has at most {QUERY_TERMS_MAX} permissions")));
    }
    Ok(())
}

struct Parser<'a> {
    tokens: Vec<(usize, Token<'a>)>,
    next: usize,
    end: usize,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn any(&mut self) -> Result<Expression, QueryError> {
        let mut parts = vec![self.all()?];
        while self.take(Token::Keyword(Keyword::Or)) {
            parts.push(self.all()?);
        }
        Ok(single_or(parts, Expression::Any))
    }

    fn all(&mut self) -> Result<Expression, QueryError> {
        let mut parts = vec![self.part()?];
        while self.take(Token::Keyword(Keyword::And)) {
            parts.push(self.part()?);
        }
        Ok(single_or(parts, Expression::All))
    }

    fn part(&mut self) -> Result<Expression, QueryError> {
        match self.peek() {
            Some(Token::Term(term)) => {
                self.next += 1;
                Ok(Expression::Term(term.to_owned()))
            }
            Some(Token::Open) => self.parenthesis(),
            _ => Err(self.refusal("a permission is missing here")),
        }
    }

    fn parenthesis(&mut self) -> Result<Expression, QueryError> {
        if self.depth == QUERY_DEPTH_MAX {
            return Err(self.refusal(format!("at most {QUERY_DEPTH_MAX} parentheses stand inside each other")));
        }
        self.next += 1;
        self.depth += 1;
        let inner = self.any()?;
        self.depth -= 1;
        match self.peek() {
            Some(Token::Close) => {
                self.next += 1;
                Ok(inner)
            }
            Some(_) => Err(self.refusal("AND, OR or ) is missing here")),
            None => Err(self.refusal("a ) is missing here")),
        }
    }

    fn take(&mut self, token: Token<'_>) -> bool {
        let taken = self.peek() == Some(token);
        self.next += usize::from(taken);
        taken
    }

    fn peek(&self) -> Option<Token<'a>> {
        self.tokens.get(self.next).map(|(_, token)| *token)
    }

    fn refusal(&self, message: impl Into<String>) -> QueryError {
        refusal(self.tokens.get(self.next).map_or(self.end, |(at, _)| *at), message)
    }
}

fn single_or(mut parts: Vec<Expression>, many: fn(Vec<Expression>) -> Expression) -> Expression {
    match parts.pop() {
        Some(part) if parts.is_empty() => part,
        Some(part) => {
            parts.push(part);
            many(parts)
        }
        None => many(parts),
    }
}

#[cfg(test)]
mod tests;
