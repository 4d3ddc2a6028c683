"""The policy as a picture: who, by which grant, has what."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi_handoff.policy.review.words import listed, short

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastapi_handoff.policy.model import Grant, Policy


def as_text(policy: Policy) -> Iterator[str]:
    """Yield a line for each grant: who → what."""
    for grant in policy.grants:
        yield f"{_who(grant)} → {listed([f'`{scope}`' for scope in grant.scopes])}  ({grant.name})"


def as_mermaid(policy: Policy) -> Iterator[str]:
    """Yield the lines of a Mermaid flowchart. Names are quoted, so that none of them can add to the picture."""
    yield "flowchart LR"
    scopes: dict[str, str] = {}
    callers: dict[str, str] = {}
    for grant in policy.grants:
        who = callers.setdefault(_who(grant), f"c{len(callers)}")
        if len(callers) - 1 == int(who[1:]):
            yield f'  {who}["{_quoted(_who(grant))}"]'
        for scope in grant.scopes:
            if scope not in scopes:
                scopes[scope] = f"s{len(scopes)}"
                yield f'  {scopes[scope]}(["{_quoted(scope)}"])'
            yield f'  {who} -- "{_quoted(grant.name)}" --> {scopes[scope]}'


def _who(grant: Grant) -> str:
    asked = [f"{condition.key} {short(condition.expected)}" for condition in grant.conditions]
    limits = [] if grant.services is None else [f"services {', '.join(sorted(grant.services))} only"]
    return ", ".join([f"issuer {grant.issuer}", *asked, *limits])


def _quoted(text: str) -> str:
    # Mermaid's own escapes: `#35;` is `#`. What is neither letter nor digit cannot end the label or start a directive.
    return "".join(each if each.isalnum() or each in " ,.-_/:" else f"#{ord(each)};" for each in text)
