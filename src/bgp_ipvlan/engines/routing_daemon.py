"""A routing daemon on this host speaks BGP (BIRD, FRR): `--engine kernel`.

What we announce are routes in a kernel table that the daemon reads and exports. What it learns
it installs itself; for us that is somebody else's route. Sessions, policy and attributes are the
daemon's business, and so nothing is learned here and there are no neighbours.
docs/routing-daemon.md has its configuration.

The table is level-triggered: it is made as it should be after each change, after somebody's
hand, and with each audit.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Protocol

from bgp_ipvlan import errors, model, ownership, ports

log = logging.getLogger("bgp_ipvlan")

AUDIT_INTERVAL = 90.0
"""Seconds between two readings of the table (D4)."""
_RETRY_FIRST, _RETRY_LAST = 0.5, 60.0
"""Seconds until what the kernel refused is tried again."""


class Table(Protocol):
    """The kernel table that the daemon reads; see `kernel.announced`. Raises `errors.KernelError`."""

    table: int

    async def start(self, on_change: Callable[[], None]) -> None:
        """Begin; `on_change` is called when somebody else touched a route of ours."""

    async def ensure(
        self, prefixes: Collection[model.Prefix]
    ) -> tuple[int, frozenset[model.Prefix]]:
        """Have exactly these there.

        Returns:
            How many had to be changed, and those whose key is somebody else's.
        """

    async def close(self) -> None:
        """End; what is there stays."""


class KernelEngine:
    """See the module. Implements `ports.Engine`.

    Args:
        events: whom to tell.
        table: the kernel table.
    """

    def __init__(self, events: ports.EngineEvents, table: Table) -> None:
        self._events = events
        self._table = table
        self._announced: dict[model.Prefix, tuple[str, ...]] = {}
        """With the names of those attributes that a route cannot say."""
        self._standing: frozenset[model.Prefix] = frozenset()
        """What is in the table, as last made."""
        self._refused: frozenset[model.Prefix] = frozenset()
        self._unsaid: set[tuple[object, ...]] = set()
        """Attributes that were complained of."""
        self._down = False
        self._lock = asyncio.Lock()
        self._dirty = asyncio.Event()
        self._news = asyncio.Event()
        """Set, and replaced, when `_standing` was made anew."""
        self._task: asyncio.Task[None] | None = None

    async def start(self, *, restarted: bool, forwarding_preserved: bool) -> None:  # noqa: ARG002
        """Make the table; see `ports.Engine`.

        What an earlier run has left there and is still announced is not touched: the routing
        daemon notices nothing of a restart.

        Raises:
            errors.KernelError: `kernel-refused`.
        """
        await self._table.start(self._touched)
        await self._make()
        self._task = asyncio.create_task(self._keep(), name="announced")
        log.info(
            "announced to the routing daemon of this host table=%d protocol=%d routes=%d",
            self._table.table,
            ownership.ROUTE_PROTOCOL,
            len(self._standing),
        )
        # Nothing is learned here, and links and state have been read before.
        self._events.synced()

    # --- announcing -----------------------------------------------------------------------

    def announce(self, announcements: Iterable[model.Announcement]) -> None:
        """Have routes that say so; see `ports.Engine`."""
        for one in announcements:
            self._announced[one.prefix] = self._unsayable(one)
        self._dirty.set()

    def withdraw(self, prefixes: Iterable[model.Prefix]) -> None:
        """Have them no longer; see `ports.Engine`."""
        for prefix in prefixes:
            self._announced.pop(prefix, None)
        self._dirty.set()

    def withheld(self) -> Mapping[model.Prefix, str]:
        """Those of whose key the table has somebody else's route."""
        return dict.fromkeys(self._refused, "foreign-route")

    async def delivered(
        self, prefixes: Collection[model.Prefix], *, timeout: float
    ) -> model.Delivery:
        """Return when the routes are there for the daemon to read.

        More cannot be known here: the daemon counts as the one neighbour.
        """
        wanted = frozenset(prefixes)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while not wanted <= self._standing and not self._down:
                    await self._news.wait()
        there = not self._down and wanted <= self._standing
        missing = f"its route is not in table {self._table.table}"
        why = "this host is drained" if self._down else missing
        return model.Delivery(int(there), (), nobody="" if there else why)

    def _unsayable(self, one: model.Announcement) -> tuple[str, ...]:
        """Which attributes a route cannot say; the log says it once."""
        large = tuple(c for c in one.large_communities if not ownership.reserved(c))
        said = {
            "bgp.communities": one.communities or None,
            "bgp.large_communities": large or None,
            "bgp.med": one.med,
            "bgp.local_pref": one.local_pref,
            "bgp.prepend": one.prepend or None,
            "bgp.next_hop": one.fixed_next_hop,
        }
        names = tuple(name for name, value in said.items() if value is not None)
        key = tuple(said.values())
        if names and key not in self._unsaid:
            self._unsaid.add(key)
            log.warning(
                "not announced with %s, which a kernel route cannot say: set it in the routing "
                "daemon's export filter prefix=%s reason=attributes-unsaid",
                ", ".join(names),
                one.prefix,
            )
        return names

    # --- the table --------------------------------------------------------------------------

    def _touched(self) -> None:
        """Somebody else changed a route of ours."""
        self._dirty.set()

    async def _keep(self) -> None:
        delay = _RETRY_FIRST
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(AUDIT_INTERVAL):
                    await self._dirty.wait()
            try:
                await self._make()
                delay = _RETRY_FIRST
            except errors.KernelError as error:
                log.warning("announced routes not written reason=%s error=%s", error.reason, error)
                self._dirty.set()
                await asyncio.sleep(delay)
                delay = min(delay * 2, _RETRY_LAST)

    async def _make(self) -> None:
        """Have the table as it should be.

        Raises:
            errors.KernelError: `kernel-refused`.
        """
        async with self._lock:
            self._dirty.clear()
            wanted = frozenset(() if self._down else self._announced)
            before = self._standing | self._refused
            changed, refused = await self._table.ensure(wanted)
            self._standing = wanted - refused
            for prefix in refused - self._refused:
                log.warning(
                    "not announced prefix=%s table=%d reason=foreign-route detail=somebody else's "
                    "route has its key",
                    prefix,
                    self._table.table,
                )
            self._refused = refused
            if changed and wanted == before and self._task is not None:
                log.warning(
                    "announced routes repaired count=%d table=%d reason=changed-by-others",
                    changed,
                    self._table.table,
                )
            news, self._news = self._news, asyncio.Event()
            news.set()

    # --- what is the daemon's ----------------------------------------------------------------

    def best(self, family: model.Family, prefix: model.Nlri) -> tuple[model.Path, ...]:  # noqa: ARG002
        """Nothing is learned here."""
        return ()

    def prefixes(self, family: model.Family) -> Iterable[model.Nlri]:  # noqa: ARG002
        """Nothing is learned here."""
        return ()

    def refusals(self, family: model.Family) -> Iterable[model.Refusal]:  # noqa: ARG002
        """Nothing is learned here."""
        return ()

    def neighbors(self) -> tuple[model.NeighborStatus, ...]:
        """The daemon has them."""
        return ()

    def about(self) -> Mapping[str, object]:
        """Where the daemon finds what is announced."""
        return {"announced_table": self._table.table}

    def warnings(self) -> Iterator[str]:
        """What is not announced, or not as asked; see `ports.Engine`."""
        for prefix in sorted(self._refused, key=str):
            yield (
                f"{prefix} is not announced: table {self._table.table} has somebody else's route "
                f"of its key [foreign-route]"
            )
        without: dict[tuple[str, ...], list[model.Prefix]] = defaultdict(list)
        for prefix, names in self._announced.items():
            if names:
                without[names].append(prefix)
        for names, prefixes in without.items():
            more = f" (and {len(prefixes) - 1} more)" if prefixes[1:] else ""
            yield (
                f"{prefixes[0]}{more} is announced without {', '.join(names)}, which a kernel "
                f"route cannot say: set it in the routing daemon's export filter "
                f"[attributes-unsaid]"
            )

    def configure(
        self,
        neighbors: Iterable[model.NeighborConfig],
        dynamic: Iterable[model.DynamicNeighbors],
    ) -> None:
        """There can be none.

        Raises:
            errors.EngineError: `neighbors-elsewhere`.
        """
        names = [str(n.address) for n in neighbors] + [str(d.prefix) for d in dynamic]
        if names:
            raise errors.EngineError(
                "neighbors-elsewhere",
                f"with --engine kernel the routing daemon of this host has the neighbors: configure "
                f"{', '.join(names)} there (docs/routing-daemon.md), or use --engine embedded",
            )

    def reset(self, neighbor: model.Address, *, soft: bool, message: str = "") -> None:  # noqa: ARG002
        """There is none to reset.

        Raises:
            errors.EngineError: `neighbors-elsewhere`.
        """
        raise errors.EngineError(
            "neighbors-elsewhere",
            f"with --engine kernel the routing daemon of this host has the sessions: reset "
            f"{neighbor} there (birdc restart PROTOCOL, vtysh -c 'clear bgp {neighbor}')",
        )

    def surroundings_changed(
        self,
        addresses: Collection[model.Address],
        usable: Callable[[model.Path], bool],
    ) -> None:
        """The daemon sees for itself."""

    # --- stopping -----------------------------------------------------------------------------

    def graceful_shutdown(self, *, on: bool) -> None:
        """A kernel route cannot say it (RFC 8326); see `ports.Engine`."""
        if on:
            log.warning(
                "GRACEFUL_SHUTDOWN is not announced, which a kernel route cannot say: before a "
                "drain set community 65535:0 in the routing daemon's export filter "
                "reason=attributes-unsaid"
            )

    async def shutdown(self, *, message: str = "") -> None:  # noqa: ARG002
        """Take everything out of the table; also before the start. See `ports.Engine`.

        Raises:
            errors.KernelError: `kernel-refused`.
        """
        self._down = True
        if self._task is not None:
            await self._make()

    def resume(self) -> None:
        """Put it back."""
        self._down = False
        self._dirty.set()

    async def stop(self, *, withdraw: bool, message: str = "") -> None:  # noqa: ARG002
        """Close; the routes stay, and with them what the daemon announces, unless `withdraw`."""
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._task = None
        if withdraw:
            self._down = True
            try:
                await self._make()
            except errors.KernelError as error:
                log.warning("announced routes left reason=%s error=%s", error.reason, error)
        await self._table.close()
