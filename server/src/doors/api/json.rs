//! Reading a JSON body strictly: its type, its size, its syntax, its fields. What a field means is the handlers' business.

use axum::body::{self, Bytes, HttpBody as _};
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::error::Category;
use tronch_core::ErrorCode;
use tronch_core::bounds::BODY_BYTES_MAX;

use crate::doors::problem::Problem;

/// A body that must be there.
pub(crate) struct Body<T>(pub(crate) T);

/// A body that may be left out, which is the same as an empty object.
pub(crate) struct OptionalBody<T>(pub(crate) T);

/// What operations take that need no field: no body, or an empty object.
#[derive(Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Nothing {}

/// For fields that may be left out but not be `null`: only some take that.
pub(crate) fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Problem> {
        let headers = request.headers().clone();
        let bytes = read(request.into_body()).await?;
        require_json(&headers)?;
        parse(&bytes).map(Self)
    }
}

impl<T: DeserializeOwned + Default, S: Send + Sync> FromRequest<S> for OptionalBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Problem> {
        let headers = request.headers().clone();
        let bytes = read(request.into_body()).await?;
        if bytes.is_empty() {
            return Ok(Self(T::default()));
        }
        require_json(&headers)?;
        parse(&bytes).map(Self)
    }
}

/// The whole body, as far as a body may go.
pub(crate) async fn read(body: body::Body) -> Result<Bytes, Problem> {
    let mut body = Limited::new(body, BODY_BYTES_MAX);
    let mut whole = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|error| broke_off(&*error))?.into_data() else { continue };
        // Most bodies are one piece.
        if whole.is_empty() && body.is_end_stream() {
            return Ok(data);
        }
        whole.extend_from_slice(&data);
    }
    Ok(whole.into())
}

fn broke_off(error: &(dyn std::error::Error + Send + Sync + 'static)) -> Problem {
    if error.is::<LengthLimitError>() {
        Problem::new(ErrorCode::BodyTooLarge, format!("a body has at most {BODY_BYTES_MAX} bytes"))
    } else {
        Problem::new(ErrorCode::InvalidRequest, "the body broke off")
    }
}

pub(crate) fn require_json(headers: &HeaderMap) -> Result<(), Problem> {
    let essence = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .map(str::trim);
    match essence {
        Some(essence) if essence.eq_ignore_ascii_case("application/json") => Ok(()),
        _ => Err(Problem::new(ErrorCode::UnsupportedMediaType, "send Content-Type: application/json")),
    }
}

pub(crate) fn parse<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, Problem> {
    // serde would take an array for an object, field by field.
    if bytes.trim_ascii_start().first().is_some_and(|first| *first != b'{') {
        return Err(Problem::new(ErrorCode::InvalidRequest, "the body is not a JSON object"));
    }
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut reader)
        .map_err(|error| refusal(&error.path().to_string(), error.inner()))?;
    reader.end().map_err(|error| refusal(".", &error))?;
    Ok(value)
}

/// Nothing of a value is ever repeated: a key pasted into the wrong field must not come back.
fn refusal(path: &str, error: &serde_json::Error) -> Problem {
    if error.classify() != Category::Data {
        let detail = format!("this is no JSON: see line {}, column {}", error.line(), error.column());
        return Problem::new(ErrorCode::InvalidRequest, detail);
    }
    let text = error.to_string();
    let message = text.rsplit_once(" at line ").map_or(text.as_str(), |(message, _)| message);
    let parent = if path == "." { String::new() } else { format!("{path}.") };
    // From the right: the name is the caller's, and may hold whatever serde writes after it.
    let unknown = message.strip_prefix("unknown field `").and_then(|rest| {
        let known = ["expected ", "there are no fields"].iter().find_map(|start| rest.rfind(&format!("`, {start}")))?;
        Some((&rest[..known], &rest[known + "`, ".len()..]))
    });
    if let Some((name, known)) = unknown {
        let detail = format!("no field of this name is known here: {known}");
        // The path ends with the unknown name already.
        let field = if path.ends_with(name) { path.to_owned() } else { format!("{parent}{name}") };
        return Problem::new(ErrorCode::UnknownField, detail).at_unknown(&field);
    }
    for (start, detail) in
        [("missing field `", "this field is required"), ("duplicate field `", "this field stands here twice")]
    {
        if let Some(name) = message.strip_prefix(start) {
            let name = name.trim_end_matches('`');
            let field = if path.ends_with(name) { path.to_owned() } else { format!("{parent}{name}") };
            return Problem::new(ErrorCode::InvalidField, detail).at(field);
        }
    }
    let detail = match message.rsplit_once(", expected ") {
        Some((_, expected)) if repeats_the_value(message) && expected.starts_with("struct ") => {
            "expected an object".to_owned()
        }
        Some((_, expected)) if repeats_the_value(message) => format!("expected {expected}"),
        _ => message.to_owned(),
    };
    let problem = Problem::new(ErrorCode::InvalidField, detail);
    if path == "." { problem } else { problem.at(path) }
}

