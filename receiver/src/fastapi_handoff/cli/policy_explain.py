"""`fastapi-handoff policy explain`: what the policy says about one caller, and why."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fastapi_handoff.cli.output import Misused, harmless
from fastapi_handoff.cli.policy_store import add_store_to, record_at
from fastapi_handoff.jose import NotStrictJson, parse_json_object
from fastapi_handoff.policy import (
    Policy,
    PolicyError,
    claims_from,
    issuer_at,
    issuer_named,
    known_claims,
    read_file,
)

if TYPE_CHECKING:
    import argparse

    from fastapi_handoff.policy import Decision

_CLAIMS_BYTES: Final = 65_536


def add_to(commands: Any) -> None:
    """Add the command to the parser."""
    command = commands.add_parser("explain", help="decide about a caller, and show every check of every grant")
    command.add_argument("file", metavar="FILE")
    command.add_argument("--claim", action="append", default=[], metavar="NAME=VALUE", help="what the issuer attests")
    command.add_argument("--claims", metavar="JSON", help="a file with an object of claims, e.g. a token's payload")
    command.add_argument("--record", type=int, metavar="SEQ", help="the caller of a record of the audit")
    command.add_argument("--issuer", metavar="NAME", help="the issuer's name in the policy (default: the first)")
    command.add_argument("--scope", action="append", default=[], help="a scope that is asked for (default: any)")
    command.add_argument("--format", choices=("text", "json"), default="text", help="(default: %(default)s)")
    add_store_to(command)
    command.set_defaults(run=run_explain)


def run_explain(options: argparse.Namespace) -> int:
    """Decide as the receiver does, by grants and the issuer's mode; 0 where something is granted, 1 where refused."""
    policy = Policy.parse(read_file(options.file), options.file)
    issuer, claims = _caller(policy, options)
    decision = policy.gives(issuer, claims, options.scope)
    checks = [
        {"grant": check.grant, "check": check.check, "expected": check.expected, "got": check.got, "ok": check.ok}
        for grant in policy.grants
        if grant.issuer == issuer
        for check in grant.checks(claims)
    ]
    if options.format == "json":
        document = {
            "granted": decision.grant is not None,
            "grant": decision.grant and decision.grant.name,
            "scopes": list(decision.scopes),
            "code": decision.code,
            "reason": decision.reason,
            "issuer": issuer,
            "claims": claims,
            "checks": checks,
        }
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
    else:
        _write(decision, checks)
    return 0 if decision.grant is not None else 1


def _write(decision: Decision, checks: list[dict[str, Any]]) -> None:
    grant = None
    for check in checks:
        if check["grant"] != grant:
            grant = check["grant"]
            sys.stdout.write(f"{harmless(str(grant))}\n")
        sign = "ok" if check["ok"] else "no"
        expected, got = harmless(str(check["expected"])), harmless(str(check["got"] or "absent"))
        sys.stdout.write(f"  {sign}  {check['check']}: expected {expected} · got {got}\n")
    if decision.grant is None:
        sys.stdout.write(f"refused: {decision.code}: {harmless(str(decision.reason))}\n")
    else:
        scopes = " ".join(decision.scopes)
        sys.stdout.write(f"granted: {harmless(scopes)}, by grant `{harmless(decision.grant.name)}`\n")


def _caller(policy: Policy, options: argparse.Namespace) -> tuple[str, dict[str, str]]:
    if sum(map(bool, (options.claim, options.claims, options.record is not None))) != 1:
        raise Misused("who is the caller? give one of --claim, --claims and --record")
    if options.record is not None:
        actor = record_at(options, options.record).get("actor") or {}
        settings = issuer_at(policy, str(actor.get("issuer")), options.bitbucket_url)
        if settings is None:
            raise PolicyError(f"record {options.record} has no caller of an issuer that this policy trusts")
        return settings.name, known_claims(settings, actor)
    settings = issuer_named(policy, options.issuer)
    if options.claims is not None:
        return settings.name, known_claims(settings, _read_claims(options.claims))
    pairs = [claim.partition("=") for claim in options.claim]
    if any(not separator for _, separator, _ in pairs):
        raise Misused("--claim is NAME=VALUE, e.g. --claim branch=main")
    if len({name for name, _, _ in pairs}) < len(pairs):
        raise Misused("--claim names a claim twice")
    return settings.name, claims_from(settings, {name: value for name, _, value in pairs})


def _read_claims(name: str) -> dict[str, Any]:
    try:
        with Path(name).open("rb") as file:
            raw = file.read(_CLAIMS_BYTES + 1)
    except OSError as error:
        raise PolicyError(f"{name}: cannot be read: {error.strerror}") from None
    if len(raw) > _CLAIMS_BYTES:
        raise PolicyError(f"{name}: is larger than {_CLAIMS_BYTES} bytes")
    try:
        return parse_json_object(raw)
    except NotStrictJson as error:
        # Not what it says: it may be a token.
        raise PolicyError(f"{name}: is no JSON object of claims: {error}") from None
