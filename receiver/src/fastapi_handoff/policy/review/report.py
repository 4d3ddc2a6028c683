"""What the commands say to machines: one document, of which each command fills its part.

Every place is a line of the policy's file, every claim has our name for it, and a part that a command does not look at
is absent.
"""

from __future__ import annotations

import json
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field

REPORT_SCHEMA_ID: Final = (
    "https://bitbucket.org/fastapi-handoff/fastapi-handoff/raw/main"
    "/receiver/src/fastapi_handoff/policy/review/report.schema.json"
)


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ReportedFile(_Part):
    """A policy that was looked at."""

    file: str
    digest: str = Field(description="`sha-256:` and the hex of its bytes; audit records and tokens name it.")
    commit: str | None = Field(default=None, description="Of a base: the commit that it was read from.")


class ReportedCaller(_Part):
    """A caller who shows that something is so."""

    issuer: str = Field(description="The issuer's name in the policy.")
    claims: dict[str, str] = Field(description="What the issuer attests, by our names; what is not here is absent.")
    service: str | None = Field(
        default=None, description="What the event is about, where only that makes the difference."
    )
    environment_name: str | None = Field(default=None, description="Likewise.")
    default_audience: bool | None = Field(default=None, description="Whether its token is for the default audience.")


class ReportedChange(_Part):
    """Scopes that one policy gives to a caller and the other does not."""

    grant: str
    line: int = Field(
        description="Of the grant, in the policy that has it: a gain's in the head, a loss's in the base."
    )
    scopes: list[str]
    witness: ReportedCaller
    sentence: str
    allowed_by_test: str | None = Field(
        default=None, description="Of a gain: the test of the head that says it is meant."
    )


class ReportedFinding(_Part):
    """A leak that a lint rule found."""

    rule: str
    severity: Literal["error", "warning", "note"]
    line: int
    message: str
    grant: str | None = None
    witness: dict[str, str] | None = Field(default=None, description="Claims of a caller who shows it, by our names.")
    suppressed_because: str | None = Field(
        default=None, description="The reason in the policy's comment, if one allows it."
    )
    is_new: bool | None = Field(default=None, description="Whether the base does not have it; absent without a base.")


class ReportedTest(_Part):
    """One of the policy's tests."""

    name: str
    line: int
    passed: bool
    failures: list[str]


class ReportedGrant(_Part):
    """A grant, in words that need no parser of policies."""

    name: str
    line: int
    issuer: str
    kind: str
    match: dict[str, str] = Field(description="What must be attested, by the grant's keys; globs as they stand.")
    scopes: list[str]
    services: list[str] | None = None
    environment_name: str | None = None


class ReportedScope(_Part):
    """A scope: who has it, and what asks for it."""

    scope: str
    grants: list[str]
    needed_by: list[str] | None = Field(default=None, description="Routes and handlers; absent without `--app`.")


class ReportedReplay(_Part):
    """A decision of the audit that the policy would take otherwise."""

    seq: int
    time: str
    was: Literal["granted", "refused"]
    scopes: list[str]
    caller: dict[str, str]
    issuer: str
    reason: str


class Replayed(_Part):
    """The audit's decisions under the policy."""

    decisions: int
    unchanged: int
    undecided: int = Field(description="Refused for scopes that the audit does not name, or of an unknown issuer.")
    refused_now: int
    granted_now: int
    changes: list[ReportedReplay] = Field(description="The first of them; the counts are of all.")


class Report(_Part):
    """What a command of `fastapi-handoff policy` says."""

    version: Literal[1] = 1
    result: Literal["passed", "failed"]
    policy: ReportedFile
    base: ReportedFile | None = None
    gains: list[ReportedChange] | None = None
    losses: list[ReportedChange] | None = None
    unchanged: list[str] | None = Field(default=None, description="Grants that stand in both and say the same.")
    new_issuers: list[str] | None = None
    dropped_issuers: list[str] | None = None
    tests: list[ReportedTest] | None = None
    findings: list[ReportedFinding] | None = None
    grants: list[ReportedGrant] | None = None
    scopes: list[ReportedScope] | None = None
    replay: Replayed | None = None

    def text(self) -> str:
        """Return it as JSON. Absent parts are left out."""
        return json.dumps(self.model_dump(exclude_none=True), indent=2) + "\n"


def report_schema_text() -> str:
    """Return the JSON Schema of reports, as it is committed."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": REPORT_SCHEMA_ID,
        **Report.model_json_schema(),
    }
    return json.dumps(schema, indent=2) + "\n"