/// serde's own refusals do; ours never do.
fn repeats_the_value(message: &str) -> bool {
    ["invalid type: ", "invalid value: ", "invalid length ", "unknown variant "]
        .iter()
        .any(|start| message.starts_with(start))
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only the refusals are looked at")]
    struct Outer {
        key: String,
        environment: Option<tronch_core::Environment>,
        owner: Option<Inner>,
        permissions: Option<Vec<tronch_core::KeyPermission>>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only the refusals are looked at")]
    struct Inner {
        external_id: u32,
    }

    #[test]
    fn each_refusal_names_its_field_and_repeats_no_value() {
        let table = [
            "",
            "{",
            "[1]",
            "null",
            "{} x",
            "\"tronch_sk_secret\"",
            "{}",
            r#"{"key":5}"#,
            r#"{"key":"a","key":"b"}"#,
            r#"{"key":"a","cost":1}"#,
            r#"{"key":"a","a`, b":1}"#,
            r#"{"key":"a","environment":"tronch_sk_secret"}"#,
            r#"{"key":"a","owner":"tronch_sk_secret"}"#,
            r#"{"key":"a","owner":{}}"#,
            r#"{"key":"a","owner":{"external_id":"tronch_sk_secret"}}"#,
            r#"{"key":"a","owner":{"external_id":1,"x":2}}"#,
            r#"{"key":"a","permissions":["ok","not ok secret"]}"#,
        ];
        let mut lines = String::new();
        for body in table {
            let problem = parse::<Outer>(body.as_bytes()).expect_err("a refusal");
            assert!(!format!("{problem:?}").contains("secret"), "{problem:?}");
            lines.push_str(&format!("{body}\n    {}\n", problem.line()));
        }
        insta::assert_snapshot!(lines, @r#"

            invalid_request [] this is no JSON: see line 1, column 0
        {
            invalid_request [] this is no JSON: see line 1, column 1
        [1]
            invalid_request [] the body is not a JSON object
        null
            invalid_request [] the body is not a JSON object
        {} x
            invalid_field [key] this field is required
        "tronch_sk_secret"
            invalid_request [] the body is not a JSON object
        {}
            invalid_field [key] this field is required
        {"key":5}
            invalid_field [key] expected a string
        {"key":"a","key":"b"}
            invalid_field [key] this field stands here twice
        {"key":"a","cost":1}
            unknown_field [cost] no field of this name is known here: expected one of `key`, `environment`, `owner`, `permissions`
        {"key":"a","a`, b":1}
            unknown_field [] no field of this name is known here: expected one of `key`, `environment`, `owner`, `permissions`
        {"key":"a","environment":"tronch_sk_secret"}
            invalid_field [environment] expected `test` or `live`
        {"key":"a","owner":"tronch_sk_secret"}
            invalid_field [owner] expected an object
        {"key":"a","owner":{}}
            invalid_field [owner.external_id] this field is required
        {"key":"a","owner":{"external_id":"tronch_sk_secret"}}
            invalid_field [owner.external_id] expected u32
        {"key":"a","owner":{"external_id":1,"x":2}}
            unknown_field [owner.x] no field of this name is known here: expected `external_id`
        {"key":"a","permissions":["ok","not ok secret"]}
            invalid_field [permissions[1]] a permission has 1–100 characters of A-Z a-z 0-9 . _ : / - and may end in *
        "#);
    }
}
