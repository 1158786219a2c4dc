"""From our networks and endpoints to what we announce and route for them. Pure.

Every prefix that we announce has a route of ours beneath it, as long as the world may send
us its packets: else one for an address that nobody has follows our default route back to the
router that sent it. For a subnet (`subnet`, `both`) that is a blackhole: other hosts' parts of
it are more specific routes.

With `endpoint` alone the subnet is not ours, and gets none. A host need not learn its
neighbours' host routes (a default route to the switch will do), and a blackhole would then cut it
off from every container elsewhere. An address that nobody has follows the default route like
any other, and does not come back, since nobody announced it. What could come back is what we
do announce: so each container's address has a route of its own, to the shim or a blackhole,
and that blackhole stays some seconds after a Leave (`origin`), until nobody sends here any more.
"""

from __future__ import annotations

import dataclasses
import functools
import ipaddress
from collections.abc import Iterable, Mapping

from bgp_ipvlan import model, ownership
from bgp_ipvlan.plan.claims import Claim, Key


@dataclasses.dataclass(frozen=True, slots=True)
class Own:
    """All that follows from one network."""

    announcements: dict[model.Prefix, model.Announcement]
    routes: dict[Key, model.RouteValue]
    claims: dict[Key, Claim]
    closed: tuple[model.Prefix, ...]
    """Prefixes inside which nothing is learned (D10, `own-prefix`)."""
    notes: dict[model.Prefix, str]
    """Why a subnet is not announced: a reason code."""
    table: int = model.MAIN
    """The routing table of `routes`: the one that packets from the parent are looked up in."""


NOTHING = Own({}, {}, {}, (), {})


def of(
    network: model.Network,
    endpoints: Iterable[model.Endpoint],
    links: Mapping[str, model.Link],
    identity: ownership.Identity,
    *,
    table: int = model.MAIN,
) -> Own:
    """Work out one network.

    Args:
        network: the network.
        endpoints: its endpoints.
        links: the host's links by name, as they are now.
        identity: for the communities that mark what we announce.
        table: the routing table for links outside any VRF.
    """
    parent = links.get(network.parent)
    joined = hosts(endpoint for endpoint in endpoints if endpoint.joined)
    subnets = [subnet.prefix for subnet in network.subnets]
    wanted: list[model.Prefix] = []
    if network.announced and network.advertise.subnets:
        wanted += subnets
    if stretched(network):
        wanted += joined
    makers = _makers(network, parent, identity)
    announcements = {}
    for prefix in wanted:
        make = makers[model.Family.of(prefix)]
        if not isinstance(make, str):
            announcements[prefix] = make(prefix=prefix)
    return Own(
        announcements,
        _routes(network, joined, links),
        _claims(network, joined),
        closed(network),
        dict(_notes(network, makers)),
        parent.table or table if parent else table,
    )


def hosts(endpoints: Iterable[model.Endpoint]) -> list[model.Prefix]:
    """The host prefix, /32 or /128, of each address of some endpoints."""
    return [_host(address) for endpoint in endpoints for address in endpoint.addresses]


def stretched(network: model.Network) -> bool:
    """Whether other hosts may have parts of this network's subnets."""
    return network.announced and network.advertise.endpoints


def closed(network: model.Network) -> tuple[model.Prefix, ...]:
    """The subnets of a network that are this host's alone."""
    return () if stretched(network) else tuple(subnet.prefix for subnet in network.subnets)


def shim(network: model.Network) -> model.SlaveSpec:
    """The host's own slave of a network: holds the gateway addresses (D9)."""
    return model.SlaveSpec(
        name=ownership.link_name(network.id),
        alias=ownership.link_alias(network.id),
        parent=network.parent,
        mode=network.mode,
        flag=network.flag,
        mtu=network.mtu,
        # A host address: its prefix would be a connected route that bypasses the blackhole.
        addresses=tuple(ipaddress.ip_interface(s.gateway) for s in network.subnets if s.gateway),
        up=True,
        # Where the parent's packets are looked up, or no answer of the host's finds its way.
        in_vrf=True,
    )


def slave(network: model.Network, endpoint: model.Endpoint) -> model.SlaveSpec:
    """The link that becomes a container's interface; Docker addresses it and sets it up."""
    return model.SlaveSpec(
        name=ownership.link_name(endpoint.id),
        alias=ownership.link_alias(endpoint.id),
        parent=network.parent,
        mode=network.mode,
        flag=network.flag,
        mtu=network.mtu,
    )


