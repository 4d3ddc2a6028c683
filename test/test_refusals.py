"""What the receiver refuses: exit 4, the code and what to change in the log, FAILED on the commit, and no handler run."""

from pathlib import Path
from typing import Any

import pytest

from bitbucket_standin import STAGING, WEB
from bitbucket_standin.step_token import SigningKey
from scene import SIGNING_SECRET, Scene


def refused(scene: Scene, build_dir: Path, **change: Any) -> str:
    """Runs the pipe for a step with this change, checks that it was refused, and gives its output."""
    step = scene.step(**change)
    run = scene.run(scene.variables(step, DEBUG="false"), build_dir)
    assert run.exit_code == 4, run.text
    assert scene.tapped("handler") == []
    assert [states[-1] for states in scene.states(step)] == ["FAILED"]
    return run.text


def test_a_feature_branch_is_refused_and_the_trace_says_why(scene: Scene, build_dir: Path) -> None:
    text = refused(scene, build_dir, branch="feature/checkout")
    assert "no-grant-matches" in text
    (row,) = [line for line in text.splitlines() if "feature/checkout" in line and "main" in line]
    assert "branch" in row


def test_another_repository_is_refused(scene: Scene, build_dir: Path) -> None:
    text = refused(scene, build_dir, repository=WEB)
    assert "no-grant-matches" in text
    assert WEB.uuid in text


@pytest.mark.parametrize("environment", [STAGING, None])
def test_another_environment_and_none_are_refused(scene: Scene, build_dir: Path, environment: object) -> None:
    step = scene.step(environment=environment)
    run = scene.run(scene.variables(step, ENVIRONMENT="production"), build_dir)
    assert run.exit_code == 4, run.text
    assert "no-grant-matches" in run.text
    assert scene.tapped("handler") == []


def test_a_tag_build_does_not_pass_for_main(scene: Scene, build_dir: Path) -> None:
    assert "no-grant-matches" in refused(scene, build_dir, branch=None, tag="main")


def test_an_overridden_variable_does_not_stand_in_for_the_attested_branch(scene: Scene, build_dir: Path) -> None:
    step = scene.step(branch="feature/checkout")
    run = scene.run(scene.variables(step, BITBUCKET_BRANCH="main"), build_dir)
    assert run.exit_code == 4, run.text
    assert scene.tapped("handler") == []


def test_an_event_that_contradicts_the_identity_is_refused(scene: Scene, build_dir: Path) -> None:
    run = scene.run(
        scene.variables(scene.step(), BITBUCKET_PIPELINE_UUID="{00000000-0000-4000-8000-000000000000}"), build_dir
    )
    assert run.exit_code == 4, run.text
    assert "identity-mismatch" in run.text
    assert "pipeline_uuid" in run.text
    assert scene.tapped("handler") == []


def test_a_scope_that_the_grant_does_not_give_is_refused(scene: Scene, build_dir: Path) -> None:
    run = scene.run(scene.variables(scene.step(), SCOPE="deployments:write root"), build_dir)
    assert run.exit_code == 4, run.text
    assert "scope-not-granted" in run.text


def test_an_event_without_a_handler_is_refused(scene: Scene, build_dir: Path) -> None:
    run = scene.run(scene.variables(scene.step(), EVENT="removed"), build_dir)
    assert run.exit_code == 4, run.text
    assert "event-not-handled" in run.text


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
    run = scene.run(scene.variables(step, scene.token(step, replace=replace)), build_dir)
    assert run.exit_code == 4, run.text
    assert code in run.text
    assert scene.tapped("handler") == []


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
    run = scene.run(scene.variables(step, forged[forgery]), build_dir)
    assert run.exit_code == 4, run.text
    assert "step-token-signature-invalid" in run.text
    assert scene.tapped("handler") == []


def test_a_receiver_with_a_signing_secret_refuses_an_unsigned_event(signed_scene: Scene, build_dir: Path) -> None:
    assert "signature-missing" in refused(signed_scene, build_dir)


def test_a_receiver_with_a_signing_secret_refuses_another_secret(signed_scene: Scene, build_dir: Path) -> None:
    other = SIGNING_SECRET.replace("whsec_Y", "whsec_Z")
    run = signed_scene.run(signed_scene.variables(signed_scene.step(), SIGNING_SECRET=other), build_dir)
    assert run.exit_code == 4, run.text
    assert "signature-invalid" in run.text
