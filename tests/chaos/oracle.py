"""What the kernel must hold, worked out from what neighbours say and what is around us. Pure.

Written apart from `bgp_ipvlan`, from D10 in docs/design.md and RFC 4271 section 9.1.2: slow and
plain, a prefix at a time, nothing remembered.
"""

from __future__ import annotations

import dataclasses
import ipaddress
from collections.abc import Collection, Iterator, Mapping, Sequence

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Prefix = ipaddress.IPv4Network | ipaddress.IPv6Network
Hop = tuple[str, str]
"""Gateway and device."""
Route = frozenset[Hop]
BLACKHOLE: Route = frozenset()
"""Beneath what we announce."""
_MARTIANS = [
    ipaddress.ip_network(text)
    for text in (
        *("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3"),
        *("::/96", "::ffff:0:0/96", "fe80::/10", "ff00::/8"),
    )
]


@dataclasses.dataclass(frozen=True, slots=True)
class Path:
    """What one neighbour says of one prefix. All AS_PATHs are of one length here."""

    neighbor: Address
    next_hop: Address
    link_local: Address | None = None
    local_pref: int = 100
    session: Address | None = None
    """Our own address on the session."""


@dataclasses.dataclass(frozen=True, slots=True)
class Interface:
    """A link of the host."""

    name: str
    works: bool
    """Up, with a carrier."""
    addresses: tuple[ipaddress.IPv4Interface | ipaddress.IPv6Interface, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Around:
    """What a route depends on besides the paths."""

    interfaces: Sequence[Interface]
    foreign: Collection[tuple[Prefix, int]]
    """Prefix and metric of routes in the main table that are not ours."""
    own: Collection[Prefix] = ()
    """Subnets that this host announces."""
    metric: int = 17900

    def is_own(self, address: Address) -> bool:
        """Whether an address is the host's."""
        return any(address == a.ip for one in self.interfaces for a in one.addresses)

    def device(self, gateway: Address) -> str | None:
        """The link that a gateway is on."""
        for one in self.interfaces:
            for address in one.addresses if one.works else ():
                # A host address says nothing about who else is on the wire.
                alone = address.network.prefixlen == address.max_prefixlen
                if gateway in address.network and not alone:
                    return one.name
        return None


@dataclasses.dataclass(frozen=True, slots=True)
class Expected:
    """What must be."""

    routes: dict[Prefix, Route]
    refused: dict[Prefix, set[str]]
    """Prefixes whose paths make no route, with every reason that holds."""


def expected(paths: Mapping[Prefix, Collection[Path]], around: Around) -> Expected:
    """The routes that must be in the main table with our protocol and metric, and no others.

    Args:
        paths: all that neighbours say, or said before a graceful restart.
        around: links, addresses, others' routes.
    """
    found = Expected({}, {})
    taken = {prefix for prefix, _ in around.foreign}
    for prefix, candidates in paths.items():
        hops, reasons = _best(candidates, around)
        reasons |= set(_guards(prefix, around))
        if prefix in taken:
            reasons.add("foreign-route")
        if prefix in around.own and any(around.is_own(path.next_hop) for path in candidates):
            reasons.add("own-echo")
        if hops and not reasons:
            found.routes[prefix] = hops
        else:
            found.refused[prefix] = reasons
    for prefix in around.own:
        if (prefix, around.metric) not in around.foreign:
            found.routes[prefix] = BLACKHOLE
    return found


def hop(path: Path, around: Around) -> Hop | str:
    """Where a path leads, or the reason code why nowhere."""
    given, local = path.next_hop, path.link_local
    if around.is_own(given):
        return "nexthop-own"
    if given.version == 6 and given.is_link_local:
        local = given
    elif (device := around.device(given)) is not None:
        return str(given), device
    if local is None:
        return "nexthop-offlink"
    if around.is_own(local):
        return "nexthop-own"
    # RFC 2545 section 3: it is on the link that the neighbour is on.
    device = around.device(path.neighbor)
    return (str(local), device) if device is not None else "nexthop-offlink"


def _best(candidates: Collection[Path], around: Around) -> tuple[Route, set[str]]:
    """The next hops of the best paths; where none can be used, why."""
    kept = [path for path in candidates if path.next_hop != path.session]
    found = [(path.local_pref, hop(path, around)) for path in kept]
    usable = [(pref, one) for pref, one in found if not isinstance(one, str)]
    if not usable:
        refused = {"nexthop-own"} if len(kept) < len(candidates) else set()
        return frozenset(), refused | {one for _, one in found if isinstance(one, str)}
    most = max(pref for pref, _ in usable)
    return frozenset(one for pref, one in usable if pref == most), set()


def _guards(prefix: Prefix, around: Around) -> Iterator[str]:
    """Why a prefix is refused whatever its path (D10)."""
    if any(_inside(prefix, connected) for connected in _connected(around)):
        yield "connected-overlap"
    if any(_inside(prefix, own) for own in around.own):
        yield "duplicate-prefix" if prefix in around.own else "own-prefix"
    if prefix.prefixlen == 0:
        yield "default-route"
    elif any(_inside(prefix, martian) for martian in _MARTIANS):
        yield "martian"


def _connected(around: Around) -> Iterator[Prefix]:
    for one in around.interfaces:
        if one.name != "lo":
            yield from (a.network for a in one.addresses if not a.ip.is_link_local)


def _inside(prefix: Prefix, other: Prefix) -> bool:
    if isinstance(prefix, ipaddress.IPv4Network):
        return isinstance(other, ipaddress.IPv4Network) and prefix.subnet_of(other)
    return isinstance(other, ipaddress.IPv6Network) and prefix.subnet_of(other)
