//! The settings: raw text of the environment becomes checked values here, once, and every mistake is reported at once.
//!
//! Belongs here: the table of variables, what each may hold, what the step says of itself. Not here: what is done with a
//! value. Nothing in this room sends anything or knows a room above it.

mod custom_data;
mod env;
mod files;
mod predicate;
mod receiver_url;
mod report_settings;
mod signing_secret;
mod step_context;
mod validate;
mod variables;

use std::path::PathBuf;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use env::{Environment, Mistake};
pub use predicate::Predicate;
pub use receiver_url::ReceiverUrl;
pub use report_settings::{BitbucketCredentials, Endpoints, ReportMode, ReportSettings, StatusKey};
pub use signing_secret::SigningSecret;
pub use step_context::{CommitHash, Slug, StepContext, Uuid};
pub use variables::{Check, VARIABLES, Variable};

use env::Mistakes;
use variables::PipeVariables;

/// What Pipelines gives the step beside its context.
#[derive(Default, Deserialize, Serialize)]
#[allow(clippy::struct_field_names, reason = "the fields are named like their variables")]
struct StepVariables {
    bitbucket_deployment_environment: Option<String>,
    bitbucket_step_oidc_token: Option<String>,
    bitbucket_pipe_storage_dir: Option<String>,
}

/// Everything the run needs, checked.
pub struct Settings {
    pub receiver: ReceiverUrl,
    pub predicate: Predicate,
    pub service: String,
    /// Absent only where the event can do without.
    pub environment: Option<String>,
    /// A package URL.
    pub artifact_id: String,
    pub custom_data: Map<String, Value>,
    /// Scope tokens separated by one space; absent for all that the grant gives.
    pub scope: Option<String>,
    /// Several while they are rotated.
    pub signing_secrets: Vec<SigningSecret>,
    pub report: ReportSettings,
    /// For one request.
    pub timeout: Duration,
    /// For all tries to deliver.
    pub retry_budget: Duration,
    /// For the handler to end.
    pub wait_timeout: Duration,
    /// Trusted beside the bundled roots.
    pub ca_certificates: Vec<CertificateDer<'static>>,
    pub receipt_file: Option<PathBuf>,
    pub dry_run: bool,
    pub step: StepContext,
    /// The step's OIDC token; absent where the step has no `oidc:`.
    pub step_token: Option<SecretString>,
    /// Where the step's key is kept for a second pipe in the same step.
    pub storage_dir: Option<PathBuf>,
    /// Every secret that came in, to be masked in all that goes out.
    pub secrets: Vec<SecretString>,
}

impl Settings {
    /// Check all variables.
    ///
    /// # Errors
    /// Every mistake in every variable.
    pub fn read(environment: &Environment) -> Result<Self, Vec<Mistake>> {
        let mut mistakes = Mistakes::default();
        let wrong = &mut mistakes;
        let mut raw: PipeVariables = environment.read(&["SCOPE", "SIGNING_SECRET"], wrong);
        let from_step: StepVariables = environment.read(&[], wrong);
        raw.environment = raw.environment.or(from_step.bitbucket_deployment_environment);
        raw.check(wrong);

        let mut secrets = Vec::new();
        let report = ReportSettings::read(environment, &mut raw, wrong, &mut secrets);
        let receiver = validate::receiver(raw.receiver_url, wrong);
        let predicate = validate::predicate(raw.event.as_deref(), wrong);
        let custom_data = custom_data::read(raw.custom_data.as_deref(), wrong);
        let scope = validate::scope(environment, raw.scope, wrong);
        let signing_secrets = validate::signing_secrets(environment, raw.signing_secret, wrong, &mut secrets);
        let ca_certificates = files::ca_certificates(raw.ca_certificate, wrong);
        files::receipt_file(raw.receipt_file.as_deref(), wrong);
        let step = StepContext::read(environment, wrong);
        validate::environment(raw.environment.as_deref(), predicate, wrong);
        validate::artifact_id(raw.artifact_id.as_deref(), wrong);
        let step_token = from_step.bitbucket_step_oidc_token.map(|token| validate::secret(token, &mut secrets));

        match (receiver, predicate, custom_data, step) {
            (Some(receiver), Some(predicate), Some(custom_data), Some(step)) if mistakes.is_empty() => Ok(Self {
                receiver,
                predicate,
                service: raw.service.unwrap_or_else(|| step.repository.to_string()),
                environment: raw.environment,
                artifact_id: raw
                    .artifact_id
                    .unwrap_or_else(|| format!("pkg:bitbucket/{}@{}", step.full_name(), step.commit)),
                custom_data,
                scope,
                signing_secrets,
                report,
                timeout: variables::seconds("TIMEOUT", raw.timeout.as_deref()),
                retry_budget: variables::seconds("RETRY_BUDGET", raw.retry_budget.as_deref()),
                wait_timeout: variables::seconds("WAIT_TIMEOUT", raw.wait_timeout.as_deref()),
                ca_certificates,
                receipt_file: raw.receipt_file.map(PathBuf::from),
                dry_run: variables::is_on(raw.dry_run.as_deref()),
                step,
                step_token,
                storage_dir: from_step.bitbucket_pipe_storage_dir.map(PathBuf::from),
                secrets,
            }),
            _ => Err(mistakes.into_vec()),
        }
    }
}
