"""What the pipe finds wrong by itself: mistakes in its variables (exit 2), no usable step token (exit 3); nothing is sent."""

import json
from pathlib import Path

import pytest

from support.scenes import Scene


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


def nested(levels: int) -> str:
    """A JSON object with so many levels."""
    return '{"a":' * levels + "1" + "}" * levels


@pytest.mark.parametrize(
    ("variables", "line"),
    [
        pytest.param(variables, line, id=line)
        for line, variables in {
            "CUSTOM_DATA is nested too deep": {"CUSTOM_DATA": nested(30)},
            "CUSTOM_DATA has a NUL character": {"CUSTOM_DATA": r'{"a": [{"\u0000": 1}]}'},
            "CUSTOM_DATA is not JSON: number out of range": {"CUSTOM_DATA": '{"a": 1e400}'},
            "SERVICE has 1025 characters": {"SERVICE": "s" * 1025},
            "ENVIRONMENT has 1025 characters": {"ENVIRONMENT": "ü" * 1025},
            "ARTIFACT_ID has 1025 characters": {"ARTIFACT_ID": "pkg:oci/".ljust(1025, "a")},
            "BITBUCKET_COMMIT is not a full commit hash": {"BITBUCKET_COMMIT": "A" * 40},
            f"BITBUCKET_BUILD_NUMBER is `{2**53}`": {"BITBUCKET_BUILD_NUMBER": str(2**53)},
            "SCOPE has 1025 characters": {"SCOPE": "s" * 1025},
            "SCOPE names no scope": {"SCOPE": " , "},
            "SCOPE has characters that no scope may have": {"SCOPE_COUNT": "1", "SCOPE_0": 'a"b'},
            "SERVICE is a list": {"SERVICE_COUNT": "2", "SERVICE_0": "api", "SERVICE_1": "worker"},
            "SIGNING_SECRET_COUNT is not a number": {"SIGNING_SECRET_COUNT": "two", "SIGNING_SECRET_0": "whsec_"},
            "BITBUCKET_ACCESS_TOKEN has a line break": {"BITBUCKET_ACCESS_TOKEN": "half a token\nand half"},
            "RECEIPT_FILE is a directory": {"RECEIPT_FILE": "out/"},
            "RECEIPT_FILE is in a directory that is not there": {"RECEIPT_FILE": "missing/receipt.json"},
            "RECEIPT_FILE cannot be written": {"RECEIPT_FILE": "r" * 256},
        }.items()
    ],
)
def test_what_the_receiver_or_the_machine_would_refuse_is_a_mistake_before_anything_is_sent(
    variables: dict[str, str], line: str, scene: Scene, build_dir: Path
) -> None:
    run = scene.run(scene.variables(scene.step(), **variables), build_dir)
    assert run.exit_code == 2, run.text
    assert f"✖ {line}" in run.text
    assert_nothing_sent(scene)


def test_the_largest_values_that_pass_the_checks_pass_the_receivers_too(scene: Scene, build_dir: Path) -> None:
    largest = {
        "CUSTOM_DATA": nested(29).replace("1}", f"{2**53 - 1}}}"),
        "ARTIFACT_ID": "pkg:oci/".ljust(1024, "a"),
        "BITBUCKET_BUILD_NUMBER": str(2**53 - 1),
    }
    run = scene.run(scene.variables(scene.step(), **largest), build_dir)
    assert run.exit_code == 0, run.text


def test_numbers_of_custom_data_reach_the_handler_as_they_are(scene: Scene, build_dir: Path) -> None:
    numbers = '{"a":1234567890123456789,"b":6.02e23,"c":1e16,"d":-0.5}'
    run = scene.run(scene.variables(scene.step(), CUSTOM_DATA=numbers), build_dir)
    assert run.exit_code == 0, run.text
    (sent,) = scene.requests("POST", "/handoff/events")
    assert json.loads(sent.body)["data"]["customData"]["custom"] == json.loads(numbers)


def test_a_list_of_scopes_is_what_is_asked_for(scene: Scene, build_dir: Path) -> None:
    scopes = {"SCOPE_COUNT": "2", "SCOPE_0": "deployments:write", "SCOPE_1": "backups:read"}
    run = scene.run(scene.variables(scene.step(), **scopes), build_dir)
    assert run.exit_code == 4, run.text
    assert "scope-not-granted" in run.text
    assert "backups:read" in run.text


@pytest.mark.parametrize(("report", "exit_code"), [("auto", 2), ("none", 0), ("insights", 0)])
def test_half_of_a_credential_is_a_mistake_where_one_could_be_used(
    report: str, exit_code: int, scene: Scene, build_dir: Path
) -> None:
    run = scene.run(scene.variables(scene.step(), ATLASSIAN_API_TOKEN="of-another-pipe", REPORT=report), build_dir)
    assert run.exit_code == exit_code, run.text
    assert ("ATLASSIAN_ACCOUNT_EMAIL is missing beside ATLASSIAN_API_TOKEN" in run.text) == (exit_code == 2)


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
