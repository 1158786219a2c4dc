"""The loop between what is wanted and what is there.

Everything that happens comes in here as a call: the engine's best paths, the kernel's
events, the front door's changed networks. Each is turned into routes and announcements
at once, at the cost of the change itself. The loop (`run`) does what needs time: reading
links again, repairing failed routes, the audit.

Decisions are `plan`'s, books are `delta`'s, writing is the ports'.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Collection, Iterable, Mapping
from typing import TypeAlias

from bgp_ipvlan import (
    admission,
    arp,
    config,
    errors,
    forwarding,
    gate,
    intake,
    model,
    origin,
    ownership,
    plan,
    ports,
    repairs,
    rules,
    surroundings,
    upkeep,
)
from bgp_ipvlan import state as state_

log = logging.getLogger("bgp_ipvlan")

_ForeignNews: TypeAlias = tuple[model.Table, model.Nlri, int, model.ForeignRoute | None]

AUDIT_INTERVAL = 90.0
"""Seconds between two full read-backs of the kernel (D4)."""
_RETRY = 0.5
"""Seconds until what could not be read is tried again."""
_ROUTES_GO = 2.0
"""Seconds that routes of endpoints may take to go, behind what else is being written."""


class Reconciler:
    """See the module. Implements `ports.EngineEvents`, `ports.KernelEvents` and the door's core.

    Args:
        settings: the configuration.
        state: networks and endpoints.
        links: the host's links.
        routes: the kernel's routes; started.
        arp_filter: what may not be asked for.
        conntrack: what the kernel remembers of flows.
    """

    def __init__(
        self,
        settings: config.Settings,
        state: state_.State,
        *,
        links: ports.Links,
        routes: ports.Routes,
        arp_filter: ports.ArpFilter,
        conntrack: ports.Conntrack,
    ) -> None:
        self._state = state
        self._routes = routes
        self._conntrack = conntrack
        self._upkeep = upkeep.Upkeep(state, links)
        self._engine: ports.Engine | None = None
        self.forwarding = forwarding.Forwarding(routes)
        self.around = surroundings.Surroundings(
            settings, state, links, foreign=self.forwarding.foreign
        )
        identity = ownership.Identity(settings.local_as, int(settings.router_id or 0))
        self._admission = admission.Admission(
            settings, state, links=links, around=self.around, identity=identity
        )
        self._origin = origin.Origin(
            state, self.around, self.forwarding, identity, decide=self._decide
        )
        self._intake = intake.Intake(
            self.around, self._origin, self.forwarding, maximum=settings.max_routes
        )
        self.arp = arp.Keeper(
            arp_filter, state, self.around, origin=self._origin, forwarding=self.forwarding
        )
        self.rules = rules.Watch(routes, self.around, self.forwarding)
        self._gate = gate.Gate()
        self.counters = repairs.Counters()
        self._synced = asyncio.Event()
        self._links_dirty = asyncio.Event()
        self._links_known = asyncio.Event()
        """They are as last read, as far as we were told."""
        self._links_known.set()
        self._audit_due = asyncio.Event()
        self._repairs = repairs.Repairs(self.forwarding, self.counters, audit=self._audit_due.set)
        self._foreign_news: list[_ForeignNews] | None = None
        """Others' routes that came or went while the kernel is read."""
        self._resolving: asyncio.Handle | None = None

    @property
    def own(self) -> Mapping[str, plan.own.Own]:
        """What follows from each network, by its id."""
        return self._origin.own

    @property
    def refused(self) -> Mapping[model.Family, Mapping[model.Nlri, str]]:
        """Learned prefixes that are no routes, with their reason codes."""
        return self._intake.refused

    @property
    def waiting(self) -> Mapping[model.Family, Collection[model.Nlri]]:
        """Those of them that there is no room for (`max-routes`)."""
        return self._intake.capacity.waiting

    @property
    def is_synced(self) -> bool:
        """Whether all that neighbours have to say at the start was said, or waited for long enough."""
        return self._synced.is_set()

    async def until_synced(self) -> None:
        """Return when it is."""
        await self._synced.wait()

    # --- start ---------------------------------------------------------------

    async def adopt(self, boot_id: str) -> bool:
        """Read the kernel and take over what we left there. Writes nothing but missing parts.

        Returns:
            Whether links and routes of an earlier run on this boot were adopted, which
            allows the forwarding-preserved bit (D4).
        """
        same_boot = await self._upkeep.same_boot(boot_id)
        await self.around.read()
        gone = await self._upkeep.sweep(at_once=True)
        if await self._upkeep.shims(self.around.links):
            await self.around.read()
        self.around.recompute()
        self.forwarding.use(self.around.tables)
        dump = await self._read_routes(everywhere=True)
        self.forwarding.observe(dump)
        for network_id in self._state.networks:
            self.network_changed(network_id)
        await self.endpoints_gone(gone)
        adopted = sum(len(routes) for routes in dump.drift.values())
        log.info(
            "kernel read routes_adopted=%d networks=%d endpoints=%d",
            adopted,
            len(self._state.networks),
            len(self._state.endpoints),
        )
        return same_boot

    def attach(self, engine: ports.Engine) -> None:
        """Give it the engine, which gets everything we announce; to be started after this."""
        self._engine = engine
        self._intake.attach(engine)
        self._origin.attach(engine)
        self._look_around()

    async def run(self) -> None:
        """Do what needs time, for ever.

        Links are looked at beside the audits: a session whose link is down ends at once, also
        while a hundred thousand routes are read back.
        """
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._keep_looking())
                group.create_task(self._keep_auditing())
                group.create_task(self.arp.run())
                group.create_task(self.rules.run())
        finally:
            self._repairs.stop()

    async def _keep_looking(self) -> None:
        while True:
            await self._links_dirty.wait()
            self._links_dirty.clear()
            try:
                await self._look_again()
            except errors.Error as error:
                log.warning("links not read reason=%s error=%s", error.reason, error)
                self._links_dirty.set()
                await asyncio.sleep(_RETRY)
                continue
            if not self._links_dirty.is_set():
                self._links_known.set()

    async def _keep_auditing(self) -> None:
        loop = asyncio.get_running_loop()
        full_at = loop.time() + AUDIT_INTERVAL
        while True:
            try:
                async with asyncio.timeout_at(full_at):
                    await self._audit_due.wait()
            except TimeoutError:
                pass
            self._audit_due.clear()
            full = loop.time() >= full_at
            # Links first, or routes that went with a link would be put back; but not for ever.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_RETRY):
                    await self._links_known.wait()
            begun = loop.time()
            try:
                await self._audit(full=full)
                if full:
                    full_at = loop.time() + AUDIT_INTERVAL
            except errors.Error as error:
                # Nothing of it is lost: all is looked at again, soon.
                log.warning("audit not finished reason=%s error=%s", error.reason, error)
                full_at = loop.time() + _RETRY
            # In a storm of others' changes one audit calls for the next: half of the time is enough.
            await asyncio.sleep(loop.time() - begun)

    # --- the front door's core -------------------------------------------------

    async def check_create(
        self, network: model.Network, *, default_pool_accepted: bool = False
    ) -> None:
        """Say whether this network may be created (D10); see `admission`."""
        await self._admission.check(
            network,
            foreign=self.forwarding.foreign,
            engine=self._engine,
            default_pool_accepted=default_pool_accepted,
        )

    def network_changed(self, network_id: str) -> None:
        """A network or its endpoints changed, came or went: bring everything that follows along."""
        self.rules.look()
        affected = self._origin.changed(network_id)
        if affected:
            self._intake.decide_again(tuple(affected))
        if self._engine is not None and self.around.has_other_parents():
            self._look_around()

    async def endpoints_gone(self, endpoints: Iterable[model.Endpoint]) -> None:
        """Endpoints and their links are gone: let whoever gets their addresses next start clean."""
        addresses = {one.ip for endpoint in endpoints for one in endpoint.addresses}
        if addresses:
            # While a route still leads to them, the host itself would make entries anew.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_ROUTES_GO):
                    await self._routes.flush()
            await self._conntrack.forget(addresses)

    async def start_gate(self, network: model.Network, endpoint: model.Endpoint) -> None:
        """Wait until neighbours know the way to an endpoint that joined; see `gate`."""
        own = self.own.get(network.id, plan.own.NOTHING)
        await self._gate.wait(network, endpoint, own, self._engine)

    def _decide(self, family: model.Family, prefixes: Iterable[model.Nlri]) -> None:
        self._intake.decide(family, prefixes)
        # What is ours, or others' routes: both matter to it.
        if family is model.Family.IPV4:
            self.arp.look()

    # --- the engine's events ---------------------------------------------------

    def best_paths(self, change: model.BestPaths) -> None:
        """Best paths changed."""
        self._intake.best_paths(change)

    def neighbor_changed(self, status: model.NeighborStatus, detail: str) -> None:
        """A session came up or went down."""
        self._gate.neighbor_changed()
        log.info(
            "neighbor %s neighbor=%s as=%d detail=%s",
            status.state.lower(),
            status.address,
            status.remote_as,
            detail or "-",
        )

    def synced(self) -> None:
        """All is known: what we adopted and nobody wants goes now, and not earlier (D4)."""
        self._synced.set()
        log.info("synced routes_swept=%d", self.forwarding.sweep())
        self.rules.look()

    def withdraw_learned(self) -> None:
        """Take learned routes out of the kernel: nobody will keep them true from now on."""
        self._intake.withdraw()

    # --- the kernel's events -----------------------------------------------------

    def links_changed(self, lost: Collection[int] = ()) -> None:
        """Links or addresses changed; several calls become one look."""
        self._links_known.clear()
        self._links_dirty.set()
        # Down and up again before we look is no news of the links, but the kernel has dropped
        # IPv4 routes without a word (kernel sheet, section 3).
        if lost and not self.around.next_hops.links.isdisjoint(lost):
            self._audit_due.set()

    def foreign_route(
        self, table: model.Table, prefix: model.Nlri, metric: int, route: model.ForeignRoute | None
    ) -> None:
        """Somebody else's route came or went: it wins over a learned one."""
        if self._foreign_news is not None:
            self._foreign_news.append((table, prefix, metric, route))
        changed = self.forwarding.foreign_route(table, prefix, metric, route)
        if changed:
            self._decide(table[0], [prefix])
        elif changed is None:
            self._audit_due.set()
        if table[0] is model.Family.IPV4 and (not prefix[0] or (route and route.on_link)):
            # Also one default route for another, or one to a wire instead of one to a gateway.
            self.arp.look()
        if metric == ownership.ROUTE_METRIC:
            # Under our very key. It may have taken the place of ours without another word, or kept
            # it, and now there is room again.
            self._repairs.touched(table, prefix, present=False)
        self._resolve_soon()

    def _resolve_soon(self) -> None:
        """At the end of this turn of the loop: next hops that others' routes may lead to."""
        if self._resolving is None and self.around.next_hops.recursive:
            self._resolving = asyncio.get_running_loop().call_soon(self._resolve)

    def _resolve(self) -> None:
        """One message per next hop; only prefixes whose next hop came or went are decided."""
        self._resolving = None
        if self.around.next_hops.look_again():
            self.forwarding.refresh(self.around.next_hops.way)
            self._tell_engine()
            self._intake.decide_stranded()

    def own_route_touched(self, table: model.Table, prefix: model.Nlri, *, present: bool) -> None:
        """Somebody changed a route of ours: put it back."""
        self._repairs.touched(table, prefix, present=present)

    def nexthop_touched(self) -> None:
        """Our routes may have gone or lead elsewhere: read them back."""
        self._repairs.object_touched()

    def rules_changed(self) -> None:
        """Our routes may be looked at from now on, or no longer."""
        self.rules.look()

    def overflow(self) -> None:
        """Events were lost: look at everything."""
        self.counters.overflows += 1
        self.links_changed()
        self._audit_due.set()

    def routes_failed(self, failures: list[model.RouteFailure]) -> None:
        """The kernel refused routes: the books learn it; they are tried again later."""
        self._repairs.failed(failures)

    # --- looking again -------------------------------------------------------------

    async def _look_again(self) -> None:
        """Something happened to links or addresses."""
        await self.around.read()
        # First of all: a session whose link is down has to end at once.
        self._look_around()
        if await self._upkeep.shims(self.around.links):
            await self.around.read()
        if self.around.news():
            for network_id in tuple(self._state.networks):
                self.network_changed(network_id)
            self._look_around()

    def _look_around(self) -> None:
        """Do what follows from the links as last read."""
        self.around.recompute()
        news = self.around.routing_news()
        if news is None:
            return
        # One message per next hop, before anything that costs a message per route.
        self.forwarding.use(self.around.tables)
        self.forwarding.refresh(self.around.next_hops.way)
        self._tell_engine()
        self._intake.decide_stranded()
        if news.moved:
            self._intake.decide_again(None)
        elif news.guarded:
            self._intake.decide_again(tuple(news.guarded))
        if news.lost:
            # What the kernel still has must be read.
            self._audit_due.set()

    def _tell_engine(self) -> None:
        if self._engine is not None:
            self._engine.surroundings_changed(self.around.next_hops.addresses, self.around.usable)

    async def _audit(self, *, full: bool) -> None:
        """Read the kernel back and repair what drifted (D4)."""
        if full:
            gone = await self._upkeep.sweep(at_once=False)
            for network_id in {endpoint.network_id for endpoint in gone}:
                self.network_changed(network_id)
            await self.endpoints_gone(gone)
        before = {table: set(routes) for table, routes in self.forwarding.foreign.items()}
        dump = await self._read_routes()
        repaired, redecide = self.forwarding.observe(dump)
        for table, keys in before.items():
            self._intake.decide_soon(table[0], keys ^ self.forwarding.foreign[table].keys())
        if redecide:
            self._intake.decide_stranded()
        self.counters.repaired += repaired
        if repaired:
            log.warning("routes repaired count=%d reason=drift", repaired)
        self.arp.look()
        self.rules.look()
        self.counters.audits += 1

    async def _read_routes(self, *, everywhere: bool = False) -> model.RouteDump:
        """Read the kernel; others' routes are taken over, and events that are newer count."""
        self._foreign_news = []
        try:
            # What the books say now has been written when the kernel is read; what the loop
            # changes meanwhile, also while that is written, is left alone this time.
            believed = self.forwarding.watch()
            await self._routes.flush()
            dump = await self._routes.dump(believed, everywhere=everywhere)
        finally:
            news, self._foreign_news = self._foreign_news, None
        self.forwarding.take_over(dump)
        for table, prefix, metric, route in news:
            self.foreign_route(table, prefix, metric, route)
        self._resolve_soon()
        return dump
