"""The two versions of GoBGP's API: where they differ.

Version 4 renamed the service, lets enumerations begin at 1, and has a oneof wherever 3 has an Any.
What is inside those is the same in both.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from bgp_ipvlan.engines.gobgp import wire
from bgp_ipvlan.engines.gobgp.proto import gobgp_pb2 as messages

Split = Callable[[bytes], tuple[str, bytes]]
"""Cut an Any or a oneof into the name of what is in it, empty if unknown, and its octets."""


def split_any(data: bytes) -> tuple[str, bytes]:
    """Version 3: the type's name, without its package."""
    one = messages.Any.FromString(data)
    return one.type_url.rpartition(".")[2], one.value


def _split_oneof(names: Mapping[int, str]) -> Split:
    def split(data: bytes) -> tuple[str, bytes]:
        for number, start, end in wire.spans(data, 0, len(data)):
            return names.get(number, ""), data[start:end]
        return "", b""

    return split


_ATTRIBUTES = {
    2: "OriginAttribute",
    3: "AsPathAttribute",
    4: "NextHopAttribute",
    5: "MultiExitDiscAttribute",
    6: "LocalPrefAttribute",
    9: "CommunitiesAttribute",
    10: "OriginatorIdAttribute",
    11: "ClusterListAttribute",
    12: "MpReachNLRIAttribute",
    14: "ExtendedCommunitiesAttribute",
    21: "LargeCommunitiesAttribute",
}
_EXTENDED_COMMUNITIES = {
    1: "UnknownExtended",
    2: "TwoOctetAsSpecificExtended",
    3: "IPv4AddressSpecificExtended",
    4: "FourOctetAsSpecificExtended",
    5: "LinkBandwidthExtended",
    6: "ValidationExtended",
    7: "ColorExtended",
    8: "EncapExtended",
    9: "DefaultGatewayExtended",
    10: "OpaqueExtended",
}
_CAPABILITIES = {
    1: "UnknownCapability",
    2: "MultiProtocolCapability",
    3: "RouteRefreshCapability",
    5: "ExtendedNexthopCapability",
    6: "GracefulRestartCapability",
    7: "FourOctetASNCapability",
    8: "AddPathCapability",
    9: "EnhancedRouteRefreshCapability",
    14: "ExtendedMessageCapability",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Dialect:
    """One version of the API."""

    name: str
    """"3" or "4"."""
    service: str
    base: int
    """What enumerations begin with."""
    table: Any
    """Its message of paths."""
    destination: Any
    """Its answer to ListPath."""
    attribute: Split
    extended_community: Split
    capability: Split


V3 = Dialect(
    "3",
    "apipb.GobgpApi",
    0,
    messages.Table3,
    messages.ListPathResponse3,
    split_any,
    split_any,
    split_any,
)
V4 = Dialect(
    "4",
    "api.GoBgpService",
    1,
    messages.Table4,
    messages.ListPathResponse4,
    _split_oneof(_ATTRIBUTES),
    _split_oneof(_EXTENDED_COMMUNITIES),
    _split_oneof(_CAPABILITIES),
)
ALL = (V3, V4)
