//! What a user can do about each error: all advice of the pipe, in one place.
//!
//! A sentence says what to change, or where to look. `docs/troubleshooting.md` says more about each.

use crate::bitbucket::BitbucketError;
use crate::event::EventId;
use crate::http::{HttpError, Next, TlsProblem};
use crate::identity::IdentityError;
use crate::receiver::{AnswerError, Answers, Code, Refusal, RefusalCode, TryError};
use crate::settings::ReceiverUrl;

const NOT_THE_ROUTER: &str = "Check that RECEIVER_URL is the URL where the app mounts the handoff router";
/// The step is not to be run again for this: that would hand over again.
const INCIDENT: &str = "Set the status by hand where a merge waits for it, and see whether Bitbucket has an incident";

/// Return what gives the step an identity that the receiver can accept, over several lines.
pub fn for_identity(error: &IdentityError, receiver: &ReceiverUrl) -> String {
    let yaml = |lead: &str| {
        format!("{lead}, in bitbucket-pipelines.yml:\n\n- step:\n    oidc:\n      audiences:\n        - {receiver}\n")
    };
    match error {
        IdentityError::Missing => yaml("Give the step one, made for the receiver"),
        IdentityError::WrongAudience { .. } => yaml("Name the receiver as an audience of the step's token"),
        IdentityError::Malformed(_) => {
            "It is set by Pipelines where the step has `oidc:`; remove any variable of the same name".to_owned()
        }
        IdentityError::Expired { .. } => {
            "A step gets one token, at its start, and cannot get a second one: run the pipe in a step of its own, \
             or before the long part of this one"
                .to_owned()
        }
    }
}

/// Return what to do about the last try of a delivery, where that is known.
pub(super) fn for_try(error: &TryError) -> Option<&'static str> {
    match error {
        TryError::NoAnswer(HttpError::TooLarge) => Some("No receiver answers that much: check RECEIVER_URL"),
        TryError::NoAnswer(error) | TryError::NoAnswerToSecondProof(error) => for_http(error),
        TryError::Answer(AnswerError::Compressed(_)) => Some(
            "Something in front of the app compresses answers though the pipe does not ask for it: switch that off for RECEIVER_URL",
        ),
        TryError::Answer(AnswerError::NotAReceipt { .. } | AnswerError::NotAToken(Next::Final)) => Some(NOT_THE_ROUTER),
        TryError::Answer(AnswerError::TokenNotBound) => {
            Some("Check that RECEIVER_URL is the handoff router of the app")
        }
        TryError::Exchange(error) => for_try(error),
        TryError::Answer(_) | TryError::Refused(_) | TryError::TokenNoLongerGood(_) | TryError::HandlerRuns => None,
    }
}

/// Return what to do where a server, whichever it is, does not answer.
fn for_http(error: &HttpError) -> Option<&'static str> {
    match error {
        HttpError::Proxy(_) => Some("Let the proxy of HTTPS_PROXY connect to this host, or name the host in NO_PROXY"),
        HttpError::Broken(_) if error.is_other_http_version() => {
            Some("The pipe speaks HTTP/1.1: check that the server at that port does, too")
        }
        HttpError::Tls { problem, .. } => match problem {
            TlsProblem::NotValidNow => Some("Renew the certificate of the server, or check the clocks"),
            TlsProblem::OtherName | TlsProblem::UnknownHost => {
                Some("Check the host in the URL, or what stands in front of the server")
            }
            TlsProblem::UnknownIssuer => Some("If it is your own CA, give its certificate as CA_CERTIFICATE (PEM)"),
            TlsProblem::Certificate => Some("Look at the certificate with `openssl s_client`"),
            TlsProblem::Incompatible => Some("The pipe speaks TLS 1.2 and 1.3, and has no client certificate"),
            TlsProblem::NoTls => Some("Check the port in the URL, and that TLS is on there"),
            TlsProblem::Other => None,
        },
        _ => None,
    }
}

