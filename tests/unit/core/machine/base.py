"""One host of the machine: what it is made of, how it begins and begins again."""

from __future__ import annotations

import copy
import dataclasses
import ipaddress
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from hypothesis import stateful
from hypothesis import strategies as st

from bgp_ipvlan import errors, model, ownership
from bgp_ipvlan import state as state_
from tests.fakes import routes as routes_
from tests.unit.core import conftest as c
from tests.unit.core.machine import virtual

IDENTITY = ownership.Identity(64512, int(ipaddress.IPv4Address("192.0.2.1")))
VRF, ELSEWHERE = 100, 500
ETH2 = model.Link(
    index=4,
    name="eth2",
    up=True,
    running=True,
    addresses=(
        ipaddress.ip_interface("198.51.100.1/24"),
        ipaddress.ip_interface("2001:db8:2::1/64"),
    ),
)
ADDRESSES = {"eth1": c.ETH1.addresses, "eth2": ETH2.addresses}
NETWORKS = {
    "eth1": ("a" * 64, "10.1.1.0/24", ("10.1.1.2/24", "10.1.1.3/24")),
    "eth2": ("b" * 64, "10.1.2.0/24", ("10.1.2.2/24",)),
}
PROBE = c.net("d" * 64, "10.99.0.0/24", host_access=False)
"""A network that makes sure that whatever was to fail has its chance."""
PREFIXES = [
    ipaddress.ip_network(text)
    for text in (
        *("10.9.0.0/24", "10.9.1.0/24", "10.9.1.128/25", "10.9.2.0/24", "10.1.0.0/16"),
        *("10.1.1.0/24", "10.1.1.1/32", "10.1.1.2/32", "10.1.1.7/32", "10.1.2.0/24"),
        *("192.0.2.128/25", "0.0.0.0/0", "127.1.0.0/16"),
        *("fd00:9::/64", "fd00:a::/64", "fd00:b::1/128", "2001:db8::100/120"),
    )
]
FOUR = [p for p in PREFIXES if p.version == 4]
HOPS = [
    ipaddress.ip_address(text)
    for text in (
        *("192.0.2.2", "192.0.2.3", "198.51.100.2", "2001:db8::2", "2001:db8:2::2"),
        *("192.0.2.1", "203.0.113.1"),
    )
]
MARKS = ((), c.SHARES, ((64999, 179, 17900),), IDENTITY.marks(stretched=True))
ENDS = st.sampled_from([(p, a) for p, (_, _, them) in NETWORKS.items() for a in them])

prefixes = st.one_of(
    st.lists(st.sampled_from(FOUR), min_size=1, max_size=5, unique=True),
    st.lists(st.sampled_from(PREFIXES), min_size=1, max_size=1),
)
paths = st.builds(
    lambda hops, marks: tuple(
        model.Path(neighbor=c.PEER, next_hop=hop, large_communities=marks) for hop in hops
    ),
    st.one_of(
        st.lists(st.sampled_from(HOPS[:3]), min_size=1, max_size=2, unique=True),
        st.lists(st.sampled_from(HOPS), min_size=1, max_size=3, unique=True),
    ),
    st.one_of(st.just(()), st.sampled_from(MARKS)),
)
uplinks = st.sampled_from(["eth1", "eth2"])
keys = st.sampled_from([(table, p) for table in (model.MAIN, VRF, ELSEWHERE) for p in FOUR])


class World(c.World):
    """That of the other tests, on a loop of which every turn counts."""

    def __init__(self, state: state_.State, loop: virtual.Loop, before: World | None) -> None:
        super().__init__(state, before)
        self._time = loop

    async def settled(self) -> None:
        """What can happen without time passing has happened."""
        await self._time.idle()


