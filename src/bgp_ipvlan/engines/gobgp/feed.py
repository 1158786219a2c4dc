"""What gobgpd tells: its table when we come, then each change, and its table again after a burst.

A change costs one message of gRPC for each prefix, some 9,000 a second, while a whole table
comes in one message (kernel sheet, section 4). So when much changes at once we stop listening,
wait until gobgpd has taken it in, and read the table.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable

from bgp_ipvlan import errors, model, ports
from bgp_ipvlan.engines.gobgp import api as api_
from bgp_ipvlan.engines.gobgp import learned as learned_

log = logging.getLogger("bgp_ipvlan")

_MANY = 256
_RATE = 1000
"""So many changes, coming faster than so many a second, are a burst …"""
_SHARE = 50
"""… but not fewer than one in so many prefixes of the table: to read it costs more than to listen."""
_LOOK = 0.03
"""Seconds between two looks at how large gobgpd's table is."""
_PATIENCE = 2.0
"""Seconds after which the table is read although it still grows."""
_CALM = 1.0
"""Seconds without a burst after which the next is a new one."""
_LONGEST = 4.0
"""Seconds between two readings at most, while bursts go on."""


Key = tuple[model.Family, model.Nlri]


class Feed:
    """See the module.

    Args:
        api: gobgpd.
        learned: where it goes.
        room: nothing is taken while it is not set.
        on_peer: a neighbour's session changed.
        on_local: gobgpd itself announces these prefixes, as its first table has it.
        on_hint: something changed of which gobgpd says no more: it has a path of its own to
            these prefixes, or to who knows which (None).
    """

    def __init__(
        self,
        api: api_.Api,
        learned: learned_.Learned,
        *,
        room: ports.Room,
        on_peer: Callable[[], None],
        on_local: Callable[[list[Key]], None],
        on_hint: Callable[[list[Key] | None], None],
    ) -> None:
        self._api = api
        self._learned = learned
        self._room = room
        self._on_peer = on_peer
        self._on_local = on_local
        self._on_hint = on_hint
        self.begun = 0
        """How many tables were asked for so far."""
        self.on_table: Callable[[int], None] = lambda _: None
        """Told, when a table is complete, which of them it was."""
        self._listening: asyncio.Task[float] | None = None
        self._is_listed = False
        self._in_table = self._has_looked = False

    async def run(self) -> None:
        """Listen until gobgpd is gone.

        Raises:
            errors.EngineError: `gobgp-unreachable`.
        """
        loop = asyncio.get_running_loop()
        self._in_table = self._has_looked = False
        bursts = 0
        while True:
            began = loop.time()
            try:
                read = await self._listen_until_again()
                if read is None:
                    continue
            except errors.EngineError as error:
                if error.reason != "gobgp-large":
                    raise
                log.warning(
                    "gobgpd's table is too large for one message of its API, so it is read prefix by "
                    "prefix, and no more after bursts reason=gobgp-large"
                )
                await self._follow()
                continue
            calm = loop.time() - began - read
            # The more a table costs, and the longer this goes on, the longer until the next.
            bursts = 0 if calm > _CALM else bursts + 1
            await asyncio.sleep(min(_LONGEST, bursts * read / 4))
            await self._settled()

    async def _listen_until_again(self) -> float | None:
        """As `_listen`; None when the table is wanted once more."""
        listening = self._listening = asyncio.create_task(self._listen(), name="gobgp-feed")
        try:
            await asyncio.wait({listening})
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
        return None if listening.cancelled() else listening.result()

    def again(self) -> int:
        """Read the table once more; returns which one that will be.

        Not where it is read prefix by prefix, which takes minutes: then nobody is told.
        """
        if self._listening is not None and not self._is_listed:
            self._listening.cancel()
        return self.begun + 1

    async def _listen(self) -> float:
        """The table, and changes until there are too many at once.

        Returns:
            How many seconds the table took.
        """
        loop = asyncio.get_running_loop()
        began = since = loop.time()
        self.begun += 1
        self._in_table = self._is_listed = False
        count, size, many, read = 0, 0, _MANY, 0.0
        async with contextlib.aclosing(self._api.watch()) as events:
            async for event in events:
                if isinstance(event, api_.Rows) and event.kind is api_.Kind.SNAPSHOT:
                    await self._snapshot(event)
                    size += len(event.rows)
                    many = max(_MANY, size // _SHARE)
                    read = loop.time() - began
                    continue
                if not await self._event(event):
                    continue
                count += 1
                if count >= many:
                    if loop.time() - since < many / _RATE:
                        break
                    count, since = 0, loop.time()
        return read

    async def _follow(self) -> None:
        """The table prefix by prefix, and then each change, those since it was begun too."""
        async with contextlib.aclosing(self._api.watch(table=False)) as events:
            first = await anext(events)  # it listens: nothing is missed from now on
            self.begun += 1
            self._in_table, self._is_listed = False, True
            async with contextlib.aclosing(self._api.table()) as table:
                async for rows in table:
                    await self._snapshot(rows)
            await self._event(first)
            async for event in events:
                await self._event(event)

    async def _event(self, event: api_.Peer | api_.Rows) -> bool:
        """Something changed; whether it was a path."""
        if isinstance(event, api_.Peer):
            self._on_peer()
            return False
        if not self._room.is_set():
            await self._room.wait()
        self._change(event)
        return True

    async def _snapshot(self, event: api_.Rows) -> None:
        """A slice of the table."""
        if not self._room.is_set():
            await self._room.wait()
        if not self._in_table:
            self._in_table = True
            self._learned.begin()
        self._learned.rows(event.rows)
        if not self._has_looked:
            self._on_local([(family, key) for family, key, paths in event.rows if not paths])
        if event.more:
            await asyncio.sleep(0)  # a slice is what a turn of the loop may take (D7)
            return
        self._in_table, self._has_looked = False, True
        await self._learned.end()
        self._on_hint(None)
        self.on_table(self.begun)

    def _change(self, event: api_.Rows) -> None:
        if event.kind is api_.Kind.DELTA:
            self._learned.change(event.changes)
        else:
            self._learned.rows(event.rows)
        without = [(family, key) for family, key, paths in event.rows if not paths]
        without += [(family, key) for family, key, came, _ in event.changes if not came]
        if without or not (event.rows or event.changes):
            self._on_hint(without or None)

    async def _settled(self) -> None:
        """Return when gobgpd's table grows no more, or when that takes too long."""
        loop = asyncio.get_running_loop()
        end = loop.time() + _PATIENCE
        before: list[tuple[int, int]] = []
        while (began := loop.time()) < end:
            now = [await self._api.counts(family) for family in model.Family]
            if now == before:
                return
            before = now
            # It counts by going through its table.
            await asyncio.sleep(max(_LOOK, loop.time() - began))
