//! How the commit is told: the variables REPORT, STATUS_… and the credentials for Bitbucket's API.

use std::fmt;

use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use super::env::{Environment, Mistakes};
use super::variables::PipeVariables;
use super::{receiver_url, validate};
use crate::crypto::{hex, sha256};

/// Where the outcome is reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReportMode {
    /// A build status where there is a credential, else a Code Insights report; a failure to report is no failure of the step.
    Auto,
    /// A build status, or exit code 7.
    Status,
    /// A Code Insights report, or exit code 7.
    Insights,
    /// Nowhere.
    None,
}

/// Bitbucket's addresses. Others than the real ones are for a stand-in.
#[derive(Clone)]
pub struct Endpoints {
    pub api: String,
    pub oauth: String,
    /// The proxy of Pipelines that authenticates Code Insights requests.
    pub proxy: String,
}

#[derive(Default, Deserialize, Serialize)]
#[allow(clippy::struct_field_names, reason = "the fields are named like their variables")]
struct EndpointVariables {
    bitbucket_api_url: Option<String>,
    bitbucket_oauth_url: Option<String>,
    bitbucket_proxy_url: Option<String>,
}

/// The key under which Bitbucket keeps one status or report of a commit: 1 to 40 characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusKey(String);

impl StatusKey {
    /// Bitbucket refuses a longer key with 400.
    pub const LONGEST: usize = 40;

