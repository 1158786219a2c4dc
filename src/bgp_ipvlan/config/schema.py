"""A TOML table against what this host's engine does with its keys: each value read, each mistake named.

A key is written as its path inside the table, `timers.config.hold-time`. Of those that are known at
all (`vocabulary`) there are three kinds: those with a meaning here, with the type of their value;
those that would change what is routed, and that our own speaker cannot do, with what to do instead;
and the rest, which changes nothing.
"""

from __future__ import annotations

import dataclasses
import enum
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from bgp_ipvlan import errors
from bgp_ipvlan.config import source as source_
from bgp_ipvlan.config import vocabulary

Values = dict[str, Any]
"""Path of a key → its value."""


_NOTHING: tuple[Any, ...] = (False, 0, "", [], "accept-route")
"""Values that ask for nothing but what is so anyway; the last is GoBGP's default of policies."""


class Engine(enum.StrEnum):
    """Whose the keys are that have no meaning here, and what is said of them."""

    EMBEDDED = "does nothing here"
    SPAWNED = ""
    """Passed on to a gobgpd of ours."""
    ATTACHED = "is for the gobgpd that runs: it goes by what it was started with"
    KERNEL = "is for the routing daemon of this host"


@dataclasses.dataclass(frozen=True, slots=True)
class Schema:
    """What stands in one table."""

    known: Mapping[str, Any]
    """Path → type, as `msgspec.convert` takes it."""
    impossible: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Path, or the beginning of it, of what our speaker refuses → what to do instead."""
    never: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Likewise, with any engine."""


class Reader:
    """Reads the tables of one file.

    Args:
        source: the file.
        engine: who is going to speak BGP.
    """

    def __init__(self, source: source_.Source, engine: Engine) -> None:
        self.source = source
        self.engine = engine
        self._idle: dict[str, str] = {}

    @property
    def warnings(self) -> tuple[str, ...]:
        """One for each key read so far that does nothing, however often it stands there."""
        return tuple(
            f"{self.source.place(key)} {self.engine.value or Engine.EMBEDDED} [ignored-key]"
            for _, key in sorted(self._idle.items())
        )

    def read(self, table: Mapping[str, Any], schema: Schema, where: str = "") -> Values:
        """All keys with a meaning.

        Args:
            table: as TOML has it, keys in lower case.
            schema: what may stand there.
            where: what the table is called, such as `neighbors[0]`.

        Raises:
            errors.ConfigError: `unsupported-key`, `bad-value`.
        """
        found: Values = {}
        for path, value in _leaves(table, schema.known):
            full = f"{where}.{path}" if where else path
            if path in schema.known:
                found[path] = self._value(full, value, schema.known[path])
            elif _asks(table, path, value):
                self._other(path, full, schema, table)
        return found

    def ignored(self, key: str) -> None:
        """Warn of a key; once for all members of a list."""
        self._idle.setdefault(re.sub(r"\[\d+\]", "", key), key)

    def wrong(self, reason: str, key: str, text: str) -> errors.ConfigError:
        """A complaint about a key."""
        return errors.ConfigError(reason, f"{self.source.place(key)} {text}")

    def _other(self, path: str, full: str, schema: Schema, table: Mapping[str, Any]) -> None:
        """A key without a meaning here that asks for something."""
        refused = schema.never
        if self.engine is Engine.EMBEDDED:
            refused = {**schema.impossible, **schema.never}
        section = _under(path, refused)
        if section is not None:
            if _asks(table, section, True):
                text = f"is not for this speaker: {refused[section]}"
                raise self.wrong("unsupported-key", full, text)
        elif self.engine is Engine.EMBEDDED or _under(full, vocabulary.GONE):
            self.ignored(full)
        elif self.engine is not Engine.SPAWNED:
            first, _, rest = path.partition(".")
            self.ignored(full if first == "config" else full.removesuffix(f".{rest}"))

    def _value(self, full: str, value: Any, kind: Any) -> Any:
        try:
            return msgspec.convert(value, kind)
        except msgspec.ValidationError as error:
            # Nor is a whole table shown: a password may be in it.
            secret = "password" in full or isinstance(value, dict | list)
            shown = "" if secret else f" {value!r}"
            # In its own words: Expected `int`, got `str`.
            text = str(error).partition(" - at")[0].replace("Expected", "expected")
            where = self.source.place(full)
            raise errors.ConfigError("bad-value", f"{where}{shown}: {text}") from None


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
    return value not in _NOTHING
