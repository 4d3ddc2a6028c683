//! Why Bitbucket did not take a request.

use std::time::Duration;

use serde_json::Value;

use crate::http::{Answer, Arrival, HttpError};

#[derive(Debug, thiserror::Error)]
pub enum BitbucketError {
    #[error("Bitbucket did not answer: {0}")]
    NoAnswer(#[source] HttpError),
    /// The proxy of Pipelines that authorizes requests without a credential.
    #[error("Bitbucket did not answer: {0}")]
    NoProxy(#[source] HttpError),
    #[error("Bitbucket did not answer within {} s", .0.as_secs())]
    Silence(Duration),
    #[error("Bitbucket answered {status}: {message}")]
    Refused { status: u16, message: String },
    /// A success that does not answer the request: a page of something in between, or another request's answer.
    #[error("Bitbucket answered {status}, but not with what was sent")]
    AnotherAnswer { status: u16 },
    #[error("no access token for BITBUCKET_CLIENT_ID: {0}")]
    NoAccessToken(#[source] Box<BitbucketError>),
    #[error("Bitbucket's answer for BITBUCKET_CLIENT_ID is not an access token")]
    NotAnAccessToken,
}

/// Why a request was given up, and whether Bitbucket may have taken one of its tries all the same.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct SendError {
    #[source]
    pub error: BitbucketError,
    pub arrival: Arrival,
}

impl From<BitbucketError> for SendError {
    /// For what ended before the request was sent.
    fn from(error: BitbucketError) -> Self {
        Self { error, arrival: Arrival::Impossible }
    }
}

impl SendError {
    /// No whole answer within the limit.
    pub fn silence(limit: Duration) -> Self {
        Self { error: BitbucketError::Silence(limit), arrival: Arrival::Possible }
    }
}

impl BitbucketError {
    /// Read an answer that is not a success, in one of Bitbucket's two forms:
    /// `{"type":"error","error":{"message":…,"fields":…,"detail":…}}` and `{"code":400,"message":…}`.
    pub(super) fn refused(answer: &Answer) -> Self {
        let body = serde_json::from_slice::<Value>(&answer.body).unwrap_or(Value::Null);
        let error = body.get("error").filter(|error| error.is_object()).unwrap_or(&body);
        // The OAuth endpoint answers in the form of RFC 6749.
        let message = ["message", "error_description", "error"].iter().find_map(|name| error.get(name)?.as_str());
        let mut message = message.unwrap_or("no message").to_owned();
        for member in ["fields", "detail"] {
            if let Some(more) = error.get(member).filter(|more| !more.is_null()) {
                message.push_str(&format!(" ({member}: {more})"));
            }
        }
        Self::Refused { status: answer.status.as_u16(), message }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use reqwest::StatusCode;
    use reqwest::header::HeaderMap;

    use super::*;

    proptest! {
        #[test]
        fn no_error_of_bitbucket_makes_the_reader_panic(body in proptest::collection::vec(any::<u8>(), 0..200), status in 300u16..600) {
            let answer = Answer { status: StatusCode::from_u16(status).unwrap(), headers: HeaderMap::new(), body };
            prop_assert!(BitbucketError::refused(&answer).to_string().starts_with("Bitbucket answered"));
        }
    }
}
