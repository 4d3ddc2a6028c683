"""The policy's file: the model of its TOML, from which the published JSON Schema is made.

The keys of a grant follow from the issuers' tables of claims. Bitbucket's stand in the grant itself; any kind's can
stand in `match`.
"""

from __future__ import annotations

import functools
import json
import operator
import re
import tomllib
from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any, Final

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    create_model,
    field_validator,
)

from fastapi_handoff.issuers import KINDS, Bitbucket, BitbucketSettings, IssuerSettings
from fastapi_handoff.policy.mistakes import PolicyError, mistakes_of, policy_error, said

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from fastapi_handoff.issuers import Claim
    from fastapi_handoff.policy.mistakes import Location

SCHEMA_ID: Final = (
    "https://bitbucket.org/fastapi-handoff/fastapi-handoff/raw/main"
    "/receiver/src/fastapi_handoff/policy/policy.schema.json"
)

FILE_BYTES: Final = 500_000
"""A policy of thousands of grants is smaller; what is larger would only keep a reviewer's machine busy."""
_LINE_CHARACTERS: Final = 4096
_KEY_DOTS: Final = 200
"""`tomllib` takes the square of a dotted key's length: one of a megabyte keeps it busy for an hour."""

Name = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]+$", max_length=200)]
Scope = Annotated[str, StringConstraints(pattern=r"^[\x21\x23-\x5b\x5d-\x7e]+$", max_length=200)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class _Named(_Table):
    name: Name
    issuer: str | None = None


class _GrantTable(_Named):
    """Which callers, and what they may. The first grant that matches applies, alone."""

    name: Name = Field(description="Shown to the pipe's user and written to the audit; unique.")
    issuer: str | None = Field(None, description="The name of the issuer; absent: the first one.")
    match: dict[str, str] = Field(
        default_factory=dict, description="What the issuer must attest, by the names that its kind has for it."
    )
    scopes: list[Scope] = Field(min_length=1, description="What a caller may do, in your own words.")
    environment_name: Name | None = Field(
        None,
        description="The name an event's environment must have. Bitbucket attests the id only, so pin the name here.",
    )
    services: list[Name] | None = Field(None, min_length=1, description="The services an event may be about.")
    default_audience: bool = Field(
        default=False,
        description="Whether a token with Bitbucket's default audience will do. It is the same for every service that "
        "the workspace talks to, and each of them could use the token here.",
    )


def _matchable(table: Iterable[Claim]) -> dict[str, Claim]:
    """Return the claims of a table that a grant can ask for, by the key that asks."""
    return {claim.match: claim for claim in table if claim.match is not None}


_SHORT_KEYS: Final = _matchable(Bitbucket.claims)
_SHORT_FIELDS: Final[dict[str, Any]] = {
    key: (claim.value | None, Field(None, description=claim.description)) for key, claim in _SHORT_KEYS.items()
}
if TYPE_CHECKING:
    GrantTable = _GrantTable
else:
    GrantTable = create_model("GrantTable", __base__=_GrantTable, __doc__=_GrantTable.__doc__, **_SHORT_FIELDS)


class TestTable(_Named):
    """A caller, and what it must or must not get. It runs whenever the policy is loaded."""

    name: Name = Field(description="What must stay true, in your words; unique.")
    issuer: str | None = Field(None, description="The name of the issuer; absent: the first one.")
    claims: dict[str, str] = Field(
        description="What the issuer attests, by the keys that grants have for it; what is not here is absent."
    )
    allow: list[Scope] = Field(default_factory=list, description="Scopes that the caller must get, each by itself.")
    deny: list[Scope] = Field(default_factory=list, description="Scopes that the caller must not get.")


_ANY_KIND: Any = functools.reduce(operator.or_, (kind.settings for kind in KINDS.values()))
if TYPE_CHECKING:
    AnyIssuer = IssuerSettings
else:
    AnyIssuer = Annotated[_ANY_KIND, Field(discriminator="kind")]


class PolicyFile(_Table):
    """The policy of a receiver of handoffs."""

    bitbucket: BitbucketSettings | None = Field(None, description="Short form of the first issuer.")
    issuers: list[AnyIssuer] = Field(default_factory=list, description="Whose identities are trusted.")
    grants: list[GrantTable] = Field(min_length=1)
    tests: list[TestTable] = Field(default_factory=list, description="What must stay true of this policy.")

    @field_validator("grants", "tests")
    @classmethod
    def _unique_names(cls, tables: list[_Named]) -> list[_Named]:
        # A token carries its grant's name: two grants of one name would make it mean two things.
        for name, count in Counter(table.name for table in tables).items():
            if count > 1:
                raise ValueError(f"have the name `{name}` twice: give each a name of its own")
        return tables

    def all_issuers(self) -> list[IssuerSettings]:
        """Return the issuers, the short form first."""
        return [*([] if self.bitbucket is None else [self.bitbucket]), *self.issuers]


def table_of(settings: IssuerSettings) -> tuple[Claim, ...]:
    """Return the claims that an issuer can attest."""
    return KINDS[settings.kind].table_of(settings)


def asked_for(grant: _GrantTable) -> dict[str, str]:
    """Return what a grant asks of attested claims, by the keys of its issuer's kind."""
    short = {key: getattr(grant, key) for key in _SHORT_KEYS}
    return {**grant.match, **{key: value for key, value in short.items() if value is not None}}


def read(raw: bytes, name: str) -> PolicyFile:
    """Parse and check a policy's bytes. Raises `PolicyError` with every mistake that can be seen at once.

    `name` is what the messages call the file.
    """
    if len(raw) > FILE_BYTES:
        raise PolicyError(f"{name}: is larger than {FILE_BYTES} bytes")
    try:
        text = raw.decode("utf-8")
        _require_short_lines(text, name)
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
        return _checked(document, name, text)
    except RecursionError:
        raise PolicyError(f"{name}: is nested too deep") from None


def _require_short_lines(text: str, name: str) -> None:
    for number, line in enumerate(text.split("\n"), 1):
        if len(line) > _LINE_CHARACTERS:
            raise PolicyError(f"{name}:{number}: is longer than {_LINE_CHARACTERS} characters")
        if max(part.count(".") for part in line.split("=")) > _KEY_DOTS and not line.lstrip().startswith("#"):
            raise PolicyError(f"{name}:{number}: has a key or a value of more than {_KEY_DOTS} dots")


def _checked(document: dict[str, Any], name: str, text: str) -> PolicyFile:
    try:
        parsed = PolicyFile.model_validate(document)
    except ValidationError as error:
        raise policy_error(name, text, [*_no_issuer(document), *mistakes_of(error)]) from None
    if mistakes := [*_no_issuer(document)] or [*_contradictions(parsed)]:
        raise policy_error(name, text, mistakes)
    return parsed


def _no_issuer(document: dict[str, Any]) -> Iterator[tuple[Location, str]]:
    if not document.get("bitbucket") and not document.get("issuers"):
        yield ("bitbucket",), "is required, or a table of `[[issuers]]`"


def _contradictions(parsed: PolicyFile) -> Iterator[tuple[Location, str]]:
    """Find what is wrong between the tables: issuers that are not there, and keys that their kind does not know."""
    issuers = parsed.all_issuers()
    names = [issuer.name for issuer in issuers]
    counts = Counter(names)
    for position, issuer in enumerate(parsed.issuers):
        if counts[issuer.name] > 1:
            yield ("issuers", position, "name"), f"`{issuer.name}` is the name of two issuers: give each its own"
    yield from _same_issuers(parsed)
    by_name = dict(zip(names, issuers, strict=True))
    tables: list[tuple[str, int, GrantTable | TestTable]] = [
        *(("grants", position, grant) for position, grant in enumerate(parsed.grants)),
        *(("tests", position, test) for position, test in enumerate(parsed.tests)),
    ]
    for section, position, table in tables:
        settings = issuers[0] if table.issuer is None else by_name.get(table.issuer)
        if settings is None:
            known = ", ".join(f"`{name}`" for name in names)
            yield (section, position, "issuer"), f"is no issuer of this policy: expected one of {known}"
            continue
        found = _test_mistakes(table, settings) if isinstance(table, TestTable) else _grant_mistakes(table, settings)
        for key, what in found:
            yield (section, position, *key), what


def _same_issuers(parsed: PolicyFile) -> Iterator[tuple[Location, str]]:
    """Find issuers that are there under two names: nobody could say which grants a token of theirs is for."""
    seen: dict[tuple[str, str], str] = {}
    for position, settings in enumerate(parsed.all_issuers(), start=len(parsed.issuers) - len(parsed.all_issuers())):
        key = "workspace" if settings.kind == Bitbucket.kind else "issuer"
        other = seen.setdefault((key, getattr(settings, key)), settings.name)
        if other != settings.name:
            yield ("issuers", position, key), f"is the same one as that of `{other}`: give all grants to one of them"


def _grant_mistakes(grant: _GrantTable, settings: IssuerSettings) -> Iterator[tuple[Location, str]]:
    kind, matchable = settings.kind, _matchable(table_of(settings))
    if grant.default_audience and kind != Bitbucket.kind:
        yield ("default_audience",), f"is about Bitbucket's tokens: those of a `{kind}` issuer have no default audience"
    for key in _SHORT_KEYS:
        if getattr(grant, key) is not None:
            if key in grant.match:
                yield ("match", key), f"is given twice: once as `{key}`"
            if kind != Bitbucket.kind:
                yield (key,), f"is a key of Bitbucket's grants: one of a `{kind}` issuer has `match`"
    yield from _value_mistakes("match", grant.match, settings)
    asked = asked_for(grant)
    for key, claim in matchable.items():
        if claim.pinned and key not in asked:
            yield (key,) if key in _SHORT_KEYS else ("match", key), "is required"


def _test_mistakes(test: TestTable, settings: IssuerSettings) -> Iterator[tuple[Location, str]]:
    yield from _value_mistakes("claims", test.claims, settings)
    for key, claim in _matchable(table_of(settings)).items():
        # Without the immutable id, no grant could match, and every `deny` would hold of any policy at all.
        if claim.pinned and key not in test.claims:
            yield ("claims", key), "is required"
        if claim.is_pattern and any(wildcard in test.claims.get(key, "") for wildcard in "*?"):
            yield ("claims", key), "is what one caller has, so no glob: name one that fits"
    if not test.allow and not test.deny:
        yield ("allow",), "or `deny` is required: a test that asks for nothing cannot fail"


def _value_mistakes(table: str, values: dict[str, str], settings: IssuerSettings) -> Iterator[tuple[Location, str]]:
    """Find keys of a table that the kind of issuer does not know, and values that it would never attest."""
    matchable = _matchable(table_of(settings))
    for key, value in values.items():
        if key not in matchable:
            known = ", ".join(f"`{each}`" for each in matchable)
            yield (table, key), f"is nothing that a `{settings.kind}` issuer attests: expected one of {known}"
            continue
        try:
            TypeAdapter(matchable[key].value).validate_python(value, strict=True)
        except ValidationError as error:
            yield (table, key), said(dict(error.errors(include_url=False)[0]))


def schema_text() -> str:
    """Return the published JSON Schema, made from the model, as it is committed."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA_ID,
        **PolicyFile.model_json_schema(),
    }
    return json.dumps(schema, indent=2) + "\n"
