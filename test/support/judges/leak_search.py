"""Finding a secret in text, in the forms in which secrets leak past a log's masking."""

import base64
import json
import re
from collections.abc import Iterable, Iterator
from urllib.parse import quote, quote_plus

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_BREAKS = re.compile(r"\s+|\\[nrt]")


def forms(secret: str) -> Iterator[tuple[str, str]]:
    """The secret as it is and encoded: the name of the form, and the text to look for."""
    data = secret.encode()
    yield "raw", secret
    yield "hex", data.hex()
    yield "upper-case hex", data.hex().upper()
    yield "percent-encoded", quote(secret, safe="")
    yield "percent-encoded in lower case", re.sub("%..", lambda match: match[0].lower(), quote(secret, safe=""))
    yield "percent-encoded twice", quote(quote(secret, safe=""), safe="")
    yield "percent-encoded throughout", "".join(f"%{byte:02X}" for byte in data)
    yield "a form's value", quote_plus(secret)
    yield "JSON", json.dumps(secret)[1:-1]
    yield "JSON with escaped slashes", secret.replace("/", "\\/")
    yield "JSON, escaped throughout", "".join(f"\\u{byte:04x}" for byte in data)
    for before in range(3):
        # Base64 of a longer text that holds the secret: its first and last characters depend on the neighbours.
        encoded = base64.b64encode(b"\0" * before + data).decode().rstrip("=")
        core = encoded[(before * 4 + 2) // 3 : -1]
        yield f"base64 at offset {before}", core
        yield f"base64url at offset {before}", core.replace("+", "-").replace("/", "_")


def leaks(secrets: Iterable[str], places: Iterable[tuple[str, str]]) -> list[str]:
    """Where a secret shows up: a line for each place and form. `places` are names and texts.

    Line breaks, real ones and JSON's, do not hide a secret.
    """
    found = []
    wanted = [(secret, name, form) for secret in secrets for name, form in forms(secret)]
    for place, text in places:
        joined = _BREAKS.sub("", _COLOURS.sub("", text))
        found += [
            f"{secret[:4]}… as {name} in {place}" for secret, name, form in wanted if form in text or form in joined
        ]
    return found
