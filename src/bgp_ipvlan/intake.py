"""What neighbours announce, as the kernel's routes: decide, write, tell.

At once for each batch that the engine brings, and again, in slices, for what was learned
before when links, networks or others' routes change.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Coroutine, Iterable, Sequence

from bgp_ipvlan import (
    capacity,
    errors,
    forwarding,
    model,
    origin,
    plan,
    ports,
    surroundings,
    tell,
    turns,
)

_BY_LINKS = frozenset(
    ("nexthop-offlink", "nexthop-own", "own-echo", "duplicate-prefix", "foreign-route")
)
"""Reasons that may not hold with other addresses of ours, or where a way is in another table."""
_SLICE = 250
"""Prefixes decided anew between two looks at the clock."""


class Intake:
    """See the module.

    Args:
        around: guards and next hops.
        own: what is ours.
        forwarding: where routes are wanted.
        maximum: how many there may be of a family; see `capacity`.
    """

    def __init__(
        self,
        around: surroundings.Surroundings,
        own: origin.Origin,
        forwarding: forwarding.Forwarding,
        *,
        maximum: int,
    ) -> None:
        self._around = around
        self._own = own
        self._forwarding = forwarding
        self.capacity = capacity.Capacity(maximum, forwarding, decide=self.decide)
        self._tell = tell.Routes()
        self._engine: ports.Engine | None = None
        self.refused: dict[model.Family, dict[model.Nlri, str]] = {f: {} for f in model.Family}
        """Best paths that are no routes, with their reason codes."""
        self.replans: set[asyncio.Task[None]] = set()

    def attach(self, engine: ports.Engine) -> None:
        """Give it the engine, which knows what was learned."""
        self._engine = engine

    def best_paths(self, change: model.BestPaths) -> None:
        """Best paths changed: decide, write, tell."""
        decision = plan.learned.decide(
            change,
            self._around.guards,
            self._around.next_hops,
            self._forwarding.foreign,
            self._own.ours,
        )
        self._apply(change, self.capacity.fit(change.family, decision))

    def _apply(self, change: model.BestPaths, decision: plan.learned.Decision) -> None:
        family, way = change.family, decision.way
        refused = self.refused[family]
        gone = list(decision.refused)
        if way is None:
            gone += decision.accepted
        mine = self._own.keys[family]
        if gone and mine and not mine.isdisjoint(gone):
            gone = [key for key in gone if key not in mine]
        news = {k: r for k, r in decision.refused.items() if refused.get(k) != r}
        if refused:
            for key in decision.accepted:
                refused.pop(key, None)
        refused.update(decision.refused)
        self._tell.withdrawn(self._forwarding.drop(family, gone))
        if way is not None:
            gateways, accepted = decision.gateways, decision.accepted
            try:
                batches = self._forwarding.through(family, gateways, way, accepted)
            except errors.KernelError as error:  # no-nexthop-id
                left = plan.learned.Decision(
                    gateways, None, [], dict.fromkeys(accepted, error.reason)
                )
                self._apply(change, left)
                return
            self._own.replaced(family, accepted)
            self._tell.learned(batches, way.next_hops, self._around.names)
        tell.refused(change, news)
        if gone:
            self.capacity.freed()

    def decide_again(self, affected: Sequence[model.Prefix] | None) -> None:
        """Decide learned prefixes anew, in slices: those inside some prefixes, or all (None)."""
        if self._engine is None:
            return
        self._go_on(self._decide_all(self._engine, affected))

    def decide_stranded(self) -> None:
        """Next hops came or went, nothing else: decide what that concerns, in slices."""
        for family in model.Family:
            refused = [k for k, why in self.refused[family].items() if why in _BY_LINKS]
            keys = refused + self._forwarding.stranded(family)
            if keys:
                self._go_on(self._decide_keys(family, keys))

    def _go_on(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self.replans.add(task)
        task.add_done_callback(self.replans.discard)

    def decide_soon(self, family: model.Family, keys: Collection[model.Nlri]) -> None:
        """Decide some prefixes anew: at once if they are few, else in slices."""
        if len(keys) <= _SLICE:
            self.decide(family, keys)
        else:
            self._go_on(self._decide_keys(family, list(keys)))

    async def _decide_keys(self, family: model.Family, keys: list[model.Nlri]) -> None:
        async for part in turns.slices(keys, _SLICE):
            self.decide(family, part)

    async def _decide_all(
        self, engine: ports.Engine, affected: Sequence[model.Prefix] | None
    ) -> None:
        for family in model.Family:
            async for part in turns.slices(list(engine.prefixes(family)), _SLICE):
                keys: Iterable[model.Nlri] = part
                if affected is not None:
                    same = [p for p in affected if model.Family.of(p) is family]
                    keys = {key for p in same for key in plan.create.claims(p, part)}
                self.decide(family, keys)

    def decide(self, family: model.Family, keys: Iterable[model.Nlri]) -> None:
        """Decide some prefixes anew from the paths they have now."""
        if self._engine is None:
            return
        # By identity, which whole UPDATEs share: hashing paths costs more than all the rest.
        groups: dict[int, tuple[tuple[model.Path, ...], list[model.Nlri]]] = {}
        for key in keys:
            paths = self._engine.best(family, key)
            groups.setdefault(id(paths), (paths, []))[1].append(key)
        for paths, prefixes in groups.values():
            self.best_paths(model.BestPaths(family, paths, prefixes))

    def withdraw(self) -> None:
        """Take learned routes out of the kernel."""
        self.capacity.clear()
        for family in model.Family:
            mine = self._own.keys[family]
            wanted = self._forwarding.wanted(family)
            self._forwarding.drop(family, [key for key in wanted if key not in mine])
