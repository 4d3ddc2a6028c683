"""AWS IAM: the outbound identity federation of one account. A role asks STS for a token (`GetWebIdentityToken`).

https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_providers_outbound_token_claims.html
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import Field, StringConstraints

from fastapi_handoff.issuers.base import Claim, Issuer, IssuerSettings, IssuerUrl, Text, claims_of

if TYPE_CHECKING:
    from collections.abc import Mapping

NAMESPACE: Final = "https://sts.amazonaws.com/"
"""The member of a token that holds what AWS attests."""
_TAGS: Final = "principal_tags"
_REQUEST_TAGS: Final = "request_tags"

Account = Annotated[str, StringConstraints(pattern=r"^[0-9]{12}$")]
RoleArn = Annotated[
    str, StringConstraints(pattern=r"^arn:aws[a-z-]*:iam::[0-9]{12}:role/[\w+=,.@/-]+$", max_length=500)
]
TagKey = Annotated[str, StringConstraints(pattern=r"^[\w .:/=+@-]+$", max_length=128)]


@dataclass(frozen=True, slots=True, kw_only=True)
class AwsRole:
    """A role of an AWS account. `request_tags` are not here: the caller chooses them, so that they prove nothing."""

    aws_account: Annotated[
        str,
        Claim(claim="aws_account", description="The account's id.", match="aws_account", value=Account, pinned=True),
    ]
    sub: Annotated[str, Claim(claim="sub", description="The role's ARN.", match="sub", value=RoleArn, pinned=True)]
    org_id: Annotated[
        str | None,
        Claim(claim="org_id", description="The organisation.", required=False, match="org_id", value=Text),
    ]
    ou_path: Annotated[
        str | None,
        Claim(
            claim="ou_path",
            description="The account's place in the organisation.",
            required=False,
            match="ou_path",
            value=Text,
        ),
    ]
    source_region: Annotated[
        str | None,
        Claim(
            claim="source_region",
            description="The region that the token was asked for in.",
            required=False,
            match="source_region",
            value=Text,
        ),
    ]


class AwsSettings(IssuerSettings):
    """An AWS account whose outbound identity federation is on."""

    kind: Literal["aws"]
    issuer: IssuerUrl = Field(description="The account's issuer URL: `https://{id}.tokens.sts.global.api.aws`.")
    principal_tags: list[TagKey] = Field(
        default_factory=list,
        description="Tags of the role that grants may ask for, as `principal_tags.{key}`. Whoever may tag the role "
        "chooses them.",
    )


class Aws(Issuer):
    """The identity federation of an account."""

    kind = "aws"
    claims = claims_of(AwsRole)
    is_open = True
    source = "sub"
    algorithms = frozenset({"RS256", "ES384"})
    subject_token_type = "jwt"  # noqa: S105 - the name of a type
    replay_claim = "jti"
    max_lifetime = 3600
    settings = AwsSettings
    audience_advice = "name it as the `Audience` of `GetWebIdentityToken`"

    @classmethod
    def from_settings(cls, settings: AwsSettings, bitbucket_url: str) -> Aws:  # noqa: ARG003 - of another kind
        """Return the issuer of an account."""
        return cls(settings, settings.issuer, f"{settings.issuer}/.well-known/jwks.json", expected={})

    @classmethod
    def table_of(cls, settings: AwsSettings) -> tuple[Claim, ...]:
        """Return the claims of every account, and the tags that the settings name."""
        names = [f"{_TAGS}.{key}" for key in settings.principal_tags]
        tags = (
            Claim(claim=name, name=name, description="A tag.", required=False, match=name, value=Text) for name in names
        )
        return (*cls.claims, *tags)

    def flat(self, claims: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the nested claims, and `sub`.

        Nothing else of the outside: a claim there that is called like one of AWS's does not stand in for it.
        """
        nested = _object(claims.get(NAMESPACE))
        tags = {f"{_TAGS}.{key}": value for key, value in _object(nested.get(_TAGS)).items()}
        return {**nested, **tags, "sub": claims.get("sub")}

    def asserted(self, claims: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Return the request tags: the caller chose them when it asked for the token."""
        tags = _object(claims.get(NAMESPACE)).get(_REQUEST_TAGS)
        return {_REQUEST_TAGS: tags} if tags else None


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
