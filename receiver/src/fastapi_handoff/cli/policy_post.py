"""Posts a review to the commit, through the proxy of the step: it adds the authentication, so there is no credential.

https://support.atlassian.com/bitbucket-cloud/docs/code-insights/
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any, Final

import httpx

from fastapi_handoff.policy import PolicyError
from fastapi_handoff.policy.review import code_insights, words

if TYPE_CHECKING:
    from fastapi_handoff.policy.review import Review

_API: Final = "http://api.bitbucket.org/2.0"
"""Plain HTTP, to the proxy on the step's own machine; from there on it is HTTPS."""
_SECONDS: Final = 10.0
_ANSWER_BYTES: Final = 4096
_NAME: Final = re.compile(r"[A-Za-z0-9._{}-]+/[A-Za-z0-9._{}-]+")
_COMMIT: Final = re.compile(r"[0-9a-f]{7,40}")


def post(found: Review, proxy: str) -> str:
    """Put the report and its annotations on the step's commit; return what was done.

    Raises `PolicyError` outside of a step, and where the proxy or Bitbucket does not take it.
    """
    repository, commit = os.environ.get("BITBUCKET_REPO_FULL_NAME", ""), os.environ.get("BITBUCKET_COMMIT", "")
    if not _NAME.fullmatch(repository) or not _COMMIT.fullmatch(commit):
        raise PolicyError(
            "--post needs `BITBUCKET_REPO_FULL_NAME` and `BITBUCKET_COMMIT`, as a step of Pipelines has them"
        )
    url = f"{_API}/repositories/{repository}/commit/{commit}/reports/{code_insights.REPORT_ID}"
    marks = code_insights.marks(found)
    try:
        # Not the environment's proxies, nor its `.netrc`: this request is for the step's own proxy.
        with httpx.Client(proxy=proxy, timeout=_SECONDS, trust_env=False) as client:
            _send(client, "PUT", url, code_insights.report(found))
            for start in range(0, len(marks), code_insights.ANNOTATIONS_PER_REQUEST):
                part = marks[start : start + code_insights.ANNOTATIONS_PER_REQUEST]
                _send(client, "POST", f"{url}/annotations", part)
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        raise PolicyError(f"the report is not on the commit: {type(error).__name__}: {error}") from None
    return f"the report is on commit {commit[:12]}, with {words.counted(len(marks), 'annotation')}"


def _send(client: httpx.Client, method: str, url: str, body: Any) -> None:
    with client.stream(method, url, json=body) as response:
        if response.is_success:
            return
        said = b""
        for chunk in response.iter_bytes():
            said += chunk
            if len(said) >= _ANSWER_BYTES:
                break
        answer = said[:_ANSWER_BYTES].decode(errors="replace")
    raise PolicyError(
        f"the report is not on the commit: Bitbucket answers {response.status_code} to {method}: {answer}"
    )
