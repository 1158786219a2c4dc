"""A configuration file as it was read: its document in today's format, and where each key stands."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import pathlib
import re
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any

from bgp_ipvlan import errors
from bgp_ipvlan.config import legacy, lines, vocabulary
from bgp_ipvlan.config.legacy import Twice


@dataclasses.dataclass(frozen=True)
class Source:
    """See the module."""

    path: pathlib.Path
    text: str = dataclasses.field(repr=False)
    document: Mapping[str, Any] = dataclasses.field(repr=False)
    """Keys as GoBGP has them today, in lower case."""
    origins: Mapping[str, lines.Path] = dataclasses.field(repr=False)
    legacy: bool
    """It is in the format of 2015."""

    def place(self, key: str) -> str:
        """File, line and key, as a complaint begins.

        Args:
            key: path in `document`, such as `neighbors[0].config.peer-as`; it need not be there.

        Returns:
            `FILE:12: KEY`, the key as the user wrote it; the line of the table where it is missing.
        """
        origin, rest = self._origin(key)
        line = self._line(origin)
        shown = _shown(origin)
        if rest:
            rest = legacy.spelled(rest) if self.legacy else rest
            shown = f"{shown}.{rest}" if shown else rest
        return f"{self.path}:{line}: {shown}" if line else f"{self.path}: {shown}"

    def has(self, key: str) -> bool:
        """Whether the key stands in the file."""
        return key in self.origins

    def check(self) -> None:
        """That somebody knows each key.

        Raises:
            errors.ConfigError: `unknown-key`, with a suggestion.
        """
        for path in _unknown(self.document, vocabulary.tree()):
            below = vocabulary.tree()
            for name in _names(path):
                below = below.get(name, {})
            if below:
                text = "is a table: write its keys below it"
            else:
                near = _near(_names(path))
                text = "is unknown" + (f", did you mean {self._spelled(near)}?" if near else "")
            raise errors.ConfigError("unknown-key", f"{self.place(path)} {text}")

    def check_twice(self, twice: Twice) -> None:
        """That names which are the same in today's format do not say different things.

        Raises:
            errors.ConfigError: `bad-value`, naming both.
        """
        for key, (first, second) in twice.items():
            one, other = (
                f"{_shown(origin)} (line {self._line(origin)})" for origin in (first, second)
            )
            raise errors.ConfigError(
                "bad-value", f"{self.place(key)} is given twice, as {one} and {other}: say it once"
            )

    def _line(self, origin: lines.Path) -> int:
        """Of the innermost table or key of a path that has one; 0 for none."""
        return next((self._lines[p] for p in _prefixes(origin) if p in self._lines), 0)

    def _spelled(self, path: str) -> str:
        ours = path.partition(".")[0] in vocabulary.OURS
        return legacy.spelled(path) if self.legacy and not ours else path

    def _origin(self, key: str) -> tuple[lines.Path, str]:
        """Of the longest part of a path that there is; and the rest."""
        known = key
        while known and known not in self.origins:
            known = known.rpartition(".")[0]
        return self.origins.get(known, ()), key.removeprefix(known).removeprefix(".")

    @functools.cached_property
    def _lines(self) -> dict[lines.Path, int]:
        return lines.locate(self.text)


def read(path: pathlib.Path) -> Source:
    """Read a file.

    Raises:
        errors.ConfigError: `config-file` where it cannot be read, or is not TOML; `bad-value` where
            it has one thing twice.
    """
    try:
        text = path.read_bytes().decode()
        document = tomllib.loads(text)
    except OSError as error:
        raise errors.ConfigError("config-file", f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise errors.ConfigError("config-file", f"{path} is not UTF-8 text") from None
    except tomllib.TOMLDecodeError as error:
        why = str(error).replace("\n", " ")
        raise errors.ConfigError("config-file", f"{path} is not TOML: {why}") from None
    old = legacy.is_legacy(document)
    today, origins, twice = legacy.modern(document) if old else legacy.lowered(document)
    source = Source(path, text, today, origins, old)
    source.check_twice(twice)
    return source


def _prefixes(path: lines.Path) -> Iterator[lines.Path]:
    for length in range(len(path), 0, -1):
        yield path[:length]


def _shown(path: lines.Path) -> str:
    text = "".join(f"[{one}]" if isinstance(one, int) else f".{one}" for one in path)
    return text.removeprefix(".")


def _names(path: str) -> list[str]:
    return re.sub(r"\[\d+\]", "", path).split(".")


def _unknown(value: Any, node: vocabulary.Tree, path: str = "") -> Iterator[str]:
    """Keys that are not in the vocabulary, and values where it has a table."""
    if isinstance(value, list) and value and all(isinstance(one, Mapping) for one in value):
        for number, one in enumerate(value):
            yield from _unknown(one, node, f"{path}[{number}]")
    elif isinstance(value, Mapping):
        for key, one in value.items():
            place = f"{path}.{key}" if path else key
            if key in node:
                yield from _unknown(one, node[key], place)
            else:
                yield place
    elif path.count(".") and node:
        yield path


def _near(names: list[str]) -> str:
    """The likeliest key: a neighbour of this name, else one of it elsewhere in the table."""
    node, depth = vocabulary.tree(), 0
    while depth < len(names) and names[depth] in node:
        node, depth = node[names[depth]], depth + 1
    if near := difflib.get_close_matches(names[depth], node, n=1):
        return ".".join([*names[:depth], *near])
    table = vocabulary.tree().get(names[0], {})
    paths = {path.rpartition(".")[2]: path for path in reversed(list(_leaves(table, names[0])))}
    near = difflib.get_close_matches(names[-1], paths, n=1, cutoff=0.75)
    return paths[near[0]] if near else ""


def _leaves(node: vocabulary.Tree, path: str) -> Iterator[str]:
    for name, below in node.items():
        yield from _leaves(below, f"{path}.{name}") if below else (f"{path}.{name}",)
