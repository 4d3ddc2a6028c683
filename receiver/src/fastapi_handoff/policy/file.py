"""The policy's file: its model, from which the published JSON Schema is made, and what a mistake in it is told as."""

from __future__ import annotations

import json
import re
import tomllib
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, field_validator

SCHEMA_ID: Final = (
    "https://bitbucket.org/fastapi-handoff/fastapi-handoff/raw/main/receiver/src/fastapi_handoff/policy/policy.schema.json"
)

_UUID = r"^\{[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\}$"
Uuid = Annotated[str, StringConstraints(pattern=_UUID)]
Name = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]+$", max_length=200)]
Scope = Annotated[str, StringConstraints(pattern=r"^[\x21\x23-\x5b\x5d-\x7e]+$", max_length=200)]
Branch = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x20\x7f~^:\[\]\\]+$", max_length=255)]
Slug = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_-]+$", max_length=100)]

_EXPECTED: Final = {
    _UUID: "a UUID as Bitbucket writes it, in braces and lower case: `{01234567-89ab-cdef-0123-456789abcdef}`",
    r"^[a-z0-9_-]+$": "the workspace's slug, as in `https://bitbucket.org/<slug>`",
    r"^[^\x00-\x20\x7f~^:\[\]\\]+$": "a branch's name without `refs/heads/`, or a glob of `*`, `**` and `?`",
}


class PolicyError(ValueError):
    """A policy that cannot be used; the text has a line for each mistake: `file:line: key: what is wrong`."""


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class BitbucketTable(_Table):
    """Whose identity provider is trusted. Keys are fetched from this workspace's issuer only."""

    workspace: Slug = Field(description="The workspace's slug: it is part of the issuer's URL.")
    workspace_uuid: Uuid = Field(description="The workspace's immutable id: a slug can be renamed and taken over.")


class GrantTable(_Table):
    """Which steps, and what they may. The first grant that matches applies, alone."""

    name: Name = Field(description="Shown to the pipe's user and written to the audit; unique.")
    repository: Uuid = Field(description="The repository's immutable id.")
    environment: Uuid | None = Field(None, description="The deployment environment's id; absent: any, or none.")
    branch: Branch | None = Field(
        None, description="Exact, or a glob matched whole: `*` and `?` stop at a `/`, `**` does not; absent: any."
    )
    scopes: list[Scope] = Field(min_length=1, description="What a step may do, in your own words.")
    environment_name: Name | None = Field(
        None,
        description="The name an event's environment must have. Bitbucket attests the id only, so pin the name here.",
    )
    services: list[Name] | None = Field(None, min_length=1, description="The services an event may be about.")

    @field_validator("branch")
    @classmethod
    def _plain_branch(cls, value: str | None) -> str | None:
        if value is not None and value.startswith("refs/"):
            raise ValueError("is a branch's plain name, without `refs/heads/`")
        return value


class PolicyFile(_Table):
    """The policy of a receiver of handoffs from Bitbucket Pipelines."""

    bitbucket: BitbucketTable
    grants: list[GrantTable] = Field(min_length=1)

    @field_validator("grants")
    @classmethod
    def _unique_names(cls, grants: list[GrantTable]) -> list[GrantTable]:
        # A token carries its grant's name: two grants of one name would make it mean two things.
        names = [grant.name for grant in grants]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"have the name `{name}` twice: give each grant a name of its own")
        return grants


def json_schema() -> dict[str, Any]:
    """Give the published JSON Schema, made from the model."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA_ID,
        **PolicyFile.model_json_schema(),
    }


def schema_text() -> str:
    """Give the published JSON Schema as it is committed."""
    return json.dumps(json_schema(), indent=2) + "\n"


def read(raw: bytes, name: str) -> PolicyFile:
    """Parse and check a policy's bytes. `PolicyError` for every mistake in them, all at once."""
    try:
        text = raw.decode("utf-8")
        document = tomllib.loads(text)
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise PolicyError(f"{name}:{line}: is not UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        at = re.search(r" \(at line (\d+), column \d+\)$", str(error))
        line = int(at[1]) if at else text.count("\n") + 1
        raise PolicyError(f"{name}:{line}: is not TOML: {str(error).split(' (at ')[0]}") from None
    except RecursionError:
        raise PolicyError(f"{name}: is nested too deep") from None
    try:
        return PolicyFile.model_validate(document)
    except ValidationError as error:
        mistakes = [
            f"{name}:{_line(text, detail['loc'])}: {_key(detail['loc'])}: {_said(dict(detail))}"
            for detail in error.errors(include_url=False)
        ]
        raise PolicyError("\n".join(mistakes)) from None


def _key(location: tuple[int | str, ...]) -> str:
    key = ""
    for part in location:
        # Positions count from one, as people do.
        key += f"[{part + 1}]" if isinstance(part, int) else f".{part}" if key else part
    return f"`{key}`"


def _said(detail: dict[str, Any]) -> str:
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "extra_forbidden":
        return "is no key of a policy: remove it, or mend its spelling"
    if kind == "missing":
        return "is required"
    if kind == "string_pattern_mismatch":
        return f"is not {_EXPECTED.get(context['pattern'], 'text that fits ' + context['pattern'])}"
    if kind == "value_error":
        return str(context["error"])
    message: str = detail["msg"]
    return message[0].lower() + message[1:]


def _line(text: str, location: tuple[int | str, ...]) -> int:
    """Find the line of a key: tomllib does not tell. Where it cannot be found, the line of what encloses it."""
    lines = text.splitlines()
    table, position, key = location[0], next((part for part in location if isinstance(part, int)), None), location[-1]
    header = re.compile(r"\s*\[+\s*" + re.escape(str(table)) + r"\s*\]+")
    starts = [number for number, line in enumerate(lines) if header.match(line)]
    if not starts:
        return next((n for n, line in enumerate(lines, 1) if re.match(rf"\s*{re.escape(str(table))}\s*=", line)), 1)
    start = starts[min(position or 0, len(starts) - 1)]
    key = next((part for part in location[1:] if isinstance(part, str)), key)
    for number in range(start + 1, len(lines)):
        if lines[number].lstrip().startswith("["):
            break
        if re.match(rf"\s*[\"']?{re.escape(str(key))}[\"']?\s*=", lines[number]):
            return number + 1
    return start + 1


if __name__ == "__main__":
    print(schema_text(), end="")  # noqa: T201 - that is what it is run for
