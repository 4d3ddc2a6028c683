//! The event, read by the public SDK of CDEvents.

use std::collections::BTreeMap;
use std::ffi::OsString;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cdevents_sdk::CDEvent;
use fastapi_handoff::environment::Environment;
use fastapi_handoff::event::{Event, Predicate};
use fastapi_handoff::step_token::UnverifiedClaims;
use fastapi_handoff::variables::Settings;
use proptest::prelude::*;
use serde_json::{Value, json};
use time::OffsetDateTime;

const STEP: [(&str, &str); 13] = [
    ("RECEIVER_URL", "https://api.acme.dev/handoff"),
    ("CUSTOM_DATA", r#"{"ticket": "OPS-1", "nested": {"list": [1, 2]}}"#),
    ("BITBUCKET_WORKSPACE", "acme"),
    ("BITBUCKET_REPO_SLUG", "api"),
    ("BITBUCKET_REPO_UUID", "{8a3c3a52-0000-4000-8000-000000000001}"),
    ("BITBUCKET_COMMIT", "1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d"),
    ("BITBUCKET_BRANCH", "main"),
    ("BITBUCKET_BUILD_NUMBER", "42"),
    ("BITBUCKET_PIPELINE_UUID", "{8a3c3a52-0000-4000-8000-000000000002}"),
    ("BITBUCKET_STEP_UUID", "{8a3c3a52-0000-4000-8000-000000000003}"),
    ("BITBUCKET_STEP_RUN_NUMBER", "1"),
    ("BITBUCKET_DEPLOYMENT_ENVIRONMENT", "production"),
    (
        "BITBUCKET_DEPLOYMENT_ENVIRONMENT_UUID",
        "{8a3c3a52-0000-4000-8000-000000000004}",
    ),
];

fn environment(more: &[(&str, &str)]) -> Environment {
    let variables = STEP.iter().chain(more).copied().collect::<BTreeMap<_, _>>();
    Environment::new(
        variables
            .into_iter()
            .map(|(name, value)| (OsString::from(name), OsString::from(value))),
    )
}

fn settings(more: &[(&str, &str)]) -> Settings {
    Settings::read(&environment(more)).unwrap_or_else(|mistakes| panic!("{mistakes:?}"))
}

fn claims(branch: Option<&str>) -> UnverifiedClaims {
    let payload = json!({"aud": "x", "exp": 2_000_000_000, "branchName": branch, "workspaceUuid": "{8a3c3a52-0000-4000-8000-000000000005}",
        "repositoryUuid": "{8a3c3a52-0000-4000-8000-000000000001}"});
    let token = format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(payload.to_string()));
    UnverifiedClaims::read(&token.into()).unwrap()
}

fn event(more: &[(&str, &str)], branch: Option<&str>) -> Value {
    let now = OffsetDateTime::from_unix_timestamp(1_795_489_275).unwrap();
    let event = Event::new("evt_1".to_owned(), now, &settings(more), &claims(branch));
    serde_json::from_slice(&event.body).unwrap()
}

#[test]
fn every_event_is_read_by_the_sdk_of_cdevents() {
    for name in Predicate::NAMES {
        let event = event(&[("EVENT", name)], Some("main"));
        let read: CDEvent =
            serde_json::from_value(event["data"].clone()).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(read.version(), "0.5.0");
        assert_eq!(read.id().as_str(), "evt_1");
        assert_eq!(read.ty(), format!("dev.cdevents.service.{name}.0.3.0"));
        assert_eq!(read.subject().id().as_str(), "api");
        assert_eq!(read.custom_data().as_ref().unwrap()["custom"]["ticket"], "OPS-1");
        // What the SDK writes again is what was sent: nothing was dropped or renamed.
        assert_eq!(serde_json::to_value(&read).unwrap(), event["data"], "{name}");
        assert_eq!(event["type"], event["data"]["context"]["type"]);
        assert_eq!(event["time"], event["data"]["context"]["timestamp"]);
    }
}

#[test]
fn branch_is_left_out_where_the_step_token_could_not_back_it() {
    assert_eq!(
        event(&[], Some("main"))["data"]["customData"]["bitbucket"]["branch"],
        "main"
    );
    assert_eq!(
        event(&[], None)["data"]["customData"]["bitbucket"]["branch"],
        Value::Null
    );
}

#[test]
fn artifact_is_the_commit_unless_the_user_names_one() {
    assert_eq!(
        event(&[], None)["data"]["subject"]["content"]["artifactId"],
        "pkg:bitbucket/acme/api@1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d"
    );
    assert_eq!(
        event(&[("ARTIFACT_ID", "pkg:oci/api@sha256%3Aabc")], None)["data"]["subject"]["content"]["artifactId"],
        "pkg:oci/api@sha256%3Aabc"
    );
}

