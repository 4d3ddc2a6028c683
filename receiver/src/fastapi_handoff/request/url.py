"""URLs: their one normal form, and the transports that may carry a secret."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

_URL: Final = re.compile(
    r"(https?)://([^/?#@\\\s:]+|\[[0-9a-fA-F:.]+\])(?::(\d{1,5}))?(/[^?#\s]*)?", re.ASCII | re.IGNORECASE
)
_DEFAULT_PORT: Final = {"http": "80", "https": "443"}


def normal_url(url: str) -> str | None:
    """Scheme and host in lower case, the default port left out, nothing else changed; `None` for no absolute URL.

    Paths keep their dots, their case and their percent signs: two spellings of a path may be two resources.
    """
    match = _URL.fullmatch(url)
    if match is None:
        return None
    scheme, host, port, path = match.groups()
    scheme = scheme.lower()
    authority = host.lower() if port in {None, _DEFAULT_PORT[scheme]} else f"{host.lower()}:{port}"
    return f"{scheme}://{authority}{path or '/'}"


def require_transport(url: str, what: str) -> None:
    """Refuse plain `http` but to this machine and its containers' host; `ValueError` says so."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme == "https" or (parts.scheme == "http" and _is_local(host)):
        return
    raise ValueError(f"{what} must be `https` (plain `http` for loopback only), not: `{url}`")


def _is_local(host: str) -> bool:
    if host in {"localhost", "host.docker.internal"}:
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
