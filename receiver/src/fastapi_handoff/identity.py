"""The identity: who called, as an issuer attests it, and what the policy made of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fastapi_handoff.issuers import KINDS, BitbucketStep

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from fastapi_handoff.issuers import Attested


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who called. All of it is attested by an issuer or decided by the policy; nothing is asserted by the caller."""

    issuer: str
    """The issuer's name in the policy."""
    issuer_url: str
    """Its `iss`."""
    kind: str
    """The kind of issuer: `bitbucket`."""
    subject: str
    """`sub`. Bitbucket's is another on every run of a step."""
    claims: Mapping[str, str] = field(hash=False)
    """The attested claims, by the names that records and receipts have for them; an absent claim is absent here."""
    scopes: frozenset[str]
    grant: str
    """The name of the policy's grant that applied."""
    policy: str
    """The digest of the policy the access token was made under: `sha-256:<hex>`."""

    @property
    def bitbucket(self) -> BitbucketStep:
        """The step of Bitbucket Pipelines that called. Raises `AttributeError` for a caller of another kind."""
        if self.kind != "bitbucket":
            raise AttributeError(f"this caller is no Bitbucket step, its issuer is of kind `{self.kind}`")
        return BitbucketStep(**{claim.name: self.claims.get(claim.name) for claim in KINDS[self.kind].claims})  # type: ignore[arg-type]

    @property
    def source(self) -> str:
        """The attested id of where this caller's events come from: of a Bitbucket step, its repository's UUID."""
        return source_of(self.kind, self.claims)

    def shown(self) -> dict[str, str | None]:
        """Return the attested claims that records and receipts show; `None` for one that is absent."""
        return _shown(self.kind, self.claims)

    def actor(self) -> dict[str, str | None]:
        """Return what an audit record says of this caller."""
        return _actor(self.issuer_url, self.kind, self.subject, self.claims)

    def to_json(self) -> dict[str, Any]:
        """Return what is stored with a receipt."""
        return {
            "issuer": self.issuer,
            "issuer_url": self.issuer_url,
            "kind": self.kind,
            "claims": dict(self.claims),
            "grant": self.grant,
            "policy": self.policy,
        }

    @classmethod
    def from_json(cls, members: Mapping[str, Any], subject: str, scopes: Iterable[str]) -> Identity:
        """Return the identity that `to_json` was called on."""
        return cls(**members, subject=subject, scopes=frozenset(scopes))


def source_of(kind: str, claims: Mapping[str, str]) -> str:
    """Return the attested id of where the events of such a caller come from."""
    return claims[KINDS[kind].source]


def attested_actor(attested: Attested) -> dict[str, str | None]:
    """Return what an audit record says of a caller who has no `Identity` yet."""
    return _actor(attested.issuer.url, attested.issuer.kind, attested.subject, attested.claims)


def _actor(issuer_url: str, kind: str, subject: str, claims: Mapping[str, str]) -> dict[str, str | None]:
    return {
        "issuer": issuer_url,
        "kind": kind,
        "source": source_of(kind, claims),
        "sub": subject,
        **_shown(kind, claims),
    }


def _shown(kind: str, claims: Mapping[str, str]) -> dict[str, str | None]:
    return {claim.name: claims.get(claim.name) for claim in KINDS[kind].claims if claim.shown}
