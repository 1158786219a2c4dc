"""Adj-RIB-In: what one neighbour told us of one family, before any decision.

Pure. A table is a dictionary from NLRI to a tuple of paths, which all prefixes of an UPDATE
share: nothing is made per prefix, and prefixes alike in all that is known of them can be told by
the identity of those tuples (D2).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Iterator
from typing import Any, Generic, Protocol, TypeVar, overload

from bgp_ipvlan import model

MAX_PATHS = 64
"""Paths that one neighbour may have for one prefix (RFC 7911). Each new one is compared with all
the others, so that without a bound some messages could keep us busy for minutes."""
TOO_MANY_PATHS = "too-many-paths"
"""Reason code of what is beyond."""

A = TypeVar("A")
B = TypeVar("B")


@overload
def alike(
    prefixes: Collection[model.Nlri], one: Iterable[A], two: Iterable[B], /
) -> list[tuple[tuple[A, B], list[model.Nlri]]]: ...


@overload
def alike(
    prefixes: Collection[model.Nlri], /, *columns: Iterable[A]
) -> list[tuple[tuple[A, ...], list[model.Nlri]]]: ...


def alike(
    prefixes: Collection[model.Nlri], /, *columns: Iterable[object]
) -> list[tuple[Any, list[model.Nlri]]]:
    """Group prefixes that stand for the very same objects.

    Whole UPDATEs share a record, so there are few groups, and what is to be found out is found
    out once for each. Identity tells them apart: hashing a path costs more than all else.

    Args:
        prefixes: each once.
        columns: each has one object for every prefix, in the same order.

    Returns:
        The objects, one of each column, and the prefixes that stand for them.
    """
    if not columns:
        return [((), list(prefixes))]
    kept = [list(column) for column in columns]  # else an identity could be another's by now
    identities = list(zip(*(map(id, column) for column in kept), strict=True))
    rows = dict(zip(identities, zip(*kept, strict=True), strict=True))
    if len(rows) == 1:
        return [(row, list(prefixes)) for row in rows.values()]
    groups: dict[tuple[int, ...], list[model.Nlri]] = {identity: [] for identity in rows}
    for prefix, identity in zip(prefixes, identities, strict=True):
        groups[identity].append(prefix)
    return list(zip(rows.values(), groups.values(), strict=True))


class _HasPathId(Protocol):
    @property
    def path_id(self) -> int: ...


Entry = TypeVar("Entry", bound=_HasPathId)


class Table(Generic[Entry]):
    """Prefixes, each with its entries, of which every path identifier has at most one.

    Without ADD-PATH there is one entry, which a new one replaces whatever identifier it has.
    """

    def __init__(self) -> None:
        self.rows: dict[model.Nlri, tuple[Entry, ...]] = {}
        self._more = 0
        """Entries beyond the first of each prefix."""

    def __len__(self) -> int:
        """How many entries there are."""
        return len(self.rows) + self._more

    def put(self, fresh: dict[model.Nlri, tuple[Entry]], path_id: int | None) -> list[model.Nlri]:
        """Add an entry to some prefixes, in place of an old one.

        Args:
            fresh: the prefixes, all with the same entry.
            path_id: the entry's; None replaces all entries of the prefix.

        Returns:
            The prefixes that have `MAX_PATHS` entries already, and did not get this one.
        """
        rows = self.rows
        if (path_id is None and not self._more) or rows.keys().isdisjoint(fresh):
            rows.update(fresh)
            return []
        beyond: list[model.Nlri] = []
        added = next(iter(fresh.values()))
        for (old,), prefixes in alike(fresh, map(rows.get, fresh)):
            others = _others(old or (), path_id)
            if len(others) < MAX_PATHS:
                self._set(prefixes, old or (), others + added)
            else:
                beyond += prefixes
        return beyond

    def drop(self, prefixes: Iterable[model.Nlri], path_id: int | None) -> list[model.Nlri]:
        """Remove one entry of some prefixes, or (None) all.

        Returns:
            The prefixes that had it.
        """
        rows = self.rows
        if not rows:
            return []
        if path_id is None and not self._more:
            return [prefix for prefix in prefixes if rows.pop(prefix, None) is not None]
        dropped: list[model.Nlri] = []
        here = [prefix for prefix in dict.fromkeys(prefixes) if prefix in rows]
        for (old,), same in alike(here, map(rows.__getitem__, here)):
            left = _others(old, path_id)
            if len(left) < len(old):
                self._set(same, old, left)
                dropped += same
        return dropped

    def _set(
        self, prefixes: list[model.Nlri], old: tuple[Entry, ...], new: tuple[Entry, ...]
    ) -> None:
        """Exchange the entries of prefixes that all had the same."""
        self._more += (max(len(new), 1) - max(len(old), 1)) * len(prefixes)
        if new:
            self.rows.update(dict.fromkeys(prefixes, new))
            return
        for prefix in prefixes:
            del self.rows[prefix]


def _others(entries: tuple[Entry, ...], path_id: int | None) -> tuple[Entry, ...]:
    if path_id is None:
        return ()
    return tuple(one for one in entries if one.path_id != path_id)


@dataclasses.dataclass(frozen=True, slots=True)
class Refused:
    """A path that takes no part in the decision, and the reason code why."""

    path: model.Path
    reason: str

    @property
    def path_id(self) -> int:
        """Of the path."""
        return self.path.path_id


class AdjRibIn:
    """One neighbour's paths of one family.

    Those that the decision sees, those refused, and the prefixes known only from before its
    restart. A prefix and path identifier is in one of the two tables, never in both.
    """

    def __init__(self) -> None:
        self.accepted: Table[model.Path] = Table()
        self.refused: Table[Refused] = Table()
        self.stale: set[model.Nlri] = set()
        """Not heard of again yet (RFC 4724 section 4.2, RFC 7313 section 4)."""

    def __len__(self) -> int:
        """How many paths there are, refused ones too."""
        return len(self.accepted) + len(self.refused)

    def accept(
        self, fresh: dict[model.Nlri, tuple[model.Path]], path_id: int | None
    ) -> list[model.Nlri]:
        """Take an announcement; its prefixes are to be decided anew.

        Args:
            fresh: prefixes, all with the same path.
            path_id: which of several paths it is; None without ADD-PATH.

        Returns:
            Those that are not, because they have `MAX_PATHS` paths already.
        """
        self._renew(fresh, path_id)
        self.refused.drop(fresh, path_id)
        beyond = self.accepted.put(fresh, path_id)
        if beyond:
            refused = Refused(fresh[beyond[0]][0], TOO_MANY_PATHS)
            self.refused.put(dict.fromkeys(beyond, (refused,)), path_id)
        return beyond

    def refuse(
        self, prefixes: Collection[model.Nlri], refused: Refused, path_id: int | None
    ) -> list[model.Nlri]:
        """Keep an announcement out of the decision.

        Returns:
            The prefixes to be decided anew: it took the place of an accepted path.
        """
        changed = self._renew(prefixes, path_id)
        changed += self.accepted.drop(prefixes, path_id)
        self.refused.put(dict.fromkeys(prefixes, (refused,)), path_id)
        return changed

    def withdraw(self, prefixes: Collection[model.Nlri], path_id: int | None) -> list[model.Nlri]:
        """Drop one path of some prefixes, or (None) all.

        Returns:
            The prefixes to be decided anew.
        """
        changed = self.accepted.drop(prefixes, path_id)
        self.refused.drop(prefixes, path_id)
        if self.stale:
            self.stale.difference_update(list(self._absent(prefixes)))
        return changed

    def mark_stale(self) -> None:
        """Mark all there is."""
        self.stale = {*self.accepted.rows, *self.refused.rows}

    def flush_stale(self, limit: int | None = None) -> list[model.Nlri]:
        """Drop what is still marked, at most `limit` of it.

        Returns:
            The prefixes to be decided anew.
        """
        stale, self.stale = self.stale, set()
        if limit is not None and len(stale) > limit:
            self.stale = stale
            stale = {stale.pop() for _ in range(limit)}
        self.refused.drop(stale, None)
        return self.accepted.drop(stale, None)

    def _renew(self, prefixes: Iterable[model.Nlri], path_id: int | None) -> list[model.Nlri]:
        """The first announcement of a stale prefix replaces all its paths.

        What their identifiers meant before the restart is not known any more (RFC 7911 section 3).
        """
        if not self.stale:
            return []
        again = self.stale.intersection(prefixes)
        self.stale -= again
        if path_id is None:
            return []  # replaces them all by itself
        self.refused.drop(again, None)
        return self.accepted.drop(again, None)

    def _absent(self, prefixes: Iterable[model.Nlri]) -> Iterator[model.Nlri]:
        accepted, refused = self.accepted.rows, self.refused.rows
        return (key for key in prefixes if key not in accepted and key not in refused)
