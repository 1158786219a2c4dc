"""Networks and endpoints, as Docker told us of them."""

from __future__ import annotations

import dataclasses
import enum

from bgp_ipvlan import errors
from bgp_ipvlan.model.addresses import Address, Interface, Prefix


class Mode(enum.StrEnum):
    """ipvlan mode of a parent (IFLA_IPVLAN_MODE); a property of the parent, not of a slave."""

    L2 = "l2"
    L3 = "l3"
    L3S = "l3s"


class Flag(enum.StrEnum):
    """ipvlan port flag of a parent (IFLA_IPVLAN_FLAGS)."""

    BRIDGE = "bridge"
    PRIVATE = "private"
    VEPA = "vepa"


class Advertise(enum.StrEnum):
    """What a network announces (`-o bgp.advertise`)."""

    SUBNET = "subnet"
    """The subnets, from the network's creation on."""
    ENDPOINT = "endpoint"
    """A host route per container, from its Join on: one subnet may stretch over several hosts."""
    BOTH = "both"
    NONE = "none"

    @property
    def subnets(self) -> bool:
        """Whether the network's subnets are announced."""
        return self in {Advertise.SUBNET, Advertise.BOTH}

    @property
    def endpoints(self) -> bool:
        """Whether each endpoint's addresses are announced."""
        return self in {Advertise.ENDPOINT, Advertise.BOTH}


class StartGate(enum.StrEnum):
    """Whether a Join waits until the neighbours were told (`-o bgp.start_gate`)."""

    WARN = "warn"
    """Wait a little, then go on and say so."""
    REQUIRE = "require"
    """Refuse the container when no neighbour could be told."""
    OFF = "off"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class BgpOptions:
    """The attributes that a network's announcements carry (`-o bgp.…`)."""

    communities: tuple[int, ...] = ()
    """RFC 1997, each as one number."""
    large_communities: tuple[tuple[int, int, int], ...] = ()
    """RFC 8092."""
    med: int | None = None
    local_pref: int | None = None
    prepend: int = 0
    next_hops: tuple[Address, ...] = ()
    """`bgp.next_hop`: at most one per family."""
    start_gate: StartGate = StartGate.WARN


@dataclasses.dataclass(frozen=True, slots=True)
class Subnet:
    """One subnet of a network, with its gateway where it has one."""

    prefix: Prefix
    gateway: Address | None = None

    def __post_init__(self) -> None:
        if self.gateway is not None and self.gateway not in self.prefix:
            raise errors.BadRequest(
                "bad-gateway", f"gateway {self.gateway} is not inside subnet {self.prefix}"
            )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A Docker network of this driver. Everything needed to rebuild it after a restart."""

    id: str
    parent: str
    subnets: tuple[Subnet, ...]
    mode: Mode = Mode.L3
    flag: Flag = Flag.BRIDGE
    mtu: int | None = None
    internal: bool = False
    advertise: Advertise = Advertise.SUBNET
    host_access: bool = True
    bgp: BgpOptions = BgpOptions()

    @property
    def announced(self) -> bool:
        """Whether anything of it is told to the neighbours."""
        return not self.internal and self.advertise is not Advertise.NONE

    @property
    def shim(self) -> bool:
        """Whether the host keeps a slave of its own with the gateway addresses (D9)."""
        return self.host_access and not self.internal and any(s.gateway for s in self.subnets)

    @property
    def short(self) -> str:
        """The id as Docker abbreviates it."""
        return self.id[:12]


@dataclasses.dataclass(frozen=True, slots=True)
class Port:
    """A published or exposed port, which ipvlan cannot publish: kept to tell the user so."""

    protocol: int
    port: int
    host_port: int = 0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A container's attachment to a network."""

    id: str
    network_id: str
    addresses: tuple[Interface, ...]
    joined: bool = False
    ports: tuple[Port, ...] = ()
    driver_options: tuple[tuple[str, str], ...] = ()
    left: float = 0.0
    """When it ceased to be joined, seconds since the epoch: its link may live until the delete."""

    @property
    def short(self) -> str:
        """The id as Docker abbreviates it."""
        return self.id[:12]
