"""Network interfaces of the host, and ipvlan slaves."""

from __future__ import annotations

import dataclasses

from bgp_ipvlan.model.addresses import Interface
from bgp_ipvlan.model.networks import Flag, Mode


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A network interface of the host namespace, as read from the kernel."""

    index: int
    name: str
    kind: str = ""
    alias: str = ""
    mtu: int = 1500
    up: bool = False
    """Administratively up (IFF_UP)."""
    running: bool = False
    """Has a carrier (IFF_LOWER_UP)."""
    parent_index: int = 0
    """IFLA_LINK, or 0."""
    group: int = 0
    """IFLA_GROUP."""
    vrf: int = 0
    """Index of the VRF it is in; 0 outside any."""
    table: int = 0
    """The table of that VRF; 0 outside any."""
    addresses: tuple[Interface, ...] = ()
    """Global and link-local addresses, in the kernel's order (primary first)."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SlaveSpec:
    """An ipvlan slave to make in the host namespace."""

    name: str
    alias: str
    parent: str
    mode: Mode
    flag: Flag = Flag.BRIDGE
    mtu: int | None = None
    addresses: tuple[Interface, ...] = ()
    up: bool = False
    in_vrf: bool = False
    """Goes into the VRF that its parent is in, if it is in one."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Slave:
    """An ipvlan slave found in some namespace of this machine, whose parent is a link of our host."""

    name: str
    alias: str
    mode: Mode
    flag: Flag
    parent_index: int
    namespace: str
    """Where it was found: a path such as /proc/123/ns/net, or "" for the host namespace."""


@dataclasses.dataclass(frozen=True, slots=True)
class SlaveScan:
    """All ipvlan slaves of our host's links, in whichever namespace they are now."""

    slaves: tuple[Slave, ...]
    complete: bool
    """False when a namespace could not be looked into: absence then proves nothing."""
