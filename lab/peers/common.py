"""What the foreign speakers have in common: their configuration, their face, waiting for them."""

from __future__ import annotations

import dataclasses
from typing import Any, Protocol

from lab import namespace, process


class Unsupported(namespace.LabError):
    """The daemon does not have what is asked of it; the message says what."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Neighbor:
    """A neighbour of the foreign speaker. Times in seconds."""

    address: str
    """Either family: it is also that of the transport."""
    remote_as: int
    passive: bool = False
    hold_time: int = 9
    graceful_restart: bool = True
    restart_time: int = 30
    """What the daemon announces as its own restart time."""
    local_address: str = ""
    """The daemon's own end; empty leaves the choice to the kernel."""
    password: str = ""
    """TCP MD5 (RFC 2385); empty is none."""
    ttl_security: bool = False
    """GTSM (RFC 5082) for a neighbour on the same wire."""
    multihop: int = 1
    """Hops to an eBGP neighbour."""
    add_path: bool = False
    """Send all paths of each prefix, and take several (RFC 7911)."""
    extended_next_hop: bool = False
    """IPv4 prefixes with IPv6 next hops (RFC 8950)."""
    extended_messages: bool = False
    """RFC 8654, for daemons that offer it only when told to."""
    max_prefixes: int = 0
    """Per family; more end the session. 0 is no limit."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Originated:
    """A prefix that a foreign speaker announces, with attributes of its own."""

    prefix: str
    next_hop: str = ""
    """Empty is the daemon itself."""
    communities: tuple[str, ...] = ()
    """RFC 1997, each as "64513:1"."""
    large_communities: tuple[str, ...] = ()
    """RFC 8092, each as "64513:1:2"."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Speaker:
    """How a foreign speaker is configured."""

    local_as: int
    router_id: str
    neighbors: tuple[Neighbor, ...]
    originate: tuple[str | Originated, ...] = ()
    """Announced from the start, either family, also many. A prefix that stands twice
    has two paths, where the daemon can originate that."""
    ipv6: bool = False
    """Negotiate IPv6 unicast too."""
    install: bool = False
    """Put learned routes into the kernel of its host (GoBGP and ExaBGP cannot)."""
    extra: str = ""
    """Appended to the configuration (FRR: inside `router bgp`; the others: at top level)."""

    @property
    def originated(self) -> list[Originated]:
        """`originate`, all of one type."""
        return [originated(one) for one in self.originate]


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
    communities: frozenset[str] = frozenset()
    """RFC 1997, each as "64512:1"."""
    large_communities: frozenset[str] = frozenset()
    """RFC 8092, each as "64512:1:2"."""
    med: int | None = None
    local_pref: int | None = None


class Peer(Protocol):
    """What they have in common. Addresses are those of the daemon's neighbours."""

    host: namespace.Host
    speaker: Speaker
    process: process.Process

    def start(self, *, restarting: bool = False) -> None:
        """Start it and wait until its tool answers.

        Args:
            restarting: it comes back after `kill`, for the daemons that want to be told.
        """

    def established(self, address: str) -> bool:
        """Whether the session with that neighbour is up."""

    def learned(self, prefix: str) -> Learned | None:
        """The best path it has for a prefix, if it came from a neighbour."""

    def count(self, address: str, family: str) -> int:
        """How many prefixes of a family ("ipv4", "ipv6") it has from a neighbour."""

    def capabilities(self, address: str) -> frozenset[str]:
        """What the neighbour's OPEN offered, as far as the daemon shows it.

        In the words of the registry: `4-octet-as`, `route-refresh`, `enhanced-route-refresh`,
        `extended-message`, `extended-next-hop`, `add-path`, `graceful-restart`.
        """

    def updates(self, address: str) -> int:
        """How many routes or UPDATEs it has had from a neighbour, as it counts: grows with each."""

    def notification(self, address: str) -> str:
        """The last NOTIFICATION between it and the neighbour in the daemon's words, or empty."""

    def announce(self, prefix: str | Originated) -> None:
        """Originate one more prefix."""

    def withdraw(self, prefix: str) -> None:
        """Take it back."""

    def refresh(self, address: str) -> None:
        """Ask a neighbour for its routes again: ROUTE-REFRESH (RFC 2918).

        Raises:
            Unsupported: the daemon never asks.
        """

    def reset(self, address: str) -> None:
        """End the session with a neighbour; it comes back by itself."""

    def stop(self) -> None:
        """End it in good order (it may say Cease)."""

    def kill(self) -> None:
        """SIGKILL: the kernel closes its sockets, nobody says Cease."""


def originated(one: str | Originated) -> Originated:
    """A plain prefix is one without attributes."""
    return one if isinstance(one, Originated) else Originated(prefix=one)


def last_line(process_: process.Process, *words: str) -> str:
    """The last line of a log that has all of these words; empty if none has."""
    lines = reversed(process_.output().splitlines())
    return next((line for line in lines if all(word in line for word in words)), "")


def own_address(host: namespace.Host, family: str) -> str:
    """A host's first global address of a family.

    Raises:
        namespace.LabError: it has none.
    """
    name = {"ipv4": "inet", "ipv6": "inet6"}[family]
    for link in host.links().values():
        for address in link["addr_info"]:
            if address["family"] == name and address["scope"] == "global":
                found: str = address["local"]
                return found
    raise namespace.LabError(f"{host.name} has no {family} address")


def family(prefix: str) -> str:
    """The family of a prefix or an address, as most of the tools spell it."""
    return "ipv6" if ":" in prefix else "ipv4"


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


def wait_count(
    peer: Peer, address: str, family: str, number: int, *, timeout: float = 30.0
) -> None:
    """Wait until the foreign side has so many prefixes of a neighbour."""
    what = f"{type(peer).__name__} on {peer.host.name} to have {number} {family} prefixes"
    namespace.wait_until(lambda: peer.count(address, family) == number, what, timeout=timeout)
