"""How many routes we put into the kernel (`--max-routes`): what is above that waits for room.

A bound on what all neighbours together can do to this host's kernel, as max-prefix is on what
one of them can do to this process. Routes of our own networks count, and are never refused.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import itertools
import logging
from collections.abc import Callable, Iterable

from bgp_ipvlan import forwarding, model, plan

log = logging.getLogger("bgp_ipvlan")

REASON = "max-routes"
_SLICE = 2000
"""Prefixes taken in per turn of the loop: about 5 ms."""


class Capacity:
    """See the module.

    Args:
        maximum: routes per family; 0 is no limit.
        forwarding: where they are counted.
        decide: decides some prefixes anew.
    """

    def __init__(
        self,
        maximum: int,
        forwarding: forwarding.Forwarding,
        *,
        decide: Callable[[model.Family, Iterable[model.Nlri]], None],
    ) -> None:
        self.maximum = maximum
        self._forwarding = forwarding
        self._decide = decide
        self.waiting: dict[model.Family, dict[model.Nlri, None]] = {f: {} for f in model.Family}
        """Prefixes that would have a route if there were room, the longest waiting first."""
        self._told: set[model.Family] = set()
        self._taking: dict[model.Family, asyncio.Task[None]] = {}

    def fit(self, family: model.Family, decision: plan.learned.Decision) -> plan.learned.Decision:
        """What there is room for. One count per batch, as long as there is.

        Args:
            family: of the batch.
            decision: what would have a route.

        Returns:
            That, with what is above the limit refused.
        """
        accepted, waiting = decision.accepted, self.waiting[family]
        if waiting:
            for key in itertools.chain(accepted, decision.refused):
                waiting.pop(key, None)
        if decision.way is None or not self.maximum or len(accepted) <= self._room(family):
            return decision
        there = self._forwarding.having(family, accepted)
        news = [key for key in accepted if key not in there]
        room = max(0, self._room(family))
        if len(news) <= room:
            return decision
        waiting.update(dict.fromkeys(news[room:]))
        self._tell(family)
        left = dict.fromkeys(news[room:], REASON)
        return dataclasses.replace(
            decision,
            accepted=[key for key in accepted if key not in left],
            refused=decision.refused | left,
        )

    def _room(self, family: model.Family) -> int:
        return self.maximum - self._forwarding.count(family)

    def _tell(self, family: model.Family) -> None:
        """Once, until there is plenty of room again."""
        if family not in self._told:
            self._told.add(family)
            log.warning(
                "routes left out family=%s max_routes=%d reason=%s",
                family.name.lower(),
                self.maximum,
                REASON,
            )

    def freed(self) -> None:
        """Routes have gone: take in what waits, in slices."""
        for family, waiting in self.waiting.items():
            if waiting and family not in self._taking and self._room(family) > 0:
                task = asyncio.create_task(self._take_in(family))
                self._taking[family] = task
                task.add_done_callback(functools.partial(self._taken_in, family))

    async def _take_in(self, family: model.Family) -> None:
        waiting = self.waiting[family]
        # What took the room may be on its way out with what follows in this turn.
        await asyncio.sleep(0)
        while waiting and (room := self._room(family)) > 0:
            keys = list(itertools.islice(waiting, min(room, _SLICE)))
            for key in keys:
                del waiting[key]
            self._decide(family, keys)
            await asyncio.sleep(0)
        if not waiting and self._room(family) * 10 > self.maximum:
            self._told.discard(family)

    def _taken_in(self, family: model.Family, _task: asyncio.Task[None]) -> None:
        del self._taking[family]

    def clear(self) -> None:
        """Nothing waits any more."""
        for waiting in self.waiting.values():
            waiting.clear()
