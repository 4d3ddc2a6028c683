"""What the endpoints below a commit share: finding the repository, checking the caller, reading the body."""

import json
import re
from typing import Any

from starlette.requests import Request

from .credentials import Credentials
from .errors import ApiError
from .workspace import Principal, Repository, Workspace

COMMIT = "/2.0/repositories/{workspace}/{repo_slug}/commit/{commit}"
_HASH = re.compile(r"[0-9a-f]{7,40}")


def authorised(request: Request, workspace: Workspace, credentials: Credentials) -> tuple[Principal, Repository]:
    """The caller and the repository of the path: 401, then 404 for what the caller may not see, then 403 for its scopes."""
    principal = credentials.principal_of(request.headers.get("authorization"))
    path = request.path_params
    try:
        repository = workspace.repository(path["repo_slug"]) if workspace.is_named(path["workspace"]) else None
    except KeyError:
        repository = None
    if repository is None or not principal.may_see(repository):
        named = f"{path['workspace']}/{path['repo_slug']}"
        raise ApiError(404, f"You may not have access to this repository or it no longer exists: {named}")
    if not principal.has_repository_scope():
        raise ApiError(
            403,
            "Your credentials lack one or more required privilege scopes.",
            detail={"granted": sorted(principal.scopes), "required": ["repository"]},
        )
    if not _HASH.fullmatch(path["commit"]):
        raise ApiError(404, f"Commit not found: {path['commit']}")
    return principal, repository


async def json_body(request: Request) -> Any:
    """The body as JSON; 400 where it is not."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise ApiError(400, "The `Content-Type` must be `application/json`.")
    try:
        return json.loads(await request.body())
    except (ValueError, RecursionError):
        raise ApiError(400, "The request body is not valid JSON.") from None
