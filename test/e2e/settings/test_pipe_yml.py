"""What official pipes have in pipe.yml, and the version in every file that names it. Variables: test/crate/variables.rs."""

import re
import tomllib
from typing import Any

import yaml

from support.scenes import ROOT


def pipe_yml() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "pipe.yml").read_text())
    return loaded


def test_pipe_yml_has_the_fields_of_official_pipes() -> None:
    pipe = pipe_yml()
    assert list(pipe) == [
        *("name", "image", "description", "category", "variables"),
        *("repository", "vendor", "maintainer", "tags"),
    ]
    assert set(pipe["vendor"]) == set(pipe["maintainer"]) == {"name", "website"}


def test_one_version_stands_everywhere() -> None:
    crate = tomllib.loads((ROOT / "Cargo.toml").read_text())["package"]["version"]
    receiver = tomllib.loads((ROOT / "receiver/pyproject.toml").read_text())["project"]["version"]
    changelog = re.search(r"^## (\d+\.\d+\.\d+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert changelog is not None
    assert {pipe_yml()["image"].partition(":")[2], receiver, changelog[1]} == {crate}
    for page in ("README.md", "demo/bitbucket-pipelines.yml"):
        used = re.findall(r"pipe: fastapi-handoff/fastapi-handoff:(\S+)", (ROOT / page).read_text())
        assert set(used) == {crate}, page
