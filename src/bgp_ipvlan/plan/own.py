"""From our networks and endpoints to what we announce and route for them. Pure."""

from __future__ import annotations

import dataclasses
import ipaddress
from collections.abc import Iterable, Mapping

from bgp_ipvlan import model, ownership

Key = tuple[model.Family, model.Nlri]


@dataclasses.dataclass(frozen=True, slots=True)
class Own:
    """All that follows from one network."""

    announcements: dict[model.Prefix, model.Announcement]
    routes: dict[Key, model.RouteValue]
    guarded: tuple[model.Prefix, ...]
    """Prefixes inside which nothing is learned (D10, `own-prefix`)."""
    notes: dict[model.Prefix, str]
    """Why a subnet is not announced: a reason code."""


NOTHING = Own({}, {}, (), {})


def of(
    network: model.Network,
    endpoints: Iterable[model.Endpoint],
    links: Mapping[str, model.Link],
    local_as: int,
) -> Own:
    """Work out one network.

    Args:
        network: the network.
        endpoints: its endpoints.
        links: the host's links by name, as they are now.
        local_as: for the community that marks our prefixes.
    """
    announcements: dict[model.Prefix, model.Announcement] = {}
    notes: dict[model.Prefix, str] = {}
    routes: dict[Key, model.RouteValue] = {}
    mark = (local_as, *ownership.COMMUNITY_MARK)
    parent = links.get(network.parent)
    for subnet in network.subnets:
        if not network.announced:
            notes[subnet.prefix] = "internal" if network.internal else "advertise-none"
            continue
        # The blackhole is there before and as long as the world may send us this prefix,
        # whatever the parent does: without it an unassigned address follows our default
        # route back to the router that sent it.
        routes[_key(subnet.prefix)] = model.Blackhole()
        found = next_hops(parent, model.Family.of(subnet.prefix))
        if isinstance(found, str):
            notes[subnet.prefix] = found
            continue
        announcements[subnet.prefix] = model.Announcement(
            prefix=subnet.prefix, next_hop=found[0].ip, on_link=found, large_communities=(mark,)
        )
    routes.update(_host_routes(network, endpoints, links))
    return Own(announcements, routes, tuple(s.prefix for s in network.subnets), notes)


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


def next_hops(parent: model.Link | None, family: model.Family) -> tuple[model.Interface, ...] | str:
    """Addresses of the parent that others can send to, primary first; or a reason code (D12)."""
    if parent is None:
        return "parent-missing"
    if not (parent.up and parent.running):
        return "parent-down"
    usable = tuple(
        address
        for address in parent.addresses
        if model.Family.of(address) is family and not address.ip.is_link_local
    )
    return usable or "no-nexthop"


def _host_routes(
    network: model.Network,
    endpoints: Iterable[model.Endpoint],
    links: Mapping[str, model.Link],
) -> dict[Key, model.RouteValue]:
    """One /32 or /128 per local endpoint to the shim (D9).

    Not the prefix: `prefix dev shim` has the blackhole's own key, and with a better metric
    a packet for an unassigned address would go round between host and router (kernel sheet,
    section 3).
    """
    shim = links.get(ownership.link_name(network.id))
    if not network.shim or shim is None or not shim.up:
        return {}
    gateways = {model.Family.of(s.prefix): s.gateway for s in network.subnets if s.gateway}
    routes: dict[Key, model.RouteValue] = {}
    for endpoint in endpoints:
        if not endpoint.joined:
            continue
        for address in endpoint.addresses:
            source = gateways.get(model.Family.of(address))
            if source is not None:
                key = _key(ipaddress.ip_network(address.ip))
                routes[key] = model.Device(shim.index, source)
    return routes


def _key(prefix: model.Prefix) -> Key:
    return model.Family.of(prefix), model.nlri(prefix)
