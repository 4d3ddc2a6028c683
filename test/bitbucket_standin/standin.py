"""The stand-in as a whole: one workspace, three listeners."""

import secrets
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response

from .control import ControlApi
from .credentials import Credentials
from .errors import ApiError
from .forward_proxy import ForwardProxy
from .identity_provider import IdentityProvider
from .insights import CodeInsights
from .journal import Journal, Recorder
from .loopback_server import LoopbackServer
from .oauth import OAuthSite
from .statuses import BuildStatuses
from .workspace import Principal, Workspace, acme

_REAL_API = "https://api.bitbucket.org"


class BitbucketStandin:
    """Plays Bitbucket Cloud on loopback, from the constructor to `stop()`.

    `host` is the address to listen on, `public_host` the name by which others reach it. With `real_issuer`, step tokens carry
    Bitbucket's own `iss`; otherwise the stand-in's.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        *,
        port: int = 0,
        public_host: str | None = None,
        real_issuer: bool = False,
        workspace: Workspace | None = None,
    ) -> None:
        self.workspace = workspace or acme()
        self.credentials = Credentials()
        self.journal = Journal()
        self.statuses = BuildStatuses(self.workspace, self.credentials)
        self.insights = CodeInsights(self.workspace, self.credentials)
        # Pipelines' own credential: the proxy adds it, nobody else ever sees it.
        self._proxy_token = secrets.token_urlsafe(32)
        self.credentials.access_tokens[self._proxy_token] = Principal("pipelines")

        api = Starlette(exception_handlers={ApiError: _api_error})
        site = Starlette(routes=OAuthSite(self.credentials).routes())
        proxy = ForwardProxy(api, f"Bearer {self._proxy_token}")
        self._servers = [
            LoopbackServer(Recorder(api, self.journal, "api"), host, port),
            LoopbackServer(Recorder(site, self.journal, "site"), host),
            LoopbackServer(Recorder(proxy, self.journal, "proxy"), host),
        ]
        self.public_host = public_host or host
        api_port, site_port, proxy_port = (server.port for server in self._servers)
        self.api_url = self._url(api_port)
        self.oauth_url = f"{self._url(site_port)}/site/oauth2/access_token"
        self.proxy_url = self._url(proxy_port)
        self.control_url = f"{self.api_url}/_standin"
        self.identity_provider = IdentityProvider(self.workspace, _REAL_API if real_issuer else self.api_url)
        api.routes.extend(
            [
                *self.identity_provider.routes(),
                *self.statuses.routes(),
                *self.insights.routes(),
                *ControlApi(self).routes(),
            ]
        )
        self._stack = ExitStack()

    def _url(self, port: int) -> str:
        return f"http://{self.public_host}:{port}"

    def urls(self) -> dict[str, str]:
        """Where everything is; `api` goes without the `/2.0` of its paths."""
        return {
            "api": self.api_url,
            "oauth": self.oauth_url,
            "proxy": self.proxy_url,
            "control": self.control_url,
            "issuer": self.identity_provider.issuer,
        }

    def start(self) -> Self:
        """Begins to answer."""
        for server in self._servers:
            self._stack.enter_context(server)
        return self

    def stop(self) -> None:
        """Ends all listeners."""
        for server in self._servers:
            server.begin_stop()
        self._stack.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


async def _api_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return error.response()
