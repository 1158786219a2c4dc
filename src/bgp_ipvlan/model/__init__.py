"""The records of the domain: values that everything which crosses a port is made of.

    addresses.py  families, prefixes, NLRI keys     networks.py  networks and endpoints
    links.py      interfaces, ipvlan slaves         routes.py    kernel routes
    paths.py      what BGP learns and announces     speakers.py  this speaker and its neighbours
    pools.py      addresses for Docker

Values only. Nothing here may do I/O, know a wire format other than the NLRI key, or import
anything from this package but `errors`.
"""

from bgp_ipvlan.model.addresses import Address, Family, Interface, Nlri, Prefix, nlri, prefix
from bgp_ipvlan.model.links import Link, Slave, SlaveScan, SlaveSpec
from bgp_ipvlan.model.networks import (
    Advertise,
    BgpOptions,
    Endpoint,
    Flag,
    Mode,
    Network,
    Port,
    StartGate,
    Subnet,
)
from bgp_ipvlan.model.paths import (
    GRACEFUL_SHUTDOWN,
    Announcement,
    BestPaths,
    Delivery,
    Gateway,
    Path,
    Refusal,
)
from bgp_ipvlan.model.pools import Holding, Lease, Pool
from bgp_ipvlan.model.routes import (
    MAIN,
    Believed,
    Blackhole,
    Borrowed,
    Device,
    Foreign,
    ForeignRoute,
    NextHop,
    RouteBatch,
    RouteDump,
    RouteFailure,
    RouteValue,
    Rules,
    Table,
    Via,
)
from bgp_ipvlan.model.speakers import (
    DynamicNeighbors,
    EngineKind,
    NeighborConfig,
    NeighborStatus,
    PrefixRule,
    SessionState,
    SpeakerConfig,
)

__all__ = [
    "GRACEFUL_SHUTDOWN",
    "MAIN",
    "Address",
    "Advertise",
    "Announcement",
    "Believed",
    "BestPaths",
    "BgpOptions",
    "Blackhole",
    "Borrowed",
    "Delivery",
    "Device",
    "DynamicNeighbors",
    "Endpoint",
    "EngineKind",
    "Family",
    "Flag",
    "Foreign",
    "ForeignRoute",
    "Gateway",
    "Holding",
    "Interface",
    "Lease",
    "Link",
    "Mode",
    "NeighborConfig",
    "NeighborStatus",
    "Network",
    "NextHop",
    "Nlri",
    "Path",
    "Pool",
    "Port",
    "Prefix",
    "PrefixRule",
    "Refusal",
    "RouteBatch",
    "RouteDump",
    "RouteFailure",
    "RouteValue",
    "Rules",
    "SessionState",
    "Slave",
    "SlaveScan",
    "SlaveSpec",
    "SpeakerConfig",
    "StartGate",
    "Subnet",
    "Table",
    "Via",
    "nlri",
    "prefix",
]
