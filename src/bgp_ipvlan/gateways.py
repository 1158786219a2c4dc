"""Which nexthop object stands for which gateways of BGP, and where it leads now.

Routes point at the object, so that a way that changes or ends is one message to the kernel,
however many routes take it (D2). A kernel without nexthop objects writes next hops into each
route: there an id stands for one way, and a way that changes is another id.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import TypeAlias

from bgp_ipvlan import errors, model, ownership, plan

Way: TypeAlias = plan.learned.Way
Resolve = Callable[[tuple[model.Gateway, ...]], Way | str]
_Key: TypeAlias = tuple[model.Gateway, ...] | Way


@dataclasses.dataclass(slots=True)
class Entry:
    """One object."""

    via: model.Via
    way: Way
    key: _Key


class Gateways:
    """See the module. Changes nothing in the kernel: says what there is to do.

    Args:
        objects: whether the kernel has nexthop objects.
    """

    def __init__(self, *, objects: bool) -> None:
        self._objects = objects
        self._by_key: dict[_Key, Entry] = {}
        self._by_id: dict[int, Entry] = {}
        self._adopted: dict[tuple[bool, tuple[model.NextHop, ...]], list[model.Via]] = {}
        """Objects left by an earlier run, by what they are, until somebody needs such a one."""
        self._spoken_for: set[int] = set()
        """Ids that are not free although they have no entry."""
        self._spent: set[int] = set()
        """Ids that stood for something in this run: books and writer may still know them as gone."""
        self._written: frozenset[int] = frozenset()
        """Ids whose objects the kernel has, if nobody took them, when it is read."""
        self._next = {True: itertools.cycle(ownership.GROUP_IDS)}
        self._next[False] = itertools.cycle(ownership.SINGLE_IDS)

    def __iter__(self) -> Iterator[Entry]:
        return iter(tuple(self._by_id.values()))

    def next_hops(self, via: model.Via) -> tuple[model.NextHop, ...]:
        """Where an object leads; nowhere if it has gone."""
        entry = self._by_id.get(via.id)
        return entry.way.next_hops if entry else ()

    def find(self, gateways: tuple[model.Gateway, ...], way: Way) -> tuple[Entry, bool]:
        """The object for some gateways.

        Args:
            gateways: of the best paths.
            way: how they are reached now.

        Returns:
            The entry; and whether the kernel has to be told where it leads.

        Raises:
            errors.KernelError: `no-nexthop-id`.
        """
        key: _Key = gateways if self._objects else way
        entry = self._by_key.get(key)
        if entry is not None and entry.way == way:
            return entry, False
        if entry is not None and entry.way.table == way.table:
            entry.way = way
            return entry, True
        group = len(way.next_hops) > 1
        if self._objects:  # what may have several next hops some time
            group = len(gateways) > 1 or gateways[0].recursive
        pool = self._adopted.get((group, way.next_hops))
        via = pool.pop() if pool else model.Via(self._free(group=group))
        entry = self._by_key[key] = self._by_id[via.id] = Entry(via, way, key)
        return entry, True

    def _free(self, *, group: bool) -> int:
        ids = self._next[group]
        for _ in range(2):
            for _ in range(len(ownership.SINGLE_IDS)):
                number = next(ids)
                if not any(
                    number in taken for taken in (self._by_id, self._spoken_for, self._spent)
                ):
                    return number
            self._spent.clear()
        raise errors.KernelError("no-nexthop-id", "all ids for nexthop objects are in use")

    def forget(self, via: model.Via) -> None:
        """It stands for nothing any more."""
        for pool in self._adopted.values():
            if via in pool:
                pool.remove(via)
        if self._objects:
            self._spent.add(via.id)
        entry = self._by_id.pop(via.id, None)
        if entry is not None and self._by_key.get(entry.key) is entry:
            del self._by_key[entry.key]

    def refresh(self, resolve: Resolve) -> tuple[list[Entry], list[Entry]]:
        """The ways have changed.

        Returns:
            Entries that lead elsewhere from now on; and those that lead nowhere, which are
            forgotten.
        """
        moved, ended = [], []
        for entry in tuple(self._by_id.values()):
            if isinstance(entry.key, plan.learned.Way):
                continue  # decided anew, route by route
            way = resolve(entry.key)
            if isinstance(way, str) or way.table != entry.way.table:
                self.forget(entry.via)
                ended.append(entry)
            elif way != entry.way:
                entry.way = way
                moved.append(entry)
        return moved, ended

    def mark(self) -> None:
        """The kernel is going to be read, when all that has been said so far is done."""
        self._written = frozenset(self._by_id)

    def observe(
        self, found: Mapping[model.Via, tuple[model.NextHop, ...]], strangers: frozenset[int]
    ) -> tuple[list[Entry], list[Entry], list[Entry]]:
        """The kernel was read.

        Args:
            found: our objects in it, and where they lead.
            strangers: ids in our range that somebody else has taken.

        Returns:
            Entries whose object leads elsewhere than it should; those whose id is a stranger's
            now, which are forgotten; and those whose object is not there.
        """
        self._adopted.clear()
        self._spoken_for = {via.id for via in found} | strangers
        wrong, taken = [], []
        for via, next_hops in found.items():
            entry = self._by_id.get(via.id)
            if entry is None and via.id in self._spent:
                continue  # it is on its way out, or stays for others who use it
            if entry is None:
                key = via.id in ownership.GROUP_IDS, next_hops
                self._adopted.setdefault(key, []).append(via)
            elif entry.way.next_hops != next_hops:
                wrong.append(entry)
        lost = []
        for entry in tuple(self._by_id.values()):
            if entry.via.id in strangers:
                self.forget(entry.via)
                taken.append(entry)
            elif self._objects and entry.via.id in self._written and entry.via not in found:
                lost.append(entry)
        return wrong, taken, lost
