"""The issuer's keys: fetched from the configured place only, kept through outages, not fetched for every stranger."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import httpx

from fastapi_handoff.jose import MalformedJws, NotStrictJson, import_jwk, parse_json_object
from fastapi_handoff.request import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from fastapi_handoff.issuers.base import Issuer
    from fastapi_handoff.jose import ECKey, RSAKey

logger = logging.getLogger(__name__)

FETCH_SECONDS: Final = 5.0
"""For the whole fetch, not for each read: a byte a second must not hold it open."""
FETCH_BYTES: Final = 1024 * 1024
COOLDOWN_SECONDS: Final = 60.0
"""Between two fetches that only an unknown `kid` asks for."""
RETRY_SECONDS: Final = 5.0
"""Between two fetches while there is no key at all."""
MAX_AGE_SECONDS: Final = 3600.0
"""After which keys are fetched again before they are used, so that a withdrawn key does not serve for ever."""


class IssuerUnavailable(Exception):  # noqa: N818 - a state of the world that passes
    """The keys could not be fetched; the text says why."""


@dataclass(frozen=True, slots=True)
class _Fetch:
    """How the last fetch went."""

    at: float
    failure: str | None


class IssuerKeys:
    """The keys of one issuer, as last seen.

    `monotonic` returns seconds that are never set back. One object belongs to one event loop.
    """

    def __init__(
        self,
        issuer: Issuer,
        *,
        monotonic: Callable[[], float],
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.issuer = issuer
        self._monotonic = monotonic
        self._transport = transport
        self._client: httpx.AsyncClient | None = None
        self._keys: Mapping[str, ECKey | RSAKey] = {}
        self._fetched_at = 0.0
        self._last: _Fetch | None = None
        self._single_flight = asyncio.Lock()

    @property
    def has_keys(self) -> bool:
        """Whether any key was ever fetched."""
        return bool(self._keys)

    @property
    def failure(self) -> str | None:
        """Why the last fetch failed; `None` if it did not."""
        return self._last.failure if self._last else None

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    async def key(self, kid: str) -> ECKey | RSAKey:
        """Return the key named `kid`, fetching the keys at most once in a while.

        Raises `Refusal`: `step-token-signature-invalid` for a `kid` that the issuer does not have;
        `issuer-unavailable` where that cannot be told, because the last fetch failed.
        """
        if self._is_due(kid):
            await self._fetch_once(kid)
        key = self._keys.get(kid)
        if key is not None:
            return key
        if self._last is not None and self._last.failure is not None:
            # Perhaps a new key of the issuer's: 503, so that the pipe comes again. A 401 would be final.
            wait = self._wait() - (self._monotonic() - self._last.at)
            raise Refusal(
                "issuer-unavailable",
                "the keys of the subject token's issuer cannot be had now: try again",
                retry_after=max(1, int(wait) + 1),
            )
        raise Refusal("step-token-signature-invalid", "the issuer has no key with the subject token's `kid`")

    async def ready(self) -> bool:
        """Return whether there are keys, fetching them where there are none."""
        if not self._keys and self._is_due(""):
            await self._fetch_once("")
        return self.has_keys

    def _wait(self) -> float:
        return COOLDOWN_SECONDS if self._keys else RETRY_SECONDS

    def _is_due(self, kid: str) -> bool:
        now = self._monotonic()
        if kid in self._keys and now - self._fetched_at < MAX_AGE_SECONDS:
            return False
        return self._last is None or now - self._last.at >= self._wait()

    async def _fetch_once(self, kid: str) -> None:
        async with self._single_flight:
            # Whoever waited here finds the fetch done: a hundred requests with a new `kid` make one.
            if not self._is_due(kid):
                return
            failure = None
            try:
                self._keys = await self._fetch()
                self._fetched_at = self._monotonic()
            except IssuerUnavailable as error:
                # The old keys stay: a hiccup of the identity provider is no outage of ours.
                failure = str(error)
                logger.warning("the issuer's keys cannot be fetched from %s: %s", self.issuer.keys_url, failure)
            self._last = _Fetch(self._monotonic(), failure)

    async def _fetch(self) -> Mapping[str, ECKey | RSAKey]:
        try:
            async with asyncio.timeout(FETCH_SECONDS):
                body = await self._read(self.issuer.keys_url)
        except TimeoutError:
            raise IssuerUnavailable(f"no answer within {FETCH_SECONDS:.0f} s") from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise IssuerUnavailable(f"{type(error).__name__}: {error}") from None
        return read_keys(body, self.issuer.algorithms)

    async def _read(self, url: str) -> bytes:
        if self._client is None:
            # No redirects: they would let another host say the keys. No proxy or CA from the environment: what the
            # trust of every token hangs on is configured where it can be seen.
            self._client = httpx.AsyncClient(
                transport=self._transport, follow_redirects=False, trust_env=False, timeout=FETCH_SECONDS
            )
        headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
        async with self._client.stream("GET", url, headers=headers) as response:
            if response.status_code != 200:
                raise IssuerUnavailable(f"it answered {response.status_code}")
            body = bytearray()
            # Raw: a megabyte of gzip can be a gigabyte of zeros.
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > FETCH_BYTES:
                    raise IssuerUnavailable(f"its answer is longer than {FETCH_BYTES} bytes")
            return bytes(body)


def read_keys(body: bytes, algorithms: Collection[str] = ("RS256",)) -> Mapping[str, ECKey | RSAKey]:
    """Read a JWK set: the signing keys in it that are for one of `algorithms`, by `kid`.

    Keys of other kinds are passed over, as RFC 7517 asks. `IssuerUnavailable` where nothing usable is left.
    """
    try:
        entries = parse_json_object(body).get("keys")
    except NotStrictJson as error:
        raise IssuerUnavailable(f"its answer cannot be read: {error}") from None
    keys: dict[str, ECKey | RSAKey] = {}
    for jwk in entries if isinstance(entries, list) else []:
        key = _signing_key(jwk, algorithms) if isinstance(jwk, dict) else None
        if key is not None:
            # The first of two keys with one name stays.
            keys.setdefault(jwk["kid"], key)
    if not keys:
        raise IssuerUnavailable(f"its answer has no sound key for {' or '.join(sorted(algorithms))}")
    return keys


def _signing_key(jwk: dict[str, Any], algorithms: Collection[str]) -> ECKey | RSAKey | None:
    kid = jwk.get("kid")
    if jwk.get("use", "sig") != "sig" or not isinstance(kid, str) or not kid:
        return None
    try:
        algorithm, key = import_jwk(jwk)
    except MalformedJws as error:
        logger.warning("a key of the issuer is passed over: %s", error)
        return None
    # A key that names no algorithm is for the one of its type that this package verifies.
    return key if algorithm in algorithms and jwk.get("alg", algorithm) == algorithm else None
