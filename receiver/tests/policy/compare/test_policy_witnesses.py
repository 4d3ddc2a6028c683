"""Witnesses of a comparison, fed to running receivers: the new policy lets each in, the old one refuses it."""

from __future__ import annotations

import pytest

from fastapi_handoff import Policy
from fastapi_handoff.policy.compare import compare
from helpers.policies import text
from helpers.provider import ENVIRONMENT_UUID, OTHER_UUID, REPOSITORY_UUID, WORKSPACE_UUID

HEAD = f'[bitbucket]\nworkspace = "acme"\nworkspace_uuid = "{WORKSPACE_UUID}"\n'
PRODUCTION = f'environment = "{ENVIRONMENT_UUID}"'
CLAIMS = {"repository_uuid": "repositoryUuid", "branch": "branchName", "environment_uuid": "deploymentEnvironmentUuid"}
CHANGES = [
    ([f'branch = "main"\n{PRODUCTION}'], ['branch = "main"']),
    ([f'branch = "main"\n{PRODUCTION}'], [f'branch = "release/**"\n{PRODUCTION}']),
    (['branch = "release/1.*"', 'branch = "release/2.*"'], ['branch = "release/*"']),
    (['branch = "main"'], ['branch = "main"', f'branch = "main"\nrepository = "{OTHER_UUID}"']),
    (['branch = "main"'], ['branch = "main"\nscopes = ["deploy", "config:sync"]']),
    (['branch = "**"'], ["# handoff: allow any-branch, because tag builds are meant"]),
]


@pytest.fixture
def backend() -> str:
    return "sqlite"


@pytest.mark.parametrize(("base", "head"), CHANGES)
async def test_witness_is_let_in_by_the_new_policy_and_refused_by_the_old_one(
    receivers, policy_file, base: list[str], head: list[str]
) -> None:
    started, policies = [], []
    for grants in (base, head):
        content = text(*grants, head=HEAD, repository=REPOSITORY_UUID)
        policy_file.write_text(content)
        policies.append(Policy.load(policy_file))
        started.append(await receivers(lint="warn"))
    gains = compare(*policies).gains
    assert gains
    for change in gains:
        for scope in change.scopes:
            answers = []
            for receiver in started:
                attested = {theirs: change.witness.claims.get(ours) for ours, theirs in CLAIMS.items()}
                token = receiver.step_token(**attested)
                answers.append(await receiver.pipe.exchange(receiver.client, token, scope=scope))
            refused, granted = answers
            assert refused.json()["code"] in {"no-grant-matches", "scope-not-granted"}
            assert (granted.status_code, granted.json()["scope"]) == (200, scope)
