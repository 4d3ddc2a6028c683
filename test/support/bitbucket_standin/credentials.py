"""Who is calling: access tokens, API tokens, and OAuth 2 client credentials with the tokens issued for them."""

import base64
import binascii
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from .errors import ApiError
from .workspace import Principal

OAUTH_LIFETIME = 3600


@dataclass
class Credentials:
    """All credentials that the stand-in accepts. A step's OIDC token is none of them, as at Bitbucket."""

    clock: Callable[[], float] = time.time
    access_tokens: dict[str, Principal] = field(default_factory=dict)
    api_tokens: dict[tuple[str, str], Principal] = field(default_factory=dict)
    oauth_clients: dict[tuple[str, str], Principal] = field(default_factory=dict)
    _issued: dict[str, tuple[Principal, float]] = field(default_factory=dict)

    def principal_of(self, authorization: str | None) -> Principal:
        """The principal behind an `Authorization` header; 401 where there is none."""
        scheme, _, value = (authorization or "").partition(" ")
        if scheme.lower() == "bearer":
            principal = self.access_tokens.get(value) or self._principal_of_issued(value)
            if principal is None:
                raise ApiError(401, "Token is invalid, expired, or not supported for this endpoint.")
            return principal
        if scheme.lower() == "basic":
            principal = self.api_tokens.get(_basic_pair(value))
            if principal is None:
                raise ApiError(401, "Invalid email or API token.")
            return principal
        raise ApiError(
            401, "Authentication is required.", headers={"WWW-Authenticate": 'Basic realm="Bitbucket.org HTTP"'}
        )

    def issue(self, authorization: str | None) -> tuple[str, Principal]:
        """A new access token for an OAuth client that authenticates with Basic; `KeyError` where the pair is unknown."""
        scheme, _, value = (authorization or "").partition(" ")
        if scheme.lower() != "basic":
            raise KeyError(scheme)
        principal = self.oauth_clients[_basic_pair(value)]
        token = secrets.token_urlsafe(48)
        self._issued[token] = (principal, self.clock() + OAUTH_LIFETIME)
        return token, principal

    def _principal_of_issued(self, token: str) -> Principal | None:
        principal, expires_at = self._issued.get(token, (None, 0.0))
        return principal if self.clock() < expires_at else None

    def all_secrets(self) -> set[str]:
        """Every value here that must show up in no output."""
        pairs = {secret for _, secret in (*self.api_tokens, *self.oauth_clients)}
        return {*self.access_tokens, *pairs, *self._issued}


def _basic_pair(value: str) -> tuple[str, str]:
    try:
        user, _, password = base64.b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        raise ApiError(401, "The `Authorization` header is malformed.") from None
    return user, password