/// Return what to do where the commit was not told.
pub(super) fn for_bitbucket(error: &BitbucketError) -> &'static str {
    match error {
        BitbucketError::NoProxy(_) => {
            "The proxy of Pipelines is not there: outside of Pipelines, set REPORT: none, or give a credential for a build status"
        }
        BitbucketError::NoAnswer(error) => for_http(error).unwrap_or(INCIDENT),
        BitbucketError::NoAccessToken(_) => {
            "Check BITBUCKET_CLIENT_ID and BITBUCKET_CLIENT_SECRET; the OAuth consumer must be private, with the scope `repository`"
        }
        BitbucketError::AnotherAnswer { .. } => {
            "Look at the commit, and at what stands between the pipe and Bitbucket's API: it answered in Bitbucket's place"
        }
        BitbucketError::Silence(_) | BitbucketError::NotAnAccessToken => INCIDENT,
        BitbucketError::Refused { status, message } => match status {
            401 => "The credential is not valid (any more): make a new one, and put it into the variable again",
            403 if message.contains("scope") => {
                "The credential lacks a scope: `repository` for an access token or OAuth consumer, `read:repository:bitbucket` for an API token"
            }
            403 => {
                "A status belongs to the credential that made it: use that one, or an admin's, or another STATUS_KEY"
            }
            404 => "The credential cannot see this repository, or the commit is not in it",
            429 => "The credential made more calls than Bitbucket takes in an hour: give this pipe one of its own",
            400 => "Look at STATUS_KEY (at most 40 characters) and STATUS_NAME",
            _ => INCIDENT,
        },
    }
}

/// What is known of the event that a user may want to hand over again.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    NotAccepted,
    /// It was accepted, or may be: a new run of the step hands over a second time.
    MayBeAccepted,
}

/// Return how to find out what became of an event that was or may be accepted, and what a new run means.
pub(super) fn look_first(event_id: &EventId) -> String {
    format!(
        "Look first what became of it, where the receiver runs: `fastapi-handoff audit list --event {event_id}`. \
         A new run of the step makes a new event, and the handler runs for that one, too"
    )
}

/// Return what to do about a refusal, by the receiver or by something in front of it.
pub(super) fn for_refusal(refusal: &Refusal, receiver: &ReceiverUrl, fate: Fate) -> String {
    use RefusalCode as C;
    let status = refusal.status;
    match (&refusal.code, status) {
        (Some(Code::Known(code @ (C::IssuerUnavailable | C::StoreUnavailable | C::EventConflict))), _)
            if fate == Fate::NotAccepted =>
        {
            format!("{}; then run the step again", for_code(*code))
        }
        (Some(Code::Known(code)), _) => for_code(*code).to_owned(),
        (None, _) if refusal.answers == Answers::AnotherRequest => {
            "something on the way mixed up answers, or replaced the header `traceparent`: look at the proxy there"
                .to_owned()
        }
        (Some(Code::Unknown(_)), _) => "look the code up in the receiver's docs (troubleshooting)".to_owned(),
        (None, 404 | 405) => format!(
            "no receiver answers at {receiver}: RECEIVER_URL is the URL where the app mounts the router, without `/token` or `/events`"
        ),
        (None, 300..400) => {
            "the URL redirects, which this pipe does not follow: set RECEIVER_URL to the final address".to_owned()
        }
        (None, 500..) => format!(
            "the app, or something in front of it, answered {status}: look at the app's log, and at the proxy there"
        ),
        (None, _) => format!(
            "something in front of the app, not the receiver, answered {status}: look at the proxy or firewall there"
        ),
    }
}