class Base(stateful.RuleBasedStateMachine):
    """See the module."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = virtual.Loop()
        # In memory where there is such a place: the state is synced to disk with every change.
        memory = Path("/dev/shm")
        self.directory = tempfile.TemporaryDirectory(
            prefix="bgp-ipvlan-machine-", dir=memory if memory.is_dir() else None
        )
        self.foreign: dict[model.Table, model.Foreign] = {}
        """Others' routes, as they put them."""
        self.certain = True
        """No drift that only an audit or another try cures."""
        self.synced = self.failed = False
        self.count = self.touches = 0

    def run(self, what: Coroutine[Any, Any, Any]) -> None:
        """Do something, and let the loop come to rest."""

        async def both() -> None:
            await what
            await self.loop.idle()

        self.failed = True
        self.loop.run_until_complete(both())
        self.failed = False
        there = {table: routes for table, routes in self.routes.foreign.items() if routes}
        assert there == {t: routes for t, routes in self.foreign.items() if routes}, "others'"

    @property
    def routes(self) -> routes_.FakeRoutes:
        """The writer."""
        return self.world.routes

    @property
    def quiet(self) -> bool:
        """Nothing is under way between the core and the kernel.

        Whoever takes what we are just about to write may lose it: the kernel cannot compare.
        """
        return not self.routes.busy and self.routes.delivering.is_set()

    # --- the beginning, and others like it --------------------------------------------------------

    @stateful.initialize(
        objects=st.sampled_from([True, True, False]),
        vrf=st.booleans(),
        sync=st.booleans(),
        begun=st.lists(paths, max_size=3),
    )
    def begin(
        self, objects: bool, vrf: bool, sync: bool, begun: list[tuple[model.Path, ...]]
    ) -> None:
        """A host with two uplinks, of which one may be in a VRF."""

        async def main() -> None:
            state = await state_.State.open(Path(self.directory.name) / "state")
            self.world = World(state, self.loop, None)
            routes = routes_.FakeRoutes(nexthop_objects=objects)
            self.world.routes = routes
            self.world.links.links["eth2"] = dataclasses.replace(ETH2, table=VRF if vrf else 0)
            self.world = World(state, self.loop, self.world)
            await self.world.start()
            if sync:
                self.world.core.synced()
                self.synced = True

        self.run(main())
        for some, gateways in enumerate(begun):
            self._learn(PREFIXES[2 * some : 2 * some + 3], gateways)

    @stateful.rule(keep=st.sets(st.sampled_from(PREFIXES)), crash=st.booleans())
    def restart(self, keep: set[model.Prefix], crash: bool) -> None:
        """Killed and started again: part of what was learned is announced again."""

        async def main() -> None:
            before = self.world.engine.learned
            if not crash:
                await self.routes.flush()
            await self.world.stop()
            self.routes.delivering.set()
            self.routes.crash()
            while True:
                state = await state_.State.open(Path(self.directory.name) / "state")
                self.world = World(state, self.loop, self.world)
                try:
                    await self.world.start()
                    break
                except errors.KernelError:
                    await self.world.stop()
            await self.loop.idle()
            assert not self.routes.written or all(
                batch.value is not None for batch in self.routes.written
            ), "deletes before it knows"
            assert not self.routes.retired
            for family, routes in before.items():
                for key, found in routes.items():
                    if model.prefix(family, key) in keep:
                        self.world.engine.learn(family, [key], *found)

        self.run(main())
        self.certain = self.certain and not crash
        self.synced = False

    @stateful.rule()
    def sync(self) -> None:
        """Everybody has said everything."""
        self.run(self._sync())

    async def _sync(self) -> None:
        if not self.synced:
            self.world.core.synced()
            self.synced = True

    def _learn(self, some: list[model.Prefix], paths: tuple[model.Path, ...]) -> None:
        async def main() -> None:
            self.world.learn(*some, paths=paths)

        self.run(main())

    def _foreign_went(self) -> None:
        """Others' routes through our objects have gone with those."""
        self.foreign = copy.deepcopy(dict(self.routes.foreign))
