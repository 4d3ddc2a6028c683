"""The pipe's variables and version stand in several files for several readers; all of them say the same."""

import re
import tomllib
from typing import Any

import yaml

from support.scenes import ROOT

# Set by Pipelines, or for tests: no user gives them.
NOT_FOR_USERS = {
    "BITBUCKET_API_URL",
    "BITBUCKET_OAUTH_URL",
    "BITBUCKET_PROXY_URL",
    "BITBUCKET_DEPLOYMENT_ENVIRONMENT",
    "BITBUCKET_STEP_OIDC_TOKEN",
    "BITBUCKET_PIPE_STORAGE_DIR",
}


def pipe_yml() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "pipe.yml").read_text())
    return loaded


def read_by_the_pipe() -> list[str]:
    """The fields of the struct that the pipe reads its variables into."""
    source = (ROOT / "src/variables.rs").read_text()
    struct = re.search(r"struct Raw \{(.*?)\n\}", source, re.DOTALL)
    assert struct is not None
    names = [name.upper() for name in re.findall(r"^\s+(\w+): Option<String>", struct[1], re.MULTILINE)]
    return [name for name in names if name not in NOT_FOR_USERS]


def test_pipe_yml_has_the_fields_of_official_pipes() -> None:
    pipe = pipe_yml()
    assert list(pipe) == [
        *("name", "image", "description", "category", "variables"),
        *("repository", "vendor", "maintainer", "tags"),
    ]
    assert set(pipe["vendor"]) == set(pipe["maintainer"]) == {"name", "website"}


def test_pipe_yml_passes_every_variable_that_the_pipe_reads() -> None:
    assert [variable["name"] for variable in pipe_yml()["variables"]] == read_by_the_pipe()


def test_every_default_is_a_variables_own_name_or_the_pipes_default() -> None:
    others = {variable["name"]: variable["default"] for variable in pipe_yml()["variables"]}
    own = {name: default for name, default in others.items() if default == f"${name}"}
    assert {name: default for name, default in others.items() if name not in own} == {
        "EVENT": "deployed",
        "SERVICE": "$BITBUCKET_REPO_SLUG",
        "ENVIRONMENT": "$BITBUCKET_DEPLOYMENT_ENVIRONMENT",
        "REPORT": "auto",
        "TIMEOUT": "30",
        "RETRY_BUDGET": "120",
        "WAIT_TIMEOUT": "600",
        "DRY_RUN": "false",
        "DEBUG": "false",
    }


def test_the_readme_explains_every_variable() -> None:
    readme = (ROOT / "README.md").read_text()
    table = readme.partition("## Variables")[2].partition("\n## ")[0]
    rows = re.findall(r"^\|\s*`?([A-Z][A-Z_]+)`?\s*(\(\*\))?", table, re.MULTILINE)
    assert [name for name, _ in rows] == read_by_the_pipe()
    assert [name for name, required in rows if required] == ["RECEIVER_URL"]


def test_one_version_stands_everywhere() -> None:
    crate = tomllib.loads((ROOT / "Cargo.toml").read_text())["package"]["version"]
    receiver = tomllib.loads((ROOT / "receiver/pyproject.toml").read_text())["project"]["version"]
    changelog = re.search(r"^## (\d+\.\d+\.\d+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert changelog is not None
    assert {pipe_yml()["image"].partition(":")[2], receiver, changelog[1]} == {crate}
    for page in ("README.md", "demo/bitbucket-pipelines.yml"):
        used = re.findall(r"pipe: fastapi-handoff/fastapi-handoff:(\S+)", (ROOT / page).read_text())
        assert set(used) == {crate}, page
