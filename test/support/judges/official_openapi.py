"""Bitbucket's official OpenAPI (Swagger 2.0) as a judge of requests."""

import json
import re
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from jsonschema import Draft4Validator

from support.bitbucket_standin import RecordedRequest

# Reference data that is not part of this repository; it lies beside the checkout where the project is developed.
DOCUMENT = Path(__file__).resolve().parents[4] / "shared" / "bitbucket-openapi.json"


def is_available() -> bool:
    """Whether the official document is there to check against."""
    return DOCUMENT.is_file()


def violations(request: RecordedRequest) -> list[str]:
    """What a request to `api.bitbucket.org` does that the official document does not allow; empty where it is valid."""
    target = urlsplit(request.target)
    found = _operation(request.method, target.path)
    if isinstance(found, str):
        return [found]
    parameters = {(parameter["in"], parameter["name"]): parameter for parameter in found}
    said = [
        f"query parameter `{name}` is not known"
        for name, _ in parse_qsl(target.query, keep_blank_values=True)
        if ("query", name) not in parameters
    ]
    said += [
        f"required query parameter `{name}` is missing"
        for (place, name), parameter in parameters.items()
        if place == "query" and parameter.get("required") and name not in dict(parse_qsl(target.query))
    ]
    body = next((parameter for (place, _), parameter in parameters.items() if place == "body"), None)
    return said + _body_violations(request, body)


def _body_violations(request: RecordedRequest, parameter: dict[str, Any] | None) -> list[str]:
    if not request.body:
        return ["the body is missing"] if parameter is not None and parameter.get("required") else []
    if parameter is None:
        return ["no body is known for this operation"]
    if request.headers.get("content-type", "").partition(";")[0] != "application/json":
        return [f"content type is `{request.headers.get('content-type')}`, expected `application/json`"]
    try:
        value = json.loads(request.body)
    except ValueError as error:
        return [f"the body is not JSON: {error}"]
    schema = {**parameter["schema"], "definitions": _document()["definitions"]}
    errors = Draft4Validator(schema, format_checker=Draft4Validator.FORMAT_CHECKER).iter_errors(value)
    return [f"{error.json_path}: {error.message}" for error in errors]


def _operation(method: str, path: str) -> list[dict[str, Any]] | str:
    """The parameters of the operation, those of its path included; text where there is no such operation."""
    document = _document()
    base = document["basePath"]
    if not path.startswith(f"{base}/"):
        return f"`{path}` is outside `{base}`"
    for pattern, template in _templates():
        if pattern.fullmatch(path.removeprefix(base)):
            item = document["paths"][template]
            operation = item.get(method.lower())
            if operation is None:
                return f"`{template}` has no `{method}`"
            return [*item.get("parameters", []), *operation.get("parameters", [])]
    return f"no such path: `{unquote(path)}`"


@cache
def _templates() -> list[tuple[re.Pattern[str], str]]:
    """Paths as patterns, the most literal first: `statuses/build` before `statuses/{key}`."""
    templates = sorted(_document()["paths"], key=lambda template: template.count("{"))
    return [(re.compile(_pattern(template)), template) for template in templates]


def _pattern(template: str) -> str:
    parts = re.split(r"(\{[^}]*\})", template)
    return "".join("[^/]+" if part.startswith("{") else re.escape(part) for part in parts)


@cache
def _document() -> Any:
    document = json.loads(DOCUMENT.read_text())
    # The document types the value of a report's data as `object`; its own text and example take booleans, numbers and strings.
    del document["definitions"]["report_data"]["properties"]["value"]["type"]
    return document
