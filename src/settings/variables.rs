//! The table of variables: for each its name, its default, what it may hold and what README says of it.
//!
//! A new variable is one line here and one use in `Settings`. `pipe.yml` and README are held to this table by
//! `test/crate/variables.rs`.

use std::ops::RangeInclusive;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::env::Mistakes;

/// One variable of the pipe.
pub struct Variable {
    pub name: &'static str,
    /// As `pipe.yml` has it; `$NAME` is what the repository sets under that name, and empty where it sets nothing.
    pub default: &'static str,
    pub check: Check,
    /// README's row.
    pub text: &'static str,
}

/// What a value may be. An empty value counts as absent, which every variable may be unless its own check says otherwise.
pub enum Check {
    /// A whole number of seconds in this range.
    Seconds(RangeInclusive<u64>),
    /// `true` or `false`.
    Switch,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// At most this many characters; a longer text is refused by whom is named.
    AtMost(usize, &'static str),
    /// Looked at where its value is made of it: `validate.rs`, `files.rs`, `custom_data.rs`, `report_settings.rs`.
    Own,
}

/// Characters of a text in the event, and of the scopes that are asked for.
pub(super) const LONGEST_TEXT: usize = 1024;
pub(super) const RECEIVER: &str = "the receiver";
const BITBUCKET: &str = "Bitbucket";

macro_rules! variables {
    ($($field:ident $name:literal = $default:literal, $check:expr, $text:literal;)*) => {
        /// The variables as they arrive; `envy` fills them by their names in lower case.
        #[derive(Default, Deserialize, Serialize)]
        pub(super) struct PipeVariables {
            $(pub(super) $field: Option<String>,)*
        }

        impl PipeVariables {
            fn values(&self) -> impl Iterator<Item = Option<&str>> {
                [$(self.$field.as_deref()),*].into_iter()
            }
        }

        /// Every variable of `pipe.yml`, in its order.
        pub const VARIABLES: &[Variable] = &[
            $(Variable { name: $name, default: $default, check: $check, text: $text },)*
        ];
    };
}

variables! {
    receiver_url "RECEIVER_URL" = "$RECEIVER_URL", Check::Own,
        "The URL where the app mounts the router. `https`; plain `http` for loopback and `host.docker.internal` only.";
    event "EVENT" = "deployed", Check::Own,
        "What happened: `deployed`, `upgraded`, `rolledback`, `removed`, `published`. Default: `deployed`.";
    service "SERVICE" = "$BITBUCKET_REPO_SLUG", Check::AtMost(LONGEST_TEXT, RECEIVER),
        "The service's name. Default: the repository's slug.";
    environment "ENVIRONMENT" = "$BITBUCKET_DEPLOYMENT_ENVIRONMENT", Check::AtMost(LONGEST_TEXT, RECEIVER),
        "The environment's name. Default: the step's `deployment:`.";
    artifact_id "ARTIFACT_ID" = "$ARTIFACT_ID", Check::AtMost(LONGEST_TEXT, RECEIVER),
        "What was deployed, as a package URL. Default: `pkg:bitbucket/{workspace}/{repository}@{commit}`.";
    custom_data "CUSTOM_DATA" = "$CUSTOM_DATA", Check::Own,
        "A JSON object for the handler. Quote it in single quotes.";
    scope "SCOPE" = "$SCOPE", Check::Own,
        "Ask for these scopes only: names separated by a space, or a list. Default: all that the grant gives.";
    signing_secret "SIGNING_SECRET" = "$SIGNING_SECRET", Check::Own,
        "`whsec_…`, or a list of several while they are rotated: signs the event (Standard Webhooks). For a receiver that asks for it.";
    report "REPORT" = "auto", Check::OneOf(&["auto", "status", "insights", "none"]),
        "How the commit is told: `status` (a build status, needs a credential), `insights` (a Code Insights report, needs none), `none`, or `auto`: a status where there is a credential, else a report, and no failure if it cannot be told. Default: `auto`.";
    status_key "STATUS_KEY" = "$STATUS_KEY", Check::AtMost(40, BITBUCKET),
        "The key of the status or report, at most 40 characters. Default: made from service and environment; stable over re-runs.";
    status_name "STATUS_NAME" = "$STATUS_NAME", Check::AtMost(255, BITBUCKET),
        "Its name. Default: `Handoff: {service} → {environment}`.";
    bitbucket_access_token "BITBUCKET_ACCESS_TOKEN" = "$BITBUCKET_ACCESS_TOKEN", Check::Own,
        "A credential for the build status: a repository, project or workspace access token with the scope `repository`.";
    atlassian_account_email "ATLASSIAN_ACCOUNT_EMAIL" = "$ATLASSIAN_ACCOUNT_EMAIL", Check::Own,
        "… or an account,";
    atlassian_api_token "ATLASSIAN_API_TOKEN" = "$ATLASSIAN_API_TOKEN", Check::Own,
        "and its API token with the scope `read:repository:bitbucket`. Of several credentials, this pair is used first, then the access token.";
    bitbucket_client_id "BITBUCKET_CLIENT_ID" = "$BITBUCKET_CLIENT_ID", Check::Own,
        "… or a private OAuth consumer";
    bitbucket_client_secret "BITBUCKET_CLIENT_SECRET" = "$BITBUCKET_CLIENT_SECRET", Check::Own,
        "and its secret.";
    timeout "TIMEOUT" = "30", Check::Seconds(1..=600),
        "Seconds for one request. Default: `30`.";
    retry_budget "RETRY_BUDGET" = "120", Check::Seconds(0..=3600),
        "Seconds after which no other try to deliver begins; one under way has its TIMEOUT. Default: `120`.";
    wait_timeout "WAIT_TIMEOUT" = "600", Check::Seconds(0..=86_400),
        "Seconds to wait for a slow handler, at most as long as the step token lives. Default: `600`.";
    ca_certificate "CA_CERTIFICATE" = "$CA_CERTIFICATE", Check::Own,
        "A CA to trust beside the bundled ones: PEM, or the path of a PEM file.";
    receipt_file "RECEIPT_FILE" = "$RECEIPT_FILE", Check::Own,
        "Write the receipt to this file, as JSON, for the steps after. Its directory must be there.";
    dry_run "DRY_RUN" = "false", Check::Switch,
        "`'true'`: check everything, send nothing, print the request as a `curl` command with its secrets masked. Default: `'false'`.";
    debug "DEBUG" = "false", Check::Switch,
        "`'true'`: show each request and answer, with secrets masked. Default: `'false'`.";
}

impl PipeVariables {
    /// Hold every value to its check in the table.
    pub(super) fn check(&self, wrong: &mut Mistakes) {
        for (variable, value) in VARIABLES.iter().zip(self.values()) {
            if let Some(value) = value
                && let Err((what, fix)) = variable.check.judge(value)
            {
                wrong.add(variable.name, what, fix);
            }
        }
    }
}

impl Check {
    /// Return what is wrong with a value, and what mends it.
    fn judge(&self, value: &str) -> Result<(), (String, String)> {
        let mistake = |what: &str, fix: String| Err((what.to_owned(), fix));
        match self {
            Self::Seconds(range) if !value.parse().is_ok_and(|seconds| range.contains(&seconds)) => mistake(
                "is not a number of seconds in the range",
                format!("give a whole number from {} to {}", range.start(), range.end()),
            ),
            Self::Switch if !["true", "false"].contains(&value.to_ascii_lowercase().as_str()) => {
                mistake("is neither true nor false", "write `'true'` or `'false'`, in quotes".to_owned())
            }
            Self::OneOf(words) if !words.contains(&value) => {
                mistake("is none of the values it can have", format!("take one of {}", words.join(", ")))
            }
            Self::AtMost(most, whom) => at_most(value, *most, whom),
            _ => Ok(()),
        }
    }
}

/// Return a mistake where `text` has more than `most` characters, which `whom` refuses.
pub(super) fn at_most(text: &str, most: usize, whom: &str) -> Result<(), (String, String)> {
    let length = text.chars().count();
    if length <= most {
        return Ok(());
    }
    Err((format!("has {length} characters"), format!("{whom} takes at most {most}; shorten it, or leave it out")))
}

/// Return the seconds of a variable whose value was checked, or its default.
pub(super) fn seconds(name: &str, text: Option<&str>) -> Duration {
    let default = || VARIABLES.iter().find(|variable| variable.name == name)?.default.parse().ok();
    let seconds = text.and_then(|text| text.parse().ok()).or_else(default);
    Duration::from_secs(seconds.unwrap_or_default())
}

/// Return whether a switch whose value was checked is on.
pub(super) fn is_on(text: Option<&str>) -> bool {
    text.is_some_and(|text| text.eq_ignore_ascii_case("true"))
}
