"""The stand-in as a whole: one workspace, three listeners."""

import secrets
from collections.abc import Sequence
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


class BitbucketStandin:
    """Plays Bitbucket Cloud on loopback, from the constructor to `stop()`.

    `hosts` are the addresses to listen on; `public_host` is the name by which the pipe reaches it, where that is another one.
    The issuer's URL starts with the first of `hosts`, since receivers run on this machine.
    """

    def __init__(
        self,
        hosts: Sequence[str] = ("127.0.0.1",),
        *,
        port: int = 0,
        public_host: str | None = None,
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
            LoopbackServer(Recorder(api, self.journal, "api"), hosts, port),
            LoopbackServer(Recorder(site, self.journal, "site"), hosts),
            LoopbackServer(Recorder(proxy, self.journal, "proxy"), hosts),
        ]
        api_port, site_port, proxy_port = (server.port for server in self._servers)
        public_host = public_host or hosts[0]
        self.api_url = f"http://{public_host}:{api_port}"
        self.oauth_url = f"http://{public_host}:{site_port}/site/oauth2/access_token"
        self.proxy_url = f"http://{public_host}:{proxy_port}"
        self.control_url = f"{self.api_url}/_standin"
        self.bitbucket_url = f"http://{hosts[0]}:{api_port}"
        self.identity_provider = IdentityProvider(self.workspace, self.bitbucket_url)
        api.routes.extend(
            [
                *self.identity_provider.routes(),
                *self.statuses.routes(),
                *self.insights.routes(),
                *ControlApi(self).routes(),
            ]
        )
        self._stack = ExitStack()

    def urls(self) -> dict[str, str]:
        """Where everything is: `bitbucket` for a receiver, the rest for the pipe; none with the `/2.0` of the API's paths."""
        return {
            "bitbucket": self.bitbucket_url,
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
