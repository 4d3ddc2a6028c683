"""The event as it travels, judged by public packages that know nothing of this project."""

import base64
import hashlib
import json
from pathlib import Path

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from standardwebhooks import Webhook
from standardwebhooks.webhooks import WebhookVerificationError

from support.scenes import SIGNING_SECRET, Scene, Tapped

OTHER_SECRET = "whsec_" + base64.b64encode(b"the next signing secret, rotated").decode()


def sent(scene: Scene, build_dir: Path, **change: str) -> Tapped:
    """Runs the pipe and gives the one event request that it made."""
    run = scene.run(scene.variables(scene.step(), **change), build_dir)
    (request,) = scene.requests("POST", "/handoff/events")
    assert run.exit_code == 0, run.text
    return request


def test_the_signature_verifies_with_standardwebhooks(signed_scene: Scene, build_dir: Path) -> None:
    request = sent(signed_scene, build_dir, SIGNING_SECRET=SIGNING_SECRET)
    assert Webhook(SIGNING_SECRET).verify(request.body.decode(), dict(request.headers)) == json.loads(request.body)
    with pytest.raises(WebhookVerificationError):
        Webhook(OTHER_SECRET).verify(request.body.decode(), dict(request.headers))


def test_while_rotating_either_secret_verifies(signed_scene: Scene, build_dir: Path) -> None:
    rotating = {"SIGNING_SECRET_COUNT": "2", "SIGNING_SECRET_0": OTHER_SECRET, "SIGNING_SECRET_1": SIGNING_SECRET}
    signed_scene.secrets.add(OTHER_SECRET)
    request = sent(signed_scene, build_dir, **rotating)
    for secret in (OTHER_SECRET, SIGNING_SECRET):
        Webhook(secret).verify(request.body.decode(), dict(request.headers))


def test_the_event_parses_with_cloudevents(scene: Scene, build_dir: Path) -> None:
    request = sent(scene, build_dir)
    event = from_http_event(HTTPMessage(dict(request.headers), request.body))
    assert event.get_type() == "dev.cdevents.service.deployed.0.3.0"
    assert event.get_source() == "https://bitbucket.org/acme/api"
    assert event.get_id() == request.headers["webhook-id"]


def test_the_digest_is_over_the_bytes_that_were_sent(scene: Scene, build_dir: Path) -> None:
    request = sent(scene, build_dir)
    digest = base64.b64encode(hashlib.sha256(request.body).digest()).decode()
    assert request.headers["content-digest"] == f"sha-256=:{digest}:"


def test_the_exchange_is_a_form_with_each_parameter_once(scene: Scene, build_dir: Path) -> None:
    sent(scene, build_dir)
    (exchange,) = scene.requests("POST", "/handoff/token")
    names = [pair.partition("=")[0] for pair in exchange.body.decode().split("&")]
    assert exchange.headers["content-type"] == "application/x-www-form-urlencoded"
    assert sorted(names) == [
        "grant_type",
        "requested_token_type",
        "resource",
        "subject_token",
        "subject_token_type",
    ]


def test_exchange_and_event_are_of_one_trace(scene: Scene, build_dir: Path) -> None:
    event = sent(scene, build_dir)
    (exchange,) = scene.requests("POST", "/handoff/token")
    trace_ids = {request.headers["traceparent"].split("-")[1] for request in (exchange, event)}
    assert len(trace_ids) == 1
