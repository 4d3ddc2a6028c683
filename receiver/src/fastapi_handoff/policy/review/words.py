"""What a reviewer reads: callers, gains and losses, one sentence each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi_handoff.policy.file import table_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from fastapi_handoff.policy.compare.diff import Change, PolicyDiff
    from fastapi_handoff.policy.model import Policy

_LONGEST = 120


def caller(policy: Policy, issuer: str, claims: Mapping[str, str]) -> str:
    """Return who a caller is: `a caller with repository …, branch … and no environment`."""
    settings = next(settings for settings in policy.issuers if settings.name == issuer)
    matchable = [claim for claim in table_of(settings) if claim.match is not None]
    has = [f"{claim.match} `{short(claims[claim.name])}`" for claim in matchable if claim.name in claims]
    lacks = [f"no {claim.match}" for claim in matchable if claim.name not in claims]
    of = f" of issuer `{issuer}`" if len(policy.issuers) > 1 else ""
    return f"a caller{of} with {listed([*has, *lacks])}"


def gain(policy: Policy, change: Change, diff: PolicyDiff, *, has_base: bool) -> str:
    """Return what a grant of `policy` newly gives, and to whom for example."""
    who = caller(policy, change.witness.issuer, change.witness.claims)
    if change.witness.default_audience:
        who += ", and a token for the default audience,"
    what = f"{who[0].upper()}{who[1:]} gets {scopes(change.scopes)} by grant `{change.grant}`"
    if change.witness.service is not None:
        return f"{what} for {_event(change)}; the base gives it for other events only."
    if not has_base:
        return f"{what}; there is no base."
    if change.witness.issuer in diff.new_issuers:
        return f"{what}; the base does not trust its issuer, {issuer(policy, change.witness.issuer)}."
    return f"{what}; the base refuses that."


def loss(policy: Policy, change: Change) -> str:
    """Return what a grant of the base `policy` gave, and nothing gives any more."""
    who = caller(policy, change.witness.issuer, change.witness.claims)
    about = "" if change.witness.service is None else f" for {_event(change)}"
    return f"{who[0].upper()}{who[1:]} loses {scopes(change.scopes)}{about}, which grant `{change.grant}` gave."


def issuer(policy: Policy, name: str) -> str:
    """Return whom an issuer of the policy stands for: its kind, and what its table says of it."""
    settings = next(settings for settings in policy.issuers if settings.name == name)
    said = settings.model_dump(exclude={"name", "kind"}, exclude_defaults=True, exclude_none=True)
    return listed([f"{key} `{short(str(value))}`" for key, value in {"kind": settings.kind, **said}.items()])


def scopes(names: Iterable[str]) -> str:
    """Return scopes as a sentence has them."""
    return listed([f"`{short(name)}`" for name in names])


def listed(words: list[str]) -> str:
    """Return `a`, `a and b`, `a, b and c`."""
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def counted(count: int, thing: str) -> str:
    """Return `1 gain`, `2 gains`; a plural other than by an `s` is given after a slash: `loss/losses`."""
    one, _, many = thing.partition("/")
    return f"{count} {one if count == 1 else many or f'{one}s'}"


def short(text: str) -> str:
    """Return a text of bounded length: a branch's name can be as long as its author likes."""
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _event(change: Change) -> str:
    witness = change.witness
    return f"events such as one about service `{witness.service}` in environment `{witness.environment_name}`"
