"""The seam of authentication: every way to authenticate a request ends in a `Caller`.

A new way is one file beside `dpop_authenticator.py` with a class that has `authenticate`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import Connection

    from fastapi_handoff.identity import Identity
    from fastapi_handoff.policy import Grant
    from fastapi_handoff.request import Checks, RequestContext, RequestHeaders


class ReplayGuard(Protocol):
    """What makes a request the only one of its kind."""

    def claim(self, connection: Connection) -> None:
        """Use it up, inside the transaction that it guards. Raises `Refusal` where it was used before.

        The last of all checks, so that a refused request uses nothing up.
        """
        ...


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent a request, once that has verified."""

    identity: Identity
    grant: Grant
    replay: ReplayGuard
    """Not claimed yet."""
    content_digest: str | None
    """The digest of the body that the caller signed, if it signed one (RFC 9530)."""


class Authenticator(Protocol):
    """A way to authenticate requests."""

    async def authenticate(
        self, headers: RequestHeaders, method: str, target: str, now: int, context: RequestContext
    ) -> Caller:
        """Verify who sends a request, and note it in `context`.

        `target` is the URL that the request was meant for, in normal form and never from its `Host` header; `now` is
        unix seconds. Raises `Refusal` and `StoreUnavailable`.
        """
        ...


def require_scopes(identity: Identity, scopes: Iterable[str], checks: Checks) -> None:
    """Compare the scopes that are needed with those that the caller has. Raises `Refusal`: `scope-missing`."""
    needed = set(scopes)
    given = " ".join(sorted(identity.scopes))
    if not needed <= identity.scopes:
        raise checks.refuse(
            "scope", " ".join(sorted(needed)), given, "scope-missing", "the access token lacks a scope that is needed"
        )
    checks.passed("scope", given, expected=" ".join(sorted(needed)))
