"""What the foreign speakers have in common: their configuration, their face, waiting for them."""

from __future__ import annotations

import dataclasses
from typing import Any, Protocol

from lab import namespace, process


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Neighbor:
    """A neighbour of the foreign speaker. Times in seconds."""

    address: str
    remote_as: int
    passive: bool = False
    hold_time: int = 9
    graceful_restart: bool = True
    restart_time: int = 30
    """What the daemon announces as its own restart time."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Speaker:
    """How a foreign speaker is configured."""

    local_as: int
    router_id: str
    neighbors: tuple[Neighbor, ...]
    originate: tuple[str, ...] = ()
    """Prefixes announced from the start, either family."""
    ipv6: bool = False
    """Negotiate IPv6 unicast too."""
    install: bool = False
    """Put learned routes into the kernel of its host (GoBGP cannot)."""
    extra: str = ""
    """Appended to the configuration (FRR: inside `router bgp`; BIRD and GoBGP: at top level)."""


@dataclasses.dataclass(frozen=True, slots=True)
class Learned:
    """A route as the foreign speaker's own tool shows it."""

    prefix: str
    next_hop: str
    as_path: tuple[int, ...]
    stale: bool
    """Kept over our restart."""
    raw: Any
    """The tool's whole answer: text of birdc, JSON of the others."""


class Peer(Protocol):
    """What the three have in common."""

    host: namespace.Host
    speaker: Speaker
    process: process.Process

    def start(self) -> None:
        """Start it and wait until its tool answers."""

    def established(self, address: str) -> bool:
        """Whether the session with that neighbour is up."""

    def learned(self, prefix: str) -> Learned | None:
        """The best path it has for a prefix, however learned, or None."""

    def announce(self, prefix: str) -> None:
        """Originate one more prefix."""

    def withdraw(self, prefix: str) -> None:
        """Take it back."""

    def stop(self) -> None:
        """End it in good order (it may say Cease)."""

    def kill(self) -> None:
        """SIGKILL: the kernel closes its sockets, nobody says Cease."""


def wait_established(peer: Peer, address: str, *, timeout: float = 30.0) -> None:
    """Wait for the session as the foreign side sees it."""
    name = f"{type(peer).__name__} on {peer.host.name} to reach Established with {address}"
    try:
        namespace.wait_until(lambda: peer.established(address), name, timeout=timeout)
    except namespace.LabError as error:
        raise namespace.LabError(f"{error}\n{peer.process.tail()}") from None


def wait_learned(peer: Peer, prefix: str, *, timeout: float = 30.0) -> Learned:
    """Wait until the foreign side has a path for the prefix."""
    what = f"{type(peer).__name__} on {peer.host.name} to learn {prefix}"
    found = namespace.wait_until(lambda: peer.learned(prefix), what, timeout=timeout)
    assert found is not None
    return found


def wait_forgotten(peer: Peer, prefix: str, *, timeout: float = 30.0) -> None:
    """Wait until the foreign side has no path for the prefix any more."""
    what = f"{type(peer).__name__} on {peer.host.name} to lose {prefix}"
    namespace.wait_until(lambda: peer.learned(prefix) is None, what, timeout=timeout)


def family(prefix: str) -> str:
    """The family's name as all three tools spell it."""
    return "ipv6" if ":" in prefix else "ipv4"
