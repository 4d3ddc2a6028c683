"""What the receiver needs to know of a kind of identity provider: one table of claims, and a few rules.

A kind is a subclass of `Issuer`; an instance is one issuer that the policy trusts. Everything that lists claims
elsewhere (identities, audit records, receipts, the OpenAPI page, the keys of a grant) is made from the kind's table.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Literal, get_type_hints

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from fastapi_handoff.request import require_transport

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fastapi_handoff.jose import Jws
    from fastapi_handoff.request import Checks

Text = Annotated[str, StringConstraints(min_length=1, max_length=500)]
"""The value of a claim that has no form of its own."""
SubjectTokenType = Literal["id_token", "access_token", "jwt"]
"""The last word of RFC 8693's `urn:ietf:params:oauth:token-type:…`."""


def _plain_url(value: str) -> str:
    require_transport(value, "this URL")
    return value


IssuerUrl = Annotated[
    str, StringConstraints(pattern=r"^https?://[!-\"$->@-~]+$", max_length=500), AfterValidator(_plain_url)
]
"""An absolute URL without query and fragment. It is compared as text: nothing about it is made normal."""
IssuerName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]*$", max_length=100)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One claim of a kind of issuer, and every use that is made of it. Values are text, or lists of text."""

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
    is_list: bool = False
    """Whether the token has a list of words. They are kept as one text; a grant's words must be among them."""
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
    mode: Literal["enforce", "audit", "off"] = Field(
        "enforce", description="`audit`: judged and recorded, but no token is made; `off`: not trusted at all."
    )
    audience: str | None = Field(
        None,
        pattern=r"^[\x21-\x7e]+$",
        max_length=500,
        description="What its tokens must be meant for; absent: the receiver's URL.",
    )


class Issuer:
    """One identity provider that the policy trusts.

    Nothing here verifies anything: `subject_token.verify` does, for all kinds, by what stands here. What depends on
    the kind alone is an attribute of the class; a kind whose settings decide more sets it on the instance.
    """

    kind: ClassVar[str]
    settings: ClassVar[type[IssuerSettings]]
    """Its table in the policy. Each kind's has a member `kind` with its own name as the only value."""
    claims: ClassVar[tuple[Claim, ...]] = ()
    """The table that all issuers of the kind share."""
    is_open: ClassVar[bool] = False
    """Whether an issuer's settings add claims to the kind's table."""
    source: str
    """Our name of the claim that tells one source of events from another: an immutable id.

    It is part of a receipt's key, so that the events of two callers never meet.
    """
    algorithms: frozenset[str]
    """The JWS algorithms its tokens may be signed with. The token does not choose."""
    types: frozenset[str] | None = frozenset({"jwt", ""})
    """The `typ` that its tokens' headers may have, as `media_type` returns it; empty text: none.

    `None` where the provider does not say: any but those of this package's own tokens and proofs.
    """
    subject_token_type: SubjectTokenType
    """What its tokens are to the token endpoint, so that one of another use does not pass for them."""
    replay_claim: str | None = None
    """The claim that makes a token the only one of its kind (`jti`); `None` where there is none: its signing input."""
    max_lifetime: int | None = None
    """Seconds from `iat` to `exp`, at most; `None` where the provider publishes no lifetime."""
    default_audience: str | None = None
    """An audience that all services of a tenant share. Only a grant that says so takes it."""
    is_shared: bool = False
    """Whether strangers get tokens of the same issuer, so that a token which verifies makes nobody an acquaintance."""
    audience_advice: ClassVar[str] = "ask the issuer for a token with that audience"

    def __init__(self, settings: IssuerSettings, url: str, keys_url: str, *, expected: Mapping[str, str]) -> None:
        self.name = settings.name
        self.mode = settings.mode
        self.audience = settings.audience
        """What its tokens must be meant for; `None`: the receiver's URL."""
        self.table = self.table_of(settings)
        """The closed table: a claim that is not in it is never read."""
        self.url = url
        """The exact `iss` of its tokens, compared as text."""
        self.keys_url = keys_url
        """Where its keys are: configured, never taken from a token."""
        self.expected = expected
        """Claims, by the issuer's own names, that every one of its tokens must have with exactly this value."""

    def has_attested(self, claims: Mapping[str, str], source: str) -> bool:
        """Return whether this issuer, as the policy has it now, could have attested claims, by our names."""
        pinned = {claim.name: self.expected[claim.claim] for claim in self.claims if claim.claim in self.expected}
        return claims.get(self.source) == source and all(claims.get(name) == value for name, value in pinned.items())

    @classmethod
    def from_settings(cls, settings: Any, bitbucket_url: str) -> Issuer:
        """Return the issuer that a table of the policy names. `bitbucket_url` is where Bitbucket's API is."""
        raise NotImplementedError

    @classmethod
    def table_of(cls, settings: Any) -> tuple[Claim, ...]:  # noqa: ARG003 - for kinds whose settings add claims
        """Return the claims that an issuer with these settings can attest."""
        return cls.claims

    @classmethod
    def fits(cls, claims: Mapping[str, str]) -> bool:
        """Return whether claims, by our names, are what some issuer of this kind can have attested."""
        required = {claim.name for claim in cls.claims if claim.required}
        return required <= claims.keys() and (cls.is_open or claims.keys() <= {claim.name for claim in cls.claims})

    @classmethod
    def shown(cls, claims: Mapping[str, str]) -> dict[str, str | None]:
        """Return the claims that records and receipts have; `None` for one of the kind's that is absent."""
        known = {claim.name: claims.get(claim.name) for claim in cls.claims if claim.shown}
        hidden = {claim.name for claim in cls.claims}
        return known | {name: value for name, value in claims.items() if name not in hidden}

    def flat(self, claims: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a token's claims by the names in the table. A kind whose claims are nested brings them up here."""
        return claims

    def asserted(self, claims: Mapping[str, Any]) -> Mapping[str, Any] | None:  # noqa: ARG002 - for kinds that have some
        """Return what the caller itself had put into a token, for the record only; `None` where there is nothing."""
        return None

    def admit(self, claims: Mapping[str, str], checks: Checks) -> None:
        """Apply the kind's own rules to attested claims, by our names. Raises `Refusal`."""

    def replay_key(self, token: Jws) -> str:
        """Return what a subject token is bound to a key by.

        Never its whole text, whose signature part could be spelled in two ways: each would be a token of its own.
        """
        if self.replay_claim is not None:
            return str(token.claims[self.replay_claim])
        return sha256(token.signing_input).hexdigest()


_APPLICATION: Final = "application/"


def media_type(typ: str) -> str:
    """Return a header's `typ` in its one form: lower case, without `application/` (RFC 7515, section 4.1.9)."""
    return typ.lower().removeprefix(_APPLICATION)
