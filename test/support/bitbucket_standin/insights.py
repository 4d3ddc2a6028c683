"""Code Insights: reports on a commit and their annotations, with the rules of the official documentation."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from .commits import COMMIT, authorised, json_body
from .credentials import Credentials
from .errors import ApiError, InsightsError
from .step import braced_uuid
from .workspace import Repository, Workspace

REPORT_TYPES = ("SECURITY", "COVERAGE", "TEST", "BUG")
REPORT_RESULTS = ("PASSED", "FAILED", "PENDING")
ANNOTATION_TYPES = ("VULNERABILITY", "CODE_SMELL", "BUG")
ANNOTATION_RESULTS = ("PASSED", "FAILED", "SKIPPED", "IGNORED")
SEVERITIES = ("CRITICAL", "HIGH", "MEDIUM", "LOW")
MAX_DATA, MAX_ANNOTATIONS_A_CALL, MAX_ANNOTATIONS_A_REPORT, MAX_SUMMARY = 10, 100, 1000, 450


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_link(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("text"), str) and isinstance(value.get("href"), str)


_DATA_VALUES: dict[str | None, Callable[[Any], bool]] = {
    "BOOLEAN": lambda value: isinstance(value, bool),
    "DATE": _is_number,
    "DURATION": _is_number,
    "LINK": _is_link,
    "NUMBER": _is_number,
    "PERCENTAGE": lambda value: _is_number(value) and 0 <= value <= 100,
    "TEXT": lambda value: isinstance(value, str),
    None: lambda value: isinstance(value, str | bool | int | float),
}


@dataclass
class Report:
    """One report, and `results`: every result it has had, oldest first."""

    uuid: str
    values: dict[str, Any]
    results: list[str | None] = field(default_factory=list)
    annotations: dict[str, dict[str, Any]] = field(default_factory=dict)


@dataclass
class CodeInsights:
    """All reports, by repository, commit and the id in their path."""

    workspace: Workspace
    credentials: Credentials
    _by_id: dict[tuple[str, str, str], Report] = field(default_factory=dict)

    def of_commit(self, repository: Repository, commit: str) -> list[Report]:
        """The reports on one commit, oldest first."""
        return [report for (repo, of, _), report in self._by_id.items() if (repo, of) == (repository.uuid, commit)]

    def routes(self) -> list[Route]:
        """The endpoints of the official API that this class plays."""
        return [
            Route(f"{COMMIT}/reports/{{report_id}}", self._put, methods=["PUT"]),
            Route(f"{COMMIT}/reports/{{report_id}}", self._get, methods=["GET"]),
            Route(f"{COMMIT}/reports/{{report_id}}/annotations", self._annotate, methods=["POST"]),
        ]

    async def _put(self, request: Request) -> Response:
        slot, body = await self._opened(request)
        _check_report(body)
        report = self._by_id.setdefault(slot, Report(braced_uuid(), {}))
        report.values = body
        report.results.append(body.get("result"))
        return JSONResponse({**body, "type": "report", "uuid": report.uuid})

    async def _get(self, request: Request) -> Response:
        report = self._found(self._slot(request))
        return JSONResponse({**report.values, "type": "report", "uuid": report.uuid})

    async def _annotate(self, request: Request) -> Response:
        slot, body = await self._opened(request)
        report = self._found(slot)
        if not isinstance(body, list) or not 1 <= len(body) <= MAX_ANNOTATIONS_A_CALL:
            raise InsightsError(400, f"Expected an array of 1 to {MAX_ANNOTATIONS_A_CALL} annotations")
        for annotation in body:
            _check_annotation(annotation)
        added = {annotation["external_id"]: annotation for annotation in body}
        if len(report.annotations | added) > MAX_ANNOTATIONS_A_REPORT:
            raise InsightsError(400, f"A report has at most {MAX_ANNOTATIONS_A_REPORT} annotations")
        report.annotations |= added
        return JSONResponse([{**annotation, "type": "report_annotation"} for annotation in body])

    def _slot(self, request: Request) -> tuple[str, str, str]:
        try:
            _, repository = authorised(request, self.workspace, self.credentials)
        except ApiError as error:
            raise InsightsError(error.status, error.message, headers=error.headers) from None
        return repository.uuid, request.path_params["commit"], request.path_params["report_id"]

    async def _opened(self, request: Request) -> tuple[tuple[str, str, str], Any]:
        slot = self._slot(request)
        try:
            return slot, await json_body(request)
        except ApiError as error:
            raise InsightsError(error.status, error.message) from None

    def _found(self, slot: tuple[str, str, str]) -> Report:
        try:
            return self._by_id[slot]
        except KeyError:
            raise InsightsError(404, f"No report with id {slot[2]}") from None


def _check_report(body: Any) -> None:
    if not isinstance(body, dict):
        raise InsightsError(400, "Expected a report as a JSON object")
    for name in ("title", "details"):
        if not isinstance(body.get(name), str) or not body[name]:
            raise InsightsError(400, f"The field {name} is required")
    _check_choice(body, "report_type", REPORT_TYPES, required=True)
    _check_choice(body, "result", REPORT_RESULTS)
    data = body.get("data", [])
    if not isinstance(data, list) or len(data) > MAX_DATA:
        raise InsightsError(400, f"The field data takes at most {MAX_DATA} elements")
    for element in data:
        _check_data(element)


def _check_data(element: Any) -> None:
    if not isinstance(element, dict) or not isinstance(element.get("title"), str):
        raise InsightsError(400, "Each element of data needs a title")
    fits = _DATA_VALUES.get(element.get("type"))
    if fits is None:
        raise InsightsError(400, f"Unknown type of a data element: {element.get('type')}")
    if not fits(element.get("value")):
        raise InsightsError(400, f"The value of `{element['title']}` does not fit its type {element.get('type')}")


def _check_annotation(annotation: Any) -> None:
    if not isinstance(annotation, dict) or not isinstance(annotation.get("external_id"), str):
        raise InsightsError(400, "Each annotation is an object with an external_id")
    summary = annotation.get("summary")
    if not isinstance(summary, str) or not 1 <= len(summary) <= MAX_SUMMARY:
        raise InsightsError(400, f"The field summary takes 1 to {MAX_SUMMARY} characters")
    _check_choice(annotation, "annotation_type", ANNOTATION_TYPES, required=True)
    _check_choice(annotation, "severity", SEVERITIES)
    _check_choice(annotation, "result", ANNOTATION_RESULTS)
    line = annotation.get("line", 1)
    if not isinstance(line, int) or isinstance(line, bool) or line < 1:
        raise InsightsError(400, "The field line takes a whole number from 1")


def _check_choice(body: dict[str, Any], name: str, choices: tuple[str, ...], *, required: bool = False) -> None:
    if name not in body and not required:
        return
    if body.get(name) not in choices:
        raise InsightsError(400, f"The field {name} must be one of {', '.join(choices)}")
