"""The last part of the demo: a pull request that widens a grant, reviewed in its own pipeline."""

import os
import subprocess
import sys
from pathlib import Path

from support.bitbucket_standin import API, BitbucketStandin, Step

POLICY = Path(__file__).with_name("handoff.toml")
NARROW, WIDE = 'branch = "main"', 'branch = "main*"'
_FEWEST_VARIABLES = ("PATH", "HOME", "LANG")


class PullRequest:
    """A repository whose `main` has the demo's policy, and a branch that means to let `main-hotfix` deploy as well."""

    def __init__(self, folder: Path, standin: BitbucketStandin) -> None:
        self.folder = folder / "pull-request"
        self.standin = standin
        self.folder.mkdir()
        self._git("init", "--quiet", "--initial-branch=main")
        self._commit(POLICY.read_text())
        self._git("checkout", "--quiet", "-b", "feature/deploy-main-hotfix")
        self._commit(POLICY.read_text().replace(NARROW, WIDE))
        self.commit = self._git("rev-parse", "HEAD").strip()

    def review(self) -> tuple[int, list[str]]:
        """Reviews the policy as a step of the pull request's pipeline does, and gives exit code and output."""
        step = Step(self.standin.workspace, API, branch="feature/deploy-main-hotfix", commit=self.commit)
        command = [str(Path(sys.executable).with_name("fastapi-handoff")), "policy", "review", POLICY.name]
        command += ["--base", "main", "--post", "--proxy", self.standin.proxy_url]
        variables = {name: os.environ[name] for name in _FEWEST_VARIABLES if name in os.environ} | step.variables()
        done = subprocess.run(
            command,
            check=False,
            cwd=self.folder,
            env=variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return done.returncode, done.stdout.splitlines()

    def shown_on_the_commit(self) -> list[str]:
        """What Code Insights shows: the report's result and details, then each annotation with its place."""
        lines = []
        for report in self.standin.insights.of_commit(API, self.commit):
            lines += [f"{report.values['result']}  {report.values['title']}", f"  {report.values['details']}"]
            lines += [f"  {each['path']}:{each['line']}  {each['summary']}" for each in report.annotations.values()]
        return lines

    def _commit(self, policy: str) -> None:
        (self.folder / POLICY.name).write_text(policy)
        self._git("add", "--all")
        self._git("commit", "--quiet", "--message=Change the policy")

    def _git(self, *arguments: str) -> str:
        # `commit.gpgsign`: the developer's own settings have no say in the demo.
        settings = ["user.name=demo", "user.email=demo@example.com", "commit.gpgsign=false"]
        command = ["git", *(part for setting in settings for part in ("-c", setting)), *arguments]
        return subprocess.run(command, cwd=self.folder, check=True, capture_output=True, text=True).stdout
