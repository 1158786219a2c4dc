"""What the kernel must have at rest, worked out from design.md (D9, D10, D13) in the plainest way.

One prefix at a time, with `ipaddress` and nothing of `plan`: that is what it is compared with.
"""

from __future__ import annotations

import dataclasses
import ipaddress
from collections.abc import Iterable, Mapping

from bgp_ipvlan import model, ownership
from tests.fakes.kernel import Hops, Shown

MARTIANS = [
    ipaddress.ip_network(text)
    for text in (
        *("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3"),
        *("::/96", "::ffff:0:0/96", "fe80::/10", "ff00::/8"),
    )
]
_NOBODY = ipaddress.ip_address("203.0.113.99")
_MARK, _STRETCHED, _HOST = (179, 17900), (179, 17901), 17900


@dataclasses.dataclass(frozen=True)
class Facts:
    """All there is to know."""

    links: Mapping[str, model.Link]
    networks: tuple[model.Network, ...]
    endpoints: tuple[model.Endpoint, ...]
    learned: Mapping[model.Family, Mapping[model.Nlri, tuple[model.Path, ...]]]
    foreign: Mapping[model.Table, model.Foreign]
    identity: ownership.Identity


@dataclasses.dataclass
class Expected:
    """What follows."""

    routes: dict[tuple[int, model.Prefix], Shown]
    """By table and prefix."""
    refused: dict[model.Prefix, set[str]]
    """The reasons that are right: all of them hold, and one is told."""
    announced: set[model.Prefix]


def expected(facts: Facts) -> Expected:
    """Everything."""
    found = Expected({}, {}, set())
    for network in facts.networks:
        _own(facts, network, found)
    for family, by_prefix in facts.learned.items():
        for key, paths in by_prefix.items():
            _learned(facts, model.prefix(family, key), paths, found)
    for (table, prefix), _ in tuple(found.routes.items()):
        if ownership.ROUTE_METRIC in _foreign(facts, table, prefix):
            del found.routes[table, prefix]
    return found


def _foreign(facts: Facts, table: int, prefix: model.Prefix) -> dict[int, model.ForeignRoute]:
    where = model.Family.of(prefix), table
    return facts.foreign.get(where, {}).get(model.nlri(prefix), {})


# --- ours -------------------------------------------------------------------------------------


def _joined(facts: Facts, network: model.Network) -> list[model.Prefix]:
    return [
        ipaddress.ip_network(address.ip)
        for endpoint in facts.endpoints
        if endpoint.network_id == network.id and endpoint.joined
        for address in endpoint.addresses
    ]


def _told(network: model.Network) -> tuple[bool, bool]:
    """Whether the subnets are announced, and the containers' addresses."""
    if network.internal:
        return False, False
    how = network.advertise
    subnet = how in {model.Advertise.SUBNET, model.Advertise.BOTH}
    return subnet, how in {model.Advertise.ENDPOINT, model.Advertise.BOTH}


def _own(facts: Facts, network: model.Network, found: Expected) -> None:
    parent = facts.links.get(network.parent)
    table = (parent.table if parent else 0) or model.MAIN
    subnets, hosts = _told(network)
    usable = parent is not None and parent.up and parent.running and bool(parent.addresses)
    shim = facts.links.get(ownership.link_name(network.id))
    for subnet in network.subnets:
        if subnets:
            found.routes[table, subnet.prefix] = model.Blackhole()
            found.announced |= {subnet.prefix} if usable else set()
    for host in _joined(facts, network):
        if hosts:
            found.announced |= {host} if usable else set()
        gateway = next((s.gateway for s in network.subnets if host.subnet_of(s.prefix)), None)  # type: ignore[arg-type]
        if network.host_access and not network.internal and shim and shim.up and gateway:
            found.routes[table, host] = model.Device(shim.index, gateway)
        elif hosts and not subnets:
            found.routes[table, host] = model.Blackhole()


# --- learned ----------------------------------------------------------------------------------


