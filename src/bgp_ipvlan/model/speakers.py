"""This host as a BGP speaker, and its neighbours: as configured, and as they are."""

from __future__ import annotations

import dataclasses
import enum
import ipaddress

from bgp_ipvlan.model.addresses import Address, Family, Prefix


class SessionState(enum.StrEnum):
    """RFC 4271 section 8.2.2, spelled as every BGP tool prints them."""

    IDLE = "Idle"
    CONNECT = "Connect"
    ACTIVE = "Active"
    OPEN_SENT = "OpenSent"
    OPEN_CONFIRM = "OpenConfirm"
    ESTABLISHED = "Established"


class EngineKind(enum.StrEnum):
    """Who speaks BGP for this host (D1)."""

    EMBEDDED = "embedded"
    GOBGP = "gobgp"
    KERNEL = "kernel"


@dataclasses.dataclass(frozen=True, slots=True)
class PrefixRule:
    """Which prefixes an import policy lets in: those inside `prefix` of a length in a range."""

    prefix: Prefix
    least: int
    """Shortest prefix length that matches."""
    most: int
    """Longest prefix length that matches."""

    def __str__(self) -> str:
        return f"{self.prefix} ge {self.least} le {self.most}"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class NeighborConfig:
    """A neighbour as the administrator configured it. Times in seconds."""

    address: Address
    remote_as: int
    """0, for dynamic neighbours only: any AS but our own."""
    hold_time: int = 9
    keepalive: int = 3
    port: int = 179
    passive: bool = False
    local_address: Address | None = None
    bind_interface: str = ""
    """Connect through this interface alone, or within this VRF; empty is as routes lead."""
    description: str = ""
    password: str = dataclasses.field(default="", repr=False)
    """TCP MD5 key (RFC 2385); empty is none."""
    ttl_security: bool = False
    """GTSM (RFC 5082): we send with TTL 255 and take nothing below `255 - multihop + 1`."""
    multihop: int = 1
    """Hops to an eBGP neighbour: its TTL. More than 1 is `ebgp-multihop`."""
    local_as: int = 0
    """Our AS number towards this neighbour, instead of the speaker's own; 0 is the speaker's."""
    allow_own_as: int = 0
    """How often our own AS number may occur in a path that is still taken."""
    max_prefixes: int = 1_000_000
    """Paths per family after which the session is ended with Cease (RFC 4486); 0 is no limit."""
    max_prefixes_warn: int = 75
    """Percent of `max_prefixes` at which a warning is logged."""
    max_prefixes_restart: int = 300
    """Seconds after which a session ended by `max_prefixes` is tried again; 0 is never."""
    families: frozenset[Family] = frozenset(Family)
    add_path: bool = True
    """Offer to receive several paths per prefix (RFC 7911)."""
    graceful_restart: bool = True
    recursive: bool = False
    """Next hops that are not on-link may be reached by routes of others (D10)."""
    import_rules: tuple[PrefixRule, ...] | None = None
    """Take only what one of these matches; None is the speaker's own list."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DynamicNeighbors:
    """A range of addresses that may connect without being configured one by one."""

    prefix: Prefix
    template: NeighborConfig
    """What each gets; its address is the range's network address, and it is passive."""
    limit: int = 100
    """At most so many at a time."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SpeakerConfig:
    """This host as a BGP speaker. Times in seconds."""

    local_as: int
    router_id: ipaddress.IPv4Address
    neighbors: tuple[NeighborConfig, ...] = ()
    dynamic: tuple[DynamicNeighbors, ...] = ()
    listen_addresses: tuple[Address, ...] = (
        ipaddress.IPv4Address("0.0.0.0"),  # noqa: S104 - a router listens where it is reachable
        ipaddress.IPv6Address("::"),
    )
    listen_port: int = 179
    """0 does not listen."""
    restart_time: int = 30
    """What we tell the neighbours in the graceful restart capability (RFC 4724)."""
    sync_deadline: int = 60
    """How long `synced` waits for a neighbour that does not come up."""
    maximum_paths: int = 16
    """How many equal paths are used at once (ECMP); 1 is the best alone."""
    import_rules: tuple[PrefixRule, ...] | None = None
    """Take only what one of these matches; None takes all."""
    send_hold_time: int = 480
    """RFC 9687: a neighbour that reads nothing for so long loses its session (never sooner than
    twice the hold time)."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class NeighborStatus:
    """A neighbour as it is now, for `bgp-ipvlan neighbors`."""

    address: Address
    remote_as: int
    state: SessionState
    since: float
    """Unix time of the last change of state."""
    local_as: int = 0
    local_address: Address | None = None
    """Of the established connection."""
    router_id: ipaddress.IPv4Address | None = None
    hold_time: int = 0
    """As negotiated, seconds; 0 while not established."""
    received: int = 0
    """Paths in Adj-RIB-In, all families, refused ones too."""
    refused: int = 0
    """Those of them that take no part in the decision (policy, loops, bad next hops)."""
    sent: int = 0
    """Prefixes announced to it, all families."""
    end_of_rib: bool = False
    """It has sent End-of-RIB for every family negotiated."""
    graceful_restart: bool = False
    """Negotiated: it keeps our routes, and we its, over a restart."""
    capabilities: tuple[str, ...] = ()
    """What both sides can, in the words of `bgp.capability`."""
    families: tuple[Family, ...] = ()
    """Negotiated."""
    stale: int = 0
    """Prefixes kept from before its restart."""
    last_error: str = ""
    idle_reason: str = ""
    """Why no connection is tried: `max-prefixes`, `shutdown`, `password-unusable`, or empty."""
    password: bool = False
    dynamic: bool = False
    """It came from a range of `DynamicNeighbors`."""
    description: str = ""
