"""The two forms in which Bitbucket reports an error."""

from collections.abc import Mapping, Sequence
from typing import Any

from starlette.responses import JSONResponse


class ApiError(Exception):
    """An answer of Bitbucket's API other than the one asked for."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        fields: Mapping[str, Sequence[str]] | None = None,
        detail: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.fields = fields
        self.detail = detail
        self.headers = headers

    def response(self) -> JSONResponse:
        """`{"type": "error", "error": {"message", "fields", "detail"}}`, the form of most of the API."""
        error: dict[str, Any] = {"message": self.message}
        if self.fields:
            error["fields"] = self.fields
        if self.detail is not None:
            error["detail"] = self.detail
        return JSONResponse({"type": "error", "error": error}, self.status, self.headers)


class InsightsError(ApiError):
    """An error of Code Insights or of the Pipelines proxy, which have a form of their own."""

    def response(self) -> JSONResponse:
        """`{"code": …, "message": …}`."""
        return JSONResponse({"code": self.status, "message": self.message}, self.status, self.headers)
