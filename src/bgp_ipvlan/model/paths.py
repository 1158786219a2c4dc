"""What BGP learns, and what we announce."""

from __future__ import annotations

import dataclasses

from bgp_ipvlan.model.addresses import Address, Family, Interface, Nlri, Prefix

GRACEFUL_SHUTDOWN = 0xFFFF0000
"""The community 65535:0 (RFC 8326): this path is about to go, prefer any other."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Path:
    """What a batch of learned prefixes has in common."""

    neighbor: Address
    next_hop: Address
    """May be of the other family: IPv4 prefixes with an IPv6 next hop (RFC 8950)."""
    link_local: Address | None = None
    """The link-local next hop that came beside an IPv6 one (RFC 2545 section 3)."""
    path_id: int = 0
    """Which of several paths of this neighbour (RFC 7911); 0 without ADD-PATH."""
    origin: int = 0
    """0 IGP, 1 EGP, 2 INCOMPLETE."""
    as_path: tuple[int, ...] = ()
    """All AS numbers in it, those of sets too."""
    as_path_length: int = 0
    """As RFC 4271 section 9.1.2.2 counts: a set is one."""
    med: int | None = None
    local_pref: int = 100
    communities: tuple[int, ...] = ()
    large_communities: tuple[tuple[int, int, int], ...] = ()
    extended_communities: tuple[int, ...] = ()
    """RFC 4360, each as its eight octets read as one number."""
    originator_id: int | None = None
    cluster_list: tuple[int, ...] = ()
    ebgp: bool = False
    router_id: int = 0
    """The neighbour's BGP identifier."""
    recursive: bool = False
    """As the neighbour is configured: the next hop may be reached by a route of others."""


@dataclasses.dataclass(frozen=True, slots=True)
class Gateway:
    """A next hop as BGP has it, before it is looked for on our links."""

    next_hop: Address
    link_local: Address | None = None
    """The link-local one that came beside it."""
    neighbor: Address | None = None
    """Whose link a link-local one is on (RFC 2545 section 3)."""
    recursive: bool = False
    """Where it is on none of our links, a route of others may lead to it (D10)."""

    @staticmethod
    def of(path: Path) -> Gateway:
        """That of a path."""
        local = path.next_hop.version == 6 and path.next_hop.is_link_local
        if path.link_local is None and not local:
            return Gateway(path.next_hop, recursive=path.recursive)
        return Gateway(path.next_hop, path.link_local, path.neighbor, path.recursive)


@dataclasses.dataclass(frozen=True, slots=True)
class BestPaths:
    """The best paths of some prefixes changed: one attribute set, many prefixes (D2)."""

    family: Family
    paths: tuple[Path, ...]
    """Best first, further ones equal to it (ECMP); empty when no path is left."""
    prefixes: list[Nlri]


@dataclasses.dataclass(frozen=True, slots=True)
class Refusal:
    """A learned path that does not take part in the decision."""

    family: Family
    prefix: Nlri
    path: Path
    reason: str
    """A reason code: `import-policy`, `as-loop`, …"""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Announcement:
    """One prefix of ours, with the attributes it goes out with."""

    prefix: Prefix
    next_hop: Address
    """The parent's primary global address of the family; an IPv6 one for an IPv4 prefix where
    the parent has no IPv4 (RFC 8950), which only neighbours that can take it are told."""
    on_link: tuple[Interface, ...] = ()
    """All addresses of the parent, of that family and link-local IPv6 ones."""
    fixed_next_hop: Address | None = None
    """`-o bgp.next_hop`: instead of ours, to every neighbour."""
    communities: tuple[int, ...] = ()
    large_communities: tuple[tuple[int, int, int], ...] = ()
    med: int | None = None
    local_pref: int | None = None
    """None is the default, 100; only iBGP neighbours are told (RFC 4271 section 5.1.5)."""
    prepend: int = 0
    """How many times more our AS number is put into AS_PATH, towards eBGP neighbours."""

    def next_hop_for(self, neighbor: Address) -> Address:
        """NEXT_HOP towards one neighbour (D12).

        Our address in its subnet, else `next_hop`. What the administrator fixed goes before.
        """
        if self.fixed_next_hop is not None:
            return self.fixed_next_hop
        for interface in self.on_link:
            same = interface.version == self.next_hop.version
            if same and neighbor in interface.network and not interface.ip.is_link_local:
                return interface.ip
        return self.next_hop

    def link_local_for(self, neighbor: Address) -> Address | None:
        """The link-local next hop to send beside an IPv6 one, where the neighbour is on-link.

        RFC 2545 section 3: only if it shares a subnet with the next hop's interface.
        """
        if self.fixed_next_hop is not None or self.next_hop.version != 6:
            return None
        own = [one.ip for one in self.on_link if one.version == 6 and one.ip.is_link_local]
        shared = any(neighbor in one.network for one in self.on_link)
        return own[0] if own and shared else None


@dataclasses.dataclass(frozen=True, slots=True)
class Delivery:
    """How far an announcement has come: for the start gate."""

    established: int
    """Neighbours with a session that takes these prefixes."""
    waiting: tuple[Address, ...]
    """Those of them whose sockets have not taken it yet."""
    nobody: str = ""
    """Why nobody takes them, where that is not for want of a session; a clause for the user."""
