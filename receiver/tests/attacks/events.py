"""Hostile events from a step that is authenticated."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx

from attacks.attack import Attack, Stage
from helpers.pipe import content_digest, event, event_id
from helpers.provider import OTHER_UUID
from helpers.receiver_app import URL

SECRETS = {"signing_secrets": ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"]}
OTHER_SECRET = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"


def bitbucket(**changes: Any):
    """An event that says something else of its pipeline."""
    return lambda stage: stage.deliver(event(event_id(), **changes))


def without(*path: str):
    def change(content: dict[str, Any]) -> None:
        for name in path[:-1]:
            content = content[name]
        del content[path[-1]]

    return lambda stage: stage.deliver_changed(change)


def with_value(value: Any, *path: str):
    def change(content: dict[str, Any]) -> None:
        for name in path[:-1]:
            content = content[name]
        content[path[-1]] = value

    return lambda stage: stage.deliver_changed(change)


def headers(**changes: str | None):
    return lambda stage: stage.deliver(**changes)


def twice(name: str, value: Callable[[Stage], str]):
    return lambda stage: stage.deliver_with_headers((name, value(stage)))


def spelled(change: Callable[[str], str]):
    """An event whose JSON is spelled in another way."""
    return lambda stage: stage.deliver_json(change(json.dumps(stage.content)))


def timestamp(change: Callable[[int], str]):
    return lambda stage: stage.deliver(webhook_timestamp=change(stage.now))


async def changed_on_the_way(stage: Stage) -> httpx.Response:
    body = json.dumps(stage.content).encode()
    sent = stage.pipe.event_headers(stage.token, body, stage.content["id"])
    return await stage.client.post(f"{URL}/events", content=body.replace(b"42", b"43"), headers=sent)


async def same_id_other_body(stage: Stage) -> httpx.Response:
    assert (await stage.deliver()).status_code == 200
    return await stage.deliver({**stage.content, "time": "2026-11-24T09:31:00Z"})


async def chunked(stage: Stage) -> httpx.Response:
    async def chunks():
        for _ in range(33):
            yield b"x" * 8192

    sent = stage.pipe.event_headers(stage.token, b"", stage.content["id"])
    return await stage.client.post(f"{URL}/events", content=chunks(), headers=sent)


async def signed_with_another_secret(stage: Stage) -> httpx.Response:
    stage.pipe.secret = OTHER_SECRET
    return await stage.deliver()


async def signature_of_another_id(stage: Stage) -> httpx.Response:
    stage.pipe.secret = SECRETS["signing_secrets"][0]
    signature = stage.pipe.signature("evt_other", stage.now, json.dumps(stage.content).encode())
    return await stage.deliver(webhook_signature=signature)


def signature(value: str):
    return lambda stage: stage.deliver(webhook_signature=value)


ATTACKS = [
    Attack("changed on the way", "digest-mismatch", changed_on_the_way),
    Attack("no digest", "digest-mismatch", headers(content_digest=None)),
    Attack("a digest of another algorithm", "digest-mismatch", headers(content_digest="sha-512=:AAAA:")),
    Attack("a digest not ASCII", "digest-mismatch", headers(content_digest="sha-256=:\u00e9:")),
    Attack("two digests", "digest-mismatch", twice("content-digest", lambda _: content_digest(b""))),
    Attack("no webhook-id", "event-malformed", headers(webhook_id=None)),
    Attack("a webhook-id with a dot", "event-malformed", headers(webhook_id="evt.1")),
    Attack("a webhook-id of another event", "event-malformed", headers(webhook_id="evt_other")),
    Attack("a long webhook-id", "event-malformed", headers(webhook_id="x" * 129)),
    Attack("two webhook-ids", "event-malformed", twice("webhook-id", lambda s: s.content["id"])),
    Attack("no timestamp", "timestamp-out-of-window", headers(webhook_timestamp=None)),
    Attack("a timestamp a second too old", "timestamp-out-of-window", timestamp(lambda now: str(now - 61))),
    Attack("a timestamp a second too new", "timestamp-out-of-window", timestamp(lambda now: str(now + 61))),
    Attack("a timestamp with a fraction", "timestamp-out-of-window", timestamp(lambda now: f"{now}.9")),
    Attack("a timestamp with a blank", "timestamp-out-of-window", timestamp(lambda now: f"{now} 0")),
    Attack("a timestamp with a sign", "timestamp-out-of-window", timestamp(lambda now: f"+{now}")),
    Attack("a timestamp with an underscore", "timestamp-out-of-window", timestamp(lambda now: f"{now:_}")),
    Attack("a timestamp in hex", "timestamp-out-of-window", timestamp(hex)),
    Attack("a timestamp of 5,000 digits", "timestamp-out-of-window", timestamp(lambda _: "9" * 5000)),
    Attack("a timestamp in milliseconds", "timestamp-out-of-window", timestamp(lambda now: str(now * 1000))),
    Attack("two timestamps", "timestamp-out-of-window", twice("webhook-timestamp", lambda s: str(s.now))),
    Attack("no signature", "signature-missing", headers(), options=SECRETS),
    Attack("an empty signature", "signature-missing", headers(webhook_signature=""), options=SECRETS),
    Attack("a signature under another secret", "signature-invalid", signed_with_another_secret, options=SECRETS),
    Attack("a signature of another id", "signature-invalid", signature_of_another_id, options=SECRETS),
    Attack("a signature of another version", "signature-invalid", signature("v2,AAAA"), options=SECRETS),
    Attack("a signature without its version", "signature-invalid", signature("AAAA"), options=SECRETS),
    Attack("a signature without a value", "signature-invalid", signature("v1,"), options=SECRETS),
    Attack("a signature not ASCII", "signature-invalid", signature("v1,\u00e9"), options=SECRETS),
    Attack("hundreds of signatures", "signature-invalid", signature(" ".join(["v1,AAAA"] * 500)), options=SECRETS),
    Attack(
        "two signatures headers",
        "signature-invalid",
        lambda s: s.deliver_with_headers(("webhook-signature", "v1,A"), ("webhook-signature", "v1,B")),
        options=SECRETS,
    ),
    Attack("another content type", "event-malformed", headers(content_type="application/json")),
    Attack("no content type", "event-malformed", headers(content_type=None)),
    Attack("a batch", "event-malformed", headers(content_type="application/cloudevents-batch+json")),
    Attack("two content types", "event-malformed", twice("content-type", lambda _: "application/cloudevents+json")),
    Attack("not JSON", "event-malformed", spelled(lambda text: text[:-1])),
    Attack("an empty body", "event-malformed", spelled(lambda _: "")),
    Attack("a list", "event-malformed", spelled(lambda text: f"[{text}]")),
    Attack("a number", "event-malformed", spelled(lambda _: "7")),
    Attack("two values", "event-malformed", spelled(lambda text: text + text)),
    Attack("a byte order mark", "event-malformed", spelled(lambda text: "\ufeff" + text)),
    Attack(
        "UTF-16",
        "event-malformed",
        lambda s: s.deliver(json.dumps(s.content).encode("utf-16"), identifier=s.content["id"]),
    ),
    Attack("not UTF-8", "event-malformed", lambda s: s.deliver(b'{"id":"\xff"}', identifier=s.content["id"])),
    Attack("a repeated member", "event-malformed", spelled(lambda text: '{"id":"evt_other",' + text[1:])),
    Attack(
        "a repeated member deep inside",
        "event-malformed",
        spelled(lambda text: text.replace('"step_uuid"', f'"step_uuid": "{OTHER_UUID}", "step_uuid"')),
    ),
    Attack("NaN", "event-malformed", spelled(lambda text: text.replace("42", "NaN"))),
    Attack("minus infinity", "event-malformed", spelled(lambda text: text.replace("42", "-Infinity"))),
    Attack("1e999", "event-malformed", spelled(lambda text: text.replace("42", "1e999"))),
    Attack("a number of 5,000 digits", "event-malformed", spelled(lambda text: text.replace("42", "4" * 5000))),
    Attack("a build number true", "event-malformed", spelled(lambda text: text.replace("42", "true"))),
    Attack("a build number with a fraction", "event-malformed", spelled(lambda text: text.replace("42", "42.0"))),
    Attack("a build number beyond 2^53", "event-malformed", spelled(lambda text: text.replace("42", str(2**60)))),
    Attack(
        "nested 33 deep",
        "event-malformed",
        with_value(json.loads("[" * 29 + "]" * 29), "data", "customData", "custom", "x"),
    ),
    Attack("nested 100,000 deep", "event-malformed", spelled(lambda _: "[" * 100_000 + "]" * 100_000)),
    Attack("half a surrogate pair", "event-malformed", spelled(lambda text: text.replace("OPS-1", "\\ud800"))),
    Attack("a NUL character", "event-malformed", spelled(lambda text: text.replace("OPS-1", "\\u0000"))),
    Attack("no data", "event-malformed", without("data")),
    Attack("no subject", "event-malformed", without("data", "subject")),
    Attack("no bitbucket", "event-malformed", without("data", "customData", "bitbucket")),
    Attack("no step", "event-malformed", without("data", "customData", "bitbucket", "step_uuid")),
    Attack("no environment", "event-malformed", without("data", "subject", "content", "environment")),
    Attack("no artifact", "event-malformed", without("data", "subject", "content", "artifactId")),
    Attack("a custom that is a list", "event-malformed", with_value([], "data", "customData", "custom")),
    Attack("another CloudEvents version", "event-malformed", with_value("0.3", "specversion")),
    Attack("another CDEvents version", "event-malformed", with_value("0.4.1", "data", "context", "specversion")),
    Attack("a type of another domain", "event-malformed", with_value("dev.cdevents.build.started.0.3.0", "type")),
    Attack("two types", "event-malformed", with_value("dev.cdevents.service.removed.0.3.0", "data", "context", "type")),
    Attack("two ids", "event-malformed", with_value("evt_other", "data", "context", "id")),
    Attack("two subjects", "event-malformed", with_value("worker", "data", "subject", "id")),
    Attack("two sources", "event-malformed", with_value("https://evil.example", "data", "context", "source")),
    Attack("a time there is not", "event-malformed", with_value("2026-13-45T99:99:99Z", "time")),
    Attack("a time that is a number", "event-malformed", with_value(1795489275, "time")),
    Attack("a service that is empty", "event-malformed", with_value("", "subject")),
    Attack("a commit that is short", "event-malformed", bitbucket(commit="0123456")),
    Attack("a body over the limit", "payload-too-large", lambda s: s.deliver(b"x" * 262145, identifier="evt_1")),
    Attack("a chunked body over the limit", "payload-too-large", chunked),
    Attack("a header over the limit", "payload-too-large", headers(x_filler="x" * 16385)),
    Attack("another workspace", "identity-mismatch", bitbucket(workspace="evil")),
    Attack("another workspace uuid", "identity-mismatch", bitbucket(workspace_uuid=OTHER_UUID)),
    Attack("another repository", "identity-mismatch", bitbucket(repository_uuid=OTHER_UUID)),
    Attack("another pipeline", "identity-mismatch", bitbucket(pipeline_uuid=OTHER_UUID)),
    Attack("another step", "identity-mismatch", bitbucket(step_uuid=OTHER_UUID)),
    Attack("another branch", "identity-mismatch", bitbucket(branch="feature/x")),
    Attack("another environment uuid", "identity-mismatch", bitbucket(environment_uuid=OTHER_UUID)),
    Attack("no environment uuid", "identity-mismatch", bitbucket(environment_uuid=None)),
    Attack(
        "another environment's name",
        "identity-mismatch",
        with_value({"id": "staging"}, "data", "subject", "content", "environment"),
    ),
    Attack(
        "another service",
        "identity-mismatch",
        lambda s: s.deliver_changed(lambda c: (c.update(subject="db"), c["data"]["subject"].update(id="db"))),
    ),
    Attack("a type without a handler", "event-not-handled", lambda s: s.deliver(event(event_id(), "published"))),
    Attack("a type whose scope is not granted", "scope-missing", lambda s: s.deliver(event(event_id(), "removed"))),
    Attack("the same id with another body", "event-conflict", same_id_other_body),
]
