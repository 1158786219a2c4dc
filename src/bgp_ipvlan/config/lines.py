"""On which line of a TOML file a key stands, which `tomllib` does not tell.

The text has been read by tomllib before, so it is TOML: nothing is checked here.
"""

from __future__ import annotations

import bisect
import re
import tomllib
from typing import TypeAlias

Path: TypeAlias = tuple[str | int, ...]
"""Of a key: names as written, and places in arrays, counted from 0."""

_SPACE = re.compile(r"[ \t]*")
_GAP = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_NAME = re.compile(r"""[A-Za-z0-9_-]+|"(?:\\.|[^"\\\n])*"|'[^'\n]*'""")
_STRING = re.compile(
    r'"""(?:\\[\s\S]|(?!""")[^\\])*"{3,5}'
    r"|'''(?:(?!''')[\s\S])*'{3,5}"
    r'|"(?:\\.|[^"\\\n])*"'
    r"|'[^'\n]*'"
)
_PLAIN = re.compile(r"[^,\]}\r\n#]+")
"""A number, a date, true or false."""


def locate(text: str) -> dict[Path, int]:
    """The line, counted from 1, of each key, table and member of an array; of tables the first.

    Args:
        text: that `tomllib.loads` takes.
    """
    return _Scanner(text).found


class _Scanner:
    """Runs over the text once."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._ends = [match.start() for match in re.finditer("\n", text)]
        self._at = 0
        self._counts: dict[Path, int] = {}
        """Of each [[table]], how many there have been."""
        self.found: dict[Path, int] = {}
        table: Path = ()
        self._skip(_GAP)
        while self._at < len(text):
            if text[self._at] == "[":
                table = self._header()
            else:
                self._pair(table)
            self._skip(_GAP)

    def _skip(self, what: re.Pattern[str]) -> str:
        match = what.match(self._text, self._at)
        if match is None:
            # Rather stop than go round in circles, should a TOML of the future come.
            self._at = len(self._text)
            return ""
        self._at = match.end()
        return match[0]

    def _note(self, path: Path) -> None:
        line = bisect.bisect_left(self._ends, self._at) + 1
        for length in range(1, len(path) + 1):
            self.found.setdefault(path[:length], line)

    def _header(self) -> Path:
        """`[a.b]` or `[[a.b]]`."""
        brackets = 2 if self._text.startswith("[[", self._at) else 1
        self._at += brackets
        *above, last = self._name()
        path: Path = ()
        for name in above:
            path = self._latest((*path, name))
        path = (*path, last)
        if brackets == 2:
            self._counts[path] = self._counts.get(path, 0) + 1
        path = self._latest(path)
        self._note(path)
        self._skip(_SPACE)
        self._at += brackets
        return path

    def _latest(self, path: Path) -> Path:
        return (*path, self._counts[path] - 1) if path in self._counts else path

    def _pair(self, table: Path) -> None:
        """`a.b = value`."""
        path = (*table, *self._name())
        self._note(path)
        self._at += 1  # =
        self._value(path)

    def _name(self) -> list[str]:
        names: list[str] = []
        while True:
            self._skip(_SPACE)
            name = self._skip(_NAME)
            names.append(tomllib.loads(f"x = {name}")["x"] if name[:1] in {'"', "'"} else name)
            self._skip(_SPACE)
            if not self._text.startswith(".", self._at):
                return names
            self._at += 1

    def _value(self, path: Path) -> None:
        self._skip(_SPACE)
        first = self._text[self._at : self._at + 1]
        if first == "[":
            self._members(path)
        elif first == "{":
            self._inline(path)
        else:
            self._skip(_STRING if first in {'"', "'"} else _PLAIN)

    def _members(self, path: Path) -> None:
        """`[value, …]`, over as many lines as it takes."""
        self._at += 1
        number = 0
        while not self._ends_with("]"):
            self._note((*path, number))
            self._value((*path, number))
            number += 1

    def _inline(self, path: Path) -> None:
        """`{a = value, …}`."""
        self._at += 1
        while not self._ends_with("}"):
            self._pair(path)

    def _ends_with(self, bracket: str) -> bool:
        """Whether that comes next; a comma before it, or between two, is left behind."""
        self._skip(_GAP)
        if self._text.startswith(",", self._at):
            self._at += 1
            self._skip(_GAP)
        ended = self._text.startswith(bracket, self._at) or self._at >= len(self._text)
        self._at += ended
        return ended
