//! The settings: every mistake at once, and every form in which Pipelines passes a value.

use std::ffi::OsString;

use fastapi_handoff::settings::{Environment, Settings};
use proptest::prelude::*;

use crate::step::{STEP, environment, settings};

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
    let Err(mistakes) = Settings::read(&environment(&wrong)) else { panic!("accepted") };
    let mut got = mistakes.iter().map(|mistake| mistake.variable.as_str()).collect::<Vec<_>>();
    got.sort_unstable();
    assert_eq!(got, expected);
    assert!(mistakes.iter().all(|mistake| !mistake.fix.is_empty() && !mistake.what.contains("secret")));
}

#[test]
fn list_variable_is_read_in_both_of_its_forms() {
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let list = [("SIGNING_SECRET_COUNT", "2"), ("SIGNING_SECRET_0", secret), ("SIGNING_SECRET_1", secret)];
    assert_eq!(settings(&list).signing_secrets.len(), 2);
    assert_eq!(settings(&[("SIGNING_SECRET", &format!("{secret} {secret}"))]).signing_secrets.len(), 2);
    assert_eq!(settings(&[("SIGNING_SECRET", "")]).signing_secrets.len(), 0);
}

#[test]
fn value_that_is_not_text_is_a_mistake_and_not_an_absent_one() {
    use std::os::unix::ffi::OsStringExt as _;

    let cut = ("SCOPE".into(), OsString::from_vec(b"deployments:write \xc3".to_vec()));
    let foreign = ("scope".into(), OsString::from("everything"));
    let step = STEP.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
    let Err(mistakes) = Settings::read(&Environment::new(step.chain([cut, foreign]))) else { panic!("accepted") };
    let told = mistakes.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(told, ["SCOPE is not UTF-8: encode it as UTF-8, or see whether a character was cut in two"]);
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
