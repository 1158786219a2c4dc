"""Where a key stands in a TOML file: every key that tomllib finds, on the line that has it."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

from bgp_ipvlan.config import lines

# Each value stands once in the text, so that its line can be told without our scanner.
_NAMES = st.one_of(
    st.sampled_from(
        ["a", "b", "key", "1", "-_", "a.b", "[x]", 'q"', "it's", "ä", " ", "", "#", "="]
    ),
    st.text(st.characters(codec="utf-8", exclude_characters="\x7f\n\r"), max_size=3),
)
_LEAF = st.none()
_TREES = st.dictionaries(
    _NAMES,
    st.recursive(
        _LEAF,
        lambda inner: st.one_of(
            st.dictionaries(_NAMES, inner, max_size=3),
            st.lists(inner, max_size=3),
            st.lists(st.dictionaries(_NAMES, inner, max_size=3), min_size=1, max_size=3),
        ),
        max_leaves=12,
    ),
    max_size=4,
)


class Writer:
    """Writes a tree as TOML, in whichever of the ways that TOML has for it."""

    def __init__(self, draw: Any) -> None:
        self._draw = draw
        self._number = 1000
        self.text = ""

    def _choice(self, *ways: Any) -> Any:
        return self._draw(st.sampled_from(ways))

    def key(self, *names: str) -> str:
        """A dotted key."""
        gap = self._choice("", " ")
        return f"{gap}.{gap}".join(map(self._name, names))

    def _name(self, name: str) -> str:
        ways = [json.dumps(name, ensure_ascii=self._choice(True, False) or _astral(name))]
        if name and all(one.isascii() and (one.isalnum() or one in "-_") for one in name):
            ways.append(name)
        if "'" not in name and name.isprintable():
            ways.append(f"'{name}'")
        return (
            str(self._choice(*ways)) if not _astral(name) else json.dumps(name, ensure_ascii=False)
        )

    def leaf(self) -> str:
        """A value with a number in it that occurs nowhere else; before it, at most noise."""
        self._number += 1
        n = self._number
        return str(
            self._choice(
                f"{n}",
                f"{n}.5",
                f"'{n} # [x] = '",
                f'"{n} \\" ] }}"',
                f'"""{n}\n[no]\nx = "1" \\""""""',
                f"'''{n}\n[[no]]\n'''''",
                f"{n}-01-02 03:04:05",
            )
        )

    def inline(self, value: Any) -> str:
        """A value on the right of an equals sign."""
        if value is None:
            return self.leaf()
        if isinstance(value, list):
            gap = self._choice("", " ", "\n", "# ], x = 1\n  ")
            members = [gap + self.inline(one) + gap for one in value]
            return "[" + ",".join(members) + (self._choice("", ",") if members else "") + "]"
        pairs = [f"{self.key(name)} = {self.inline(one)}" for name, one in value.items()]
        return "{" + ", ".join(pairs) + "}"

    def table(self, path: tuple[str, ...], value: dict[str, Any]) -> None:
        """The keys of a table, and the tables below it after them."""
        later: list[tuple[str, Any]] = []
        for name, one in value.items():
            tables = isinstance(one, list) and one and all(isinstance(x, dict) for x in one)
            if (isinstance(one, dict) or tables) and self._choice(True, False):
                later.append((name, one))
            elif isinstance(one, dict) and one and self._choice(True, False):
                for deep, inner in one.items():
                    self.text += f"{self.key(name, deep)} = {self.inline(inner)}{self._end()}"
            else:
                self.text += f"  {self.key(name)}={self.inline(one)}{self._end()}"
        for name, one in later:
            for each in one if isinstance(one, list) else [one]:
                left, right = ("[[", "]]") if isinstance(one, list) else ("[", "]")
                self.text += f"{left}{self.key(*path, name)} {right}{self._end()}"
                self.table((*path, name), each)

    def _end(self) -> str:
        return str(self._choice("\n", " # x = [\n", "\r\n", "\n\n"))


def _astral(name: str) -> bool:
    """What JSON writes as a pair of surrogates, TOML does not take."""
    return any(ord(one) > 0xFFFF for one in name)


def _paths(value: Any, path: lines.Path = ()) -> Iterator[tuple[lines.Path, Any]]:
    if path:
        yield path, value
    if isinstance(value, dict | list):
        inside = value.items() if isinstance(value, dict) else enumerate(value)
        for key, one in inside:
            yield from _paths(one, (*path, key))


@st.composite
def _texts(draw: Any) -> str:
    writer = Writer(draw)
    writer.table((), draw(_TREES))
    return writer.text


@hypothesis.given(_texts())
@hypothesis.settings(max_examples=300, deadline=None)
def test_every_key_has_its_line(text: str) -> None:
    """Whatever way it is written in; and there is none that tomllib does not find."""
    document = tomllib.loads(text)
    shown = text.replace("\r\n", "\n").split("\n")

    found = lines.locate(text)

    wanted = dict(_paths(document))
    assert set(wanted) == set(found)
    for path, value in wanted.items():
        if not isinstance(value, dict | list):
            number = str(getattr(value, "year", value)).lstrip()[:4]
            assert number in shown[found[path] - 1], path


@pytest.mark.parametrize(
    ("text", "path", "line"),
    [
        ("a = 1\n\n[b]\nc = 2", ("b", "c"), 4),
        ("[[n]]\nx=1\n[n.c]\ny=2\n[[n]]\n[n.c]\ny=3", ("n", 1, "c", "y"), 7),
        ("[[n]]\n[[n.m]]\nx=1\n[[n.m]]\n[[n]]\n[[n.m]]\nx=2", ("n", 1, "m", 0, "x"), 7),
        ("a.b.c = 1\na.'d' = 2", ("a", "d"), 2),
        ('a = """\n[b]\n"""\nc = 1', ("c",), 4),
        ("a = [\n  1, # ]\n  [2,\n  3]\n]\nb = 1", ("a", 1, 1), 4),
        ("[a.b]\nx = {y = {z = 1}}\n[a]\nc = 2", ("a", "b", "x", "y", "z"), 2),
        ("# [a]\n[a]", ("a",), 2),
        ("", (), None),
    ],
)
def test_by_hand(text: str, path: lines.Path, line: int | None) -> None:
    """Lines counted by eye."""
    tomllib.loads(text)

    assert line == lines.locate(text).get(path)


@pytest.mark.parametrize("text", ["=", "[", "[[a", "a = [1", "a = {b", "a", "\x00", 'a = """', "]"])
def test_what_is_no_toml_ends_too(text: str) -> None:
    """Whatever it finds there, it comes to an end."""
    assert isinstance(lines.locate(text), dict)
