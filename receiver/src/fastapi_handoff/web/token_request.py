"""The form of the token endpoint (RFC 8693), read strictly."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, get_args
from urllib.parse import parse_qsl

from fastapi_handoff.issuers import SubjectTokenType
from fastapi_handoff.request import SCOPE_CHARACTERS, Refusal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fastapi_handoff.issuers import Issuer

GRANT_TYPE: Final = "urn:ietf:params:oauth:grant-type:token-exchange"
_TOKEN_TYPE: Final = "urn:ietf:params:oauth:token-type:"  # noqa: S105 - the name of a type
ACCESS_TOKEN: Final = f"{_TOKEN_TYPE}access_token"
SUBJECT_TOKEN_TYPES: Final[Mapping[str, SubjectTokenType]] = {
    f"{_TOKEN_TYPE}{name}": name for name in get_args(SubjectTokenType)
}
"""What a subject token can be, by its name on the wire."""
FORM: Final = "application/x-www-form-urlencoded"

_MAX_PARAMETERS: Final = 32
_SCOPE: Final = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+( [\x21\x23-\x5b\x5d-\x7e]+)*")
_BROKEN_PERCENT: Final = re.compile(rb"%(?![0-9A-Fa-f]{2})")


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """What is asked of the token endpoint; its token is unverified."""

    unverified_subject_token: str = field(repr=False)
    subject_token_type: SubjectTokenType
    """What the client says its token is."""
    scopes: tuple[str, ...]
    """Empty: all that the grant gives."""


def parse(body: bytes, media_type: str | None, resource: str) -> TokenRequest:
    """Read the form.

    Raises `Refusal`: `token-request-malformed`, or `resource-mismatch` where the token is not wanted for `resource`.
    """
    if media_type != FORM:
        raise Refusal("token-request-malformed", f"the body's `Content-Type` is not `{FORM}`")
    parameters = _parameters(body)
    grant_type = parameters.get("grant_type")
    if grant_type != GRANT_TYPE:
        error = "unsupported_grant_type" if grant_type else "invalid_request"
        raise Refusal("token-request-malformed", f"`grant_type` is not `{GRANT_TYPE}`", error=error)
    subject_token_type = SUBJECT_TOKEN_TYPES.get(parameters.get("subject_token_type", ""))
    if subject_token_type is None:
        known = ", ".join(f"`{name}`" for name in SUBJECT_TOKEN_TYPES)
        raise Refusal("token-request-malformed", f"`subject_token_type` is none of {known}")
    if parameters.get("requested_token_type") != ACCESS_TOKEN:
        raise Refusal("token-request-malformed", f"`requested_token_type` is not `{ACCESS_TOKEN}`")
    if not parameters.get("subject_token"):
        raise Refusal("token-request-malformed", "`subject_token` is missing")
    for name in ("actor_token", "actor_token_type", "audience"):
        if name in parameters:
            raise Refusal("token-request-malformed", f"`{name}` is not taken here: name the receiver in `resource`")
    if parameters.get("resource") != resource:
        raise Refusal("resource-mismatch", f"`resource` is not `{resource}`")
    scope = parameters.get("scope")
    if scope is not None and len(scope) > SCOPE_CHARACTERS:
        # A refusal names it once for each grant that matches.
        detail = f"`scope` is longer than {SCOPE_CHARACTERS} characters"
        raise Refusal("token-request-malformed", detail, error="invalid_scope")
    if scope is not None and not _SCOPE.fullmatch(scope):
        raise Refusal("token-request-malformed", "`scope` is not scopes separated by one space", error="invalid_scope")
    return TokenRequest(parameters["subject_token"], subject_token_type, tuple(scope.split(" ")) if scope else ())


def require_type(asked: TokenRequest, issuer: Issuer) -> None:
    """Compare what the client calls its token with what tokens of the issuer are.

    Where an identity provider signs ID tokens and access tokens with the same keys, one must not pass for the other.
    Raises `Refusal`: `token-request-malformed`.
    """
    if asked.subject_token_type != issuer.subject_token_type:
        raise Refusal(
            "token-request-malformed", "`subject_token_type` is not what tokens of this issuer are exchanged as"
        )


def _parameters(body: bytes) -> dict[str, str]:
    # `parse_qsl` would take `%zz` literally.
    if not body.isascii() or _BROKEN_PERCENT.search(body):
        raise Refusal("token-request-malformed", "the body is not form-encoded")
    try:
        pairs = parse_qsl(
            body.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=True,
            errors="strict",
            max_num_fields=_MAX_PARAMETERS,
        )
    except ValueError:
        # UnicodeDecodeError is one.
        raise Refusal("token-request-malformed", "the body is not form-encoded UTF-8") from None
    parameters = dict(pairs)
    if len(parameters) != len(pairs):
        raise Refusal("token-request-malformed", "a parameter is given twice")
    return parameters
