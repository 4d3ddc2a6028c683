"""The release script writes a new version wherever the old one stood, and nowhere else."""

import shutil
import subprocess
import tomllib
from pathlib import Path

from pipe_under_test import ROOT

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
