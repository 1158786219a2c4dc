"""The loop with a real state, between a kernel and an engine that behave."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import ipaddress
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path

import pytest

from bgp_ipvlan import config, model, ownership, plan, reconcile
from bgp_ipvlan import state as state_
from tests.fakes import arp as arp_
from tests.fakes import conntrack as conntrack_
from tests.fakes import engine as engine_
from tests.fakes import links as links_
from tests.fakes import routes as routes_

V4 = model.Family.IPV4
MAIN = V4, model.MAIN
STATIC = model.ForeignRoute("proto static")
NET, NET2, END = "a" * 64, "b" * 64, "e" * 64
ETH1 = model.Link(
    index=3,
    name="eth1",
    up=True,
    running=True,
    addresses=(ipaddress.ip_interface("192.0.2.1/24"), ipaddress.ip_interface("2001:db8::1/64")),
)
PEER = ipaddress.ip_address("192.0.2.2")
PATH = model.Path(neighbor=PEER, next_hop=PEER)
VIA = routes_.Hops((model.NextHop(PEER, 3),))
OTHER = ipaddress.ip_network("10.1.2.0/24")
OWN = ipaddress.ip_network("10.1.1.0/24")
SHIM = ownership.link_name(NET)
HOST = ipaddress.ip_network("10.1.1.2/32")
ELSEWHERE = ipaddress.ip_network("10.1.1.7/32")
SHARES = ((64512, 179, 17900), (64512, 179, 17901), (64512, 17900, 3221225986))
THEIRS = dataclasses.replace(PATH, large_communities=SHARES)
ECHO = dataclasses.replace(
    PATH, large_communities=ownership.Identity(64512, 3221225985).marks(stretched=True)
)


class JournalEngine(engine_.FakeEngine):
    """Writes down the routes that stood whenever something was announced or withdrawn."""

    def __init__(self, events: reconcile.Reconciler, routes: routes_.FakeRoutes) -> None:
        super().__init__(events)
        self._routes = routes
        self.journal: list[tuple[str, model.Prefix, routes_.Shown | None]] = []

    def announce(self, announcements: Iterable[model.Announcement]) -> None:
        """Note, and do."""
        announcements = list(announcements)
        for one in announcements:
            self.journal.append(("announce", one.prefix, self._routes.table().get(one.prefix)))
        super().announce(announcements)

    def withdraw(self, prefixes: Iterable[model.Prefix]) -> None:
        """Note, and do."""
        prefixes = list(prefixes)
        for prefix in prefixes:
            self.journal.append(("withdraw", prefix, self._routes.table().get(prefix)))
        super().withdraw(prefixes)


class World:
    """The loop with a real state between a fake kernel and a fake engine."""

    def __init__(
        self, state: state_.State, before: World | None = None, *, max_routes: int = 1_000_000
    ) -> None:
        self.state = state
        self.links: links_.FakeLinks = before.links if before else links_.FakeLinks(ETH1)
        self.links.on_change = lambda _lost: None
        self.routes: routes_.FakeRoutes = before.routes if before else routes_.FakeRoutes()
        settings = config.Settings(
            local_as=64512,
            host_interface="eth1",
            router_id=ipaddress.IPv4Address("192.0.2.1"),
            max_routes=max_routes,
        )
        self.arp: arp_.FakeArpFilter = before.arp if before else arp_.FakeArpFilter()
        self.conntrack = conntrack_.FakeConntrack(self.routes)
        self.core = reconcile.Reconciler(
            settings,
            state,
            links=self.links,
            routes=self.routes,
            arp_filter=self.arp,
            conntrack=self.conntrack,
        )
        self.routes.on_failures = self.core.routes_failed
        self.engine = JournalEngine(self.core, self.routes)
        self._running = 0
        self._track("_audit")
        self._track("_look_again")
        self._loop: asyncio.Task[None] | None = None
        self._stopped = False

    async def start(self, boot: str = "this boot") -> bool:
        """Adopt, attach, run; the kernel's monitor is on."""
        preserved = await self.core.adopt(boot)
        self.core.attach(self.engine)
        self.links.on_change = self.core.links_changed
        self._loop = asyncio.create_task(self.core.run())
        return preserved

    async def stop(self) -> None:
        """End without touching anything, as a crash does."""
        if self._stopped:
            return
        self._stopped = True
        if self._loop is not None:
            self._loop.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._loop
        await self.state.close()

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for a condition."""
        async with asyncio.timeout(20):
            while not condition():
                assert self._loop is None or not self._loop.done(), "the loop died"
                await asyncio.sleep(0.002)
        assert condition(), what

    async def create(self, network: model.Network) -> None:
        """What the front door does."""
        await self.core.check_create(network)
        await self.state.put_network(network)
        if network.shim:
            await self.links.ensure_slave(plan.own.shim(network))
        self.core.network_changed(network.id)
        await self.settled()

    async def remove(self, network_id: str) -> None:
        """What the front door does."""
        await self.state.remove_network(network_id)
        self.core.network_changed(network_id)
        await self.links.delete(ownership.link_name(network_id))
        await self.settled()

    async def join(self, endpoint: model.Endpoint, network: model.Network) -> None:
        """What the front door and Docker do."""
        await self.state.put_endpoint(endpoint)
        await self.links.ensure_slave(plan.own.slave(network, endpoint))
        self.core.network_changed(network.id)
        self.links.move(ownership.link_name(endpoint.id))
        await self.settled()

    async def settled(self) -> None:
        """The loop has looked at everything, and has nothing left to do."""
        self.core.links_changed()
        self.core._audit_due.set()
        await self.until(
            lambda: (
                not (
                    self.core._links_dirty.is_set()
                    or self.core._audit_due.is_set()
                    or self._running
                    or self.core._intake.replans
                )
            ),
            "settled",
        )
        await self.routes.flush()

    def _track(self, name: str) -> None:
        """Know whether a part of the loop is at work."""
        real = getattr(self.core, name)

        async def tracked(**arguments: bool) -> None:
            self._running += 1
            try:
                await real(**arguments)
            finally:
                self._running -= 1

        setattr(self.core, name, tracked)

    def learn(self, *prefixes: model.Prefix, paths: tuple[model.Path, ...] = (PATH,)) -> None:
        """A neighbour announces, or (no path) withdraws."""
        self.engine.learn(
            model.Family.of(prefixes[0]), [model.nlri(prefix) for prefix in prefixes], *paths
        )

    def reason(self, prefix: model.Prefix) -> str | None:
        """Why a learned prefix has no route."""
        return self.core.refused[model.Family.of(prefix)].get(model.nlri(prefix))


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """Not started yet."""
    found = World(await state_.State.open(tmp_path / "state"))
    yield found
    await found.stop()


def net(id_: str = NET, subnet: str = "10.1.1.0/24", **fields: object) -> model.Network:
    """A network on eth1 with the first address as gateway."""
    prefix = ipaddress.ip_network(subnet)
    values = {"parent": "eth1", "subnets": (model.Subnet(prefix, prefix[1]),)} | fields
    return model.Network(id=id_, **values)  # type: ignore[arg-type]


def end(address: str = "10.1.1.2/24", id_: str = END, network_id: str = NET) -> model.Endpoint:
    """A container's attachment."""
    return model.Endpoint(
        id=id_, network_id=network_id, addresses=(ipaddress.ip_interface(address),), joined=True
    )


async def again(world: World, tmp_path: Path) -> World:
    """The daemon ends and starts again over the same kernel and state."""
    await world.stop()
    return World(await state_.State.open(tmp_path / "state"), before=world)


def stretched(*, both: bool = False, **fields: object) -> model.Network:
    """A network that announces its containers."""
    how = model.Advertise.BOTH if both else model.Advertise.ENDPOINT
    return net(advertise=how, **fields)  # type: ignore[arg-type]


async def leave(world: World, endpoint: model.Endpoint) -> None:
    """What the front door does."""
    await world.state.put_endpoint(dataclasses.replace(endpoint, joined=False))
    world.core.network_changed(endpoint.network_id)
