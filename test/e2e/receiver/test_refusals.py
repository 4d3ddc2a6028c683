"""What the receiver refuses: exit 4, the code and what to change in the log, FAILED on the commit, and no handler run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from support.bitbucket_standin import STAGING, WEB, Environment, SigningKey
from support.scenes import SIGNING_SECRET, Scene


def refused(scene: Scene, build_dir: Path, code: str, variables: Mapping[str, str]) -> str:
    """Runs the pipe, checks that it was refused with this code, here and in the audit, and gives its output."""
    run = scene.run({**variables, "DEBUG": "false"}, build_dir)
    assert run.exit_code == 4, run.text
    assert f"refused by the receiver: {code}" in run.text
    assert scene.recorded_refusals() == [code]
    assert scene.tapped("handler") == []
    repository = scene.standin.workspace.repository(variables["BITBUCKET_REPO_SLUG"])
    (status,) = scene.standin.statuses.of_commit(repository, variables["BITBUCKET_COMMIT"])
    assert status.states[-1] == "FAILED"
    assert code in status.values["description"]
    return run.text


def test_a_feature_branch_is_refused_and_the_trace_says_why(scene: Scene, build_dir: Path) -> None:
    text = refused(scene, build_dir, "no-grant-matches", scene.variables(scene.step(branch="feature/checkout")))
    (row,) = [line.split() for line in text.splitlines() if line.endswith("feature/checkout") and "main" in line]
    assert row == ["✖", "branch", "main", "feature/checkout"]


def test_another_repository_is_refused(scene: Scene, build_dir: Path) -> None:
    text = refused(scene, build_dir, "no-grant-matches", scene.variables(scene.step(repository=WEB)))
    assert WEB.uuid in text


@pytest.mark.parametrize("environment", [STAGING, None])
def test_another_environment_and_none_are_refused(
    scene: Scene, build_dir: Path, environment: Environment | None
) -> None:
    step = scene.step(environment=environment)
    refused(scene, build_dir, "no-grant-matches", scene.variables(step, ENVIRONMENT="production"))


def test_a_tag_build_does_not_pass_for_main(scene: Scene, build_dir: Path) -> None:
    refused(scene, build_dir, "no-grant-matches", scene.variables(scene.step(branch=None, tag="main")))


def test_an_overridden_variable_does_not_stand_in_for_the_attested_branch(scene: Scene, build_dir: Path) -> None:
    step = scene.step(branch="feature/checkout")
    refused(scene, build_dir, "no-grant-matches", scene.variables(step, BITBUCKET_BRANCH="main"))


@pytest.mark.parametrize(
    ("variable", "field", "value"),
    [
        ("BITBUCKET_PIPELINE_UUID", "pipeline_uuid", "{00000000-0000-4000-8000-000000000000}"),
        ("BITBUCKET_STEP_UUID", "step_uuid", "{00000000-0000-4000-8000-000000000000}"),
        ("BITBUCKET_DEPLOYMENT_ENVIRONMENT_UUID", "environment_uuid", STAGING.uuid),
        ("BITBUCKET_BRANCH", "branch", "release"),
    ],
)
def test_an_event_that_contradicts_the_identity_is_refused_by_the_field(
    scene: Scene, build_dir: Path, variable: str, field: str, value: str
) -> None:
    variables = scene.variables(scene.step()) | {variable: value}
    assert field in refused(scene, build_dir, "identity-mismatch", variables)


def test_a_scope_that_the_grant_does_not_give_is_refused(scene: Scene, build_dir: Path) -> None:
    refused(scene, build_dir, "scope-not-granted", scene.variables(scene.step(), SCOPE="deployments:write root"))


def test_an_event_without_a_handler_is_refused(scene: Scene, build_dir: Path) -> None:
    refused(scene, build_dir, "event-not-handled", scene.variables(scene.step(), EVENT="removed"))


@pytest.mark.parametrize(
    ("replace", "code"),
    [
        ({"iss": "https://api.bitbucket.org/2.0/workspaces/globex/pipelines-config/identity/oidc"}, "issuer-unknown"),
        ({"workspaceUuid": "{e6a7a5f0-2c38-4b0d-8f0e-6a1fbb0c9a77}"}, "issuer-unknown"),
        ({"iat": 4_000_000_000, "exp": 4_000_003_600}, "step-token-not-yet-valid"),
        ({"pipelineUuid": None}, "claims-missing"),
    ],
)
def test_a_token_with_other_claims_is_refused_by_its_code(
    scene: Scene, build_dir: Path, replace: dict[str, Any], code: str
) -> None:
    step = scene.step()
    refused(scene, build_dir, code, scene.variables(step, scene.token(step, replace=replace)))


@pytest.mark.parametrize("forgery", ["another key", "unsigned", "public key as secret", "changed claim"])
def test_a_forged_token_is_refused(scene: Scene, build_dir: Path, forgery: str) -> None:
    step = scene.step()
    provider = scene.standin.identity_provider
    key = provider.current_key
    claims = provider.claims(step, audiences=[scene.receiver.url])
    genuine = key.sign(claims)
    forged = {
        "another key": SigningKey(key.kid).sign(claims),
        "unsigned": key.leave_unsigned(claims),
        "public key as secret": key.sign_with_public_key_as_secret(claims),
        "changed claim": key.sign(claims | {"branchName": "x"}).rpartition(".")[0] + "." + genuine.rpartition(".")[2],
    }
    refused(scene, build_dir, "step-token-signature-invalid", scene.variables(step, forged[forgery]))


def test_a_receiver_with_a_signing_secret_refuses_an_unsigned_event(signed_scene: Scene, build_dir: Path) -> None:
    refused(signed_scene, build_dir, "signature-missing", signed_scene.variables(signed_scene.step()))


def test_a_receiver_with_a_signing_secret_refuses_another_secret(signed_scene: Scene, build_dir: Path) -> None:
    other = SIGNING_SECRET.replace("whsec_Y", "whsec_Z")
    variables = signed_scene.variables(signed_scene.step(), SIGNING_SECRET=other)
    refused(signed_scene, build_dir, "signature-invalid", variables)
