"""Audit records as OCSF events: valid by what that schema requires, and traceable to the chain."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from fastapi_handoff.audit import AuditEntry
from fastapi_handoff.audit.export.ocsf import api_activity
from fastapi_handoff.audit.record import build, encode
from helpers.chain import ISSUER, STEP, entry

SCHEMA = Draft202012Validator(json.loads((Path(__file__).parent / "ocsf_api_activity.schema.json").read_text()))
MICROSECONDS = 1_795_489_275_123_456


def event(given: AuditEntry) -> dict[str, Any]:
    record = build(given, None, MICROSECONDS)
    return api_activity(record, encode(record)[0])


@pytest.mark.parametrize(
    "given",
    [
        entry(),
        entry(decision="refused", code="identity-mismatch"),
        entry(actor=None, event_id=None, trace_id=None, resource=None),
        entry(decision="failed", outcome={"detail": "no such artifact"}),
        entry(decision="deferred", resource="PATCH /config"),
        entry(actor={"sub": None, "step_uuid": None}),
        AuditEntry(action="", decision=""),
        AuditEntry(action="\ud800", decision="\x00", code="\n", resource="not a request", actor={"sub": "\ud800"}),
        AuditEntry(action="a", decision="refused", actor={"sub": {"not": "text"}, "step_uuid": 7}),  # type: ignore[dict-item]
    ],
)
def test_event_has_all_that_the_schema_requires(given: AuditEntry) -> None:
    assert list(SCHEMA.iter_errors(event(given))) == []
    json.dumps(event(given), allow_nan=False)


def test_schema_would_notice_what_is_missing() -> None:
    whole = event(entry())
    for name in SCHEMA.schema["required"]:
        assert not SCHEMA.is_valid({key: value for key, value in whole.items() if key != name}), name


@pytest.mark.parametrize(
    ("resource", "activity"),
    [
        ("POST /handoff/events", 1),
        ("GET /x", 2),
        ("PUT /x", 3),
        ("PATCH /x", 3),
        ("DELETE /x", 4),
        ("BREW /x", 99),
        (None, 99),
    ],
)
def test_activity_follows_the_method(resource: str | None, activity: int) -> None:
    mapped = event(entry(resource=resource))
    assert (mapped["activity_id"], mapped["type_uid"]) == (activity, 600_300 + activity)


@pytest.mark.parametrize(
    ("decision", "status", "severity"),
    [
        ("accepted", 1, 1),
        ("succeeded", 1, 1),
        ("refused", 2, 3),
        ("failed", 2, 2),
        ("interrupted", 2, 2),
        ("new", 99, 1),
    ],
)
def test_status_follows_the_decision(decision: str, status: int, severity: int) -> None:
    mapped = event(entry(decision=decision))
    assert (mapped["status_id"], mapped["severity_id"]) == (status, severity)


def test_time_is_in_milliseconds() -> None:
    assert event(entry())["time"] == MICROSECONDS // 1000


def test_event_carries_the_hashed_bytes() -> None:
    mapped = event(entry())
    assert hashlib.sha256(mapped["raw_data"].encode()).hexdigest() == mapped["raw_data_hash"]["value"]
    assert mapped["metadata"]["uid"] == mapped["raw_data_hash"]["value"]


def test_actor_of_bitbucket_is_named_as_such() -> None:
    mapped = event(entry())
    assert mapped["actor"]["user"]["name"] == "Bitbucket Pipelines step"
    assert mapped["actor"]["idp"] == {"name": "Bitbucket Pipelines", "uid": ISSUER}


@pytest.mark.parametrize("kind", ["okta", "aws", "something new"])
def test_actor_of_another_kind_is_named_by_it(kind: str) -> None:
    mapped = event(entry(actor={"issuer": "https://id.example", "kind": kind, "source": "svc", "sub": "me"}))
    assert list(SCHEMA.iter_errors(mapped)) == []
    assert (mapped["actor"]["user"]["name"], mapped["actor"]["user"]["uid"]) == (kind, "me")
    assert mapped["actor"]["idp"] == {"name": kind, "uid": "https://id.example"}
    assert mapped["src_endpoint"] == {"name": kind, "uid": "svc"}
    assert "Bitbucket" not in json.dumps(mapped)


def test_attested_and_asserted_stay_apart() -> None:
    mapped = event(entry())
    assert mapped["src_endpoint"]["uid"] == STEP
    assert mapped["unmapped"]["asserted"] == {"service": "api", "environment": "production", "commit": "e" * 40}
    assert "production" not in json.dumps({**mapped, "unmapped": None, "raw_data": None, "message": None})
