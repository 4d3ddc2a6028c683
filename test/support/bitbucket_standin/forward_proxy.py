"""The proxy of Pipelines at port 29418: plain HTTP to `api.bitbucket.org` goes through it and gets its credentials from it."""

import re
from urllib.parse import unquote, urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from .errors import InsightsError

# Reports and annotations; build statuses are known not to be served.
_SERVED = re.compile(r"/2\.0/repositories/[^/]+/[^/]+/commit/[^/]+/reports/[^/]+(/annotations)?")


class ForwardProxy:
    """Takes requests whose request line holds an absolute URI, and hands them to the API as `authorization`."""

    def __init__(self, api: ASGIApp, authorization: str) -> None:
        self._api = api
        self._authorization = authorization.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._api(scope, receive, send)
            return
        target = urlsplit(scope["raw_path"].decode("latin-1"))
        refusal = _refusal(target.scheme, target.netloc, target.path)
        if refusal is not None:
            await refusal.response()(scope, receive, send)
            return
        headers = [(name, value) for name, value in scope["headers"] if name not in {b"authorization", b"host"}]
        forwarded = {
            **scope,
            "path": unquote(target.path),
            "raw_path": target.path.encode(),
            "headers": [*headers, (b"host", target.netloc.encode()), (b"authorization", self._authorization)],
        }
        await self._api(forwarded, receive, send)


def _refusal(scheme: str, host: str, path: str) -> InsightsError | None:
    if not scheme:
        return InsightsError(400, "This is a proxy: the request line must hold an absolute URI")
    if (scheme, host) != ("http", "api.bitbucket.org"):
        return InsightsError(403, f"Only http://api.bitbucket.org is served, not {scheme}://{host}")
    if not _SERVED.fullmatch(path):
        return InsightsError(403, "Only reports and their annotations are served")
    return None
