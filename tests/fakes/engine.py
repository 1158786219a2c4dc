"""An engine that remembers what it announces and learns what the test tells it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping

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
        self.refused: list[model.Refusal] = []
        """What policy keeps out."""
        self.addresses: frozenset[model.Address] = frozenset()
        """As last told."""
        self.usable: Callable[[model.Path], bool] = lambda _path: True
        self.told_of_surroundings = 0
        self.nobody = ""
        """Why nobody takes anything, where that is not for want of neighbours."""
        self.particulars: dict[str, object] = {}
        self.complaints: list[str] = []
        self.held_back: dict[model.Prefix, str] = {}
        self.asked: list[tuple[frozenset[model.Prefix], float]] = []
        """Calls of `delivered`."""
        self._up: dict[model.Address, asyncio.Event] = {}
        self._events = events

    # --- what a test does to the world ----------------------------------------------

    def learn(self, family: model.Family, prefixes: list[model.Nlri], *paths: model.Path) -> None:
        """A neighbour announces some prefixes, or withdraws them (no path)."""
        for prefix in prefixes:
            if paths:
                self.learned[family][prefix] = paths
            else:
                self.learned[family].pop(prefix, None)
        self._events.best_paths(model.BestPaths(family, paths, prefixes))

    def establish(self, neighbor: model.Address, *, reads: bool = True) -> None:
        """A session comes up; a neighbour that does not read takes nothing."""
        self._up[neighbor] = asyncio.Event()
        if reads:
            self._up[neighbor].set()
        self._tell(neighbor, model.SessionState.ESTABLISHED)

    def read(self, neighbor: model.Address) -> None:
        """A neighbour takes what was sent to it."""
        self._up[neighbor].set()

    def lose(self, neighbor: model.Address) -> None:
        """A session ends."""
        del self._up[neighbor]
        self._tell(neighbor, model.SessionState.IDLE)

    def _tell(self, neighbor: model.Address, state: model.SessionState) -> None:
        status = model.NeighborStatus(address=neighbor, remote_as=64512, state=state, since=0.0)
        self._events.neighbor_changed(status, "")

    # --- ports.Engine -----------------------------------------------------------------

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

    def withheld(self) -> Mapping[model.Prefix, str]:
        """Whatever a test says."""
        return self.held_back

    async def delivered(
        self, prefixes: Collection[model.Prefix], *, timeout: float
    ) -> model.Delivery:
        """Wait for the neighbours that read."""
        assert set(prefixes) <= self.announced.keys(), "not announced"
        self.asked.append((frozenset(prefixes), timeout))
        takers = dict(self._up)
        waits = [asyncio.create_task(taken.wait()) for taken in takers.values()]
        if waits:
            _, late = await asyncio.wait(waits, timeout=timeout)
            for task in late:
                task.cancel()
        waiting = tuple(address for address, taken in takers.items() if not taken.is_set())
        return model.Delivery(len(takers), waiting, nobody=self.nobody)

    def best(self, family: model.Family, prefix: model.Nlri) -> tuple[model.Path, ...]:
        """What was learned."""
        return self.learned[family].get(prefix, ())

    def prefixes(self, family: model.Family) -> Iterable[model.Nlri]:
        """What was learned."""
        return self.learned[family]

    def refusals(self, family: model.Family) -> Iterable[model.Refusal]:
        """What policy keeps out."""
        return (one for one in self.refused if one.family is family)

    def neighbors(self) -> tuple[model.NeighborStatus, ...]:
        """None are configured."""
        return ()

    def about(self) -> Mapping[str, object]:
        """Whatever a test says."""
        return self.particulars

    def warnings(self) -> Iterable[str]:
        """Whatever a test says."""
        return self.complaints

    def configure(
        self,
        neighbors: Iterable[model.NeighborConfig],
        dynamic: Iterable[model.DynamicNeighbors],
    ) -> None:
        """Nothing to configure."""

    def reset(self, neighbor: model.Address, *, soft: bool, message: str = "") -> None:
        """Nothing to reset."""

    def graceful_shutdown(self, *, on: bool) -> None:
        """Nobody to tell."""

    async def shutdown(self, *, message: str = "") -> None:
        """Nobody to tell."""

    def resume(self) -> None:
        """Nobody to tell."""

    def surroundings_changed(
        self,
        addresses: Collection[model.Address],
        usable: Callable[[model.Path], bool],
    ) -> None:
        """Remember them."""
        self.addresses, self.usable = frozenset(addresses), usable
        self.told_of_surroundings += 1

    async def stop(self, *, withdraw: bool, message: str = "") -> None:
        """Nothing to close."""
