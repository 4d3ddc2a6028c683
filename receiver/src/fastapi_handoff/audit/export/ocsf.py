"""Audit records as events of the Open Cybersecurity Schema Framework, class API Activity (https://schema.ocsf.io)."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from typing import Any, Final

OCSF_VERSION: Final = "1.8.0"
CATEGORY_UID: Final = 6
CLASS_UID: Final = 6003
PRODUCT: Final = "fastapi-handoff"

# activity_id by the method of the request; what no method names is 99, Other.
ACTIVITIES: Final = {"POST": (1, "Create"), "GET": (2, "Read"), "PUT": (3, "Update"), "PATCH": (3, "Update")} | {
    "DELETE": (4, "Delete")
}
OTHER: Final = 99
SERVICE: Final = (4, "Service")
UNKNOWN: Final = (0, "Unknown")
# status_id and severity_id by decision. A refusal is an attempt that somebody should look at; a failed run is not.
SUCCESS, FAILURE = (1, "Success"), (2, "Failure")
INFORMATIONAL, LOW, MEDIUM, HIGH = (1, "Informational"), (2, "Low"), (3, "Medium"), (4, "High")
OUTCOMES: Final = {
    "accepted": (SUCCESS, INFORMATIONAL),
    "succeeded": (SUCCESS, INFORMATIONAL),
    "failed": (FAILURE, LOW),
    "interrupted": (FAILURE, LOW),
    "refused": (FAILURE, MEDIUM),
    # The chain lost what a process had written.
    "found": (FAILURE, HIGH),
}


@dataclass(frozen=True, slots=True)
class Kind:
    """How actors of one kind of issuer are named. `session` and `endpoint` are names of attested claims."""

    user: str
    idp: str
    session: str | None = None
    endpoint: str | None = None


KINDS: Final = {"bitbucket": Kind("Bitbucket Pipelines step", "Bitbucket Pipelines", "pipeline_uuid", "step_uuid")}
"""An actor of any other kind is named by the kind itself, and its endpoint by its source."""


def line(record: dict[str, Any], stored: bytes) -> bytes:
    """Return the event of a record as one line of ASCII."""
    return json.dumps(api_activity(record, stored)).encode()


def api_activity(record: dict[str, Any], stored: bytes) -> dict[str, Any]:
    """Return the event of a record. Its bytes and their hash travel along: it can be traced back to the chain."""
    digest = hashlib.sha256(stored).hexdigest()
    method, _, path = (record["resource"] or "").partition(" ")
    activity_id, activity = ACTIVITIES.get(method, (OTHER, record["action"]))
    decision = record["decision"]
    (status_id, status), (severity_id, severity) = OUTCOMES.get(decision, ((OTHER, decision), INFORMATIONAL))
    event: dict[str, Any] = {
        "category_uid": CATEGORY_UID,
        "category_name": "Application Activity",
        "class_uid": CLASS_UID,
        "class_name": "API Activity",
        "activity_id": activity_id,
        "activity_name": activity,
        "type_uid": CLASS_UID * 100 + activity_id,
        "type_name": f"API Activity: {activity}",
        "time": int(datetime.fromisoformat(record["time"]).timestamp() * 1000),
        "severity_id": severity_id,
        "severity": severity,
        "status_id": status_id,
        "status": status,
        "status_code": record["code"],
        "message": f"{record['action']} {decision}",
        "metadata": {
            "version": OCSF_VERSION,
            "product": {"name": PRODUCT, "vendor_name": PRODUCT, "version": version(PRODUCT)},
            "uid": digest,
            "sequence": record["seq"],
            "correlation_uid": record["trace_id"],
            "original_time": record["time"],
            "log_name": "audit",
        },
        **_who(record["actor"]),
        "api": {
            "operation": record["action"],
            "service": {"name": PRODUCT},
            "request": {"uid": record["event_id"] or digest},
            "response": {"error": record["code"], "message": decision},
        },
        "http_request": {"http_method": method, "url": {"path": path}} if path else None,
        "raw_data": stored.decode(),
        "raw_data_hash": {"algorithm_id": 3, "algorithm": "SHA-256", "value": digest},
        # Attested and asserted stay apart here as they do in the record.
        "unmapped": {
            "attested": record["actor"],
            "asserted": record["asserted"],
            "grant": record["grant"],
            "policy": record["policy"],
            "event_digest": record["event_digest"],
            "outcome": record["outcome"],
            "prev_hash": record["prev_hash"],
        },
    }
    present: dict[str, Any] = _present(event)
    return present


def _who(actor: dict[str, Any] | None) -> dict[str, Any]:
    # Addresses are personal data and are not recorded, so the endpoint is named by what ran on it.
    if not actor:
        user = {"name": "unauthenticated", "type_id": UNKNOWN[0], "type": UNKNOWN[1]}
        return {"actor": {"user": user}, "src_endpoint": {"name": "unknown"}}
    named = _id(actor, "kind") or "unknown"
    kind = KINDS.get(named, Kind(user=named, idp=named))
    return {
        "actor": {
            "user": {"name": kind.user, "uid": _id(actor, "sub"), "type_id": SERVICE[0], "type": SERVICE[1]},
            "session": {"uid": _id(actor, kind.session)} if kind.session else None,
            "idp": {"name": kind.idp, "uid": _id(actor, "issuer")},
        },
        "src_endpoint": {"name": kind.idp, "uid": _id(actor, kind.endpoint or "source")},
    }


def _id(actor: dict[str, Any], name: str) -> str | None:
    value = actor.get(name)
    return value if isinstance(value, str) else None


def _present(value: Any) -> Any:
    """Leave out what is absent: OCSF has no nulls."""
    if isinstance(value, dict):
        return {name: _present(member) for name, member in value.items() if member is not None}
    return value
