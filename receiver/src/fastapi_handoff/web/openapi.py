"""What the app's OpenAPI page says about the handoff's routes.

The routes read their requests themselves, sizes first, so FastAPI cannot find this out from their signatures.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from fastapi_handoff.events import EVENT_ID, PIPE_EVENTS
from fastapi_handoff.issuers import KINDS
from fastapi_handoff.request import CODES, EVENT_BODY_BYTES
from fastapi_handoff.web.token_request import ACCESS_TOKEN, FORM, GRANT_TYPE, SUBJECT_TOKEN_TYPES

if TYPE_CHECKING:
    from fastapi_handoff.issuers import Issuer

_TEXT: Final = {"type": "string"}
_TEXT_OR_NULL: Final = {"type": ["string", "null"]}


def _object(properties: dict[str, Any], *optional: str) -> dict[str, Any]:
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required}


def _identity(kind: type[Issuer]) -> dict[str, Any]:
    shown = {
        claim.name: {"description": claim.description, **(_TEXT if claim.required else _TEXT_OR_NULL)}
        for claim in kind.claims
        if claim.shown
    }
    own = {"issuer": {"description": "The issuer's `iss`.", **_TEXT}, "kind": {"const": kind.kind}}
    schema = _object({**own, **shown, "grant": _TEXT, "policy": _TEXT})
    # The claims that the policy names, if the kind has such.
    return {**schema, "additionalProperties": _TEXT} if kind.is_open else schema


_AUDIT: Final = _object({"seq": {"type": "integer"}, "hash": {"type": "string", "pattern": "^[0-9a-f]{64}$"}})
_CHECK: Final = _object(
    {"check": _TEXT, "expected": _TEXT_OR_NULL, "got": _TEXT_OR_NULL, "ok": {"type": "boolean"}, "grant": _TEXT},
    "grant",
)
_RECEIPT: Final = _object(
    {
        "id": _TEXT,
        "state": {"type": "string", "enum": ["running", "succeeded", "failed", "interrupted"]},
        "detail": _TEXT_OR_NULL,
        "result": {"description": "What the handler returned: any JSON."},
        "identity": {"oneOf": [_identity(kind) for kind in KINDS.values()]},
        "asserted": _object(
            {
                "type": _TEXT,
                "service": _TEXT,
                "environment": _TEXT_OR_NULL,
                "artifact_id": _TEXT_OR_NULL,
                "repository": _TEXT_OR_NULL,
                "commit": _TEXT_OR_NULL,
                "time": _TEXT,
            }
        ),
        "trace_id": _TEXT,
        "audit": _AUDIT,
    }
)
_TOKEN: Final = _object(
    {
        "access_token": _TEXT,
        "issued_token_type": {"const": ACCESS_TOKEN},
        "token_type": {"const": "DPoP"},
        "expires_in": {"type": "integer", "minimum": 0},
        "scope": _TEXT,
    }
)
_TOKEN_FORM: Final = _object(
    {
        "grant_type": {"const": GRANT_TYPE},
        "subject_token": {
            "type": "string",
            "description": "What an issuer gave the caller. In Bitbucket Pipelines: `$BITBUCKET_STEP_OIDC_TOKEN`.",
        },
        "subject_token_type": {"enum": list(SUBJECT_TOKEN_TYPES)},
        "requested_token_type": {"const": ACCESS_TOKEN},
        "resource": {"type": "string", "format": "uri", "description": "The receiver's URL."},
        "scope": {"type": "string", "description": "Scopes, separated by one space; absent: all that the grant gives."},
    },
    "scope",
)


def inlined(schema: Any, definitions: dict[str, Any]) -> Any:
    """Replace each `$ref` by what it names: `#/$defs/…` would be looked for at the root of the OpenAPI document."""
    if isinstance(schema, list):
        return [inlined(entry, definitions) for entry in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return inlined(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    return {name: inlined(value, definitions) for name, value in schema.items() if name != "$defs"}


def _event_schema() -> dict[str, Any]:
    schema = PIPE_EVENTS.json_schema()
    inline: dict[str, Any] = inlined(schema, schema["$defs"])
    return inline


def _refusal(codes: tuple[str, ...], *, at_token: bool) -> dict[str, Any]:
    common = {
        "code": {"type": "string", "enum": list(codes)},
        "trace": {"type": "array", "items": _CHECK},
        "trace_id": _TEXT,
        "audit": _AUDIT,
    }
    if at_token:
        errors = sorted({CODES[code].error for code in codes} | {"unsupported_grant_type"})
        return _object({"error": {"enum": errors}, "error_description": _TEXT, **common}, "audit")
    own = {"type": _TEXT, "title": _TEXT, "status": {"type": "integer"}, "detail": _TEXT}
    return _object({**own, **common}, "audit")


def _refusals(endpoint: str) -> dict[int | str, dict[str, Any]]:
    at_token = endpoint == "token"
    by_status: dict[int, tuple[str, ...]] = {}
    for name, code in CODES.items():
        if endpoint in code.at:
            # RFC 9449, section 5: at the token endpoint an invalid proof is a 400.
            status = 400 if at_token and name.startswith("proof-") else code.status
            by_status[status] = (*by_status.get(status, ()), name)
    media_type = "application/json" if at_token else "application/problem+json"
    return {
        status: {
            "description": "\n".join(f"- `{name}`: {CODES[name].title}" for name in names),
            "content": {media_type: {"schema": _refusal(names, at_token=at_token)}},
            "headers": _headers(status),
        }
        for status, names in sorted(by_status.items())
    }


def _headers(status: int) -> dict[str, Any]:
    names = {401: ["WWW-Authenticate"], 503: ["Retry-After"], 202: ["Location", "Retry-After"]}
    return {name: {"schema": _TEXT} for name in names.get(status, ())}


def _json(description: str, schema: dict[str, Any], status: int = 200) -> dict[str, Any]:
    return {
        "description": description,
        "content": {"application/json": {"schema": schema}},
        "headers": _headers(status),
    }


def _parameter(
    name: str, description: str, *, required: bool = True, where: str = "header", **schema: Any
) -> dict[str, Any]:
    return {
        "name": name,
        "in": where,
        "required": required,
        "description": description,
        "schema": {"type": "string", **schema},
    }


_RECEIPTS: Final[dict[int | str, dict[str, Any]]] = {
    200: _json("The receipt, in its final state.", _RECEIPT),
    202: _json("The receipt of an event whose handler still runs.", _RECEIPT, 202),
}
_DPOP: Final = _parameter("DPoP", "The proof (RFC 9449).", maxLength=4096)

TOKEN: Final[dict[str, Any]] = {
    "summary": "Exchange a subject token for an access token (RFC 8693)",
    "responses": {
        200: _json("The access token, bound to the proof's key.", _TOKEN),
        **_refusals("token"),
    },
    "openapi_extra": {
        "parameters": [_DPOP],
        "requestBody": {"required": True, "content": {FORM: {"schema": _TOKEN_FORM}}},
    },
}
EVENTS: Final[dict[str, Any]] = {
    "summary": "Deliver an event",
    "responses": {**_RECEIPTS, **_refusals("events")},
    "openapi_extra": {
        "security": [{"DPoP": []}],
        "parameters": [
            _DPOP,
            _parameter("Content-Digest", "RFC 9530, of the body as sent.", pattern="^sha-256=:[A-Za-z0-9+/]{43}=:$"),
            _parameter("webhook-id", "The event's id.", pattern=f"^{EVENT_ID.pattern}$"),
            _parameter("webhook-timestamp", "Whole seconds since 1970.", pattern="^[0-9]{1,12}$"),
            _parameter(
                "webhook-signature", "Standard Webhooks; required where the receiver has secrets.", required=False
            ),
        ],
        "requestBody": {
            "required": True,
            "description": f"At most {EVENT_BODY_BYTES} bytes.",
            "content": {PIPE_EVENTS.media_type: {"schema": _event_schema()}},
        },
    },
}
RECEIPT: Final[dict[str, Any]] = {
    "summary": "Ask what became of an event of this step",
    "responses": {
        **_RECEIPTS,
        **_refusals("receipt"),
    },
    "openapi_extra": {
        "parameters": [
            _DPOP,
            _parameter("event_id", "The event's id.", where="path", pattern=f"^{EVENT_ID.pattern}$"),
        ]
    },
}
KEYS: Final[dict[str, Any]] = {
    "summary": "The public keys of the access tokens",
    "responses": {
        200: _json("A JWK set.", _object({"keys": {"type": "array", "items": {"type": "object"}}})),
        **_refusals("keys"),
    },
}
_HEALTH: Final = _object(
    {
        "status": {"enum": ["ready", "unready"]},
        "checks": _object(
            {name: {"enum": ["ok", "warning", "failed"]} for name in ("store", "chain", "clock", "issuer_keys")}
        ),
    }
)
HEALTH: Final[dict[str, Any]] = {
    "summary": "Readiness: the issuer's keys, the store, the audit chain, its clock",
    "responses": {200: _json("Ready.", _HEALTH), 503: _json("Not ready.", _HEALTH, 503)},
}
