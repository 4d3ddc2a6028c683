"""The release: its script writes a new version wherever the old one stood, and the pipeline calls what exists."""

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import yaml

from support.scenes import ROOT

VERSIONED = (
    "Cargo.toml",
    "Cargo.lock",
    "receiver/pyproject.toml",
    "pipe.yml",
    "README.md",
    "demo/bitbucket-pipelines.yml",
)


def test_a_release_writes_its_version_everywhere(tmp_path: Path) -> None:
    for name in (*VERSIONED, "CHANGELOG.md", ".ci/release"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, tmp_path / name)
    changelog = tmp_path / "CHANGELOG.md"
    changelog.write_text("# Changelog\n\n## 9.8.7\n\n- patch: a fix\n\n" + changelog.read_text())
    subprocess.run([tmp_path / ".ci/release", "bump"], check=True)
    before = {name: (ROOT / name).read_text().splitlines() for name in VERSIONED}
    after = {name: (tmp_path / name).read_text().splitlines() for name in VERSIONED}
    old_version = tomllib.loads((ROOT / "Cargo.toml").read_text())["package"]["version"]
    for name in VERSIONED:
        changed = [(old, new) for old, new in zip(before[name], after[name], strict=True) if old != new]
        assert changed, name
        assert all(new == old.replace(old_version, "9.8.7") for old, new in changed)
    lock = "\n".join(after["Cargo.lock"])
    assert lock.count('"9.8.7"') == 1


def test_the_pipeline_calls_what_exists() -> None:
    pipeline = yaml.safe_load((ROOT / "bitbucket-pipelines.yml").read_text())
    steps = [named["step"] for named in pipeline["definitions"]["steps"]]
    lines = [line for step in steps for line in step["script"] if isinstance(line, str)]
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    called = {line.removeprefix("make ") for line in lines if line.startswith("make ")}
    assert called
    assert called <= targets
    scripts = [line for line in lines if line.startswith(".ci/")]
    assert scripts
    assert all((ROOT / script).is_file() for script in scripts)
    on_main = pipeline["pipelines"]["branches"]["main"]
    assert on_main[-1]["step"]["name"] == "Release"
