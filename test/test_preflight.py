"""What the pipe finds wrong by itself: mistakes in its variables (exit 2), no usable step token (exit 3); nothing is sent."""

from pathlib import Path

import pytest

from scene import Scene


def assert_nothing_sent(scene: Scene) -> None:
    assert scene.to_bitbucket() == []
    assert scene.tapped("request") == []


def test_without_variables_all_that_is_missing_is_listed(scene: Scene, build_dir: Path) -> None:
    run = scene.run({}, build_dir)
    assert run.exit_code == 2
    for name in (
        "RECEIVER_URL",
        "BITBUCKET_WORKSPACE",
        "BITBUCKET_REPO_UUID",
        "BITBUCKET_COMMIT",
        "BITBUCKET_STEP_UUID",
    ):
        assert f"✖ {name} is missing" in run.text


def test_all_malformed_variables_are_listed_at_once_with_a_fix_each(scene: Scene, build_dir: Path) -> None:
    malformed = {
        "RECEIVER_URL": "http://api.acme.dev/handoff",
        "EVENT": "exploded",
        "ARTIFACT_ID": "api:1.0",
        "CUSTOM_DATA": "[1]",
        "SCOPE": 'a"b',
        "SIGNING_SECRET": "not-a-secret",
        "REPORT": "pigeon",
        "STATUS_KEY": "k" * 41,
        "STATUS_NAME": "n" * 256,
        "ATLASSIAN_ACCOUNT_EMAIL": "dev@acme.dev",
        "TIMEOUT": "soon",
        "RETRY_BUDGET": "-1",
        "WAIT_TIMEOUT": "1.5",
        "CA_CERTIFICATE": "not a certificate",
        "DRY_RUN": "maybe",
    }
    run = scene.run(scene.variables(scene.step(), **malformed, DEBUG="false"), build_dir)
    assert run.exit_code == 2
    named = {line.split()[1] for line in run.text.splitlines() if line.startswith("✖ ")}
    assert named == (set(malformed) - {"ATLASSIAN_ACCOUNT_EMAIL"}) | {"ATLASSIAN_API_TOKEN"}
    assert_nothing_sent(scene)


def test_an_empty_variable_counts_as_absent(scene: Scene, build_dir: Path) -> None:
    run = scene.run(scene.variables(scene.step(), SCOPE="", CUSTOM_DATA="", SIGNING_SECRET=""), build_dir)
    assert run.exit_code == 0, run.text


def test_a_step_without_oidc_is_shown_the_yaml_that_it_lacks(scene: Scene, build_dir: Path) -> None:
    variables = scene.variables(scene.step(), BITBUCKET_STEP_OIDC_TOKEN=None)
    run = scene.run(variables, build_dir)
    assert run.exit_code == 3
    assert "oidc:" in run.text
    assert f"- {scene.receiver.url}" in run.text
    assert_nothing_sent(scene)


@pytest.mark.parametrize("audiences", [None, ["https://another.acme.dev/handoff"]])
def test_another_audience_is_named_with_the_yaml_to_add(
    scene: Scene, build_dir: Path, audiences: list[str] | None
) -> None:
    step = scene.step()
    run = scene.run(scene.variables(step, scene.token(step, audiences=audiences)), build_dir)
    assert run.exit_code == 3
    assert "audiences:" in run.text
    assert f"- {scene.receiver.url}" in run.text
    assert (audiences or ["ari:cloud:bitbucket::workspace/"])[0] in run.text
    assert_nothing_sent(scene)


def test_an_expired_token_is_told_with_its_age(scene: Scene, build_dir: Path) -> None:
    step = scene.step()
    run = scene.run(scene.variables(step, scene.token(step, age=3600 + 600)), build_dir)
    assert run.exit_code == 3
    assert "expired 10 min" in run.text
    assert_nothing_sent(scene)


def test_a_token_that_is_none_is_not_printed(scene: Scene, build_dir: Path) -> None:
    run = scene.run(scene.variables(scene.step(), "what-a-user-pasted-here"), build_dir)
    assert run.exit_code == 3
    assert "what-a-user-pasted-here" not in run.text
    assert_nothing_sent(scene)


def test_a_dry_run_sends_nothing_and_prints_the_request(scene: Scene, build_dir: Path) -> None:
    step = scene.step()
    run = scene.run(scene.variables(step, DRY_RUN="true"), build_dir)
    assert run.exit_code == 0, run.text
    assert "curl" in run.stdout
    assert step.commit in run.stdout
    # What a first policy file is written from, says the README.
    assert step.environment is not None
    for uuid in (step.workspace.uuid, step.repository.uuid, step.environment.uuid):
        assert uuid in run.stdout
    assert_nothing_sent(scene)
