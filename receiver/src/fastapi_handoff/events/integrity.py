"""What binds the bytes of an event: `Content-Digest` (RFC 9530) and Standard Webhooks signatures."""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from hashlib import sha256
from hmac import compare_digest, digest
from typing import TYPE_CHECKING, Final

from fastapi_handoff.request import LEEWAY

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fastapi_handoff.request import Checks

EVENT_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,128}", re.ASCII)
"""No dot: the signed text is `id.timestamp.body`, and a dot in the id would make two readings of it."""
_TIMESTAMP: Final = re.compile(r"[0-9]{1,12}", re.ASCII)
_SECRET_BYTES: Final = range(24, 65)
_MAX_SIGNATURES: Final = 16


class SigningSecrets:
    """The secrets of `webhook-signature`, one or, while rotating, several. Nothing prints them."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        """Take secrets as `whsec_` and the base64 of 24 to 64 bytes; `ValueError` for another form."""
        if isinstance(secrets, str):
            raise TypeError("`signing_secrets` is a list of secrets, not one: write `[secret]`")
        self._keys = tuple(_key(secret, position) for position, secret in enumerate(secrets, start=1))

    def __bool__(self) -> bool:
        return bool(self._keys)

    def __repr__(self) -> str:
        return f"SigningSecrets({len(self._keys)} secrets)"

    def verify(self, signed: bytes, signatures: str) -> bool:
        """Tell whether one of the `signatures` is one of `signed` under one of the secrets.

        Every pair is compared, each in constant time: the time taken tells nothing of which one was nearly right.
        """
        expected = [b64encode(digest(key, signed, "sha256")) for key in self._keys]
        given = signatures.split(" ")
        if len(given) > _MAX_SIGNATURES:
            return False
        found = False
        for signature in given:
            version, _, value = signature.partition(",")
            for wanted in expected:
                found |= version == "v1" and compare_digest(value.encode("utf-8", "replace"), wanted)
        return found


def _key(secret: str, position: int) -> bytes:
    prefix, _, encoded = secret.partition("_")
    try:
        key = b64decode(encoded, validate=True)
    except (Base64Error, ValueError):
        key = b""
    if prefix != "whsec" or len(key) not in _SECRET_BYTES:
        # The secret itself stays out of the message.
        raise ValueError(f"signing secret {position} is not `whsec_` and the base64 of 24 to 64 bytes")
    return key


def content_digest(body: bytes) -> str:
    """Return the value of `Content-Digest` for `body`."""
    return f"sha-256=:{b64encode(sha256(body).digest()).decode()}:"


def require_digest(body: bytes, header: str | None, in_proof: str | None, checks: Checks) -> str:
    """Compare the digest of the bytes received with the header's and the proof's and return it.

    Raises `Refusal`: `digest-mismatch`.
    """
    actual = content_digest(body)
    for name, value in (("content-digest", header), ("content_digest", in_proof)):
        if value is None or not compare_digest(value.encode("utf-8", "replace"), actual.encode()):
            where = "the `Content-Digest` header" if name == "content-digest" else "the proof's `content_digest`"
            raise checks.refuse(name, actual, value, "digest-mismatch", f"{where} is not the digest of the body")
    checks.passed("content-digest", actual)
    return actual


def require_webhook_headers(event_id: str | None, timestamp: str | None, now: int, checks: Checks) -> str:
    """Check `webhook-id` and `webhook-timestamp` and return the id.

    Raises `Refusal`: `event-malformed` for the id, `timestamp-out-of-window` for the timestamp.
    """
    if event_id is None or not EVENT_ID.fullmatch(event_id):
        raise checks.refuse(
            "webhook-id", EVENT_ID.pattern, event_id, "event-malformed", f"`webhook-id` is not `{EVENT_ID.pattern}`"
        )
    expected = f"{now} ± {LEEWAY} s"
    # Digits only: `int()` would take a sign, blanks, underscores and other scripts' digits.
    if timestamp is None or not _TIMESTAMP.fullmatch(timestamp) or abs(int(timestamp) - now) > LEEWAY:
        raise checks.refuse(
            "webhook-timestamp",
            expected,
            timestamp,
            "timestamp-out-of-window",
            f"`webhook-timestamp` is not whole seconds within {LEEWAY} s of the receiver's clock",
        )
    checks.passed("webhook-timestamp", timestamp, expected=expected)
    return event_id


def require_signature(
    secrets: SigningSecrets, prefix: str, body: bytes, signatures: str | None, checks: Checks
) -> None:
    """Verify `webhook-signature` over `prefix` (id, dot, timestamp, dot) and body, where the receiver has secrets.

    Raises `Refusal`: `signature-missing` or `signature-invalid`.
    """
    if not secrets:
        return
    if not signatures:
        raise checks.refuse(
            "webhook-signature",
            "present",
            None,
            "signature-missing",
            "the event has no `webhook-signature`: give the pipe its `SIGNING_SECRET`",
        )
    if not secrets.verify(prefix.encode() + body, signatures):
        raise checks.refuse(
            "webhook-signature",
            "v1, under one of the receiver's secrets",
            "does not verify",
            "signature-invalid",
            "the event's `webhook-signature` does not verify under any of the receiver's secrets",
        )
    checks.passed("webhook-signature", "v1")
