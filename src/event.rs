//! The deployment event: a CDEvent in a structured-mode CloudEvent. Contract: `docs/protocol.md`, section 2.

use serde::Serialize;
use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::pipeline::Pipeline;
use crate::step_token::UnverifiedClaims;
use crate::variables::Settings;

const CDEVENTS_VERSION: &str = "0.5.0";
const EVENT_VERSION: &str = "0.3.0";

/// What happened to the service. Source: <https://github.com/cdevents/spec/blob/main/continuous-deployment.md>
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Predicate {
    /// A new instance runs.
    Deployed,
    /// A running one was replaced by a newer one.
    Upgraded,
    /// … by an older one.
    Rolledback,
    /// It runs no more.
    Removed,
    /// It can be reached by users.
    Published,
}

impl Predicate {
    /// The names, as `EVENT` takes them.
    pub const NAMES: [&'static str; 5] = ["deployed", "upgraded", "rolledback", "removed", "published"];
    const ALL: [Self; 5] = [
        Self::Deployed,
        Self::Upgraded,
        Self::Rolledback,
        Self::Removed,
        Self::Published,
    ];

    /// `deployed`, or `service.deployed`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let name = text.strip_prefix("service.").unwrap_or(text);
        Self::ALL.into_iter().find(|predicate| predicate.name() == name)
    }

    /// The name within CDEvents.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }

    /// The full CDEvents type.
    #[must_use]
    pub fn event_type(self) -> String {
        format!("dev.cdevents.service.{}.{EVENT_VERSION}", self.name())
    }

    /// Whether CDEvents wants an artifact and an environment for it.
    #[must_use]
    pub fn needs_environment(self) -> bool {
        matches!(self, Self::Deployed | Self::Upgraded | Self::Rolledback)
    }
}

/// An event, ready to be sent as often as it takes: the id and the bytes never change between tries.
pub struct Event {
    /// `webhook-id`, the CloudEvent's `id`, the CDEvent's `context.id`.
    pub id: String,
    /// The body, byte for byte.
    pub body: Vec<u8>,
}

#[derive(Serialize)]
struct CloudEvent<'a> {
    specversion: &'static str,
    id: &'a str,
    source: &'a str,
    #[serde(rename = "type")]
    event_type: &'a str,
    subject: &'a str,
    time: &'a str,
    datacontenttype: &'static str,
    data: CdEvent<'a>,
}

#[derive(Serialize)]
struct CdEvent<'a> {
    context: Context<'a>,
    subject: Subject<'a>,
    #[serde(rename = "customData")]
    custom_data: CustomData<'a>,
}

#[derive(Serialize)]
struct Context<'a> {
    specversion: &'static str,
    id: &'a str,
    source: &'a str,
    #[serde(rename = "type")]
    event_type: &'a str,
    timestamp: &'a str,
}

#[derive(Serialize)]
struct Subject<'a> {
    id: &'a str,
    source: &'a str,
    content: Content<'a>,
}

#[derive(Serialize)]
struct Content<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    environment: Option<Reference<'a>>,
    #[serde(rename = "artifactId", skip_serializing_if = "Option::is_none")]
    artifact_id: Option<&'a str>,
}

#[derive(Serialize)]
struct Reference<'a> {
    id: &'a str,
    source: &'a str,
}

#[derive(Serialize)]
struct CustomData<'a> {
    bitbucket: Bitbucket<'a>,
    custom: &'a Map<String, Value>,
}

#[derive(Serialize)]
struct Bitbucket<'a> {
    workspace: &'a str,
    workspace_uuid: &'a str,
    repository: &'a str,
    repository_uuid: &'a str,
    pipeline_uuid: &'a str,
    step_uuid: &'a str,
    branch: Option<&'a str>,
    environment_uuid: Option<&'a str>,
    commit: &'a str,
    tag: Option<&'a str>,
    build_number: u64,
    step_run_number: Option<u64>,
    pull_request: Option<u64>,
}

impl Event {
    /// Makes the event of this run. `id` is new for each run; `now` is the event's time.
    ///
    /// # Panics
    /// Never: text, numbers and maps with text keys always serialise.
    #[must_use]
    pub fn new(id: String, now: OffsetDateTime, settings: &Settings, claims: &UnverifiedClaims) -> Self {
        let pipeline = &settings.pipeline;
        let source = pipeline.repository_url();
        let event_type = settings.predicate.event_type();
        let time = milliseconds(now)
            .format(&Rfc3339)
            .expect("a time of today has a year of four digits");
        let event = CloudEvent {
            specversion: "1.0",
            id: &id,
            source: &source,
            event_type: &event_type,
            subject: &settings.service,
            time: &time,
            datacontenttype: "application/json",
            data: CdEvent {
                context: Context {
                    specversion: CDEVENTS_VERSION,
                    id: &id,
                    source: &source,
                    event_type: &event_type,
                    timestamp: &time,
                },
                subject: Subject {
                    id: &settings.service,
                    source: &source,
                    content: Content {
                        environment: settings
                            .environment
                            .as_deref()
                            .map(|id| Reference { id, source: &source }),
                        artifact_id: settings
                            .predicate
                            .needs_environment()
                            .then_some(settings.artifact_id.as_str()),
                    },
                },
                custom_data: CustomData {
                    bitbucket: Bitbucket {
                        workspace: &pipeline.workspace,
                        workspace_uuid: &claims.workspace_uuid,
                        repository: &pipeline.full_name(),
                        repository_uuid: &pipeline.repository_uuid,
                        pipeline_uuid: &pipeline.pipeline_uuid,
                        step_uuid: &pipeline.step_uuid,
                        branch: branch(pipeline, claims),
                        environment_uuid: environment_uuid(pipeline, claims),
                        commit: &pipeline.commit,
                        tag: pipeline.tag.as_deref(),
                        build_number: pipeline.build_number,
                        step_run_number: pipeline.step_run_number,
                        pull_request: pipeline.pull_request,
                    },
                    custom: &settings.custom_data,
                },
            },
        };
        let body = serde_json::to_vec(&event).expect("text and numbers always serialise");
        Self { id, body }
    }
}

/// The branch, where the step token can back it: whether it names one on pull request and tag builds is not known.
fn branch<'a>(pipeline: &'a Pipeline, claims: &UnverifiedClaims) -> Option<&'a str> {
    claims.branch_name.as_ref()?;
    pipeline.branch.as_deref()
}

/// The variable, for the receiver to compare; where the pipe's container was not given it, what the token says.
fn environment_uuid<'a>(pipeline: &'a Pipeline, claims: &'a UnverifiedClaims) -> Option<&'a str> {
    pipeline
        .environment_uuid
        .as_deref()
        .or(claims.environment_uuid.as_deref())
}

/// CDEvents asks for RFC 3339; more than milliseconds would only be noise.
fn milliseconds(time: OffsetDateTime) -> OffsetDateTime {
    time.replace_millisecond(time.millisecond()).unwrap_or(time)
}
