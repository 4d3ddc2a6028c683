"""The decisions that the audit holds, taken again under another policy."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from fastapi_handoff.policy.attested import issuer_at, known_claims

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from fastapi_handoff.policy.model import Policy

KEPT_CHANGES: Final = 100
ACTION: Final = "token.exchange"
"""The action of the records that hold a decision of the policy."""
_REFUSED_BY_POLICY: Final = frozenset({"no-grant-matches", "scope-not-granted"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """A decision that the policy takes otherwise."""

    seq: int
    time: str
    was: Literal["granted", "refused"]
    scopes: tuple[str, ...]
    """Those that were granted, or would be."""
    issuer: str
    claims: Mapping[str, str]
    reason: str


@dataclass(slots=True)
class Replay:
    """All that was decided again."""

    decisions: int = 0
    unchanged: int = 0
    undecided: int = 0
    """Refused for scopes, which the record does not name, or of an issuer that the policy does not know."""
    refused_now: int = 0
    granted_now: int = 0
    used_grants: set[str] = field(default_factory=set)
    """The names of the grants that decided then."""
    changes: list[Changed] = field(default_factory=list)
    """The first `KEPT_CHANGES`."""

    def keep(self, change: Changed) -> None:
        """Note a decision that changes."""
        if change.was == "granted":
            self.refused_now += 1
        else:
            self.granted_now += 1
        if len(self.changes) < KEPT_CHANGES:
            self.changes.append(change)


def replay(policy: Policy, records: Iterable[dict[str, Any]], bitbucket_url: str) -> Replay:
    """Decide anew about each token exchange that the policy of its time decided about."""
    found = Replay()
    for record in records:
        was_granted = record["decision"] == "accepted"
        if record["action"] != ACTION or not (was_granted or record["code"] in _REFUSED_BY_POLICY):
            continue
        found.decisions += 1
        if was_granted:
            found.used_grants.add(str(record["grant"]))
        _decide(policy, record, found, bitbucket_url, was_granted=was_granted)
    return found


def _decide(policy: Policy, record: dict[str, Any], found: Replay, bitbucket_url: str, *, was_granted: bool) -> None:
    actor = record["actor"] or {}
    settings = issuer_at(policy, str(actor.get("issuer")), bitbucket_url)
    granted = tuple(str((record["outcome"] or {}).get("scope", "")).split()) if was_granted else ()
    if settings is None:
        if was_granted:
            found.keep(_changed(record, str(actor.get("issuer")), {}, granted, "the policy does not trust its issuer"))
        else:
            found.undecided += 1
        return
    claims = known_claims(settings, actor)
    if settings.mode != "enforce":
        # Judged and recorded at most: nothing is given.
        if was_granted:
            found.keep(_changed(record, settings.name, claims, granted, f"its issuer's mode is `{settings.mode}`"))
        else:
            found.unchanged += 1
        return
    decision = policy.decide(settings.name, claims, granted)
    if was_granted == (decision.grant is not None) and record["code"] != "scope-not-granted":
        found.unchanged += 1
    elif was_granted:
        found.keep(_changed(record, settings.name, claims, granted, str(decision.reason)))
    elif record["code"] == "scope-not-granted" and decision.grant is not None:
        found.undecided += 1
    elif decision.grant is None:
        found.unchanged += 1
    else:
        reason = f"grant `{decision.grant.name}` matches"
        found.keep(_changed(record, settings.name, claims, decision.scopes, reason))


def _changed(
    record: dict[str, Any], issuer: str, claims: Mapping[str, str], scopes: tuple[str, ...], reason: str
) -> Changed:
    return Changed(
        seq=record["seq"],
        time=record["time"],
        was="granted" if record["decision"] == "accepted" else "refused",
        scopes=scopes,
        issuer=issuer,
        claims=claims,
        reason=reason,
    )
