"""How a mistake in a policy file is told: file, line, key, and what is expected instead."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from fastapi_handoff.policy.source import scan

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydantic import ValidationError

Location = tuple[int | str, ...]
"""The keys and positions that lead to a value of the document, as pydantic gives them."""

_MISTAKES: Final = 50
"""A file can hold thousands of one mistake; nobody reads more than this many."""
_EXPECTED: Final = {
    r"^\{[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\}$": (
        "a UUID as Bitbucket writes it, in braces and lower case: `{01234567-89ab-cdef-0123-456789abcdef}`"
    ),
    r"^[a-z0-9_-]+$": "the workspace's slug, as in `https://bitbucket.org/<slug>`",
    r"^[0-9]{12}$": "an AWS account's id, 12 digits",
    r"^arn:aws[a-z-]*:iam::[0-9]{12}:role/[\w+=,.@/-]+$": "a role's ARN: `arn:aws:iam::123456789012:role/deployer`",
    r"^https?://[!-\"$->@-~]+$": "an absolute URL without query and fragment",
    r"^[^\x00-\x20\x7f~^:\[\]\\]+$": "a branch's name without `refs/heads/`, or a glob of `*`, `**` and `?`",
}
"""What stands in a message for a pattern that a person would have to decipher."""


class PolicyError(ValueError):
    """A policy that cannot be used; the text has a line for each mistake: `file:line: key: what is wrong`."""


def policy_error(name: str, text: str, mistakes: Iterable[tuple[Location, str]]) -> PolicyError:
    """Return the error for mistakes in the file `name`, whose content is `text`.

    Raises `RecursionError` for a text that is nested too deep.
    """
    source = scan(name, text)
    lines = [f"{name}:{source.line(at)}: {_key(at)}: {what}" for at, what in mistakes]
    if (more := len(lines) - _MISTAKES) > 0:
        lines[_MISTAKES:] = [f"{name}: and {more} more"]
    return PolicyError("\n".join(lines))


def mistakes_of(error: ValidationError) -> list[tuple[Location, str]]:
    """Return each mistake that pydantic found: where it is, and what to do about it."""
    return [(_location(dict(detail)), said(dict(detail))) for detail in error.errors(include_url=False)]


def _location(detail: dict[str, Any]) -> Location:
    location: Location = detail["loc"]
    if detail["type"] in {"union_tag_invalid", "union_tag_not_found"}:
        return (*location, "kind")
    # pydantic names the kind of issuer between the issuer's number and the key.
    return (*location[:2], *location[3:]) if location[0] == "issuers" else location


def said(detail: dict[str, Any]) -> str:
    """Return what a person is told of one of pydantic's error details."""
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "extra_forbidden":
        return "is no key of a policy: remove it, or mend its spelling"
    if kind == "union_tag_invalid":
        return f"is no kind of issuer: expected one of {context['expected_tags'].replace(chr(39), '`')}"
    if kind in {"missing", "union_tag_not_found"}:
        return "is required"
    if kind == "string_pattern_mismatch":
        return f"is not {_EXPECTED.get(context['pattern'], 'text that fits ' + context['pattern'])}"
    if kind == "value_error":
        return str(context["error"])
    message: str = detail["msg"]
    return message[0].lower() + message[1:]


def _key(location: Location) -> str:
    key = ""
    for part in location:
        # Positions count from one, as people do.
        key += f"[{part + 1}]" if isinstance(part, int) else f".{part}" if key else part
    return f"`{key}`"
