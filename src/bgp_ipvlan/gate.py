"""The start gate: a container starts when its neighbours know the way to it.

`-o bgp.start_gate=` says what happens when they do not (see `model.StartGate`). Only networks
that announce each container have a gate; one that announces its subnet did so long before.
"""

from __future__ import annotations

import asyncio
import logging

from bgp_ipvlan import errors, model, plan, ports

log = logging.getLogger("bgp_ipvlan")

BOUND = 2.0
"""Seconds a start waits at most."""


class Gate:
    """See the module."""

    def __init__(self) -> None:
        self._news = asyncio.Event()

    def neighbor_changed(self) -> None:
        """A session came up or went down: whoever waits looks again."""
        old, self._news = self._news, asyncio.Event()
        old.set()

    async def wait(
        self,
        network: model.Network,
        endpoint: model.Endpoint,
        own: plan.own.Own,
        engine: ports.Engine | None,
    ) -> None:
        """Return when the neighbours were told of an endpoint, or when that took too long.

        Raises:
            errors.Refused: `start-gate`, with `require`.
        """
        gate = network.bgp.start_gate
        if gate is model.StartGate.OFF or not plan.own.stretched(network):
            return
        problem, told = await self._wait(gate, endpoint, own, engine)
        if not problem:
            return
        if gate is model.StartGate.REQUIRE and not told:
            raise errors.Refused(
                "start-gate",
                f"no neighbor knows the way to this container: {problem}. See bgp-ipvlan "
                f"neighbors; to start all the same: -o bgp.start_gate=warn on the network",
            )
        log.warning(
            "endpoint not yet known endpoint=%s network=%s reason=start-gate detail=%s",
            endpoint.short,
            network.short,
            problem,
        )

    async def _wait(
        self,
        gate: model.StartGate,
        endpoint: model.Endpoint,
        own: plan.own.Own,
        engine: ports.Engine | None,
    ) -> tuple[str, bool]:
        """What is wrong, in words for the user, and whether a neighbour was told all the same."""
        hosts = plan.own.hosts([endpoint])
        prefixes = [prefix for prefix in hosts if prefix in own.announcements]
        if len(prefixes) < len(hosts):
            reasons = dict.fromkeys(own.notes.values())
            return f"its address is not announced ({', '.join(reasons)})", False
        if engine is None:
            return "BGP has not started", False
        loop = asyncio.get_running_loop()
        deadline = loop.time() + BOUND
        while True:
            news = self._news
            left = max(0.0, deadline - loop.time())
            delivery = await engine.delivered(prefixes, timeout=left)
            if delivery.established:
                break
            if gate is not model.StartGate.REQUIRE or not await _happens(news, deadline):
                return delivery.nobody or "no neighbor is established", False
        late = ", ".join(map(str, delivery.waiting))
        told = len(delivery.waiting) < delivery.established
        return (f"not taken by {late}" if late else ""), told


async def _happens(news: asyncio.Event, deadline: float) -> bool:
    """Wait for it, but not for ever."""
    try:
        async with asyncio.timeout_at(deadline):
            await news.wait()
    except TimeoutError:
        return False
    return True
