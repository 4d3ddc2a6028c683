//! A step's environment, and the settings that the pipe reads from it.

use std::collections::BTreeMap;
use std::ffi::OsString;

use fastapi_handoff::settings::{Environment, Settings};

pub(crate) const STEP: [(&str, &str); 13] = [
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
    ("BITBUCKET_DEPLOYMENT_ENVIRONMENT_UUID", "{8a3c3a52-0000-4000-8000-000000000004}"),
];

pub(crate) fn environment(more: &[(&str, &str)]) -> Environment {
    let variables = STEP.iter().chain(more).copied().collect::<BTreeMap<_, _>>();
    Environment::new(variables.into_iter().map(|(name, value)| (OsString::from(name), OsString::from(value))))
}

pub(crate) fn settings(more: &[(&str, &str)]) -> Settings {
    Settings::read(&environment(more)).unwrap_or_else(|mistakes| panic!("{mistakes:?}"))
}
