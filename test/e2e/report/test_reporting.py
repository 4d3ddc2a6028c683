"""How the commit is told: which credential, which way, and what a user reads where Bitbucket says no."""

import json
from pathlib import Path

from support.bitbucket_standin import Fault, Principal
from support.scenes import Scene

API_TOKEN = "ATATT3xFfGF0-an-api-token=99AABBCC"
CLIENT_SECRET = "the-secret-of-an-oauth-consumer"


def test_an_api_token_reports_with_basic(scene: Scene, build_dir: Path) -> None:
    scopes = frozenset({"read:repository:bitbucket"})
    scene.standin.credentials.api_tokens["dev@acme.dev", API_TOKEN] = Principal("dev", scopes)
    step = scene.step()
    variables = scene.variables(
        step, BITBUCKET_ACCESS_TOKEN=None, ATLASSIAN_ACCOUNT_EMAIL="dev@acme.dev", ATLASSIAN_API_TOKEN=API_TOKEN
    )
    assert scene.run(variables, build_dir).exit_code == 0
    assert scene.states(step) == [["INPROGRESS", "SUCCESSFUL"]]
    assert {request.authorization_scheme for request in scene.to_bitbucket()} == {"Basic"}


def test_of_several_credentials_the_api_token_is_used_first_and_then_the_access_token(
    scene: Scene, build_dir: Path
) -> None:
    credentials = scene.standin.credentials
    credentials.api_tokens["dev@acme.dev", API_TOKEN] = Principal("dev", frozenset({"read:repository:bitbucket"}))
    oauth = {"BITBUCKET_CLIENT_ID": "consumer", "BITBUCKET_CLIENT_SECRET": CLIENT_SECRET}
    api_token = {"ATLASSIAN_ACCOUNT_EMAIL": "dev@acme.dev", "ATLASSIAN_API_TOKEN": API_TOKEN}
    first = scene.run(scene.variables(scene.step(), **oauth, **api_token), build_dir)
    assert "a build status, with ATLASSIAN_API_TOKEN" in first.text
    second = scene.run(scene.variables(scene.step(), **oauth), build_dir)
    assert "a build status, with BITBUCKET_ACCESS_TOKEN" in second.text


def test_an_oauth_consumer_buys_one_access_token_and_reports_with_it(scene: Scene, build_dir: Path) -> None:
    scene.standin.credentials.oauth_clients["consumer", CLIENT_SECRET] = Principal("consumer")
    step = scene.step()
    variables = scene.variables(
        step, BITBUCKET_ACCESS_TOKEN=None, BITBUCKET_CLIENT_ID="consumer", BITBUCKET_CLIENT_SECRET=CLIENT_SECRET
    )
    assert scene.run(variables, build_dir).exit_code == 0
    assert scene.states(step) == [["INPROGRESS", "SUCCESSFUL"]]
    assert [request.listener for request in scene.to_bitbucket()] == ["site", "api", "api"]


def test_without_any_credential_a_report_goes_through_the_proxy(scene: Scene, build_dir: Path) -> None:
    step = scene.step()
    run = scene.run(scene.variables(step, BITBUCKET_ACCESS_TOKEN=None), build_dir)
    assert run.exit_code == 0, run.text
    assert {request.listener for request in scene.to_bitbucket()} == {"proxy"}
    (report,) = scene.standin.insights.of_commit(step.repository, step.commit)
    assert report.values["result"] == "PASSED"
    shown = {element["title"]: element["value"] for element in report.values["data"]}
    assert shown["Environment"] == "production"
    assert shown["Grant"] == "api, production, from main"
    assert shown["Audit"] in run.text


def test_a_refusal_is_reported_as_failed_through_the_proxy(scene: Scene, build_dir: Path) -> None:
    step = scene.step(branch="feature/checkout")
    run = scene.run(scene.variables(step, BITBUCKET_ACCESS_TOKEN=None), build_dir)
    assert run.exit_code == 4
    (report,) = scene.standin.insights.of_commit(step.repository, step.commit)
    assert report.values["result"] == "FAILED"


def test_report_none_tells_the_commit_nothing(scene: Scene, build_dir: Path) -> None:
    run = scene.run(scene.variables(scene.step(), REPORT="none"), build_dir)
    assert run.exit_code == 0, run.text
    assert scene.to_bitbucket() == []


def test_a_pull_request_ties_the_status_to_its_source_branch(scene: Scene, build_dir: Path) -> None:
    scene.run(scene.variables(scene.step(pull_request=7)), build_dir)
    bodies = [json.loads(request.body) for request in scene.to_bitbucket()]
    assert {body["refname"] for body in bodies} == {"main"}


def test_a_rate_limit_is_waited_out(scene: Scene, build_dir: Path) -> None:
    scene.standin.journal.faults.append(Fault(times=1, status=429, headers={"Retry-After": "1"}, target="statuses"))
    step = scene.step()
    run = scene.run(scene.variables(step), build_dir)
    assert run.exit_code == 0, run.text
    assert scene.states(step)[0][-1] == "SUCCESSFUL"


def test_someone_elses_status_is_explained_and_fails_only_where_it_must(scene: Scene, build_dir: Path) -> None:
    credentials = scene.standin.credentials
    credentials.access_tokens["someone-elses-access-token"] = Principal("someone")
    step = scene.step()
    theirs = scene.variables(step, BITBUCKET_ACCESS_TOKEN="someone-elses-access-token")
    scene.run(theirs, build_dir)
    automatic = scene.run(scene.variables(step), build_dir)
    required = scene.run(scene.variables(step, REPORT="status"), build_dir)
    assert (automatic.exit_code, required.exit_code) == (0, 7)
    for run in (automatic, required):
        assert "the commit was not told" in run.text
        assert "STATUS_KEY" in run.text


def test_a_missing_scope_is_named(scene: Scene, build_dir: Path) -> None:
    scene.standin.credentials.access_tokens["a-token-for-pull-requests"] = Principal("pipe", frozenset({"pullrequest"}))
    variables = scene.variables(scene.step(), BITBUCKET_ACCESS_TOKEN="a-token-for-pull-requests", REPORT="status")
    run = scene.run(variables, build_dir)
    assert run.exit_code == 7
    assert "`repository`" in run.text


def test_the_status_key_is_stable_and_differs_by_service_and_environment(scene: Scene, build_dir: Path) -> None:
    step = scene.step()
    for service in ("api", "worker"):
        scene.run(scene.variables(step, SERVICE=service), build_dir)
    keys = [status.key for status in scene.standin.statuses.of_commit(step.repository, step.commit)]
    assert keys == ["handoff-api-production", "handoff-worker-production"]
