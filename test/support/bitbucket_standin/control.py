"""The control API under `/_standin/`: for whoever drives the stand-in from another process. Bitbucket has nothing like it."""

from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from .journal import Fault
from .step import Step
from .workspace import Principal

if TYPE_CHECKING:
    from .standin import BitbucketStandin


class ControlApi:
    """JSON in, JSON out; a mistake in a request is a plain 500, since only tests call here."""

    def __init__(self, standin: "BitbucketStandin") -> None:
        self._standin = standin

    def routes(self) -> list[Route]:
        """All of the control API."""
        return [
            Route("/_standin/step-tokens", self._mint, methods=["POST"]),
            Route("/_standin/keys/rotate", self._rotate, methods=["POST"]),
            Route("/_standin/access-tokens", self._add_access_token, methods=["POST"]),
            Route("/_standin/faults", self._add_fault, methods=["POST"]),
            Route("/_standin/requests", self._requests, methods=["GET"]),
            Route("/_standin/requests", self._forget, methods=["DELETE"]),
        ]

    async def _mint(self, request: Request) -> Response:
        """Takes `repository`, `environment` (names), `audiences`, `age`, `lifetime`, `replace` and members of `Step`."""
        asked: dict[str, Any] = await request.json()
        workspace = self._standin.workspace
        repository = workspace.repository(asked.pop("repository", "api"))
        environment = asked.pop("environment", None)
        token = {name: asked.pop(name) for name in ("audiences", "age", "lifetime", "replace") if name in asked}
        step = Step(workspace, repository, environment=environment and repository.environment(environment), **asked)
        signed = self._standin.identity_provider.step_token(step, **token)
        return JSONResponse({"step_token": signed, "variables": step.variables()})

    async def _rotate(self, request: Request) -> Response:
        asked = await request.json()
        key = self._standin.identity_provider.rotate(keep_old=asked.get("keep_old", True))
        return JSONResponse({"kid": key.kid})

    async def _add_access_token(self, request: Request) -> Response:
        asked = await request.json()
        scopes = frozenset(asked.get("scopes", ["repository"]))
        principal = Principal(asked.get("principal", "pipe"), scopes, is_admin=asked.get("is_admin", False))
        self._standin.credentials.access_tokens[asked["token"]] = principal
        return JSONResponse({})

    async def _add_fault(self, request: Request) -> Response:
        self._standin.journal.faults.append(Fault(**await request.json()))
        return JSONResponse({})

    async def _requests(self, _request: Request) -> Response:
        return JSONResponse([recorded.as_json() for recorded in self._standin.journal.requests])

    async def _forget(self, _request: Request) -> Response:
        self._standin.journal.clear()
        return JSONResponse({})
