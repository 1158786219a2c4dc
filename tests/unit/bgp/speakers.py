"""Two embedded speakers in one process, over real sockets on 127.0.0.0/8; no foreign daemon here."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Callable
from typing import Any

from bgp_ipvlan import model
from bgp_ipvlan.engines import embedded

PREFIX = ipaddress.ip_network("10.1.0.0/24")
OTHER = ipaddress.ip_network("10.2.0.0/24")
SIX = ipaddress.ip_network("2001:db8:1::/64")
BOUND = 60.0
"""Seconds after which a condition is taken to be never met; the machine may be busy."""


class Recorder:
    """Behaves as the reconciler towards the engine: keeps what it was told."""

    def __init__(self) -> None:
        self.best: dict[tuple[model.Family, model.Nlri], tuple[model.Path, ...]] = {}
        self.batches: list[model.BestPaths] = []
        self.details: list[str] = []
        self.states: list[model.SessionState] = []
        self.synced_count = 0

    def best_paths(self, change: model.BestPaths) -> None:
        """Keep the paths."""
        self.batches.append(change)
        for key in change.prefixes:
            if change.paths:
                self.best[change.family, key] = change.paths
            else:
                del self.best[change.family, key]

    def neighbor_changed(self, status: model.NeighborStatus, detail: str) -> None:
        """Keep the word."""
        self.states.append(status.state)
        self.details.append(detail)

    def synced(self) -> None:
        """Count."""
        self.synced_count += 1

    def has(self, prefix: model.Prefix) -> bool:
        """Whether there is a path for it."""
        return (model.Family.of(prefix), model.nlri(prefix)) in self.best


class Speaker:
    """One speaker at 127.0.0.NUMBER, AS as given, with neighbours (number, AS)."""

    def __init__(self, number: int, local_as: int, port: int, **changes: Any) -> None:
        self.number, self.local_as, self.port = number, local_as, port
        self.changes = changes
        self.neighbors: list[model.NeighborConfig] = []
        self.seen = Recorder()
        self.engine: embedded.EmbeddedEngine

    @property
    def address(self) -> model.Address:
        """Where it is."""
        return ipaddress.ip_address(f"127.0.0.{self.number}")

    def knows(self, other: Speaker, *, remote_as: int = 0, **more: Any) -> model.NeighborConfig:
        """Configure a neighbour."""
        found = model.NeighborConfig(
            address=other.address,
            remote_as=remote_as or other.local_as,
            port=self.port,
            local_address=self.address,
            **more,
        )
        self.neighbors.append(found)
        return found

    def config(self, **changes: Any) -> model.SpeakerConfig:
        """All of it."""
        return model.SpeakerConfig(
            local_as=self.local_as,
            router_id=ipaddress.IPv4Address(f"10.0.0.{self.number}"),
            neighbors=tuple(self.neighbors),
            listen_addresses=(self.address,),
            listen_port=self.port,
            **{**self.changes, **changes},
        )

    async def start(
        self, *prefixes: model.Prefix, restarted: bool = False, preserved: bool = False, **more: Any
    ) -> None:
        """Start a new engine, as a new process would."""
        self.seen = Recorder()
        self.engine = embedded.EmbeddedEngine(self.config(**more), self.seen)
        self.engine.announce(map(self.announcement, prefixes))
        await self.engine.start(restarted=restarted, forwarding_preserved=preserved)

    def announcement(self, prefix: model.Prefix, **more: Any) -> model.Announcement:
        """Of a prefix, with a next hop of its own."""
        hop = f"192.0.2.{self.number}" if prefix.version == 4 else f"2001:db8::{self.number}"
        return model.Announcement(
            prefix=prefix,
            next_hop=ipaddress.ip_address(hop),
            large_communities=((self.local_as, 179, 17900),),
            **more,
        )

    def about(self, other: Speaker) -> model.NeighborStatus:
        """A neighbour as it is now."""
        return next(n for n in self.engine.neighbors() if n.address == other.address)

    def established(self) -> bool:
        """All sessions are up."""
        return all(n.state is model.SessionState.ESTABLISHED for n in self.engine.neighbors())


def free_port() -> int:
    """A TCP port nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


async def until(condition: Callable[[], object], what: str) -> None:
    """Wait for a condition of the loop's own objects."""
    try:
        async with asyncio.timeout(BOUND):
            while not condition():
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(f"waited {BOUND} s for: {what}") from None
