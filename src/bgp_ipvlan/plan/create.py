"""May this network be created? The create cases of D10's table. Pure.

Every refusal says who is in the way and what to do about it: it is what the user of
`docker network create` reads.
"""

from __future__ import annotations

import ipaddress
import itertools
from collections.abc import Collection, Iterable, Mapping

from bgp_ipvlan import errors, model, ownership
from bgp_ipvlan.plan import learned, own

_DOCKER_POOLS = [
    # Docker's built-in pools (moby, ipamutils): cut into /16 and /20, the same on every host.
    *((ipaddress.IPv4Network(f"172.{second}.0.0/16"), 16) for second in range(17, 32)),
    (ipaddress.IPv4Network("192.168.0.0/16"), 20),
]


def check_pool(network: model.Network, *, accepted: bool, hint: str = "10.1.1.0/24") -> None:
    """Refuse a subnet that Docker picked from its default pools.

    Every host picks the same ones, so announcing them makes two hosts claim one prefix.

    Args:
        network: what is to be created.
        accepted: the user gave `-o accept_default_pool=true`.
        hint: a subnet for the remedy.

    Raises:
        errors.Refused: `default-pool`.
    """
    if accepted or not network.announced:
        return
    for subnet in network.subnets:
        for pool, length in _DOCKER_POOLS:
            if subnet.prefix.prefixlen == length and _inside(subnet.prefix, pool):
                raise errors.Refused(
                    "default-pool",
                    f"{subnet.prefix} looks like Docker's own choice, which is the same on every "
                    f"host and cannot be announced: add --ipam-driver bgp-ipvlan, which takes one "
                    f"from the daemon's --ipvlan-subnet, or --subnet with one that is this "
                    f"host's own, for example --subnet {hint} (if you mean {subnet.prefix}: "
                    f"-o accept_default_pool=true)",
                )


def check_parent(
    network: model.Network,
    links: Mapping[str, model.Link],
    networks: Iterable[model.Network],
    slaves: Iterable[model.Slave],
) -> None:
    """Refuse a parent that cannot carry this network.

    Args:
        network: what is to be created.
        links: the host's links by name.
        networks: our existing networks.
        slaves: ipvlan slaves found in any namespace, ours and others'.

    Raises:
        errors.BadRequest: `parent-missing`, `bad-parent`.
        errors.Refused: `parent-down`, `one-parent`, `mode-in-use`.
    """
    name = network.parent
    parent = links.get(name)
    if parent is None:
        have = ", ".join(sorted(n for n in links if n != "lo" and not n.startswith("bi"))) or "none"
        raise errors.BadRequest(
            "parent-missing",
            f"parent interface {name} does not exist on this host (there are: {have}): "
            f"choose one with -o parent=NAME",
        )
    if name == "lo" or parent.kind in {"ipvlan", "macvlan", "vrf"}:
        raise errors.BadRequest(
            "bad-parent",
            f"{name} cannot be a parent ({parent.kind or 'loopback'}): choose an Ethernet "
            f"interface with -o parent=NAME",
        )
    if not (parent.up and parent.running):
        remedy = f"ip link set {name} up" if not parent.up else "check its cable or peer"
        raise errors.Refused("parent-down", f"parent interface {name} is down: {remedy}")
    for other in networks:
        if other.parent != name and other.id != network.id:
            raise errors.Refused(
                "one-parent",
                f"network {other.short} already uses parent {other.parent}, and this version "
                f"drives one parent per host: use -o parent={other.parent}",
            )
    _check_mode(network, parent, slaves)


def _check_mode(network: model.Network, parent: model.Link, slaves: Iterable[model.Slave]) -> None:
    """A second mode would silently change every slave of the parent (kernel sheet, section 3)."""
    for slave in slaves:
        if slave.parent_index != parent.index:
            continue
        if (slave.mode, slave.flag) == (network.mode, network.flag):
            continue
        identity = ownership.alias_identity(slave.alias)
        whose = f"endpoint {identity[:12]} of ours" if identity else "somebody else"
        where = f" in namespace {slave.namespace}" if slave.namespace else ""
        raise errors.Refused(
            "mode-in-use",
            f"parent {parent.name} already carries ipvlan mode {slave.mode} flag {slave.flag} "
            f"({slave.name} of {whose}{where}); one parent has one mode, and mixing would break "
            f"those: use another parent, or remove them first",
        )


