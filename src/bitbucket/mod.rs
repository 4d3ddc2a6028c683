//! Bitbucket's own API, where the outcome is told.
//! Source: <https://developer.atlassian.com/cloud/bitbucket/rest/intro/>

pub mod credentials;
pub mod insights;
pub mod status;

use std::time::{Duration, SystemTime};

use reqwest::StatusCode;
use serde_json::Value;
use tokio::time::sleep;

use crate::console::Console;
use crate::http::{Answer, Http, Request};
use crate::redaction::hex;
use crate::retry::{Again, Retry, is_passing, retry_after};
use crate::signature::sha256;

/// Bitbucket refuses a longer status key with 400.
const LONGEST_KEY: usize = 40;

/// Why the outcome could not be told, and what to do.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct ReportError {
    /// What happened.
    pub what: String,
    /// What to do.
    pub advice: String,
    /// Whether Bitbucket may have taken the request all the same.
    pub may_have_arrived: bool,
    /// Whether Bitbucket did not take the credential.
    pub unauthorized: bool,
}

impl ReportError {
    pub(crate) fn new(what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            advice: advice.into(),
            may_have_arrived: false,
            unauthorized: false,
        }
    }

    /// No answer within the limit.
    pub(crate) fn silence(limit: Duration) -> Self {
        Self {
            may_have_arrived: true,
            ..Self::new(
                format!("Bitbucket did not answer within {} s", limit.as_secs()),
                INCIDENT,
            )
        }
    }
}

/// The step is not to be run again for this: that would hand over again.
const INCIDENT: &str = "Set the status by hand where a merge waits for it, and see whether Bitbucket has an incident";

/// The path of a commit's resource: names go through percent-encoding, so that none of them can lead to another resource.
fn commit_url(api: &str, workspace: &str, repository: &str, commit: &str, rest: &[&str]) -> String {
    let segments = [&["2.0", "repositories", workspace, repository, "commit", commit], rest].concat();
    let mut url = api.to_owned();
    for segment in segments {
        url.push('/');
        // `form_urlencoded` leaves nothing that has a meaning in a path, but writes a space as `+`.
        url.push_str(
            &form_urlencoded::byte_serialize(segment.as_bytes())
                .collect::<String>()
                .replace('+', "%20"),
        );
    }
    url
}

/// A key that stays the same over re-runs (an old FAILED one would block merging for ever) and differs per service and environment.
#[must_use]
pub fn stable_key(service: &str, environment: Option<&str>) -> String {
    let full = format!("handoff-{service}-{}", environment.unwrap_or("none"));
    let plain = full
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') {
                c
            } else {
                '-'
            }
        })
        .collect::<String>();
    if plain == full && plain.len() <= LONGEST_KEY {
        return plain;
    }
    // What was cut or replaced still tells keys apart.
    let hash = &hex(&sha256(full.as_bytes()))[..8];
    let kept = plain.chars().take(LONGEST_KEY - hash.len() - 1).collect::<String>();
    format!("{kept}-{hash}")
}

/// What Bitbucket took.
struct Taken {
    answer: Answer,
    /// Whether an earlier try got no answer, and so may arrive yet.
    earlier_may_arrive: bool,
}

/// Sends until it is taken, refused, or the budget is used up. `unreachable` is the advice where no connection is final.
async fn send(
    http: &Http,
    console: &Console,
    request: &Request,
    budget: Duration,
    unreachable: Option<&str>,
) -> Result<Taken, ReportError> {
    let mut retry = Retry::new(budget);
    let mut may_have_arrived = false;
    loop {
        let (mut error, again) = match http.send(request).await {
            Ok(answer) if answer.status.is_success() => {
                return Ok(Taken {
                    answer,
                    earlier_may_arrive: may_have_arrived,
                });
            }
            Ok(answer) => {
                let wait = retry_after(&answer.headers, SystemTime::now());
                (
                    explain(&answer),
                    is_passing(answer.status).then(|| wait.map_or(Again::Later, Again::After)),
                )
            }
            Err(no_answer) => {
                may_have_arrived |= no_answer.may_have_arrived;
                let advice = no_answer.advice.as_deref().or(unreachable).unwrap_or(INCIDENT);
                let is_final = !no_answer.transient || (unreachable.is_some() && !no_answer.may_have_arrived);
                let error = ReportError::new(format!("Bitbucket did not answer: {}", no_answer.what), advice);
                (error, (!is_final).then_some(Again::Later))
            }
        };
        error.may_have_arrived = may_have_arrived;
        let Some(wait) = again.and_then(|again| retry.next_wait(again)) else {
            return Err(error);
        };
        let line = format!("telling the commit: {error}; next try in {:.1} s", wait.as_secs_f64());
        console.info(&console.clean_line(&line, 500));
        sleep(wait).await;
    }
}

