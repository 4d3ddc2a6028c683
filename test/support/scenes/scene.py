"""A whole stage for the pipe: Bitbucket's stand-in, a receiver in a process of its own, and the pipe, all on this machine."""

import base64
import io
import json
import sqlite3
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from fastapi_handoff import cli

from support.bitbucket_standin import API, PRODUCTION, BitbucketStandin, Principal, RecordedRequest, Step
from support.judges import leaks, official_openapi

from .pipe_under_test import Pipe, PipeRun, finished
from .receiver_process import ReceiverProcess

ACCESS_TOKEN = "ATCTT3xFfGN0-a-repository-access-token=1A2B3C4D"
SIGNING_SECRET = "whsec_" + base64.b64encode(b"a signing secret of 32 bytes, ok").decode()
# The app under test raises with it in the message, so that a test can look for it where tracebacks must not go.
DATABASE_PASSWORD = "correct-horse-battery-staple"
_HERE = Path(__file__).parent
_POLICY = f"""
[bitbucket]
workspace = "acme"
workspace_uuid = "{{workspace_uuid}}"

[[grants]]
name = "api, production, from main"
repository = "{API.uuid}"
environment = "{PRODUCTION.uuid}"
branch = "main"
scopes = ["deployments:write"]
"""


@dataclass(frozen=True)
class Tapped:
    """A request as the receiver's machine got it."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass
class Scene:
    """The stage; `reset` clears what a test left on it."""

    pipe: Pipe
    folder: Path
    signing_secrets: Sequence[str] = ()
    runs: list[PipeRun] = field(default_factory=list)
    secrets: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        public_host = self.pipe.public_host
        self._tap = self.folder / "tap.jsonl"
        self.log = self.folder / "receiver.log"
        self.database = self.folder / "handoff.db"
        # What was opened is closed where a later part cannot be had.
        with ExitStack() as stack:
            self.standin = stack.enter_context(BitbucketStandin(self.pipe.hosts, public_host=public_host))
            self.standin.credentials.access_tokens[ACCESS_TOKEN] = Principal("pipe")
            app, host = "receiver_app:app", self.pipe.hosts[-1]
            self.receiver = stack.enter_context(
                ReceiverProcess(app, self.folder, import_from=_HERE, host=host, public_host=public_host)
            )
            self._stand_between(stack)
            self.receiver.start(self._receivers_variables(), self.log)
            self._stack = stack.pop_all()

    def _stand_between(self, stack: ExitStack) -> None:
        """Puts something between the pipe and its servers, in a scene that has such a thing; the receiver is not started yet."""

    def _receivers_variables(self) -> dict[str, str]:
        policy = self.folder / "handoff.toml"
        policy.write_text(_POLICY.replace("{workspace_uuid}", self.standin.workspace.uuid))
        return {
            "POLICY": str(policy),
            "STORE": f"sqlite:///{self.database}",
            "RECEIVER_URL": self.receiver.url,
            "BITBUCKET_URL": self.standin.bitbucket_url,
            "SIGNING_SECRETS": " ".join(self.signing_secrets),
            "TAP": str(self._tap),
            "DATABASE_PASSWORD": DATABASE_PASSWORD,
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def reset(self) -> None:
        """Forgets what came in so far."""
        self.standin.journal.clear()
        self._tap.write_bytes(b"")
        self.runs.clear()
        self.secrets = {ACCESS_TOKEN, *self.signing_secrets}
        ((self._last_seq,),) = self.rows("SELECT coalesce(max(seq), 0) FROM audit_records")

    def step(self, **change: Any) -> Step:
        """A production deployment of `acme/api` from main, or what `change` makes of it."""
        return Step(self.standin.workspace, **{"repository": API, "environment": PRODUCTION, **change})

    def token(self, step: Step, **how: Any) -> str:
        """The step's token, for this receiver unless `audiences` says otherwise; see `IdentityProvider.step_token`."""
        return self.standin.identity_provider.step_token(step, **{"audiences": [self.receiver.url], **how})

    def variables(self, step: Step, token: str | None = None, **change: str | None) -> dict[str, str]:
        """The variables of a usual run: the step's, its token, and the pipe's own. A `None` in `change` takes one out."""
        usual: dict[str, str | None] = {
            **step.variables(),
            "BITBUCKET_STEP_OIDC_TOKEN": token or self.token(step),
            "RECEIVER_URL": self.receiver.url,
            "BITBUCKET_ACCESS_TOKEN": ACCESS_TOKEN,
            "BITBUCKET_API_URL": self.standin.api_url,
            "BITBUCKET_OAUTH_URL": self.standin.oauth_url,
            "BITBUCKET_PROXY_URL": self.standin.proxy_url,
            "DEBUG": "true",
            **change,
        }
        return {name: value for name, value in usual.items() if value is not None}

    def start(self, variables: Mapping[str, str], build_dir: Path) -> subprocess.Popen[str]:
        """Starts the pipe, and remembers what must show up nowhere."""
        self.secrets |= {variables[name] for name in _SECRET_VARIABLES if variables.get(name)}
        return self.pipe.start(variables, build_dir)

    def finish(self, process: subprocess.Popen[str]) -> PipeRun:
        """Waits for the end of a pipe that was started, and remembers what it wrote."""
        run = finished(process)
        self.runs.append(run)
        return run

    def run(self, variables: Mapping[str, str], build_dir: Path) -> PipeRun:
        """Runs the pipe from start to end."""
        return self.finish(self.start(variables, build_dir))

    def tapped(self, kind: str) -> list[dict[str, Any]]:
        """The tap's lines of one kind: `request` or `handler`."""
        lines = [json.loads(line) for line in self._tap.read_text().splitlines()] if self._tap.exists() else []
        return [line for line in lines if line["kind"] == kind]

    def requests(self, method: str, path: str) -> list[Tapped]:
        """What the receiver got at a path that starts so, in order of arrival."""
        return [
            Tapped(line["method"], line["path"], line["headers"], base64.b64decode(line["body"]))
            for line in self.tapped("request")
            if line["method"] == method and line["path"].startswith(path)
        ]

    def states(self, step: Step) -> list[list[str]]:
        """The states that each build status of the step's commit has had."""
        return [status.states for status in self.standin.statuses.of_commit(step.repository, step.commit)]

    def recorded_refusals(self) -> list[str]:
        """The codes of the refusals in the audit chain since the test began."""
        since = "SELECT code FROM audit_records WHERE decision = 'refused' AND seq > ? ORDER BY seq"
        return [code for (code,) in self.rows(since, self._last_seq)]

    def verify_chain(self) -> None:
        """Assert that `fastapi-handoff audit verify` finds the receiver's chain intact.

        The command runs in this process: in one of its own it would import FastAPI anew, which takes longer than the rest.
        """
        with redirect_stdout(io.StringIO()) as stdout, redirect_stderr(io.StringIO()) as stderr:
            exit_code = cli.main(["audit", "verify", "--store", f"sqlite:///{self.database}"])
        assert exit_code == 0, stdout.getvalue() + stderr.getvalue()

    def rows(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """What the receiver's database answers."""
        with closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)) as connection:
            return connection.execute(statement, values).fetchall()

    def to_bitbucket(self) -> list[RecordedRequest]:
        """What the pipe sent to Bitbucket: all but the receiver's look at the issuer's keys."""
        return [request for request in self.standin.journal.requests if "/identity/oidc/" not in request.target]

    def openapi_violations(self) -> list[str]:
        """What in the requests to Bitbucket the official OpenAPI does not allow."""
        api = [request for request in self.standin.journal.requests if request.listener in {"api", "proxy"}]
        return [
            f"{request.method} {request.target}: {said}"
            for request in api
            for said in official_openapi.violations(request)
        ]

    def leaked(self) -> list[str]:
        """Every place that holds a secret of this scene and must not."""
        minted = {
            request.headers["authorization"].partition(" ")[2]
            for request in self.requests("POST", "/handoff/events")
            if "authorization" in request.headers
        }
        places = [(f"run {at}, {name}", text) for at, run in enumerate(self.runs) for name, text in _streams(run)]
        places += [("a request to Bitbucket", request.body.decode()) for request in self.to_bitbucket()]
        places += [("the receiver's log", self.log.read_text())]
        tables = [name for (name,) in self.rows("SELECT name FROM sqlite_master WHERE type = 'table'")]
        # The names come from the database's own catalogue.
        rows = [row for table in tables for row in self.rows(f'SELECT * FROM "{table}"')]  # noqa: S608
        places += [("the receiver's database", repr(row)) for row in rows]
        return leaks(self.secrets | minted | self.standin.credentials.all_secrets(), places)


SceneMaker = Callable[[str, str], Scene]
"""Make or find the scene of a pipe (`binary`, `container`) and a receiver (`plain`, `signed`, `faulty`)."""
_SECRET_VARIABLES = (
    "BITBUCKET_STEP_OIDC_TOKEN",
    "BITBUCKET_ACCESS_TOKEN",
    "ATLASSIAN_API_TOKEN",
    "BITBUCKET_CLIENT_SECRET",
    "SIGNING_SECRET",
    "PIPELINES_JWT_TOKEN",
)


def _streams(run: PipeRun) -> list[tuple[str, str]]:
    return [("stdout", run.stdout), ("stderr", run.stderr)]
