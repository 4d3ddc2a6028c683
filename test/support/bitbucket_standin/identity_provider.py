"""OpenID Connect of Pipelines: discovery, the published keys, and the tokens signed with them."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from .errors import ApiError
from .step import Step
from .step_token import LIFETIME, SigningKey, step_claims
from .workspace import Workspace

_PATH = "pipelines-config/identity/oidc"


class IdentityProvider:
    """The issuer of one workspace's step tokens; its URL starts with `bitbucket_url`."""

    def __init__(self, workspace: Workspace, bitbucket_url: str, clock: Callable[[], float] = time.time) -> None:
        self.issuer = f"{bitbucket_url}/2.0/workspaces/{workspace.slug}/{_PATH}"
        self._workspace = workspace
        self._clock = clock
        self._rotations = 0
        self.keys = [SigningKey("key-1")]

    @property
    def current_key(self) -> SigningKey:
        """The key that signs now."""
        return self.keys[-1]

    def rotate(self, *, keep_old: bool = True) -> SigningKey:
        """Signs with a new key from now on; with `keep_old` the others stay published for tokens that live on."""
        self._rotations += 1
        key = SigningKey(f"key-{self._rotations + 1}")
        self.keys = [*(self.keys if keep_old else []), key]
        return key

    def claims(
        self, step: Step, *, audiences: Sequence[str] | None = None, age: int = 0, lifetime: int = LIFETIME
    ) -> dict[str, Any]:
        """The claims of the step's token, made `age` seconds ago."""
        return step_claims(
            step, issuer=self.issuer, issued_at=int(self._clock()) - age, audiences=audiences, lifetime=lifetime
        )

    def step_token(
        self,
        step: Step,
        *,
        audiences: Sequence[str] | None = None,
        age: int = 0,
        lifetime: int = LIFETIME,
        replace: Mapping[str, Any] | None = None,
    ) -> str:
        """The token as the step gets it; `replace` puts other values over claims, a `None` takes the claim out."""
        claims = self.claims(step, audiences=audiences, age=age, lifetime=lifetime) | dict(replace or {})
        return self.current_key.sign({name: value for name, value in claims.items() if value is not None})

    def routes(self) -> list[Route]:
        """The endpoints of the official API that this class plays; both answer anybody."""
        base = f"/2.0/workspaces/{{workspace}}/{_PATH}"
        return [
            Route(f"{base}/.well-known/openid-configuration", self._discovery),
            Route(f"{base}/keys.json", self._keys),
        ]

    async def _discovery(self, request: Request) -> Response:
        self._check_workspace(request)
        return JSONResponse(
            {
                "issuer": self.issuer,
                "jwks_uri": f"{self.issuer}/keys.json",
                "subject_types_supported": ["public"],
                "response_types_supported": ["id_token"],
                "id_token_signing_alg_values_supported": ["RS256"],
                "scopes_supported": ["openid"],
            }
        )

    async def _keys(self, request: Request) -> Response:
        self._check_workspace(request)
        return JSONResponse({"keys": [key.public_jwk() for key in self.keys]})

    def _check_workspace(self, request: Request) -> None:
        named = request.path_params["workspace"]
        if not self._workspace.is_named(named):
            raise ApiError(404, f"Workspace not found: {named}")