def _learned(
    facts: Facts, prefix: model.Prefix, paths: tuple[model.Path, ...], found: Expected
) -> None:
    # The order of equal paths means nothing; where they are in several tables the first decides.
    equal = sorted(paths, key=lambda path: (path.next_hop.version, str(path.next_hop)))
    hops = [_hop(facts, path) for path in equal]
    usable = [hop for hop in hops if isinstance(hop, model.NextHop)]
    table = _table(facts, usable[0]) if usable else model.MAIN
    same_prefix, inside = _same(facts, prefix, paths), _inside(facts, prefix)
    taken = "foreign-route" if _foreign(facts, table, prefix) else None
    if same_prefix or not usable:
        found.refused[prefix] = {same_prefix or str(hops[0])}
        if same_prefix == "own-echo" or any(hop == "nexthop-offlink" for hop in hops):
            # Our address may have come or gone since: it is ours, and stays so, either way.
            found.refused[prefix] |= {"own-echo", *_claimed(facts, prefix)}
        if not same_prefix:
            # Not decided anew when the next hop goes of what was refused before.
            elsewhere = facts.foreign.keys() if facts.foreign else ()
            foreign = any(_foreign(facts, number, prefix) for _, number in elsewhere)
            found.refused[prefix] |= {"nexthop-own", "nexthop-offlink", inside or ""}
            found.refused[prefix] |= {"foreign-route"} if foreign else set()
        return
    if inside or taken:
        found.refused[prefix] = {inside or str(taken)}
        return
    same = {hop for hop in usable if _table(facts, hop) == table}
    found.routes[table, prefix] = Hops(
        tuple(sorted(same, key=lambda hop: (int(hop.gateway), hop.ifindex)))
    )


def _table(facts: Facts, hop: model.NextHop) -> int:
    return next(link.table for link in facts.links.values() if link.index == hop.ifindex) or (
        model.MAIN
    )


def _addresses(facts: Facts) -> Iterable[tuple[model.Link, model.Interface]]:
    return ((link, address) for link in facts.links.values() for address in link.addresses)


def _hop(facts: Facts, path: model.Path) -> model.NextHop | str:
    if any(address.ip == path.next_hop for _, address in _addresses(facts)):
        return "nexthop-own"
    for link, address in _addresses(facts):
        wire = address.network.num_addresses > 1
        if link.up and link.running and wire and path.next_hop in address.network:
            return model.NextHop(path.next_hop, link.index)
    return "nexthop-offlink"


def _same(facts: Facts, prefix: model.Prefix, paths: tuple[model.Path, ...]) -> str | None:
    """The very prefix is one of ours: who is right."""
    mine = {address.ip for _, address in _addresses(facts)}
    others = [p for p in paths if p.next_hop not in mine and not _echo(facts, p)]
    for network in facts.networks:
        subnets, hosts = _told(network)
        claims: dict[model.Prefix, str] = {}
        for subnet in network.subnets:
            claims[subnet.prefix] = "both" if subnets and hosts else "open" if hosts else "closed"
            if subnet.gateway and network.host_access and not network.internal:
                claims[ipaddress.ip_network(subnet.gateway)] = "gateway"
        if subnets or hosts:
            claims |= dict.fromkeys(_joined(facts, network), "closed")
        claim = claims.get(prefix)
        if claim is None:
            continue
        if not others:
            return "own-echo"
        marks = {community[1:] for community in others[0].large_communities}
        if claim == "gateway":
            return "own-prefix"
        if claim == "both" and _STRETCHED in marks:
            return "shared-prefix"
        if claim == "open" and not (_MARK in marks and _STRETCHED not in marks):
            return None
        return "duplicate-prefix"
    return None


def _claimed(facts: Facts, prefix: model.Prefix) -> set[str]:
    """What is said of others' paths for this very prefix."""
    other = model.Path(neighbor=_NOBODY, next_hop=_NOBODY)
    reason = _same(facts, prefix, (other,))
    return {reason, "shared-prefix"} if reason else set()


def _echo(facts: Facts, path: model.Path) -> bool:
    hosts = {c for c in path.large_communities if c[1] == _HOST}
    return hosts == {(facts.identity.local_as, _HOST, facts.identity.router_id)}


def _inside(facts: Facts, prefix: model.Prefix) -> str | None:
    """It lies where nothing may be learned."""

    def within(networks: Iterable[model.Prefix]) -> bool:
        return any(
            one.version == prefix.version and one.prefixlen and prefix.subnet_of(one)  # type: ignore[arg-type]
            for one in networks
        )

    wires = [a.network for link, a in _addresses(facts) if link.kind != "ipvlan"]
    if within(wires):
        return "connected-overlap"
    closed = [n for n in facts.networks if not _told(n)[1]]
    if within(subnet.prefix for network in closed for subnet in network.subnets):
        return "own-prefix"
    if prefix.prefixlen == 0:
        return "default-route"
    return "martian" if within(MARTIANS) else None