def check_local(
    network: model.Network,
    connected: Iterable[model.Prefix],
    networks: Iterable[model.Network],
    foreign: Mapping[model.Table, model.Foreign],
    tables: Collection[int] = (model.MAIN,),
) -> None:
    """Refuse what collides with this host's own interfaces, networks and routes.

    Args:
        network: what is to be created.
        connected: subnets on the host's wires.
        networks: our existing networks.
        foreign: others' routes.
        tables: the routing table of the network's parent, and others where routes are in its way.

    Raises:
        errors.BadRequest: `martian`.
        errors.Refused: `connected-overlap`, `own-overlap`, `foreign-route`.
    """
    connected = tuple(connected)
    networks = tuple(networks)
    for subnet in network.subnets:
        prefix = subnet.prefix
        if learned.martian(prefix):
            raise errors.BadRequest(
                "martian",
                f"subnet {prefix} has addresses that nobody routes (loopback, link-local, multicast, "
                f"…; RFC 6890): choose another subnet",
            )
        for other in connected:
            if _overlaps(prefix, other):
                raise errors.Refused(
                    "connected-overlap",
                    f"subnet {prefix} overlaps {other}, which is connected to this host: "
                    f"choose a subnet that no wire has",
                )
        for mine in networks:
            for taken in mine.subnets:
                if mine.id != network.id and _overlaps(prefix, taken.prefix):
                    raise errors.Refused(
                        "own-overlap",
                        f"subnet {prefix} overlaps {taken.prefix} of network {mine.short} on this "
                        f"host: choose another subnet, or remove that network (docker network rm; "
                        f"if Docker no longer knows it: bgp-ipvlan forget {mine.short})",
                    )
        # With `endpoint` the subnet gets no route of ours, and may well have one to a router.
        if not (network.announced and network.advertise.subnets):
            continue
        routes = _equal(prefix, foreign, tables)
        if routes:
            text = "; ".join(route.text for route in routes)
            raise errors.Refused(
                "foreign-route",
                f"this host already has a route for {prefix} ({text}): choose another subnet, "
                f"or remove that route",
            )


def _equal(
    prefix: model.Prefix, foreign: Mapping[model.Table, model.Foreign], tables: Iterable[int]
) -> list[model.ForeignRoute]:
    """Others' routes for a prefix; what a routing daemon reads of us is in nobody's way."""
    family, key = model.Family.of(prefix), model.nlri(prefix)
    return [
        route
        for number in sorted(tables)
        for metric, route in foreign.get((family, number), {}).get(key, {}).items()
        if metric != ownership.ANNOUNCED_METRIC
    ]


def claims(prefix: model.Prefix, keys: Iterable[model.Nlri]) -> list[model.Nlri]:
    """Those learned prefixes that are equal to or inside a prefix."""
    length = prefix.prefixlen
    whole, rest = divmod(length, 8)
    head = prefix.network_address.packed[:whole]
    found = [key for key in keys if key[0] >= length and key[1 : 1 + whole] == head]
    if rest:
        last = prefix.network_address.packed[whole] >> (8 - rest)
        found = [key for key in found if key[1 + whole] >> (8 - rest) == last]
    return found


def covering(prefix: model.Prefix) -> list[model.Nlri]:
    """The keys of all prefixes that contain a prefix, itself and the default route left out."""
    return [model.nlri(prefix.supernet(new_prefix=length)) for length in range(1, prefix.prefixlen)]


Learned = Mapping[model.Nlri, Iterable[model.Path]]


def check_learned(
    network: model.Network,
    prefix: model.Prefix,
    inside: Learned,
    around: Learned,
    identity: ownership.Identity,
) -> None:
    """Refuse what another host announces already.

    A broader route of a router (an aggregate, 10.0.0.0/8) is fine; a broader prefix that
    carries the mark of a bgp-ipvlan host is that host's own network. Switches may drop the
    mark: then only equal and more specific prefixes are known to be somebody's.

    Args:
        network: what is to be created.
        prefix: one subnet of it.
        inside: learned prefixes equal to or inside it, with their paths, refused ones too.
        around: learned prefixes that contain it.
        identity: this host; what it announced itself is in nobody's way.

    Raises:
        errors.Refused: `announced-elsewhere`.
    """
    family = model.Family.of(prefix)
    for key, paths in itertools.chain(inside.items(), around.items()):
        broader = key[0] < prefix.prefixlen
        for path in paths:
            if identity.announced(path) or (broader and not ownership.marked(path)):
                continue
            if own.stretched(network) and _may_share(network, prefix, key, path):
                continue
            raise errors.Refused(
                "announced-elsewhere",
                f"subnet {prefix} overlaps {model.prefix(family, key)}, which "
                f"{path.next_hop} already announces (learned from {path.neighbor}): choose another "
                f"subnet, or remove the network there first{_advice(network, path)}",
            )


def _may_share(
    network: model.Network, prefix: model.Prefix, key: model.Nlri, path: model.Path
) -> bool:
    """Whether a stretched network can do with what another host announces.

    That is another host's container; or what that host has stretched as well, as its mark
    says; or with `endpoint`, where we do not announce the subnet, a router's aggregate of it.
    """
    if key[0] == prefix.max_prefixlen or ownership.stretched(path):
        return True
    equal = key == model.nlri(prefix)
    return equal and not network.advertise.subnets and not ownership.marked(path)


def _advice(network: model.Network, path: model.Path) -> str:
    """How one subnet is shared, where that may be what the user means."""
    if not own.stretched(network):
        return (
            " (one subnet on several hosts: -o bgp.advertise=endpoint on each)"
            if ownership.stretched(path)
            else ""
        )
    if ownership.marked(path):
        return ", or create it there with -o bgp.advertise=endpoint too"
    return ", or use -o bgp.advertise=endpoint" if network.advertise.subnets else ""


def _overlaps(one: model.Prefix, other: model.Prefix) -> bool:
    return one.version == other.version and one.overlaps(other)


def _inside(one: model.Prefix, other: model.Prefix) -> bool:
    return one.version == other.version and one.subnet_of(other)  # type: ignore[arg-type]
