"""What `pip install fastapi-handoff` brings is what it needs: the tests' own environment would hide what is missing."""

import ast
import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
# FastAPI is built on Starlette, and pydantic on its core: each brings the one that fits.
BROUGHT_ALONG = {"starlette": "fastapi", "pydantic_core": "pydantic"}


def imported() -> set[str]:
    names: set[str] = set()
    for file in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
                names.add(node.module.partition(".")[0])
    others = names - sys.stdlib_module_names - {"fastapi_handoff"}
    return {BROUGHT_ALONG.get(name, name) for name in others}


def test_dependencies_are_exactly_what_is_imported() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = {re.split(r"[\[<>=]", dependency)[0] for dependency in project["dependencies"]}
    assert declared == imported()
