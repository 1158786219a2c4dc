"""What is ours (D3): the numbers, names and marks, and the tests on them.

The one place that answers "may we change or delete this?". Pure.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re

from bgp_ipvlan import model

Community = tuple[int, int, int]
"""A large community (RFC 8092)."""

ROUTE_PROTOCOL = 179
"""rtm_protocol and nh_protocol of everything we put into the kernel (BGP's port; unassigned in rt_protos)."""
ROUTE_METRIC = 17900
"""Our own metric: an administrator's route for the same prefix keeps its own key, and wins."""
ANNOUNCED_METRIC = ROUTE_METRIC + 1
"""Of the routes that a routing daemon on this host reads (`--engine kernel`): no packet's way."""
_NEXTHOP_BASE = 0x0B17_0000
NEXTHOP_IDS = range(_NEXTHOP_BASE + 1, _NEXTHOP_BASE + 0x1_0000)
"""Ids of our nexthop objects: those below, together."""
SINGLE_IDS = range(_NEXTHOP_BASE + 1, _NEXTHOP_BASE + 0x8000)
"""Objects with one next hop, which routes point at."""
GROUP_IDS = range(_NEXTHOP_BASE + 0x8000, _NEXTHOP_BASE + 0xC000)
"""Groups of objects (ECMP), which routes point at."""
MEMBER_IDS = range(_NEXTHOP_BASE + 0xC000, _NEXTHOP_BASE + 0x1_0000)
"""Objects with one next hop that groups have as members, and no route points at."""
LINK_GROUP = 17900
"""IFLA_GROUP of our links. It can be given when a link is made, the alias only afterwards:
it tells whose a link is that a crash left without one."""
ALIAS_PREFIX = "bgp-ipvlan:"
ARP_TABLE = "bgp-ipvlan"
"""Our nftables table of the family arp."""
ARP_COMMENT = "bgp-ipvlan: an address of this host, which nobody there has"
"""Comment of each rule in it: a table of that name with other rules is not ours."""
GOBGPD_FILE = "gobgpd.toml"
GOBGPD_SOCKET = "gobgpd.sock"
"""What a gobgpd of ours has beside our control socket; its configuration holds passwords."""
LOCK_SOCKET = "\0bgp-ipvlan"
"""Abstract unix socket: one daemon per network namespace."""
COMMUNITY_MARK = (179, 17900)
"""Data parts of the large community (our AS, 179, 17900) on what we announce: a hint, switches drop it."""
STRETCHED_MARK = (179, 17901)
"""Likewise, on what a network announces that other hosts may have a part of (bgp.advertise=endpoint|both)."""
HOST_MARK = 17900
"""First data part of (our AS, 17900, our router id): which host announced it."""

_LINK_NAME = re.compile(r"bi[0-9a-f]{12}\Z")
_HEX_ID = re.compile(r"[0-9a-f]{12,}\Z")


def link_name(identity: str) -> str:
    """Name of the link that belongs to a network's shim or to an endpoint.

    Docker's ids are 64 hex digits; their first 12 are what Docker itself prints,
    so that a person finds the container. Other ids (Swarm's) are hashed.
    """
    if not _HEX_ID.match(identity):
        identity = hashlib.sha256(identity.encode()).hexdigest()
    return "bi" + identity[:12]


def link_alias(identity: str) -> str:
    """`ifalias` of that link: the whole id, so that two ids of one name are told apart."""
    return ALIAS_PREFIX + identity


def alias_identity(alias: str) -> str | None:
    """The id in an ifalias of ours, or None."""
    return alias.removeprefix(ALIAS_PREFIX) if alias.startswith(ALIAS_PREFIX) else None


def link_is_ours(link: model.Link) -> bool:
    """Whether a link may be deleted by us: name, kind and alias must all say so (D3).

    A link half made has no alias yet, but our group.
    """
    return (
        _LINK_NAME.match(link.name) is not None
        and link.kind == "ipvlan"
        and (link.alias.startswith(ALIAS_PREFIX) or (not link.alias and link.group == LINK_GROUP))
    )


def marked(path: model.Path) -> bool:
    """Whether a path carries the mark of a bgp-ipvlan host."""
    return any(community[1:] == COMMUNITY_MARK for community in path.large_communities)


def stretched(path: model.Path) -> bool:
    """Whether a bgp-ipvlan host says that others may have parts of this network as well."""
    return any(community[1:] == STRETCHED_MARK for community in path.large_communities)


def reserved(community: Community) -> bool:
    """Whether a large community is one of our marks, which nobody else should set."""
    return community[1] == HOST_MARK or community[1:] in {COMMUNITY_MARK, STRETCHED_MARK}


@dataclasses.dataclass(frozen=True, slots=True)
class Identity:
    """This host, as the marks on what it announces name it."""

    local_as: int
    router_id: int = 0
    """The BGP identifier as a number; 0 when there is none (no neighbours)."""

    def marks(self, *, stretched: bool) -> tuple[Community, ...]:
        """The large communities for what we announce."""
        marks: list[Community] = [(self.local_as, *COMMUNITY_MARK)]
        if stretched:
            marks.append((self.local_as, *STRETCHED_MARK))
        if self.router_id:
            marks.append((self.local_as, HOST_MARK, self.router_id))
        return tuple(marks)

    def announced(self, path: model.Path) -> bool:
        """Whether a learned path is what this host announced itself.

        It comes back to us behind a switch whose hosts are all in one AS (`allow-own-as`).
        A router's aggregate of several hosts' prefixes carries the marks of all of them.
        """
        hosts = [community for community in path.large_communities if community[1] == HOST_MARK]
        mine = (self.local_as, HOST_MARK, self.router_id)
        return bool(hosts) and all(host == mine for host in hosts)
