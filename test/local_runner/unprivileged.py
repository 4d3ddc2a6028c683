"""`pipeline-runner`, on an engine that cannot give a container every capability, as one in a sandbox of its own cannot.

The runner asks for a privileged container for its `docker` service. It gets what Docker's engine needs, and no more.
"""

from typing import Any

from docker.models.containers import ContainerCollection  # type: ignore[import-untyped, unused-ignore]
from pipeline_runner.cli import main  # type: ignore[import-not-found]

_run = ContainerCollection.run


def run(self: ContainerCollection, *given: Any, privileged: bool = False, **options: Any) -> Any:
    """As Docker's own, but for `privileged`."""
    if privileged:
        options["cap_add"] = ["SYS_ADMIN", "NET_ADMIN"]
        options["security_opt"] = ["seccomp=unconfined", "apparmor=unconfined"]
    return _run(self, *given, **options)


ContainerCollection.run = run
main()
