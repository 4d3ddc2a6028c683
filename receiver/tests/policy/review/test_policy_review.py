"""The review of a pull request: from Git, as text, JSON, SARIF and Code Insights, and posted through the proxy."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft4Validator, Draft7Validator, Draft202012Validator

from fastapi_handoff.cli import main
from fastapi_handoff.policy.review import Base, Review, code_insights, report_schema_text, review, sarif
from helpers.policies import API, HEAD, PRODUCTION, policy, text

BEFORE = f'name = "api"\nenvironment = "{PRODUCTION}"\nbranch = "main"\nscopes = ["deploy"]'
WIDENED = BEFORE.replace('"main"', '"release/**"')
LEAKY = 'name = "loose"\nbranch = "release*"\nscopes = ["sync"]'
ALLOWING = (
    f'[[tests]]\nname = "releases deploy"\n'
    f'claims = {{ repository = "{API}", environment = "{PRODUCTION}", branch = "release/1" }}\nallow = ["deploy"]'
)
# Reference data that is not part of this repository; it lies beside the checkout where the project is developed.
OPENAPI = Path(__file__).resolve().parents[5] / "shared" / "bitbucket-openapi.json"


class Repository:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.git("init", "--quiet", "--initial-branch=main")

    def git(self, *arguments: str) -> str:
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false"]
        return subprocess.run(
            ["git", *identity, *arguments], cwd=self.folder, check=True, capture_output=True, text=True
        ).stdout

    def commit(self, content: str | bytes | None, name: str = "handoff.toml") -> None:
        if content is not None:
            (self.folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message=change")


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    made = Repository(tmp_path / "checkout")
    monkeypatch.chdir(made.folder)
    monkeypatch.delenv("HANDOFF_STORE", raising=False)
    return made


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    def command(*arguments: str) -> tuple[int, str, str]:
        capfd.readouterr()
        code = main(["policy", *arguments])
        return code, *capfd.readouterr()

    return command


def test_widened_grant_fails_with_its_witness_in_one_sentence(repository: Repository, run) -> None:
    repository.commit(text(BEFORE))
    repository.commit(text(WIDENED))
    code, out, err = run("review", "--base", "HEAD~1")
    assert (code, err) == (1, "")
    assert out.splitlines()[0] == (
        f"GAIN     handoff.toml:5: A caller with repository `{API}`, branch `release/x` and environment `{PRODUCTION}` "
        "gets `deploy` by grant `api`; the base refuses that."
    )
    assert out.splitlines()[-1] == "Failed: 1 grant gives new access."


def test_gain_that_a_test_allows_passes_and_is_shown(repository: Repository, run) -> None:
    repository.commit(text(BEFORE))
    repository.commit(text(WIDENED, tests=ALLOWING))
    code, out, _ = run("review", "--base", "HEAD~1")
    assert code == 0
    assert "Test `releases deploy` says that it is meant." in out
    assert out.splitlines()[-1].startswith("Passed: 1 grant gives new access that a test says is meant, ")


def test_test_that_allows_what_was_allowed_before_excuses_no_gain(repository: Repository, run) -> None:
    repository.commit(text(BEFORE))
    old = ALLOWING.replace("release/1", "main")
    repository.commit(text(BEFORE.replace('"main"', '"ma*/**"'), BEFORE.replace('"api"', '"b"'), tests=old))
    assert run("review", "--base", "HEAD~1")[0] == 1


def test_narrowed_policy_passes_and_names_the_loss(repository: Repository, run) -> None:
    repository.commit(text(WIDENED))
    repository.commit(text(WIDENED.replace("/**", "/*")))
    code, out, _ = run("review", "--base", "HEAD~1")
    assert code == 0
    assert "LOSS     handoff.toml:5: A caller with" in out
    assert "branch `release/x/x`" in out


def test_shallow_clone_with_a_fetched_base_is_enough(repository: Repository, run, tmp_path: Path, monkeypatch) -> None:
    repository.commit(text(BEFORE))
    repository.git("checkout", "--quiet", "-b", "feature")
    for number in range(3):
        repository.commit(text(WIDENED) + f"# {number}\n")
    clone = tmp_path / "clone"
    repository.git("clone", "--quiet", "--depth=1", "--branch=feature", f"file://{repository.folder}", str(clone))
    monkeypatch.chdir(clone)
    code, out, err = run("review", "--base", "origin/main")
    assert (code, out) == (2, "")
    assert "base `origin/main` is no commit of this clone: `git fetch origin main` brings a branch" in err
    subprocess.run(["git", "fetch", "--quiet", "--depth=1", "origin", "main"], cwd=clone, check=True)
    code, out, _ = run("review", "--base", "FETCH_HEAD")
    assert code == 1
    assert "1 gain, 1 loss" in out


def test_first_policy_is_all_new(repository: Repository, run) -> None:
    repository.commit("x", "README")
    repository.commit(text(BEFORE))
    code, out, _ = run("review", "--base", "HEAD~1")
    assert code == 1
    assert "There is no policy at the base" in out
    assert "gets `deploy` by grant `api`; there is no base." in out


def test_renamed_file_is_compared_with_what_it_was(repository: Repository, run) -> None:
    repository.commit(text(BEFORE), "old policy.toml")
    repository.git("mv", "old policy.toml", "handoff.toml")
    repository.commit(text(BEFORE) + "# moved\n")
    code, out, _ = run("review", "--base", "HEAD~1")
    assert code == 0, out
    assert "0 gains, 0 losses, 1 grant unchanged" in out


def test_policy_below_the_root_is_found(repository: Repository, run, monkeypatch) -> None:
    (repository.folder / "service").mkdir()
    repository.commit(text(BEFORE), "service/handoff.toml")
    monkeypatch.chdir(repository.folder / "service")
    code, out, _ = run("review", "--base", "HEAD", "--format", "sarif")
    assert code == 0
    # Reports name the file as the repository does, wherever the command runs.
    assert json.loads(out)["runs"][0]["artifacts"][0]["location"]["uri"] == "service/handoff.toml"


@pytest.mark.parametrize("base", ["nowhere", "--upload-pack=touch x", "-x", "HEAD:handoff.toml", "HEAD~99", ""])
def test_base_that_is_no_commit_is_told(repository: Repository, run, base: str) -> None:
    repository.commit(text(BEFORE))
    code, out, err = run("review", f"--base={base}")
    assert (code, out) == (2, "")
    assert "is no commit of this clone" in err


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"\xff", "handoff.toml:1: is not UTF-8"),
        (b"[[", "is not TOML"),
        (b"#" * 500_001, "is larger than 500000 bytes"),
        (text("brunch = 'x'").encode(), "is no key of a policy"),
    ],
)
def test_base_that_cannot_be_read_is_told(repository: Repository, run, content: bytes, expected: str) -> None:
    repository.commit(content)
    repository.commit(text(BEFORE))
    code, out, err = run("review", "--base", "HEAD~1")
    assert (code, out) == (2, "")
    assert expected in err


@pytest.mark.parametrize(
    "content",
    [
        b"#" * 500_001,
        b"a = " + b"[" * 4000,
        b"a = " + b"{a = " * 800,
        (".".join("a" * 1900) + " = 1\n").encode(),
        b"# " + b"x" * 5000,
        "a = 1".encode("utf-16"),
        b"a = 1\na = 1\n",
        b"\0",
        b"[bitbucket]\n" * 2,
    ],
)
@pytest.mark.parametrize(
    "command",
    [["lint"], ["test"], ["graph"], ["review"], ["diff", "handoff.toml"], ["explain", "--claim", "branch=main"]],
)
def test_file_that_is_no_policy_is_2_and_one_error(
    repository: Repository, run, command: list[str], content: bytes
) -> None:
    Path("handoff.toml").write_bytes(content)
    code, out, err = run(command[0], *command[1:], "handoff.toml")
    assert (code, out) == (2, "")
    assert err.startswith("handoff.toml:")
    assert len(err) < 1000


def test_policy_with_thousands_of_mistakes_is_told_in_fifty_lines(repository: Repository, run) -> None:
    Path("handoff.toml").write_text("[[grants]]\nx = 1\n" * 5000)
    code, _, err = run("lint", "handoff.toml")
    assert (code, len(err.splitlines())) == (2, 51)


def reviewed(*, meant: bool = False) -> Review:
    base = Base(policy=policy(BEFORE), commit="0" * 40)
    failing = f'[[tests]]\nname = "no"\nclaims = {{ repository = "{API}", branch = "release1" }}\ndeny = ["sync"]'
    tests = "\n".join([failing, *([ALLOWING] if meant else [])])
    comment = "# handoff: allow loose-glob, because the names are protected"
    return review(policy(WIDENED, LEAKY, LEAKY.replace("loose", "loose too") + f"\n{comment}", tests=tests), base)


SARIF_KEYS = {
    "result": {
        "ruleId",
        "ruleIndex",
        "level",
        "message",
        "locations",
        "baselineState",
        "partialFingerprints",
        "properties",
        "suppressions",
    },
    "rule": {"id", "name", "shortDescription", "fullDescription", "help", "helpUri", "defaultConfiguration"},
}


def test_sarif_says_what_is_new_where_with_the_witness() -> None:
    (run,) = sarif.document(reviewed(meant=True))["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert all(rule.keys() == SARIF_KEYS["rule"] for rule in rules)
    for result in run["results"]:
        assert result.keys() <= SARIF_KEYS["result"]
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["level"] in {"error", "warning", "note"}
        assert result["locations"][0]["physicalLocation"]["region"]["startLine"] >= 1
    by_rule = {result["ruleId"]: result for result in run["results"]}
    gains = [result for result in run["results"] if result["ruleId"] == "new-access"]
    assert [gain["baselineState"] for gain in gains] == ["new"] * len(gains)
    assert gains[0]["properties"]["witness"]["claims"]["branch"] == "release/x"
    assert gains[0]["suppressions"][0]["justification"] == "Test `releases deploy` says that it is meant."
    assert by_rule["failed-test"]["message"]["text"].startswith("Test `no` fails: ")
    assert by_rule["loose-glob"]["baselineState"] == "new"
    assert by_rule["loose-glob"]["suppressions"][0]["justification"] == "the names are protected"


MULTITOOL = Path(os.environ.get("SARIF_MULTITOOL", "/nowhere"))


@pytest.mark.skipif(
    not MULTITOOL.is_dir(),
    reason="set SARIF_MULTITOOL to where `npm install @microsoft/sarif-multitool-linux` put that package",
)
def test_sarif_is_valid_by_the_schema_and_by_microsofts_validator(tmp_path: Path) -> None:
    """The package brings the OASIS schema along. The validator runs without a network."""
    file = tmp_path / "review.sarif"
    file.write_text(sarif.text(reviewed(meant=True)))
    schema = json.loads((MULTITOOL / "sarif-2.1.0.json").read_text())
    assert [error.message for error in Draft7Validator(schema).iter_errors(json.loads(file.read_text()))] == []
    program = tmp_path / "multitool"
    shutil.copytree(MULTITOOL, program)
    (program / "Sarif.Multitool").chmod(0o755)
    environment = {**os.environ, "DOTNET_SYSTEM_GLOBALIZATION_INVARIANT": "1"}
    done = subprocess.run(
        [program / "Sarif.Multitool", "validate", file], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout
    assert ": error " not in done.stdout
    assert ": warning " not in done.stdout


def test_report_as_json_is_valid_by_its_published_schema(repository: Repository, run) -> None:
    published = files("fastapi_handoff").joinpath("policy/review/report.schema.json").read_text()
    assert published == report_schema_text(), "run `fastapi-handoff policy schema --of report`"
    validator = Draft202012Validator(json.loads(published))
    repository.commit(text(BEFORE))
    repository.commit(text(WIDENED, LEAKY, tests=ALLOWING))
    Path("base.toml").write_text(text(BEFORE))
    documents = {
        name: json.loads(run(*command, "--format", "json")[1])
        for name, command in {
            "review": ["review", "--base", "HEAD~1"],
            "diff": ["diff", "base.toml", "handoff.toml"],
            "lint": ["lint", "handoff.toml"],
            "test": ["test", "handoff.toml"],
        }.items()
    }
    for document in documents.values():
        validator.validate(document)
    document = documents["review"]
    assert document["gains"][0]["witness"]["claims"] == {
        "repository_uuid": API,
        "environment_uuid": PRODUCTION,
        "branch": "release/x",
    }
    assert document["gains"][0]["allowed_by_test"] == "releases deploy"
    assert document["scopes"][1] == {"scope": "sync", "grants": ["loose"]}
    assert document["grants"][0]["match"] == {"repository": API, "environment": PRODUCTION, "branch": "release/**"}
    assert "findings" not in documents["diff"]
    assert documents["lint"]["findings"][0]["rule"] == "loose-glob"


class Proxy:
    """The proxy of a step, and Bitbucket behind it."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, dict[str, str], Any]] = []
        self.status, self.answer = 200, b"{}"
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                proxy.requests.append((self.command, self.path, dict(self.headers), json.loads(body)))
                self.send_response(proxy.status)
                self.end_headers()
                with contextlib.suppress(OSError):  # The client has read enough.
                    self.wfile.write(proxy.answer)

            do_PUT = do_POST = answer  # noqa: N815

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    monkeypatch.setenv("BITBUCKET_REPO_FULL_NAME", "acme/api")
    monkeypatch.setenv("BITBUCKET_COMMIT", "a" * 40)
    # A proxy of the environment would be asked without being able to add the authentication.
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    running = Proxy()
    yield running
    running.close()