#[test]
fn every_mistake_is_reported_at_once() {
    let wrong = [
        ("RECEIVER_URL", "http://api.acme.dev/handoff"),
        ("EVENT", "exploded"),
        ("CUSTOM_DATA", "[1]"),
        ("SCOPE", "a\"b"),
        ("SIGNING_SECRET", "secret"),
        ("REPORT", "carrier pigeon"),
        ("STATUS_KEY", "12345678901234567890123456789012345678901"),
        ("ATLASSIAN_API_TOKEN", "token"),
        ("TIMEOUT", "0"),
        ("RETRY_BUDGET", "-1"),
        ("WAIT_TIMEOUT", "1.5"),
        ("CA_CERTIFICATE", "/nowhere/ca.pem"),
        ("DRY_RUN", "perhaps"),
        ("DEBUG", "2"),
        ("ARTIFACT_ID", "api:1.0"),
        ("BITBUCKET_BUILD_NUMBER", "x"),
        ("BITBUCKET_COMMIT", ""),
    ];
    let mut expected = wrong.map(|(name, _)| match name {
        "ATLASSIAN_API_TOKEN" => "ATLASSIAN_ACCOUNT_EMAIL",
        name => name,
    });
    expected.sort_unstable();
    let Err(mistakes) = Settings::read(&environment(&wrong)) else {
        panic!("accepted")
    };
    let mut got = mistakes
        .iter()
        .map(|mistake| mistake.variable.as_str())
        .collect::<Vec<_>>();
    got.sort_unstable();
    assert_eq!(got, expected);
    assert!(
        mistakes
            .iter()
            .all(|mistake| !mistake.fix.is_empty() && !mistake.what.contains("secret"))
    );
}

#[test]
fn list_variable_is_read_in_both_of_its_forms() {
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let list = [
        ("SIGNING_SECRET_COUNT", "2"),
        ("SIGNING_SECRET_0", secret),
        ("SIGNING_SECRET_1", secret),
    ];
    assert_eq!(settings(&list).signing_secrets.len(), 2);
    assert_eq!(
        settings(&[("SIGNING_SECRET", &format!("{secret} {secret}"))])
            .signing_secrets
            .len(),
        2
    );
    assert_eq!(settings(&[("SIGNING_SECRET", "")]).signing_secrets.len(), 0);
}

#[test]
fn value_that_is_not_text_is_a_mistake_and_not_an_absent_one() {
    use std::os::unix::ffi::OsStringExt as _;

    let cut = ("SCOPE".into(), OsString::from_vec(b"deployments:write \xc3".to_vec()));
    let foreign = ("scope".into(), OsString::from("everything"));
    let step = STEP
        .iter()
        .map(|(name, value)| (OsString::from(name), OsString::from(value)));
    let Err(mistakes) = Settings::read(&Environment::new(step.chain([cut, foreign]))) else {
        panic!("accepted")
    };
    let told = mistakes.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(
        told,
        ["SCOPE is not UTF-8: encode it as UTF-8, or see whether a character was cut in two"]
    );
}

proptest! {
    #[test]
    fn no_environment_makes_the_reader_panic(values in proptest::collection::vec("\\PC{0,60}", NAMES.len())) {
        let given = NAMES.iter().copied().zip(values.iter().map(String::as_str)).collect::<Vec<_>>();
        if let Err(mistakes) = Settings::read(&environment(&given)) {
            for mistake in mistakes {
                prop_assert!(!mistake.fix.is_empty());
            }
        }
    }
}

const NAMES: [&str; 24] = [
    "RECEIVER_URL",
    "EVENT",
    "SERVICE",
    "ENVIRONMENT",
    "ARTIFACT_ID",
    "CUSTOM_DATA",
    "SCOPE",
    "SIGNING_SECRET",
    "SIGNING_SECRET_COUNT",
    "REPORT",
    "STATUS_KEY",
    "STATUS_NAME",
    "ATLASSIAN_API_TOKEN",
    "BITBUCKET_CLIENT_ID",
    "TIMEOUT",
    "RETRY_BUDGET",
    "WAIT_TIMEOUT",
    "CA_CERTIFICATE",
    "DRY_RUN",
    "DEBUG",
    "BITBUCKET_API_URL",
    "BITBUCKET_BUILD_NUMBER",
    "BITBUCKET_COMMIT",
    "BITBUCKET_WORKSPACE",
];
