"""Build statuses of a commit, with the rules that Bitbucket applies to them."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from .commits import COMMIT, authorised, json_body
from .credentials import Credentials
from .errors import ApiError
from .workspace import Principal, Repository, Workspace

STATES = ("SUCCESSFUL", "FAILED", "INPROGRESS", "STOPPED")
_LIMITS = {"key": 40, "name": 255, "url": 450}
_FIELDS = ("state", "url", "name", "description", "refname")


@dataclass
class BuildStatus:
    """One status, and `states`: every state it has had, oldest first."""

    key: str
    creator: str
    values: dict[str, Any]
    created_on: datetime
    updated_on: datetime
    states: list[str] = field(default_factory=list)


@dataclass
class BuildStatuses:
    """All statuses, by repository, commit and key."""

    workspace: Workspace
    credentials: Credentials
    _by_key: dict[tuple[str, str, str], BuildStatus] = field(default_factory=dict)

    def of_commit(self, repository: Repository, commit: str) -> list[BuildStatus]:
        """The statuses of one commit, oldest first."""
        return [status for (repo, of, _), status in self._by_key.items() if (repo, of) == (repository.uuid, commit)]

    def routes(self) -> list[Route]:
        """The endpoints of the official API that this class plays."""
        return [
            Route(f"{COMMIT}/statuses/build", self._create, methods=["POST"]),
            Route(f"{COMMIT}/statuses/build/{{key}}", self._update, methods=["PUT"]),
            Route(f"{COMMIT}/statuses/build/{{key}}", self._get, methods=["GET"]),
            Route(f"{COMMIT}/statuses", self._list, methods=["GET"]),
        ]

    async def _create(self, request: Request) -> Response:
        principal, repository = authorised(request, self.workspace, self.credentials)
        body = _checked(await json_body(request), required=("key", "state", "url"))
        slot = (repository.uuid, request.path_params["commit"], body["key"])
        status = self._by_key.get(slot)
        if status is None:
            now = datetime.now(UTC)
            status = self._by_key[slot] = BuildStatus(body["key"], principal.name, {}, now, now)
        _overwrite(status, body, principal)
        return JSONResponse(self._shown(repository, request, status), 201)

    async def _update(self, request: Request) -> Response:
        principal, repository = authorised(request, self.workspace, self.credentials)
        status = self._found(repository, request)
        body = _checked(await json_body(request), required=())
        if body.get("key", status.key) != status.key:
            raise ApiError(400, "key: the key cannot be changed", fields={"key": ["The key cannot be changed."]})
        _overwrite(status, {**status.values, **body}, principal)
        return JSONResponse(self._shown(repository, request, status))

    async def _get(self, request: Request) -> Response:
        _, repository = authorised(request, self.workspace, self.credentials)
        return JSONResponse(self._shown(repository, request, self._found(repository, request)))

    async def _list(self, request: Request) -> Response:
        _, repository = authorised(request, self.workspace, self.credentials)
        statuses = self.of_commit(repository, request.path_params["commit"])
        values = [self._shown(repository, request, status) for status in statuses]
        return JSONResponse({"pagelen": 30, "page": 1, "size": len(values), "values": values})

    def _found(self, repository: Repository, request: Request) -> BuildStatus:
        path = request.path_params
        try:
            return self._by_key[repository.uuid, path["commit"], path["key"]]
        except KeyError:
            raise ApiError(404, f"Build status not found: {path['key']}") from None

    def _shown(self, repository: Repository, request: Request, status: BuildStatus) -> dict[str, Any]:
        full_name = f"{self.workspace.slug}/{repository.slug}"
        commit = f"https://api.bitbucket.org/2.0/repositories/{full_name}/commit/{request.path_params['commit']}"
        return {
            "type": "build",
            "key": status.key,
            **{name: status.values.get(name) for name in _FIELDS},
            "created_on": status.created_on.isoformat(),
            "updated_on": status.updated_on.isoformat(),
            "links": {"self": {"href": f"{commit}/statuses/build/{status.key}"}, "commit": {"href": commit}},
        }


def _overwrite(status: BuildStatus, values: dict[str, Any], principal: Principal) -> None:
    if principal.name != status.creator and not principal.is_admin:
        raise ApiError(403, "Only the creator of a build status or an administrator of the repository can change it.")
    status.values = {name: values[name] for name in _FIELDS if name in values}
    status.updated_on = datetime.now(UTC)
    status.states.append(status.values["state"])


def _checked(body: Any, required: tuple[str, ...]) -> dict[str, Any]:
    """The body, once every rule holds; 400 with all that is wrong otherwise."""
    if not isinstance(body, dict):
        raise ApiError(400, "The request body must be a JSON object.")
    wrong: dict[str, list[str]] = {name: ["This field is required."] for name in required if not body.get(name)}
    for name in ("key", *_FIELDS):
        value = body.get(name)
        if value is None or name in wrong:
            continue
        if not isinstance(value, str):
            wrong[name] = ["This field must be a string."]
        elif len(value) > _LIMITS.get(name, len(value)):
            wrong[name] = [f"Ensure this value has at most {_LIMITS[name]} characters (it has {len(value)})."]
    if "state" not in wrong and body.get("state", STATES[0]) not in STATES:
        wrong["state"] = [f"Value must be one of {', '.join(STATES)}."]
    if "url" not in wrong and body.get("url") is not None and urlsplit(body["url"]).scheme not in {"http", "https"}:
        wrong["url"] = ["Enter a valid URL."]
    if wrong:
        raise ApiError(400, "; ".join(f"{name}: {said[0]}" for name, said in wrong.items()), fields=wrong)
    return body
