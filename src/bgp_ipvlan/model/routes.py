"""Kernel routes."""

from __future__ import annotations

import dataclasses

from bgp_ipvlan.model.addresses import Address, Family, Nlri


@dataclasses.dataclass(frozen=True, slots=True)
class NextHop:
    """One next hop of a kernel route."""

    gateway: Address
    ifindex: int


@dataclasses.dataclass(frozen=True, slots=True)
class Via:
    """A route through one or more gateways (more than one is ECMP), sorted."""

    next_hops: tuple[NextHop, ...]


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

    family: Family
    value: RouteValue | None
    """None deletes."""
    prefixes: list[Nlri]
    replace: bool = False
    """The kernel has a route of ours under these keys: replace it. Otherwise create, and
    fail where somebody has a route with our very key (D3)."""


@dataclasses.dataclass(frozen=True, slots=True)
class RouteFailure:
    """A route the kernel refused."""

    family: Family
    prefix: Nlri
    value: RouteValue | None
    replace: bool
    reason: str
    """A reason code: `foreign-route` (EEXIST), `kernel-refused`."""
    detail: str


Foreign = dict[Nlri, dict[int, str]]
"""Others' routes: prefix → metric → text, such as `proto static via 192.0.2.1 dev eth1`."""


@dataclasses.dataclass(frozen=True, slots=True)
class RouteDump:
    """What the main table holds now: our routes by value, everybody else's as text."""

    ours: dict[Family, dict[Nlri, RouteValue]]
    foreign: dict[Family, Foreign]
