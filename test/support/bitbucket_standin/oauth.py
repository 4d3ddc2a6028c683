"""The token endpoint of Bitbucket's OAuth 2: client credentials for an access token of one hour."""

from dataclasses import dataclass
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from .credentials import OAUTH_LIFETIME, Credentials
from .errors import ApiError


@dataclass
class OAuthSite:
    """`https://bitbucket.org/site/oauth2/access_token`."""

    credentials: Credentials

    def routes(self) -> list[Route]:
        """The one endpoint of this class."""
        return [Route("/site/oauth2/access_token", self._access_token, methods=["POST"])]

    async def _access_token(self, request: Request) -> Response:
        if request.headers.get("content-type", "").partition(";")[0] != "application/x-www-form-urlencoded":
            return _refused("invalid_request", "The request must be form-encoded")
        form = parse_qs((await request.body()).decode("ascii", "replace"), keep_blank_values=True)
        if form.get("grant_type") != ["client_credentials"]:
            return _refused("unsupported_grant_type", "Unsupported grant type")
        try:
            token, principal = self.credentials.issue(request.headers.get("authorization"))
        except (KeyError, ApiError):
            return _refused("unauthorized_client", "Client authentication failed", status=401)
        return JSONResponse(
            {
                "access_token": token,
                "scopes": " ".join(sorted(principal.scopes)),
                "expires_in": OAUTH_LIFETIME,
                "token_type": "bearer",
                "state": "client_credentials",
            },
            headers={"Cache-Control": "no-store"},
        )


def _refused(error: str, description: str, status: int = 400) -> JSONResponse:
    return JSONResponse({"error": error, "error_description": description}, status)
