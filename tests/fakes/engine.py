"""An engine that remembers what it announces and learns what the test tells it."""

from __future__ import annotations

from collections.abc import Iterable

from bgp_ipvlan import model, ports


class FakeEngine:
    """Implements `ports.Engine` without a wire.

    Args:
        events: whom to tell.
    """

    def __init__(self, events: ports.EngineEvents) -> None:
        self.announced: dict[model.Prefix, model.Announcement] = {}
        self.learned: dict[model.Family, dict[model.Nlri, tuple[model.Path, ...]]] = {
            family: {} for family in model.Family
        }
        self._events = events

    def learn(self, family: model.Family, prefixes: list[model.Nlri], *paths: model.Path) -> None:
        """A neighbour announces some prefixes, or withdraws them (no path)."""
        for prefix in prefixes:
            if paths:
                self.learned[family][prefix] = paths
            else:
                self.learned[family].pop(prefix, None)
        self._events.best_paths(model.BestPaths(family, paths, prefixes))

    async def start(self, *, restarted: bool, forwarding_preserved: bool) -> None:
        """Nothing to open."""

    def announce(self, announcements: Iterable[model.Announcement]) -> None:
        """Remember them."""
        for one in announcements:
            assert self.announced.get(one.prefix) != one, "announced again without a change"
            self.announced[one.prefix] = one

    def withdraw(self, prefixes: Iterable[model.Prefix]) -> None:
        """Forget them."""
        for prefix in prefixes:
            del self.announced[prefix]

    def best(self, family: model.Family, prefix: model.Nlri) -> tuple[model.Path, ...]:
        """What was learned."""
        return self.learned[family].get(prefix, ())

    def prefixes(self, family: model.Family) -> Iterable[model.Nlri]:
        """What was learned."""
        return self.learned[family]

    def neighbors(self) -> tuple[model.NeighborStatus, ...]:
        """None are configured."""
        return ()

    async def stop(self, *, withdraw: bool) -> None:
        """Nothing to close."""