def test_report_goes_through_the_proxy_without_a_credential(repository: Repository, run, proxy: Proxy) -> None:
    repository.commit(text(BEFORE))
    repository.commit(text(WIDENED, LEAKY))
    code, _, err = run("review", "--base", "HEAD~1", "--post", "--proxy", proxy.url)
    assert code == 1
    assert err == f"the report is on commit {'a' * 12}, with 3 annotations\n"
    url = f"http://api.bitbucket.org/2.0/repositories/acme/api/commit/{'a' * 40}/reports/fastapi-handoff-policy"
    assert [(method, target) for method, target, _, _ in proxy.requests] == [
        ("PUT", url),
        ("POST", f"{url}/annotations"),
    ]
    assert all("authorization" not in {name.lower() for name in headers} for _, _, headers, _ in proxy.requests)
    (_, _, _, report), (_, _, _, annotations) = proxy.requests
    assert report["result"] == "FAILED"
    assert "loses `deploy`" in report["details"]
    changed = [line for line, text in enumerate(Path("handoff.toml").read_text().splitlines(), 1) if "release" in text]
    assert [annotation["line"] for annotation in annotations] == [changed[0], *[annotations[1]["line"]], changed[1]]


@pytest.mark.parametrize("status", [400, 401, 500])
def test_refusal_of_bitbucket_is_told_in_bounded_length(repository: Repository, run, proxy: Proxy, status: int) -> None:
    repository.commit(text(BEFORE))
    proxy.status, proxy.answer = status, b"\x1b[2J" + b"x" * 10_000_000
    code, _, err = run("review", "--post", "--proxy", proxy.url)
    assert code == 2
    assert f"Bitbucket answers {status} to PUT" in err
    assert len(err) < 10_000
    assert "\x1b" not in err


