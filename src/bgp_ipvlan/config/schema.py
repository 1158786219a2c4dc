"""A TOML table against the keys that may stand in it: each value read, each mistake named.

A key is written as its path inside the table, `timers.config.hold-time`. There are three
kinds: those with a meaning here, with the type of their value; those that would change what is
routed, and that this speaker cannot do, with what to do instead; and those that change nothing.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from bgp_ipvlan import errors

Values = dict[str, Any]
"""Path of a key → its value."""


@dataclasses.dataclass(frozen=True, slots=True)
class Schema:
    """What may stand in one table."""

    known: Mapping[str, Any]
    """Path → type, as `msgspec.convert` takes it."""
    impossible: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Path, or the beginning of it, of what is refused → what to do instead."""
    idle: frozenset[str] = frozenset()
    """Path, or the beginning of it, of what is taken and does nothing."""


class Reader:
    """Reads the tables of one file.

    Args:
        name: of the file: begins every complaint.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._idle: set[str] = set()

    @property
    def warnings(self) -> tuple[str, ...]:
        """One for each key read so far that does nothing, however often it stands there."""
        return tuple(
            f"{self.name}: {key} does nothing here [ignored-key]" for key in sorted(self._idle)
        )

    def read(self, table: Mapping[str, Any], schema: Schema, where: str = "") -> Values:
        """All keys with a meaning.

        Args:
            table: as TOML has it, keys in lower case.
            schema: what may stand there.
            where: what the table is called, such as `neighbors[0]`.

        Raises:
            errors.ConfigError: `unknown-key`, `unsupported-key`, `bad-value`.
        """
        found: Values = {}
        for path, value in _leaves(table, schema.known):
            full = f"{where}.{path}" if where else path
            if path in schema.known:
                found[path] = self._value(full, value, schema.known[path])
            elif (section := _under(path, schema.impossible)) is not None:
                if _asks(table, section, value):
                    remedy = schema.impossible[section]
                    raise self.wrong("unsupported-key", full, f"is not for this speaker: {remedy}")
            elif _under(path, schema.idle) is not None:
                if value not in (False, 0, "", []):
                    self._idle.add(re.sub(r"\[\d+\]", "", full))
            else:
                raise self.wrong("unknown-key", full, _unknown(path, schema))
        return found

    def wrong(self, reason: str, key: str, text: str) -> errors.ConfigError:
        """A complaint about a key."""
        return errors.ConfigError(reason, f"{self.name}: {key} {text}")

    def _value(self, full: str, value: Any, kind: Any) -> Any:
        try:
            return msgspec.convert(value, kind)
        except msgspec.ValidationError as error:
            shown = "" if "password" in full else f" {value!r}"
            # In its own words: Expected `int`, got `str`.
            text = str(error).partition(" - at")[0].replace("Expected", "expected")
            raise self.wrong("bad-value", full + shown + ":", text) from None


def _leaves(
    table: Mapping[str, Any], known: Mapping[str, Any], above: str = ""
) -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        path = above + key
        if isinstance(value, dict) and path not in known:
            yield from _leaves(value, known, path + ".")
        else:
            yield path, value


def _under(path: str, sections: Iterable[str]) -> str | None:
    """The section that a path is, or is inside of."""
    for section in sections:
        if path == section or path.startswith(section + "."):
            return section
    return None


def _asks(table: Mapping[str, Any], section: str, value: Any) -> bool:
    """Whether anything is asked for: not by zero, nor in a section whose switches are all off."""
    inside: Any = table
    for key in section.split("."):
        inside = inside[key]
    if isinstance(inside, dict):
        inside = inside.get("config", inside)
        switches = [one for one in inside.values() if isinstance(one, bool)]
        if switches and not any(switches):
            return False
    return value not in (False, 0, "", [])


def _unknown(path: str, schema: Schema) -> str:
    if any(known.startswith(path + ".") for known in schema.known):
        return "is a table: write its keys below it"
    candidates = [*schema.known, *schema.impossible, *schema.idle]
    near = difflib.get_close_matches(path, candidates, n=1)
    return "is unknown" + (f", did you mean {near[0]}?" if near else "")
