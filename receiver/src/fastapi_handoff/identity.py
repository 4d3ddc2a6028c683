"""The identity: who called, as an issuer attests it, and what the policy made of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from fastapi_handoff.issuers import KINDS, AwsRole, BitbucketStep, OktaClient

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from fastapi_handoff.issuers import Attested

View = TypeVar("View")


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who called. All of it is attested by an issuer or decided by the policy; nothing is asserted by the caller."""

    issuer: str
    """The issuer's name in the policy."""
    issuer_url: str
    """Its `iss`."""
    kind: str
    """The kind of issuer: `bitbucket`, `aws`, `okta` or `oidc`."""
    subject: str
    """`sub`. Bitbucket's is another on every run of a step."""
    source: str
    """The attested id of where this caller's events come from: of a Bitbucket step, its repository's UUID."""
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
        return self._viewed("bitbucket", BitbucketStep)

    @property
    def aws(self) -> AwsRole:
        """The AWS role that called. Raises `AttributeError` for a caller of another kind."""
        return self._viewed("aws", AwsRole)

    @property
    def okta(self) -> OktaClient:
        """The application that called, as Okta knows it. Raises `AttributeError` for a caller of another kind."""
        return self._viewed("okta", OktaClient)

    def _viewed(self, kind: str, view: type[View]) -> View:
        if self.kind != kind:
            raise AttributeError(f"this caller's issuer is of kind `{self.kind}`, not `{kind}`")
        return view(**{claim.name: self.claims.get(claim.name) for claim in KINDS[kind].claims})

    def shown(self) -> dict[str, str | None]:
        """Return the attested facts that a receipt shows; `None` for a claim of the kind's that is absent."""
        return {"issuer": self.issuer_url, "kind": self.kind, **KINDS[self.kind].shown(self.claims)}

    def actor(self) -> dict[str, str | None]:
        """Return what an audit record says of this caller."""
        return _actor(self.issuer_url, self.kind, self.source, self.subject, self.claims)

    def to_json(self) -> dict[str, Any]:
        """Return what is stored with a receipt."""
        return {
            "issuer": self.issuer,
            "issuer_url": self.issuer_url,
            "kind": self.kind,
            "source": self.source,
            "claims": dict(self.claims),
            "grant": self.grant,
            "policy": self.policy,
        }

    @classmethod
    def from_json(cls, members: Mapping[str, Any], subject: str, scopes: Iterable[str]) -> Identity:
        """Return the identity that `to_json` was called on."""
        return cls(**members, subject=subject, scopes=frozenset(scopes))


def attested_actor(attested: Attested) -> dict[str, str | None]:
    """Return what an audit record says of a caller who has no `Identity` yet."""
    issuer = attested.issuer
    return _actor(issuer.url, issuer.kind, attested.source, attested.subject, attested.claims)


def _actor(issuer_url: str, kind: str, source: str, subject: str, claims: Mapping[str, str]) -> dict[str, str | None]:
    return {"issuer": issuer_url, "kind": kind, "source": source, "sub": subject, **KINDS[kind].shown(claims)}