/// Return what a user changes for each code of the receiver: the pipeline, or the policy.
pub fn for_code(code: RefusalCode) -> &'static str {
    use RefusalCode as C;
    match code {
        C::NoGrantMatches => {
            "if this pipeline should be allowed, change the rows marked ✖ in one grant of the receiver's policy file; if not, run it from where a grant allows it (branch, deployment)"
        }
        C::UserTokenNotTaken => {
            "use a token that the identity provider gave to a service, not to a person, or set `users = true` for this issuer in the receiver's policy file"
        }
        C::IssuerAuditOnly => {
            "the receiver only judges and records callers of this issuer: set its `mode` to \"enforce\" in the receiver's policy file when its audit shows what you expect"
        }
        C::ScopeNotGranted | C::ScopeMissing => {
            "ask for less with SCOPE (or leave SCOPE out to get all that is granted), or add the scope to the grant in the receiver's policy file"
        }
        C::AudienceMismatch | C::ResourceMismatch => {
            "make RECEIVER_URL, the step's `oidc: audiences:` and the receiver's `url=` the same text"
        }
        C::IssuerUnknown => {
            "the receiver's policy names another workspace: check `workspace` and `workspace_uuid` in the policy file, or RECEIVER_URL"
        }
        C::StepTokenExpired | C::TokenExpired => {
            "run the pipe in a step of its own: a step gets one token, at its start"
        }
        C::StepTokenNotYetValid | C::TimestampOutOfWindow => {
            "check the clocks of the receiver and of this machine (self-hosted runner?): they differ by more than a minute"
        }
        C::StepTokenLifetimeExceeded => {
            "the issuer made a token that lives longer than the receiver allows for it: look at the issuer's settings, and at its section of the policy file"
        }
        C::StepTokenAlreadyBound => {
            "the step token was used with another key before: if two pipes run in this step, let both run as root so that they share BITBUCKET_PIPE_STORAGE_DIR; if not, somebody else has the token"
        }
        C::StepTokenSignatureInvalid | C::StepTokenMalformed | C::ClaimsMissing => {
            "let Pipelines set BITBUCKET_STEP_OIDC_TOKEN: it is not a token that Bitbucket made for this step"
        }
        C::IdentityMismatch => {
            "the event says other than the step token: remove variables that override Bitbucket's own (BITBUCKET_…), and let ENVIRONMENT and SERVICE be what the grant names"
        }
        C::SignatureMissing => "set SIGNING_SECRET: the receiver takes signed events only",
        C::SignatureInvalid => "give the receiver's current secret as SIGNING_SECRET",
        C::PayloadTooLarge => "send less as CUSTOM_DATA: the event may have 256 KiB",
        C::BodyTimeout => {
            "the network between the step and the receiver is very slow, or a proxy holds bodies back: look there"
        }
        C::EventNotHandled => "register a handler for this event in the app (`@handoff.on(…)`), or change EVENT",
        C::EventMalformed => {
            "where the detail names a variable's value (CUSTOM_DATA, SERVICE, ENVIRONMENT, ARTIFACT_ID), change that; if not, the receiver is of another version than this pipe, or something on the way changed the request"
        }
        C::TokenRequestMalformed => {
            "the receiver is of another version than this pipe, or something on the way changed the request: compare both versions, and run with DEBUG: 'true'"
        }
        C::IssuerUnavailable => {
            "the receiver cannot fetch the workspace's keys: see whether it reaches Bitbucket's API, and whether OIDC is on for the workspace"
        }
        C::StoreUnavailable => {
            "the receiver's database does not answer, or refuses to record: see the receiver's log and its `GET …/health`"
        }
        C::EventConflict => "another event had this id",
        C::EventNotFound => {
            "the receiver does not know the event, or it is of another step: look it up with `fastapi-handoff audit list`"
        }
        C::ReceiptDamaged => {
            "somebody changed the receiver's database: have its operator run `fastapi-handoff audit verify`, and look at what the handler changes before anything is run again"
        }
        C::TokenInvalid => {
            "the receiver's policy may have changed since the access token was made (a grant renamed or narrowed), or its replicas do not share one store: see the receiver's log and policy file"
        }
        C::ProofInvalid | C::ProofMissing | C::ProofReplayed | C::KeyMismatch | C::TokenMissing | C::DigestMismatch => {
            "a proxy on the way may change the request, or the clocks differ: compare RECEIVER_URL with the receiver's `url=`, and run with DEBUG: 'true'"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answer_of_bitbucket_that_is_too_large_does_not_blame_the_receiver() {
        let advice = for_bitbucket(&BitbucketError::NoAnswer(HttpError::TooLarge));
        assert!(!advice.contains("RECEIVER_URL"), "{advice}");
    }
}
