//! What can go wrong with a list or a watch, and what follows from it.

use std::error::Error as _;
use std::time::Duration;

use http::{HeaderMap, StatusCode, header};
use serde_json::Value;

use crate::kubernetes_client::in_one_line;

/// Why a list or a watch did not go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Failure {
    /// 403: somebody has to give us the right.
    #[error("{0}")]
    Refused(String),
    /// 401: the API server does not know us.
    #[error("the API server does not accept the credentials: {0}")]
    Unauthorized(String),
    /// 404: the kind is not served, at least for now.
    #[error("the API server has no such kind: {0}")]
    Absent(String),
    /// 410, and whatever else means that the server cannot go on from where we were.
    #[error("the API server cannot go on from where the watch ended: {0}")]
    Expired(String),
    /// 400 and 422: it does not like how we asked.
    #[error("the API server does not take the request: {0}")]
    Invalid(String),
    /// 429 and every 5xx, with what it said of when to come back.
    #[error("the API server is busy or broken ({code}): {message}")]
    Server {
        code: u16,
        message: String,
        retry_after: Option<Duration>,
    },
    /// No answer: no connection, no trust, no time.
    #[error("{0}")]
    Unreachable(String),
    /// What came is not what the protocol says.
    #[error("the API server sent what cannot be read: {0}")]
    Garbage(String),
}

impl Failure {
    /// Of an answer that is none of success. `body` is taken as a `Status`, or as text.
    pub(super) fn of_answer(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Self {
        let retry_after = headers
            .get(header::RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.trim().parse().ok())
            .map(Duration::from_secs);
        let value: Option<Value> = serde_json::from_slice(body).ok();
        let message = match value.as_ref().and_then(|value| value.get("message")) {
            Some(Value::String(message)) => message.clone(),
            _ => String::from_utf8_lossy(&body[..body.len().min(MESSAGE)]).into_owned(),
        };
        Self::of_code(status.as_u16(), message, retry_after)
    }

    /// Of an `ERROR` event, whose object is a `Status`.
    pub(super) fn of_status(status: &Value) -> Self {
        let code = status.get("code").and_then(Value::as_u64);
        let message = status.get("message").and_then(Value::as_str);
        let retry_after = status
            .pointer("/details/retryAfterSeconds")
            .and_then(Value::as_u64);
        Self::of_code(
            code.and_then(|code| code.try_into().ok()).unwrap_or(500),
            message.unwrap_or_default().to_owned(),
            retry_after.map(Duration::from_secs),
        )
    }

    fn of_code(code: u16, message: String, retry_after: Option<Duration>) -> Self {
        let mut message = message.split_whitespace().collect::<Vec<_>>().join(" ");
        if let Some((cut, _)) = message.char_indices().nth(MESSAGE) {
            message.truncate(cut);
        }
        match code {
            401 => Self::Unauthorized(message),
            403 => Self::Refused(message),
            404 => Self::Absent(message),
            410 => Self::Expired(message),
            // A server whose data was restored knows of less than we do.
            504 if message.contains("Too large resource version") => Self::Expired(message),
            400 | 405 | 415 | 422 => Self::Invalid(message),
            _ => Self::Server {
                code,
                message,
                retry_after,
            },
        }
    }

    /// What the server said of when to come back.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Server { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// The kind of failure in one word: what is counted, and what is told once.
    pub(super) fn class(&self) -> &'static str {
        match self {
            Self::Refused(_) => "refused",
            Self::Unauthorized(_) => "unauthorized",
            Self::Absent(_) => "absent",
            Self::Expired(_) => "expired",
            Self::Invalid(_) => "invalid",
            Self::Server { code: 429, .. } => "throttled",
            Self::Server { .. } => "server",
            Self::Unreachable(_) => "unreachable",
            Self::Garbage(_) => "garbage",
        }
    }
}

impl From<kube::Error> for Failure {
    fn from(error: kube::Error) -> Self {
        match &error {
            kube::Error::Service(cause) => Self::Unreachable(in_one_line(&**cause)),
            // The wrapper's own text says nothing.
            _ => Self::Unreachable(in_one_line(error.source().unwrap_or(&error))),
        }
    }
}

/// More of a message nobody reads.
const MESSAGE: usize = 300;

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use serde_json::json;

    use super::*;

    #[test]
    fn answers_are_told_apart_by_what_follows_from_them() {
        for (code, class) in [
            (400, "invalid"),
            (401, "unauthorized"),
            (403, "refused"),
            (404, "absent"),
            (410, "expired"),
            (422, "invalid"),
            (429, "throttled"),
            (500, "server"),
            (503, "server"),
        ] {
            let status = StatusCode::from_u16(code).unwrap();
            let failure = Failure::of_answer(status, &HeaderMap::new(), b"<html>no</html>");
            assert_eq!(failure.class(), class);
        }
    }

    #[test]
    fn the_time_to_come_back_is_read_from_both_places() {
        let mut headers = HeaderMap::new();
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("3"));
        let failure = Failure::of_answer(StatusCode::TOO_MANY_REQUESTS, &headers, b"");
        assert_eq!(failure.retry_after(), Some(Duration::from_secs(3)));
        let status = json!({"code": 503, "message": "later", "details": {"retryAfterSeconds": 2}});
        let failure = Failure::of_status(&status);
        assert_eq!(failure.retry_after(), Some(Duration::from_secs(2)));
    }

    #[test]
    fn a_server_that_knows_less_than_we_do_wants_a_new_list() {
        let status =
            json!({"code": 504, "message": "Timeout: Too large resource version: 99, current: 7"});
        assert_eq!(Failure::of_status(&status).class(), "expired");
        assert_eq!(Failure::of_status(&json!({"code": 504})).class(), "server");
        assert_eq!(Failure::of_status(&json!(7)).class(), "server");
    }

    #[test]
    fn messages_are_one_line_and_bounded() {
        let body = json!({"message": format!("a\nb {}", "x".repeat(5000))}).to_string();
        let failure = Failure::of_answer(StatusCode::NOT_FOUND, &HeaderMap::new(), body.as_bytes());
        let text = failure.to_string();
        assert!(text.len() < 400 && text.contains("a b x"), "{text}");
    }
}
