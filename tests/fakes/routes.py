"""The main table as the kernel keeps it, without a kernel. Holds state; decides nothing of ours."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from bgp_ipvlan import model, ownership, ports


class FakeRoutes:
    """Implements `ports.Routes` as a kernel would.

    What is written is there at once; what is refused is told a turn of the loop later.
    """

    def __init__(self) -> None:
        self.on_failure: ports.OnRouteFailure = lambda _failure: None
        """Told of each refused route."""
        self.ours: dict[model.Family, dict[model.Nlri, model.RouteValue]]
        self.ours = {family: {} for family in model.Family}
        self.foreign: dict[model.Family, model.Foreign] = {family: {} for family in model.Family}
        self.written: list[model.RouteBatch] = []
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
        self, prefix: model.Prefix, text: str = "proto static via 192.0.2.1", *, metric: int = 0
    ) -> None:
        """Somebody else makes a route."""
        self.foreign[model.Family.of(prefix)].setdefault(model.nlri(prefix), {})[metric] = text

    def drop_foreign(self, prefix: model.Prefix) -> None:
        """Somebody else's routes for a prefix go."""
        del self.foreign[model.Family.of(prefix)][model.nlri(prefix)]

    def lose(self, prefix: model.Prefix) -> None:
        """A route of ours goes without a word, as IPv4 routes do when a link goes down."""
        del self.ours[model.Family.of(prefix)][model.nlri(prefix)]

    def put(self, prefix: model.Prefix, value: model.RouteValue) -> None:
        """A route with our marks that we did not write, or not in this life."""
        self.ours[model.Family.of(prefix)][model.nlri(prefix)] = value

    def table(self) -> dict[model.Prefix, model.RouteValue]:
        """Our routes, readable."""
        return {
            model.prefix(family, key): value
            for family, routes in self.ours.items()
            for key, value in routes.items()
        }

    # --- ports.Routes ---------------------------------------------------------------------

    async def dump(self) -> model.RouteDump:
        """What is there."""
        dump = model.RouteDump(
            {family: dict(routes) for family, routes in self.ours.items()},
            {
                family: {key: dict(texts) for key, texts in routes.items()}
                for family, routes in self.foreign.items()
            },
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
            for key in batch.prefixes:
                reason = self._write(batch, key)
                if reason:
                    failure = model.RouteFailure(
                        batch.family, key, batch.value, batch.replace, reason, "by order"
                    )
                    asyncio.get_running_loop().call_soon(self.on_failure, failure)

    def _write(self, batch: model.RouteBatch, key: model.Nlri) -> str:
        """Do one route; the reason it cannot be, or an empty text."""
        prefix = model.prefix(batch.family, key)
        routes = self.ours[batch.family]
        theirs = ownership.ROUTE_METRIC in self.foreign[batch.family].get(key, {})
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

    async def flush(self) -> None:
        """Return after all refusals so far were told."""
        told = asyncio.Event()
        asyncio.get_running_loop().call_soon(told.set)
        await told.wait()

    async def drained(self) -> None:
        """There is always room."""
