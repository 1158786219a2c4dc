"""A real kernel in a namespace of its own, and our netlink code running inside it.

A network namespace belongs to a thread, and threads inherit it from the one that makes
them: so a test's coroutine runs on a loop in a thread that has entered the host's namespace.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import ctypes
import dataclasses
import ipaddress
import os
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from bgp_ipvlan import model, ownership
from bgp_ipvlan.kernel import links, monitor, routes
from lab import namespace
from tests.fakes.routes import Hops, Shown

T = TypeVar("T")
V4, V6 = model.Family.IPV4, model.Family.IPV6
MAIN = V4, model.MAIN
_CLONE_NEWNET = 0x40000000


@pytest.fixture
def host() -> Iterator[namespace.Host]:
    """A host with two wires: eth1 (192.0.2.1, 2001:db8::1) and eth2 (198.51.100.1)."""
    with namespace.Lab() as lab:
        here, there = lab.host("here"), lab.host("there")
        lab.wire(
            namespace.Port(here, "eth1", ("192.0.2.1/24", "2001:db8::1/64")),
            namespace.Port(there, "eth1", ("192.0.2.2/24", "2001:db8::2/64")),
        )
        lab.wire(namespace.Port(here, "eth2", ("198.51.100.1/24",)), namespace.Port(there, "eth2"))
        yield here


def ip(host: namespace.Host, command: str) -> None:
    """Somebody else's hand on the host: `ip COMMAND`."""
    host.run("ip", *command.split())


def inside(host: namespace.Host, main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine in a host's network namespace."""

    def run() -> T:
        libc = ctypes.CDLL(None, use_errno=True)
        with Path(f"/proc/{host.pid}/ns/net").open("rb") as handle:
            if libc.setns(handle.fileno(), _CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        return asyncio.run(main())

    with concurrent.futures.ThreadPoolExecutor(1) as thread:
        return thread.submit(run).result()


class Events:
    """Implements `ports.KernelEvents`: writes down what it is told."""

    def __init__(self) -> None:
        self.lost: set[int] = set()
        self.links = 0
        self.foreign: list[tuple[model.Prefix, int, str | None]] = []
        self.own: list[tuple[model.Prefix, bool]] = []
        self.overflows = 0
        self.nexthops = 0
        self.rules = 0

    def links_changed(self, lost: Collection[int] = ()) -> None:
        """Count."""
        self.links += 1
        self.lost.update(lost)

    def foreign_route(
        self, table: model.Table, prefix: model.Nlri, metric: int, route: model.ForeignRoute | None
    ) -> None:
        """Note those of the main table."""
        if table[1] == model.MAIN:
            text = route.text if route else None
            self.foreign.append((model.prefix(table[0], prefix), metric, text))

    def own_route_touched(self, table: model.Table, prefix: model.Nlri, *, present: bool) -> None:
        """Note."""
        self.own.append((model.prefix(table[0], prefix), present))

    def nexthop_touched(self) -> None:
        """Count."""
        self.nexthops += 1

    def rules_changed(self) -> None:
        """Count."""
        self.rules += 1

    def overflow(self) -> None:
        """Count."""
        self.overflows += 1


@dataclasses.dataclass
class Kernel:
    """Our side of the kernel, started."""

    routes: routes.KernelRoutes
    links: links.KernelLinks
    events: Events
    failures: list[model.RouteFailure]
    ids: dict[Hops, model.Via] = dataclasses.field(default_factory=dict)
    """The nexthop objects in use."""

    def via(self, hops: Hops) -> model.Via:
        """The object for some next hops, told to the writer."""
        found = self.ids.get(hops)
        if found is None:
            ids = ownership.GROUP_IDS if len(hops.next_hops) > 1 else ownership.SINGLE_IDS
            taken = {via.id for via in self.ids.values()} | self.strangers
            found = self.ids[hops] = model.Via(next(i for i in ids if i not in taken))
        # No news to the kernel unless it is known to lead elsewhere.
        self.routes.lead(found, hops.next_hops)
        return found

    strangers: frozenset[int] = frozenset()
    """Ids that somebody else has, as last read."""

    def real(self, value: Shown | None) -> model.RouteValue | None:
        """A value as the writer wants it."""
        return self.via(value) if isinstance(value, Hops) else value

    async def retire(self, hops: Hops, *, keep: bool = False) -> None:
        """Some next hops are no longer used."""
        self.routes.retire(self.ids.pop(hops), keep=keep)
        await self.routes.flush()

    async def set(self, value: Shown | None, *prefixes: str, replace: bool = False) -> None:
        """Write, and wait for the kernel's answer."""
        families: dict[model.Family, list[model.Nlri]] = {}
        for text in prefixes:
            prefix = ipaddress.ip_network(text)
            families.setdefault(model.Family.of(prefix), []).append(model.nlri(prefix))
        real = self.real(value)
        self.routes.write(
            model.RouteBatch((family, model.MAIN), real, keys, replace)
            for family, keys in families.items()
        )
        await self.routes.flush()

    async def dump(self) -> model.RouteDump:
        """Read the main tables, as if nothing were known."""
        dump = await self.routes.dump({(family, model.MAIN): {} for family in model.Family})
        self.strangers = dump.strangers
        return dump

    async def table(self) -> dict[str, Shown]:
        """Our routes as read back; objects that were adopted are known from now on."""
        dump = await self.dump()
        for via, next_hops in dump.objects.items():
            self.ids.setdefault(Hops(next_hops), via)
        return {
            str(model.prefix(table[0], key)): (
                Hops(dump.objects[value]) if isinstance(value, model.Via) else value
            )
            for table, found in dump.drift.items()
            for key, value in found.items()
            if value is not None
        }

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for a condition."""
        async with asyncio.timeout(20):
            while not condition():
                await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def started(*, nexthop_objects: bool = True) -> AsyncIterator[Kernel]:
    """Start everything in this thread's namespace; nothing of the kernel's is removed at the end."""
    failures: list[model.RouteFailure] = []
    events = Events()
    async with contextlib.AsyncExitStack() as stack:
        ours = routes.KernelRoutes(failures.extend, nexthop_objects=nexthop_objects)
        await ours.start()
        stack.push_async_callback(ours.close)
        watch = monitor.KernelMonitor(events, own_port=ours.port)
        await watch.start()
        stack.push_async_callback(watch.close)
        devices = links.KernelLinks()
        await devices.start()
        stack.push_async_callback(devices.close)
        yield Kernel(ours, devices, events, failures)


def via(host: namespace.Host, *gateways: str) -> Hops:
    """Next hops out of eth1, or eth2 for its subnets."""
    found = host.links()
    return Hops(
        tuple(
            model.NextHop(
                ipaddress.ip_address(gateway),
                found["eth2" if gateway.startswith(("198.51.100.", "2001:db8:2:")) else "eth1"][
                    "ifindex"
                ],
            )
            for gateway in gateways
        )
    )
