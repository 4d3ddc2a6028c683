"""The rooms: imports go down only, and through the doors. ARCHITECTURE.md says what each room is for."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "fastapi_handoff"
SECOND_DOORS = {
    "fastapi_handoff.issuers.jwks": "an HTTP client, which the command line has no use for",
}
ROOMS = sorted(path.parent for path in PACKAGE.glob("*/__init__.py"))


def test_imports_go_down_only() -> None:
    # A process of its own: the linter sets up the logging of the whole process.
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr


def imports_from_other_rooms() -> Iterator[tuple[str, str]]:
    for file in sorted(PACKAGE.rglob("*.py")):
        place = file.relative_to(PACKAGE).with_suffix("")
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("fastapi_handoff."):
                room, *inside = node.module.split(".")[1:]
                # A room within a room (`audit.verify`) has a door of its own.
                is_door = (PACKAGE.joinpath(room, *inside) / "__init__.py").exists()
                if room != place.parts[0] and inside and not is_door:
                    yield str(place), node.module


def test_rooms_are_entered_by_their_doors() -> None:
    assert [entry for entry in imports_from_other_rooms() if entry[1] not in SECOND_DOORS] == []


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.name)
def test_door_says_what_belongs_in_its_room(room: Path) -> None:
    text = ast.get_docstring(ast.parse((room / "__init__.py").read_text()))
    assert text is not None
    assert len(text.split("\n\n")) > 1, "a line, and a paragraph on what belongs here and what does not"
