"""BIRD as a neighbour of which is known what it announces."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from lab import namespace, peers
from tests.chaos.oracle import Address, Path, Prefix
from tests.chaos.sender import AS, HOLD_TIME, LONG

ALWAYS = ipaddress.ip_network("10.9.0.0/16")
"""Announced from the start on."""


class BirdNeighbor:
    """See the module.

    Args:
        host: where.
        address: its own.
        daemon: the daemon's.
    """

    def __init__(self, host: namespace.Host, address: str, daemon: str) -> None:
        self.address = ipaddress.ip_address(address)
        self.daemon = ipaddress.ip_address(daemon)
        self.table: dict[Prefix, Address] = {ALWAYS: self.address}
        """What it announces, with its next hop."""
        self.held: dict[Prefix, Address] = {}
        """What the daemon must have of it."""
        neighbor = peers.Neighbor(
            address=daemon,
            remote_as=AS,
            local_address=address,
            hold_time=HOLD_TIME,
            restart_time=LONG,
            extended_next_hop=True,
        )
        self._bird = peers.Bird(
            host,
            peers.Speaker(
                local_as=AS,
                router_id="10.255.0.3",
                neighbors=(neighbor,),
                originate=(peers.Originated(prefix=str(ALWAYS), next_hop=address),),
                ipv6=True,
            ),
        )

    def start(self) -> None:
        """Start it."""
        self._bird.start()

    def paths(self) -> Iterator[tuple[Prefix, Path]]:
        """What the daemon must have, for the oracle."""
        for prefix, next_hop in self.held.items():
            yield prefix, Path(self.address, next_hop, session=self.daemon)

    def announce(self, prefix: Prefix, next_hop: Address) -> None:
        """One more."""
        self.table[prefix] = next_hop
        self._bird.announce(peers.Originated(prefix=str(prefix), next_hop=str(next_hop)))

    def withdraw(self, prefix: Prefix) -> None:
        """One less."""
        del self.table[prefix]
        self._bird.withdraw(str(prefix))

    def restart(self) -> None:
        """Cease, and a new session."""
        self._bird.reset(str(self.daemon))

    def crash(self) -> None:
        """SIGKILL, and graceful restart."""
        self._bird.kill()
        self._bird.start(restarting=True)
