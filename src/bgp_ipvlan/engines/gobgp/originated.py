"""What we announce, as local paths in gobgpd: brought in line, and looked after.

Adding a prefix replaces the local path that another client of gobgpd put there (kernel sheet,
section 3), so each is looked up first. What does not carry our mark stays, and ours waits
(`foreign-path`). What is there as wanted is not said again: after a restart of ours, or a cut
connection, neighbours notice nothing.
"""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable

from bgp_ipvlan import errors, model, ownership
from bgp_ipvlan.engines.gobgp import api as api_
from bgp_ipvlan.engines.gobgp import learned as learned_

log = logging.getLogger("bgp_ipvlan")

_FEW = 20
_AT_ONCE = 100
"""Prefixes looked up in one call."""

Key = tuple[model.Family, model.Nlri]


@dataclasses.dataclass(slots=True)
class _Work:
    """What gobgpd is to be told."""

    announced: dict[Key, model.Announcement] = dataclasses.field(default_factory=dict)
    gone: list[Key] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(slots=True, eq=False)
class _Waiter:
    """Who waits, for what is left of it."""

    keys: set[Key]
    running: set[Key]
    """Those that gobgpd is being told already, as they are wanted now."""
    done: asyncio.Event = dataclasses.field(default_factory=asyncio.Event)


