"""Any OpenID Connect provider: what its tokens are is named in the policy, and nothing is found out by asking.

For providers that have no kind of their own: GitHub Actions, GitLab, Entra, Auth0, Keycloak. `docs/identities.md` has a
policy for each.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field, StringConstraints, ValidationInfo, field_validator

from fastapi_handoff.issuers.base import (
    Claim,
    Issuer,
    IssuerSettings,
    IssuerUrl,
    SubjectTokenType,
    Text,
    media_type,
)

ClaimName = Annotated[str, StringConstraints(pattern=r"^[!-~]+$", max_length=100)]
_OURS: Final = frozenset({"issuer", "kind", "source", "grant", "policy"})
"""What records and receipts say of a caller beside its claims."""
_READ_ELSEWHERE: Final = frozenset({"iss", "aud", "exp", "iat", "nbf", "cnf"})
"""Claims that have a meaning, and are compared by it."""
_OTHER_USES: Final = frozenset({"dpop+jwt", "logout+jwt", "secevent+jwt", "token-introspection+jwt"})
"""What is signed by the same keys, and says nothing about a caller."""


class OidcSettings(IssuerSettings):
    """An OpenID Connect provider, and which of its claims are looked at. Only claims that are text can be."""

    kind: Literal["oidc"]
    issuer: IssuerUrl = Field(description="The exact `iss` of its tokens, with or without a slash at the end.")
    jwks_uri: IssuerUrl = Field(description="Where its keys are, from its discovery document.")
    algorithms: list[Literal["RS256", "ES256", "ES384"]] = Field(
        min_length=1, description="The algorithms its tokens may be signed with."
    )
    typ: str = Field(
        "JWT", max_length=100, description="The `typ` in the header of its tokens; empty text where there is none."
    )
    subject_token_type: SubjectTokenType = Field(
        "id_token", description="What its tokens are exchanged as: `subject_token_type` at the token endpoint."
    )
    required: list[ClaimName] = Field(
        min_length=1,
        description="Immutable ids that every token must have, and every grant must ask for. A name can be given up "
        "and taken by a stranger.",
    )
    matchable: list[ClaimName] = Field(default_factory=list, description="Other claims that grants may ask for.")
    expected: dict[ClaimName, Text] = Field(
        default_factory=dict,
        description="Claims that every token must have with exactly this value: a tenant's id. Who is of another "
        "tenant learns nothing of the policy.",
    )
    source: ClaimName = Field(
        description="The one of `required` that tells where events come from. Event ids are unique within it."
    )
    jti: ClaimName | None = Field(
        None, description="The claim that no two tokens share; absent: a token is told from others by what is signed."
    )
    max_lifetime: int = Field(3600, ge=1, description="Seconds that its tokens may live, at most.")

    @field_validator("typ")
    @classmethod
    def _usable_type(cls, value: str) -> str:
        if media_type(value) in _OTHER_USES:
            raise ValueError("is of tokens that say nothing about a caller")
        return value

    @field_validator("required", "matchable")
    @classmethod
    def _usable_names(cls, names: list[str]) -> list[str]:
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"have `{name}` twice")
            if name in _OURS:
                raise ValueError(f"cannot have `{name}`: records have another thing under that name")
            if name in _READ_ELSEWHERE:
                raise ValueError(f"cannot have `{name}`: it is compared by its own rules")
        return names

    @field_validator("matchable")
    @classmethod
    def _other_names(cls, names: list[str], info: ValidationInfo) -> list[str]:
        for name in names:
            if name in info.data.get("required", ()):
                raise ValueError(f"has `{name}`, which is in `required`: every grant asks for it anyway")
        return names

    @field_validator("source")
    @classmethod
    def _immutable_source(cls, value: str, info: ValidationInfo) -> str:
        if value not in info.data.get("required", (value,)):
            raise ValueError("is not in `required`: what tells sources from each other must be an immutable id")
        return value


class Oidc(Issuer):
    """An OpenID Connect provider, as the policy describes it."""

    kind = "oidc"
    is_open = True
    settings = OidcSettings

    @classmethod
    def from_settings(cls, settings: OidcSettings, bitbucket_url: str) -> Oidc:  # noqa: ARG003 - of another kind
        """Return the issuer that the settings describe."""
        issuer = cls(settings, settings.issuer, settings.jwks_uri, expected=settings.expected)
        issuer.source = settings.source
        issuer.algorithms = frozenset(settings.algorithms)
        issuer.types = frozenset({media_type(settings.typ)})
        issuer.subject_token_type = settings.subject_token_type
        issuer.replay_claim = settings.jti
        issuer.max_lifetime = settings.max_lifetime
        # Anybody on earth gets tokens of GitHub's, say. `expected` is what makes a tenant's own of them.
        issuer.is_shared = not settings.expected
        return issuer

    @classmethod
    def table_of(cls, settings: OidcSettings) -> tuple[Claim, ...]:
        """Return the claims that the settings name, under their own names."""
        required = (
            Claim(claim=name, name=name, description="Required by the policy.", match=name, value=Text, pinned=True)
            for name in settings.required
        )
        matchable = (
            Claim(claim=name, name=name, description="Named by the policy.", match=name, value=Text, required=False)
            for name in settings.matchable
        )
        return (*required, *matchable)
