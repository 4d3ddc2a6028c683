"""One step of a pipeline, and the default variables that Bitbucket gives it."""

import secrets
import uuid
from dataclasses import dataclass, field

from .workspace import Environment, Repository, Workspace


def braced_uuid() -> str:
    """A new UUID in Bitbucket's form: lower case, in braces."""
    return f"{{{uuid.uuid4()}}}"


@dataclass(frozen=True)
class Step:
    """What Bitbucket knows about a running step. A tag build has `tag` and no `branch`."""

    workspace: Workspace
    repository: Repository
    branch: str | None = "main"
    tag: str | None = None
    environment: Environment | None = None
    pull_request: int | None = None
    build_number: int = 42
    step_run_number: int = 1
    commit: str = field(default_factory=lambda: secrets.token_hex(20))
    pipeline_uuid: str = field(default_factory=braced_uuid)
    step_uuid: str = field(default_factory=braced_uuid)
    pipeline_run_uuid: str | None = None

    def variables(self) -> dict[str, str]:
        """The default variables of the step, as they reach a pipe's container."""
        full_name = f"{self.workspace.slug}/{self.repository.slug}"
        variables = {
            "CI": "true",
            "BITBUCKET_BUILD_NUMBER": str(self.build_number),
            "BITBUCKET_COMMIT": self.commit,
            "BITBUCKET_WORKSPACE": self.workspace.slug,
            "BITBUCKET_REPO_SLUG": self.repository.slug,
            "BITBUCKET_REPO_FULL_NAME": full_name,
            "BITBUCKET_REPO_UUID": self.repository.uuid,
            "BITBUCKET_PROJECT_KEY": "ACME",
            "BITBUCKET_PIPELINE_UUID": self.pipeline_uuid,
            "BITBUCKET_STEP_UUID": self.step_uuid,
            "BITBUCKET_STEP_RUN_NUMBER": str(self.step_run_number),
            "BITBUCKET_GIT_HTTP_ORIGIN": f"https://bitbucket.org/{full_name}",
        }
        if self.branch is not None:
            variables["BITBUCKET_BRANCH"] = self.branch
        if self.tag is not None:
            variables["BITBUCKET_TAG"] = self.tag
        if self.pull_request is not None:
            variables["BITBUCKET_PR_ID"] = str(self.pull_request)
        if self.environment is not None:
            variables["BITBUCKET_DEPLOYMENT_ENVIRONMENT"] = self.environment.name
            variables["BITBUCKET_DEPLOYMENT_ENVIRONMENT_UUID"] = self.environment.uuid
        return variables
