//! The event, read by the public SDK of CDEvents.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cdevents_sdk::CDEvent;
use fastapi_handoff::event::{AttestedFacts, Event, EventInput};
use fastapi_handoff::identity::UnverifiedClaims;
use fastapi_handoff::settings::Predicate;
use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::step::settings;

fn claims(branch: Option<&str>) -> UnverifiedClaims {
    let payload = json!({"aud": "x", "exp": 2_000_000_000, "branchName": branch, "workspaceUuid": "{8a3c3a52-0000-4000-8000-000000000005}",
        "repositoryUuid": "{8a3c3a52-0000-4000-8000-000000000001}"});
    let token = format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(payload.to_string()));
    UnverifiedClaims::read(&token.into()).unwrap()
}

fn event(more: &[(&str, &str)], branch: Option<&str>) -> Value {
    let now = OffsetDateTime::from_unix_timestamp(1_795_489_275).unwrap();
    let (settings, claims) = (settings(more), claims(branch));
    let attested = AttestedFacts {
        workspace_uuid: &claims.workspace_uuid,
        branch: claims.branch_name.as_deref(),
        environment_uuid: claims.environment_uuid.as_ref(),
    };
    let event = Event::new("evt_1".into(), now, &EventInput::from(&settings), &attested);
    serde_json::from_slice(&event.body).unwrap()
}

#[test]
fn every_event_is_read_by_the_sdk_of_cdevents() {
    for name in Predicate::ALL.map(Predicate::name) {
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
    assert_eq!(event(&[], Some("main"))["data"]["customData"]["bitbucket"]["branch"], "main");
    assert_eq!(event(&[], None)["data"]["customData"]["bitbucket"]["branch"], Value::Null);
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