    /// Return a key that stays the same over re-runs (an old FAILED one would block merging for ever) and differs for each
    /// service and environment.
    pub fn stable(service: &str, environment: Option<&str>) -> Self {
        let full = format!("handoff-{service}-{}", environment.unwrap_or("none"));
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let plain = full.replace(|c| !is_plain(c), "-");
        if plain == full && plain.len() <= Self::LONGEST {
            return Self(plain);
        }
        // The hash tells apart the keys of names that differ only in what was cut or replaced.
        let hash = &hex(&sha256(full.as_bytes()))[..8];
        Self(format!("{}-{hash}", &plain[..plain.len().min(Self::LONGEST - hash.len() - 1)]))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for StatusKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

pub struct ReportSettings {
    pub mode: ReportMode,
    /// `STATUS_KEY`
    pub key: Option<StatusKey>,
    /// `STATUS_NAME`
    pub name: Option<String>,
    /// For the build status.
    pub credentials: Option<BitbucketCredentials>,
    pub endpoints: Endpoints,
}

impl ReportSettings {
    pub(super) fn read(
        environment: &Environment,
        raw: &mut PipeVariables,
        wrong: &mut Mistakes,
        secrets: &mut Vec<SecretString>,
    ) -> Self {
        let mode = match raw.report.as_deref().unwrap_or("auto") {
            "auto" => ReportMode::Auto,
            "status" => ReportMode::Status,
            "insights" => ReportMode::Insights,
            _ => ReportMode::None,
        };
        // The key is part of a path of Bitbucket's API, where these two would lead to another resource.
        if matches!(raw.status_key.as_deref(), Some("." | "..")) {
            let fix = "leave it out to get one made from service and environment";
            wrong.add("STATUS_KEY", "is no name", fix);
        }
        // Where none is used, a mistake in the credentials that a repository has for other pipes is no mistake of this one.
        let is_used = !matches!(raw.report.as_deref(), Some("none" | "insights"));
        let mut unused = Mistakes::default();
        let credentials = BitbucketCredentials::read(raw, if is_used { wrong } else { &mut unused }, secrets);
        if mode == ReportMode::Status && credentials.is_none() {
            wrong.add(
                "REPORT",
                "is `status`, but there is no whole credential for it",
                "set BITBUCKET_ACCESS_TOKEN (scope `repository`), or ATLASSIAN_ACCOUNT_EMAIL and ATLASSIAN_API_TOKEN \
                 (scope `read:repository:bitbucket`), or BITBUCKET_CLIENT_ID and BITBUCKET_CLIENT_SECRET",
            );
        }
        Self {
            mode,
            key: raw.status_key.take().map(StatusKey),
            name: raw.status_name.take(),
            credentials,
            endpoints: Endpoints::read(environment, wrong),
        }
    }
}

impl Endpoints {
    fn read(environment: &Environment, wrong: &mut Mistakes) -> Self {
        let given: EndpointVariables = environment.read(&[], wrong);
        let mut endpoint = |name, text: Option<String>, default: &str| {
            let Some(text) = text else {
                return default.to_owned();
            };
            if let Err(what) = receiver_url::checked(&text) {
                wrong.add(name, what, "leave it out: it is for a stand-in of Bitbucket only");
            }
            text.trim_end_matches('/').to_owned()
        };
        Self {
            api: endpoint("BITBUCKET_API_URL", given.bitbucket_api_url, "https://api.bitbucket.org"),
            oauth: endpoint(
                "BITBUCKET_OAUTH_URL",
                given.bitbucket_oauth_url,
                "https://bitbucket.org/site/oauth2/access_token",
            ),
            proxy: endpoint("BITBUCKET_PROXY_URL", given.bitbucket_proxy_url, "http://host.docker.internal:29418"),
        }
    }
}

/// What authenticates the pipe at Bitbucket's API. The step token does not: Bitbucket refuses it there.
pub enum BitbucketCredentials {
    /// `ATLASSIAN_ACCOUNT_EMAIL` and `ATLASSIAN_API_TOKEN`: Basic.
    ApiToken { email: String, token: SecretString },
    /// `BITBUCKET_ACCESS_TOKEN`: Bearer.
    AccessToken(SecretString),
    /// `BITBUCKET_CLIENT_ID` and `BITBUCKET_CLIENT_SECRET`: OAuth 2.0 client credentials.
    OAuthConsumer { id: String, secret: SecretString },
}

impl BitbucketCredentials {
    /// Return the variable that a reader of the log would look for.
    pub fn variable(&self) -> &'static str {
        match self {
            Self::ApiToken { .. } => "ATLASSIAN_API_TOKEN",
            Self::AccessToken(_) => "BITBUCKET_ACCESS_TOKEN",
            Self::OAuthConsumer { .. } => "BITBUCKET_CLIENT_ID",
        }
    }

    /// Take the first kind that is given, in the order the official toolkit looks for them. Half a pair is a mistake.
    fn read(raw: &mut PipeVariables, wrong: &mut Mistakes, secrets: &mut Vec<SecretString>) -> Option<Self> {
        for (name, text) in [
            ("BITBUCKET_ACCESS_TOKEN", &raw.bitbucket_access_token),
            ("ATLASSIAN_ACCOUNT_EMAIL", &raw.atlassian_account_email),
            ("ATLASSIAN_API_TOKEN", &raw.atlassian_api_token),
            ("BITBUCKET_CLIENT_ID", &raw.bitbucket_client_id),
            ("BITBUCKET_CLIENT_SECRET", &raw.bitbucket_client_secret),
        ] {
            validate::one_line(name, text.as_deref(), wrong);
        }
        let mut secret = |text: Option<String>| text.map(|text| validate::secret(text, secrets));
        let api_token = secret(raw.atlassian_api_token.take());
        let access_token = secret(raw.bitbucket_access_token.take());
        let client_secret = secret(raw.bitbucket_client_secret.take());
        let api_token = pair(
            ("ATLASSIAN_ACCOUNT_EMAIL", raw.atlassian_account_email.take()),
            ("ATLASSIAN_API_TOKEN", api_token),
            wrong,
        );
        let oauth = pair(
            ("BITBUCKET_CLIENT_ID", raw.bitbucket_client_id.take()),
            ("BITBUCKET_CLIENT_SECRET", client_secret),
            wrong,
        );
        api_token
            .map(|(email, token)| Self::ApiToken { email, token })
            .or_else(|| access_token.map(Self::AccessToken))
            .or_else(|| oauth.map(|(id, secret)| Self::OAuthConsumer { id, secret }))
    }
}

/// Return both halves where both are there, and note a mistake where one is missing.
fn pair<A, B>(
    (first_name, first): (&'static str, Option<A>),
    (second_name, second): (&'static str, Option<B>),
    wrong: &mut Mistakes,
) -> Option<(A, B)> {
    let missing = match (&first, &second) {
        (Some(_), None) => Some((second_name, first_name)),
        (None, Some(_)) => Some((first_name, second_name)),
        _ => None,
    };
    if let Some((name, beside)) = missing {
        wrong.add(name, format!("is missing beside {beside}"), "set both, or neither");
    }
    first.zip(second)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn key_is_short_stable_and_tells_services_and_environments_apart() {
        let key = |service, environment| StatusKey::stable(service, environment).to_string();
        assert_eq!(key("api", Some("production")), "handoff-api-production");
        let long = key("a-service-with-a-very-long-name-one", Some("production"));
        assert_eq!(long.len(), 40);
        assert_ne!(long, key("a-service-with-a-very-long-name-two", Some("production")));
        assert_ne!(key("a b", None), key("a-b", None));
    }

    proptest! {
        #[test]
        fn key_never_has_more_than_forty_characters(service in "\\PC{0,80}", environment in proptest::option::of("\\PC{0,80}")) {
            let key = StatusKey::stable(&service, environment.as_deref());
            prop_assert!(key.as_str().chars().count() <= StatusKey::LONGEST);
        }
    }
}
