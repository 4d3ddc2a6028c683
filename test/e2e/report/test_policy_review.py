"""A policy's review on the commit: through the step's proxy, as Bitbucket's official OpenAPI has it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.bitbucket_standin import API, BitbucketStandin, Step
from support.judges import official_openapi

DEMO = Path(__file__).parents[3] / "demo" / "handoff.toml"


@pytest.mark.skipif(not official_openapi.is_available(), reason="the official OpenAPI is not beside this checkout")
def test_review_of_a_first_policy_is_a_report_with_annotations_on_its_commit(tmp_path: Path) -> None:
    (tmp_path / "handoff.toml").write_text(DEMO.read_text().replace('"main"', '"release*"'))
    program = str(Path(sys.executable).with_name("fastapi-handoff"))
    with BitbucketStandin() as standin:
        step = Step(standin.workspace, API)
        done = subprocess.run(
            [program, "policy", "review", "--post", "--proxy", standin.proxy_url],
            cwd=tmp_path,
            env={"PATH": os.environ["PATH"], **step.variables()},
            capture_output=True,
            text=True,
            check=False,
        )
        (report,) = standin.insights.of_commit(API, step.commit)
        requests = [request for request in standin.journal.requests if request.listener == "proxy"]
    assert done.returncode == 1, done.stderr
    assert report.values["result"] == "FAILED"
    assert [annotation["severity"] for annotation in report.annotations.values()] == ["HIGH"]
    assert [request.method for request in requests] == ["PUT", "POST"]
    assert [said for request in requests for said in official_openapi.violations(request)] == []
