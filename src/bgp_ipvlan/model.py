"""The records of the domain: networks, endpoints, prefixes, paths, routes.

Values only. Nothing here may do I/O, know a wire format other than the NLRI
key, or import anything from this package but `errors`. Everything that crosses
a port (`ports.py`) is made of these.
"""

from __future__ import annotations

import dataclasses
import enum
import ipaddress
import socket

from bgp_ipvlan import errors

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Interface = ipaddress.IPv4Interface | ipaddress.IPv6Interface
Prefix = ipaddress.IPv4Network | ipaddress.IPv6Network
Nlri = bytes
"""A prefix as BGP writes it (RFC 4271 section 4.3): one octet of length in
bits, then as few octets as hold that many bits, host bits zero. It is the key
of every large table here, because it needs no object of its own (D2)."""


class Family(enum.IntEnum):
    """Address families, by their BGP AFI number (RFC 4760; SAFI is always unicast)."""

    IPV4 = 1
    IPV6 = 2

    @property
    def bits(self) -> int:
        """Length of an address in bits."""
        return 32 if self is Family.IPV4 else 128

    @property
    def af(self) -> int:
        """The kernel's number for it, AF_INET or AF_INET6."""
        return socket.AF_INET if self is Family.IPV4 else socket.AF_INET6

    @staticmethod
    def of(value: Address | Interface | Prefix) -> Family:
        """Family of any `ipaddress` value."""
        return Family.IPV4 if value.version == 4 else Family.IPV6


def nlri(prefix: Prefix) -> Nlri:
    """Encode a prefix as its table key."""
    length = prefix.prefixlen
    return bytes((length,)) + prefix.network_address.packed[: (length + 7) // 8]


def prefix(family: Family, key: Nlri) -> Prefix:
    """Decode a table key.

    Raises:
        ValueError: the key is no canonical prefix of that family.
    """
    packed = key[1:].ljust(family.bits // 8, b"\0")
    if family is Family.IPV4:
        return ipaddress.IPv4Network((packed, key[0]))
    return ipaddress.IPv6Network((packed, key[0]))


# --- networks and endpoints, as Docker told us of them ---------------------


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
    NONE = "none"


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

    @property
    def announced(self) -> bool:
        """Whether its subnets are told to the neighbours."""
        return not self.internal and self.advertise is Advertise.SUBNET

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

    @property
    def short(self) -> str:
        """The id as Docker abbreviates it."""
        return self.id[:12]


# --- links ------------------------------------------------------------------


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


# --- routes -----------------------------------------------------------------


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


# --- BGP --------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Path:
    """What a batch of learned prefixes has in common."""

    neighbor: Address
    next_hop: Address
    origin: int = 0
    """0 IGP, 1 EGP, 2 INCOMPLETE."""
    as_path: tuple[int, ...] = ()
    """All AS numbers in it, those of sets too."""
    as_path_length: int = 0
    """As RFC 4271 section 9.1.2.2 counts: a set is one."""
    med: int | None = None
    local_pref: int = 100
    communities: tuple[int, ...] = ()
    large_communities: tuple[tuple[int, int, int], ...] = ()
    originator_id: int | None = None
    cluster_list: tuple[int, ...] = ()
    ebgp: bool = False
    router_id: int = 0
    """The neighbour's BGP identifier."""


@dataclasses.dataclass(frozen=True, slots=True)
class BestPaths:
    """The best paths of some prefixes changed: one attribute set, many prefixes (D2)."""

    family: Family
    paths: tuple[Path, ...]
    """Best first, further ones equal to it (ECMP); empty when no path is left."""
    prefixes: list[Nlri]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Announcement:
    """One prefix of ours, with the attributes it goes out with."""

    prefix: Prefix
    next_hop: Address
    """The parent's primary global address of the family."""
    on_link: tuple[Interface, ...] = ()
    """All addresses of the parent of that family, with their prefix lengths."""
    large_communities: tuple[tuple[int, int, int], ...] = ()

    def next_hop_for(self, neighbor: Address) -> Address:
        """NEXT_HOP towards one neighbour (D12): our address in its subnet, else `next_hop`."""
        for interface in self.on_link:
            if neighbor in interface.network:
                return interface.ip
        return self.next_hop


class SessionState(enum.StrEnum):
    """RFC 4271 section 8.2.2, spelled as every BGP tool prints them."""

    IDLE = "Idle"
    CONNECT = "Connect"
    ACTIVE = "Active"
    OPEN_SENT = "OpenSent"
    OPEN_CONFIRM = "OpenConfirm"
    ESTABLISHED = "Established"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class NeighborConfig:
    """A neighbour as the administrator configured it. Times in seconds."""

    address: Address
    remote_as: int
    hold_time: int = 9
    keepalive: int = 3
    port: int = 179
    passive: bool = False
    local_address: Address | None = None
    description: str = ""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SpeakerConfig:
    """This host as a BGP speaker. Times in seconds."""

    local_as: int
    router_id: ipaddress.IPv4Address
    neighbors: tuple[NeighborConfig, ...] = ()
    listen_addresses: tuple[Address, ...] = (
        ipaddress.IPv4Address("0.0.0.0"),  # noqa: S104 - a router listens where it is reachable
        ipaddress.IPv6Address("::"),
    )
    listen_port: int = 179
    restart_time: int = 30
    """What we tell the neighbours in the graceful restart capability (RFC 4724)."""
    sync_deadline: int = 60
    """How long `synced` waits for a neighbour that does not come up."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class NeighborStatus:
    """A neighbour as it is now, for `bgp-ipvlan neighbors`."""

    address: Address
    remote_as: int
    state: SessionState
    since: float
    """Unix time of the last change of state."""
    router_id: ipaddress.IPv4Address | None = None
    hold_time: int = 0
    """As negotiated, seconds; 0 while not established."""
    received: int = 0
    """Prefixes in Adj-RIB-In, all families."""
    sent: int = 0
    """Prefixes announced to it, all families."""
    end_of_rib: bool = False
    """It has sent End-of-RIB for every family negotiated."""
    graceful_restart: bool = False
    """Negotiated: it keeps our routes, and we its, over a restart."""
    stale: int = 0
    """Prefixes kept from before its restart."""
    last_error: str = ""
    description: str = ""
