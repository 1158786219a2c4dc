"""Path attributes in GoBGP's messages, made into what the rest of this package knows.

gobgpd never sends its events in BGP's own encoding, so this is `bgp.attributes` once more for
another encoding, and the two have to agree. What an edge speaker has no use for is passed over.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Callable, Iterable
from typing import Any

from bgp_ipvlan import model
from bgp_ipvlan.engines.gobgp import dialects, wire
from bgp_ipvlan.engines.gobgp.proto import gobgp_pb2 as messages

_AS_SET, _AS_SEQUENCE = 1, 2
_OPAQUE = 0x03
_NON_TRANSITIVE = 0x40
_NEXT_HOPS = 2
"""The field of MP_REACH_NLRI with them; the one with the prefixes comes after it."""


def address(text: str) -> model.Address:
    """An address as gobgpd writes it, which may have a zone.

    Raises:
        ValueError: it is none.
    """
    return ipaddress.ip_address(text.partition("%")[0])


def decode(dialect: dialects.Dialect, attributes: Iterable[bytes]) -> dict[str, Any]:
    """The fields of `model.Path` that stand in attributes.

    Raises:
        ValueError: they cannot be read, or there is no next hop among them.
    """
    found: dict[str, Any] = {}
    for one in attributes:
        name, value = dialect.attribute(one)
        reader = _READERS.get(name)
        if reader is not None:
            found |= reader(dialect, value)
    if "next_hop" not in found:
        raise ValueError("path without a next hop")
    return found


Reader = Callable[[dialects.Dialect, bytes], dict[str, Any]]


def _number(field: str) -> Reader:
    return lambda _, value: {field: messages.Number.FromString(value).value}


def _as_path(_: dialects.Dialect, value: bytes) -> dict[str, Any]:
    numbers: list[int] = []
    length = 0
    for segment in messages.AsPath.FromString(value).segments:
        numbers += segment.numbers
        # RFC 4271 section 9.1.2.2; segments of a confederation count nothing (RFC 5065 section 5.3).
        length += {_AS_SET: 1, _AS_SEQUENCE: len(segment.numbers)}.get(segment.type, 0)
    return {"as_path": tuple(numbers), "as_path_length": length}


def _next_hop(_: dialects.Dialect, value: bytes) -> dict[str, Any]:
    return {"next_hop": address(messages.Text.FromString(value).value)}


def next_hops(attribute: bytes) -> bytes:
    """What stands in MP_REACH_NLRI before the prefixes: family and next hops."""
    *_, (_, value, end) = wire.spans(attribute, 0, len(attribute))  # of an Any, of a oneof
    # Not parsed: GoBGP 3 has hundreds of prefixes there, for each path those of its whole UPDATE.
    begin = value
    for number, _, stop in wire.spans(attribute, value, end):
        if number > _NEXT_HOPS:
            break
        begin = stop
    return attribute[value:begin]


def _reach(_: dialects.Dialect, value: bytes) -> dict[str, Any]:
    hops = [address(text) for text in messages.MpReach.FromString(value).next_hops]
    if not hops:
        return {}
    first, second = hops[0], hops[1] if len(hops) > 1 else None
    if first.is_unspecified and second is not None:
        first = second  # FRR and others without a global address of their own
    local = second is not None and second.is_link_local
    return {"next_hop": first, "link_local": second if local else None}


def _communities(_: dialects.Dialect, value: bytes) -> dict[str, Any]:
    return {"communities": tuple(messages.Numbers.FromString(value).values)}


def _large_communities(_: dialects.Dialect, value: bytes) -> dict[str, Any]:
    found = messages.LargeCommunities.FromString(value).values
    return {
        "large_communities": tuple((one.administrator, one.local1, one.local2) for one in found)
    }


def _originator(_: dialects.Dialect, value: bytes) -> dict[str, Any]:
    return {"originator_id": int(address(messages.Text.FromString(value).value))}


def _clusters(_: dialects.Dialect, value: bytes) -> dict[str, Any]:
    found = messages.Texts.FromString(value).values
    return {"cluster_list": tuple(int(address(one)) for one in found)}


def _extended_communities(dialect: dialects.Dialect, value: bytes) -> dict[str, Any]:
    found = []
    for one in messages.Messages.FromString(value).values:
        name, inner = dialect.extended_community(one)
        encoder = _EXTENDED.get(name)
        if encoder is not None and len(octets := encoder(inner)) == 8:
            found.append(int.from_bytes(octets))
    return {"extended_communities": tuple(found)}


_READERS: dict[str, Reader] = {
    "OriginAttribute": _number("origin"),
    "AsPathAttribute": _as_path,
    "NextHopAttribute": _next_hop,
    "MultiExitDiscAttribute": _number("med"),
    "LocalPrefAttribute": _number("local_pref"),
    "CommunitiesAttribute": _communities,
    "OriginatorIdAttribute": _originator,
    "ClusterListAttribute": _clusters,
    "MpReachNLRIAttribute": _reach,
    "ExtendedCommunitiesAttribute": _extended_communities,
    "LargeCommunitiesAttribute": _large_communities,
}


# --- extended communities: the eight octets that gobgpd read (RFC 4360) ------------------------


def _kind(code: int, transitive: bool) -> int:
    return code if transitive else code | _NON_TRANSITIVE


def _two_octet(value: bytes) -> bytes:
    one = messages.NumberSpecific.FromString(value)
    return struct.pack("!BBHI", _kind(0, one.transitive), one.sub_type, one.asn, one.local)


def _four_octet(value: bytes) -> bytes:
    one = messages.NumberSpecific.FromString(value)
    return struct.pack("!BBIH", _kind(2, one.transitive), one.sub_type, one.asn, one.local)


def _ipv4(value: bytes) -> bytes:
    one = messages.AddressSpecific.FromString(value)
    head = bytes((_kind(1, one.transitive), one.sub_type))
    return head + address(one.address).packed + struct.pack("!H", one.local)


def _opaque(value: bytes) -> bytes:
    one = messages.Opaque.FromString(value)
    return bytes((_kind(_OPAQUE, one.transitive),)) + one.value


def _bandwidth(value: bytes) -> bytes:
    one = messages.LinkBandwidth.FromString(value)
    return struct.pack("!BBHf", _NON_TRANSITIVE, 0x04, one.asn, one.bandwidth)


def _unknown(value: bytes) -> bytes:
    one = messages.Unknown.FromString(value)
    return bytes((one.type,)) + one.value


def _opaque_number(kind: int, sub_type: int) -> Callable[[bytes], bytes]:
    """Sorts of opaque ones with a number at the end: origin validation, colour, encapsulation."""
    head = bytes((kind, sub_type, 0, 0))
    return lambda value: head + messages.Number.FromString(value).value.to_bytes(4)


_EXTENDED: dict[str, Callable[[bytes], bytes]] = {
    "TwoOctetAsSpecificExtended": _two_octet,
    "FourOctetAsSpecificExtended": _four_octet,
    "IPv4AddressSpecificExtended": _ipv4,
    "OpaqueExtended": _opaque,
    "LinkBandwidthExtended": _bandwidth,
    "UnknownExtended": _unknown,
    "ValidationExtended": _opaque_number(_OPAQUE | _NON_TRANSITIVE, 0x00),
    "ColorExtended": _opaque_number(_OPAQUE, 0x0B),
    "EncapExtended": _opaque_number(_OPAQUE, 0x0C),
    "DefaultGatewayExtended": _opaque_number(_OPAQUE, 0x0D),
}
"""Others (EVPN, flow specification) mean nothing for unicast routes."""
