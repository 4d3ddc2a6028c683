//! The pipe's variables: raw text becomes checked settings here, once, and every mistake is reported at once.

use std::path::PathBuf;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::bitbucket::credentials::Credentials;
use crate::checks;
use crate::environment::{Environment, Mistake, Mistakes};
use crate::event::Predicate;
use crate::pipeline::Pipeline;
use crate::receiver_url::ReceiverUrl;
use crate::signature::SigningSecret;

/// The variables of pipe.yml, and three for tests, as they arrive.
#[derive(Default, Deserialize, Serialize)]
struct Raw {
    receiver_url: Option<String>,
    event: Option<String>,
    service: Option<String>,
    environment: Option<String>,
    artifact_id: Option<String>,
    custom_data: Option<String>,
    scope: Option<String>,
    signing_secret: Option<String>,
    report: Option<String>,
    status_key: Option<String>,
    status_name: Option<String>,
    bitbucket_access_token: Option<String>,
    atlassian_account_email: Option<String>,
    atlassian_api_token: Option<String>,
    bitbucket_client_id: Option<String>,
    bitbucket_client_secret: Option<String>,
    timeout: Option<String>,
    retry_budget: Option<String>,
    wait_timeout: Option<String>,
    ca_certificate: Option<String>,
    receipt_file: Option<String>,
    dry_run: Option<String>,
    debug: Option<String>,
    bitbucket_api_url: Option<String>,
    bitbucket_oauth_url: Option<String>,
    bitbucket_proxy_url: Option<String>,
    bitbucket_deployment_environment: Option<String>,
    bitbucket_step_oidc_token: Option<String>,
    bitbucket_pipe_storage_dir: Option<String>,
}

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

/// Bitbucket's addresses; others than the real ones in tests only.
pub struct Endpoints {
    /// `https://api.bitbucket.org`
    pub api: String,
    /// `https://bitbucket.org/site/oauth2/access_token`
    pub oauth: String,
    /// The proxy of Pipelines that authenticates Code Insights requests.
    pub proxy: String,
}

/// How the commit is told.
pub struct ReportSettings {
    /// `REPORT`
    pub mode: ReportMode,
    /// `STATUS_KEY`
    pub key: Option<String>,
    /// `STATUS_NAME`
    pub name: Option<String>,
    /// For the build status.
    pub credentials: Option<Credentials>,
    /// Bitbucket's addresses.
    pub endpoints: Endpoints,
}

/// Everything the run needs, checked.
pub struct Settings {
    /// `RECEIVER_URL`
    pub receiver: ReceiverUrl,
    /// `EVENT`
    pub predicate: Predicate,
    /// `SERVICE`
    pub service: String,
    /// `ENVIRONMENT`; absent only where the event can do without.
    pub environment: Option<String>,
    /// `ARTIFACT_ID`
    pub artifact_id: String,
    /// `CUSTOM_DATA`
    pub custom_data: Map<String, Value>,
    /// `SCOPE`
    pub scope: Option<String>,
    /// `SIGNING_SECRET`
    pub signing_secrets: Vec<SigningSecret>,
    /// How the commit is told.
    pub report: ReportSettings,
    /// `TIMEOUT`, for one request.
    pub timeout: Duration,
    /// `RETRY_BUDGET`, for all tries to deliver.
    pub retry_budget: Duration,
    /// `WAIT_TIMEOUT`, for the handler.
    pub wait_timeout: Duration,
    /// `CA_CERTIFICATE`, beside the bundled roots.
    pub ca_certificates: Vec<CertificateDer<'static>>,
    /// `RECEIPT_FILE`
    pub receipt_file: Option<PathBuf>,
    /// `DRY_RUN`
    pub dry_run: bool,
    /// The asserted context.
    pub pipeline: Pipeline,
    /// The step's OIDC token, where the step has one.
    pub step_token: Option<SecretString>,
    /// Where the step's key is kept for a second pipe in the same step.
    pub storage_dir: Option<PathBuf>,
    /// Every secret that came in, to be masked in all that goes out.
    pub secrets: Vec<SecretString>,
}

