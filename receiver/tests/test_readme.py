"""The README's app and policy are what they say: code that runs, and a file that loads."""

import re
from pathlib import Path

from fastapi import FastAPI

from fastapi_handoff import Policy

README = (Path(__file__).parents[1] / "README.md").read_text()


def block(language: str, number: int = 0) -> str:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)[number]


def test_policy_of_the_readme_loads(tmp_path: Path) -> None:
    path = tmp_path / "handoff.toml"
    path.write_text(block("toml"))
    assert Policy.load(path).grants[0].services == {"api", "worker"}


def test_app_of_the_readme_runs(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("handoff.toml").write_text(block("toml"))
    names: dict[str, object] = {}
    exec(compile(block("python"), "README.md", "exec"), names)
    app = names["app"]
    assert isinstance(app, FastAPI)
    assert {"/handoff/token", "/handoff/events", "/config/sync"} <= app.openapi()["paths"].keys()
