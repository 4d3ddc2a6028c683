"""`make demo`: a production deployment from main, and the same from a feature branch, between the real pipe and the app beside;
and the review of a pull request that lets more branches deploy than it means to.

Bitbucket is played by a stand-in; everything else is real. Ends by itself and leaves nothing behind.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from pull_request import PullRequest
from support.bitbucket_standin import API, PRODUCTION, BitbucketStandin, Principal, Step
from support.scenes import ReceiverProcess

HERE = Path(__file__).parent
PIPE = HERE.parent / "target/release/fastapi-handoff"
ACCESS_TOKEN = "a-repository-access-token"  # noqa: S105 - one of the stand-in's


@dataclass(frozen=True)
class Stage:
    """What runs during the demo, and the folder that it all works in."""

    folder: Path
    standin: BitbucketStandin
    receiver: ReceiverProcess

    def deploy(self, branch: str) -> tuple[int, Path]:
        """Hands a production deployment from `branch` over and shows what everyone saw of it.

        Gives the pipe's exit code, and where it writes the receipt.
        """
        step = Step(self.standin.workspace, API, branch=branch, environment=PRODUCTION)
        token = self.standin.identity_provider.step_token(step, audiences=[self.receiver.url])
        show("The step runs the pipe, which prints")
        storage = self.folder / step.step_uuid
        storage.mkdir()
        receipt_file = storage / "receipt.json"
        variables = {
            **step.variables(),
            "BITBUCKET_STEP_OIDC_TOKEN": token,
            "BITBUCKET_PIPE_STORAGE_DIR": str(storage),
            "RECEIVER_URL": self.receiver.url,
            "RECEIPT_FILE": str(receipt_file),
            "BITBUCKET_ACCESS_TOKEN": ACCESS_TOKEN,
            "BITBUCKET_API_URL": self.standin.api_url,
        }
        exit_code = run([str(PIPE)], variables)
        show(f"It ends with exit code {exit_code}. The app's handler has written, to deployments.log")
        log = self.folder / "deployments.log"
        lines = log.read_text().splitlines() if log.exists() else []
        indent([line for line in lines if step.commit[:7] in line] or ["(nothing)"])
        show(f"The commit {step.commit[:7]} in Bitbucket shows")
        for status in self.standin.statuses.of_commit(API, step.commit):
            indent([f"{' → '.join(status.states)}  {status.values['name']}", f"  {status.values['description']}"])
        return exit_code, receipt_file

    def audit(self, *command: str) -> bool:
        """Runs `fastapi-handoff audit …` on the app's store."""
        show(f"$ fastapi-handoff audit {' '.join(command)}")
        program = str(Path(sys.executable).with_name("fastapi-handoff"))
        return run([program, "audit", *command, "--store", f"sqlite:///{self.folder}/handoff.db"], {**os.environ}) == 0

    def review(self) -> tuple[int, bool]:
        """Reviews a pull request that widens a grant, and shows it; gives the exit code, and whether the commit shows it."""
        change = PullRequest(self.folder, self.standin)
        show("$ fastapi-handoff policy review handoff.toml --base main --post")
        exit_code, lines = change.review()
        indent(lines)
        show(f"It ends with exit code {exit_code}. The commit {change.commit[:7]} in Bitbucket shows")
        shown = change.shown_on_the_commit()
        indent(shown or ["(nothing)"])
        return exit_code, any("branch `mainx`" in line for line in shown)


def anchor(receipt_file: Path) -> str:
    """The head of the audit chain as a receipt shows it; empty where there is no receipt."""
    if not receipt_file.exists():
        return ""
    head = json.loads(receipt_file.read_text())["audit"]
    return f"{head['seq']}:{head['hash']}"


@contextmanager
def stage() -> Iterator[Stage]:
    """Starts the stand-in and the app, and ends both."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="handoff-demo-")))
        standin = stack.enter_context(BitbucketStandin())
        standin.credentials.access_tokens[ACCESS_TOKEN] = Principal("pipe")
        receiver = stack.enter_context(ReceiverProcess("app:app", folder, import_from=HERE))
        receiver.start(
            {
                "RECEIVER_URL": receiver.url,
                "BITBUCKET_URL": standin.bitbucket_url,
                "HANDOFF_STORE": f"sqlite:///{folder}/handoff.db",
            },
            folder / "uvicorn.log",
        )
        yield Stage(folder, standin, receiver)


def run(command: list[str], variables: dict[str, str]) -> int:
    """Runs a command with exactly these variables and shows its output."""
    done = subprocess.run(
        command, check=False, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60
    )
    indent(done.stdout.splitlines())
    return done.returncode


def title(text: str) -> None:
    """Prints a part's title."""
    print(f"\n━━ {text} {'━' * (100 - len(text))}")


def show(text: str) -> None:
    """Prints what comes next."""
    print(f"\n  {text}:", flush=True)


def indent(lines: list[str]) -> None:
    """Prints lines as a block."""
    for line in lines:
        print(f"    {line}", flush=True)


def main() -> int:
    """Runs the demo; 1 where it did not go as it says."""
    with stage() as on:
        title("1 · A production deployment from main")
        from_main, receipt_file = on.deploy("main")
        title("2 · The same deployment from feature/checkout")
        from_feature, _ = on.deploy("feature/checkout")
        title("3 · What an auditor sees")
        listed = on.audit("list")
        # Whoever kept the build log of part 1 can tell that nothing up to it was changed or cut off.
        verified = on.audit("verify", "--anchor", anchor(receipt_file))
        title("4 · A pull request that means to let main-hotfix deploy as well")
        reviewed, reported = on.review()
    went_well = (from_main, from_feature, listed, verified) == (0, 4, True, True) and (reviewed, reported) == (1, True)
    said = "main was let in, the feature branch was not; the pull request that gives more access was caught"
    print(f"\n{said}" if went_well else "\nthe demo did not go as expected")
    return 0 if went_well else 1


sys.exit(main())