def test_proxy_that_is_not_there_is_told(repository: Repository, run, proxy: Proxy) -> None:
    repository.commit(text(BEFORE))
    code, _, err = run("review", "--post", "--proxy", "http://127.0.0.1:1")
    assert code == 2
    assert err.startswith("the report is not on the commit: ConnectError")


def test_post_outside_of_a_step_is_told(repository: Repository, run, proxy: Proxy, monkeypatch) -> None:
    repository.commit(text(BEFORE))
    monkeypatch.setenv("BITBUCKET_COMMIT", "../../x")
    code, _, err = run("review", "--post", "--proxy", proxy.url)
    assert code == 2
    assert "--post needs `BITBUCKET_REPO_FULL_NAME` and `BITBUCKET_COMMIT`" in err
    assert proxy.requests == []


def test_annotations_stand_on_changed_lines_only() -> None:
    found = reviewed()
    base = found.base.policy.source.text.splitlines()  # type: ignore[union-attr]
    head = found.head.source.text.splitlines()
    marks = code_insights.marks(found)
    assert marks
    for mark in marks:
        assert head[mark["line"] - 1] not in base or mark["line"] > len(base) - 2
    assert [mark for mark in marks if "loose too" in mark["summary"] and "loose-glob" in mark["summary"]] == []