impl Settings {
    /// Checks all variables.
    ///
    /// # Errors
    /// Every mistake in every variable.
    pub fn read(environment: &Environment) -> Result<Self, Vec<Mistake>> {
        let mut mistakes = Mistakes::default();
        let wrong = &mut mistakes;
        let mut raw: Raw = environment.read(&["SCOPE", "SIGNING_SECRET"], wrong);

        let mut secrets = Vec::new();
        let report = ReportSettings::read(&mut raw, wrong, &mut secrets);
        let receiver = checks::receiver(raw.receiver_url, wrong);
        let predicate = checks::predicate(raw.event.as_deref(), wrong);
        let custom_data = checks::custom_data(raw.custom_data.as_deref(), wrong);
        let scope = checks::scope(environment, raw.scope, wrong);
        let signing_secrets = checks::signing_secrets(environment, raw.signing_secret, wrong, &mut secrets);
        let timeout = checks::seconds("TIMEOUT", raw.timeout.as_deref(), 30, 1..=600, wrong);
        let retry_budget = checks::seconds("RETRY_BUDGET", raw.retry_budget.as_deref(), 120, 0..=3600, wrong);
        let wait_timeout = checks::seconds("WAIT_TIMEOUT", raw.wait_timeout.as_deref(), 600, 0..=86_400, wrong);
        let ca_certificates = checks::ca_certificates(raw.ca_certificate, wrong);
        checks::receipt_file(raw.receipt_file.as_deref(), wrong);
        let dry_run = checks::switch("DRY_RUN", raw.dry_run, wrong);
        // Read by itself before the rest; here it is only checked.
        checks::switch("DEBUG", raw.debug, wrong);
        let pipeline = Pipeline::read(environment, wrong);
        let environment_name = raw.environment.or(raw.bitbucket_deployment_environment);
        checks::environment(environment_name.as_deref(), predicate, wrong);
        checks::artifact_id(raw.artifact_id.as_deref(), wrong);
        for (name, text) in [
            ("SERVICE", &raw.service),
            ("ENVIRONMENT", &environment_name),
            ("ARTIFACT_ID", &raw.artifact_id),
        ] {
            checks::at_most(name, text.as_deref(), checks::LONGEST_TEXT, checks::RECEIVER, wrong);
        }
        let step_token = raw
            .bitbucket_step_oidc_token
            .map(|token| checks::secret(token, &mut secrets));

        match (receiver, predicate, custom_data, pipeline) {
            (Some(receiver), Some(predicate), Some(custom_data), Some(pipeline)) if mistakes.is_empty() => Ok(Self {
                receiver,
                predicate,
                service: raw.service.unwrap_or_else(|| pipeline.repository.clone()),
                environment: environment_name,
                artifact_id: raw
                    .artifact_id
                    .unwrap_or_else(|| format!("pkg:bitbucket/{}@{}", pipeline.full_name(), pipeline.commit)),
                custom_data,
                scope,
                signing_secrets,
                report,
                timeout,
                retry_budget,
                wait_timeout,
                ca_certificates,
                receipt_file: raw.receipt_file.map(PathBuf::from),
                dry_run,
                pipeline,
                step_token,
                storage_dir: raw.bitbucket_pipe_storage_dir.map(PathBuf::from),
                secrets,
            }),
            _ => Err(mistakes.into_vec()),
        }
    }
}

impl ReportSettings {
    fn read(raw: &mut Raw, wrong: &mut Mistakes, secrets: &mut Vec<SecretString>) -> Self {
        let mode = checks::report(raw.report.as_deref(), wrong);
        checks::at_most("STATUS_KEY", raw.status_key.as_deref(), 40, checks::BITBUCKET, wrong);
        checks::no_path("STATUS_KEY", raw.status_key.as_deref(), wrong);
        checks::at_most("STATUS_NAME", raw.status_name.as_deref(), 255, checks::BITBUCKET, wrong);
        // Where none is used, what is wrong with those that a repository has for other pipes is no mistake of this one.
        let mut unused = Mistakes::default();
        let is_used = !matches!(raw.report.as_deref(), Some("none" | "insights"));
        for (name, text) in [
            ("BITBUCKET_ACCESS_TOKEN", &raw.bitbucket_access_token),
            ("ATLASSIAN_ACCOUNT_EMAIL", &raw.atlassian_account_email),
            ("ATLASSIAN_API_TOKEN", &raw.atlassian_api_token),
            ("BITBUCKET_CLIENT_ID", &raw.bitbucket_client_id),
            ("BITBUCKET_CLIENT_SECRET", &raw.bitbucket_client_secret),
        ] {
            checks::one_line(name, text.as_deref(), if is_used { wrong } else { &mut unused });
        }
        let mut secret = |text: Option<String>| text.map(|text| checks::secret(text, secrets));
        let api_token = (
            raw.atlassian_account_email.take(),
            secret(raw.atlassian_api_token.take()),
        );
        let access_token = secret(raw.bitbucket_access_token.take());
        let oauth = (
            raw.bitbucket_client_id.take(),
            secret(raw.bitbucket_client_secret.take()),
        );
        let credentials = Credentials::choose(
            if is_used { wrong } else { &mut unused },
            api_token,
            access_token,
            oauth,
        );
        if mode == ReportMode::Status && credentials.is_none() {
            wrong.add(
                "REPORT",
                "is `status`, but there is no whole credential for it",
                "set BITBUCKET_ACCESS_TOKEN (scope `repository`), or ATLASSIAN_ACCOUNT_EMAIL and ATLASSIAN_API_TOKEN \
                 (scope `read:repository:bitbucket`), or BITBUCKET_CLIENT_ID and BITBUCKET_CLIENT_SECRET",
            );
        }
        let mut endpoint =
            |name, text: &mut Option<String>, default| checks::endpoint(name, text.take(), default, wrong);
        Self {
            mode,
            key: raw.status_key.take(),
            name: raw.status_name.take(),
            credentials,
            endpoints: Endpoints {
                api: endpoint(
                    "BITBUCKET_API_URL",
                    &mut raw.bitbucket_api_url,
                    "https://api.bitbucket.org",
                ),
                oauth: endpoint(
                    "BITBUCKET_OAUTH_URL",
                    &mut raw.bitbucket_oauth_url,
                    "https://bitbucket.org/site/oauth2/access_token",
                ),
                proxy: endpoint(
                    "BITBUCKET_PROXY_URL",
                    &mut raw.bitbucket_proxy_url,
                    "http://host.docker.internal:29418",
                ),
            },
        }
    }
}
