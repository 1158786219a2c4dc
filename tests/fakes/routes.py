"""Routing tables as the kernel keeps them, without a kernel. Holds state; decides nothing of ours."""

from __future__ import annotations

import asyncio
import collections
import dataclasses
from collections.abc import Callable, Iterable

from bgp_ipvlan import errors, model, ownership, ports


@dataclasses.dataclass(frozen=True)
class Hops:
    """A route of ours through gateways, with its nexthop object resolved."""

    next_hops: tuple[model.NextHop, ...]


Shown = Hops | model.Device | model.Blackhole


class FakeRoutes:
    """Implements `ports.Routes` as a kernel would.

    What is written is there at once; what is refused is told a turn of the loop later.
    """

    def __init__(self) -> None:
        self.nexthop_objects = True
        self.on_failures: ports.OnRouteFailures = lambda _failures: None
        """Told of each refused route."""
        self.led_to = {255, model.MAIN, 253}
        """The tables that rules lead to, beside those of VRFs."""
        self.rules_fail = False
        self.ours: dict[model.Table, dict[model.Nlri, model.RouteValue]]
        self.ours = collections.defaultdict(dict)
        self.objects: dict[int, tuple[model.NextHop, ...]] = {}
        """Nexthop objects, ours."""
        self.strangers: set[int] = set()
        """Ids in our range that somebody else has."""
        self.foreign: dict[model.Table, model.Foreign] = collections.defaultdict(dict)
        self.written: list[model.RouteBatch] = []
        self.led: list[tuple[int, tuple[model.NextHop, ...]]] = []
        """Objects that were made or changed."""
        self.retired: list[int] = []
        self.during_dump: Callable[[], None] | None = None
        """Called once, after the next dump was taken and before it is delivered."""
        self._refuse: set[model.Prefix] = set()

    # --- what a test does to the world --------------------------------------------------

    def fail(self, *prefixes: model.Prefix) -> None:
        """The next write of each of these fails."""
        self._refuse.update(prefixes)

    def check_consumed(self) -> None:
        """Every failure ordered has happened."""
        assert not self._refuse, f"never written: {self._refuse}"

    def put_foreign(
        self,
        prefix: model.Prefix,
        text: str = "proto static via 192.0.2.1",
        *,
        metric: int = 0,
        table: int = model.MAIN,
    ) -> None:
        """Somebody else makes a route."""
        routes = self.foreign[model.Family.of(prefix), table]
        routes.setdefault(model.nlri(prefix), {})[metric] = model.ForeignRoute(text)

    def drop_foreign(self, prefix: model.Prefix, *, table: int = model.MAIN) -> None:
        """Somebody else's routes for a prefix go."""
        del self.foreign[model.Family.of(prefix), table][model.nlri(prefix)]

    def lose(self, prefix: model.Prefix, *, table: int = model.MAIN) -> None:
        """A route of ours goes without a word, as IPv4 routes do when a link goes down."""
        del self.ours[model.Family.of(prefix), table][model.nlri(prefix)]

    def put(self, prefix: model.Prefix, value: Shown, *, table: int = model.MAIN) -> None:
        """A route with our marks that we did not write, or not in this life."""
        real: model.RouteValue
        if isinstance(value, Hops):
            ids = ownership.GROUP_IDS if len(value.next_hops) > 1 else ownership.SINGLE_IDS
            id_ = next(
                id_ for id_ in ids if self.objects.get(id_, value.next_hops) == value.next_hops
            )
            self.objects[id_] = value.next_hops
            real = model.Via(id_)
        else:
            real = value
        self.ours[model.Family.of(prefix), table][model.nlri(prefix)] = real

    def lose_object(self, id_: int) -> None:
        """A nexthop object goes, and silently all routes that point at it."""
        self.objects.pop(id_, None)
        for routes in (*self.ours.values(),):
            for key in [key for key, value in routes.items() if value == model.Via(id_)]:
                del routes[key]
        for theirs in self.foreign.values():
            for by_metric in theirs.values():
                assert all(route.nexthop_id != id_ for route in by_metric.values()), (
                    "somebody's route went with our object"
                )

    def table(self, number: int = model.MAIN) -> dict[model.Prefix, Shown]:
        """Our routes, readable."""
        return {
            model.prefix(family, key): self._shown(value)
            for (family, table), routes in self.ours.items()
            for key, value in routes.items()
            if table == number
        }

    def _shown(self, value: model.RouteValue) -> Shown:
        return Hops(self.objects[value.id]) if isinstance(value, model.Via) else value

    # --- ports.Routes ---------------------------------------------------------------------

    async def dump(self, believed: model.Believed, *, everywhere: bool = False) -> model.RouteDump:
        """What is there."""
        drift: dict[model.Table, dict[model.Nlri, model.RouteValue | None]] = {}
        tables = [*believed, *(self.ours if everywhere else ())]
        for table in tables:
            there, thought = self.ours[table], believed.get(table, {})
            drift[table] = {
                key: there.get(key)
                for key in there.keys() | thought.keys()
                if there.get(key) != thought.get(key)
            }
        used = {
            v.id
            for routes in self.ours.values()
            for v in routes.values()
            if isinstance(v, model.Via)
        }
        dump = model.RouteDump(
            drift,
            {
                table: {key: dict(routes) for key, routes in self.foreign[table].items()}
                for table in believed
            },
            {model.Via(id_): hops for id_, hops in self.objects.items() if id_ in used},
            frozenset(self.strangers),
        )
        if self.during_dump is not None:
            change, self.during_dump = self.during_dump, None
            change()
        await asyncio.sleep(0)
        return dump

    def write(self, batches: Iterable[model.RouteBatch]) -> None:
        """Set or delete."""
        for batch in batches:
            self.written.append(batch)
            failures = []
            for key in batch.prefixes:
                reason = self._write(batch, key)
                if reason:
                    failures.append(
                        model.RouteFailure(
                            batch.table, key, batch.value, batch.replace, reason, "by order"
                        )
                    )
            if failures:
                asyncio.get_running_loop().call_soon(self.on_failures, failures)

    def _write(self, batch: model.RouteBatch, key: model.Nlri) -> str:
        """Do one route; the reason it cannot be, or an empty text."""
        prefix = model.prefix(batch.table[0], key)
        routes = self.ours[batch.table]
        theirs = ownership.ROUTE_METRIC in self.foreign[batch.table].get(key, {})
        if isinstance(batch.value, model.Via):
            assert batch.value.id in self.objects, f"{prefix} through an object nobody made"
            assert batch.value.id not in self.strangers, f"{prefix} through a stranger's object"
        if prefix in self._refuse:
            self._refuse.remove(prefix)
            return "kernel-refused"
        if batch.value is None:
            routes.pop(key, None)  # our protocol is part of the request: theirs does not match
        elif batch.replace:
            assert key in routes or not theirs, f"replaces somebody's route for {prefix}"
            routes[key] = batch.value
        elif key in routes or theirs:
            return "foreign-route"
        else:
            routes[key] = batch.value
        return ""

    def lead(self, via: model.Via, next_hops: tuple[model.NextHop, ...]) -> None:
        """Make or change an object."""
        assert (via.id in ownership.GROUP_IDS) or len(next_hops) == 1
        self.led.append((via.id, next_hops))
        self.objects[via.id] = next_hops

    def retire(self, via: model.Via, *, keep: bool) -> None:
        """Delete an object, and what points at it."""
        self.retired.append(via.id)
        if not keep:
            self.lose_object(via.id)

    async def flush(self) -> None:
        """Return after all refusals so far were told."""
        told = asyncio.Event()
        asyncio.get_running_loop().call_soon(told.set)
        await told.wait()

    async def drained(self) -> None:
        """There is always room."""

    async def rules(self) -> dict[model.Family, model.Rules]:
        """As a host has them that nobody touched, unless a test did."""
        if self.rules_fail:
            raise errors.KernelError("kernel-refused", "rules fail by order", 5)
        return {family: model.Rules(frozenset(self.led_to), l3mdev=True) for family in model.Family}