@pytest.mark.skipif(not OPENAPI.is_file(), reason="the official OpenAPI is not beside this checkout")
def test_code_insights_bodies_are_valid_by_the_official_openapi() -> None:
    document = json.loads(OPENAPI.read_text())
    # The document types the value of a report's data as `object`; its own text takes booleans, numbers and strings.
    del document["definitions"]["report_data"]["properties"]["value"]["type"]
    long = policy(
        WIDENED.replace("release", "r" * 200), *(LEAKY.replace("loose", f"{n} " + "n" * 190) for n in range(150))
    )
    for found in (reviewed(), reviewed(meant=True), review(long, Base(policy=policy(BEFORE), commit=None))):
        marks = code_insights.marks(found)
        for name, body in [("report", code_insights.report(found)), *(("report_annotation", mark) for mark in marks)]:
            schema = {"$ref": f"#/definitions/{name}", "definitions": document["definitions"]}
            errors = [e.message for e in Draft4Validator(schema).iter_errors(body)]
            assert errors == []
        assert all(0 < len(mark["summary"]) <= 450 and len(mark["details"]) <= 2000 for mark in marks)
        assert len({mark["external_id"] for mark in marks}) == len(marks) <= 1000
        assert len(code_insights.report(found)["data"]) <= 10


def test_app_tells_which_scopes_it_needs(repository: Repository, run, monkeypatch: pytest.MonkeyPatch) -> None:
    repository.commit(text('branch = "main"\nscopes = ["deploy", "sync:write"]'))
    Path("shop.py").write_text(
        "from fastapi import FastAPI, Security\nfrom fastapi_handoff import Handoff\n"
        'handoff = Handoff("handoff.toml", "sqlite:///x.db", "https://api.acme.dev/handoff")\n'
        "app = FastAPI()\n"
        'app.include_router(handoff.router, prefix="/handoff")\n'
        '@handoff.on("service.deployed", scope="deploy")\nasync def deployed(event, identity): ...\n'
        '@app.post("/audit")\nasync def audit(identity=Security(handoff.identity, scopes=["audit:write"])): ...\n'
    )
    monkeypatch.syspath_prepend(repository.folder)
    code, out, _ = run("lint", "handoff.toml", "--app", "shop:app", "--format", "json")
    document = json.loads(out)
    assert {finding["rule"] for finding in document["findings"]} == {"unused-scope", "unheld-scope"}
    assert document["scopes"] == [
        {"scope": "deploy", "grants": ["grant 1"], "needed_by": ["service.deployed"]},
        {"scope": "sync:write", "grants": ["grant 1"], "needed_by": []},
        {"scope": "audit:write", "grants": [], "needed_by": ["POST /audit"]},
    ]
    assert code == 0


