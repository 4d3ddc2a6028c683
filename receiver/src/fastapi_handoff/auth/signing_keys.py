"""The keys of the access tokens: private halves in this process's memory only, public halves in the store."""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import insert, select

from fastapi_handoff.jose import generate_p256, import_p256, parse_json_object, thumbprint
from fastapi_handoff.request import ACCESS_TOKEN_LIFETIME, LEEWAY
from fastapi_handoff.store import StoreUnavailable, change_one, public_keys

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from sqlalchemy import Connection

    from fastapi_handoff.jose import ECKey
    from fastapi_handoff.store import Store

logger = logging.getLogger(__name__)

ROTATION_SECONDS: Final = 3600
"""How long one key signs."""
PUBLISHED_SECONDS: Final = ROTATION_SECONDS + ACCESS_TOKEN_LIFETIME + 2 * LEEWAY
"""How long its public half verifies: until the last token it signed is dead for every clock."""
LOOKUP_SECONDS: Final = 1.0
"""Between two looks into the store for keys of other replicas. Whoever brings an unknown `kid` waits that long at
most, with all others who do: a flood of invented names costs one query a second, and a real new key is still found."""

_INSERT = insert(public_keys)


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key that signs access tokens. It is never written anywhere."""

    kid: str
    """RFC 7638 thumbprint."""
    private: ECKey = field(repr=False)
    x: str
    y: str
    signs_until: int
    not_after: int

    @classmethod
    def generate(cls, now: int) -> SigningKey:
        """Make a key that signs from `now` (unix seconds) on."""
        private = generate_p256()
        public = private.as_dict(private=False)
        x, y = str(public["x"]), str(public["y"])
        return cls(thumbprint(x, y), private, x, y, now + ROTATION_SECONDS, now + PUBLISHED_SECONDS)

    @property
    def public(self) -> ECKey:
        """The public half."""
        return import_p256(self.x, self.y)

    def public_jwk(self) -> dict[str, str]:
        """Return the public half as `/jwks.json` has it."""
        return {"kty": "EC", "crv": "P-256", "x": self.x, "y": self.y, "kid": self.kid, "alg": "ES256", "use": "sig"}


@dataclass(frozen=True, slots=True)
class _PublicKey:
    key: ECKey
    not_after: int


class SigningKeys:
    """This process's signing key and all replicas' public keys. One object belongs to one event loop."""

    def __init__(self, store: Store, *, monotonic: Callable[[], float]) -> None:
        self._store = store
        self._monotonic = monotonic
        self._current: SigningKey | None = None
        self._is_public = False
        self._known: dict[str, _PublicKey] = {}
        self._tried_at = float("-inf")
        self._looked_at = float("-inf")
        self._failure: tuple[Any, ...] = ()
        self._failed_at = float("-inf")
        self._unreadable: set[str] = set()
        """The `kid`s that the log has named already."""
        self._single_flight = asyncio.Lock()

    def current(self, now: int) -> SigningKey:
        """Return the key to sign with: a new one once the old one has signed long enough, or the clock was set back."""
        key = self._current
        if key is None or not key.signs_until - ROTATION_SECONDS - LEEWAY <= now < key.signs_until:
            key = self._current = SigningKey.generate(now)
            self._is_public = False
            self._known[key.kid] = _PublicKey(key.public, key.not_after)
        return key

    def publish(self, connection: Connection, key: SigningKey) -> bool:
        """Store the public half within the transaction that hands out a token; return whether that was needed.

        One transaction for both: no replica ever meets a token whose key it cannot find. Call `published` after it.
        """
        if key is self._current and self._is_public:
            return False
        row = {"kid": key.kid, "jwk": json.dumps(key.public_jwk()), "not_after": key.not_after}
        known = connection.scalar(select(public_keys.c.kid).where(public_keys.c.kid == key.kid))
        if known is None:
            change_one(connection, _INSERT, row)
        return True

    def published(self, key: SigningKey) -> None:
        """Note that the transaction of `publish` was committed."""
        if key is self._current:
            self._is_public = True

    async def find(self, kid: str, now: int) -> ECKey | None:
        """Return the public key named `kid`, of this replica or another, or `None`. Raises `StoreUnavailable`."""
        if kid not in self._known:
            await self._look(kid)
        found = self._known.get(kid)
        return found.key if found is not None and now <= found.not_after + LEEWAY else None

    async def all_public(self, now: int) -> list[dict[str, Any]]:
        """Return every public key that may still verify a token, as JWKs. Raises `StoreUnavailable`."""
        valid = select(public_keys).where(public_keys.c.not_after >= now).order_by(public_keys.c.kid)
        rows = await self._store.read(lambda connection: connection.execute(valid).all())
        return [jwk for _, jwk, _ in self._readable(rows)]

    async def _look(self, kid: str) -> None:
        asked_at = self._monotonic()
        async with self._single_flight:
            # A look that began after this request came shows every key its token can be signed with.
            if kid in self._known or self._looked_at > asked_at:
                return
            if self._failed_at > asked_at:
                # Those who waited for a look share its failure too: one after another, the last would wait for all.
                raise StoreUnavailable(*self._failure)
            await asyncio.sleep(max(0.0, self._tried_at + LOOKUP_SECONDS - self._monotonic()))
            began_at = self._tried_at = self._monotonic()
            try:
                rows = await self._store.read(lambda connection: connection.execute(select(public_keys)).all())
            except StoreUnavailable as error:
                self._failure, self._failed_at = error.args, self._monotonic()
                raise
        self._looked_at = began_at
        known = {row.kid: _PublicKey(key, row.not_after) for row, _, key in self._readable(rows)}
        if self._current is not None:
            known[self._current.kid] = _PublicKey(self._current.public, self._current.not_after)
        self._known = known

    def _readable(self, rows: Iterable[Any]) -> Iterator[tuple[Any, dict[str, Any], ECKey]]:
        """Yield the rows that have a key, with its JWK. One damaged row must not take the others' keys away."""
        for row in rows:
            try:
                jwk = parse_json_object(row.jwk.encode())
                key = import_p256(jwk["x"], jwk["y"])
            except (KeyError, TypeError, ValueError) as error:
                if row.kid not in self._unreadable:
                    self._unreadable.add(row.kid)
                    logger.warning("the public key `%s` in the store is not a P-256 JWK: %r", row.kid, error)
            else:
                yield row, jwk, key
