"""Kernel routes."""

from __future__ import annotations

import dataclasses

from bgp_ipvlan.model.addresses import Address, Family, Nlri

Table = tuple[Family, int]
"""A routing table: its family, and its number as in `ip route show table N`."""
MAIN = 254
"""RT_TABLE_MAIN."""


@dataclasses.dataclass(frozen=True, slots=True)
class NextHop:
    """One next hop of a kernel route."""

    gateway: Address
    ifindex: int


@dataclasses.dataclass(frozen=True, slots=True)
class Via:
    """A route through a nexthop object of ours; where that leads is said apart (`ports.Routes.lead`).

    So the route stays as it is when the way to its next hop changes.
    """

    id: int


@dataclasses.dataclass(frozen=True, slots=True)
class Device:
    """An on-link route out of a device, `scope link src SOURCE`."""

    ifindex: int
    source: Address | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Blackhole:
    """A route that drops: lies under every prefix we announce, so that nothing loops."""


RouteValue = Via | Device | Blackhole


@dataclasses.dataclass(frozen=True, slots=True)
class RouteBatch:
    """Many prefixes that get the same route (or lose theirs): the unit of work (D2)."""

    table: Table
    value: RouteValue | None
    """None deletes."""
    prefixes: list[Nlri]
    replace: bool = False
    """The kernel has a route of ours under these keys: replace it. Otherwise create, and
    fail where somebody has a route with our very key (D3)."""
    was: Via | None = None
    """Of a deletion: the object they point at. When that goes they need no deletion."""


@dataclasses.dataclass(frozen=True, slots=True)
class RouteFailure:
    """A route the kernel refused."""

    table: Table
    prefix: Nlri
    value: RouteValue | None
    replace: bool
    reason: str
    """A reason code: `foreign-route` (EEXIST), `kernel-refused`."""
    detail: str


@dataclasses.dataclass(frozen=True, slots=True)
class ForeignRoute:
    """A route that is somebody else's."""

    text: str
    """In the words of `ip route`, such as `proto static via 192.0.2.1 dev eth1`."""
    next_hops: tuple[NextHop, ...] = ()
    on_link: int = 0
    """Index of the interface, for a route without a gateway."""
    nexthop_id: int = 0
    """The nexthop object it points at: when that goes the kernel deletes the route."""
    siblings: bool = False
    """There were several under this key (`ip route append`): when one goes others may stay."""


@dataclasses.dataclass(frozen=True, slots=True)
class Rules:
    """Where the rules of a family lead (`ip rule`), whatever packets each is for."""

    tables: frozenset[int]
    l3mdev: bool = False
    """There is one that leads to the table of the VRF that a packet is in."""

    def lead_to(self, table: int, *, vrf: bool) -> bool:
        """Whether one leads to a table, which is or is not a VRF's."""
        return table in self.tables or (vrf and self.l3mdev)


Foreign = dict[Nlri, dict[int, ForeignRoute]]
"""Others' routes of a table: prefix → metric → route."""

Believed = dict[Table, dict[Nlri, RouteValue]]
"""What the kernel has of ours, as far as we know."""


Borrowed = dict[tuple[Table, Nlri, int], int]
"""Others' routes that point at a nexthop object of ours: table, prefix and metric → its id."""


@dataclasses.dataclass(frozen=True, slots=True)
class RouteDump:
    """What the kernel's tables hold, beside what was believed."""

    drift: dict[Table, dict[Nlri, RouteValue | None]]
    """Routes of ours that are not as believed; None is one that is not there."""
    foreign: dict[Table, Foreign]
    """Everybody else's."""
    objects: dict[Via, tuple[NextHop, ...]]
    """Our nexthop objects, and where they lead."""
    strangers: frozenset[int] = frozenset()
    """Ids in our range of nexthop objects that are not ours, or no longer."""
    borrowed: Borrowed | None = None
    """None where other tables than those believed in were not looked at."""
    grouped: frozenset[int] = frozenset()
    """Ids of nexthop objects of ours that are members of other people's groups."""
    partial: frozenset[Table] = frozenset()
    """Tables that changed while they were read: what is absent here may be there."""
