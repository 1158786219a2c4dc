"""The whole core between a kernel and an engine that behave: random worlds, faults and races.

At rest the kernel must have what follows from what is announced and wanted (`oracle`), others'
routes must be as they put them, and every learned prefix without a route must say why.
"""

from __future__ import annotations

import contextlib
import ipaddress

import hypothesis
import pytest
from hypothesis import stateful

from bgp_ipvlan import model
from tests.unit.core import conftest as c
from tests.unit.core.machine import base, oracle, others, ours


class Core(ours.Ours, others.Others):
    """See the module."""

    # --- what must hold -----------------------------------------------------------------------------

    @stateful.precondition(lambda self: self.certain and self.synced)
    @stateful.rule()
    def at_once(self) -> None:
        """Where every event was told and nothing failed, no audit is needed."""

        async def main() -> None:
            self.routes.held = False
            self.routes.delivering.set()
            await self._settle()

        self.run(main())

    def teardown(self) -> None:
        """Whatever has to fail has failed; after two audits all is as it must be, and stays."""
        with self.directory, contextlib.closing(self.loop):
            if hasattr(self, "world"):
                try:
                    if not self.failed:
                        self.run(self._rest())
                finally:
                    self.loop.run_until_complete(self.world.stop())

    async def _rest(self) -> None:
        self.routes.held = False
        self.routes.delivering.set()
        if self.certain and self.synced:
            await self._settle()
        await self._consume()
        await self._sync()
        for _ in range(2):
            self.world.core.overflow()
            await self.loop.let_pass(61)
        self._check()
        kernel, others = self.routes.kernel, self.foreign.values()
        used = {v.id for r in kernel.ours.values() for v in r.values() if isinstance(v, model.Via)}
        used |= {one.nexthop_id for r in others for by in r.values() for one in by.values()}
        unused = {id_: kernel.objects[id_] for id_ in kernel.objects.keys() - used}
        assert unused == {}
        repaired = self.world.core.counters.repaired
        self.routes.written.clear()
        await self.loop.let_pass(91)
        assert all(not b.replace and b.value is not None for b in self.routes.written)
        assert self.world.core.counters.repaired == repaired, "at rest there is nothing to do"

    async def _settle(self) -> None:
        await self.routes.flush()
        await self.loop.let_pass(6)
        self._check()
        assert [f for f in self.routes.refused if f.reason == "foreign-route"] == []

    async def _consume(self) -> None:
        """What is still to fail gets its chance."""
        routes, world, kernel = self.routes, self.world, self.routes.kernel
        self._link_up("eth1")
        await self.loop.let_pass(1)
        await self._create(base.PROBE)
        key, table = model.nlri(base.PROBE.subnets[0].prefix), c.MAIN
        await self.loop.let_pass(61)
        for kind in ("replace", "delete"):
            if kind in routes.pending():
                kernel.ours[table][key] = model.Device(1)
                world.core.own_route_touched(table, key, present=True)
                await world.remove(base.PROBE.id) if kind == "delete" else None
        await world.remove(base.PROBE.id)
        await self._consume_objects()
        world.core.overflow()
        await self.loop.let_pass(91)
        world.links.forget("ensure_slave")
        routes.check_consumed()
        world.links.check_consumed()

    async def _consume_objects(self) -> None:
        routes, world, kernel = self.routes, self.world, self.routes.kernel
        if not routes.nexthop_objects:
            routes.forget("make", "lead", "retire")
            return
        probe, path = (
            ipaddress.ip_network("10.98.0.0/24"),
            model.Path(neighbor=c.PEER, next_hop=ipaddress.ip_address("192.0.2.98")),
        )
        world.learn(probe, paths=(path,))
        await self.loop.let_pass(61)
        route = kernel.ours[c.MAIN][model.nlri(probe)]
        assert isinstance(route, model.Via)
        kernel.objects[route.id] = (model.NextHop(ipaddress.ip_address("192.0.2.66"), 3),)
        world.core.nexthop_touched()
        await self.loop.let_pass(1)
        world.learn(probe, paths=())
        await self.loop.let_pass(1)

    def _check(self) -> None:
        facts = oracle.Facts(
            self.world.links.links,
            tuple(self.world.state.networks.values()),
            tuple(self.world.state.endpoints.values()),
            self.world.engine.learned,
            self.routes.foreign,
            base.IDENTITY,
        )
        wanted = oracle.expected(facts)
        there = {
            (number, prefix): value
            for number in {table[1] for table in self.routes.ours}
            for prefix, value in self.routes.table(number).items()
        }
        assert wanted.routes == there
        refused = {
            model.prefix(family, key): reason
            for family, reasons in self.world.core.refused.items()
            for key, reason in reasons.items()
        }
        assert wanted.refused.keys() == refused.keys()
        assert {p: r for p, r in refused.items() if r not in wanted.refused[p]} == {}
        assert wanted.announced == set(self.world.engine.announced)


TestCore = pytest.mark.timeout(3600)(Core.TestCase)
# Five times as many examples as the profile says: quick ones, and some races are rare.
TestCore.settings = hypothesis.settings(
    max_examples=5 * hypothesis.settings().max_examples,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(hypothesis.HealthCheck),
)
