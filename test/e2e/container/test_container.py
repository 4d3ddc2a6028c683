"""The image itself: one static binary, three files beside it, and nothing else."""

import io
import json
import subprocess
import tarfile
from typing import Any

import pytest

from support.scenes import ROOT, ContainerPipe, SceneMaker

BUDGET = 4_500_000
"""Bytes of all files, unpacked."""


@pytest.fixture(scope="module")
def image(make_scene: SceneMaker) -> str:
    pipe = make_scene("container", "plain").pipe
    assert isinstance(pipe, ContainerPipe)
    return pipe.image


@pytest.fixture(scope="module")
def files(image: str) -> dict[str, bytes]:
    """Every file of every layer, by path."""
    saved = subprocess.run(["docker", "save", image], check=True, capture_output=True).stdout
    found: dict[str, bytes] = {}
    with tarfile.open(fileobj=io.BytesIO(saved)) as archive:
        manifest = json.loads(_content(archive, "manifest.json"))
        for layer in manifest[0]["Layers"]:
            with tarfile.open(fileobj=io.BytesIO(_content(archive, layer))) as members:
                found |= {member.name: _content(members, member.name) for member in members if member.isfile()}
    return found


def _content(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    assert file is not None
    return file.read()


def _inspected(image: str) -> dict[str, Any]:
    shown = subprocess.run(["docker", "image", "inspect", image], check=True, capture_output=True, text=True).stdout
    config: dict[str, Any] = json.loads(shown)[0]["Config"]
    return config


def test_the_image_holds_the_binary_and_three_files(files: dict[str, bytes]) -> None:
    assert set(files) == {"fastapi-handoff", "pipe.yml", "README.md", "LICENSE"}
    for name in ("pipe.yml", "README.md", "LICENSE"):
        assert files[name] == (ROOT / name).read_bytes()


def test_the_image_is_within_its_budget(files: dict[str, bytes]) -> None:
    assert sum(len(content) for content in files.values()) <= BUDGET


def test_the_binary_asks_for_no_dynamic_loader(files: dict[str, bytes]) -> None:
    binary = files["fastapi-handoff"]
    assert binary[:5] == b"\x7fELF\x02"
    start = int.from_bytes(binary[32:40], "little")
    size, count = (int.from_bytes(binary[at : at + 2], "little") for at in (54, 56))
    kinds = {int.from_bytes(binary[start + size * n :][:4], "little") for n in range(count)}
    interpreter = 3
    assert interpreter not in kinds


def test_the_image_runs_the_binary_as_root_and_says_what_it_is(image: str) -> None:
    config = _inspected(image)
    assert config["Entrypoint"] == ["/fastapi-handoff"]
    assert config["User"] in {"", "root", "0"}
    assert config["Labels"]["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert config["Labels"]["org.opencontainers.image.version"] != "dev"
