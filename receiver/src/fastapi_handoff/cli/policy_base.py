"""The policy that a change starts from, read out of Git. Nothing is fetched, and nothing in the checkout is run."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Final

from fastapi_handoff.policy import FILE_BYTES, Policy, PolicyError
from fastapi_handoff.policy.review import Base

_SECONDS: Final = 30
_RENAMED: Final = "R"


def base_at(reference: str, file: str) -> Base:
    """Return the policy as it is at a commit, a branch or a tag, under the name that the file has there.

    Raises `PolicyError` where there is no such commit, or what stands there is no policy.
    """
    folder = Path(file).resolve().parent
    try:
        commit = _git(folder, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{reference}^{{commit}}")
    except PolicyError:
        advice = f"`git fetch origin {reference.removeprefix('origin/')}` brings a branch that a clone left out"
        raise PolicyError(f"base `{reference}` is no commit of this clone: {advice}") from None
    at = commit.decode().strip()
    name = _name_at(folder, at, _path(file))
    if name is None:
        return Base(policy=None, commit=at)
    size = int(_git(folder, "cat-file", "-s", f"{at}:{name}"))
    if size > FILE_BYTES:
        raise PolicyError(f"{reference}:{name}: is larger than {FILE_BYTES} bytes")
    raw = _git(folder, "cat-file", "blob", f"{at}:{name}")
    try:
        return Base(policy=Policy.parse(raw, name), commit=at)
    except PolicyError as error:
        raise PolicyError(f"the base cannot be read, so nothing can be compared with it:\n{error}") from None


def path_in_repository(file: str) -> str:
    """Return the file's path from the root of its repository; outside of one, as it was given."""
    try:
        return _path(file)
    except PolicyError:
        return Path(file).as_posix()


def _path(file: str) -> str:
    path = Path(file).resolve()
    top = _git(path.parent, "rev-parse", "--show-toplevel").decode(errors="surrogateescape").rstrip("\n")
    return path.relative_to(Path(top).resolve()).as_posix()


def _name_at(folder: Path, commit: str, name: str) -> str | None:
    """Return the file's name at a commit, where it may have had another; `None` where it was not there."""
    if _git(folder, "ls-tree", "--full-tree", commit, "--", name):
        return name
    changes = _git(folder, "diff", "--find-renames", "--no-ext-diff", "--name-status", "-z", commit, "--", ":/")
    entries = iter(changes.decode(errors="surrogateescape").split("\0"))
    for status in entries:
        old = next(entries, "")
        if status.startswith(_RENAMED) and next(entries, "") == name:
            return old
    return None


def _git(folder: Path, *arguments: str) -> bytes:
    """Return what Git prints. Raises `PolicyError` with the line that it says instead."""
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    command = ["git", "--literal-pathspecs", "-c", "core.fsmonitor=false", "-C", str(folder), *arguments]
    if arguments[-1] == ":/":
        command.remove("--literal-pathspecs")
    try:
        done = subprocess.run(  # noqa: S603 - a fixed program; the only text of others is behind `--end-of-options` or `--`
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=_SECONDS, check=False
        )
    except FileNotFoundError:
        raise PolicyError("a base is read by Git, and there is no `git` here") from None
    except subprocess.TimeoutExpired:
        raise PolicyError(f"`git {arguments[0]}` did not end within {_SECONDS} s") from None
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise PolicyError(f"`git {arguments[0]}` fails: {said[-1] if said else f'exit code {done.returncode}'}")
    return done.stdout