class Originated:
    """See the module.

    Args:
        api: gobgpd.
        learned: told of a prefix of ours and the neighbours' paths to it, which gobgpd holds
            second to our own and does not tell of.
        internal: whether there are iBGP neighbours.
    """

    def __init__(
        self,
        api: api_.Api,
        learned: learned_.Learned,
        internal: Callable[[], bool],
    ) -> None:
        self._api = api
        self._internal = internal
        self._told_prepend = False
        self._learned = learned
        self._wanted: dict[Key, model.Announcement] = {}
        self._dirty: dict[Key, None] = {}
        """In the order in which they changed."""
        self._busy: set[Key] = set()
        """What gobgpd is being told. What changes meanwhile is dirty again."""
        self._news = asyncio.Event()
        self._waiters: list[_Waiter] = []
        self.foreign: set[Key] = set()
        """Prefixes that another client of gobgpd announces: ours wait."""
        self._left: set[Key] = set()
        """What gobgpd would not take back."""
        self.there: set[Key] = set()
        """What gobgpd announces for us."""
        self.graceful_shutdown = False
        self.silent = False
        """Nothing is announced, whatever is wanted."""

    # --- what is wanted --------------------------------------------------------------------

    def announce(self, announcements: Iterable[model.Announcement]) -> None:
        """Announce, or replace the attributes of, some prefixes."""
        for one in announcements:
            key = model.Family.of(one.prefix), model.nlri(one.prefix)
            self._wanted[key] = one
            self._mark([key])

    def withdraw(self, prefixes: Iterable[model.Prefix]) -> None:
        """Take announcements back."""
        for prefix in prefixes:
            key = model.Family.of(prefix), model.nlri(prefix)
            if self._wanted.pop(key, None) is not None:
                self._mark([key])

    def mark_all(self) -> None:
        """Look at everything again."""
        left, self._left = self._left, set()
        self._mark([*self._wanted, *left])

    def _mark(self, keys: Iterable[Key]) -> None:
        self._dirty.update(dict.fromkeys(keys))
        self._news.set()

    def look(self, keys: Iterable[Key]) -> None:
        """Look at some prefixes again: ours, and a few others, which an earlier life may have left."""
        ours: list[Key] = []
        others: list[Key] = []
        for key in keys:
            (ours if key in self._wanted else others).append(key)
        self._mark(ours if len(others) > _FEW else ours + others)

    async def told(self, keys: Collection[Key] | None = None) -> None:
        """Return when gobgpd has been told, from now on, of some prefixes, or of all (None).

        Of what is new: others may be looked at again meanwhile, for ever.
        """
        pending = self._dirty.keys() | self._busy
        wanted = pending if keys is None else pending & set(keys)
        waiter = _Waiter(wanted, (wanted & self._busy) - self._dirty.keys())
        if waiter.keys:
            self._waiters.append(waiter)
            try:
                await waiter.done.wait()
            finally:
                self._waiters.remove(waiter)

    # --- telling gobgpd -------------------------------------------------------------------

    def found(self, keys: Iterable[Key]) -> None:
        """There are local paths: perhaps ours, of an earlier life, and not wanted any more."""
        self._mark(keys)

    async def run(self) -> None:
        """Tell gobgpd whatever is new, until it is gone.

        Raises:
            errors.EngineError: `gobgp-unreachable`.
        """
        self.there.clear()
        self.mark_all()
        while True:
            await self._news.wait()
            self._news.clear()
            while self._dirty:
                keys = list(itertools.islice(self._dirty, _AT_ONCE))
                for key in keys:
                    del self._dirty[key]
                self._busy.update(keys)
                waiters = list(self._waiters)
                try:
                    await self._tell(keys)
                except BaseException:
                    self._mark(keys)
                    raise
                finally:
                    self._busy.clear()
                self._told(waiters, keys)

    def _told(self, waiters: Collection[_Waiter], keys: Iterable[Key]) -> None:
        for waiter in list(self._waiters):
            # Who came meanwhile counts what ran then, not what has changed since.
            waiter.keys.difference_update(keys if waiter in waiters else waiter.running)
            waiter.running.clear()
            if not waiter.keys:
                waiter.done.set()

    async def _tell(self, keys: list[Key]) -> None:
        work = _Work()
        for family in model.Family:
            same = [key for key in keys if key[0] is family]
            known = await self._api.lookup(family, [key[1] for key in same]) if same else {}
            for key in same:
                self._align(key, known.get(key[1], []), work)
        await self._do(work)

    def _align(self, key: Key, known: list[api_.Known], work: _Work) -> None:
        """What is to be done to bring one prefix in line."""
        local = [one for one in known if one.neighbor is None]
        wanted = None if self.silent else self._wanted.get(key)
        if any(not ownership.marked(one.path) for one in local):
            self._learned.contend(*key, ())
            self._is_foreign(key)
            return
        self.foreign.discard(key)
        others = tuple(one.path for one in known if one.neighbor is not None)
        if local and known[0].neighbor is not None:
            # Ours gives way (LOCAL_PREF 0, while traffic is to leave this host).
            self._learned.settle(*key, tuple(o.path for o in known if o.best and o.neighbor))
        elif local or wanted is not None:
            self._learned.contend(*key, others if wanted is not None else ())
        if wanted is None:
            if local:
                work.gone.append(key)
            self.there.discard(key)
            return
        asked = self._asked(wanted)
        if any(self._same(asked, one.path) for one in local):
            self.there.add(key)
        else:
            work.announced[key] = asked

    async def _do(self, work: _Work) -> None:
        """At once; where gobgpd refuses, one by one, so that one does not stop the rest."""
        try:
            if work.announced or work.gone:
                await self._api.change(work.announced.values(), work.gone)
            self.there.update(work.announced)
        except errors.EngineError as error:
            if error.reason == "gobgp-unreachable":
                raise
            for key in work.gone:
                if not await self._try(key, self._api.delete(*key)):
                    self._left.add(key)
            for key, asked in work.announced.items():
                if await self._try(key, self._api.add(asked)):
                    self.there.add(key)

    async def _try(self, key: Key, call: Awaitable[None]) -> bool:
        try:
            await call
        except errors.EngineError as error:
            if error.reason == "gobgp-unreachable":
                raise
            log.error("not announced prefix=%s reason=%s error=%s", _text(key), error.reason, error)
            return False
        return True

    def _asked(self, wanted: model.Announcement) -> model.Announcement:
        asked = wanted
        if wanted.prepend and self._internal():
            # gobgpd has one path for all neighbours, and these would take it for a loop.
            asked = dataclasses.replace(wanted, prepend=0)
            if not self._told_prepend:
                self._told_prepend = True
                log.warning(
                    "not prepended prefix=%s reason=prepend-internal (there are neighbors in our "
                    "own AS, who would take it for a loop)",
                    wanted.prefix,
                )
        if not self.graceful_shutdown:
            return asked
        # RFC 8326 section 4: the mark, and within the AS the least preference.
        marked = (*wanted.communities, model.GRACEFUL_SHUTDOWN)
        return dataclasses.replace(asked, communities=marked, local_pref=0)

    def _is_foreign(self, key: Key) -> None:
        self.there.discard(key)
        wanted = key in self._wanted and not self.silent
        if not wanted:
            self.foreign.discard(key)
        elif key not in self.foreign:
            self.foreign.add(key)
            log.warning(
                "not announced prefix=%s reason=foreign-path (another client of gobgpd "
                "announces it: see `gobgp global rib`)",
                _text(key),
            )

    @staticmethod
    def _same(wanted: model.Announcement, path: model.Path) -> bool:
        """Whether gobgpd has it as wanted."""
        return (
            path.next_hop == (wanted.fixed_next_hop or wanted.next_hop)
            and sorted(path.communities) == sorted(wanted.communities)
            and sorted(path.large_communities) == sorted(wanted.large_communities)
            and path.med == wanted.med
            and path.local_pref == (100 if wanted.local_pref is None else wanted.local_pref)
            and path.as_path_length == wanted.prepend
        )


def _text(key: Key) -> str:
    return str(model.prefix(*key))
