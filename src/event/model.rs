//! The deployment event: a CDEvent in a structured-mode CloudEvent. Contract: `docs/protocol.md`, section 2.

use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::id::EventId;
use crate::settings::{Predicate, Settings, StepContext, Uuid};

const CDEVENTS_VERSION: &str = "0.5.0";
const EVENT_VERSION: &str = "0.3.0";

/// An event, ready to be sent as often as it takes: the id and the bytes never change between tries.
pub struct Event {
    pub id: EventId,
    /// The body, byte for byte.
    pub body: Vec<u8>,
}

/// What the event says of the deployment.
pub struct EventInput<'a> {
    pub predicate: Predicate,
    pub service: &'a str,
    pub environment: Option<&'a str>,
    pub artifact_id: &'a str,
    pub custom_data: &'a Map<String, Value>,
    pub step: &'a StepContext,
}

/// What the step token says and the event repeats. The pipe has not verified it; the receiver compares the two.
pub struct AttestedFacts<'a> {
    pub workspace_uuid: &'a Uuid,
    pub branch: Option<&'a str>,
    pub environment_uuid: Option<&'a Uuid>,
}

impl<'a> From<&'a Settings> for EventInput<'a> {
    fn from(settings: &'a Settings) -> Self {
        Self {
            predicate: settings.predicate,
            service: &settings.service,
            environment: settings.environment.as_deref(),
            artifact_id: &settings.artifact_id,
            custom_data: &settings.custom_data,
            step: &settings.step,
        }
    }
}

impl Event {
    /// Make the event of this run. `id` is new for each run; `now` is the event's time.
    ///
    /// # Panics
    /// Never: a time of today has a year of four digits, as RFC 3339 asks.
    pub fn new(id: EventId, now: OffsetDateTime, input: &EventInput<'_>, attested: &AttestedFacts<'_>) -> Self {
        let step = input.step;
        let source = step.repository_url();
        let event_type = format!("dev.cdevents.service.{}.{EVENT_VERSION}", input.predicate.name());
        let time = milliseconds(now).format(&Rfc3339).expect("a time of today has a year of four digits");
        let mut content = Map::new();
        if let Some(environment) = input.environment {
            content.insert("environment".to_owned(), json!({"id": environment, "source": source}));
        }
        if input.predicate.needs_environment() {
            content.insert("artifactId".to_owned(), input.artifact_id.into());
        }
        let event = json!({
            "specversion": "1.0",
            "id": id.as_str(),
            "source": source,
            "type": event_type,
            "subject": input.service,
            "time": time,
            "datacontenttype": "application/json",
            "data": {
                "context": {
                    "specversion": CDEVENTS_VERSION,
                    "id": id.as_str(),
                    "source": source,
                    "type": event_type,
                    "timestamp": time,
                },
                "subject": {"id": input.service, "source": source, "content": content},
                "customData": {
                    "bitbucket": {
                        "workspace": step.workspace,
                        "workspace_uuid": attested.workspace_uuid,
                        "repository": step.full_name(),
                        "repository_uuid": step.repository_uuid,
                        "pipeline_uuid": step.pipeline_uuid,
                        "step_uuid": step.step_uuid,
                        // Only where the step token can back it: whether it names one on pull request and tag builds is not known.
                        "branch": attested.branch.and(step.branch.as_deref()),
                        // The variable, for the receiver to compare; where the pipe's container was not given it, the token's.
                        "environment_uuid": step.environment_uuid.as_ref().or(attested.environment_uuid),
                        "commit": step.commit,
                        "tag": step.tag,
                        "build_number": step.build_number,
                        "step_run_number": step.step_run_number,
                        "pull_request": step.pull_request,
                    },
                    "custom": input.custom_data,
                },
            },
        });
        Self { id, body: event.to_string().into_bytes() }
    }
}

/// CDEvents asks for RFC 3339; more than milliseconds would only be noise.
fn milliseconds(time: OffsetDateTime) -> OffsetDateTime {
    time.replace_millisecond(time.millisecond()).unwrap_or(time)
}
