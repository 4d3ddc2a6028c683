"""Okta: the access tokens of a custom authorization server, given to a service, and to a person only where allowed.

https://developer.okta.com/docs/reference/api/oidc/#access-token
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, StringConstraints, field_validator

from fastapi_handoff.issuers.base import Claim, Issuer, IssuerSettings, IssuerUrl, Text, claims_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fastapi_handoff.request import Checks

Scopes = Annotated[str, StringConstraints(pattern=r"^[\x21\x23-\x5b\x5d-\x7e]+( [\x21\x23-\x5b\x5d-\x7e]+)*$")]


@dataclass(frozen=True, slots=True, kw_only=True)
class OktaClient:
    """An application that Okta knows, or a person who uses it."""

    cid: Annotated[
        str, Claim(claim="cid", description="The application's client id.", match="cid", value=Text, pinned=True)
    ]
    scp: Annotated[
        str | None,
        Claim(
            claim="scp",
            description="Scopes that Okta gave, separated by spaces; a grant's must be among them.",
            required=False,
            match="scp",
            value=Scopes,
            is_list=True,
        ),
    ]
    uid: Annotated[
        str | None,
        Claim(
            claim="uid",
            description="The immutable id of the person; absent in the token of a service.",
            required=False,
            match="uid",
            value=Text,
        ),
    ]


class OktaSettings(IssuerSettings):
    """A custom authorization server of an Okta organisation."""

    kind: Literal["okta"]
    issuer: IssuerUrl = Field(description="Its issuer URI: `https://{org}/oauth2/{id}`.")
    users: bool = Field(default=False, description="Whether tokens that were given to a person will do.")
    max_lifetime: int = Field(
        3600, ge=1, le=86400, description="Seconds that its access tokens may live; Okta's default is an hour."
    )

    @field_validator("issuer")
    @classmethod
    def _custom_server(cls, value: str) -> str:
        _, found, server = value.partition("/oauth2/")
        if not found or not server or "/" in server:
            # Tokens of the organisation's own server are for Okta's API, and their form is not promised.
            raise ValueError("is no custom authorization server's issuer URI: `https://{org}/oauth2/{id}`")
        return value


class Okta(Issuer):
    """A custom authorization server."""

    kind = "okta"
    claims = claims_of(OktaClient)
    source = "cid"
    algorithms = frozenset({"RS256"})
    types = frozenset({""})
    subject_token_type = "access_token"  # noqa: S105 - the name of a type
    replay_claim = "jti"
    settings = OktaSettings
    audience_advice = "set it as the audience of the authorization server"

    users = False

    @classmethod
    def from_settings(cls, settings: OktaSettings, bitbucket_url: str) -> Okta:  # noqa: ARG003 - of another kind
        """Return the issuer of an authorization server."""
        issuer = cls(settings, settings.issuer, f"{settings.issuer}/v1/keys", expected={})
        issuer.users = settings.users
        issuer.max_lifetime = settings.max_lifetime
        return issuer

    def admit(self, claims: Mapping[str, str], checks: Checks) -> None:
        """Refuse the token of a person where only services are let in. Raises `Refusal`: `user-token-not-taken`."""
        uid = claims.get("uid")
        if uid is not None and not self.users:
            raise checks.refuse(
                "uid",
                None,
                uid,
                "user-token-not-taken",
                f"the token was given to a person, and the issuer `{self.name}` is trusted for services only",
            )
        checks.passed("uid", uid)
