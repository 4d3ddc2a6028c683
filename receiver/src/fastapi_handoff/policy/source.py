"""Where things stand in a policy file: the line of each table and key, and the comments, which `tomllib` drops.

A small reader of text that `tomllib` has accepted already, so it may assume that the text is TOML. It knows strings:
what looks like a comment or a table inside one is neither, or a grant's name could suppress a finding.
"""

from __future__ import annotations

import bisect
import re
import tomllib
from dataclasses import dataclass, field
from typing import Final

Path = tuple[int | str, ...]
"""The keys and positions that lead to a value: `("grants", 0, "branch")`."""

_STRING: Final = re.compile(
    r'"""(?:\\.|[^\\])*?"{3,5}' r"|'''(?s:.)*?'{3,5}" r'|"(?:\\.|[^"\\])*"' r"|'[^']*'", re.DOTALL
)
_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+")
_SCALAR: Final = re.compile(r"[^,\]}#\n]*")
_BLANK: Final = re.compile(r"[ \t]*")


@dataclass(frozen=True, slots=True)
class Source:
    """The text of a policy file, with the places of what it says. Lines count from one."""

    name: str
    """What messages call the file."""
    text: str
    lines: dict[Path, int] = field(default_factory=dict)
    """The line of each table and key."""
    comments: dict[int, str] = field(default_factory=dict)
    """The comment on a line, without its `#`."""
    alone: frozenset[int] = frozenset()
    """The lines that hold a comment and nothing else."""

    def line(self, path: Path) -> int:
        """Return the line of a key, or of the nearest table around it that has one."""
        for end in range(len(path), 0, -1):
            if path[:end] in self.lines:
                return self.lines[path[:end]]
        return 1

    def last_line(self, path: Path) -> int:
        """Return the last line on which a key of this table stands."""
        return max((line for key, line in self.lines.items() if key[: len(path)] == path), default=self.line(path))


def scan(name: str, text: str) -> Source:
    """Return the places in a text that is TOML. Raises `RecursionError` where values are nested too deep."""
    reader = _Reader(text.replace("\r\n", "\n"))
    reader.document()
    return Source(name, text, reader.lines, reader.comments, frozenset(reader.alone))


class _Reader:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.lines: dict[Path, int] = {}
        self.comments: dict[int, str] = {}
        self.alone: set[int] = set()
        self._counts: dict[Path, int] = {}
        self._starts = [0, *(match.end() for match in re.finditer("\n", text))]

    def document(self) -> None:
        table: Path = ()
        while self._next():
            line = self._line()
            if self.text[self.at] == "[":
                table = self._header()
                self.lines.setdefault(table, line)
                self.lines.setdefault(table[:1], line)
            else:
                self._pair(table)

    def _header(self) -> Path:
        many = self.text.startswith("[[", self.at)
        self.at += 2 if many else 1
        keys = self._key()
        self.at = self.text.index("]", self.at) + (2 if many else 1)
        # A header below an array of tables means the array's newest table.
        path: Path = ()
        for position, key in enumerate(keys):
            path = (*path, key)
            if many and position == len(keys) - 1:
                self._counts[path] = self._counts.get(path, -1) + 1
            if path in self._counts:
                path = (*path, self._counts[path])
        return path

    def _pair(self, table: Path) -> None:
        line = self._line()
        path: Path = (*table, *self._key())
        self.lines.setdefault(path, line)
        self.at = self.text.index("=", self.at) + 1
        self._value(path)

    def _key(self) -> Path:
        keys: list[str] = []
        while True:
            self._blank()
            if string := _STRING.match(self.text, self.at):
                keys.append(tomllib.loads(f"k = {string[0]}")["k"])
                self.at = string.end()
            elif bare := _BARE_KEY.match(self.text, self.at):
                keys.append(bare[0])
                self.at = bare.end()
            self._blank()
            if self.text[self.at] != ".":
                return tuple(keys)
            self.at += 1

    def _value(self, path: Path) -> None:
        self._blank()
        opening = self.text[self.at]
        if opening in "[{":
            self.at += 1
            closing, position = {"[": "]", "{": "}"}[opening], 0
            while self._next() and self.text[self.at] != closing:
                if self.text[self.at] == ",":
                    self.at += 1
                elif opening == "[":
                    self.lines.setdefault((*path, position), self._line())
                    self._value((*path, position))
                    position += 1
                else:
                    self._pair(path)
            self.at += 1
        elif string := _STRING.match(self.text, self.at):
            self.at = string.end()
        elif scalar := _SCALAR.match(self.text, self.at):
            self.at = scalar.end()

    def _next(self) -> bool:
        """Move to the next thing that is neither blank nor a comment; return whether there is one."""
        while self.at < len(self.text):
            character = self.text[self.at]
            if character == "#":
                end = self.text.find("\n", self.at)
                end = len(self.text) if end < 0 else end
                line = self._line()
                self.comments[line] = self.text[self.at + 1 : end].strip()
                if not self.text[self._starts[line - 1] : self.at].strip():
                    self.alone.add(line)
                self.at = end
            elif character in " \t\r\n":
                self.at += 1
            else:
                return True
        return False

    def _blank(self) -> None:
        if match := _BLANK.match(self.text, self.at):
            self.at = match.end()

    def _line(self) -> int:
        return bisect.bisect_right(self._starts, self.at)