/// Bitbucket's two forms of errors: `{"type":"error","error":{"message":…,"fields":…,"detail":…}}` and `{"code":400,"message":…}`.
fn explain(answer: &Answer) -> ReportError {
    let body = serde_json::from_slice::<Value>(&answer.body).unwrap_or(Value::Null);
    let error = body.get("error").filter(|error| error.is_object()).unwrap_or(&body);
    // The OAuth endpoint answers in the form of RFC 6749.
    let message = ["message", "error_description", "error"]
        .iter()
        .find_map(|name| error.get(name)?.as_str());
    let mut message = message.unwrap_or("no message").to_owned();
    for member in ["fields", "detail"] {
        if let Some(more) = error.get(member).filter(|more| !more.is_null()) {
            message.push_str(&format!(" ({member}: {more})"));
        }
    }
    let advice = match answer.status.as_u16() {
        401 => "The credential is not valid (any more): make a new one, and put it into the variable again",
        403 if message.contains("scope") => {
            "The credential lacks a scope: `repository` for an access token or OAuth consumer, `read:repository:bitbucket` for an API token"
        }
        403 => "A status belongs to the credential that made it: use that one, or an admin's, or another STATUS_KEY",
        404 => "The credential cannot see this repository, or the commit is not in it",
        429 => "The credential made more calls than Bitbucket takes in an hour: give this pipe one of its own",
        400 => "Look at STATUS_KEY (at most 40 characters) and STATUS_NAME",
        _ => INCIDENT,
    };
    ReportError {
        unauthorized: answer.status == StatusCode::UNAUTHORIZED,
        ..ReportError::new(
            format!("Bitbucket answered {}: {message}", answer.status.as_u16()),
            advice,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use reqwest::header::HeaderMap;

    #[test]
    fn key_is_short_stable_and_tells_services_and_environments_apart() {
        assert_eq!(stable_key("api", Some("production")), "handoff-api-production");
        let long = stable_key("a-service-with-a-very-long-name-one", Some("production"));
        assert_eq!(long.len(), 40);
        assert_ne!(
            long,
            stable_key("a-service-with-a-very-long-name-two", Some("production"))
        );
        assert_ne!(stable_key("a b", None), stable_key("a-b", None));
    }

    #[test]
    fn no_name_leads_to_another_resource() {
        let url = commit_url(
            "https://api.bitbucket.org",
            "acme",
            "../x y?",
            "abc",
            &["statuses", "build"],
        );
        assert_eq!(
            url,
            "https://api.bitbucket.org/2.0/repositories/acme/..%2Fx%20y%3F/commit/abc/statuses/build"
        );
    }

    proptest! {
        #[test]
        fn key_never_has_more_than_forty_characters(service in "\\PC{0,80}", environment in proptest::option::of("\\PC{0,80}")) {
            prop_assert!(stable_key(&service, environment.as_deref()).chars().count() <= LONGEST_KEY);
        }

        #[test]
        fn no_error_of_bitbucket_makes_the_reader_panic(body in proptest::collection::vec(any::<u8>(), 0..200), status in 300u16..600) {
            let answer = Answer { status: StatusCode::from_u16(status).unwrap(), headers: HeaderMap::new(), body };
            prop_assert!(!explain(&answer).advice.is_empty());
        }
    }
}