def next_hop(
    parent: model.Link | None, family: model.Family
) -> tuple[model.Address | None, tuple[model.Interface, ...]] | str:
    """The parent's address that others can send to (D12).

    Its first one of the family; where it has none, an IPv6 one serves IPv4 prefixes as well
    (RFC 8950).

    Returns:
        The address or None, with all addresses of that family and all link-local IPv6 ones; or
        the reason code why nobody can send to this parent now.
    """
    if parent is None:
        return "parent-missing"
    if not (parent.up and parent.running):
        return "parent-down"
    for one in dict.fromkeys((family, model.Family.IPV6)):
        usable = [
            address
            for address in parent.addresses
            if model.Family.of(address) is one and not address.ip.is_link_local
        ]
        if usable:
            local = [a for a in parent.addresses if a.version == 6 and a.ip.is_link_local]
            return usable[0].ip, (*usable, *local)
    return None, ()


_Makers = Mapping[model.Family, functools.partial[model.Announcement] | str]
"""For each family what makes an announcement of a prefix, or the reason why none is made."""


def _makers(
    network: model.Network, parent: model.Link | None, identity: ownership.Identity
) -> _Makers:
    bgp = network.bgp
    marks = identity.marks(stretched=stretched(network))
    makers: dict[model.Family, functools.partial[model.Announcement] | str] = {}
    for family in model.Family:
        found = next_hop(parent, family)
        if isinstance(found, str):
            makers[family] = found
            continue
        address, on_link = found
        fixed = _fixed(bgp.next_hops, family, address)
        hop = fixed if address is None else address
        if hop is None:
            makers[family] = "no-nexthop"
            continue
        makers[family] = functools.partial(
            model.Announcement,
            next_hop=hop,
            on_link=on_link,
            fixed_next_hop=fixed,
            communities=bgp.communities,
            large_communities=(*marks, *bgp.large_communities),
            med=bgp.med,
            local_pref=bgp.local_pref,
            prepend=bgp.prepend,
        )
    return makers


def _fixed(
    given: Iterable[model.Address], family: model.Family, instead_of: model.Address | None
) -> model.Address | None:
    """What the administrator gave for a family; an IPv6 one for IPv4 where that has to do."""
    by_family = {model.Family.of(address): address for address in given}
    found = by_family.get(family)
    if found is None and (instead_of is None or model.Family.of(instead_of) is not family):
        found = by_family.get(model.Family.IPV6)
    return found


def _notes(network: model.Network, makers: _Makers) -> Iterable[tuple[model.Prefix, str]]:
    for subnet in network.subnets:
        make = makers[model.Family.of(subnet.prefix)]
        if network.internal:
            yield subnet.prefix, "internal"
        elif not network.announced:
            yield subnet.prefix, "advertise-none"
        elif isinstance(make, str):
            yield subnet.prefix, make
        elif not network.advertise.subnets:
            yield subnet.prefix, "advertise-endpoint"


def _routes(
    network: model.Network, joined: Iterable[model.Prefix], links: Mapping[str, model.Link]
) -> dict[Key, model.RouteValue]:
    """What lies beneath our prefixes, and the way to local endpoints.

    The latter is one /32 or /128 each to the shim (D9), not the subnet: `prefix dev shim` has
    the blackhole's own key, and with a better metric a packet for an unassigned address would
    go round between host and router (kernel sheet, section 3).
    """
    routes: dict[Key, model.RouteValue] = {}
    if network.announced and network.advertise.subnets:
        routes |= {_key(subnet.prefix): model.Blackhole() for subnet in network.subnets}
    alone = stretched(network) and not network.advertise.subnets
    shim = links.get(ownership.link_name(network.id))
    gateways: dict[model.Family, model.Address] = {}
    if network.shim and shim is not None and shim.up:
        gateways = {model.Family.of(s.prefix): s.gateway for s in network.subnets if s.gateway}
    for host in joined:
        source = gateways.get(model.Family.of(host))
        if source is not None and shim is not None:
            routes[_key(host)] = model.Device(shim.index, source)
        elif alone:
            # Packets for a container never come so far: its ipvlan link takes them before.
            routes[_key(host)] = model.Blackhole()
    return routes


def _claims(network: model.Network, joined: Iterable[model.Prefix]) -> dict[Key, Claim]:
    claim = Claim.CLOSED
    if stretched(network):
        claim = Claim.SHARED if network.advertise.subnets else Claim.OPEN
    claims = {_key(subnet.prefix): claim for subnet in network.subnets}
    if network.shim:
        gateways = [s.gateway for s in network.subnets if s.gateway is not None]
        claims |= {_key(ipaddress.ip_network(gateway)): Claim.GATEWAY for gateway in gateways}
    if network.announced:
        claims |= dict.fromkeys(map(_key, joined), Claim.HOST)
    return claims


# A Join works the whole network out anew: a thousand endpoints, of which one is.
@functools.lru_cache(1 << 16)
def _host(address: model.Interface) -> model.Prefix:
    return ipaddress.ip_network(address.ip)


@functools.lru_cache(1 << 16)
def _key(prefix: model.Prefix) -> Key:
    return model.Family.of(prefix), model.nlri(prefix)
