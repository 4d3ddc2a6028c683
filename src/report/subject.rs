//! What a status or report is about.

use crate::console::Console;
use crate::settings::{Settings, StatusKey, StepContext};

const LONGEST_NAME: usize = 255;

/// What every report says, whatever the outcome.
#[derive(Clone)]
pub(super) struct Subject {
    pub(super) step: StepContext,
    pub(super) key: StatusKey,
    pub(super) name: String,
    pub(super) service: String,
    pub(super) environment: Option<String>,
}

impl Subject {
    pub(super) fn new(settings: &Settings, console: &Console) -> Self {
        let (service, environment) = (settings.service.clone(), settings.environment.clone());
        let key = settings.report.key.clone();
        let name = settings.report.name.clone().unwrap_or_else(|| match &environment {
            Some(environment) => format!("Handoff: {service} → {environment}"),
            None => format!("Handoff: {service}"),
        });
        Self {
            step: settings.step.clone(),
            key: key.unwrap_or_else(|| StatusKey::stable(&service, environment.as_deref())),
            name: console.clean_line(&name, LONGEST_NAME),
            service,
            environment,
        }
    }
}
