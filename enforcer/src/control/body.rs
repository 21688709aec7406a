//! Bodies of requests and answers, and errors for unreadable ones.

use axum::Json;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::http::{StatusCode, header::CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Answer, MAX_BODY};
use crate::api::{ErrorCode, Failure, Guard};

/// An error as HTTP: the body is a [`Failure`].
pub(super) struct Refusal(StatusCode, Failure);

impl Refusal {
    pub(super) fn new(code: ErrorCode, error: impl ToString, hint: Option<&str>) -> Self {
        Failure { error: error.to_string(), hint: hint.map(str::to_owned), code }.into()
    }

    /// An invalid request; HTTP has several statuses for that.
    pub(super) fn usage(status: StatusCode, error: impl ToString) -> Self {
        let hint = Some("docs/api.md describes every request");
        let Self(_, failure) = Self::new(ErrorCode::BadRequest, error, hint);
        Self(status, failure)
    }
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        let status = StatusCode::from_u16(failure.code.status());
        Self(status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), failure)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, json(&self.1)).into_response()
    }
}

pub(super) fn too_large(max: usize) -> Refusal {
    let size =
        if max >= 1 << 20 { format!("{} MiB", max >> 20) } else { format!("{} KiB", max >> 10) };
    let error = format!("the request is larger than {size}");
    Refusal::new(ErrorCode::TooLarge, error, None)
}

pub(super) fn bad_query(rejection: QueryRejection) -> Refusal {
    Refusal::usage(rejection.status(), rejection.body_text())
}

pub(super) fn bad_body(rejection: BytesRejection) -> Refusal {
    if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
        return too_large(MAX_BODY);
    }
    Refusal::usage(rejection.status(), rejection.body_text())
}

pub(super) fn parse<T: DeserializeOwned>(
    body: Result<Bytes, BytesRejection>,
) -> Result<T, Refusal> {
    let body = body.map_err(bad_body)?;
    serde_json::from_slice(&body).map_err(|e| Refusal::usage(StatusCode::BAD_REQUEST, e))
}

/// An optional body.
pub(super) fn guard(body: Result<Bytes, BytesRejection>) -> Result<Guard, Refusal> {
    match body {
        Ok(body) if body.is_empty() => Ok(Guard::default()),
        body => parse(body),
    }
}

/// A JSON body with a newline, so that a terminal's prompt stands where it should.
pub(crate) fn encode<T: Serialize>(value: &T) -> Answer {
    let mut body = serde_json::to_vec(value).map_err(|e| Failure {
        error: format!("the answer cannot be written: {e}"),
        hint: None,
        code: ErrorCode::Kernel,
    })?;
    body.push(b'\n');
    Ok(Bytes::from(body).into())
}

/// The same as a response.
pub(super) fn json<T: Serialize>(value: &T) -> Response {
    match encode(value) {
        Ok(body) => ([(CONTENT_TYPE, JSON)], body.bytes()).into_response(),
        Err(e) => (StatusCode::INTERNAL_SERVER_ERROR, Json(e)).into_response(),
    }
}

/// The type of a JSON body.
pub(super) const JSON: &str = "application/json";