@pytest.mark.parametrize("app", ["shop", "nowhere:app", "json:nothing", "json:loads"])
def test_app_that_is_none_is_told(repository: Repository, run, app: str) -> None:
    repository.commit(text('branch = "main"'))
    code, _, err = run("lint", "handoff.toml", "--app", app)
    assert code == 2
    assert app in err or "MODULE:NAME" in err


def test_graph_shows_who_has_what_and_no_name_can_draw(repository: Repository, run) -> None:
    repository.commit(text('name = "a\\"] --> b[\\"x"\nbranch = "main"'))
    code, out, _ = run("graph", "handoff.toml")
    assert (code, out) == (0, f'issuer bitbucket, repository {API}, branch main → `deploy`  (a"] --> b["x)\n')
    _, out, _ = run("graph", "handoff.toml", "--format", "mermaid")
    assert out.startswith("flowchart LR\n")
    assert '"] -->' not in out.replace('c0 -- "', "").splitlines()[-1]
    assert out.count("-->") == 1


def test_workspace_that_is_swapped_is_named(repository: Repository, run) -> None:
    """The callers read the same before and after: what changed is whom they are believed to be by."""
    repository.commit(text(BEFORE))
    repository.commit(text(BEFORE).replace("c8b5a4d4", "d8b5a4d4"))
    code, out, _ = run("review", "--base", "HEAD~1")
    assert code == 1
    assert (
        "the base does not trust its issuer, kind `bitbucket`, workspace `acme` and workspace_uuid `{d8b5a4d4-" in out
    )
    assert (
        "ISSUER   `bitbucket` is trusted no more: kind `bitbucket`, workspace `acme` and workspace_uuid `{c8b5a" in out
    )


@pytest.mark.parametrize(("mode", "code"), [("audit", "issuer-audit-only"), ("off", "issuer-unknown")])
def test_explain_and_the_review_know_that_an_issuer_is_not_enforced(
    repository: Repository, run, mode: str, code: str
) -> None:
    caller = ["--claim", f"repository={API}", "--claim", "branch=main", "--claim", f"environment={PRODUCTION}"]
    on_trial = text(BEFORE, head=f'{HEAD}mode = "{mode}"\n')
    repository.commit(on_trial)
    status, out, _ = run("explain", "handoff.toml", *caller)
    assert status == 1
    assert "  ok  branch: expected main · got main\n" in out
    assert out.splitlines()[-1].startswith(f"refused: {code}: ")
    status, out, _ = run("explain", "handoff.toml", *caller, "--format", "json")
    answer = json.loads(out)
    assert (answer["granted"], answer["grant"], answer["scopes"], answer["code"]) == (False, None, [], code)

    # Enforced from now on: new access, which the base did not give, and which a test can say is meant.
    repository.commit(text(BEFORE))
    assert run("review", "--base", "HEAD~1")[0] == 1
    assert run("explain", "handoff.toml", *caller)[0] == 0
    repository.commit(text(BEFORE, tests=ALLOWING.replace("release/1", "main")))
    status, out, _ = run("review", "--base", "HEAD~2")
    assert status == 0, out
