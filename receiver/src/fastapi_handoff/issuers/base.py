"""What the receiver needs to know of a kind of identity provider: one table of claims, and a few rules.

A kind is a subclass of `Issuer`; an instance is one issuer that the policy trusts. Everything that lists claims
elsewhere (identities, audit records, receipts, the OpenAPI page, the keys of a grant) is made from `Issuer.claims`.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fastapi_handoff.jose import Jws

IssuerName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]*$", max_length=100)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One claim of a kind of issuer, and every use that is made of it. Values are text."""

    claim: str
    """Its name in the issuer's tokens."""
    name: str = ""
    """Its name everywhere in this package."""
    description: str
    required: bool = True
    """Whether a token without it is refused."""
    match: str | None = None
    """The key of a grant that asks for it; `None` where no grant can."""
    value: Any = str
    """The type that pydantic checks a grant's value with."""
    is_pattern: bool = False
    """Whether a grant may ask for it with a glob."""
    pinned: bool = False
    """Whether every grant must ask for it: an immutable id, without which a recycled name would let a stranger in."""
    shown: bool = True
    """Whether records and receipts have it."""


def claims_of(view: type[Any]) -> tuple[Claim, ...]:
    """Return the table of claims that stands in a dataclass: a field for each, `Annotated` with its `Claim`."""
    table = []
    for name, hint in get_type_hints(view, include_extras=True).items():
        claim = next(entry for entry in hint.__metadata__ if isinstance(entry, Claim))
        table.append(Claim(**{**{slot: getattr(claim, slot) for slot in Claim.__slots__}, "name": name}))
    return tuple(table)


class IssuerSettings(BaseModel):
    """The keys that every kind of issuer has in the policy."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    name: IssuerName = Field(description="What grants call it; unique.")
    kind: str = Field(description="The kind of issuer.")


class Issuer:
    """One identity provider that the policy trusts.

    Nothing here verifies anything: `subject_token.verify` does, for all kinds, by what stands here.
    """

    kind: ClassVar[str]
    claims: ClassVar[tuple[Claim, ...]]
    """The closed table: a claim that is not in it is never read."""
    view: ClassVar[type[Any] | None] = None
    """The dataclass that `claims` was made from, if it was; handlers get it."""
    source: ClassVar[str]
    """Our name of the claim that tells one source of events from another: an immutable id.

    It is part of a receipt's key, so that the events of two callers never meet.
    """
    algorithms: ClassVar[frozenset[str]]
    """The JWS algorithms its tokens may be signed with. The token does not choose."""
    replay_claim: ClassVar[str | None] = None
    """The claim that makes a token the only one of its kind (`jti`); `None` where there is none: its signing input."""
    max_lifetime: ClassVar[int | None] = None
    """Seconds from `iat` to `exp`, at most; `None` where the provider publishes no lifetime."""
    settings: ClassVar[type[IssuerSettings]]
    """Its table in the policy. Each kind's has a member `kind` with its own name as the only value."""

    def __init__(self, name: str, url: str, keys_url: str, *, expected: Mapping[str, str]) -> None:
        self.name = name
        self.url = url
        """The exact `iss` of its tokens, compared as text."""
        self.keys_url = keys_url
        """Where its keys are: configured, never taken from a token."""
        self.expected = expected
        """Claims, by the issuer's own names, that every one of its tokens must have with exactly this value."""

    @classmethod
    def from_settings(cls, settings: Any, bitbucket_url: str) -> Issuer:
        """Return the issuer that a table of the policy names. `bitbucket_url` is where Bitbucket's API is."""
        raise NotImplementedError

    def flat(self, claims: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a token's claims by the names in the table. A kind whose claims are nested brings them up here."""
        return claims

    def replay_key(self, token: Jws) -> str:
        """Return what a subject token is bound to a key by.

        Never its whole text, whose signature part could be spelled in two ways: each would be a token of its own.
        """
        if self.replay_claim is not None:
            return str(token.claims[self.replay_claim])
        return sha256(token.signing_input).hexdigest()
