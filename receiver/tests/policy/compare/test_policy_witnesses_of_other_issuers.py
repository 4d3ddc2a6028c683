"""Random changes for every kind of issuer but Bitbucket: each witness is fed, as a token, to two running receivers."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest

from fastapi_handoff import Policy
from fastapi_handoff.policy.compare import compare
from helpers.other_issuers import ROLE, TOKENS, exchange, policy, serve
from helpers.provider import IssuerServer
from helpers.receiver_app import Receiver

PINNED = {
    "okta": [{"cid": "0oa1"}, {"cid": "0oa2"}],
    "aws": [{"aws_account": "123456789012", "sub": ROLE}, {"aws_account": "123456789012", "sub": f"{ROLE}-2"}],
    "ci": [{"repository_id": id_, "repository_owner_id": "7"} for id_ in ("42", "43")],
}
OPTIONAL = {
    "okta": {"scp": ["read", "write", "read write", "write admin"], "uid": ["00u1", "00u2"]},
    "aws": {"principal_tags.team": ["platform", "web"], "org_id": ["o-1", "o-2"], "source_region": ["eu-central-1"]},
    "ci": {"ref": ["refs/heads/main", "refs/heads/x"], "event_name": ["push", "release"]},
}
SCOPES = ["config:sync", "deployments:write"]


@pytest.fixture
def backend() -> str:
    return "sqlite"


@pytest.fixture
def issuer(issuer: IssuerServer) -> IssuerServer:
    serve(issuer)
    return issuer


def grants(chance: random.Random, issuer: str) -> str:
    """Return one to three grants of one issuer, each of which asks for its ids and for some of what else there is."""
    tables = []
    for number in range(chance.randint(1, 3)):
        match = dict(chance.choice(PINNED[issuer]))
        match |= {key: chance.choice(values) for key, values in OPTIONAL[issuer].items() if chance.random() < 0.5}
        asked = ", ".join(f'"{key}" = "{value}"' for key, value in match.items())
        scopes = ", ".join(f'"{scope}"' for scope in chance.sample(SCOPES, chance.randint(1, 2)))
        services = chance.choice(["", "", 'services = ["api"]\n'])
        head = f'[[grants]]\nname = "g{number}"\nissuer = "{issuer}"\n'
        tables.append(f"{head}match = {{ {asked} }}\nscopes = [{scopes}]\n{services}")
    return "\n".join(tables)


def gained_by_sampling(base: Policy, head: Policy, issuer: str) -> set[str]:
    """Return the scopes that some caller, of all that the values above can make, has by the head alone."""
    keys = OPTIONAL[issuer]
    callers = [
        pinned | {key: value for key, value in zip(keys, values, strict=True) if value is not None}
        for pinned in PINNED[issuer]
        for values in itertools.product(*([None, *each] for each in keys.values()))
    ]
    return {
        scope
        for scope in SCOPES
        for claims in callers
        if head.decide(issuer, claims, [scope]).grant and not base.decide(issuer, claims, [scope]).grant
    }


def token(receiver: Receiver, issuer: str, claims: dict[str, str]) -> tuple[str, str]:
    """Return the provider's token for exactly these claims, and what it is exchanged as."""
    if issuer == "okta":
        scp = claims["scp"].split(" ") if "scp" in claims else None
        return TOKENS["okta"](receiver, **claims | {"scp": scp})
    if issuer == "aws":
        absent: dict[str, Any] = dict.fromkeys(("org_id", "ou_path", "source_region", "principal_tags", "request_tags"))
        own = {key: value for key, value in claims.items() if key != "sub" and "." not in key}
        tags = {key.partition(".")[2]: value for key, value in claims.items() if "." in key}
        return TOKENS["aws"](receiver, sub=claims["sub"], nested=absent | own | {"principal_tags": tags or None})
    return TOKENS["oidc"](receiver, **dict.fromkeys(("ref", "event_name")) | claims)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("issuer_name", ["okta", "aws", "ci"])
async def test_witness_of_a_random_change_is_let_in_by_the_new_policy_and_refused_by_the_old_one(
    receivers, policy_file, issuer: IssuerServer, issuer_name: str, seed: int
) -> None:
    chance = random.Random(f"{issuer_name} {seed}")
    head = policy(issuer.url, okta="users = true")
    issuers = head[: head.index('[[grants]]\nname = "release bot"')]
    started, policies = [], []
    for _ in ("base", "head"):
        policy_file.write_text(issuers + grants(chance, issuer_name))
        policies.append(Policy.load(policy_file))
        started.append(await receivers(lint="warn"))
    base_policy, head_policy = policies
    told = {scope for change in compare(base_policy, head_policy).gains for scope in change.scopes}
    assert gained_by_sampling(base_policy, head_policy, issuer_name) <= told
    # Both ways: what the base has and the head has not is its gain over the head.
    fed = 0
    for (old, new), change in (
        *(((0, 1), change) for change in compare(*policies).gains),
        *(((1, 0), change) for change in compare(*policies).losses),
    ):
        if change.witness.service is not None:
            # Only the events differ: the token is given by both.
            continue
        for scope in change.scopes:
            answers = [
                await exchange(receiver, *token(receiver, issuer_name, dict(change.witness.claims)), scope=scope)
                for receiver in (started[old], started[new])
            ]
            refused, granted = answers
            assert refused.json().get("code") in {"no-grant-matches", "scope-not-granted"}, change
            assert (granted.status_code, granted.json().get("scope")) == (200, scope), (change, granted.text)
            fed += 1
    assert fed, "a seed that changes nothing proves nothing"
