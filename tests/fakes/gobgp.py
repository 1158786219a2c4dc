"""`api.Api` in front of a `gobgpd.FakeGobgpd`: the door that the GoBGP engine knows it by."""

from __future__ import annotations

import asyncio
import collections
from collections.abc import AsyncGenerator, Callable, Collection, Iterable

from bgp_ipvlan import errors, model
from bgp_ipvlan.engines.gobgp import api as api_
from tests.fakes import gobgpd as gobgpd_


class FakeApi:
    """`api.Api` of a `gobgpd_.FakeGobgpd`.

    Args:
        gobgpd: it.
    """

    def __init__(self, gobgpd: gobgpd_.FakeGobgpd) -> None:
        self.target = "192.0.2.1:50051"
        self._gobgpd = gobgpd
        self._generation = -1

    def _unreachable(self) -> errors.EngineError:
        return errors.EngineError("gobgp-unreachable", "no gobgpd")

    def _check(self) -> None:
        if not self._gobgpd.is_up or self._generation != self._gobgpd.generation:
            raise self._unreachable()

    async def _ask(self, name: str, what: object, do: Callable[[], object] = lambda: None) -> None:
        """One call: there, done, and back."""
        gobgpd = self._gobgpd
        gobgpd.busy += 1
        try:
            await asyncio.sleep(gobgpd.latency)
            self._check()
            gobgpd.strike(name)
            gobgpd.on_call(name)
            gobgpd.calls.append((name, what))
            do()
            gobgpd.strike(f"{name}, done")
            await asyncio.sleep(gobgpd.latency)
            self._check()
        finally:
            gobgpd.busy -= 1

    async def connect(self) -> api_.Speaker:
        """See `Api`."""
        self._generation = self._gobgpd.generation
        await self._ask("connect", None)
        gobgpd = self._gobgpd
        return api_.Speaker(
            gobgpd.version, gobgpd.local_as, "192.0.2.1", 179, multipath=gobgpd.multipath
        )

    async def close(self) -> None:
        """See `Api`."""
        self._generation = -1

    # --- the table ---------------------------------------------------------------------------

    async def watch(self, *, table: bool = True) -> AsyncGenerator[api_.Peer | api_.Rows, None]:
        """See `Api`."""
        gobgpd = self._gobgpd
        await self._ask("watch", table)
        if table and gobgpd.is_large:
            raise errors.EngineError("gobgp-large", "trying to send message larger than max")
        watcher = gobgpd_.Watcher(collections.deque(), asyncio.Event())
        gobgpd.watchers.append(watcher)
        try:
            first = [
                api_.Peer(api_.PeerKind.INIT, peer.config.address, peer.state, shut=peer.shut)
                for peer in gobgpd.peers.values()
            ]
            rows = gobgpd.snapshot()
            for one in first:
                yield one
            yield api_.Peer(api_.PeerKind.END_OF_INIT, None, model.SessionState.IDLE)
            if table:
                async for part in self._slices(rows):
                    yield part
            while True:
                yield await self._next(watcher)
        finally:
            gobgpd.watchers.remove(watcher)

    async def _next(self, watcher: gobgpd_.Watcher) -> api_.Peer | api_.Rows:
        while not watcher.queue:
            watcher.news.clear()
            await watcher.news.wait()
        await asyncio.sleep(max(watcher.queue[0][0] - asyncio.get_running_loop().time(), 0))
        event = watcher.queue.popleft()[1]
        if event is None:
            raise self._unreachable()
        return event

    async def _slices(self, rows: list[api_.Row]) -> AsyncGenerator[api_.Rows, None]:
        """Of a table; the last is known for it only when there is no more."""
        gobgpd = self._gobgpd
        self._check()
        for start in range(0, max(len(rows) - 1, 0), gobgpd.slice):
            part = rows[start : min(start + gobgpd.slice, len(rows) - 1)]
            yield api_.Rows(api_.Kind.SNAPSHOT, part, more=True)
            await asyncio.sleep(gobgpd.pace)
            self._check()
            gobgpd.strike("slice")
        gobgpd.tables_sent += 1
        yield api_.Rows(api_.Kind.SNAPSHOT, rows[-1:])

    async def table(self) -> AsyncGenerator[api_.Rows, None]:
        """See `Api`."""
        await self._ask("table", None)
        async for part in self._slices(self._gobgpd.snapshot()):
            yield part

    async def lookup(
        self, family: model.Family, keys: Collection[model.Nlri]
    ) -> dict[model.Nlri, list[api_.Known]]:
        """See `Api`."""
        found: dict[model.Nlri, list[api_.Known]] = {}

        def look() -> None:
            for key in keys:
                chosen = [held.source for held in self._gobgpd.chosen((family, key))]
                for held in self._gobgpd.ranked((family, key)):
                    neighbor = None if held.is_local else held.path.neighbor
                    best = held.source in chosen
                    known = api_.Known(neighbor, held.path, best=best, stale=held.stale)
                    found.setdefault(key, []).append(known)

        if keys:
            await self._ask("lookup", tuple(keys), look)
        return found

    async def counts(self, family: model.Family) -> tuple[int, int]:
        """See `Api`."""
        await self._ask("counts", family)
        some = [held for key, held in self._gobgpd.table.items() if key[0] is family]
        return len(some), sum(map(len, some))

    async def change(
        self,
        announced: Iterable[model.Announcement],
        withdrawn: Iterable[gobgpd_.Key],
    ) -> None:
        """See `Api`."""
        announced, withdrawn = list(announced), list(withdrawn)

        def do() -> None:
            for one in announced:
                self._add(one)
            for key in withdrawn:
                self._gobgpd.put(key, (gobgpd_.NOBODY, 0), None)

        await self._ask("change", (tuple(announced), tuple(withdrawn)), do)

    def _add(self, one: model.Announcement) -> None:
        key = model.Family.of(one.prefix), model.nlri(one.prefix)
        if self._gobgpd.local(key) == gobgpd_.local(one):
            self._gobgpd.repeated.append(key)
        self._gobgpd.put(key, (gobgpd_.NOBODY, 0), gobgpd_.local(one))

    async def add(self, announcement: model.Announcement) -> None:
        """See `Api`."""
        await self._ask("add", announcement, lambda: self._add(announcement))

    async def delete(self, family: model.Family, key: model.Nlri) -> None:
        """See `Api`."""
        do = lambda: self._gobgpd.put((family, key), (gobgpd_.NOBODY, 0), None)  # noqa: E731
        await self._ask("delete", (family, key), do)

    # --- neighbours ----------------------------------------------------------------------------

    async def neighbors(self, *, advertised: bool = False) -> list[model.NeighborStatus]:
        """See `Api`."""
        del advertised
        found: list[model.NeighborStatus] = []
        gobgpd = self._gobgpd
        await self._ask(
            "neighbors", None, lambda: found.extend(map(gobgpd.status, gobgpd.peers.values()))
        )
        return found

    async def updates_sent(self) -> dict[str, int]:
        """See `Api`."""
        await self._ask("updates_sent", None)
        return {}

    def check_neighbor(self, config: model.NeighborConfig) -> None:
        """See `Api`."""
        if not config.hold_time:
            raise errors.EngineError("gobgp-unsupported", "gobgpd has not a hold time of 0")

    def _known(self, address: model.Address) -> None:
        if address not in self._gobgpd.peers:
            raise errors.EngineError("gobgp-refused", f"neighbor {address} doesn't exist")

    async def add_neighbor(self, config: model.NeighborConfig, *, restarting: bool = False) -> None:
        """See `Api`."""

        def do() -> None:
            if config.address in self._gobgpd.peers:
                raise errors.EngineError("gobgp-refused", "can't overwrite the existing peer")
            self._gobgpd.add_peer(config)

        await self._ask("add_neighbor", (config, restarting), do)

    async def _to_neighbor(self, name: str, address: model.Address, do: Callable[[], None]) -> None:
        def known() -> None:
            self._known(address)
            do()

        await self._ask(name, address, known)

    async def delete_neighbor(self, address: model.Address) -> None:
        """See `Api`."""
        gobgpd = self._gobgpd
        await self._to_neighbor("delete_neighbor", address, lambda: gobgpd.remove_peer(address))

    async def reset_neighbor(
        self, address: model.Address, *, soft: bool = False, message: str = ""
    ) -> None:
        """See `Api`."""
        del message
        gobgpd = self._gobgpd
        await self._to_neighbor(
            "reset_neighbor",
            address,
            lambda: None if soft else gobgpd.down(address, keep=False),
        )

    async def disable_neighbor(self, address: model.Address, message: str = "") -> None:
        """See `Api`."""
        del message
        await self._to_neighbor("disable_neighbor", address, lambda: self._gobgpd.shut(address))

    async def enable_neighbor(self, address: model.Address) -> None:
        """See `Api`."""
        await self._to_neighbor("enable_neighbor", address, lambda: self._gobgpd.enable(address))

    async def ranges(self) -> dict[model.Prefix, str]:
        """See `Api`."""
        await self._ask("ranges", None)
        return dict(self._gobgpd.ranges)

    async def add_range(self, config: model.DynamicNeighbors, description: str = "") -> None:
        """See `Api`."""
        do = lambda: self._gobgpd.ranges.update({config.prefix: description})  # noqa: E731
        await self._ask("add_range", (config, description), do)

    async def delete_range(self, prefix: model.Prefix) -> None:
        """See `Api`."""
        await self._ask("delete_range", prefix, lambda: self._gobgpd.ranges.pop(prefix, None))
