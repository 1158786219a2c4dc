"""The loop between what is wanted and what is there.

Everything that happens comes in here as a call: the engine's best paths, the kernel's
events, the front door's changed networks. Each is turned into routes and announcements
at once, at the cost of the change itself. The loop (`run`) does what needs time: reading
links again, repairing failed routes, the audit.

Decisions are `plan`'s, books are `delta`'s, writing is the ports'.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence

from bgp_ipvlan import config, delta, errors, model, plan, ports, surroundings, tell, upkeep
from bgp_ipvlan import state as state_

log = logging.getLogger("bgp_ipvlan")

AUDIT_INTERVAL = 90.0
"""Seconds between two full read-backs of the kernel (D4)."""
_RETRY_FIRST, _RETRY_LAST = 0.5, 60.0
_SLICE = 2000
"""Prefixes decided anew per turn of the loop: about 5 ms."""


@dataclasses.dataclass(slots=True)
class Counters:
    """What happened since the start, for status and metrics."""

    audits: int = 0
    repaired: int = 0
    failed: int = 0
    overflows: int = 0


class Reconciler:
    """See the module. Implements `ports.EngineEvents`, `ports.KernelEvents` and the door's core.

    Args:
        settings: the configuration.
        state: networks and endpoints.
        links: the host's links.
        routes: the kernel's routes.
    """

    def __init__(
        self,
        settings: config.Settings,
        state: state_.State,
        *,
        links: ports.Links,
        routes: ports.Routes,
    ) -> None:
        self._local_as = settings.local_as
        self._example = str(settings.ipvlan_subnet or "10.1.1.0/24")
        self._state = state
        self._links_port = links
        self._routes = routes
        self._upkeep = upkeep.Upkeep(state, links)
        self._engine: ports.Engine | None = None
        self.around = surroundings.Surroundings(settings, state, links)
        self.books = {family: delta.RouteBook(family) for family in model.Family}
        self.foreign: dict[model.Family, model.Foreign] = {f: {} for f in model.Family}
        self.refused: dict[model.Family, dict[model.Nlri, str]] = {f: {} for f in model.Family}
        self.own: dict[str, plan.own.Own] = {}
        self.counters = Counters()
        self.is_synced = False
        self._wake = asyncio.Event()
        self._links_dirty = False
        self._audit_due = False
        self._retry_delay = 0.0
        self._foreign_news: list[tuple[model.Family, model.Nlri, int, str | None]] | None = None
        """Others' routes that came or went while the kernel is read."""
        self._replans: set[asyncio.Task[None]] = set()

    # --- start ---------------------------------------------------------------

    async def adopt(self, boot_id: str) -> bool:
        """Read the kernel and take over what we left there. Writes nothing but missing parts.

        Returns:
            Whether links and routes of an earlier run on this boot were adopted, which
            allows the forwarding-preserved bit (D4).
        """
        same_boot = await self._upkeep.same_boot(boot_id)
        await self.around.read()
        await self._upkeep.sweep(at_once=True)
        if await self._upkeep.shims(self.around.links):
            await self.around.read()
        dump = await self._read_routes()
        for family, book in self.books.items():
            book.observe(dump.ours[family])
        self.around.recompute()
        for network_id in self._state.networks:
            self.network_changed(network_id)
        adopted = sum(len(routes) for routes in dump.ours.values())
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
        engine.announce(
            announcement for own in self.own.values() for announcement in own.announcements.values()
        )

    async def run(self) -> None:
        """Do what needs time, for ever."""
        loop = asyncio.get_running_loop()
        audit_at = loop.time() + AUDIT_INTERVAL
        while True:
            self._wake.clear()
            try:
                if self._links_dirty:
                    await self._links_again()
                if self._audit_due or loop.time() >= audit_at:
                    await self._audit(full=loop.time() >= audit_at)
                    audit_at = loop.time() + AUDIT_INTERVAL
            except errors.Error as error:
                # Nothing of it is lost: all is looked at again, soon.
                log.warning("audit not finished reason=%s error=%s", error.reason, error)
                self._links_dirty = True
                audit_at = loop.time() + _RETRY_FIRST
            try:
                async with asyncio.timeout_at(audit_at):
                    await self._wake.wait()
            except TimeoutError:
                pass

    # --- the front door's core -------------------------------------------------

    async def check_create(
        self, network: model.Network, *, default_pool_accepted: bool = False
    ) -> None:
        """Say whether this network may be created (D10).

        Raises:
            errors.BadRequest: the request cannot be met as it is.
            errors.Refused: something is in the way; the text names it and the remedy.
        """
        await self.around.read()
        others = [n for n in self._state.networks.values() if n.id != network.id]
        plan.create.check_pool(network, accepted=default_pool_accepted, hint=self._example)
        scan = await self._links_port.scan_slaves()
        plan.create.check_parent(network, self.around.links, others, scan.slaves)
        plan.create.check_local(network, self.around.connected(), others, self.foreign)
        if network.announced:
            for subnet in network.subnets:
                await self._check_learned(subnet.prefix)

    async def _check_learned(self, prefix: model.Prefix) -> None:
        if self._engine is None:
            return
        family, best = model.Family.of(prefix), self._engine.best
        inside: list[model.Nlri] = []
        for part in _slices(list(self._engine.prefixes(family)), 10 * _SLICE):
            inside += plan.create.claims(prefix, part)
            await asyncio.sleep(0)
        plan.create.check_learned(
            prefix,
            {key: best(family, key) for key in inside},
            {key: best(family, key) for key in plan.create.covering(prefix)},
        )

    def network_changed(self, network_id: str) -> None:
        """A network or its endpoints changed, came or went: bring everything that follows along."""
        network = self._state.networks.get(network_id)
        old = self.own.get(network_id, plan.own.NOTHING)
        if network is None:
            new = plan.own.NOTHING
            self.own.pop(network_id, None)
        else:
            new = plan.own.of(
                network,
                self._state.endpoints_of(network_id),
                self.around.links,
                self._local_as,
            )
            self.own[network_id] = new
        if old.guarded != new.guarded:
            self.around.recompute()
        # Withdraw before the route goes, announce after it stands: traffic that the world
        # still sends, or sends already, meets the blackhole and never our default route.
        self._withdraw(network_id, old.announcements.keys() - new.announcements.keys())
        self._route_own(old.routes, new.routes)
        self._announce(
            network_id,
            [a for prefix, a in new.announcements.items() if old.announcements.get(prefix) != a],
        )
        for prefix, reason in new.notes.items():
            if old.notes.get(prefix) != reason:
                log.info(
                    "network not announced network=%s prefix=%s reason=%s",
                    network_id[:12],
                    prefix,
                    reason,
                )
        changed = set(old.guarded) ^ set(new.guarded)
        if changed:
            self._decide_again(tuple(changed))

    def _announce(self, network_id: str, announcements: list[model.Announcement]) -> None:
        for one in announcements:
            log.info(
                "network announced network=%s prefix=%s next_hop=%s",
                network_id[:12],
                one.prefix,
                one.next_hop,
            )
        if self._engine is not None and announcements:
            self._engine.announce(announcements)

    def _withdraw(self, network_id: str, prefixes: Iterable[model.Prefix]) -> None:
        prefixes = list(prefixes)
        for prefix in prefixes:
            log.info("network withdrawn network=%s prefix=%s", network_id[:12], prefix)
        if self._engine is not None and prefixes:
            self._engine.withdraw(prefixes)

    def _route_own(
        self,
        old: dict[plan.own.Key, model.RouteValue],
        new: dict[plan.own.Key, model.RouteValue],
    ) -> None:
        wanted: dict[tuple[model.Family, model.RouteValue | None], list[model.Nlri]]
        wanted = defaultdict(list)
        for family, key in old.keys() - new.keys():
            wanted[family, None].append(key)
        for (family, key), route in new.items():
            if old.get((family, key)) != route:
                wanted[family, route].append(key)
        for (family, value), keys in wanted.items():
            self._routes.write(self.books[family].want(value, keys))

    # --- the engine's events ---------------------------------------------------

    def best_paths(self, change: model.BestPaths) -> None:
        """Best paths changed: decide, write, tell."""
        foreign = self.foreign[change.family]
        decision = plan.learned.decide(change, self.around.guards, self.around.next_hops, foreign)
        self._apply(change, decision)

    def _apply(self, change: model.BestPaths, decision: plan.learned.Decision) -> None:
        family = change.family
        book, refused = self.books[family], self.refused[family]
        gone = list(decision.refused)
        if decision.value is None:
            gone += decision.accepted
        mine = self._own_keys(family)
        if gone and mine and not mine.isdisjoint(gone):
            gone = [key for key in gone if key not in mine]
        news = {k: r for k, r in decision.refused.items() if refused.get(k) != r}
        if refused:
            for key in decision.accepted:
                refused.pop(key, None)
        refused.update(decision.refused)
        batches = book.want(None, gone)
        if decision.value is not None:
            batches += book.want(decision.value, decision.accepted)
        self._routes.write(batches)
        tell.routes(batches, self.around.names)
        tell.refused(change, news)

    def neighbor_changed(self, status: model.NeighborStatus, detail: str) -> None:
        """A session came up or went down."""
        log.info(
            "neighbor %s neighbor=%s as=%d detail=%s",
            status.state.lower(),
            status.address,
            status.remote_as,
            detail or "-",
        )

    def synced(self) -> None:
        """All is known: what we adopted and nobody wants goes now, and not earlier (D4)."""
        self.is_synced = True
        swept = 0
        for book in self.books.values():
            batches = book.sweep()
            swept += sum(len(batch.prefixes) for batch in batches)
            self._routes.write(batches)
        log.info("synced routes_swept=%d", swept)

    def withdraw_learned(self) -> None:
        """Take learned routes out of the kernel: nobody will keep them true from now on."""
        for family, book in self.books.items():
            mine = self._own_keys(family)
            self._routes.write(book.want(None, [key for key in book.wanted if key not in mine]))

    # --- the kernel's events -----------------------------------------------------

    def links_changed(self, lost: Collection[int] = ()) -> None:
        """Links or addresses changed; several calls become one look."""
        self._links_dirty = True
        # Down and up again before we look is no news of the links, but the kernel has dropped
        # IPv4 routes without a word (kernel sheet, section 3).
        if lost and not self.around.next_hops.links.isdisjoint(lost):
            self._audit_due = True
        self._wake.set()

    def foreign_route(
        self, family: model.Family, prefix: model.Nlri, *, metric: int, text: str | None
    ) -> None:
        """Somebody else's route came or went: it wins over a learned one."""
        if self._foreign_news is not None:
            self._foreign_news.append((family, prefix, metric, text))
        routes = self.foreign[family]
        before = prefix in routes
        if text is not None:
            routes.setdefault(prefix, {})[metric] = text
        elif before:
            routes[prefix].pop(metric, None)
            if not routes[prefix]:
                del routes[prefix]
        if before is not (prefix in routes):
            self._decide(family, [prefix])

    def own_route_touched(self, family: model.Family, prefix: model.Nlri, *, present: bool) -> None:
        """Somebody changed a route of ours: put it back."""
        batches = self.books[family].lost([prefix], present=present)
        if batches:
            self.counters.repaired += 1
            log.warning(
                "route repaired prefix=%s reason=changed-by-others", model.prefix(family, prefix)
            )
            self._routes.write(batches)

    def nexthop_touched(self) -> None:
        """Our routes may have gone or lead elsewhere: read them back at once."""
        self._audit_due = True
        self._wake.set()

    def overflow(self) -> None:
        """Events were lost: look at everything."""
        self.counters.overflows += 1
        self._links_dirty = self._audit_due = True
        self._wake.set()

    def route_failed(self, failure: model.RouteFailure) -> None:
        """The kernel refused a route: the books learn it; it is tried again later."""
        self.counters.failed += 1
        again = self.books[failure.family].failed(failure)
        log.log(
            logging.DEBUG if again else logging.WARNING,
            "route refused by kernel prefix=%s reason=%s error=%s",
            model.prefix(failure.family, failure.prefix),
            failure.reason,
            failure.detail,
        )
        if not self._retry_delay:
            self._retry_later(_RETRY_FIRST)

    def _retry_later(self, delay: float) -> None:
        self._retry_delay = delay
        asyncio.get_running_loop().call_later(delay, self._retry)

    def _retry(self) -> None:
        batches = [batch for book in self.books.values() for batch in book.retry()]
        if not batches:
            self._retry_delay = 0.0
            return
        self._routes.write(batches)
        self._retry_later(min(self._retry_delay * 2, _RETRY_LAST))

    # --- looking again -------------------------------------------------------------

    async def _links_again(self) -> None:
        """Something happened to links or addresses."""
        self._links_dirty = False
        await self.around.read()
        if await self._upkeep.shims(self.around.links):
            await self.around.read()
        if not self.around.news():
            return
        for network_id in tuple(self._state.networks):
            self.network_changed(network_id)
        if self.around.recompute():
            # The kernel drops IPv4 routes without a word when a link or an address goes
            # (kernel sheet, section 3): what it still has must be read.
            self._audit_due = True
            self._decide_again(None)

    def _decide_again(self, affected: Sequence[model.Prefix] | None) -> None:
        """Decide learned prefixes anew, in slices: those inside some prefixes, or all."""
        if self._engine is None:
            return
        task = asyncio.create_task(self._decide_all(self._engine, affected))
        self._replans.add(task)
        task.add_done_callback(self._replans.discard)

    async def _decide_all(
        self, engine: ports.Engine, affected: Sequence[model.Prefix] | None
    ) -> None:
        for family in model.Family:
            for part in _slices(list(engine.prefixes(family)), _SLICE):
                keys: Iterable[model.Nlri] = part
                if affected is not None:
                    same = [p for p in affected if model.Family.of(p) is family]
                    keys = {key for p in same for key in plan.create.claims(p, part)}
                self._decide(family, keys)
                await asyncio.sleep(0)

    def _decide(self, family: model.Family, keys: Iterable[model.Nlri]) -> None:
        """Decide some prefixes anew from the paths they have now."""
        if self._engine is None:
            return
        groups: dict[tuple[model.Path, ...], list[model.Nlri]] = defaultdict(list)
        for key in keys:
            groups[self._engine.best(family, key)].append(key)
        for paths, prefixes in groups.items():
            self.best_paths(model.BestPaths(family, paths, prefixes))

    async def _audit(self, *, full: bool) -> None:
        """Read the kernel back and repair what drifted (D4)."""
        self._audit_due = False
        self.counters.audits += 1
        if full:
            for network_id in await self._upkeep.sweep(at_once=False):
                self.network_changed(network_id)
        # Flushed first, so that the kernel shows what the books say; and what the loop changes
        # while the kernel is read is left alone this time.
        await self._routes.flush()
        for book in self.books.values():
            book.watch()
        before = {family: set(routes) for family, routes in self.foreign.items()}
        dump = await self._read_routes()
        changed = {f: before[f] ^ self.foreign[f].keys() for f in model.Family}
        repaired = 0
        for family, book in self.books.items():
            batches = book.observe(dump.ours[family])
            repaired += sum(len(batch.prefixes) for batch in batches)
            self._routes.write(batches)
            self._decide(family, changed[family])
        self.counters.repaired += repaired
        if repaired:
            log.warning("routes repaired count=%d reason=drift", repaired)

    async def _read_routes(self) -> model.RouteDump:
        """Read the kernel; others' routes are taken over, and events that are newer count."""
        self._foreign_news = []
        try:
            dump = await self._routes.dump()
        finally:
            news, self._foreign_news = self._foreign_news, None
        self.foreign = dump.foreign
        for family, prefix, metric, text in news:
            self.foreign_route(family, prefix, metric=metric, text=text)
        return dump

    def _own_keys(self, family: model.Family) -> set[model.Nlri]:
        return {key for own in self.own.values() for f, key in own.routes if f is family}


def _slices(keys: list[model.Nlri], size: int) -> Iterator[list[model.Nlri]]:
    return (keys[start : start + size] for start in range(0, len(keys), size))
